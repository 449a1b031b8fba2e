//! All about one address, one prefix, one range or one prefix length.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value, json};

use super::{count_json, count_text, read, sets, special, table};

/// AWS takes so many addresses of each subnet: the first four and the last.
const AWS_RESERVED: u64 = 5;

/// An address alone.
pub(super) fn address(address: IpAddr) -> (String, Value) {
    let mut rows = vec![("is", meaning(IpNet::from(address)))];
    let embedded = special::embedded(address);
    rows.extend(embedded.iter().map(|what| ("carries", what.clone())));
    let mask = match address {
        IpAddr::V4(v4) => read::mask_length(v4).filter(|_| v4.octets()[0] == 255 || v4.octets()[0] == 0),
        IpAddr::V6(_) => None,
    };
    if let Some(length) = mask {
        // All zeros is read as the mask; as a wildcard it would be one address.
        let kind = if address.to_string().starts_with("255") || length == 0 { "mask" } else { "wildcard" };
        rows.push(("as a", format!("{kind} it stands for /{length}")));
    }
    match address {
        IpAddr::V4(v4) => {
            rows.push(("number", format!("{} (0x{:08x})", u32::from(v4), u32::from(v4))));
            rows.push(("binary", v4.octets().map(|o| format!("{o:08b}")).join(".")));
        }
        IpAddr::V6(v6) => rows.push(("in full", full(v6))),
    }
    rows.push(("reverse", reverse(IpNet::from(address))));
    let json = json!({
        "address": address,
        "family": family(address),
        "special": special::of(IpNet::from(address)),
        "global": is_global(IpNet::from(address)),
        "carries": embedded,
        "mask_length": mask,
        "reverse": reverse(IpNet::from(address)),
    });
    (table(&address.to_string(), &rows), json)
}

/// A prefix; `host` is the address in it that was written.
pub(super) fn prefix(net: IpNet, host: Option<IpAddr>) -> (String, Value) {
    let bits = bits(net);
    let (first, last) = hosts(net);
    let mut rows = Vec::new();
    if let IpNet::V4(v4) = net {
        rows.push(("mask", format!("{}, wildcard {}", v4.netmask(), v4.hostmask())));
    }
    rows.push(("range", format!("{} to {}: {}", net.network(), net.broadcast(), addresses(bits))));
    rows.push(("hosts", hosts_line(net, first, last)));
    rows.push(("in AWS", aws_line(net, aws(net))));
    rows.push(("is", meaning(net)));
    let inside = special::inside(net);
    if !inside.is_empty() && special::of(net).is_none() {
        let names: Vec<String> =
            inside.iter().take(8).map(|s| format!("{} ({})", s.prefix, s.name)).collect();
        let more = if inside.len() > 8 { format!(" and {} more", inside.len() - 8) } else { String::new() };
        rows.push(("holds", format!("{}{more}", names.join(", "))));
    }
    rows.push(("reverse", reverse(net)));
    let title = match host {
        Some(host) => format!("{host} in {net}"),
        None => net.to_string(),
    };
    let v4 = |f: fn(Ipv4Net) -> Ipv4Addr| match net {
        IpNet::V4(v4) => json!(f(v4)),
        IpNet::V6(_) => Value::Null,
    };
    let has_broadcast = net.prefix_len() < 31 && special::of_no_machine(net).is_none();
    let hosts = match special::of_no_machine(net) {
        Some(why) => json!({ "first": null, "last": null, "count": 0, "why": why }),
        None => json!({ "first": first, "last": last, "count": count_json(bits, not_usable(net)) }),
    };
    let json = json!({
        "prefix": net,
        "host": host,
        "family": family(net.addr()),
        "network": net.network(),
        "last": net.broadcast(),
        "mask": v4(|n| n.netmask()),
        "wildcard": v4(|n| n.hostmask()),
        "broadcast": if has_broadcast { v4(|n| n.broadcast()) } else { Value::Null },
        "addresses": count_json(bits, 0),
        "hosts": hosts,
        "aws": aws_json(aws(net)),
        "special": special::of(net),
        "holds": inside,
        "global": is_global(net),
        "reverse": reverse(net),
    });
    (table(&title, &rows), json)
}

