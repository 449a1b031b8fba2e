//! What joins VPCs with each other and with services: peerings, transit gateways, endpoints.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::cloud::{Attachment, Endpoint, Hub, Peering, Route, Service, Table};
use super::graph::At;
use super::reader::{Reader, shown};
use super::vpcs::overlap;
use crate::sites::MOST_GROUPS;

const HUB: &[&str] = &["aws_ec2_transit_gateway"];
const ATTACHMENT: &[&str] = &["aws_ec2_transit_gateway_vpc_attachment"];
/// Kinds that a table of a transit gateway may be named by: itself, or the default one of its gateway.
const HUB_TABLE: &[&str] = &["aws_ec2_transit_gateway_route_table", "aws_ec2_transit_gateway"];
const ENDPOINT: &[&str] = &["aws_vpc_endpoint"];
const PEERING: &[&str] = &["aws_vpc_peering_connection"];

/// The table of a transit gateway that nobody wrote.
const DEFAULT: &str = "default";
/// The table of an attachment that has none: nothing is in it.
const UNASSOCIATED: &str = "unassociated";

impl Reader<'_> {
    pub(super) fn read_peerings(&mut self) {
        for at in self.graph.of("aws_vpc_peering_connection") {
            let (Some(a), Some(b)) = (self.vpc_at(at, "vpc_id"), self.vpc_at(at, "peer_vpc_id")) else {
                continue;
            };
            if a == b {
                self.left_out(at, "it joins a VPC with itself");
                continue;
            }
            let [one, other] = [&self.cloud.vpcs[a], &self.cloud.vpcs[b]];
            let both = one.cidrs.iter().flat_map(|x| other.cidrs.iter().map(move |y| (*x, *y)));
            if let Some((x, y)) = both.into_iter().find(|(x, y)| overlap(*x, *y)) {
                let (one, other) = (&one.resource, &other.resource);
                let why = format!("AWS refuses it: {x} of {one} and {y} of {other} overlap");
                self.left_out(at, why);
                continue;
            }
            self.carry(at);
            let name = self.site_name(at);
            let between = [self.cloud.vpcs[a].name.clone(), self.cloud.vpcs[b].name.clone()];
            let accepted = self.flag(at, "auto_accept") == Some(true)
                || self.text(at, "accept_status") == Some("active");
            self.peerings.insert(at, self.cloud.peerings.len());
            self.cloud.peerings.push(Peering { name, resource: self.address(at), between, accepted });
        }
        for at in self.graph.of("aws_vpc_peering_connection_accepter") {
            let Some((peering, _)) = self.one(at, "vpc_peering_connection_id", PEERING) else { continue };
            self.carry(at);
            let accepts = self.flag(at, "auto_accept") == Some(true)
                || self.text(at, "accept_status") == Some("active");
            if let Some(index) = self.peerings.get(&peering).copied().filter(|_| accepts) {
                self.cloud.peerings[index].accepted = true;
            }
        }
        for (at, index) in self.peerings.clone() {
            if !self.cloud.peerings[index].accepted {
                self.assumed(at, "nothing in this file accepts it, so nothing passes it");
            }
        }
    }

    pub(super) fn read_hubs(&mut self) {
        for at in self.graph.of("aws_ec2_transit_gateway") {
            self.carry(at);
            let name = self.site_name(at);
            self.hubs.insert(at, self.cloud.hubs.len());
            let hub = Hub { name, resource: self.address(at), attachments: Vec::new(), tables: Vec::new() };
            self.cloud.hubs.push(hub);
        }
        for at in self.graph.of("aws_ec2_transit_gateway_route_table") {
            let Some((hub, _)) = self.one(at, "transit_gateway_id", HUB) else { continue };
            let Some(hub) = self.hubs.get(&hub).copied() else { continue };
            self.carry(at);
            let name = self.part_name(hub, "hub table", at);
            self.hub_tables.insert(at, (hub, self.cloud.hubs[hub].tables.len()));
            let table = Table { name, resource: Some(self.address(at)), routes: Vec::new() };
            self.cloud.hubs[hub].tables.push(table);
        }
        for at in self.graph.of(ATTACHMENT[0]) {
            self.read_attachment(at);
        }
        self.read_associations();
        self.read_hub_routes();
    }

    fn read_attachment(&mut self, at: At) {
        let Some((hub_at, _)) = self.one(at, "transit_gateway_id", HUB) else { return };
        let Some(hub) = self.hubs.get(&hub_at).copied() else { return };
        let Some(vpc) = self.vpc_at(at, "vpc_id") else { return };
        let subnets: Vec<String> = self
            .subnets_at(at, "subnet_ids")
            .into_iter()
            .filter(|(home, _)| *home == vpc)
            .map(|(_, index)| self.cloud.vpcs[vpc].subnets[index].name.clone())
            .collect();
        if subnets.is_empty() {
            self.left_out(at, "it has no subnet that is in this file");
            return;
        }
        let name = &self.cloud.vpcs[vpc].name;
        if let Some(first) = self.cloud.hubs[hub].attachments.iter().find(|a| a.vpc == *name) {
            let why = format!("its VPC is attached to that transit gateway already: {}", first.resource);
            return self.left_out(at, why);
        }
        if self.text(at, "appliance_mode_support") == Some("enable") {
            self.left_out(at, "its appliance mode");
        }
        self.carry(at);
        let enabled = |key: &str, own: &str| {
            self.text(hub_at, key) != Some("disable") && self.flag(at, own) != Some(false)
        };
        let associated =
            enabled("default_route_table_association", "transit_gateway_default_route_table_association");
        let propagated =
            enabled("default_route_table_propagation", "transit_gateway_default_route_table_propagation");
        let names = self.part_names.entry((hub, "attachment")).or_default();
        let name = super::names::free(self.cloud.vpcs[vpc].name.clone(), names);
        let attachment = Attachment {
            name,
            resource: self.address(at),
            vpc: self.cloud.vpcs[vpc].name.clone(),
            subnets,
            table: (!associated).then(|| UNASSOCIATED.to_owned()),
            learnt_by: (!propagated).then(Vec::new),
        };
        self.cloud.hubs[hub].attachments.push(attachment);
    }

    /// The hub, the attachment's index and the table's name that a resource joins.
    fn joined(&mut self, at: At) -> Option<(usize, usize, String)> {
        let (attachment, _) = self.one(at, "transit_gateway_attachment_id", ATTACHMENT)?;
        let (hub, index) = self.attachment(attachment).or_else(|| {
            self.left_out(at, "its attachment is left out");
            None
        })?;
        let table = self.hub_table(at)?;
        Some((hub, index, table))
    }

    fn attachment(&self, at: At) -> Option<(usize, usize)> {
        let resource = self.graph.instances[at].address;
        let found = |h: &Hub| h.attachments.iter().position(|a| a.resource == resource);
        self.cloud.hubs.iter().enumerate().find_map(|(hub, h)| Some((hub, found(h)?)))
    }

    fn hub_table(&mut self, at: At) -> Option<String> {
        let (table, _) = self.one(at, "transit_gateway_route_table_id", HUB_TABLE)?;
        if self.hubs.contains_key(&table) {
            return Some(DEFAULT.to_owned());
        }
        let (hub, index) = self.hub_tables.get(&table).copied()?;
        Some(self.cloud.hubs[hub].tables[index].name.clone())
    }

    fn read_associations(&mut self) {
        for at in self.graph.of("aws_ec2_transit_gateway_route_table_association") {
            if let Some((hub, index, table)) = self.joined(at) {
                self.carry(at);
                self.cloud.hubs[hub].attachments[index].table = Some(table).filter(|t| t != DEFAULT);
            }
        }
        for at in self.graph.of("aws_ec2_transit_gateway_route_table_propagation") {
            if let Some((hub, index, table)) = self.joined(at) {
                self.carry(at);
                let learnt = &mut self.cloud.hubs[hub].attachments[index].learnt_by;
                let by = learnt.get_or_insert_with(|| vec![DEFAULT.to_owned()]);
                if !by.contains(&table) {
                    by.push(table);
                }
            }
        }
        for hub in &mut self.cloud.hubs {
            if hub.attachments.iter().any(|a| a.table.as_deref() == Some(UNASSOCIATED)) {
                hub.tables.push(Table { name: UNASSOCIATED.to_owned(), resource: None, routes: Vec::new() });
            }
        }
    }

    fn read_hub_routes(&mut self) {
        for at in self.graph.of("aws_ec2_transit_gateway_route") {
            let destination = match self.network_at(at, "destination_cidr_block") {
                Ok(destination) => destination,
                Err(why) => {
                    self.left_out(at, why);
                    continue;
                }
            };
            let Some((table_at, _)) = self.one(at, "transit_gateway_route_table_id", HUB_TABLE) else {
                continue;
            };
            let of_table = || self.hub_tables.get(&table_at).map(|(hub, _)| *hub);
            let Some(hub) = self.hubs.get(&table_at).copied().or_else(of_table) else { continue };
            let Some(table) = self.hub_table(at) else { continue };
            let target = if self.flag(at, "blackhole") == Some(true) {
                "blackhole".to_owned()
            } else {
                let Some((attachment, _)) = self.one(at, "transit_gateway_attachment_id", ATTACHMENT) else {
                    continue;
                };
                match self.attachment(attachment) {
                    Some((same, index)) if same == hub => {
                        self.cloud.hubs[hub].attachments[index].name.clone()
                    }
                    _ => {
                        self.left_out(at, "its attachment is left out");
                        continue;
                    }
                }
            };
            let route = Route { destination: destination.to_string(), target, resource: self.address(at) };
            let tables = &self.cloud.hubs[hub].tables;
            let known = tables.iter().filter(|t| t.name == table).flat_map(|t| &t.routes);
            if known.into_iter().any(|r| r.destination == route.destination) {
                self.left_out(at, format!("its table has a route to {destination} already"));
                continue;
            }
            self.carry(at);
            let tables = &mut self.cloud.hubs[hub].tables;
            match tables.iter_mut().find(|t| t.name == table) {
                Some(found) => found.routes.push(route),
                None => tables.push(Table { name: table, resource: None, routes: vec![route] }),
            }
        }
    }

    pub(super) fn read_endpoints(&mut self) {
        for at in self.graph.of("aws_vpc_endpoint") {
            self.read_endpoint(at);
        }
        for at in self.graph.of("aws_vpc_endpoint_route_table_association") {
            let tables = self.tables_at(at, "route_table_id");
            let Some(inside) = self.endpoint_at(at) else { continue };
            self.carry(at);
            self.add_tables(inside, &tables);
        }
        for at in self.graph.of("aws_vpc_endpoint_subnet_association") {
            let subnets = self.subnets_at(at, "subnet_id");
            let Some(inside) = self.endpoint_at(at) else { continue };
            self.carry(at);
            self.add_subnets(at, inside, &subnets);
        }
        for at in self.graph.of("aws_vpc_endpoint_security_group_association") {
            let Some((vpc, index)) = self.endpoint_at(at) else { continue };
            self.carry(at);
            let groups = self.groups_at(at, "security_group_id", vpc);
            let known = &mut self.cloud.vpcs[vpc].endpoints[index].groups;
            known.retain(|g| g != "default");
            known.extend(groups);
            if known.len() > MOST_GROUPS {
                known.truncate(MOST_GROUPS);
                self.left_out(at, format!("an interface has at most {MOST_GROUPS} security groups"));
            }
        }
    }

    fn endpoint_at(&mut self, at: At) -> Option<(usize, usize)> {
        let (endpoint, _) = self.one(at, "vpc_endpoint_id", ENDPOINT)?;
        let found = self.endpoints.get(&endpoint).copied();
        if found.is_none() {
            self.left_out(at, "its endpoint is left out");
        }
        found
    }

    fn read_endpoint(&mut self, at: At) {
        let gateway = match self.text(at, "vpc_endpoint_type") {
            None | Some("Gateway") => true,
            Some("Interface") => false,
            Some(other) => return self.left_out(at, format!("an endpoint of type {}", shown(other))),
        };
        let Some(vpc) = self.vpc_at(at, "vpc_id") else { return };
        let Some(name) = self.text(at, "service_name") else {
            let why = self.unknown(at, "service_name");
            return self.left_out(at, why);
        };
        let Some(service) = self.service(name) else {
            return self.left_out(at, format!("its service {} is none of AWS's own", shown(name)));
        };
        if self.text(at, "policy").is_some_and(|p| !allows_all(p))
            || (self.text(at, "policy").is_none() && self.is_written(at, "policy"))
        {
            self.left_out(at, "its policy: who may do what is not a matter of packets");
        }
        self.carry(at);
        let name = self.part_name(vpc, "node", at);
        let groups = if gateway { Vec::new() } else { self.groups_at(at, "security_group_ids", vpc) };
        let endpoint = Endpoint {
            name,
            resource: self.address(at),
            gateway,
            service,
            tables: Vec::new(),
            subnets: Vec::new(),
            groups,
            private_dns: self.flag(at, "private_dns_enabled").unwrap_or(false),
        };
        let index = self.cloud.vpcs[vpc].endpoints.len();
        self.cloud.vpcs[vpc].endpoints.push(endpoint);
        self.endpoints.insert(at, (vpc, index));
        if gateway {
            let tables = self.tables_at(at, "route_table_ids");
            self.add_tables((vpc, index), &tables);
        } else {
            let subnets = self.subnets_at(at, "subnet_ids");
            self.add_subnets(at, (vpc, index), &subnets);
        }
    }

    fn add_tables(&mut self, (vpc, index): (usize, usize), tables: &[(usize, usize)]) {
        for (home, table) in tables {
            let name = self.cloud.vpcs[*home].tables[*table].name.clone();
            let known = &mut self.cloud.vpcs[vpc].endpoints[index].tables;
            if *home == vpc && !known.contains(&name) {
                known.push(name);
            }
        }
    }

    fn add_subnets(&mut self, at: At, (vpc, index): (usize, usize), subnets: &[(usize, usize)]) {
        for inside in subnets.iter().filter(|(home, _)| *home == vpc) {
            let Some(address) = self.address_in(*inside, None, at) else { continue };
            let name = self.cloud.vpcs[vpc].subnets[inside.1].name.clone();
            self.cloud.vpcs[vpc].endpoints[index].subnets.push((name, address));
        }
    }

    /// The site of an AWS service, made when the first endpoint leads there.
    fn service(&mut self, name: &str) -> Option<String> {
        let rest = name.strip_prefix("com.amazonaws.")?;
        let (region, short) = rest.split_once('.')?;
        let fine =
            |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        if !fine(region) || !fine(short) || region == "vpce" {
            return None;
        }
        // com.amazonaws.eu-central-1.ecr.api is api.ecr.eu-central-1.amazonaws.com.
        let mut words: Vec<&str> = short.split('.').collect();
        words.reverse();
        let host = format!("{}.{region}.amazonaws.com", words.join(".")).to_ascii_lowercase();
        if crate::dns::host_name_problem(&host).is_some() {
            return None;
        }
        if let Some(known) = self.cloud.services.iter().find(|s| s.host == host) {
            return Some(known.name.clone());
        }
        let site = super::names::free(super::names::clean(&format!("aws-{short}")), &mut self.site_names);
        let used = |third: &u8| {
            let net = [52, 94, *third];
            let public = self.eips.values().any(|a| a.octets()[..3] == net);
            let private =
                self.cloud.vpcs.iter().flat_map(|vpc| &vpc.cidrs).any(|cidr| {
                    overlap(*cidr, ipnet::Ipv4Net::new_assert(Ipv4Addr::new(52, 94, *third, 0), 24))
                });
            public || private || self.cloud.services.iter().any(|s| s.address.octets()[..3] == net)
        };
        let address = Ipv4Addr::new(52, 94, (0..=u8::MAX).find(|third| !used(third))?, 10);
        self.cloud.services.push(Service { name: site.clone(), address, host });
        Some(site)
    }
}

/// Whether a policy is the one that AWS puts there itself: everything for everybody.
fn allows_all(policy: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else { return false };
    let Some(statements) = policy.get("Statement").and_then(Value::as_array) else { return false };
    let any = |v: Option<&Value>| v.and_then(Value::as_str) == Some("*");
    statements.iter().all(|s| {
        s.get("Effect").and_then(Value::as_str) == Some("Allow")
            && any(s.get("Principal"))
            && any(s.get("Action"))
            && any(s.get("Resource"))
            && s.get("Condition").is_none()
    })
}
