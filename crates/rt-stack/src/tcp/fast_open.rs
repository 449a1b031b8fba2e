//! Fast Open (RFC 7413) of one connection: text in the SYN, the option beside it, what the SYN-ACK made of both, and the
//! listener's side, where text of the SYN is there before the handshake is over.
//!
//! Cookies of other machines and our own are kept in `crate::fast_open`.

use std::sync::Arc;

use rt_base::TcpPhase;
use rt_wire::{FastOpenOption, TcpHeader, TcpOptions};

use super::config::TcpConfig;
use super::connection::Connection;
use super::open::OpenParams;
use super::recovery::Recovery;
use super::recv_buffer::Stored;
use super::segment::Cx;
use super::states::{Road, State, SynReceived};

/// What a connection remembers of Fast Open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FastOpen {
    /// For the next SYN or SYN-ACK, once.
    option: Option<FastOpenOption>,
    /// Most text for the first SYN, bytes.
    space: u32,
    /// The SYN waits for the first text (TCP_FASTOPEN_CONNECT).
    deferred: bool,
    /// Our SYN had the option, of the experimental kind or not.
    asked: Option<bool>,
    /// Bytes that our SYN carried.
    sent: u32,
    /// The text of the SYN, ours or the peer's, was taken.
    pub(super) taken: bool,
    lesson: Option<FastOpenLesson>,
}

/// What a handshake teaches about a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FastOpenLesson {
    /// The MSS that it announced.
    pub mss: u16,
    /// A new cookie.
    pub cookie: Option<FastOpenOption>,
    /// It did not answer the request: 1 after kind 34, 2 after kind 254; else 0.
    pub attempt: u8,
}

/// How a connection begins that may carry text in its SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FastOpenStart {
    /// A cookie, or the request for one; nothing when no cookies are wanted.
    pub option: Option<FastOpenOption>,
    /// Text may go along: there is a cookie, or none is wanted.
    pub text: bool,
    /// The server's MSS of last time.
    pub mss: Option<u16>,
    /// Wait for the first text before the SYN is sent.
    pub deferred: bool,
}

/// Text leaves room for all options that there could be (Linux's caution about middleboxes).
const OPTION_ROOM: u32 = TcpOptions::ROOM as u32;

/// The client's side.
impl Connection {
    /// Prepares a connection that has sent nothing yet. Returns how much text may go with the SYN, in bytes: write no more
    /// before the next [`Connection::next_segment`].
    pub fn start_fast_open(&mut self, start: FastOpenStart) -> u32 {
        //= rfc7413#4.1.3
        let mss = u32::from(start.mss.unwrap_or(self.rcv.mss).min(self.rcv.mss).min(self.snd.path_mss));
        let space = if start.text { mss.saturating_sub(OPTION_ROOM) } else { 0 };
        let deferred = start.deferred && start.text;
        self.pending.syn = !deferred;
        self.fast_open =
            Some(Box::new(FastOpen { option: start.option, space, deferred, ..FastOpen::default() }));
        space
    }

    /// Whether the SYN waits for the first `write`.
    #[must_use]
    pub fn is_deferred(&self) -> bool {
        self.fast_open.as_ref().is_some_and(|f| f.deferred)
    }

    /// Bytes that may go with a SYN that has not been sent.
    #[must_use]
    pub fn syn_space(&self) -> u32 {
        self.fast_open.as_ref().map_or(0, |f| f.space)
    }

    /// Whether the text of the SYN was taken, by the peer or by us (`TCPI_OPT_SYN_DATA`).
    #[must_use]
    pub fn syn_text_taken(&self) -> bool {
        self.fast_open.as_ref().is_some_and(|f| f.taken)
    }

    /// What the handshake taught about the server, once.
    pub fn take_lesson(&mut self) -> Option<FastOpenLesson> {
        self.fast_open.as_mut()?.lesson.take()
    }

