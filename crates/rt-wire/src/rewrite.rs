//! What forwarding and NAT change, in place: TTL, addresses, ports, MACs, with checksums mended incrementally
//! (RFC 1624), so that a checksum that was wrong before stays wrong.
//!
//! All functions take bytes that [`crate::Ipv4Header::parse`] has accepted; anything else is left unchanged, never a
//! panic. `ip` starts at the IPv4 header. A "port" is the identifier in ICMP echo messages.

use std::net::Ipv4Addr;

use crate::checksum::{self, field_offset, fold, ones_sum, update, update32};
use crate::{MacAddr, be16, be32, protocol};

/// Writes both MACs of an Ethernet frame.
#[inline]
pub fn set_macs(frame: &mut [u8], dst: MacAddr, src: MacAddr) {
    if let Some(head) = frame.first_chunk_mut::<12>() {
        head[..6].copy_from_slice(&dst.0);
        head[6..].copy_from_slice(&src.0);
    }
}

/// Takes one from the TTL and mends the header checksum; returns the new TTL. A TTL of zero stays (and 0 is returned).
#[inline]
pub fn decrement_ttl(ip: &mut [u8]) -> u8 {
    let Some(b) = ip.first_chunk_mut::<12>() else { return 0 };
    if b[8] == 0 {
        return 0;
    }
    let old = be16(b, 8);
    b[8] -= 1;
    let check = update(be16(b, 10), old, be16(b, 8));
    b[10..12].copy_from_slice(&check.to_be_bytes());
    b[8]
}

/// Writes a new source address and, if given, source port.
pub fn rewrite_v4_src(ip: &mut [u8], address: Ipv4Addr, port: Option<u16>) {
    rewrite(ip, Side::Source, address, port);
}

/// Writes a new destination address and, if given, destination port.
pub fn rewrite_v4_dst(ip: &mut [u8], address: Ipv4Addr, port: Option<u16>) {
    rewrite(ip, Side::Destination, address, port);
}

/// As [`rewrite_v4_src`], for the packet that the ICMP error in `ip` quotes; mends the ICMP checksum too.
pub fn rewrite_quoted_src(ip: &mut [u8], address: Ipv4Addr, port: Option<u16>) {
    rewrite_quoted(ip, Side::Source, address, port);
}

/// As [`rewrite_v4_dst`], for the packet that the ICMP error in `ip` quotes; mends the ICMP checksum too.
pub fn rewrite_quoted_dst(ip: &mut [u8], address: Ipv4Addr, port: Option<u16>) {
    rewrite_quoted(ip, Side::Destination, address, port);
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

fn rewrite(ip: &mut [u8], side: Side, address: Ipv4Addr, port: Option<u16>) {
    let Some(len) = header_len(ip) else { return };
    let at = match side {
        Side::Source => 12,
        Side::Destination => 16,
    };
    let (old, new) = (be32(ip, at), u32::from(address));
    let check = update32(be16(ip, 10), old, new);
    ip[at..at + 4].copy_from_slice(&address.octets());
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    let later_fragment = be16(ip, 6) & 0x1fff != 0;
    if !later_fragment {
        let protocol = ip[9];
        rewrite_transport(&mut ip[len..], protocol, side, (old, new), port);
    }
}

/// Mends a UDP, TCP or ICMP echo header after its address changed, and sets the port. The checksum field may be cut off
/// in a quoted packet: then only the port is written.
fn rewrite_transport(segment: &mut [u8], protocol: u8, side: Side, address: (u32, u32), port: Option<u16>) {
    let (port_at, check_at) = match (protocol, side) {
        (protocol::ICMP, _) if matches!(segment.first(), Some(0 | 8)) => (4, Some(2)),
        (_, Side::Source) => (0, field_offset(protocol)),
        (_, Side::Destination) => (2, field_offset(protocol)),
    };
    let Some(check_at) = check_at else { return };
    if segment.len() < port_at + 2 {
        return;
    }
    let old_port = be16(segment, port_at);
    let new_port = port.unwrap_or(old_port);
    segment[port_at..port_at + 2].copy_from_slice(&new_port.to_be_bytes());
    if segment.len() < check_at + 2 {
        return;
    }
    let mut check = be16(segment, check_at);
    if protocol == protocol::UDP && check == 0 {
        return;
    }
    if protocol != protocol::ICMP {
        check = update32(check, address.0, address.1);
    }
    check = update(check, old_port, new_port);
    if protocol == protocol::UDP && check == 0 {
        check = 0xffff;
    }
    segment[check_at..check_at + 2].copy_from_slice(&check.to_be_bytes());
}

fn rewrite_quoted(ip: &mut [u8], side: Side, address: Ipv4Addr, port: Option<u16>) {
    let Some(len) = header_len(ip) else { return };
    let is_error = ip[9] == protocol::ICMP && matches!(ip.get(len), Some(3 | 4 | 5 | 11 | 12));
    let end = usize::from(be16(ip, 2)).min(ip.len());
    let Some(icmp) = ip.get_mut(len..end).filter(|icmp| is_error && icmp.len() > 8) else { return };
    let (head, quoted) = icmp.split_at_mut(8);
    let before = fold(ones_sum(quoted));
    rewrite(quoted, side, address, port);
    let after = fold(ones_sum(quoted));
    let check = checksum::update(be16(head, 2), before, after);
    head[2..4].copy_from_slice(&check.to_be_bytes());
}

/// The header length of something that can be an IPv4 header.
fn header_len(ip: &[u8]) -> Option<usize> {
    let len = usize::from(ip.first()? & 0x0f) * 4;
    (ip[0] >> 4 == 4 && len >= 20 && len <= ip.len()).then_some(len)
}
