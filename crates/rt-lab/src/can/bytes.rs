//! The IP packets in a frame: behind VLAN tags and PPPoE, and those that tunnels carry. Only what names a packet is read.

use std::net::{IpAddr, SocketAddr};

use rt_base::InterfaceKind;
use rt_wire::{EthernetHeader, Ipv4Header, TcpHeader, UdpHeader};

use super::find::Packet;

/// The protocol number of GRE.
pub(super) const GRE: u8 = 47;
/// The protocol number of IP in IP.
pub(super) const IPIP: u8 = 4;
const UDP: u8 = 17;
/// A UDP header and VXLAN's own (RFC 7348, 5).
const VXLAN: usize = 16;

/// The IPv4 packet in a frame.
pub(super) fn ip(frame: &[u8]) -> Option<&[u8]> {
    let (ethernet, mut rest) = EthernetHeader::parse(frame).ok()?;
    let mut kind = ethernet.ethertype;
    while kind == 0x8100 || kind == 0x88a8 {
        kind = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
        rest = rest.get(4..)?;
    }
    if kind == 0x8864 {
        rest = rest.get(8..)?;
        kind = 0x0800;
    }
    (kind == 0x0800).then_some(rest)
}

/// The ends of an IPv4 packet.
pub(super) fn packet(ip: &[u8]) -> Option<Packet> {
    let (ip, payload) = Ipv4Header::parse(ip).ok()?;
    let tcp = (ip.protocol == 6).then(|| TcpHeader::parse(payload).ok()).flatten();
    let udp = (ip.protocol == UDP).then(|| UdpHeader::parse(payload).ok()).flatten();
    let (sport, dport) = match (&tcp, &udp) {
        (Some((tcp, _)), _) => (tcp.src, tcp.dst),
        (_, Some((udp, _))) => (udp.src, udp.dst),
        _ => (0, 0),
    };
    let complains = ip.protocol == 1 && payload.first().is_some_and(|t| matches!(t, 3 | 11 | 12));
    Some(Packet {
        protocol: ip.protocol,
        src: SocketAddr::new(IpAddr::V4(ip.src), sport),
        dst: SocketAddr::new(IpAddr::V4(ip.dst), dport),
        complains,
    })
}

/// The IPv4 packet that a tunnel of this kind carries in another one. `None` also for virtual interfaces that are no tunnels.
pub(super) fn inside(kind: InterfaceKind, outer: &[u8]) -> Option<&[u8]> {
    let (header, payload) = Ipv4Header::parse(outer).ok()?;
    match (kind, header.protocol) {
        (InterfaceKind::Ipip { .. }, IPIP) => Some(payload),
        (InterfaceKind::Vxlan { .. }, UDP) => ip(payload.get(VXLAN..)?),
        (InterfaceKind::Gre { .. }, GRE) => {
            // Checksum, key and sequence number are there when their bits are (RFC 2784, 2.1; RFC 2890, 2).
            let flags = *payload.first()?;
            let options = [0x80, 0x20, 0x10].into_iter().filter(|bit| flags & bit != 0).count();
            payload.get(4 + 4 * options..)
        }
        _ => None,
    }
}

/// What a tunnel of this kind puts around a packet.
pub(super) fn around(kind: InterfaceKind) -> Option<Packet> {
    let packet = |protocol, local, remote, port| Packet {
        protocol,
        src: SocketAddr::new(IpAddr::V4(local), 0),
        dst: SocketAddr::new(IpAddr::V4(remote), port),
        complains: false,
    };
    match kind {
        InterfaceKind::Gre { local, remote, .. } => Some(packet(GRE, local, remote, 0)),
        InterfaceKind::Ipip { local, remote } => Some(packet(IPIP, local, remote, 0)),
        InterfaceKind::Vxlan { local, remote, port, .. } => Some(packet(UDP, local, remote, port)),
        _ => None,
    }
}