/// Addresses from one to another, as the fewest prefixes.
pub(super) fn range(first: IpAddr, last: IpAddr) -> (String, Value) {
    let nets = sets::of_range(first, last);
    let lines: String = nets.iter().map(|net| format!("  {net}\n")).collect();
    let what = rt_base::count(nets.len() as u64, "prefix");
    let count = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(u32::from(b) - u32::from(a)).checked_add(1),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(b) - u128::from(a)).checked_add(1),
        _ => None,
    };
    let count = count.map_or_else(|| "2^128".to_owned(), |n| n.to_string());
    let counted = if count == "1" { "1 address".to_owned() } else { format!("{count} addresses") };
    let title = format!("{first} to {last}: {counted}, {what}");
    (
        format!("{title}\n{lines}"),
        json!({ "first": first, "last": last, "addresses": count, "prefixes": nets }),
    )
}

/// A prefix length alone.
pub(super) fn length(length: u8) -> (String, Value) {
    let Some(net) = Ipv4Net::new(Ipv4Addr::UNSPECIFIED, length).ok() else {
        let bits = 128 - length;
        let rows = [("IPv6", addresses(bits))];
        let json = json!({ "length": length, "ipv6": { "addresses": count_json(bits, 0) } });
        return (table(&format!("/{length}"), &rows), json);
    };
    let any = IpNet::V4(net);
    let rows = [
        ("mask", format!("{}, wildcard {}", net.netmask(), net.hostmask())),
        ("IPv4", format!("{}, {} usable", addresses(bits(any)), count_text(bits(any), not_usable(any)))),
        ("in AWS", aws_line(any, aws_size(any))),
        ("IPv6", addresses(128 - length)),
    ];
    let json = json!({
        "length": length,
        "mask": net.netmask(),
        "wildcard": net.hostmask(),
        "ipv4": { "addresses": count_json(bits(any), 0), "hosts": count_json(bits(any), not_usable(any)), "aws": aws_json(aws_size(any)) },
        "ipv6": { "addresses": count_json(128 - length, 0) },
    });
    (table(&format!("/{length}"), &rows), json)
}

/// `1 address`, `256 addresses`, `2^64 addresses`.
pub(super) fn addresses(bits: u8) -> String {
    format!("{} {}", count_text(bits, 0), if bits == 0 { "address" } else { "addresses" })
}

/// Host bits of a prefix.
pub(super) fn bits(net: IpNet) -> u8 {
    net.max_prefix_len() - net.prefix_len()
}

/// Addresses of a prefix that no machine can have.
pub(super) fn not_usable(net: IpNet) -> u64 {
    // RFC 3021: both of a /31 are usable; a /32 is one machine. IPv6 has no broadcast.
    if net.addr().is_ipv4() && net.prefix_len() < 31 { 2 } else { 0 }
}

/// The first and the last address that a machine can have.
pub(super) fn hosts(net: IpNet) -> (IpAddr, IpAddr) {
    match net {
        IpNet::V4(v4) if v4.prefix_len() < 31 && special::of_no_machine(net).is_none() => {
            let inner = |base: Ipv4Addr, by: i64| Ipv4Addr::from((i64::from(u32::from(base)) + by) as u32);
            (inner(v4.network(), 1).into(), inner(v4.broadcast(), -1).into())
        }
        _ => (net.network(), net.broadcast()),
    }
}

fn hosts_line(net: IpNet, first: IpAddr, last: IpAddr) -> String {
    let count = count_text(bits(net), not_usable(net));
    if let Some(why) = special::of_no_machine(net) {
        return format!("none: {why}");
    }
    match (net, bits(net)) {
        (_, 0) => "1 usable: one machine, as in a route to it or a rule about it".to_owned(),
        (IpNet::V4(_), 1) => "2 usable: the two ends of a link; there is no broadcast (RFC 3021)".to_owned(),
        (IpNet::V6(_), 1) => "2 usable: the two ends of a link (RFC 6164)".to_owned(),
        (IpNet::V4(v4), _) => format!("{first} to {last}: {count} usable; broadcast {}", v4.broadcast()),
        (IpNet::V6(_), _) => {
            let slaac =
                if net.prefix_len() == 64 { "" } else { "; machines make their own address only in a /64" };
            format!("{count}; the first is also every router's (anycast, RFC 4291, 2.6.1){slaac}")
        }
    }
}

