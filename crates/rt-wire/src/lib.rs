//! Bytes to typed values and back, for the layers that we forward and rewrite. No state, no time.
//!
//! Not for: what a machine does with a packet (`rt-stack`), protocols above UDP and TCP (`rt-apps`, by their
//! libraries), file formats (`rt-files`).
//!
//! Each header is a small value with `parse(&[u8]) -> Result<(Self, payload), Error>` and `emit`, and obeys the law
//! `parse(emit(x)) == x`. Parsing never panics, whatever the bytes. What forwarding and NAT change on the way is
//! changed in place by [`rewrite`], with checksums mended incrementally. [`summary()`] prints a frame as tcpdump would
//! and [`layers()`] shows it field by field.
//!
//! Deliberate simplifications: IPv4 options are skipped (an emitted header that had them carries padding instead);
//! TCP options other than MSS, window scale, SACK and timestamps are skipped; no VLAN tags, no IPv6 yet (both are shown
//! as an unknown EtherType).

mod arp;
pub mod checksum;
mod ethernet;
mod icmpv4;
mod ipv4;
mod layers;
mod mac;
pub mod rewrite;
mod seq;
mod summary;
mod tcp;
mod tcp_options;
mod udp;

use core::fmt;

pub use arp::{ArpOperation, ArpPacket};
pub use ethernet::{EthernetHeader, ethertype};
pub use icmpv4::{Icmpv4, unreachable_code};
pub use ipv4::{Ipv4Header, protocol};
pub use layers::{LayerView, layers};
pub use mac::{MacAddr, NotAMac};
pub use seq::Seq;
pub use summary::summary;
pub use tcp::{TcpFlags, TcpHeader};
pub use tcp_options::{FastOpenOption, OptionOrder, TcpOptions};
pub use udp::UdpHeader;

/// A layer whose header could not be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Layer {
    /// Ethernet II (IEEE 802.3).
    Ethernet,
    /// ARP (RFC 826).
    Arp,
    /// IPv4 (RFC 791).
    Ipv4,
    /// ICMP (RFC 792).
    Icmpv4,
    /// UDP (RFC 768).
    Udp,
    /// TCP (RFC 9293).
    Tcp,
}

/// Bytes are not a valid header: which layer, which field, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    /// The layer.
    pub layer: Layer,
    /// The first field that is wrong; `checksum` for a checksum that does not match, `length` for too few bytes.
    pub field: &'static str,
    /// Offset of that field in bytes from the start of the layer's header.
    pub offset: usize,
}

impl Error {
    pub(crate) const fn new(layer: Layer, field: &'static str, offset: usize) -> Error {
        Error { layer, field, offset }
    }

    /// Whether the header was well formed and only its checksum does not match.
    #[must_use]
    pub fn is_checksum(&self) -> bool {
        self.field == "checksum"
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad {:?} {} at byte {}", self.layer, self.field, self.offset)
    }
}

impl core::error::Error for Error {}

/// A big-endian u16 at `at`; the caller has checked the length.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// A big-endian u32 at `at`; the caller has checked the length.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
