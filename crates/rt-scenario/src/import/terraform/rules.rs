//! Security groups and network ACLs, in all the ways in which Terraform writes their rules.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::cloud::{Acl, Group, Line};
use super::graph::At;
use super::reader::{Inside, Reader, VPCS, network, shown};
use super::resolve::Meaning;
use super::routes::LISTS;
use crate::guard::LAST_NUMBER;
use crate::sites::{MOST_GROUPS, MOST_RULES};

/// Kinds that a security group's id may name: a group, or the default one of a VPC.
pub(super) const GROUPS: &[&str] =
    &["aws_security_group", "aws_default_security_group", "aws_vpc", "aws_default_vpc"];
const ACLS: &[&str] = &["aws_network_acl", "aws_default_network_acl", "aws_vpc", "aws_default_vpc"];

/// Which way packets go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Way::In => "from",
            Way::Out => "to",
        }
    }

    fn block(self) -> &'static str {
        match self {
            Way::In => "ingress",
            Way::Out => "egress",
        }
    }
}

/// One end of a rule, before it is written: networks, groups, lists.
#[derive(Default)]
struct Peers {
    words: Vec<String>,
    missing: Vec<String>,
}

impl Reader<'_> {
    pub(super) fn read_groups(&mut self) {
        for at in self.graph.of("aws_security_group") {
            let Some(vpc) = self.vpc_at(at, "vpc_id") else { continue };
            let name = self.part_name(vpc, "group", at);
            self.add_group(vpc, name, at);
        }
        for at in self.graph.of("aws_default_security_group") {
            let Some(vpc) = self.vpc_at(at, "vpc_id") else { continue };
            if self.cloud.vpcs[vpc].groups.iter().any(|g| g.name == "default") {
                self.left_out(at, "its VPC has a group `default` already");
                continue;
            }
            self.part_names.entry((vpc, "group")).or_default().insert("default".into());
            self.add_group(vpc, "default".into(), at);
        }
    }

    fn add_group(&mut self, vpc: usize, name: String, at: At) {
        self.carry(at);
        let about = self.text(at, "description").filter(|d| *d != "Managed by Terraform").map(shown);
        let group =
            Group { name, resource: Some(self.address(at)), about, ins: Vec::new(), outs: Vec::new() };
        self.groups.insert(at, (vpc, self.cloud.vpcs[vpc].groups.len()));
        self.cloud.vpcs[vpc].groups.push(group);
    }

    /// The name of the group that a resource is, seen from a VPC: a group of another VPC has that one's name before it.
    pub(super) fn group_name(&mut self, (at, attribute): &(At, String), vpc: usize) -> Option<String> {
        if let Some(home) = self.vpcs.get(at).copied() {
            let is_group = attribute.contains("security_group");
            return (is_group && home == vpc).then(|| "default".to_owned());
        }
        let (home, index) = self.groups.get(at).copied()?;
        let name = &self.cloud.vpcs[home].groups[index].name;
        Some(if home == vpc { name.clone() } else { format!("{}.{name}", self.cloud.vpcs[home].name) })
    }

    /// Names of the groups that an attribute means; the default group when it means none.
    pub(super) fn groups_at(&mut self, at: At, attribute: &str, vpc: usize) -> Vec<String> {
        let meaning = self.graph.meaning(at, attribute, GROUPS);
        if let Some(why) = &meaning.assumed {
            self.assumed(at, why.clone());
        }
        for id in &meaning.texts {
            self.left_out(at, format!("of its {attribute}, {} is not in this file", shown(id)));
        }
        let names: Vec<String> = meaning.found.iter().filter_map(|g| self.group_name(g, vpc)).collect();
        if names.is_empty() && meaning.written && meaning.found.is_empty() && meaning.texts.is_empty() {
            self.left_out(
                at,
                format!("what its {attribute} refer to is not in this file; it has the group `default`"),
            );
        }
        if names.len() > MOST_GROUPS {
            let rest = names[MOST_GROUPS..].join(", ");
            self.left_out(
                at,
                format!("of its {attribute} all but {MOST_GROUPS}, as AWS takes no more: {rest}"),
            );
        }
        match names.is_empty() {
            true => vec!["default".into()],
            false => names.into_iter().take(MOST_GROUPS).collect(),
        }
    }

    /// Together the groups of an instance have no more rules than AWS takes: the last groups go first.
    pub(super) fn limit_rules(&mut self) {
        for (at, (vpc, index)) in self.instances.clone() {
            let vpc = &mut self.cloud.vpcs[vpc];
            let most = |names: &[String]| {
                let mine = || names.iter().filter_map(|n| vpc.groups.iter().find(|g| g.name == *n));
                let (ins, outs): (usize, usize) =
                    (mine().map(|g| g.ins.len()).sum(), mine().map(|g| g.outs.len()).sum());
                ins.max(outs)
            };
            let mut kept = vpc.instances[index].groups.clone();
            let mut gone = Vec::new();
            while kept.len() > 1 && most(&kept) > MOST_RULES {
                gone.extend(kept.pop());
            }
            if !gone.is_empty() {
                vpc.instances[index].groups = kept;
                let gone = gone.join(", ");
                let why =
                    format!("of its security groups {gone}: AWS takes {MOST_RULES} rules of them together");
                self.left_out(at, why);
            }
        }
    }

    pub(super) fn read_group_rules(&mut self) {
        for (at, group) in self.groups.clone() {
            self.read_inline_rules(at, group, Way::In);
            self.read_inline_rules(at, group, Way::Out);
        }
        for at in self.graph.of("aws_security_group_rule") {
            let way = match self.text(at, "type") {
                Some("ingress") => Way::In,
                Some("egress") => Way::Out,
                _ => {
                    self.left_out(at, "its type is neither ingress nor egress");
                    continue;
                }
            };
            let Some(group) = self.group_at(at) else { continue };
            let mut peers =
                self.peers_of(at, group.0, self.graph.instances[at].values, |reader, key, kinds| {
                    reader.graph.meaning(at, key, kinds)
                });
            if self.flag(at, "self") == Some(true) {
                peers.words.push("self".into());
            }
            self.add_rules(at, group, way, (self.graph.instances[at].values, "protocol"), peers);
        }
        for (kind, way) in [
            ("aws_vpc_security_group_ingress_rule", Way::In),
            ("aws_vpc_security_group_egress_rule", Way::Out),
        ] {
            for at in self.graph.of(kind) {
                let Some(group) = self.group_at(at) else { continue };
                let peers = self.peer_of(at, group.0);
                self.add_rules(at, group, way, (self.graph.instances[at].values, "ip_protocol"), peers);
            }
        }
    }

    fn group_at(&mut self, at: At) -> Option<Inside> {
        let (group, attribute) = self.one(at, "security_group_id", GROUPS)?;
        if let Some(vpc) = self.vpcs.get(&group).copied().filter(|_| attribute.contains("security_group")) {
            return Some((vpc, self.default_group(vpc)));
        }
        self.groups.get(&group).copied()
    }

    /// The default group of a VPC as AWS makes it, for rules that are added to it.
    fn default_group(&mut self, vpc: usize) -> usize {
        let groups = &mut self.cloud.vpcs[vpc].groups;
        groups.iter().position(|g| g.name == "default").unwrap_or_else(|| {
            let line = |text: &str| Line { text: text.into(), resource: String::new(), port: None };
            let (ins, outs) = (vec![line("all from self")], vec![line("all to any")]);
            groups.push(Group { name: "default".into(), resource: None, about: None, ins, outs });
            groups.len() - 1
        })
    }

    /// `ingress` and `egress` blocks. Terraform leaves a group without blocks without rules.
    fn read_inline_rules(&mut self, at: At, group: Inside, way: Way) {
        let block = way.block();
        if self.value(at, block).is_none() && self.is_written(at, block) {
            self.left_out(
                at,
                format!("its {block} rules are known only after apply: write them as aws_vpc_security_group_{block}_rule"),
            );
            return;
        }
        for item in self.list(at, block).iter().filter_map(Value::as_object) {
            let mut peers = self.peers_of(at, group.0, item, |reader, key, kinds| {
                reader.graph.meaning_in(at, (block, item), key, kinds)
            });
            if item.get("self").and_then(Value::as_bool) == Some(true) {
                peers.words.push("self".into());
            }
            self.add_rules(at, group, way, (item, "protocol"), peers);
        }
    }

    /// The other ends of a rule with lists: `cidr_blocks`, `security_groups` or `source_security_group_id`, lists.
    fn peers_of(
        &mut self,
        at: At,
        vpc: usize,
        item: &Map<String, Value>,
        look: impl Fn(&Self, &str, &[&str]) -> Meaning,
    ) -> Peers {
        let mut peers = Peers::default();
        self.add_networks(at, &mut peers, &look(self, "cidr_blocks", ADDRESSED));
        if item.get("ipv6_cidr_blocks").and_then(Value::as_array).is_some_and(|l| !l.is_empty()) {
            peers.missing.push("IPv6 networks".into());
        }
        for key in ["security_groups", "source_security_group_id"] {
            let meaning = look(self, key, GROUPS);
            self.add_groups(vpc, &mut peers, &meaning);
        }
        self.add_lists(&mut peers, &look(self, "prefix_list_ids", LISTS));
        peers
    }

    /// The one other end of an `aws_vpc_security_group_*_rule`.
    fn peer_of(&mut self, at: At, vpc: usize) -> Peers {
        let mut peers = Peers::default();
        let networks = self.graph.meaning(at, "cidr_ipv4", ADDRESSED);
        self.add_networks(at, &mut peers, &networks);
        if self.text(at, "cidr_ipv6").is_some() {
            peers.missing.push("an IPv6 network".into());
        }
        let groups = self.graph.meaning(at, "referenced_security_group_id", GROUPS);
        self.add_groups(vpc, &mut peers, &groups);
        let lists = self.graph.meaning(at, "prefix_list_id", LISTS);
        self.add_lists(&mut peers, &lists);
        peers
    }

    /// Networks that are known, and addresses of machines that get theirs here.
    fn add_networks(&mut self, at: At, peers: &mut Peers, meaning: &Meaning) {
        for text in &meaning.texts {
            match network(text) {
                Some(net) if net.prefix_len() == 0 => peers.words.push("any".into()),
                Some(net) => peers.words.push(net.to_string()),
                None => peers.missing.push(shown(text)),
            }
        }
        for (found, attribute) in &meaning.found {
            let address = match self.graph.instances[*found].kind {
                "aws_eip" => self.eips.get(found).copied(),
                "aws_instance" if attribute == "private_ip" => {
                    self.instances.get(found).map(|(vpc, i)| self.cloud.vpcs[*vpc].instances[*i].address)
                }
                "aws_nat_gateway" if attribute == "public_ip" => self.nat_address(*found),
                _ => None,
            };
            match address {
                Some(address) => {
                    let of = self.address(*found);
                    self.assumed(at, format!("the address of {of} was chosen here, and this rule means it"));
                    peers.words.push(format!("{address}/32"));
                }
                None => peers.missing.push(self.address(*found)),
            }
        }
        if meaning.written && meaning.found.is_empty() && meaning.texts.is_empty() {
            peers.missing.push("networks that are known only after apply".into());
        }
    }

    fn add_groups(&mut self, vpc: usize, peers: &mut Peers, meaning: &Meaning) {
        peers.missing.extend(self.unclear(meaning));
        for found in &meaning.found {
            match self.group_name(found, vpc) {
                Some(name) => peers.words.push(format!("group {name}")),
                None => peers.missing.push(self.address(found.0)),
            }
        }
        peers.missing.extend(meaning.texts.iter().map(|t| shown(t)));
    }

    /// What to say of resources of which some are meant.
    pub(super) fn unclear(&self, meaning: &Meaning) -> Option<String> {
        let names: Vec<String> = meaning.unclear.iter().take(4).map(|at| self.address(*at)).collect();
        (!names.is_empty())
            .then(|| format!("some of {}: Terraform's JSON does not say which", names.join(", ")))
    }

    fn add_lists(&mut self, peers: &mut Peers, meaning: &Meaning) {
        for (found, _) in &meaning.found {
            match self.prefix_list_name(*found) {
                Some(name) => peers.words.push(format!("prefix-list {name}")),
                None => peers.missing.push(self.address(*found)),
            }
        }
        peers.missing.extend(meaning.texts.iter().map(|t| shown(t)));
    }

    fn add_rules(
        &mut self,
        at: At,
        (vpc, group): Inside,
        way: Way,
        (item, protocol): (&Map<String, Value>, &str),
        peers: Peers,
    ) {
        let block = way.block();
        let (what, port) = match traffic(item, protocol) {
            Ok(found) => found,
            Err(why) => return self.left_out(at, format!("an {block} rule: {why}")),
        };
        for missing in &peers.missing {
            self.left_out(at, format!("of an {block} rule for {what}: {missing}"));
        }
        if peers.words.is_empty() {
            if peers.missing.is_empty() {
                self.left_out(at, format!("an {block} rule for {what} that is {} nobody", way.word()));
            }
            return;
        }
        self.carry(at);
        let resource = self.address(at);
        let group = &mut self.cloud.vpcs[vpc].groups[group];
        let lines = if way == Way::In { &mut group.ins } else { &mut group.outs };
        let mut known: BTreeSet<String> = lines.iter().map(|line| line.text.clone()).collect();
        let mut more = 0;
        for peer in peers.words {
            let text = format!("{what} {} {peer}", way.word());
            if !known.insert(text.clone()) {
                continue;
            }
            match lines.len() < MOST_RULES {
                true => lines.push(Line { text, resource: resource.clone(), port }),
                false => more += 1,
            }
        }
        if more > 0 {
            self.left_out(
                at,
                format!("{more} more {block} rules: AWS takes {MOST_RULES} of a group at most"),
            );
        }
    }

    pub(super) fn read_acls(&mut self) {
        for at in self.graph.of("aws_network_acl") {
            let Some(vpc) = self.vpc_at(at, "vpc_id") else { continue };
            let name = self.part_name(vpc, "acl", at);
            self.add_acl(vpc, name, at);
        }
        for at in self.graph.of("aws_default_network_acl") {
            let Some((vpc, _)) = self.one(at, "default_network_acl_id", VPCS) else { continue };
            let Some(vpc) = self.vpcs.get(&vpc).copied() else { continue };
            if self.part_names.entry((vpc, "acl")).or_default().insert("default".into()) {
                self.add_acl(vpc, "default".into(), at);
            } else {
                self.left_out(at, "its VPC has a network ACL `default` already");
            }
        }
        for at in self.acls.keys().copied().collect::<Vec<_>>() {
            let (vpc, acl) = self.acls[&at];
            for (block, way) in [("ingress", Way::In), ("egress", Way::Out)] {
                for item in self.list(at, block).iter().filter_map(Value::as_object) {
                    self.add_entry(at, (vpc, acl), way, (item, "rule_no", "action"));
                }
            }
            for subnet in self.subnets_at(at, "subnet_ids") {
                self.cover(at, subnet, (vpc, acl));
            }
        }
        for at in self.graph.of("aws_network_acl_rule") {
            let Some(acl) = self.acl_at(at) else { continue };
            let way = if self.flag(at, "egress") == Some(true) { Way::Out } else { Way::In };
            self.add_entry(at, acl, way, (self.graph.instances[at].values, "rule_number", "rule_action"));
        }
        for at in self.graph.of("aws_network_acl_association") {
            let Some(acl) = self.acl_at(at) else { continue };
            let Some(subnet) = self.subnet_at(at, "subnet_id") else { continue };
            self.carry(at);
            self.cover(at, subnet, acl);
        }
    }

    fn add_acl(&mut self, vpc: usize, name: String, at: At) {
        self.carry(at);
        let resource = self.address(at);
        let acls = &mut self.cloud.vpcs[vpc].acls;
        acls.push(Acl { name, resource, ins: Default::default(), outs: Default::default() });
        self.acls.insert(at, (vpc, acls.len() - 1));
    }

    fn acl_at(&mut self, at: At) -> Option<Inside> {
        let (acl, _) = self.one(at, "network_acl_id", ACLS)?;
        if self.vpcs.contains_key(&acl) {
            self.left_out(at, "it changes the default network ACL, which no aws_default_network_acl manages");
        }
        self.acls.get(&acl).copied()
    }

    fn cover(&mut self, at: At, (home, subnet): Inside, (vpc, acl): Inside) {
        if home == vpc {
            self.cloud.vpcs[vpc].subnets[subnet].acl = Some(acl);
        } else {
            self.left_out(at, "a subnet of another VPC");
        }
    }

    /// One numbered entry.
    fn add_entry(
        &mut self,
        at: At,
        (vpc, acl): Inside,
        way: Way,
        (item, number, action): (&Map<String, Value>, &str, &str),
    ) {
        let block = way.block();
        let Some(number) = item.get(number).and_then(whole).and_then(|n| u16::try_from(n).ok()) else {
            return self.left_out(at, format!("an {block} entry without a number"));
        };
        if !(1..=LAST_NUMBER).contains(&u32::from(number)) {
            let why = format!("{block} entry {number}: numbers go from 1 to {LAST_NUMBER}");
            return self.left_out(at, why);
        }
        let action = match item.get(action).and_then(Value::as_str).map(str::to_ascii_lowercase).as_deref() {
            Some("allow") => "allow",
            Some("deny") => "deny",
            _ => return self.left_out(at, format!("{block} entry {number}: it neither allows nor denies")),
        };
        let text = |key: &str| item.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
        let net = match (text("cidr_block"), text("ipv6_cidr_block")) {
            (Some(cidr), _) => network(cidr),
            (None, Some(_)) => {
                return self.left_out(at, format!("{block} entry {number}: clouds speak IPv4 here"));
            }
            (None, None) => None,
        };
        let Some(net) = net else {
            return self.left_out(at, format!("{block} entry {number}: its network is not in this file"));
        };
        let (what, port) = match traffic(item, "protocol") {
            Ok(found) => found,
            Err(why) => return self.left_out(at, format!("{block} entry {number}: {why}")),
        };
        self.carry(at);
        let peer = if net.prefix_len() == 0 { "any".to_owned() } else { net.to_string() };
        let line =
            Line { text: format!("{action} {what} {} {peer}", way.word()), resource: self.address(at), port };
        let acl = &mut self.cloud.vpcs[vpc].acls[acl];
        let entries = if way == Way::In { &mut acl.ins } else { &mut acl.outs };
        if entries.insert(number, line).is_some() {
            self.left_out(at, format!("a second {block} entry {number}"));
        }
    }
}

