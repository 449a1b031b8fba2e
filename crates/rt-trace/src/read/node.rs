//! From frames to conversations: headers, and the table of flows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use rt_base::{FixedMap, FrameId, PortId, Time, Way};
use rt_wire::{ArpPacket, TcpHeader, UdpHeader, checksum, protocol};

use super::packet::{Content, Fragments, Packet};
use super::tcp::{Conversation, TcpPacket};
use super::udp::UdpTable;
use super::{ArpExchange, DhcpExchange, IcmpExchange, Limits, Mark, NodeExchanges, Secrets};

/// A frame as it passed an interface of the node.
#[derive(Clone, Copy, Debug)]
pub struct SeenFrame<'a> {
    /// When: offered to the link when it left, last bit there when it came.
    pub at: Time,
    /// The interface.
    pub port: PortId,
    /// Which way. Checksums of what came are verified, those of what left are not (a capture on a real machine sees
    /// them before the card fills them in); where the way is not known, say `Out`.
    pub way: Way,
    /// Its id; `NONE` in foreign captures. A frame that passes the node (in here, out there) is taken once per pair of
    /// addresses, so a router that does NAT shows both views of a connection.
    pub frame: FrameId,
    /// Ethernet bytes.
    pub bytes: &'a [u8],
}

/// Reads everything from the frames seen at one node, in the order given (order of time).
#[must_use]
pub fn read_node<'a>(frames: impl IntoIterator<Item = SeenFrame<'a>>, secrets: &Secrets) -> NodeExchanges {
    let mut reader = NodeReader::new(secrets, Limits::default());
    for frame in frames {
        reader.push(frame);
    }
    reader.finish()
}

/// The same as [`read_node`], fed frame by frame.
#[derive(Debug)]
pub struct NodeReader<'s> {
    secrets: &'s Secrets,
    limits: Limits,
    out: NodeExchanges,
    fragments: Fragments,
    /// The connection of a pair of addresses that is read now (a later SYN starts another).
    tcp_now: BTreeMap<(SocketAddr, SocketAddr), usize>,
    tcp: Vec<Conversation<'s>>,
    udp: UdpTable,
    /// Where a frame was taken first, per pair of addresses.
    taken: FixedMap<(FrameId, IpAddr, IpAddr, u32), (PortId, Way)>,
    /// Frames that came with a wrong checksum.
    damaged: BTreeSet<FrameId>,
    damaged_frames: u64,
    cut_frames: u64,
}

