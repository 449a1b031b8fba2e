//! Reads a graph of resources into a [`Cloud`], kind by kind, and keeps the notes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use super::cloud::Cloud;
use super::graph::{At, Graph};
use super::names;
use super::resolve::Meaning;
use super::{Note, What};
use crate::sites::never_public;

/// Where a part of a VPC stands: the VPC's index and its own in the VPC's list.
pub(super) type Inside = (usize, usize);

pub(super) struct Reader<'d> {
    pub(super) graph: Graph<'d>,
    pub(super) cloud: Cloud,
    pub(super) notes: Vec<Note>,
    /// What is part of the scenario, or was said not to be.
    pub(super) seen: BTreeSet<At>,
    /// What is part of the scenario.
    pub(super) carried: BTreeSet<At>,
    pub(super) vpcs: BTreeMap<At, usize>,
    pub(super) subnets: BTreeMap<At, Inside>,
    pub(super) tables: BTreeMap<At, Inside>,
    pub(super) gateways: BTreeMap<At, usize>,
    pub(super) groups: BTreeMap<At, Inside>,
    pub(super) acls: BTreeMap<At, Inside>,
    pub(super) nats: BTreeMap<At, Inside>,
    pub(super) eips: BTreeMap<At, Ipv4Addr>,
    pub(super) instances: BTreeMap<At, Inside>,
    /// Network interfaces with the instance that they are the first one of.
    pub(super) interfaces: BTreeMap<At, At>,
    pub(super) endpoints: BTreeMap<At, Inside>,
    pub(super) peerings: BTreeMap<At, usize>,
    pub(super) hubs: BTreeMap<At, usize>,
    /// Route tables of transit gateways.
    pub(super) hub_tables: BTreeMap<At, Inside>,
    /// Private addresses that are written somewhere: none of them is chosen for something else.
    pub(super) written: BTreeSet<Ipv4Addr>,
    pub(super) site_names: BTreeSet<String>,
    /// Names in each VPC or transit gateway, per kind of thing.
    pub(super) part_names: BTreeMap<(usize, &'static str), BTreeSet<String>>,
    pub(super) next_public: u32,
    /// Public addresses that something has.
    pub(super) publics: BTreeSet<Ipv4Addr>,
    /// Instances that an elastic IP names.
    pub(super) with_eip: BTreeSet<At>,
    /// Networks of managed prefix lists that stand in resources of their own; read when the first list is named.
    pub(super) list_entries: Option<BTreeMap<At, Vec<Ipv4Net>>>,
    /// Prefix lists with their names; `None` for those whose networks are not in the file.
    pub(super) lists: BTreeMap<At, Option<String>>,
}

impl<'d> Reader<'d> {
    pub(super) fn new(graph: Graph<'d>) -> Reader<'d> {
        let names = ["internet", "stranger", "world"].map(str::to_owned);
        Reader {
            graph,
            cloud: Cloud::default(),
            notes: Vec::new(),
            seen: BTreeSet::new(),
            carried: BTreeSet::new(),
            vpcs: BTreeMap::new(),
            subnets: BTreeMap::new(),
            tables: BTreeMap::new(),
            gateways: BTreeMap::new(),
            groups: BTreeMap::new(),
            acls: BTreeMap::new(),
            nats: BTreeMap::new(),
            eips: BTreeMap::new(),
            instances: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            peerings: BTreeMap::new(),
            hubs: BTreeMap::new(),
            hub_tables: BTreeMap::new(),
            written: BTreeSet::new(),
            site_names: names.into(),
            part_names: BTreeMap::new(),
            next_public: 10,
            publics: BTreeSet::new(),
            with_eip: BTreeSet::new(),
            list_entries: None,
            lists: BTreeMap::new(),
        }
    }

    /// Everything, what is named before what names it.
    pub(super) fn read_all(&mut self) {
        self.cloud.region = self.graph.region();
        let values = self.graph.instances.iter().map(|i| i.values);
        let listed = |v: &Value| v.as_array().and_then(|l| l.first()?.as_str()?.parse().ok());
        let address = |v: &Value| v.as_str().and_then(|t| t.parse().ok()).or_else(|| listed(v));
        self.written = values
            .flat_map(|v| [v.get("private_ip"), v.get("private_ips")])
            .flatten()
            .filter_map(address)
            .collect();
        self.read_vpcs();
        self.read_subnets();
        self.read_gateways();
        self.read_groups();
        self.read_prefix_lists();
        self.read_tables();
        self.read_elastic_ips();
        self.read_instances();
        self.read_nat_gateways();
        self.read_peerings();
        self.read_hubs();
        self.read_endpoints();
        self.read_routes();
        self.read_group_rules();
        self.limit_rules();
        self.read_acls();
        self.read_elastic_ip_associations();
        self.read_others();
    }

    /// The cloud, the notes in the order of the document, and the addresses that are part of it.
    pub(super) fn finish(mut self) -> (Cloud, Vec<Note>, Vec<String>) {
        let order: BTreeMap<&str, usize> =
            self.graph.instances.iter().enumerate().map(|(at, i)| (i.address, at)).collect();
        self.notes.sort_by_key(|n| (n.what, order.get(n.address.as_str()).copied().unwrap_or(usize::MAX)));
        self.notes.dedup();
        let carried = self.carried.iter().map(|at| self.graph.instances[*at].address.to_owned()).collect();
        (self.cloud, self.notes, carried)
    }

    pub(super) fn note(&mut self, at: At, what: What, why: impl Into<String>) {
        let instance = &self.graph.instances[at];
        self.seen.insert(at);
        self.notes.push(Note {
            address: instance.address.to_owned(),
            kind: instance.kind.to_owned(),
            what,
            why: why.into(),
        });
    }

    pub(super) fn left_out(&mut self, at: At, why: impl Into<String>) {
        self.note(at, What::LeftOut, why);
    }

    pub(super) fn assumed(&mut self, at: At, why: impl Into<String>) {
        self.note(at, What::Assumed, why);
    }

    /// It is part of the scenario.
    pub(super) fn carry(&mut self, at: At) {
        self.seen.insert(at);
        self.carried.insert(at);
    }

    pub(super) fn address(&self, at: At) -> String {
        self.graph.instances[at].address.to_owned()
    }

    pub(super) fn value(&self, at: At, attribute: &str) -> Option<&'d Value> {
        self.graph.instances[at].values.get(attribute).filter(|v| !v.is_null())
    }

