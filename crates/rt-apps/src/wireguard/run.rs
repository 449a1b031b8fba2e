//! WireGuard between a tunnel interface and a UDP socket.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use rt_base::{AppRecord, DropReason, FrameId, ReqId, Time, Wait};
use rt_stack::CameBy;

use super::{Config, Interface, Output};
use crate::UdpSocket;
use crate::net::Net;
use crate::tun::TunDevice;

/// What happened next.
enum Next {
    /// A packet was routed to the tunnel.
    Packet(Vec<u8>, FrameId),
    /// A datagram came.
    Datagram(Vec<u8>, SocketAddr, FrameId),
    /// Something is due.
    Due,
}

/// Carries packets of the tunnel interface `name`, for ever.
///
/// # Errors
/// The interface is not there or somebody else's, or its port is taken.
pub async fn run(net: Net, name: String, config: Config) -> io::Result<()> {
    let tun = net.tun(&name)?;
    let socket = net.udp_bind(None, config.port, None)?;
    tun.sends_by(&socket);
    let mut interface = Interface::new(net.now(), config, net.epoch(), net.rng(&format!("wireguard {name}")));
    loop {
        let (mut brought, now) = ((FrameId::NONE, 0), net.now());
        tell(&net, (&tun, &socket), &mut interface, brought);
        match next(&net, (&tun, &socket), interface.next_deadline()).await {
            Next::Packet(packet, frame) => {
                let carried = tun.carried(frame, packet.len());
                if let Err(refused) = interface.send(net.now(), packet, frame) {
                    tun.refuse(carried, DropReason::TunnelRefused, true);
                    note(&net, "wireguard.refused", format!("a packet cannot go into the tunnel: {refused}"));
                }
            }
            Next::Datagram(bytes, from, frame) => {
                brought = (frame, bytes.len());
                interface.receive(net.now(), from, &bytes);
            }
            Next::Due => interface.tick(net.now().max(now)),
        }
        tell(&net, (&tun, &socket), &mut interface, brought);
    }
}

async fn next(net: &Net, (tun, socket): (&TunDevice, &UdpSocket), deadline: Option<Time>) -> Next {
    let mut packet = pin!(tun.read());
    let mut datagram = pin!(socket.recv_carrying());
    let mut due = pin!(net.sleep_until(deadline.unwrap_or(Time::MAX), Wait::Housekeeping));
    poll_fn(|cx| {
        if let Poll::Ready((packet, frame)) = packet.as_mut().poll(cx) {
            return Poll::Ready(Next::Packet(packet, frame));
        }
        match datagram.as_mut().poll(cx) {
            Poll::Ready(Ok((bytes, from, frame))) => return Poll::Ready(Next::Datagram(bytes, from, frame)),
            // An ICMP error about a datagram: the handshake's own timers see to it.
            Poll::Ready(Err(_)) => return Poll::Ready(Next::Due),
            Poll::Pending => {}
        }
        due.as_mut().poll(cx).map(|()| Next::Due)
    })
    .await
}

/// Bytes of IPv4 and UDP around a datagram.
const HEADERS: usize = 28;

/// Does what the interface wants. `brought` is the frame and the length of the datagram that it has just seen.
fn tell(
    net: &Net,
    (tun, socket): (&TunDevice, &UdpSocket),
    interface: &mut Interface,
    (brought, length): (FrameId, usize),
) {
    for output in interface.take() {
        match output {
            Output::Datagram { to, bytes, inner, len } => {
                let carries = (!inner.is_none()).then(|| tun.carried(inner, len));
                if let Err(error) = socket.send_carrying(&bytes, to, carries) {
                    note(net, "wireguard.unsent", format!("a datagram to {to} cannot be sent: {error}"));
                    carries.into_iter().for_each(|c| tun.refuse(c, DropReason::TunnelRefused, true));
                }
            }
            Output::Packet(packet) => {
                let around = (length + HEADERS).saturating_sub(packet.len());
                let around = u16::try_from(around).unwrap_or(u16::MAX);
                tun.write(&packet, CameBy::Datagram { frame: brought, around });
            }
            Output::Lost(frame, reason) => tun.refuse(tun.carried(frame, 0), reason, true),
            Output::NotTaken => tun.refuse(tun.carried(brought, 0), DropReason::TunnelRefused, false),
            Output::Secret(line) => net.say(AppRecord::Secret { line }),
            Output::Note(code, text) => note(net, code, text),
        }
    }
}

fn note(net: &Net, code: &str, text: String) {
    net.say(AppRecord::Note { req: ReqId(0), code: code.into(), text });
}
