//! What NAT writes into a packet, and what is told of it.
//!
//! Not for deciding (`nat.rs`). The bytes themselves are `rt_wire::rewrite`'s.

use std::net::{IpAddr, SocketAddr};

use rt_base::{NatRecord, NatSide};
use rt_rules::Flow;
use rt_wire::rewrite as wire;

use super::Rewritten;
use super::tuple::Tuple;
use crate::packet::{ETHERNET, Packet, protocol, v4};

/// Ports exist only in these protocols.
pub(crate) fn port_of(tuple: Tuple, port: u16) -> Option<u16> {
    matches!(tuple.protocol, protocol::TCP | protocol::UDP | protocol::ICMP).then_some(port)
}

/// A new destination, if the flow has one.
pub(crate) fn destination(packet: &mut Packet, tuple: Tuple, target: Tuple, rule: Option<u32>) -> Rewritten {
    let (before, after) = (tuple.destination(), target.destination());
    if before == after {
        return None;
    }
    let src = SocketAddr::new(packet.src(), tuple.sport);
    packet.set_destination(after.ip(), port_of(target, after.port()));
    changed(NatSide::Destination, rule, tuple.protocol, (src, before), (src, after))
}

/// A new source, if the flow has one.
pub(crate) fn source(packet: &mut Packet, tuple: Tuple, target: Tuple, rule: Option<u32>) -> Rewritten {
    let (before, after) = (tuple.source(), target.source());
    if before == after {
        return None;
    }
    // The destination may have been rewritten before: tell it as it is now.
    let dst = target.destination();
    let dst = if tuple.protocol == protocol::ICMP { SocketAddr::new(dst.ip(), before.port()) } else { dst };
    if packet.quoted().is_some() {
        // The identifier of an echo belongs to both ends: where only it changes, it is the other end that does.
        if tuple.protocol == protocol::ICMP && tuple.src == target.src {
            return None;
        }
        // An error of the flow may come from a machine on the way; outside it all looks like the flow's end.
        let ends = |src: IpAddr| (SocketAddr::new(src, 0), SocketAddr::new(dst.ip(), 0));
        let from = packet.src();
        packet.set_source(after.ip(), None);
        return changed(NatSide::Source, rule, protocol::ICMP, ends(from), ends(after.ip()));
    }
    packet.set_source(after.ip(), port_of(target, after.port()));
    changed(NatSide::Source, rule, tuple.protocol, (before, dst), (after, dst))
}

/// An ICMP error about a flow: its destination and both ends of the packet that it quotes. Its own source follows at
/// the Snat stage.
pub(crate) fn error(packet: &mut Packet, tuple: Tuple, target: Tuple) -> Rewritten {
    if tuple == target {
        return None;
    }
    let before = (SocketAddr::new(packet.src(), 0), SocketAddr::new(packet.dst(), 0));
    let quoted_source = target.destination();
    let quoted_destination = target.source();
    let ip = &mut packet.frame.bytes[ETHERNET..];
    if let (Some(src), Some(dst)) = (v4(quoted_source.ip()), v4(quoted_destination.ip())) {
        wire::rewrite_quoted_src(ip, src, port_of(target, quoted_source.port()));
        wire::rewrite_quoted_dst(ip, dst, port_of(target, quoted_destination.port()));
    }
    if tuple.dst != target.dst {
        packet.set_destination(target.dst.into(), None);
    }
    let after = (before.0, SocketAddr::new(packet.dst(), 0));
    changed(NatSide::Destination, None, protocol::ICMP, before, after)
}

fn changed(
    side: NatSide,
    rule: Option<u32>,
    protocol: u8,
    before: (SocketAddr, SocketAddr),
    after: (SocketAddr, SocketAddr),
) -> Rewritten {
    Some(NatRecord {
        side,
        rule: rule.unwrap_or(u32::MAX),
        created: rule.is_some(),
        protocol,
        src_before: before.0,
        dst_before: before.1,
        src_after: after.0,
        dst_after: after.1,
    })
}

/// One address of a packet that belongs to no flow, and the other one of a packet that it quotes.
pub(crate) fn stateless(packet: &mut Packet, flow: &Flow, side: NatSide, rule: u32, to: IpAddr) -> Rewritten {
    let errs = packet.quoted().is_some();
    let ports = matches!(flow.protocol, protocol::TCP | protocol::UDP).then_some((flow.sport, flow.dport));
    let (sport, dport) = ports.unwrap_or_default();
    let before = (SocketAddr::new(flow.src, sport), SocketAddr::new(flow.dst, dport));
    let ip = &mut packet.frame.bytes[ETHERNET..];
    let mut after = before;
    match (side, v4(to)) {
        (NatSide::Source, Some(address)) => {
            after.0.set_ip(to);
            if errs {
                wire::rewrite_quoted_dst(ip, address, None);
            }
            packet.set_source(to, None);
        }
        (NatSide::Destination, Some(address)) => {
            after.1.set_ip(to);
            if errs {
                wire::rewrite_quoted_src(ip, address, None);
            }
            packet.set_destination(to, None);
        }
        (_, None) => return None,
    }
    let mut record = changed(side, Some(rule), flow.protocol, before, after)?;
    record.created = false;
    Some(record)
}
