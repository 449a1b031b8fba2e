//! A datagram on its walk through the machine: the frame, its parsed IP header and what the stages found out about it.
//!
//! Not for deciding anything. The IP header stands behind [`ETHERNET`] bytes of every frame, those of own packets too,
//! so that forwarding and NAT change bytes in place and the NIC only writes the MACs.

use std::net::{IpAddr, Ipv4Addr};

use rt_base::{ConnId, Frame, FrameId, Outbox, PortId};
use rt_rules::Flow;
pub(crate) use rt_wire::protocol;
use rt_wire::{Error, EthernetHeader, Icmpv4, Ipv4Header, TcpFlags, checksum, rewrite};

use crate::hooks::conntrack::{Sight, Track, Tuple};
use crate::ip::destination::Hop;

/// Bytes before the IP header in every frame.
pub(crate) const ETHERNET: usize = EthernetHeader::LEN;

/// The interface that packets of a machine to itself use, as rules and events see it.
pub const LOOPBACK: PortId = PortId(u16::MAX);

/// A datagram and what is known about it.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) frame: Frame,
    /// Kept in step with the bytes by the methods below.
    pub(crate) ip: Ipv4Header,
    /// Where it arrived; `None` for own packets.
    pub(crate) in_port: Option<PortId>,
    /// So many tunnels of this machine are around it.
    pub(crate) wrapped: u8,
    /// Came in a link-layer broadcast or multicast.
    pub(crate) from_group: bool,
    /// Own packets: the interface that the socket is bound to.
    pub(crate) device: Option<PortId>,
    /// Own packets: who is told when it fails; 0 for nobody.
    pub(crate) socket: ConnId,
    /// What conntrack says.
    pub(crate) track: Track,
    /// Where it goes, once routed.
    pub(crate) hop: Option<Hop>,
}

impl Packet {
    /// Reads the IP header of a frame that arrived.
    pub(crate) fn parse(frame: Frame, in_port: PortId, from_group: bool) -> Result<Packet, (Frame, Error)> {
        match Ipv4Header::parse(frame.bytes.get(ETHERNET..).unwrap_or_default()) {
            Ok((ip, _)) => Ok(Packet::arrived(frame, ip, in_port, from_group)),
            Err(error) => Err((frame, error)),
        }
    }

    /// A frame that arrived, with its IP header; trailing bytes (Ethernet padding) are cut off.
    #[inline]
    pub(crate) fn arrived(mut frame: Frame, ip: Ipv4Header, in_port: PortId, from_group: bool) -> Packet {
        frame.bytes.truncate(ETHERNET + usize::from(ip.total_len));
        Packet { in_port: Some(in_port), from_group, ..Packet::unparsed(frame, ip) }
    }

    /// An own packet from bytes that [`begin`] began; fills in the transport checksum.
    pub(crate) fn own(mut bytes: Vec<u8>, ip: Ipv4Header, parent: FrameId, out: &mut Outbox) -> Packet {
        let at = ETHERNET + usize::from(ip.header_len);
        checksum::fill_transport(ip.src.into(), ip.dst.into(), ip.protocol, &mut bytes[at..]);
        Packet::unparsed(out.new_frame(bytes, parent), ip)
    }

    /// A frame with this IP header, about which nothing else is known.
    #[inline]
    pub(crate) fn unparsed(frame: Frame, ip: Ipv4Header) -> Packet {
        let (track, socket) = (Track::Untracked, ConnId(0));
        Packet {
            frame,
            ip,
            in_port: None,
            wrapped: 0,
            from_group: false,
            device: None,
            socket,
            track,
            hop: None,
        }
    }

    /// Source address.
    pub(crate) fn src(&self) -> IpAddr {
        self.ip.src.into()
    }

    /// Destination address.
    pub(crate) fn dst(&self) -> IpAddr {
        self.ip.dst.into()
    }

    /// The datagram, from its IP header on.
    pub(crate) fn datagram(&self) -> &[u8] {
        self.frame.bytes.get(ETHERNET..).unwrap_or_default()
    }

    /// What follows the IP header.
    pub(crate) fn payload(&self) -> &[u8] {
        self.frame.bytes.get(ETHERNET + usize::from(self.ip.header_len)..).unwrap_or_default()
    }

    /// Whether it is a fragment other than the first.
    pub(crate) fn is_later_fragment(&self) -> bool {
        self.ip.frag_offset != 0
    }

