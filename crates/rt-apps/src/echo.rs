//! ICMP echo and other probes for applications: what `ping` and `traceroute` stand on.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::task::Poll;

use rt_stack::{EchoAnswer, Probe, ProbeAnswer, ProbeKind, SocketId};

use crate::net::Net;
use crate::socket::io_error;

/// Answers that nobody has asked for yet, at most; older ones go first.
const KEPT: usize = 1_024;

impl Net {
    /// Sends an ICMP echo request; the answer comes with [`Net::echo_answer`].
    ///
    /// # Errors
    /// `NetworkUnreachable` when no route leads there, `InvalidInput` when it is longer than an IP packet.
    pub fn echo(&self, to: IpAddr, id: u16, seq: u16, data: &[u8]) -> io::Result<()> {
        self.core().stack.icmp_echo(to, id, seq, data.to_vec()).map_err(io_error)
    }

    /// Waits for the next answer to an echo request with this id, or for an ICMP error about one.
    pub async fn echo_answer(&self, id: u16) -> EchoAnswer {
        poll_fn(|cx| {
            let mut core = self.core();
            let new = core.stack.take_echo_replies();
            core.echoes.extend(new);
            if let Some(at) = core.echoes.iter().position(|answer| answer.id == id) {
                return Poll::Ready(core.echoes.remove(at));
            }
            let surplus = core.echoes.len().saturating_sub(KEPT);
            core.echoes.drain(..surplus);
            core.wait_for(SocketId::ECHO, cx.waker());
            Poll::Pending
        })
        .await
    }
}

/// Probes of one kind and the answers to them; see [`rt_stack::Probe`].
pub(crate) struct ProbeSocket {
    net: Net,
    kind: ProbeKind,
    own: u16,
}

impl Net {
    /// Makes ready for probes.
    ///
    /// # Errors
    /// `AddrNotAvailable` when no port is free.
    pub(crate) fn probe(&self, kind: ProbeKind) -> io::Result<ProbeSocket> {
        let own = self.core().stack.probe_open(kind).map_err(io_error)?;
        Ok(ProbeSocket { net: self.clone(), kind, own })
    }

    /// Bytes that the first link on the way to `to` carries.
    pub(crate) fn link_mtu(&self, to: IpAddr) -> Option<u16> {
        self.core().stack.link_mtu(to)
    }
}

impl ProbeSocket {
    /// Our port or identifier.
    pub(crate) fn own(&self) -> u16 {
        self.own
    }

    /// Sends one.
    ///
    /// # Errors
    /// No route, no address of ours to send from.
    pub(crate) fn send(&self, probe: Probe) -> io::Result<()> {
        self.net.core().stack.probe_send(probe).map_err(io_error)
    }

    /// Waits for the answer to this probe; answers to others are thrown away.
    pub(crate) async fn answer_to(&self, probe: Probe) -> ProbeAnswer {
        poll_fn(|cx| {
            let mut core = self.net.core();
            while let Some(answer) = core.stack.probe_answer(self.kind, self.own) {
                let same = match self.kind {
                    ProbeKind::Udp => answer.port == probe.to.port(),
                    ProbeKind::Icmp | ProbeKind::Tcp => answer.mark == probe.mark,
                };
                if same {
                    return Poll::Ready(answer);
                }
            }
            core.wait_for(SocketId::ECHO, cx.waker());
            Poll::Pending
        })
        .await
    }
}

impl Drop for ProbeSocket {
    fn drop(&mut self) {
        self.net.core().stack.probe_close(self.kind, self.own);
    }
}
