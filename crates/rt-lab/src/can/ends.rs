//! Who asks and who is asked: machines, addresses, names, `internet`, and groups of machines.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::NodeId;
use rt_rules::Construct;
use rt_scenario::model::{App, Model, Node, NodeKind};

use super::{lift, stranger, ways};
use crate::{Refusal, facts};

/// One end of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// A machine.
    Machine(NodeId),
    /// An address, whoever has it.
    Address(IpAddr),
    /// A name, which the asker looks up.
    Name(String),
    /// A stranger on the internet.
    Internet,
    /// Every machine of a group, a site or a network.
    Group(Vec<NodeId>),
}

impl End {
    /// What a text means.
    pub(super) fn read(model: &Model, text: &str) -> Result<End, Refusal> {
        let misuse = |why: String| Err(Refusal::Misuse { why });
        if text.is_empty() || text.contains(['[', ']', ' ', ':']) && text.split_whitespace().count() != 2 {
            return misuse(format!(
                "`{text}` names no end: write a machine, an IPv4 address, a name, `internet` or a group, with :PORT behind \
                 what is asked"
            ));
        }
        if text == "internet" && facts::node_named(model, text).is_none() {
            return Ok(End::Internet);
        }
        if let Some(end) = with_kind(model, text) {
            return end;
        }
        if let Some(node) = facts::node_named(model, text) {
            return match model.nodes[node.index()].kind {
                NodeKind::Switch => members(on_switch(model, node), text),
                _ => Ok(End::Machine(node)),
            };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return match address {
                IpAddr::V4(_) => Ok(End::Address(address)),
                IpAddr::V6(_) => misuse(format!("{text} is an IPv6 address, which no machine here speaks")),
            };
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return members(in_network(model, net), text);
        }
        for found in [in_group(model, text), in_site(model, text)] {
            if !found.is_empty() {
                return Ok(End::Group(found));
            }
        }
        if text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '/')) {
            return Err(unknown(model, "machine or IPv4 address", text));
        }
        if text.contains('.') {
            return Ok(End::Name(text.to_owned()));
        }
        Err(unknown(model, "machine", text))
    }

    /// The machines that ask when this is the asking end. May add a stranger to the model.
    pub(super) fn askers(&self, model: &mut Model, text: &str) -> Result<Vec<NodeId>, Refusal> {
        match self {
            End::Machine(node) => Ok(vec![*node]),
            End::Group(nodes) => Ok(nodes.clone()),
            End::Internet => Ok(vec![the_stranger(model, None)?]),
            End::Address(address) => match (owner(model, *address), address) {
                (Some(node), _) => Ok(vec![node]),
                (None, IpAddr::V4(v4)) if !lift::is_private(*address) => {
                    Ok(vec![the_stranger(model, Some(*v4))?])
                }
                _ => Err(Refusal::Misuse {
                    why: format!("nobody here has the address {address}, so nobody can ask from it"),
                }),
            },
            End::Name(name) => match address_of_name(model, name).and_then(|a| owner(model, a)) {
                Some(node) => Ok(vec![node]),
                None => Err(unknown(model, "machine", text)),
            },
        }
    }
}

/// `group web`, `site home`, `subnet private`: what has several meanings otherwise.
fn with_kind(model: &Model, text: &str) -> Option<Result<End, Refusal>> {
    let (kind, name) = text.split_once(char::is_whitespace)?;
    let found = match kind {
        "group" => in_group(model, name),
        "site" => in_site(model, name),
        "subnet" | "network" => match name.parse::<IpNet>() {
            Ok(net) => in_network(model, net),
            Err(_) => match subnet_named(model, name) {
                Ok(switch) => on_switch(model, switch),
                Err(refusal) => return Some(Err(refusal)),
            },
        },
        _ => {
            let why =
                format!("`{kind}` is no kind of group: write `group NAME`, `site NAME` or `subnet NAME`");
            return Some(Err(Refusal::Misuse { why }));
        }
    };
    Some(members(found, text))
}

/// The switch that a subnet's name means: a switch's own name, or what a cloud calls the subnet (`private`, `aws.private`).
fn subnet_named(model: &Model, name: &str) -> Result<NodeId, Refusal> {
    let switches = || model.nodes.iter().enumerate().filter(|(_, n)| n.kind == NodeKind::Switch);
    let id = |index: usize| NodeId(u32::try_from(index).unwrap_or(u32::MAX));
    if let Some((index, _)) = switches().find(|(_, n)| n.name == name) {
        return Ok(id(index));
    }
    let is_meant = |node: &Node| {
        let names = [node.name.clone(), subnet_name(node)];
        names.iter().any(|n| n == name || n.rsplit_once('.').is_some_and(|(_, short)| short == name))
    };
    let found: Vec<(usize, &Node)> = switches().filter(|(_, n)| is_meant(n)).collect();
    let said =
        |nodes: Vec<(usize, &Node)>| nodes.into_iter().map(|(_, n)| subnet_name(n)).collect::<Vec<_>>();
    match found.as_slice() {
        [(only, _)] => Ok(id(*only)),
        [] => {
            let names = said(switches().collect());
            Err(Refusal::unknown("subnet", name, &names.iter().map(String::as_str).collect::<Vec<_>>()))
        }
        _ => {
            let several: Vec<String> = said(found).iter().map(|n| format!("`subnet {n}`")).collect();
            let why = format!("`subnet {name}` may mean any of {}: write which", several.join(", "));
            Err(Refusal::Misuse { why })
        }
    }
}

