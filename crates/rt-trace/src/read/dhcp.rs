//! DHCP (RFC 2131, 2132): messages by transaction id.

use std::net::{Ipv4Addr, SocketAddr};

use rt_base::MacAddr;
use serde::{Deserialize, Serialize};

use super::Mark;

/// All messages of one DHCP transaction (DISCOVER, OFFER, REQUEST, ACK share their xid).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DhcpExchange {
    /// Transaction id.
    pub xid: u32,
    /// The client's MAC.
    pub client: MacAddr,
    /// Whether the first message left this node.
    pub outgoing: bool,
    /// In the order seen.
    pub messages: Vec<DhcpMessage>,
}

/// One DHCP message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DhcpMessage {
    /// Where it was seen.
    pub mark: Mark,
    /// `DISCOVER`, `OFFER`, `REQUEST`, `ACK`, `NAK`, `DECLINE`, `RELEASE`, `INFORM`, `BOOTP` or `TYPE 99`.
    pub kind: String,
    /// Sent from.
    pub src: SocketAddr,
    /// Sent to.
    pub dst: SocketAddr,
    /// The client's present address (`ciaddr`), if any.
    pub client_address: Option<Ipv4Addr>,
    /// The address offered or given (`yiaddr`), if any.
    pub your_address: Option<Ipv4Addr>,
    /// Option 50, requested address.
    pub requested: Option<Ipv4Addr>,
    /// Option 54, server identifier.
    pub server: Option<Ipv4Addr>,
    /// Option 51, lease in seconds.
    pub lease_secs: Option<u32>,
    /// Option 1, subnet mask.
    pub mask: Option<Ipv4Addr>,
    /// Option 3, routers.
    pub routers: Vec<Ipv4Addr>,
    /// Option 6, name servers.
    pub resolvers: Vec<Ipv4Addr>,
    /// Every option in words, in the order of the message.
    pub options: Vec<DhcpOptionText>,
}

/// One DHCP option in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DhcpOptionText {
    /// Code.
    pub code: u8,
    /// Name as in RFC 2132: `subnet mask`.
    pub name: String,
    /// Value in words.
    pub value: String,
}

/// BOOTP's fixed part with the magic cookie (RFC 2131, 2).
const FIXED: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Transactions that a later message may still join.
const OPEN: usize = 256;

impl DhcpExchange {
    /// Reads a message and puts it into its exchange; tells whether it was one.
    pub(crate) fn take(
        exchanges: &mut Vec<DhcpExchange>,
        bytes: &[u8],
        ends: (SocketAddr, SocketAddr),
        mark: Mark,
        outgoing: bool,
    ) -> bool {
        let Some((xid, client, message)) = parse(bytes, ends, mark) else { return false };
        let known = exchanges.iter_mut().rev().take(OPEN).find(|e| e.xid == xid && e.client == client);
        match known {
            Some(exchange) => exchange.messages.push(message),
            None => exchanges.push(DhcpExchange { xid, client, outgoing, messages: vec![message] }),
        }
        true
    }
}

fn parse(
    bytes: &[u8],
    (src, dst): (SocketAddr, SocketAddr),
    mark: Mark,
) -> Option<(u32, MacAddr, DhcpMessage)> {
    let fixed: &[u8; FIXED] = bytes.first_chunk()?;
    if fixed[236..] != COOKIE || !matches!(fixed[0], 1 | 2) {
        return None;
    }
    let xid = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let client = MacAddr(core::array::from_fn(|i| fixed[28 + i]));
    let mut message = DhcpMessage {
        mark,
        kind: "BOOTP".to_owned(),
        src,
        dst,
        client_address: address(&fixed[12..16]).filter(|a| !a.is_unspecified()),
        your_address: address(&fixed[16..20]).filter(|a| !a.is_unspecified()),
        requested: None,
        server: None,
        lease_secs: None,
        mask: None,
        routers: Vec::new(),
        resolvers: Vec::new(),
        options: Vec::new(),
    };
    let mut rest = &bytes[FIXED..];
    while let Some((&code, after)) = rest.split_first() {
        rest = after;
        match code {
            0 => continue,
            255 => break,
            _ => {}
        }
        let Some((&len, after)) = rest.split_first() else { break };
        let Some((value, after)) = after.split_at_checked(usize::from(len)) else { break };
        rest = after;
        take_option(&mut message, code, value);
    }
    Some((xid, client, message))
}

