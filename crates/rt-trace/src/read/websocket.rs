//! WebSocket (RFC 6455) as it stands in captured bytes: each frame with who sent it and what carried it.
//!
//! Read without the programs' own codec. Payloads are not kept, but for the beginning of short texts; a frame's length may be
//! anything, and nothing waits for its end. Deliberate simplification: extensions are not read; where a reserved bit is set
//! (compression), payloads are not looked at.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use serde::{Deserialize, Serialize};

use super::mark::Origins;
use super::{Limits, Side, Span};

/// RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Frames that are kept of a connection; all are counted.
const MOST_FRAMES: usize = 65_536;
/// Payload bytes that are kept of a frame.
const EXCERPT: usize = 256;

/// What was said behind a 101.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct WebSocketSession {
    /// Frames, in the order in which they were there whole.
    pub frames: Vec<WebSocketFrame>,
    /// Frames of client and server, those that are not kept too.
    pub count: [u64; 2],
    /// Messages of client and server of which the end was seen.
    pub messages: [u64; 2],
    /// Their payloads, bytes.
    pub bytes: [u64; 2],
    /// What could not be read and why.
    pub problems: Vec<String>,
}

/// A frame.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WebSocketFrame {
    /// Who sent it.
    pub from: Side,
    /// Its opcode: 0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub opcode: u8,
    /// Whether it is a message's last.
    pub fin: bool,
    /// The three reserved bits.
    pub reserved: u8,
    /// Whether its payload is masked.
    pub masked: bool,
    /// Bytes of payload.
    pub len: u64,
    /// A close frame's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The beginning of what it says, unmasked, if it is text (a close frame's reason).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Its bytes.
    pub span: Span,
}

/// Reads frames as their bytes come.
#[derive(Debug)]
pub(crate) struct WebSocket {
    limits: Limits,
    ways: [Way; 2],
    out: WebSocketSession,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// A head that is not whole.
    buf: Vec<u8>,
    /// Offset of `buf[0]`, or of the next byte.
    at: u64,
    origins: Origins,
    frame: Option<Open>,
    /// Bytes of a message of which more comes.
    message: u64,
    stopped: bool,
}

/// A frame of which the payload comes.
#[derive(Debug)]
struct Open {
    head: Head,
    start: u64,
    left: u64,
    excerpt: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    first: u8,
    mask: Option<[u8; 4]>,
    len: u64,
}

impl WebSocket {
    pub(crate) fn new(limits: Limits) -> WebSocket {
        WebSocket { limits, ways: Default::default(), out: WebSocketSession::default() }
    }

    /// The next bytes of one side, in order.
    pub(crate) fn feed(&mut self, from: Side, bytes: &[u8], span: Span) {
        let way = &mut self.ways[from.index()];
        if way.stopped {
            return;
        }
        way.origins.push(bytes.len() as u64, span);
        let mut rest = bytes;
        loop {
            let way = &mut self.ways[from.index()];
            if let Some(open) = &mut way.frame {
                let n = usize::try_from(open.left).unwrap_or(usize::MAX).min(rest.len());
                let kept = n.min(EXCERPT - open.excerpt.len());
                open.excerpt.extend_from_slice(&rest[..kept]);
                (open.left, way.at, rest) = (open.left - n as u64, way.at + n as u64, &rest[n..]);
                if open.left > 0 {
                    return;
                }
                self.close(from);
                continue;
            }
            let Some((&byte, more)) = rest.split_first() else { return };
            rest = more;
            way.buf.push(byte);
            if let Some(why) = wrong(&way.buf) {
                way.stopped = true;
                let who = if from == Side::Client { "client" } else { "server" };
                self.out.problems.push(format!("WebSocket of the {who} was not read on: {why}"));
                return;
            }
            if let Some((head, used)) = head(&way.buf) {
                let start = way.at;
                way.at += used as u64;
                way.buf.clear();
                way.frame = Some(Open { head, start, left: head.len, excerpt: Vec::new() });
            }
        }
    }

