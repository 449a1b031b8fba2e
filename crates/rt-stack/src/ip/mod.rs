//! IPv4 (RFC 791, RFC 1122, RFC 1812): where a destination is, cutting datagrams up and putting them together, and the
//! path MTUs that ICMP told us.

pub(crate) mod destination;
pub(crate) mod fragment;
pub(crate) mod path_mtu;
pub(crate) mod reassembly;