    pub(super) fn text(&self, at: At, attribute: &str) -> Option<&'d str> {
        self.value(at, attribute)?.as_str().filter(|t| !t.is_empty())
    }

    pub(super) fn flag(&self, at: At, attribute: &str) -> Option<bool> {
        self.value(at, attribute)?.as_bool()
    }

    /// A list, empty when it is not known.
    pub(super) fn list(&self, at: At, attribute: &str) -> &'d [Value] {
        self.value(at, attribute).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// What to say of an attribute without a value.
    pub(super) fn unknown(&self, at: At, attribute: &str) -> String {
        match self.graph.is_plan && !self.graph.instances[at].data {
            true => format!("its {attribute} is known only after apply"),
            false => format!("its {attribute} is not in this file"),
        }
    }

    /// The IPv4 network that an attribute says, or why there is none.
    pub(super) fn network_at(&self, at: At, attribute: &str) -> Result<Ipv4Net, String> {
        let text = self.text(at, attribute).ok_or_else(|| self.unknown(at, attribute))?;
        network(text).ok_or_else(|| match text.parse::<ipnet::Ipv6Net>() {
            Ok(net) => format!("its {attribute} is {net}: clouds speak IPv4 here"),
            Err(_) => format!("its {attribute} `{}` is no network", shown(text)),
        })
    }

    /// The one resource that an attribute means. When it means none or several, the note says so.
    pub(super) fn one(&mut self, at: At, attribute: &str, kinds: &[&str]) -> Option<(At, String)> {
        let meaning = self.graph.meaning(at, attribute, kinds);
        self.the_one(at, attribute, meaning)
    }

    /// The same for what was already looked up.
    pub(super) fn the_one(&mut self, at: At, attribute: &str, meaning: Meaning) -> Option<(At, String)> {
        if let Some(why) = &meaning.assumed {
            self.assumed(at, why.clone());
        }
        match &meaning.found[..] {
            [one] => Some(one.clone()),
            [] => {
                let why = match meaning.texts.first() {
                    Some(id) => format!("its {attribute} is {}, which is not in this file", shown(id)),
                    None => format!("what its {attribute} refers to is not in this file"),
                };
                self.left_out(at, why);
                None
            }
            several => {
                let names: Vec<&str> =
                    several.iter().take(4).map(|(at, _)| self.graph.instances[*at].address).collect();
                let names = names.join(", ");
                self.left_out(
                    at,
                    format!("its {attribute} may be any of {names}: Terraform's JSON does not say which"),
                );
                None
            }
        }
    }

    /// The VPC that an attribute means.
    pub(super) fn vpc_at(&mut self, at: At, attribute: &str) -> Option<usize> {
        let (vpc, _) = self.one(at, attribute, VPCS)?;
        let found = self.vpcs.get(&vpc).copied();
        if found.is_none() {
            let why = format!("its VPC {} is left out", self.address(vpc));
            self.left_out(at, why);
        }
        found
    }

    /// The subnet that an attribute means.
    pub(super) fn subnet_at(&mut self, at: At, attribute: &str) -> Option<Inside> {
        let (subnet, _) = self.one(at, attribute, SUBNETS)?;
        let found = self.subnets.get(&subnet).copied();
        if found.is_none() {
            let why = format!("its subnet {} is left out", self.address(subnet));
            self.left_out(at, why);
        }
        found
    }

    /// Several subnets.
    pub(super) fn subnets_at(&mut self, at: At, attribute: &str) -> Vec<Inside> {
        let meaning = self.graph.meaning(at, attribute, SUBNETS);
        if let Some(why) = &meaning.assumed {
            self.assumed(at, why.clone());
        }
        for id in &meaning.texts {
            self.left_out(at, format!("of its {attribute}, {} is not in this file", shown(id)));
        }
        meaning.found.iter().filter_map(|(subnet, _)| self.subnets.get(subnet).copied()).collect()
    }

    /// A name for a part of a VPC.
    pub(super) fn part_name(&mut self, vpc: usize, kind: &'static str, at: At) -> String {
        names::short(&self.graph, at, self.part_names.entry((vpc, kind)).or_default())
    }

    pub(super) fn site_name(&mut self, at: At) -> String {
        names::short(&self.graph, at, &mut self.site_names)
    }

    /// The next public address that nothing has.
    pub(super) fn public_address(&mut self) -> Ipv4Addr {
        loop {
            let next = Ipv4Addr::from(u32::from(Ipv4Addr::new(54, 93, 0, 0)) + self.next_public);
            self.next_public += 1;
            if is_host(next) && !self.is_in_a_vpc(next) && self.publics.insert(next) {
                return next;
            }
        }
    }

    /// A public address as it is written, taken; or why it cannot be one here.
    pub(super) fn take_public(&mut self, text: &str) -> Result<Ipv4Addr, String> {
        let Ok(address) = text.parse::<Ipv4Addr>() else {
            return Err(format!("its address `{}` is no IPv4 address", shown(text)));
        };
        if let Some(why) = never_public(address.into()) {
            return Err(format!("its address {address} cannot be public: {why}"));
        }
        if !is_host(address) {
            return Err(format!("its address {address} is a router's of the internet here, or nobody's"));
        }
        if self.is_in_a_vpc(address) {
            return Err(format!("its address {address} is in the networks of a VPC"));
        }
        match self.publics.insert(address) {
            true => Ok(address),
            false => Err(format!("its address {address} is another's already")),
        }
    }

    /// Whether the network that a public address is announced in is a VPC's own.
    fn is_in_a_vpc(&self, address: Ipv4Addr) -> bool {
        let announced = Ipv4Net::new_assert(address, 24).trunc();
        let mut own = self.cloud.vpcs.iter().flat_map(|vpc| &vpc.cidrs);
        own.any(|cidr| cidr.contains(&announced) || announced.contains(cidr))
    }

    /// The next private address of a subnet that nothing has: from the tenth on, then those before. AWS keeps the first
    /// four and the last one of each.
    pub(super) fn private_address(&mut self, (vpc, subnet): Inside) -> Option<Ipv4Addr> {
        let subnet = &mut self.cloud.vpcs[vpc].subnets[subnet];
        let (first, last) = (u32::from(subnet.cidr.network()), u32::from(subnet.cidr.broadcast()));
        let size = last - first;
        let mut free = (subnet.next.max(10)..size).chain(4..10.min(size)).map(|n| Ipv4Addr::from(first + n));
        let found = free.find(|a| !subnet.taken.contains(a) && !self.written.contains(a))?;
        subnet.next = subnet.next.max(u32::from(found) - first + 1);
        subnet.taken.insert(found);
        Some(found)
    }
}

pub(super) const VPCS: &[&str] = &["aws_vpc", "aws_default_vpc"];
pub(super) const SUBNETS: &[&str] = &["aws_subnet", "aws_default_subnet"];

/// Whether an address of an announced /24 can be a machine's: the first one is the internet's router.
fn is_host(address: Ipv4Addr) -> bool {
    (2..=254).contains(&address.octets()[3])
}

/// Text from the file, short and without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// An IPv4 network as AWS writes it, host bits cleared.
pub(super) fn network(text: &str) -> Option<Ipv4Net> {
    text.parse::<Ipv4Net>().ok().map(|n| n.trunc())
}
