//! What was typed: an address, a prefix, a range, a prefix length, a port or a range of ports.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// One thing that can be asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Thing {
    /// An address alone.
    Address(IpAddr),
    /// A prefix, and the address in it that was written if that is not its first.
    Prefix {
        /// Host bits cleared.
        net: IpNet,
        /// As written.
        host: Option<IpAddr>,
    },
    /// Addresses from one to another, of one family.
    Range(IpAddr, IpAddr),
    /// A prefix length alone.
    Length(u8),
    /// Ports from one to another.
    Ports {
        /// The first.
        first: u16,
        /// The last, not before it.
        last: u16,
    },
}

/// Longest text that is echoed in an error.
const ECHO: usize = 64;

/// Reads one argument.
pub(super) fn thing(text: &str) -> Result<Thing, String> {
    let text = text.trim();
    if let Some(length) = text.strip_prefix('/') {
        return length.parse().ok().filter(|l| *l <= 128).map(Thing::Length).ok_or_else(|| {
            bad(text, "is no prefix length", "write one between /0 and /32, or up to /128 for IPv6")
        });
    }
    if let Some(ports) = as_ports(text) {
        return ports;
    }
    if let Some((address, length)) = text.split_once('/') {
        let address = self::address(address)?;
        let net = IpNet::new(address, prefix_length(text, address, length)?)
            .map_err(|_| bad(text, "is no prefix", "an IPv4 prefix ends at /32, an IPv6 prefix at /128"))?;
        let host = (net.network() != address).then_some(address);
        return Ok(Thing::Prefix { net: net.trunc(), host });
    }
    match text.split_once('-') {
        Some((first, last)) => {
            let (first, last) = (self::address(first)?, self::address(last)?);
            if first.is_ipv4() != last.is_ipv4() {
                return Err(bad(text, "mixes IPv4 and IPv6", "a range is of one family"));
            }
            if first > last {
                return Err(bad(text, "ends before it begins", &format!("write {last}-{first}")));
            }
            Ok(Thing::Range(first, last))
        }
        None => self::address(text).map(Thing::Address),
    }
}

/// A prefix; an address alone is the prefix that holds only it.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    match thing(text)? {
        Thing::Address(address) => Ok(IpNet::from(address)),
        Thing::Prefix { net, .. } => Ok(net),
        _ => Err(bad(text, "is no prefix", "write one such as 10.0.0.0/16 or 2001:db8::/32")),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.trim().parse().map_err(|_| bad(text, "is no address", &address_help(text)))
}

/// What is wrong with an address, as far as it can be told.
fn address_help(text: &str) -> String {
    let usual = "write one such as 192.168.1.5 or 2001:db8::5".to_owned();
    if text.contains('%') {
        return "leave the zone (from the % on) away: it names an interface of one machine".to_owned();
    }
    if text.contains(':') || !text.contains('.') {
        return usual;
    }
    let parts: Vec<&str> = text.split('.').collect();
    if parts.iter().any(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit())) {
        return format!("a name has its address in a zone, not here; {usual}");
    }
    if parts.len() != 4 {
        return format!("an IPv4 address has four numbers, this has {}", parts.len());
    }
    if let Some(part) = parts.iter().find(|p| p.len() > 1 && p.starts_with('0')) {
        return format!("write `{part}` without the zero in front: some programs read it as octal");
    }
    match parts.iter().find(|p| p.parse::<u8>().is_err()) {
        Some(part) => format!("each number of an IPv4 address ends at 255, and one is {part}"),
        None => usual,
    }
}

/// The length after the slash: `24`, a mask `255.255.255.0`, or a wildcard `0.0.0.255`.
fn prefix_length(text: &str, address: IpAddr, length: &str) -> Result<u8, String> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    if let Ok(length) = length.parse::<u8>() {
        let help = format!("an {} prefix ends at /{most}", if most == 32 { "IPv4" } else { "IPv6" });
        return if length <= most { Ok(length) } else { Err(bad(text, "is no prefix", &help)) };
    }
    let mask = length.parse::<Ipv4Addr>().ok().filter(|_| most == 32);
    let mask = mask.ok_or_else(|| bad(text, "is no prefix", "after the slash stands a length, as in /24"))?;
    mask_length(mask).ok_or_else(|| {
        bad(
            text,
            "has no mask after the slash",
            "a mask is ones, then zeros (255.255.255.0); a wildcard the opposite",
        )
    })
}

/// The prefix length that a mask or a wildcard stands for.
pub(super) fn mask_length(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let ones = |bits: u32| (bits.leading_ones() + bits.trailing_zeros() == 32).then(|| bits.leading_ones());
    // 0.0.0.0 is a mask and 255.255.255.255 is one too, as everywhere.
    let length = if bits == 0 { Some(0) } else { ones(bits).or_else(|| ones(!bits)) };
    length.and_then(|l| u8::try_from(l).ok())
}

/// `:443`, `443`, `tcp/443`, `443/udp`, `1024-65535`; `None` when it is not meant as ports.
fn as_ports(text: &str) -> Option<Result<Thing, String>> {
    let mut body = text;
    for protocol in ["tcp", "udp"] {
        body = body.strip_prefix(&format!("{protocol}/")).unwrap_or(body);
        body = body.strip_suffix(&format!("/{protocol}")).unwrap_or(body);
    }
    let body = match body.strip_prefix(':') {
        Some(rest) if !rest.starts_with(':') => rest,
        _ => body,
    };
    let (first, last) = body.split_once('-').unwrap_or((body, body));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return None;
    }
    Some(match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => Ok(Thing::Ports { first, last }),
        (Ok(first), Ok(last)) => Err(bad(text, "ends before it begins", &format!("write {last}-{first}"))),
        _ => Err(bad(text, "is no port", "ports go from 0 to 65535")),
    })
}

fn bad(text: &str, what: &str, help: &str) -> String {
    let shown: String = text.chars().take(ECHO).collect();
    let dots = if shown.len() < text.len() { "..." } else { "" };
    format!("`{shown}{dots}` {what}\nhelp: {help}")
}
