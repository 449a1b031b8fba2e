//! ICMP for IPv4 (RFC 792, RFC 1191): echo and the errors that a stack sends and reads; the rest as [`Icmpv4::Other`].

use crate::{Error, Layer, be16, checksum};

/// Codes of [`Icmpv4::Unreachable`].
pub mod unreachable_code {
    /// Network unreachable.
    pub const NET: u8 = 0;
    /// Host unreachable.
    pub const HOST: u8 = 1;
    /// Protocol unreachable.
    pub const PROTOCOL: u8 = 2;
    /// Port unreachable.
    pub const PORT: u8 = 3;
    /// Fragmentation needed and DF set (RFC 1191 tells the MTU).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Communication administratively prohibited (RFC 1812, 5.2.7.1).
    pub const ADMIN_PROHIBITED: u8 = 13;
}

/// An ICMP message without what follows its first eight bytes (echo data, or the quoted packet of an error).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmpv4 {
    /// Type 8.
    EchoRequest {
        /// Which pinger.
        id: u16,
        /// Which ping.
        seq: u16,
    },
    /// Type 0.
    EchoReply {
        /// As in the request.
        id: u16,
        /// As in the request.
        seq: u16,
    },
    /// Type 3; the payload quotes the packet.
    Unreachable {
        /// See [`unreachable_code`].
        code: u8,
        /// For code 4 the MTU of the next hop in bytes, else 0.
        mtu: u16,
    },
    /// Type 11; the payload quotes the packet.
    TimeExceeded {
        /// 0 TTL ran out on the way, 1 reassembly took too long.
        code: u8,
    },
    /// Any other message.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Bytes 4 to 7.
        rest: [u8; 4],
    },
}

impl Icmpv4 {
    /// Bytes before the payload.
    pub const LEN: usize = 8;

    /// Reads a message and verifies its checksum, which covers the payload too.
    ///
    /// # Errors
    /// Too short, or a checksum that does not match.
    pub fn parse(bytes: &[u8]) -> Result<(Icmpv4, &[u8]), Error> {
        let Some((b, payload)) = bytes.split_at_checked(Self::LEN) else {
            return Err(Error::new(Layer::Icmpv4, "length", bytes.len()));
        };
        if !checksum::holds(checksum::ones_sum(bytes)) {
            return Err(Error::new(Layer::Icmpv4, "checksum", 2));
        }
        Ok((Icmpv4::of_head(b), payload))
    }

    /// The message of eight bytes whose checksum somebody else verifies (or nobody can, in a quoted packet).
    pub(crate) fn of_head(b: &[u8]) -> Icmpv4 {
        let (first, second) = (be16(b, 4), be16(b, 6));
        match (b[0], b[1]) {
            (8, 0) => Icmpv4::EchoRequest { id: first, seq: second },
            (0, 0) => Icmpv4::EchoReply { id: first, seq: second },
            (3, 4) => Icmpv4::Unreachable { code: 4, mtu: second },
            (3, code) => Icmpv4::Unreachable { code, mtu: 0 },
            (11, code) => Icmpv4::TimeExceeded { code },
            (kind, code) => Icmpv4::Other { kind, code, rest: [b[4], b[5], b[6], b[7]] },
        }
    }

    /// Type and code.
    #[must_use]
    pub fn kind_and_code(&self) -> (u8, u8) {
        match *self {
            Icmpv4::EchoRequest { .. } => (8, 0),
            Icmpv4::EchoReply { .. } => (0, 0),
            Icmpv4::Unreachable { code, .. } => (3, code),
            Icmpv4::TimeExceeded { code } => (11, code),
            Icmpv4::Other { kind, code, .. } => (kind, code),
        }
    }

    /// Whether it is an error, which quotes a packet and never answers another error (RFC 1122, 3.2.2).
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self.kind_and_code().0, 3 | 4 | 5 | 11 | 12)
    }

    /// Appends the whole message with its checksum.
    pub fn emit(&self, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let (kind, code) = self.kind_and_code();
        let rest = match *self {
            Icmpv4::EchoRequest { id, seq } | Icmpv4::EchoReply { id, seq } => {
                let ([i0, i1], [s0, s1]) = (id.to_be_bytes(), seq.to_be_bytes());
                [i0, i1, s0, s1]
            }
            Icmpv4::Unreachable { code: unreachable_code::FRAGMENTATION_NEEDED, mtu } => {
                let [m0, m1] = mtu.to_be_bytes();
                [0, 0, m0, m1]
            }
            Icmpv4::Unreachable { .. } | Icmpv4::TimeExceeded { .. } => [0; 4],
            Icmpv4::Other { rest, .. } => rest,
        };
        out.extend_from_slice(&[kind, code, 0, 0]);
        out.extend_from_slice(&rest);
        out.extend_from_slice(payload);
        let check = checksum::of_sum(checksum::ones_sum(&out[start..]));
        out[start + 2..start + 4].copy_from_slice(&check.to_be_bytes());
    }
}
