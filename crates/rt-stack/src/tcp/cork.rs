//! Holding back the short end of the stream: `TCP_CORK` and `MSG_MORE`, as in Linux.
//!
//! Both keep what does not fill a segment from leaving. The cork does until it is drawn; `MSG_MORE` does until the next write
//! without it, or the next ACK. With nothing in flight neither lasts longer than a retransmission timeout: the persist timer
//! runs, and what waits leaves with it.

use super::connection::Connection;
use super::segment::{Cx, TcpError};

/// What the application said about the end of what it has written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cork {
    /// The last write said that more follows: its end is no reason for a PSH.
    more: bool,
    /// It is held back for that.
    holds: bool,
    /// It was held long enough, or the application wants it to leave.
    expired: bool,
}

impl Cork {
    /// Whether the end of what was written is the end of something (RFC 9293 3.9.1: PSH).
    pub(super) fn ends(self) -> bool {
        !self.more
    }

    /// An ACK came: what `MSG_MORE` held may leave.
    pub(super) fn on_ack(&mut self) {
        self.holds = false;
    }

    /// New data has left.
    pub(super) fn sent(&mut self) {
        self.expired = false;
    }
}

impl Connection {
    /// [`Connection::write`]; `more` says that more follows soon (`MSG_MORE`).
    ///
    /// # Errors
    /// As [`Connection::write`].
    pub fn write_more(&mut self, cx: Cx, bytes: &[u8], more: bool) -> Result<usize, TcpError> {
        let taken = self.write(cx, bytes)?;
        self.snd.cork = Cork { more, holds: more, expired: false };
        Ok(taken)
    }

    /// Whether a short segment must wait for more.
    pub(super) fn corked(&self) -> bool {
        let cork = self.snd.cork;
        !cork.expired && (cork.holds || self.options.as_ref().is_some_and(|options| options.cork))
    }

    /// The persist timer is due: whether it ran only because something is held back. That leaves now.
    pub(super) fn uncork(&mut self) -> bool {
        let held = self.corked() && self.snd.unsent() > 0 && self.snd.usable() > 0;
        if held {
            self.snd.cork = Cork { expired: true, ..Cork::default() };
        }
        held
    }

    /// What is held back leaves now, but only that (`TCP_NODELAY` was set, even again).
    pub fn push_held(&mut self) {
        self.snd.cork.expired = self.snd.unsent() > 0;
    }
}
