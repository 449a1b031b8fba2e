//! Explicit congestion notification (RFC 3168) once the handshake has agreed on it: which segments say that they may be
//! marked, the echo of a mark to the peer, and the word to the peer that its echo was heard.
//!
//! Not here: the handshake's ECE and CWR bits, which set [`EcnState::ok`], and the cut of the window (`recovery`).

use rt_wire::TcpFlags;

use super::connection::Connection;
use super::segment::Ecn;

/// What a connection knows about ECN.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EcnState {
    /// Our last SYN asked for it.
    pub(super) asked: bool,
    /// Both ends agreed in the handshake.
    pub(super) ok: bool,
    /// A mark came: every segment says ECE until the peer says CWR.
    pub(super) echo: bool,
    /// The window was cut: the next new data says CWR.
    pub(super) tell_cut: bool,
    /// The peer's data came as ECN-capable before.
    pub(super) seen: bool,
}

/// So many ACKs leave at once after a mark, so that the sender hears of it soon (Linux's figure).
const QUICK: u8 = 2;

impl Connection {
    /// The receiver's half: looks at the IP header's field of a segment with data, and at the peer's CWR.
    pub(super) fn ecn_received(&mut self, flags: TcpFlags, ecn: Ecn, len: usize) {
        if !self.ecn.ok {
            return;
        }
        //= rfc3168#6.1.3
        if flags.has(TcpFlags::CWR) {
            self.ecn.echo = false;
            if len > 0 {
                // The peer's window may be down to one segment: it needs every ACK.
                self.ack.at_once();
            }
        }
        if len == 0 {
            return;
        }
        match ecn {
            Ecn::Ce => {
                if !self.ecn.echo {
                    self.ack.quickly(QUICK);
                }
                self.ecn.echo = true;
                self.ecn.seen = true;
            }
            // A retransmission: the sender has trouble.
            Ecn::NotEct if self.ecn.seen => self.ack.quickly(QUICK),
            Ecn::NotEct => {}
            Ecn::Ect0 | Ecn::Ect1 => self.ecn.seen = true,
        }
    }

    /// The flags that a segment carries for ECN, and its codepoint; `new_data` when it has text that was never sent.
    pub(super) fn ecn_sent(&mut self, new_data: bool) -> (TcpFlags, Ecn) {
        if !self.ecn.ok {
            return (TcpFlags(0), Ecn::NotEct);
        }
        let mut flags = if self.ecn.echo { TcpFlags::ECE } else { TcpFlags(0) };
        //= rfc3168#6.1.4
        //= rfc3168#6.1.5
        // Neither pure ACKs nor retransmissions may be marked.
        if !new_data {
            return (flags, Ecn::NotEct);
        }
        //= rfc3168#6.1.2
        if core::mem::take(&mut self.ecn.tell_cut) {
            flags = flags | TcpFlags::CWR;
        }
        (flags, Ecn::Ect0)
    }
}
