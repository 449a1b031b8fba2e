//! Route tables, routes, and which subnet has which table.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use serde_json::{Map, Value};

use super::cloud::{PrefixList, Route, Table};
use super::graph::At;
use super::reader::{Inside, Reader, VPCS, network, shown};
use super::resolve::Meaning;

/// Kinds that a `route_table_id` may name: a table, or the main one of a VPC.
const TABLES: &[&str] = &["aws_route_table", "aws_default_route_table", "aws_vpc", "aws_default_vpc"];

/// Attributes of a route that name its target, and what they may name.
const TARGETS: &[(&str, &[&str])] = &[
    (
        "gateway_id",
        &["aws_internet_gateway", "aws_internet_gateway_attachment", "aws_vpn_gateway", "aws_nat_gateway"],
    ),
    ("nat_gateway_id", &["aws_nat_gateway"]),
    ("vpc_peering_connection_id", &["aws_vpc_peering_connection"]),
    ("transit_gateway_id", &["aws_ec2_transit_gateway"]),
    ("network_interface_id", &["aws_network_interface", "aws_instance"]),
    ("instance_id", &["aws_instance"]),
    ("vpc_endpoint_id", &["aws_vpc_endpoint"]),
];

/// Targets that no cloud here has.
const FOREIGN: &[(&str, &str)] = &[
    ("egress_only_gateway_id", "an egress-only internet gateway (IPv6)"),
    ("carrier_gateway_id", "a carrier gateway"),
    ("core_network_arn", "a core network of Cloud WAN"),
    ("local_gateway_id", "a local gateway of an Outpost"),
    ("odb_network_arn", "a database network"),
];

/// What is known of one route, whether a resource or a block in a table.
enum Found {
    Target(String),
    /// Why there is none.
    Missing(String),
}