/// Resources whose address a rule may mean.
const ADDRESSED: &[&str] = &["aws_eip", "aws_instance", "aws_nat_gateway", "aws_network_interface"];

/// A whole number, which Terraform writes as a number or as text.
fn whole(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64))
        .or_else(|| value.as_str()?.parse().ok())
}

/// What a rule is for, in the words of the scenario language, with the TCP port when it is for a single one.
fn traffic(item: &Map<String, Value>, protocol: &str) -> Result<(String, Option<u16>), String> {
    let protocol = match item.get(protocol) {
        Some(Value::String(text)) => text.to_ascii_lowercase(),
        Some(Value::Number(n)) => n.to_string(),
        _ => return Err("its protocol is not in this file".into()),
    };
    let end = |key: &str| item.get(key).and_then(whole);
    let (from, to) = (end("from_port"), end("to_port"));
    let number = match protocol.as_str() {
        "-1" | "all" => return Ok(("all".into(), None)),
        "tcp" | "6" => return ports("tcp", from, to),
        "udp" | "17" => return ports("udp", from, to).map(|(text, _)| (text, None)),
        "icmp" | "1" => return Ok((icmp(item, from, to), None)),
        "icmpv6" | "58" => return Err("ICMPv6: clouds speak IPv4 here".into()),
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "sctp" => 132,
        other => other.parse::<u8>().map_err(|_| format!("`{}` is not a protocol", shown(other)))?,
    };
    Ok((format!("protocol {number}"), None))
}

