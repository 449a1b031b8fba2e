//! ICMP (RFC 792, RFC 1122 3.2.2, RFC 1812 4.3): which error answers a packet, how often, and what an error means to
//! a socket.
//!
//! Not for sending: the spine does that. Main types: [`Complaint`], [`Limiter`]. Redirects and source quench are
//! neither sent nor obeyed (RFC 6633; Linux routers would send redirects); timestamps and address masks are not answered.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use rt_base::{Nanos, Time};
use rt_wire::{Icmpv4, Ipv4Header, unreachable_code};

use crate::error::SocketError;
use crate::packet::{LOOPBACK, Packet, protocol};

/// An ICMP error to be sent about a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Complaint {
    Net,
    Host,
    Protocol,
    Port,
    Prohibited,
    TooBig { mtu: u16 },
    Ttl,
    ReassemblyTime,
}

impl Complaint {
    /// As a message.
    pub(crate) fn message(self) -> Icmpv4 {
        let unreachable = |code| Icmpv4::Unreachable { code, mtu: 0 };
        match self {
            Complaint::Net => unreachable(unreachable_code::NET),
            Complaint::Host => unreachable(unreachable_code::HOST),
            Complaint::Protocol => unreachable(unreachable_code::PROTOCOL),
            Complaint::Port => unreachable(unreachable_code::PORT),
            Complaint::Prohibited => unreachable(unreachable_code::ADMIN_PROHIBITED),
            Complaint::TooBig { mtu } => {
                Icmpv4::Unreachable { code: unreachable_code::FRAGMENTATION_NEEDED, mtu }
            }
            Complaint::Ttl => Icmpv4::TimeExceeded { code: 0 },
            Complaint::ReassemblyTime => Icmpv4::TimeExceeded { code: 1 },
        }
    }

    /// As the application of an own packet sees it.
    pub(crate) fn error(self) -> SocketError {
        match self {
            Complaint::Net => SocketError::NetUnreachable,
            Complaint::Host | Complaint::ReassemblyTime => SocketError::HostUnreachable,
            Complaint::Protocol => SocketError::ProtocolUnreachable,
            Complaint::Port => SocketError::Refused,
            Complaint::Prohibited => SocketError::Prohibited,
            Complaint::TooBig { .. } => SocketError::MessageTooLong,
            Complaint::Ttl => SocketError::TtlExceeded,
        }
    }
}

/// What an error that arrived means to the socket whose packet it quotes; `None` for what is no error to an application.
pub(crate) fn meaning(message: &Icmpv4) -> Option<SocketError> {
    match *message {
        Icmpv4::TimeExceeded { code: 0 } => Some(SocketError::TtlExceeded),
        Icmpv4::TimeExceeded { .. } => Some(SocketError::HostUnreachable),
        // RFC 1122 3.2.2.1 and RFC 1812 5.2.7.1 name the codes.
        Icmpv4::Unreachable { code, .. } => Some(match code {
            0 | 6 | 11 => SocketError::NetUnreachable,
            2 => SocketError::ProtocolUnreachable,
            3 => SocketError::Refused,
            4 => SocketError::MessageTooLong,
            9 | 10 | 13 => SocketError::Prohibited,
            _ => SocketError::HostUnreachable,
        }),
        _ => None,
    }
}

/// Most bytes of an ICMP error, IP header included (RFC 1812, 4.3.2.3).
const LONGEST_ERROR: usize = 576;

/// What an error quotes of a packet.
pub(crate) fn quote(datagram: &[u8]) -> &[u8] {
    &datagram[..datagram.len().min(LONGEST_ERROR - Ipv4Header::LEN - Icmpv4::LEN)]
}

/// Whether an error may be sent about this packet at all (RFC 1122, 3.2.2).
pub(crate) fn may_complain(packet: &Packet, to_broadcast: bool) -> bool {
    let source = packet.ip.src;
    //= rfc1122#3.2.2 MUST NOT
    let single = !source.is_unspecified()
        && !source.is_multicast()
        && !source.is_broadcast()
        && (!source.is_loopback() || packet.in_port == Some(LOOPBACK));
    let about_error = packet.ip.protocol == protocol::ICMP && !is_query(packet.payload().first());
    let group =
        packet.from_group || to_broadcast || packet.ip.dst.is_multicast() || packet.ip.dst.is_broadcast();
    single && !about_error && !group && !packet.is_later_fragment()
}

/// The ICMP types that ask or answer; about all others (errors, unknown ones) nobody complains.
fn is_query(kind: Option<&u8>) -> bool {
    matches!(kind, Some(0 | 8 | 13..=18))
}

/// How often errors are sent (RFC 1812, 4.3.2.8), with Linux's numbers: 1,000 a second for all with bursts of 50, and one
/// a second for each destination with bursts of 6. Echo replies are not limited.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    all: Option<Bucket>,
    each: BTreeMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Tokens in billionths, full at first.
    level: u64,
    at: Time,
}

const TOKEN: u64 = 1_000_000_000;
const MOST_BUCKETS: usize = 256;

impl Limiter {
    /// Whether an error may go to `dst` now; counts it if so.
    pub(crate) fn permit(&mut self, now: Time, dst: Ipv4Addr) -> bool {
        //= rfc1812#4.3.2.8 SHOULD
        let all = self.all.get_or_insert(Bucket { level: 50 * TOKEN, at: now });
        if self.each.len() >= MOST_BUCKETS {
            // A bucket untouched for six seconds is full again: forgetting it changes nothing.
            self.each.retain(|_, bucket| now.since(bucket.at) < Nanos::from_secs(6));
        }
        if self.each.len() >= MOST_BUCKETS {
            return false;
        }
        let each = self.each.entry(dst.into()).or_insert(Bucket { level: 6 * TOKEN, at: now });
        all.refill(now, 1_000, 50);
        each.refill(now, 1, 6);
        let permitted = all.level >= TOKEN && each.level >= TOKEN;
        if permitted {
            all.level -= TOKEN;
            each.level -= TOKEN;
        }
        permitted
    }
}

impl Bucket {
    fn refill(&mut self, now: Time, per_second: u64, burst: u64) {
        let gained = now.since(self.at).0.saturating_mul(per_second);
        self.level = self.level.saturating_add(gained).min(burst * TOKEN);
        self.at = now;
    }
}