/// Whether AWS would take it as a subnet, and what a user gets of it.
fn aws(net: IpNet) -> Result<u8, &'static str> {
    if special::of_no_machine(net).is_some() || special::is_link_local(net) {
        return Err("no network of a VPC: no instance can have these addresses");
    }
    aws_size(net)
}

/// The same by its length alone.
fn aws_size(net: IpNet) -> Result<u8, &'static str> {
    match (net, net.prefix_len()) {
        (IpNet::V4(_), 16..=28) | (IpNet::V6(_), 44 | 48 | 52 | 56 | 60 | 64) => Ok(bits(net)),
        (IpNet::V4(_), 0..=15) => Err("too large for a VPC or a subnet: /16 is the largest"),
        (IpNet::V4(_), _) => Err("too small for a subnet: /28 is the smallest"),
        (IpNet::V6(_), _) => Err("no subnet: those are /44 to /64 in steps of 4"),
    }
}

fn aws_line(net: IpNet, size: Result<u8, &'static str>) -> String {
    let bits = match size {
        Ok(bits) => bits,
        Err(why) => return why.to_owned(),
    };
    let count = count_text(bits, AWS_RESERVED);
    match net {
        IpNet::V4(v4) if u32::from(v4.network()) != 0 => {
            let base = u32::from(v4.network());
            let at = |n: u32| Ipv4Addr::from(base + n);
            format!(
                "{count} for instances: reserved are {} (network), {} (router), {} (DNS), {} (future), {} (broadcast)",
                at(0),
                at(1),
                at(2),
                at(3),
                v4.broadcast()
            )
        }
        _ => format!("{count} for instances: the first four and the last address of a subnet are reserved"),
    }
}

fn aws_json(size: Result<u8, &'static str>) -> Value {
    match size {
        Ok(bits) => json!({ "subnet": true, "addresses": count_json(bits, AWS_RESERVED) }),
        Err(why) => json!({ "subnet": false, "why": why }),
    }
}

fn meaning(net: IpNet) -> String {
    match special::of(net) {
        Some(special) => special.line(),
        None if net.prefix_len() == 0 => "everything: the default route".to_owned(),
        None if !special::inside(net).is_empty() => "partly special".to_owned(),
        None if net.addr().is_ipv4() => "public: routed on the internet once given out".to_owned(),
        None => "not given out: only 2000::/3 is routed on the internet".to_owned(),
    }
}

fn is_global(net: IpNet) -> bool {
    match special::of(net) {
        Some(special) => special.global,
        None => net.addr().is_ipv4() && special::inside(net).is_empty(),
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn full(address: std::net::Ipv6Addr) -> String {
    address.segments().map(|s| format!("{s:04x}")).join(":")
}

/// The zone of the reverse tree that holds the prefix (RFC 1035, section 3.5; RFC 3596, section 2.5).
fn reverse(net: IpNet) -> String {
    let (labels, per, root): (Vec<String>, u8, &str) = match net.addr() {
        IpAddr::V4(v4) => (v4.octets().iter().map(u8::to_string).collect(), 8, "in-addr.arpa"),
        IpAddr::V6(v6) => {
            let nibbles =
                v6.octets().iter().flat_map(|o| [o >> 4, o & 15]).map(|n| format!("{n:x}")).collect();
            (nibbles, 4, "ip6.arpa")
        }
    };
    let kept = usize::from(net.prefix_len() / per);
    let mut name: Vec<&str> = labels[..kept].iter().rev().map(String::as_str).collect();
    name.push(root);
    name.join(".")
}
