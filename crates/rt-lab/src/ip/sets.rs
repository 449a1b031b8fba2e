//! Several prefixes: what overlaps, what they are together, what is left without some, how one is cut up.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde_json::{Value, json};

use super::facts::{addresses, bits, hosts, not_usable};
use super::read::{self, Thing};
use super::{IpAnswer, IpQuery, count_text, special};

/// So many subnets are listed at most.
const MOST_LISTED: u128 = 4096;
/// So many pairs that overlap are listed at most.
const MOST_PAIRS: usize = 200;

/// The fewest prefixes of a range.
pub(super) fn of_range(first: IpAddr, last: IpAddr) -> Vec<IpNet> {
    match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Ipv4Subnets::new(a, b, 0).map(IpNet::V4).collect(),
        (IpAddr::V6(a), IpAddr::V6(b)) => Ipv6Subnets::new(a, b, 0).map(IpNet::V6).collect(),
        _ => Vec::new(),
    }
}

/// The prefixes that things are, each with the words that were typed.
fn nets(things: &[Thing]) -> Result<Vec<IpNet>, String> {
    let mut all = Vec::new();
    for thing in things {
        match *thing {
            Thing::Address(address) => all.push(IpNet::from(address)),
            Thing::Prefix { net, .. } => all.push(net),
            Thing::Range(first, last) => all.extend(of_range(first, last)),
            Thing::Length(length) => {
                return Err(format!(
                    "/{length} alone is no network\nhelp: write one such as 10.0.0.0/{length}"
                ));
            }
            Thing::Ports { first, .. } => {
                return Err(format!("port {first} is no network\nhelp: ask about ports alone"));
            }
        }
    }
    Ok(all)
}

/// Several prefixes: which overlap, and what they are together.
pub(super) fn together(things: &[Thing]) -> Result<IpAnswer, String> {
    let nets = nets(things)?;
    let mut pairs = Vec::new();
    for (i, a) in nets.iter().enumerate() {
        for b in &nets[i + 1..] {
            if a.contains(b) || b.contains(a) {
                pairs.push((*a, *b));
            }
        }
    }
    let mut text: String = pairs.iter().take(MOST_PAIRS).map(|(a, b)| overlap_line(*a, *b)).collect();
    if pairs.len() > MOST_PAIRS {
        text += &format!("... and {} pairs more\n", pairs.len() - MOST_PAIRS);
    }
    if pairs.is_empty() {
        text += &format!("no overlap between these {}\n", nets.len());
    }
    let summary = IpNet::aggregate(&nets);
    text += &format!("together: {}\n", listed(&summary));
    let rows: Vec<Value> = pairs
        .iter()
        .map(|(a, b)| json!({ "a": a, "b": b, "shared": if a.contains(b) { b } else { a } }))
        .collect();
    let json = json!({ "prefixes": nets, "overlaps": rows, "summary": summary });
    Ok(IpAnswer { text, json, no: !pairs.is_empty() })
}

fn overlap_line(a: IpNet, b: IpNet) -> String {
    let inside = |net: IpNet, which: &str, other: &str| match bits(net) {
        0 => format!("the one address of the {which} is in the {other}"),
        bits => format!("all {} of the {which} are in the {other}", addresses(bits)),
    };
    if a == b {
        format!("{a} stands twice\n")
    } else if a.contains(&b) {
        format!("{a} overlaps {b}: {}\n", inside(b, "second", "first"))
    } else {
        format!("{a} overlaps {b}: {}\n", inside(a, "first", "second"))
    }
}

