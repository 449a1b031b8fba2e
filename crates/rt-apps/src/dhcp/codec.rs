//! DHCP messages in and out of bytes, with the few fields that we use.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Encodable};
use rt_base::MacAddr;

/// Least length of a BOOTP message (RFC 1542, 2.1).
const SHORTEST: usize = 300;

/// Where the magic cookie stands.
const COOKIE_AT: usize = 236;

/// An empty message. Made from bytes, because the library's constructors draw a transaction id from the system.
pub(crate) fn blank(opcode: Opcode, xid: u32, mac: MacAddr) -> Message {
    let mut bytes = [0; COOKIE_AT + 4];
    bytes[0] = u8::from(opcode);
    bytes[1] = 1;
    bytes[COOKIE_AT..].copy_from_slice(&[99, 130, 83, 99]);
    let mut message = Message::from_bytes(&bytes).expect("invariant: a blank BOOTP message is well-formed");
    message.set_xid(xid).set_chaddr(&mac.0);
    message
}

/// The broadcast flag.
pub(crate) fn broadcast() -> Flags {
    Flags::default().set_broadcast()
}

/// The bytes of a message, padded to BOOTP's least length.
pub(crate) fn emit(message: &Message) -> Vec<u8> {
    let mut bytes = message.to_vec().expect("invariant: our own messages can be written");
    bytes.resize(bytes.len().max(SHORTEST), 0);
    bytes
}

/// Bytes before the options: the BOOTP header and the magic cookie (RFC 2131, 2).
const OPTIONS_AT: usize = 240;
const PAD: u8 = 0;
const END: u8 = 255;
/// The options that client and server here read: mask, router, resolvers, host name, requested address, lease, type,
/// server, parameter list, message, largest size, T1, T2, client id.
const KNOWN: &[u8] = &[1, 3, 6, 12, 50, 51, 53, 54, 55, 56, 57, 58, 59, 61];

/// The message with only the options that we read: the codec asserts lengths of some others, and a peer chooses those.
/// `None` when an option is cut off.
fn known_only(bytes: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = bytes.split_at_checked(OPTIONS_AT)?;
    let mut kept = head.to_vec();
    while let Some((&code, more)) = rest.split_first() {
        match code {
            END => break,
            PAD => rest = more,
            _ => {
                let whole = 2 + usize::from(*more.first()?);
                let (option, after) = rest.split_at_checked(whole)?;
                if KNOWN.contains(&code) {
                    kept.extend_from_slice(option);
                }
                rest = after;
            }
        }
    }
    kept.push(END);
    Some(kept)
}

/// A message from Ethernet's world with a message type; anything else is not for us.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Message, MessageType)> {
    let message = Message::from_bytes(&known_only(bytes)?).ok()?;
    // `chaddr` of a message with another length must not be asked for.
    if message.hlen() != 6 {
        return None;
    }
    let kind = message.opts().msg_type()?;
    Some((message, kind))
}

/// The client's MAC.
pub(crate) fn mac_of(message: &Message) -> Option<MacAddr> {
    <[u8; 6]>::try_from(message.chaddr()).ok().map(MacAddr)
}

/// Adds options.
pub(crate) fn with(mut message: Message, options: impl IntoIterator<Item = DhcpOption>) -> Message {
    for option in options {
        message.opts_mut().insert(option);
    }
    message
}

/// The server identifier (option 54).
pub(crate) fn server_id(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(address)) => Some(*address),
        _ => None,
    }
}

/// The address asked for (option 50).
pub(crate) fn requested(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
        _ => None,
    }
}

/// A span in seconds (options 51, 58, 59).
pub(crate) fn seconds(message: &Message, code: OptionCode) -> Option<u32> {
    match message.opts().get(code) {
        Some(DhcpOption::AddressLeaseTime(s) | DhcpOption::Renewal(s) | DhcpOption::Rebinding(s)) => Some(*s),
        _ => None,
    }
}

/// The prefix length of a netmask; `None` when its ones are not in front.
pub(crate) fn prefix_of(message: &Message) -> Option<u8> {
    match message.opts().get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => ipnet::ipv4_mask_to_prefix(*mask).ok(),
        _ => None,
    }
}

/// Addresses of an option that is a list (3, 6).
pub(crate) fn addresses(message: &Message, code: OptionCode) -> Vec<Ipv4Addr> {
    match message.opts().get(code) {
        Some(DhcpOption::Router(list) | DhcpOption::DomainNameServer(list)) => list.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<u8> {
        let message = blank(Opcode::BootReply, 0x0102_0304, MacAddr([2, 0, 0, 0, 0, 1]));
        let options = [
            DhcpOption::MessageType(MessageType::Ack),
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 0, 1)]),
            DhcpOption::AddressLeaseTime(60),
        ];
        emit(&with(message, options))
    }

    #[test]
    fn options_that_nobody_asked_for_are_passed_over() {
        // Client FQDN (81) shorter than its fixed part, and a classless route (121) of 200 bits: the codec would panic.
        let mut bytes = sample();
        let end = bytes.iter().rposition(|b| *b == 255).expect("an end option");
        bytes.splice(end..end, [81, 1, 0, 121, 5, 200, 1, 2, 3, 4]);
        assert!(super::parse(&bytes).is_some());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (message, kind) = parse(&sample()).unwrap();
        assert_eq!((kind, message.xid(), prefix_of(&message)), (MessageType::Ack, 0x0102_0304, Some(24)));
        assert_eq!(mac_of(&message), Some(MacAddr([2, 0, 0, 0, 0, 1])));
        assert_eq!(addresses(&message, OptionCode::Router), [Ipv4Addr::new(10, 0, 0, 1)]);
        assert_eq!(seconds(&message, OptionCode::AddressLeaseTime), Some(60));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Hostile bytes are refused or understood; every field that we look at can be looked at.
        #[test]
        fn bytes_never_panic(mut edits in prop::collection::vec((0usize..300, any::<u8>()), 0..8), cut in 0usize..310) {
            let mut bytes = sample();
            for (at, byte) in edits.drain(..) {
                bytes[at] = byte;
            }
            bytes.truncate(cut);
            if let Some((message, _)) = parse(&bytes) {
                let _ = (mac_of(&message), server_id(&message), requested(&message), prefix_of(&message));
                let _ = (addresses(&message, OptionCode::Router), seconds(&message, OptionCode::Renewal));
            }
        }
    }
}
