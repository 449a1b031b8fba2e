//! ARP for IPv4 over Ethernet (RFC 826), 28 bytes.

use std::net::Ipv4Addr;

use crate::{Error, Layer, MacAddr, be16};

/// Question or answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArpOperation {
    /// Who has the target's address?
    Request,
    /// The sender has it.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArpPacket {
    /// Question or answer.
    pub operation: ArpOperation,
    /// MAC of the sender.
    pub sender_mac: MacAddr,
    /// Address of the sender (0.0.0.0 in a probe, RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// MAC of the target (zero in a request).
    pub target_mac: MacAddr,
    /// Address of the target.
    pub target_ip: Ipv4Addr,
}

impl ArpPacket {
    /// Bytes of the packet.
    pub const LEN: usize = 28;

    /// Reads a packet; what follows is Ethernet padding.
    ///
    /// # Errors
    /// Too short, not IPv4 over Ethernet, or neither request nor reply.
    pub fn parse(bytes: &[u8]) -> Result<(ArpPacket, &[u8]), Error> {
        let Some((b, rest)) = bytes.split_at_checked(Self::LEN) else {
            return Err(Error::new(Layer::Arp, "length", bytes.len()));
        };
        let expected =
            [("hardware type", 0, 1), ("protocol type", 2, 0x0800), ("address lengths", 4, 0x0604)];
        for (field, at, value) in expected {
            if be16(b, at) != value {
                return Err(Error::new(Layer::Arp, field, at));
            }
        }
        let operation = match be16(b, 6) {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return Err(Error::new(Layer::Arp, "operation", 6)),
        };
        let mac = |at: usize| MacAddr(core::array::from_fn(|i| b[at + i]));
        let ip = |at: usize| Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3]);
        let packet = ArpPacket {
            operation,
            sender_mac: mac(8),
            sender_ip: ip(14),
            target_mac: mac(18),
            target_ip: ip(24),
        };
        Ok((packet, rest))
    }

    /// Appends the packet.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let operation = match self.operation {
            ArpOperation::Request => 1,
            ArpOperation::Reply => 2,
        };
        out.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
        out.extend_from_slice(&self.sender_mac.0);
        out.extend_from_slice(&self.sender_ip.octets());
        out.extend_from_slice(&self.target_mac.0);
        out.extend_from_slice(&self.target_ip.octets());
    }
}