fn listed(nets: &[IpNet]) -> String {
    let names: Vec<String> = nets.iter().map(IpNet::to_string).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// The fewest prefixes that cover the same addresses, and the one that covers them all.
pub(super) fn summarise(things: &[Thing]) -> Result<IpAnswer, String> {
    let nets = nets(things)?;
    let summary = IpNet::aggregate(&nets);
    let mut text: String = summary.iter().map(|net| format!("{net}\n")).collect();
    let one = covering(&summary).filter(|_| summary.len() > 1);
    if let Some(net) = one {
        text += &format!("one prefix for all of them: {net}, which holds more than they do\n");
    }
    Ok(IpAnswer { text, json: json!({ "summary": summary, "covering": one }), no: false })
}

/// The narrowest prefix that holds all; `None` for both families at once.
fn covering(nets: &[IpNet]) -> Option<IpNet> {
    let mut all = *nets.first()?;
    while let Some(outside) = nets.iter().find(|net| !all.contains(*net)) {
        if outside.addr().is_ipv4() != all.addr().is_ipv4() {
            return None;
        }
        all = all.supernet()?;
    }
    Some(all)
}

/// Whether everything lies inside one prefix.
pub(super) fn within(things: &[Thing], outer: &str) -> Result<IpAnswer, String> {
    let outer = read::prefix(outer)?;
    let nets = nets(things)?;
    let mut text = String::new();
    let mut rows = Vec::new();
    for net in &nets {
        let shown = if bits(*net) == 0 { net.addr().to_string() } else { net.to_string() };
        let inside = outer.contains(net);
        let line = match (inside, net.contains(&outer)) {
            (true, _) => format!("yes: {shown} is in {outer}"),
            (false, true) => format!("no: {shown} is wider than {outer} and holds it"),
            (false, false) if net.addr().is_ipv4() != outer.addr().is_ipv4() => {
                format!("no: {shown} and {outer} are not of one family")
            }
            (false, false) => {
                format!("no: {shown} is not in {outer} ({} to {})", outer.network(), outer.broadcast())
            }
        };
        text += &format!("{line}\n");
        rows.push(json!({ "prefix": net, "inside": inside }));
    }
    let no = nets.iter().any(|net| !outer.contains(net));
    Ok(IpAnswer { text, json: json!({ "of": outer, "inside": !no, "each": rows }), no })
}

/// What is left without some prefixes.
pub(super) fn except(things: &[Thing], holes: &[String]) -> Result<IpAnswer, String> {
    let holes: Vec<Thing> = holes.iter().map(|text| read::thing(text)).collect::<Result<_, _>>()?;
    let mut left = IpNet::aggregate(&nets(things)?);
    for hole in nets(&holes)? {
        left = left.into_iter().flat_map(|net| without(net, hole)).collect();
    }
    left.sort();
    let text = if left.is_empty() {
        "nothing is left\n".to_owned()
    } else {
        left.iter().map(|net| format!("{net}\n")).collect()
    };
    Ok(IpAnswer { text, json: json!({ "left": left }), no: false })
}

/// `net` without `hole`, as the fewest prefixes: each step halves, so there are at most 128.
fn without(net: IpNet, hole: IpNet) -> Vec<IpNet> {
    if hole.contains(&net) {
        return Vec::new();
    }
    if !net.contains(&hole) {
        return vec![net];
    }
    let halves = net.subnets(net.prefix_len() + 1).into_iter().flatten();
    halves.flat_map(|half| without(half, hole)).collect()
}

/// Cuts one prefix into subnets.
pub(super) fn cut(things: &[Thing], query: &IpQuery) -> Result<IpAnswer, String> {
    let [Thing::Prefix { net, .. }] = *things else {
        return Err("one prefix can be cut up\nhelp: roundtrip ip 10.0.0.0/16 --split /24".to_owned());
    };
    match (&query.split, query.into) {
        (Some(length), _) => {
            let length = read_length(net, length)?;
            equal(net, length, None)
        }
        (None, Some(0)) => {
            Err("a prefix cannot be cut into 0\nhelp: write how many subnets you need".to_owned())
        }
        (None, Some(wanted)) => {
            let more = u8::try_from(u64::from(wanted).next_power_of_two().trailing_zeros()).unwrap_or(32);
            let length = net.prefix_len().saturating_add(more);
            if length > net.max_prefix_len() {
                let most = addresses(bits(net));
                return Err(format!("{net} cannot be cut into {wanted}\nhelp: it has {most}"));
            }
            equal(net, length, Some(wanted))
        }
        (None, None) => by_hosts(net, &query.hosts),
    }
}

fn read_length(net: IpNet, text: &str) -> Result<u8, String> {
    let wrong = || {
        format!(
            "`{text}` is no prefix length for a part of {net}\nhelp: write one from /{} to /{}",
            net.prefix_len(),
            net.max_prefix_len()
        )
    };
    let length: u8 = text.trim_start_matches('/').parse().map_err(|_| wrong())?;
    if (net.prefix_len()..=net.max_prefix_len()).contains(&length) { Ok(length) } else { Err(wrong()) }
}

/// All subnets of a length; of those beyond `wanted` it is said that they are spare.
fn equal(net: IpNet, length: u8, wanted: Option<u32>) -> Result<IpAnswer, String> {
    let many = 1_u128 << (length - net.prefix_len()).min(127);
    if many > MOST_LISTED {
        let power = length - net.prefix_len();
        return Err(format!(
            "{net} has {} subnets of /{length}\nhelp: lists end at {MOST_LISTED}; cut a smaller prefix",
            count_text(power, 0)
        ));
    }
    let parts: Vec<IpNet> = net.subnets(length).map(Iterator::collect).unwrap_or_default();
    let used = wanted.map_or(parts.len(), |n| n as usize);
    let usable = match (special::of_no_machine(net), parts.first()) {
        (None, Some(part)) => {
            let usable = count_text(bits(*part), not_usable(*part));
            let what = if usable == "1" { "address" } else { "addresses" };
            format!("{usable} usable {what} each")
        }
        _ => "none of them for machines".to_owned(),
    };
    let spare = if used < parts.len() {
        format!(", {used} asked for and {} spare", parts.len() - used)
    } else {
        String::new()
    };
    let mut text = format!("{net} into {} of /{length}, {usable}{spare}\n", parts.len());
    text += &rows(&parts, |i, _| if i < used { String::new() } else { "  (spare)".to_owned() });
    let json = json!({ "of": net, "length": length, "subnets": parts_json(&parts), "asked": used });
    Ok(IpAnswer { text, json, no: false })
}

/// One subnet for each number of hosts, the largest first so that none is cut needlessly; what is left over at the end.
fn by_hosts(net: IpNet, wanted: &[u64]) -> Result<IpAnswer, String> {
    if wanted.contains(&0) {
        return Err(
            "a subnet for 0 hosts is none\nhelp: write how many machines each subnet is for".to_owned()
        );
    }
    if let Some(why) = special::of_no_machine(net) {
        return Err(format!(
            "no machine can have an address of {net}: {why}\nhelp: take a network of one's own, such as 10.0.0.0/16"
        ));
    }
    let mut order: Vec<u64> = wanted.to_vec();
    order.sort_unstable_by(|a, b| b.cmp(a));
    let mut free = vec![net];
    let mut parts = Vec::new();
    for hosts in &order {
        let length = length_for(net, *hosts);
        let found = length.and_then(|l| free.iter().position(|f| f.prefix_len() <= l));
        let (Some(length), Some(at)) = (length, found) else {
            let hosts = rt_base::count(*hosts, "host");
            return Err(format!(
                "{net} has no room left for {hosts}\nhelp: take a wider prefix, or fewer hosts"
            ));
        };
        let from = free.remove(at);
        let part = IpNet::new(from.network(), length).map_err(|e| e.to_string())?;
        parts.push(part);
        free.extend(without(from, part));
        free.sort_by_key(|f| (std::cmp::Reverse(f.prefix_len()), *f));
    }
    free.sort();
    let mut text = format!("{net}: {}\n", rt_base::count(parts.len() as u64, "subnet"));
    text += &rows(&parts, |i, part| {
        let usable = count_text(bits(part), not_usable(part));
        format!("  for {}, {usable} usable", rt_base::count(order[i], "host"))
    });
    text += &format!("left over: {}\n", listed(&free));
    let json = json!({ "of": net, "for": order, "subnets": parts_json(&parts), "left": free });
    Ok(IpAnswer { text, json, no: false })
}

/// The longest prefix with room for so many hosts. A subnet of IPv4 is a /30 at the smallest, so that it has a broadcast
/// address as any LAN.
fn length_for(net: IpNet, hosts: u64) -> Option<u8> {
    let longest = if net.addr().is_ipv4() { 30 } else { 128 };
    (net.prefix_len()..=longest).rev().find(|length| {
        let room = IpNet::new(net.network(), *length).map_or(0, |part| {
            let all = 1_u128.checked_shl(u32::from(bits(part))).unwrap_or(u128::MAX);
            all - u128::from(not_usable(part))
        });
        room >= u128::from(hosts)
    })
}

/// One line each: prefix, first and last usable address, a remark.
fn rows(parts: &[IpNet], remark: impl Fn(usize, IpNet) -> String) -> String {
    let width = parts.iter().map(|p| p.to_string().len()).max().unwrap_or(0);
    let line = |(i, part): (usize, &IpNet)| {
        let (first, last) = hosts(*part);
        format!("  {:width$}  {first} to {last}{}\n", part.to_string(), remark(i, *part))
    };
    parts.iter().enumerate().map(line).collect()
}

fn parts_json(parts: &[IpNet]) -> Vec<Value> {
    let one = |part: &IpNet| {
        let (first, last) = hosts(*part);
        json!({ "prefix": part, "first": first, "last": last })
    };
    parts.iter().map(one).collect()
}