fn take_option(message: &mut DhcpMessage, code: u8, value: &[u8]) {
    let number = || (value.len() == 4).then(|| value.iter().fold(0, |n, b| n << 8 | u32::from(*b)));
    match code {
        1 => message.mask = address(value),
        3 => message.routers = addresses(value),
        6 => message.resolvers = addresses(value),
        50 => message.requested = address(value),
        51 => message.lease_secs = number(),
        53 => message.kind = kind(value.first().copied().unwrap_or(0)),
        54 => message.server = address(value),
        _ => {}
    }
    let text = match code {
        53 => message.kind.clone(),
        51 | 58 | 59 | 2 => number().map_or_else(|| hex(value), |n| format!("{n} s")),
        1 | 3 | 4 | 6 | 28 | 42 | 50 | 54 if !value.is_empty() && value.len().is_multiple_of(4) => {
            addresses(value).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        12 | 15 | 17 | 56 | 60 | 66 | 67 => String::from_utf8_lossy(value).into_owned(),
        55 => value.iter().map(|c| option_name(*c)).collect::<Vec<_>>().join(", "),
        57 if value.len() == 2 => u16::from_be_bytes([value[0], value[1]]).to_string(),
        61 if value.len() == 7 && value[0] == 1 => {
            MacAddr(core::array::from_fn(|i| value[1 + i])).to_string()
        }
        _ => hex(value),
    };
    message.options.push(DhcpOptionText { code, name: option_name(code), value: text });
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

fn addresses(bytes: &[u8]) -> Vec<Ipv4Addr> {
    bytes.chunks_exact(4).filter_map(address).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Option 53 (RFC 2132, 9.6).
fn kind(code: u8) -> String {
    const NAMES: [&str; 8] = ["DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"];
    usize::from(code)
        .checked_sub(1)
        .and_then(|i| NAMES.get(i))
        .map_or_else(|| format!("TYPE {code}"), |n| (*n).to_owned())
}

fn option_name(code: u8) -> String {
    let name = match code {
        1 => "subnet mask",
        2 => "time offset",
        3 => "router",
        4 => "time server",
        6 => "domain name server",
        12 => "host name",
        15 => "domain name",
        17 => "root path",
        26 => "interface MTU",
        28 => "broadcast address",
        42 => "NTP server",
        50 => "requested address",
        51 => "lease time",
        52 => "overload",
        53 => "message type",
        54 => "server identifier",
        55 => "parameter list",
        56 => "message",
        57 => "maximum message size",
        58 => "renewal time",
        59 => "rebinding time",
        60 => "vendor class",
        61 => "client identifier",
        66 => "TFTP server",
        67 => "boot file",
        119 => "domain search",
        121 => "classless routes",
        other => return format!("option {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_words_and_a_cut_one() {
        let mut bytes = vec![0; FIXED];
        bytes[0] = 1;
        bytes[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
        bytes[16..20].copy_from_slice(&[192, 168, 1, 10]);
        bytes[28..34].copy_from_slice(&[0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        bytes[236..240].copy_from_slice(&COOKIE);
        bytes.extend_from_slice(&[53, 1, 2, 0, 51, 4, 0, 0, 14, 16, 6, 4, 8, 8, 8, 8, 55, 2, 1, 3, 255]);
        let ends = (SocketAddr::from(([192, 168, 1, 1], 67)), SocketAddr::from(([255, 255, 255, 255], 68)));
        let (xid, client, m) = parse(&bytes, ends, Mark::default()).unwrap();
        assert_eq!((xid, client.to_string().to_lowercase().as_str()), (0xdead_beef, "aa:bb:cc:dd:ee:ff"));
        let words: Vec<String> = m.options.iter().map(|o| format!("{}={}", o.name, o.value)).collect();
        assert_eq!(
            words,
            [
                "message type=OFFER",
                "lease time=3600 s",
                "domain name server=8.8.8.8",
                "parameter list=subnet mask, router"
            ]
        );
        assert_eq!(
            (m.kind.as_str(), m.lease_secs, m.your_address),
            ("OFFER", Some(3600), address(&[192, 168, 1, 10]))
        );
        for n in 0..bytes.len() {
            let _ = parse(&bytes[..n], ends, Mark::default());
        }
        assert!(parse(&bytes[..FIXED - 1], ends, Mark::default()).is_none());
    }
}