fn ports(name: &str, from: Option<i64>, to: Option<i64>) -> Result<(String, Option<u16>), String> {
    let port = |n: i64| u16::try_from(n).map_err(|_| format!("{n} is not a port"));
    match (from, to) {
        (None | Some(-1), _) | (Some(0), Some(65_535)) => Ok((name.into(), None)),
        (Some(from), to) => {
            let (from, to) = (port(from)?, port(to.unwrap_or(from))?);
            if from > to {
                return Err(format!("from_port {from} is above to_port {to}"));
            }
            let single = (from == to).then_some(from).filter(|p| *p > 0);
            let text =
                if from == to { format!("{name} port {from}") } else { format!("{name} port {from}-{to}") };
            Ok((text, single))
        }
    }
}

/// In a group the type is the `from_port` and the code the `to_port`; an ACL has names for them.
fn icmp(item: &Map<String, Value>, from: Option<i64>, to: Option<i64>) -> String {
    let named = |key: &str, port: Option<i64>| {
        item.get(key).and_then(whole).or(if item.contains_key("icmp_type") { None } else { port })
    };
    let mut out = "icmp".to_owned();
    if let Some(kind) = named("icmp_type", from).filter(|n| (0..=255).contains(n)) {
        out += &format!(" type {kind}");
        if let Some(code) = named("icmp_code", to).filter(|n| (0..=255).contains(n)) {
            out += &format!(" code {code}");
        }
    }
    out
}