    /// Text was written before the handshake.
    pub(super) fn wake_deferred(&mut self) {
        if let Some(f) = self.fast_open.as_mut().filter(|f| f.deferred) {
            f.deferred = false;
            self.pending.syn = true;
        }
    }

    /// The text and the option for a SYN that is about to leave.
    pub(super) fn syn_text(&mut self, cx: Cx, passive: bool, options: &mut TcpOptions) -> u32 {
        let first = self.retries == 0 && self.snd.nxt == self.snd.iss + 1;
        let Some(f) = self.fast_open.as_mut() else { return 0 };
        let option = f.option.take();
        options.set_fast_open(option);
        if passive || !first {
            return 0;
        }
        f.asked = option.map(|option| option.experimental);
        let len = f.space.min(self.snd.buf.len() as u32);
        f.space = 0;
        f.sent = len;
        if len > 0 {
            self.snd.flight.push(self.snd.nxt, len, false, cx.now, 0);
            self.snd.nxt += len;
        }
        len
    }

    /// The SYN-ACK of an attempt has come and the connection is open: whether its own text may be taken.
    pub(super) fn after_syn_ack(&mut self, header: &TcpHeader) -> bool {
        //= rfc7413#4.1.3
        let repeated = self.rtt_was_repeated;
        let Some(f) = self.fast_open.as_mut() else { return false };
        let lost = !self.snd.flight.is_empty();
        let offered = header.options.fast_open().filter(|o| (2..=16).contains(&o.cookie().len()));
        let attempt = match (f.asked, offered) {
            (Some(experimental), None) if !repeated && f.sent == 0 => 1 + u8::from(experimental),
            _ => 0,
        };
        let cookie = offered.filter(|_| f.asked.is_some()).copied();
        let mss = header.options.mss.unwrap_or(self.config.default_mss);
        f.lesson = Some(FastOpenLesson { mss, cookie, attempt });
        f.taken = f.sent > 0 && !lost;
        let welcome = f.asked.is_some() || f.sent > 0;
        if lost {
            // Text that was not acknowledged is sent again at once, and says nothing about congestion.
            self.repeat_unanswered();
        }
        welcome && !lost
    }
}

/// The listener's side.
impl Connection {
    /// A passive open whose SYN brings text that is taken at once; the SYN-ACK is the next segment and may carry `option`.
    #[must_use]
    pub fn accept_with_text(
        cx: Cx,
        config: &Arc<TcpConfig>,
        open: &OpenParams,
        syn: (&TcpHeader, &[u8]),
        option: Option<FastOpenOption>,
    ) -> Connection {
        //= rfc7413#4.2.2
        let mut c = Connection::new(cx, config, open, SynReceived { road: Road::FastOpen }.into());
        c.negotiate(cx, syn.0);
        c.fast_open = Some(Box::new(FastOpen { option, taken: !syn.1.is_empty(), ..FastOpen::default() }));
        c.recovery = Recovery::new(config, c.snd.mss, config.initial_cwnd, c.snd.iss.0);
        let room = syn.1.len().min(c.rcv.wnd() as usize);
        if let Stored::InOrder(n) = c.rcv.buf.store(0, &syn.1[..room]) {
            c.rcv.nxt += n;
            c.woken = true;
        }
        let (mss, window) = (c.snd.mss.min(c.rcv.mss.into()), c.rcv.wnd());
        c.ack.open(cx.now, c.rcv.nxt, mss, window);
        c.record_state(cx, TcpPhase::Listen);
        c
    }

    /// The SYN-ACK of a plain passive open carries `option`.
    pub fn offer_cookie(&mut self, option: FastOpenOption) {
        self.fast_open = Some(Box::new(FastOpen { option: Some(option), ..FastOpen::default() }));
    }

    /// Whether data flows before the handshake is over.
    #[must_use]
    pub fn is_fast_open(&self) -> bool {
        matches!(self.state, State::SynReceived(SynReceived { road: Road::FastOpen }))
    }
}