    /// What filter and NAT rules see; ICMP's type and code stand in for ports.
    pub(crate) fn flow(&self) -> Flow {
        let (sport, dport) = match self.payload() {
            _ if self.is_later_fragment() => (0, 0),
            [kind, code, ..] if self.ip.protocol == protocol::ICMP => (u16::from(*kind), u16::from(*code)),
            [a, b, c, d, ..] if matches!(self.ip.protocol, protocol::UDP | protocol::TCP) => {
                (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
            }
            _ => (0, 0),
        };
        let tcp_flags = match self.payload().get(13) {
            Some(flags) if self.ip.protocol == protocol::TCP && !self.is_later_fragment() => *flags,
            _ => 0,
        };
        Flow {
            protocol: self.ip.protocol,
            src: self.src(),
            dst: self.dst(),
            sport,
            dport,
            in_port: self.in_port,
            out_port: self.hop.map(|hop| hop.out),
            state: self.track.state(),
            tcp_flags,
        }
    }

    /// What conntrack sees.
    pub(crate) fn sight(&self) -> Sight {
        let Some(tuple) = tuple(&self.ip, self.payload()) else { return self.error_sight() };
        let flags = (self.ip.protocol == protocol::TCP).then(|| self.payload().get(13).map(|f| TcpFlags(*f)));
        match flags {
            Some(None) => Sight::Odd,
            flags => Sight::Packet(tuple, flags.flatten()),
        }
    }

    fn error_sight(&self) -> Sight {
        match self.quoted() {
            Some((_, ip, payload)) => tuple(&ip, payload).map_or(Sight::Odd, Sight::Error),
            None => Sight::Odd,
        }
    }

    /// If it is an ICMP error: the message, and the header and payload of the packet that it quotes.
    pub(crate) fn quoted(&self) -> Option<(Icmpv4, Ipv4Header, &[u8])> {
        if self.ip.protocol != protocol::ICMP || self.is_later_fragment() {
            return None;
        }
        let (message, rest) = Icmpv4::parse(self.payload()).ok()?;
        if !message.is_error() {
            return None;
        }
        let (ip, payload) = Ipv4Header::parse_unchecked(rest).ok()?;
        Some((message, ip, payload))
    }

    /// Writes another source; `port` is the identifier of an ICMP echo.
    pub(crate) fn set_source(&mut self, address: IpAddr, port: Option<u16>) {
        let IpAddr::V4(address) = address else { return };
        rewrite::rewrite_v4_src(&mut self.frame.bytes[ETHERNET..], address, port);
        self.ip.src = address;
    }

    /// Writes another destination; `port` is the identifier of an ICMP echo.
    pub(crate) fn set_destination(&mut self, address: IpAddr, port: Option<u16>) {
        let IpAddr::V4(address) = address else { return };
        rewrite::rewrite_v4_dst(&mut self.frame.bytes[ETHERNET..], address, port);
        self.ip.dst = address;
    }

    /// Takes one from the TTL.
    pub(crate) fn decrement_ttl(&mut self) {
        self.ip.ttl = rewrite::decrement_ttl(&mut self.frame.bytes[ETHERNET..]);
    }
}

/// An own packet's buffer: room for Ethernet, then the IP header. The caller appends `ip.payload_len()` bytes.
pub(crate) fn begin(ip: &Ipv4Header, out: &mut Outbox) -> Vec<u8> {
    let mut bytes = out.buffer(ETHERNET + usize::from(ip.total_len));
    bytes.extend_from_slice(&EMPTY_ETHERNET);
    ip.emit(&mut bytes);
    bytes
}

/// Zero MACs and the EtherType of IPv4; the NIC fills in the MACs.
pub(crate) const EMPTY_ETHERNET: [u8; ETHERNET] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x00];

/// One direction of a flow, if the packet has one: ports, or an echo's identifier.
fn tuple(ip: &Ipv4Header, payload: &[u8]) -> Option<Tuple> {
    let (sport, dport) = match (ip.protocol, payload) {
        _ if ip.frag_offset != 0 => return None,
        (protocol::UDP | protocol::TCP, [a, b, c, d, ..]) => {
            (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
        }
        (protocol::ICMP, [kind @ (0 | 8), code, _, _, i, j, ..]) => {
            (u16::from_be_bytes([*i, *j]), u16::from_be_bytes([*kind, *code]))
        }
        (protocol::UDP | protocol::TCP | protocol::ICMP, _) => return None,
        _ => (0, 0),
    };
    Some(Tuple { protocol: ip.protocol, src: ip.src, dst: ip.dst, sport, dport })
}

/// The IPv4 address, or `None` for IPv6.
pub(crate) fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