impl<'s> NodeReader<'s> {
    /// A reader that opens TLS with `secrets`.
    #[must_use]
    pub fn new(secrets: &'s Secrets, limits: Limits) -> NodeReader<'s> {
        NodeReader {
            secrets,
            limits,
            out: NodeExchanges::default(),
            fragments: Fragments::default(),
            tcp_now: BTreeMap::new(),
            tcp: Vec::new(),
            udp: UdpTable::default(),
            taken: FixedMap::default(),
            damaged: BTreeSet::new(),
            damaged_frames: 0,
            cut_frames: 0,
        }
    }

    /// The next frame.
    pub fn push(&mut self, frame: SeenFrame<'_>) {
        self.out.frames += 1;
        if !frame.frame.is_none() && self.damaged.contains(&frame.frame) {
            return;
        }
        match self.fragments.content(frame.bytes) {
            Content::Arp(bytes) => self.arp(&frame, bytes),
            Content::Ip(packet) => self.ip(&frame, &packet),
            Content::Fragment => {}
            Content::BadChecksum => self.damaged(&frame),
            Content::Unknown => self.out.unread_frames += 1,
        }
    }

    /// What was read.
    #[must_use]
    pub fn finish(mut self) -> NodeExchanges {
        for (count, what) in [
            (self.damaged_frames, "frames came with a wrong checksum and were not taken"),
            (self.cut_frames, "packets were cut by the capture"),
        ] {
            if count > 0 {
                self.out.problems.push(format!("{count} {what}"));
            }
        }
        self.out.tcp = self.tcp.into_iter().map(Conversation::finish).collect();
        self.out.udp = self.udp.finish();
        self.out
    }

    fn damaged(&mut self, frame: &SeenFrame<'_>) {
        self.out.unread_frames += 1;
        self.damaged_frames += 1;
        if !frame.frame.is_none() {
            self.damaged.insert(frame.frame);
        }
    }

    /// Whether this frame is to be taken, or was already on its way through the node.
    fn is_first(&mut self, frame: &SeenFrame<'_>, src: IpAddr, dst: IpAddr, ports: u32) -> bool {
        if frame.frame.is_none() {
            return true;
        }
        let here = (frame.port, frame.way);
        *self.taken.entry((frame.frame, src, dst, ports)).or_insert(here) == here
    }

    fn arp(&mut self, frame: &SeenFrame<'_>, bytes: &[u8]) {
        let Ok((packet, _)) = ArpPacket::parse(bytes) else {
            self.out.unread_frames += 1;
            return;
        };
        let first = self.is_first(frame, packet.sender_ip.into(), packet.target_ip.into(), 0);
        if first && self.out.arp.len() < self.limits.items {
            ArpExchange::take(&mut self.out.arp, &packet, frame.mark(), frame.way == Way::Out);
        }
    }

    fn ip(&mut self, frame: &SeenFrame<'_>, packet: &Packet<'_>) {
        let payload = packet.payload.as_ref();
        let ports = match payload.first_chunk::<4>() {
            Some(ports) if matches!(packet.protocol, protocol::TCP | protocol::UDP) => {
                u32::from_be_bytes(*ports)
            }
            _ => 0,
        };
        if !self.is_first(frame, packet.src, packet.dst, ports) {
            return;
        }
        if packet.cut {
            self.cut_frames += 1;
        } else if frame.way == Way::In && !self.checksum_holds(packet) {
            self.damaged(frame);
            return;
        }
        match packet.protocol {
            protocol::TCP => self.tcp(frame, packet),
            protocol::UDP => self.udp(frame, packet),
            protocol::ICMP => self.icmp(frame, packet),
            _ => self.out.unread_frames += 1,
        }
    }

    fn checksum_holds(&self, packet: &Packet<'_>) -> bool {
        match packet.protocol {
            protocol::TCP | protocol::UDP => {
                checksum::transport_holds(packet.src, packet.dst, packet.protocol, &packet.payload)
            }
            protocol::ICMP => checksum::holds(checksum::ones_sum(&packet.payload)),
            _ => true,
        }
    }

    fn tcp(&mut self, frame: &SeenFrame<'_>, packet: &Packet<'_>) {
        let Ok((header, payload)) = TcpHeader::parse(&packet.payload) else {
            self.out.unread_frames += 1;
            return;
        };
        let segment = TcpPacket {
            src: SocketAddr::new(packet.src, header.src),
            dst: SocketAddr::new(packet.dst, header.dst),
            seq: header.seq.0,
            ack: header.ack.0,
            flags: header.flags.0,
            window: header.window,
            mss: header.options.mss,
            window_scale: header.options.window_scale,
            sack_permitted: header.options.sack_permitted,
            timestamps: header.options.timestamps.is_some(),
            fast_open: header.options.fast_open().map(|option| option.cookie().len() as u8),
            payload,
        };
        let pair = ordered(segment.src, segment.dst);
        let known = self.tcp_now.get(&pair).copied().filter(|i| !self.tcp[*i].is_succeeded_by(&segment));
        let index = match known {
            Some(index) => index,
            None if self.tcp.len() >= self.limits.items => {
                self.out.unread_frames += 1;
                return;
            }
            None => {
                let outgoing = frame.way == Way::Out;
                self.tcp.push(Conversation::new(self.secrets, self.limits, &segment, outgoing));
                self.tcp_now.insert(pair, self.tcp.len() - 1);
                self.tcp.len() - 1
            }
        };
        self.tcp[index].push(&segment, frame.mark());
    }

    fn udp(&mut self, frame: &SeenFrame<'_>, packet: &Packet<'_>) {
        let Ok((header, payload)) = UdpHeader::parse(&packet.payload) else {
            self.out.unread_frames += 1;
            return;
        };
        let ends = (SocketAddr::new(packet.src, header.src), SocketAddr::new(packet.dst, header.dst));
        let outgoing = frame.way == Way::Out;
        let dhcp = matches!((header.src, header.dst), (67 | 68, 67 | 68));
        if dhcp && DhcpExchange::take(&mut self.out.dhcp, payload, ends, frame.mark(), outgoing) {
            return;
        }
        if !self.udp.push(ends, payload, frame.mark(), outgoing, self.limits.items) {
            self.out.unread_frames += 1;
        }
    }

    fn icmp(&mut self, frame: &SeenFrame<'_>, packet: &Packet<'_>) {
        let taken = IcmpExchange::take(&mut self.out, packet, frame.mark(), frame.way == Way::Out);
        if !taken {
            self.out.unread_frames += 1;
        }
    }
}

impl SeenFrame<'_> {
    fn mark(&self) -> Mark {
        Mark { at: self.at, frame: self.frame }
    }
}

/// The same key for both directions.
pub(super) fn ordered(a: SocketAddr, b: SocketAddr) -> (SocketAddr, SocketAddr) {
    if a <= b { (a, b) } else { (b, a) }
}