/// `aws.private` for the switch `aws.subnet-private` of a cloud; other switches are called by their own name.
fn subnet_name(switch: &Node) -> String {
    let parts = switch.name.rsplit_once('.').filter(|_| switch.role.starts_with("subnet"));
    let parts = parts.and_then(|(site, short)| Some((site, short.strip_prefix("subnet-")?)));
    parts.map_or_else(|| switch.name.clone(), |(site, name)| format!("{site}.{name}"))
}

fn members(found: Vec<NodeId>, text: &str) -> Result<End, Refusal> {
    if found.is_empty() {
        return Err(Refusal::Misuse { why: format!("there is no machine in `{text}`") });
    }
    Ok(End::Group(found))
}

fn nodes_where(model: &Model, holds: impl Fn(usize) -> bool) -> Vec<NodeId> {
    let all = (0..model.nodes.len()).filter(|i| model.nodes[*i].kind != NodeKind::Switch && holds(*i));
    all.filter_map(|i| u32::try_from(i).ok().map(NodeId)).collect()
}

/// A machine that is asked and asks: a host, and an instance without the cloud's source/destination check, which passes on
/// packets of others and is a machine all the same.
pub(super) fn is_machine(node: &Node) -> bool {
    let group = |c: &rt_rules::Chain| matches!(c.policy.construct, Some(Construct::SecurityGroup { .. }));
    node.kind == NodeKind::Host || node.chains.iter().any(group)
}

/// Machines on a switch; a router is on it only to leave it.
fn on_switch(model: &Model, switch: NodeId) -> Vec<NodeId> {
    let near: Vec<NodeId> = ways::links_of(model, switch).into_iter().map(|(_, n)| n).collect();
    nodes_where(model, |i| is_machine(&model.nodes[i]) && near.iter().any(|n| n.index() == i))
}

fn in_network(model: &Model, net: IpNet) -> Vec<NodeId> {
    let inside = |i: usize| addresses(model, i).iter().any(|a| net.contains(a));
    let all = nodes_where(model, inside);
    let hosts: Vec<NodeId> = all.iter().copied().filter(|n| is_machine(&model.nodes[n.index()])).collect();
    if hosts.is_empty() { all } else { hosts }
}

fn in_site(model: &Model, name: &str) -> Vec<NodeId> {
    nodes_where(model, |i| model.nodes[i].site.as_deref() == Some(name) && is_machine(&model.nodes[i]))
}

/// Machines that wear a security group: by its name, or `VPC.NAME`.
fn in_group(model: &Model, name: &str) -> Vec<NodeId> {
    nodes_where(model, |i| {
        let node = &model.nodes[i];
        let wears = |site: Option<&str>, group: &str| {
            groups_of(model, i).iter().any(|g| g == group) && (site.is_none() || site == node.site.as_deref())
        };
        wears(None, name) || name.split_once('.').is_some_and(|(site, group)| wears(Some(site), group))
    })
}

/// The security groups that a machine wears.
pub(super) fn groups_of(model: &Model, node: usize) -> Vec<String> {
    let chains = model.nodes[node].chains.iter().filter_map(|c| c.policy.construct.as_ref());
    let names = chains.filter_map(|c| match c {
        Construct::SecurityGroup { name } => Some(name.split(", ").map(str::to_owned)),
        Construct::NetworkAcl { .. } | Construct::InternetGateway => None,
    });
    let mut names: Vec<String> = names.flatten().collect();
    names.sort();
    names.dedup();
    names
}

/// A machine's addresses: written, or reserved for its MAC by a DHCP server.
pub(super) fn addresses(model: &Model, node: usize) -> Vec<IpAddr> {
    let interfaces = &model.nodes[node].interfaces;
    let mut all: Vec<IpAddr> = interfaces.iter().flat_map(|i| &i.addresses).map(ipnet::IpNet::addr).collect();
    for app in model.nodes.iter().flat_map(|n| &n.apps) {
        if let App::DhcpServer { reservations, .. } = app {
            let own = reservations.iter().filter(|(mac, _)| interfaces.iter().any(|i| i.mac == *mac));
            all.extend(own.map(|(_, address)| *address));
        }
    }
    all.dedup();
    all
}

