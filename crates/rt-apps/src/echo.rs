//! ICMP echo for applications: what `ping` stands on.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::task::Poll;

use rt_stack::{EchoAnswer, SocketId};

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
