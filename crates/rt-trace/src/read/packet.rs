//! From Ethernet bytes to one IP packet: VLAN tags, IPv4 with its fragments, plain IPv6.
//!
//! Tolerant where captures are odd: a total length of zero (segmentation left to the card) takes all that is there, a
//! packet cut by the capture takes what is left.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use rt_wire::{EthernetHeader, Ipv4Header, checksum, ethertype};

/// A datagram whose transport header can be read.
#[derive(Clone, Debug)]
pub(crate) struct Packet<'a> {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    /// Whether bytes are missing because the capture cut the frame.
    pub(super) cut: bool,
    pub(super) payload: std::borrow::Cow<'a, [u8]>,
}

/// What a frame holds.
pub(super) enum Content<'a> {
    Arp(&'a [u8]),
    Ip(Packet<'a>),
    /// A fragment whose datagram is not whole yet.
    Fragment,
    /// An IP header whose checksum is wrong.
    BadChecksum,
    Unknown,
}

/// Fragments waiting for the rest of their datagram (RFC 791, 3.2), bounded in number and size.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    open: BTreeMap<(IpAddr, IpAddr, u8, u16), Datagram>,
    order: Vec<(IpAddr, IpAddr, u8, u16)>,
}

#[derive(Debug, Default)]
struct Datagram {
    parts: BTreeMap<u16, Vec<u8>>,
    bytes: usize,
    len: Option<usize>,
}

/// Datagrams in reassembly at once.
const MAX_OPEN: usize = 256;
/// Bytes kept of one datagram: twice what it can hold, for fragments that overlap.
const MAX_BYTES: usize = 128 << 10;

impl Fragments {
    /// Reads a frame.
    pub(super) fn content<'a>(&mut self, frame: &'a [u8]) -> Content<'a> {
        let Ok((ethernet, mut payload)) = EthernetHeader::parse(frame) else { return Content::Unknown };
        let mut kind = ethernet.ethertype;
        for _ in 0..2 {
            if !matches!(kind, ethertype::VLAN | 0x88a8) {
                break;
            }
            let Some(([_, _, hi, lo], rest)) = payload.split_first_chunk::<4>() else {
                return Content::Unknown;
            };
            kind = u16::from_be_bytes([*hi, *lo]);
            payload = rest;
        }
        match kind {
            ethertype::ARP => Content::Arp(payload),
            ethertype::IPV4 => self.ipv4(payload),
            ethertype::IPV6 => ipv6(payload),
            _ => Content::Unknown,
        }
    }

    fn ipv4<'a>(&mut self, bytes: &'a [u8]) -> Content<'a> {
        let Ok((header, rest)) = Ipv4Header::parse_unchecked(bytes) else { return Content::Unknown };
        if !checksum::holds(checksum::ones_sum(&bytes[..usize::from(header.header_len)])) {
            return Content::BadChecksum;
        }
        let len = if header.total_len == 0 { rest.len() } else { header.payload_len() };
        let payload = &rest[..len.min(rest.len())];
        let (src, dst) = (IpAddr::V4(header.src), IpAddr::V4(header.dst));
        let (protocol, ttl) = (header.protocol, header.ttl);
        let cut = len > rest.len();
        if !header.is_fragment() {
            return Content::Ip(Packet { src, dst, protocol, ttl, cut, payload: payload.into() });
        }
        if cut {
            return Content::Unknown;
        }
        match self.push((src, dst, protocol, header.id), header.frag_offset, header.mf, payload) {
            Some(whole) => Content::Ip(Packet { src, dst, protocol, ttl, cut, payload: whole.into() }),
            None => Content::Fragment,
        }
    }

    /// Keeps a fragment; returns the datagram when it is whole.
    fn push(
        &mut self,
        key: (IpAddr, IpAddr, u8, u16),
        offset: u16,
        more: bool,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        if !self.open.contains_key(&key) {
            if self.order.len() >= MAX_OPEN {
                let oldest = self.order.remove(0);
                self.open.remove(&oldest);
            }
            self.order.push(key);
        }
        let datagram = self.open.entry(key).or_default();
        if !more {
            datagram.len = Some(usize::from(offset) + payload.len());
        }
        if datagram.bytes + payload.len() <= MAX_BYTES && !datagram.parts.contains_key(&offset) {
            datagram.bytes += payload.len();
            datagram.parts.insert(offset, payload.to_vec());
        }
        let whole = datagram.whole()?;
        self.open.remove(&key);
        self.order.retain(|k| *k != key);
        Some(whole)
    }
}

impl Datagram {
    fn whole(&self) -> Option<Vec<u8>> {
        let len = self.len?;
        let mut out = Vec::with_capacity(len);
        for (&offset, part) in &self.parts {
            let skip = out.len().checked_sub(usize::from(offset))?;
            out.extend_from_slice(part.get(skip..).unwrap_or_default());
        }
        (out.len() == len).then_some(out)
    }
}

fn ipv6(bytes: &[u8]) -> Content<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<40>() else { return Content::Unknown };
    if head[0] >> 4 != 6 {
        return Content::Unknown;
    }
    let address = |at: usize| IpAddr::V6(Ipv6Addr::from(core::array::from_fn::<u8, 16, _>(|i| head[at + i])));
    let len = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let len = if len == 0 { rest.len() } else { len };
    Content::Ip(Packet {
        src: address(8),
        dst: address(24),
        protocol: head[6],
        ttl: head[7],
        cut: len > rest.len(),
        payload: rest[..len.min(rest.len())].into(),
    })
}