/// The first machine that has an address, by itself or by one-to-one NAT.
pub(super) fn owner(model: &Model, address: IpAddr) -> Option<NodeId> {
    let direct = nodes_where(model, |i| addresses(model, i).contains(&address)).first().copied();
    let inside = public_addresses(model).into_iter().find(|(_, outside)| *outside == address);
    let behind = inside.and_then(|(inside, _)| {
        nodes_where(model, |i| addresses(model, i).contains(&inside)).first().copied()
    });
    behind.or(direct)
}

/// One-to-one NAT: (inside, outside).
pub(super) fn public_addresses(model: &Model) -> Vec<(IpAddr, IpAddr)> {
    let rules = model.nodes.iter().flat_map(|n| &n.nat);
    let pairs = rules.filter_map(|r| match r.action {
        rt_rules::NatAction::Static { inside, outside } => Some((inside, outside)),
        _ => None,
    });
    pairs.collect()
}

/// The stranger, who is added when it is not there yet.
pub(super) fn the_stranger(
    model: &mut Model,
    address: Option<std::net::Ipv4Addr>,
) -> Result<NodeId, Refusal> {
    let there = model.nodes.iter().position(|n| n.name == stranger::NAME);
    match (there.and_then(|i| u32::try_from(i).ok()), address) {
        (Some(index), None) => Ok(NodeId(index)),
        _ => stranger::add(model, address),
    }
}

/// Names that a refusal says.
const NEAREST: usize = 12;

/// Nothing is called so: the refusal names what comes nearest, machines and, for what may be a name, names with an address.
pub(super) fn unknown(model: &Model, what: &'static str, text: &str) -> Refusal {
    let far = |name: &str| {
        let short = name.rsplit('.').next().unwrap_or_default();
        distance(text, name).min(distance(text, short))
    };
    let machines = model.nodes.iter().filter(|n| n.kind != NodeKind::Switch && n.name != stranger::NAME);
    let mut known: Vec<&str> = machines.map(|n| n.name.as_str()).collect();
    if text.contains('.') {
        let lines = model.zones.iter().flat_map(|z| z.text.lines());
        let named = lines.filter(|l| l.split_whitespace().any(|w| w == "A"));
        known.extend(named.filter_map(|l| l.split_whitespace().next()).map(|n| n.trim_end_matches('.')));
    }
    known.sort_by_cached_key(|name| (far(name), (*name).to_owned()));
    known.dedup();
    known.truncate(NEAREST);
    Refusal::unknown(what, text, &known)
}

/// Characters to insert, delete or replace, over the first 64 of each.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Whether a zone or a hosts file has a name, by itself or by a wildcard (RFC 4592).
pub(super) fn is_known_name(model: &Model, name: &str) -> bool {
    let wanted = name.trim_end_matches('.').to_ascii_lowercase();
    let is_meant = |owner: &str| {
        let owner = owner.trim_end_matches('.').to_ascii_lowercase();
        let below = owner.strip_prefix('*').is_some_and(|rest| wanted.ends_with(rest));
        owner == wanted || below
    };
    let mut hosts = model.nodes.iter().flat_map(|n| &n.resolver.hosts);
    let mut lines = model.zones.iter().flat_map(|z| z.text.lines());
    hosts.any(|(host, _)| is_meant(host)) || lines.any(|l| l.split_whitespace().next().is_some_and(is_meant))
}

/// The address that the zones give for a name.
fn address_of_name(model: &Model, name: &str) -> Option<IpAddr> {
    let wanted = name.trim_end_matches('.');
    let lines = model.zones.iter().flat_map(|z| z.text.lines());
    lines.into_iter().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let owner = words.first()?.trim_end_matches('.');
        let at = words.iter().position(|w| *w == "A")?;
        owner.eq_ignore_ascii_case(wanted).then(|| words.get(at + 1)?.parse().ok())?
    })
}

/// `TO`, `TO:PORT` or `TO:PORT/udp`.
pub(super) fn split_port(to: &str) -> Result<(&str, Option<u16>, Option<&str>), Refusal> {
    let Some((target, rest)) = to.rsplit_once(':') else { return Ok((to, None, None)) };
    let (port, protocol) = match rest.split_once('/') {
        Some((port, protocol)) => (port, Some(protocol)),
        None => (rest, None),
    };
    let parsed = port.parse::<u16>().ok().filter(|p| *p > 0);
    let why = || Refusal::Misuse { why: format!("`{port}` is not a port (1 to 65535)") };
    Ok((target, Some(parsed.ok_or_else(why)?), protocol))
}