    /// The frame of `from` is there whole.
    fn close(&mut self, from: Side) {
        let way = &mut self.ways[from.index()];
        let Some(Open { head, start, mut excerpt, .. }) = way.frame.take() else { return };
        for (byte, key) in excerpt.iter_mut().zip(head.mask.iter().flatten().cycle()) {
            *byte ^= key;
        }
        let (opcode, fin, reserved) = (head.first & 15, head.first & 128 != 0, head.first >> 4 & 7);
        let span = way.origins.span(start, way.at);
        if opcode < 8 {
            way.message = way.message.saturating_add(head.len);
        }
        let (count, bytes) = (&mut self.out.count[from.index()], &mut self.out.bytes[from.index()]);
        *count += 1;
        if opcode < 8 && fin {
            self.out.messages[from.index()] += 1;
            *bytes = bytes.saturating_add(std::mem::take(&mut way.message));
        }
        let code = excerpt.first_chunk().filter(|_| opcode == 8).map(|code| u16::from_be_bytes(*code));
        let said = match (opcode, reserved) {
            (1 | 9 | 10, 0) => excerpt.as_slice(),
            (8, 0) => excerpt.get(2..).unwrap_or_default(),
            _ => &[],
        };
        if self.out.frames.len() < MOST_FRAMES.min(self.limits.items) {
            let (masked, len, text) = (head.mask.is_some(), head.len, readable(said));
            let frame = WebSocketFrame { from, opcode, fin, reserved, masked, len, code, text, span };
            self.out.frames.push(frame);
        }
    }

    pub(crate) fn finish(self) -> WebSocketSession {
        self.out
    }
}

/// The text in these bytes, as far as it is one: the last character may be cut.
fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()
        }
        Err(_) => String::new(),
    }
}

/// Why what begins so is no frame, as soon as it can be told.
fn wrong(head: &[u8]) -> Option<&'static str> {
    match head {
        [first, ..] if matches!(first & 15, 3..=7 | 11..) => Some("a reserved opcode"),
        [first, second, ..] if first & 8 != 0 && (first & 128 == 0 || second & 127 > 125) => {
            Some("a control frame in pieces, or longer than 125 bytes")
        }
        _ => None,
    }
}

/// A head that is there whole, and its length (RFC 6455, 5.2).
fn head(bytes: &[u8]) -> Option<(Head, usize)> {
    let [first, second, rest @ ..] = bytes else { return None };
    let (len, used) = match second & 127 {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
        short => (u64::from(short), 0),
    };
    let mask = match second & 128 {
        0 => None,
        _ => Some(*rest.get(used..)?.first_chunk()?),
    };
    Some((Head { first: *first, mask, len }, 2 + used + mask.map_or(0, |_| 4)))
}

/// The answer that follows from a handshake's key (RFC 6455, 4.2.2).
pub(crate) fn accept(key: &str) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(GUID);
    base64(hash.finish().as_ref())
}

/// Base64 with its padding (RFC 4648, 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let word = (0..3).fold(0_u32, |word, at| word << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        let digit = move |at: usize| char::from(DIGITS[(word >> (18 - 6 * at) & 63) as usize]);
        let digits = group.len() + 1;
        (0..4).map(move |at| if at < digits { digit(at) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::Mark;

    #[test]
    fn base64_as_rfc_4648_has_it() {
        //= rfc4648#section-10
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("fooba", "Zm9vYmE=")];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn the_accept_key_of_section_1_3() {
        //= rfc6455#section-1.3
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    /// Both sides' bytes, one by one.
    fn read(client: &[u8], server: &[u8]) -> WebSocketSession {
        let mut reader = WebSocket::new(Limits::default());
        for (side, bytes) in [(Side::Client, client), (Side::Server, server)] {
            for (at, byte) in bytes.iter().enumerate() {
                reader.feed(side, &[*byte], Span::of_frame(at as u64, 1, Mark::default()));
            }
        }
        reader.finish()
    }

    #[test]
    fn the_frames_of_section_5_7() {
        //= rfc6455#section-5.7
        let client = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let server = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f, 0x88, 0x02, 0x03, 0xe8];
        let session = read(&client, &server);
        assert_eq!((session.count, session.messages, session.bytes), ([1, 3], [1, 1], [5, 5]));
        let seen: Vec<_> = session
            .frames
            .iter()
            .map(|f| (f.opcode, f.fin, f.masked, f.len, f.code, f.text.as_str(), f.span.start, f.span.end))
            .collect();
        assert_eq!(
            seen,
            [
                (1, true, true, 5, None, "Hello", 0, 11),
                (1, false, false, 3, None, "Hel", 0, 5),
                (0, true, false, 2, None, "", 5, 9),
                (8, true, false, 2, Some(1000), "", 9, 13),
            ]
        );
        assert!(session.problems.is_empty());
    }

    #[test]
    fn what_is_no_frame_is_said_once_and_a_length_is_not_believed() {
        let session =
            read(&[0x83, 0, 0, 0], &[0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2]);
        assert_eq!(session.problems, ["WebSocket of the client was not read on: a reserved opcode"]);
        assert_eq!(session.count, [0, 0]);
    }
}
