//! Frames for tests: a TCP connection from pieces of its two streams.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use rt_base::{FrameId, MacAddr, NodeId, PortId, Time, Way};
use rt_wire::{
    EthernetHeader, Ipv4Header, Seq, TcpFlags, TcpHeader, TcpOptions, checksum, ethertype, protocol,
};

use crate::read::{NodeExchanges, Secrets, SeenFrame, Side, read_node};

pub(super) const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 10), 52432);
pub(super) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(142, 250, 190, 46), 443);

/// A frame before it is shown to the reader.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) way: Way,
    pub(super) bytes: Vec<u8>,
}

/// An IPv4 packet in an Ethernet frame; transport checksums are filled in.
pub(super) fn ip(src: Ipv4Addr, dst: Ipv4Addr, proto: u8, mut segment: Vec<u8>) -> Vec<u8> {
    checksum::fill_transport(src.into(), dst.into(), proto, &mut segment);
    let mut out = Vec::new();
    EthernetHeader { dst: MacAddr([2; 6]), src: MacAddr([4; 6]), ethertype: ethertype::IPV4 }.emit(&mut out);
    Ipv4Header::new(src, dst, proto, 64, segment.len()).emit(&mut out);
    out.extend_from_slice(&segment);
    out
}

/// A connection seen at the client, from the SYN to both FINs; segments of at most `mss` bytes.
pub(super) fn connection(pieces: &[(Side, Vec<u8>)], mss: usize) -> Vec<Made> {
    let mut next = [100_u32, u32::MAX - 5_000];
    let mut made = Vec::new();
    let mut send = |side: Side, flags: TcpFlags, payload: &[u8], next: &mut [u32; 2]| {
        let (me, other) = (side.index(), side.other().index());
        let (src, dst) = if side == Side::Client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let syn = flags.has(TcpFlags::SYN);
        let mut options = TcpOptions::default();
        options.mss = syn.then_some(1460);
        let mut segment = Vec::new();
        TcpHeader {
            src: src.port(),
            dst: dst.port(),
            seq: Seq(next[me]),
            ack: Seq(if flags.has(TcpFlags::ACK) { next[other] } else { 0 }),
            flags,
            window: 65_000,
            urgent: 0,
            options,
        }
        .emit(&mut segment);
        segment.extend_from_slice(payload);
        let len = payload.len() as u32 + u32::from(syn || flags.has(TcpFlags::FIN));
        next[me] = next[me].wrapping_add(len);
        let way = if side == Side::Client { Way::Out } else { Way::In };
        made.push(Made { way, bytes: ip(*src.ip(), *dst.ip(), protocol::TCP, segment) });
    };
    send(Side::Client, TcpFlags::SYN, &[], &mut next);
    send(Side::Server, TcpFlags::SYN | TcpFlags::ACK, &[], &mut next);
    send(Side::Client, TcpFlags::ACK, &[], &mut next);
    for (side, bytes) in pieces {
        for part in bytes.chunks(mss) {
            send(*side, TcpFlags::PSH | TcpFlags::ACK, part, &mut next);
        }
    }
    send(Side::Client, TcpFlags::FIN | TcpFlags::ACK, &[], &mut next);
    send(Side::Server, TcpFlags::FIN | TcpFlags::ACK, &[], &mut next);
    send(Side::Client, TcpFlags::ACK, &[], &mut next);
    made
}

/// Reads frames, one per microsecond, numbered from 1.
pub(super) fn read(frames: &[Made], secrets: &Secrets) -> NodeExchanges {
    let seen = frames.iter().enumerate().map(|(i, made)| SeenFrame {
        at: Time(i as u64 * 1_000),
        port: PortId(0),
        way: made.way,
        frame: FrameId::new(NodeId(1), i as u64 + 1),
        bytes: &made.bytes,
    });
    read_node(seen, secrets)
}

/// One line for what a node saw, to compare with.
pub(super) fn address(a: SocketAddrV4) -> SocketAddr {
    SocketAddr::V4(a)
}
