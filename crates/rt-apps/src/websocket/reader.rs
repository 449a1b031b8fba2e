//! Frames to messages: pieces put together, control frames between them, and everything refused that may not be.
//!
//! Bounded: a frame or message that would be longer than what is taken is refused by its head, before it is read.

use super::code;
use super::frame::{Head, Opcode, Violation, apply};

/// What came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// A whole message.
    Message(Message),
    /// A ping, to be answered with the same bytes.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// The peer closes; nothing follows.
    Close(Option<u16>, String),
}

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    /// Whether it is text, which is UTF-8 then.
    pub(super) text: bool,
    pub(super) bytes: Vec<u8>,
}

/// Reads what one side sends.
#[derive(Debug)]
pub(super) struct Reader {
    /// Whether frames must be masked; else they must not be.
    masked: bool,
    longest: usize,
    buf: Vec<u8>,
    /// A message of which pieces came.
    open: Option<Message>,
    closed: bool,
}

impl Reader {
    /// Of a client's frames (`masked`) or of a server's.
    pub(super) fn new(masked: bool, longest: usize) -> Reader {
        Reader { masked, longest, buf: Vec::new(), open: None, closed: false }
    }

    /// The next bytes. Ask [`Reader::next`] until it has nothing before giving more.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        // RFC 6455, 5.5.1: after a close frame nothing counts.
        if !self.closed {
            self.buf.extend_from_slice(bytes);
        }
    }

    /// The next thing that is there whole.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Violation> {
        while let Some((head, payload)) = self.frame()? {
            if let Some(event) = self.take(head, payload)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn frame(&mut self) -> Result<Option<(Head, Vec<u8>)>, Violation> {
        let Some((head, at)) = Head::read(&self.buf)? else { return Ok(None) };
        //= rfc6455#section-5.1 a client masks all frames, a server none; whoever gets it otherwise closes
        if head.mask.is_some() != self.masked {
            let why =
                if self.masked { "a client's frame is not masked" } else { "a server's frame is masked" };
            return Err(Violation::protocol(why));
        }
        let before = self.open.as_ref().filter(|_| !head.opcode.is_control()).map_or(0, |m| m.bytes.len());
        let room = (self.longest.saturating_sub(before)) as u64;
        if head.len > room && !head.opcode.is_control() {
            return Err(Violation { code: code::TOO_BIG, why: "a message is longer than what is taken" });
        }
        // At most what is taken, or 125.
        let len = head.len as usize;
        if self.buf.len() - at < len {
            return Ok(None);
        }
        let mut payload = self.buf[at..at + len].to_vec();
        self.buf.drain(..at + len);
        if let Some(key) = head.mask {
            apply(key, &mut payload);
        }
        Ok(Some((head, payload)))
    }

    fn take(&mut self, head: Head, payload: Vec<u8>) -> Result<Option<Event>, Violation> {
        //= rfc6455#section-5.4 pieces of one message are not mixed with another's; control frames may come between
        let message = match (head.opcode, self.open.take()) {
            (Opcode::Ping, open) => {
                self.open = open;
                return Ok(Some(Event::Ping(payload)));
            }
            (Opcode::Pong, open) => {
                self.open = open;
                return Ok(Some(Event::Pong(payload)));
            }
            (Opcode::Close, _) => return self.close(&payload).map(Some),
            (Opcode::Continuation, Some(mut open)) => {
                open.bytes.extend_from_slice(&payload);
                open
            }
            (Opcode::Continuation, None) => {
                return Err(Violation::protocol("a continuation of nothing"));
            }
            (_, Some(_)) => {
                return Err(Violation::protocol("a new message before the last one was over"));
            }
            (opcode, None) => Message { text: opcode == Opcode::Text, bytes: payload },
        };
        if !head.fin {
            self.open = Some(message);
            return Ok(None);
        }
        //= rfc6455#section-8.1 text that is not UTF-8 fails the connection
        if message.text && std::str::from_utf8(&message.bytes).is_err() {
            return Err(Violation { code: code::NOT_UTF8, why: "a text is not UTF-8" });
        }
        Ok(Some(Event::Message(message)))
    }

    fn close(&mut self, payload: &[u8]) -> Result<Event, Violation> {
        self.closed = true;
        self.buf = Vec::new();
        //= rfc6455#section-5.5.1 nothing, or a code of two bytes and a reason in UTF-8
        let (code, reason) = match payload {
            [] => return Ok(Event::Close(None, String::new())),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
            [_] => return Err(Violation::protocol("half a close code")),
        };
        if !may_be_sent(code) {
            return Err(Violation::protocol("a close code that nobody may send"));
        }
        match std::str::from_utf8(reason) {
            Ok(reason) => Ok(Event::Close(Some(code), reason.to_owned())),
            Err(_) => Err(Violation { code: code::NOT_UTF8, why: "a close reason is not UTF-8" }),
        }
    }
}

//= rfc6455#section-7.4 1004, 1005, 1006 and 1015 stand for what is not said in a frame
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
