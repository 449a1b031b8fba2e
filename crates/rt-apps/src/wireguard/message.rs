//! The four messages on the wire (whitepaper, 5.4): little-endian, the first byte is the type, three reserved bytes follow.

use super::crypto::TAG;

/// Bytes of an initiation, a response and a cookie reply.
pub(super) const INITIATION: usize = 148;
pub(super) const RESPONSE: usize = 92;
pub(super) const COOKIE_REPLY: usize = 64;
/// Bytes before the sealed packet of a transport message.
pub(super) const TRANSPORT_HEADER: usize = 16;

/// A message, as its parts stand in a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Message<'d> {
    /// Type 1: whoever has something to say and no key asks for one.
    Initiation { sender: u32, noise: &'d [u8], macs: Macs },
    /// Type 2: the answer.
    Response { sender: u32, receiver: u32, noise: &'d [u8], macs: Macs },
    /// Type 3: "I am busy: show that you are where you say".
    Cookie { receiver: u32, nonce: [u8; 24], sealed: &'d [u8] },
    /// Type 4: a packet, or none for a keepalive.
    Transport { receiver: u32, counter: u64, sealed: &'d [u8] },
}

/// The two MACs at the end of a handshake message (whitepaper, 5.4.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Macs {
    /// Proves that the sender knows our public key.
    pub(super) mac1: [u8; 16],
    /// Proves that it received our cookie; zeros without one.
    pub(super) mac2: [u8; 16],
}

impl Message<'_> {
    /// Reads a datagram; `None` for what is no message of WireGuard's.
    pub(super) fn parse(datagram: &[u8]) -> Option<Message<'_>> {
        let kind = u32_at(datagram, 0)?;
        match (kind, datagram.len()) {
            (1, INITIATION) => Some(Message::Initiation {
                sender: u32_at(datagram, 4)?,
                noise: datagram.get(8..116)?,
                macs: macs(datagram)?,
            }),
            (2, RESPONSE) => Some(Message::Response {
                sender: u32_at(datagram, 4)?,
                receiver: u32_at(datagram, 8)?,
                noise: datagram.get(12..60)?,
                macs: macs(datagram)?,
            }),
            (3, COOKIE_REPLY) => Some(Message::Cookie {
                receiver: u32_at(datagram, 4)?,
                nonce: array(datagram, 8)?,
                sealed: datagram.get(32..)?,
            }),
            (4, TRANSPORT_MIN..) => Some(Message::Transport {
                receiver: u32_at(datagram, 4)?,
                counter: u64::from_le_bytes(array(datagram, 8)?),
                sealed: datagram.get(TRANSPORT_HEADER..)?,
            }),
            _ => None,
        }
    }
}

const TRANSPORT_MIN: usize = TRANSPORT_HEADER + TAG;

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn macs(datagram: &[u8]) -> Option<Macs> {
    let at = datagram.len().checked_sub(32)?;
    Some(Macs { mac1: array(datagram, at)?, mac2: array(datagram, at + 16)? })
}

/// A handshake message without its MACs.
pub(super) fn handshake(kind: u32, indices: &[u32], noise: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    indices.iter().for_each(|index| bytes.extend(index.to_le_bytes()));
    bytes.extend(noise);
    bytes
}

/// A cookie reply.
pub(super) fn cookie(receiver: u32, nonce: &[u8; 24], sealed: &[u8]) -> Vec<u8> {
    let mut bytes = 3_u32.to_le_bytes().to_vec();
    bytes.extend(receiver.to_le_bytes());
    bytes.extend(nonce);
    bytes.extend(sealed);
    bytes
}

/// The header of a transport message.
pub(super) fn transport(receiver: u32, counter: u64) -> Vec<u8> {
    let mut bytes = 4_u32.to_le_bytes().to_vec();
    bytes.extend(receiver.to_le_bytes());
    bytes.extend(counter.to_le_bytes());
    bytes
}