impl Reader<'_> {
    pub(super) fn read_tables(&mut self) {
        for at in self.graph.of("aws_route_table") {
            let Some(vpc) = self.vpc_at(at, "vpc_id") else { continue };
            self.carry(at);
            let name = self.part_name(vpc, "table", at);
            self.add_table(vpc, name, Some(at));
        }
        for at in self.graph.of("aws_default_route_table") {
            let Some((vpc, _)) = self.one(at, "default_route_table_id", VPCS) else { continue };
            let Some(vpc) = self.vpcs.get(&vpc).copied() else { continue };
            if self.cloud.vpcs[vpc].main.is_some() {
                self.left_out(at, "its VPC has a default route table already");
                continue;
            }
            self.carry(at);
            let name = super::names::free("main".into(), self.part_names.entry((vpc, "table")).or_default());
            let table = self.add_table(vpc, name, Some(at));
            self.cloud.vpcs[vpc].main = Some(table);
        }
        for at in self.graph.of("aws_main_route_table_association") {
            let Some((vpc, table)) = self.table_at(at, "route_table_id") else { continue };
            self.carry(at);
            self.cloud.vpcs[vpc].main = Some(table);
        }
        for at in self.graph.of("aws_route_table_association") {
            self.associate(at);
        }
    }

    fn add_table(&mut self, vpc: usize, name: String, at: Option<At>) -> usize {
        let resource = at.map(|at| self.address(at));
        let tables = &mut self.cloud.vpcs[vpc].tables;
        tables.push(Table { name, resource, routes: Vec::new() });
        let table = tables.len() - 1;
        if let Some(at) = at {
            self.tables.insert(at, (vpc, table));
        }
        table
    }

    /// The main table of a VPC, made when nothing in the file is it: it has the local route only.
    fn main_table(&mut self, vpc: usize) -> usize {
        if let Some(main) = self.cloud.vpcs[vpc].main {
            return main;
        }
        let name = super::names::free("main".into(), self.part_names.entry((vpc, "table")).or_default());
        let table = self.add_table(vpc, name, None);
        self.cloud.vpcs[vpc].main = Some(table);
        table
    }

    /// The table that an attribute means.
    fn table_at(&mut self, at: At, attribute: &str) -> Option<Inside> {
        let (table, _) = self.one(at, attribute, TABLES)?;
        self.table_of(table)
    }

    /// The table that a resource is: itself, or the main one of a VPC.
    pub(super) fn table_of(&mut self, at: At) -> Option<Inside> {
        if let Some(vpc) = self.vpcs.get(&at).copied() {
            return Some((vpc, self.main_table(vpc)));
        }
        self.tables.get(&at).copied()
    }

    /// Several tables.
    pub(super) fn tables_at(&mut self, at: At, attribute: &str) -> Vec<Inside> {
        let meaning = self.graph.meaning(at, attribute, TABLES);
        for id in &meaning.texts {
            self.left_out(at, format!("of its {attribute}, {} is not in this file", shown(id)));
        }
        meaning.found.iter().filter_map(|(table, _)| self.table_of(*table)).collect()
    }

    fn associate(&mut self, at: At) {
        if self.graph.meaning(at, "gateway_id", &["aws_internet_gateway", "aws_vpn_gateway"]).written {
            self.left_out(at, "a route table of a gateway (ingress routing) is not known here");
            return;
        }
        let Some((vpc, table)) = self.table_at(at, "route_table_id") else { return };
        let Some((home, subnet)) = self.subnet_at(at, "subnet_id") else { return };
        if home != vpc {
            self.left_out(at, "its table and its subnet are of different VPCs");
            return;
        }
        let known = &mut self.cloud.vpcs[vpc].subnets[subnet].table;
        if known.is_some_and(|t| t != table) {
            self.left_out(at, "its subnet is associated with another table already");
            return;
        }
        *known = Some(table);
        self.carry(at);
    }

    pub(super) fn read_routes(&mut self) {
        for at in self.tables.keys().copied().collect::<Vec<_>>() {
            self.read_inline(at);
        }
        for at in self.graph.of("aws_route") {
            let Some(table) = self.table_at(at, "route_table_id") else { continue };
            let item = self.graph.instances[at].values;
            let Some(destination) =
                self.destination(at, item, ("destination_cidr_block", "destination_ipv6_cidr_block"))
            else {
                continue;
            };
            let target = self.target(at, table.0, |reader, key, kinds| reader.graph.meaning(at, key, kinds));
            self.add_route(at, table, destination, target);
        }
    }

    /// The `route` blocks of a table.
    fn read_inline(&mut self, at: At) {
        let table = self.tables[&at];
        let items = self.list(at, "route");
        if items.is_empty() && self.value(at, "route").is_none() && self.is_written(at, "route") {
            self.left_out(at, "its routes are known only after apply: write them as aws_route");
        }
        for item in items.iter().filter_map(Value::as_object) {
            let Some(destination) = self.destination(at, item, ("cidr_block", "ipv6_cidr_block")) else {
                continue;
            };
            let target = self.target(at, table.0, |reader, key, kinds| {
                reader.graph.meaning_in(at, ("route", item), key, kinds)
            });
            self.add_route(at, table, destination, target);
        }
    }

    /// Whether the configuration has something for an attribute.
    pub(super) fn is_written(&self, at: At, attribute: &str) -> bool {
        self.graph.instances[at].config.is_some_and(|c| c.expressions.contains_key(attribute))
    }

    fn add_route(&mut self, at: At, (vpc, table): Inside, destination: String, target: Found) {
        let own = destination.parse::<Ipv4Net>().ok().map(|net| self.cloud.vpcs[vpc].cidrs.contains(&net));
        match target {
            Found::Target(target) if target == "local" && own != Some(true) => {
                self.left_out(
                    at,
                    format!("its route to {destination}: only the VPC's own networks are local"),
                );
            }
            Found::Target(target) if target != "local" && own == Some(true) => {
                let why = "the VPC's own network stays local here, whatever leads to it";
                self.left_out(at, format!("its route to {destination}: {why}"));
            }
            Found::Target(target) => {
                self.carry(at);
                let resource = self.address(at);
                let routes = &mut self.cloud.vpcs[vpc].tables[table].routes;
                match routes.iter().find(|r| r.destination == destination) {
                    Some(same) if same.target == target => {}
                    Some(_) => self.left_out(at, format!("its table has a route to {destination} already")),
                    None => routes.push(Route { destination, target, resource }),
                }
            }
            Found::Missing(why) => self.left_out(at, format!("its route to {destination}: {why}")),
        }
    }

    fn destination(
        &mut self,
        at: At,
        item: &Map<String, Value>,
        (four, six): (&str, &str),
    ) -> Option<String> {
        let text = |key: &str| item.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
        if let Some(cidr) = text(four) {
            match network(cidr) {
                Some(cidr) => return Some(cidr.to_string()),
                None => self.left_out(at, format!("`{}` is not an IPv4 network", shown(cidr))),
            }
            return None;
        }
        if let Some(cidr) = text(six) {
            self.left_out(at, format!("its route to {}: clouds speak IPv4 here", shown(cidr)));
            return None;
        }
        let lists: Meaning = if item.contains_key("destination_prefix_list_id") {
            self.graph.meaning_in(at, ("route", item), "destination_prefix_list_id", LISTS)
        } else {
            self.graph.meaning(at, "destination_prefix_list_id", LISTS)
        };
        let Some((list, _)) = lists.found.first() else {
            self.left_out(at, "a route whose destination is not in this file");
            return None;
        };
        self.prefix_list_name(*list).or_else(|| {
            self.left_out(at, "a route to a prefix list whose networks are not in this file");
            None
        })
    }

    /// The target of a route; `look` finds what an attribute of it means.
    fn target(&mut self, at: At, vpc: usize, look: impl Fn(&Self, &str, &[&str]) -> Meaning) -> Found {
        let mut several = None;
        for (key, kinds) in TARGETS {
            let meaning = look(self, key, kinds);
            if let Some(why) = &meaning.assumed {
                self.assumed(at, why.clone());
            }
            match &meaning.found[..] {
                [] => {}
                [(one, _)] => return self.target_named(vpc, *one),
                more => several = Some(more.iter().map(|(m, _)| self.address(*m)).collect::<Vec<_>>()),
            }
            if let Some(why) = self.unclear(&meaning) {
                return Found::Missing(format!("its {key} is {why}; an aws_route would"));
            }
            match meaning.texts.first().map(String::as_str) {
                Some("local") => return Found::Target("local".into()),
                Some(id) if id.contains('-') => {
                    return Found::Missing(format!("its {key} is {}, which is not in this file", shown(id)));
                }
                _ => {}
            }
        }
        for (key, what) in FOREIGN {
            let value = self.text(at, key);
            if value.is_some() || self.is_written(at, key) {
                return Found::Missing(format!("its target is {what}"));
            }
        }
        match several {
            Some(names) => Found::Missing(format!(
                "its target may be any of {}: Terraform's JSON does not say which; an aws_route would",
                names.join(", ")
            )),
            None => Found::Missing("what its target refers to is not in this file".into()),
        }
    }

    fn target_named(&mut self, vpc: usize, target: At) -> Found {
        let address = self.address(target);
        let gone = |what: &str| Found::Missing(format!("its target {address} {what}"));
        let instance = |reader: &Self, at: At| match reader.instances.get(&at) {
            Some((home, index)) if *home == vpc => {
                Found::Target(format!("instance {}", reader.cloud.vpcs[vpc].instances[*index].name))
            }
            Some(_) => gone("is of another VPC"),
            None => gone("is left out"),
        };
        match self.graph.instances[target].kind {
            "aws_internet_gateway" | "aws_internet_gateway_attachment" => match &self.cloud.vpcs[vpc].gateway
            {
                Some(_) if self.gateways.get(&target).is_none_or(|home| *home == vpc) => {
                    Found::Target("internet-gateway".into())
                }
                _ => gone("is not attached to this VPC"),
            },
            "aws_nat_gateway" => match self.nats.get(&target) {
                Some((home, index)) if *home == vpc => {
                    Found::Target(format!("nat {}", self.cloud.vpcs[vpc].nats[*index].name))
                }
                Some(_) => gone("is of another VPC"),
                None => gone("is left out"),
            },
            "aws_vpc_peering_connection" => match self.peerings.get(&target) {
                Some(index) => Found::Target(format!("peering {}", self.cloud.peerings[*index].name)),
                None => gone("is left out"),
            },
            "aws_ec2_transit_gateway" => match self.hubs.get(&target) {
                Some(index) => Found::Target(format!("transit-gateway {}", self.cloud.hubs[*index].name)),
                None => gone("is left out"),
            },
            "aws_vpc_endpoint" => match self.endpoints.get(&target) {
                Some((home, index)) if *home == vpc => {
                    Found::Target(format!("endpoint {}", self.cloud.vpcs[vpc].endpoints[*index].name))
                }
                _ => gone("is left out"),
            },
            "aws_network_interface" => match self.interfaces.get(&target) {
                Some(owner) => instance(self, *owner),
                None => gone("is not the first interface of an instance"),
            },
            "aws_instance" => instance(self, target),
            _ => gone("is of a kind that is not known here"),
        }
    }

    pub(super) fn read_prefix_lists(&mut self) {
        let all: Vec<At> = (0..self.graph.instances.len())
            .filter(|at| LISTS[..2].contains(&self.graph.instances[*at].kind))
            .collect();
        for at in all {
            if self.graph.instances[at].data {
                // Named by AWS; taken up when a rule or a route uses it.
                self.seen.insert(at);
            }
        }
        for at in self.graph.of("aws_ec2_managed_prefix_list_entry") {
            let Some((list, _)) = self.one(at, "prefix_list_id", &LISTS[..1]) else { continue };
            if self.prefix_list_name(list).is_some() {
                self.carry(at);
            }
        }
    }

    /// The name of a prefix list, which every VPC gets when the first rule or route uses it.
    pub(super) fn prefix_list_name(&mut self, at: At) -> Option<String> {
        let instance = &self.graph.instances[at];
        if instance.kind == "aws_vpc_endpoint" {
            let (vpc, index) = self.endpoints.get(&at)?;
            return Some(self.cloud.vpcs[*vpc].endpoints[*index].name.clone());
        }
        if let Some(known) = self.lists.get(&at) {
            return known.clone();
        }
        let own_name = instance.name;
        let mut cidrs: Vec<Ipv4Net> = Vec::new();
        let own = self.list(at, "entry").iter().chain(self.list(at, "entries")).filter_map(|e| e.get("cidr"));
        cidrs.extend(own.chain(self.list(at, "cidr_blocks")).filter_map(|v| network(v.as_str()?)));
        cidrs.extend(self.entries_of_lists().get(&at).into_iter().flatten());
        let name = (!cidrs.is_empty()).then(|| {
            let wanted = format!("{}-list", super::names::clean(own_name));
            super::names::free(wanted, self.part_names.entry((0, "prefix list")).or_default())
        });
        self.lists.insert(at, name.clone());
        let name = name?;
        self.carry(at);
        for vpc in &mut self.cloud.vpcs {
            vpc.lists.push(PrefixList { name: name.clone(), cidrs: cidrs.clone() });
        }
        Some(name)
    }

    /// The networks that stand in resources of their own, by prefix list.
    fn entries_of_lists(&mut self) -> &BTreeMap<At, Vec<Ipv4Net>> {
        let entries = self.list_entries.take().unwrap_or_else(|| {
            let mut all: BTreeMap<At, Vec<Ipv4Net>> = BTreeMap::new();
            for entry in self.graph.of("aws_ec2_managed_prefix_list_entry") {
                let Some(cidr) = self.text(entry, "cidr").and_then(network) else { continue };
                for (list, _) in self.graph.meaning(entry, "prefix_list_id", &LISTS[..1]).found {
                    all.entry(list).or_default().push(cidr);
                }
            }
            all
        });
        self.list_entries.insert(entries)
    }
}

/// Kinds that are prefix lists.
pub(super) const LISTS: &[&str] = &["aws_ec2_managed_prefix_list", "aws_prefix_list", "aws_vpc_endpoint"];
