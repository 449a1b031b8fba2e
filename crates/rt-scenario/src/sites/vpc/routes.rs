//! Route tables: each subnet's (or the main one), as a table of the VPC's router that packets from that subnet are asked in.
//!
//! Every table has the local routes; the most specific prefix wins. What comes from gateways, peerings and attachments
//! follows the router's main table, which has only local routes: that is why peering is not transitive.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::PortId;
use rt_rules::{Match, Origin, Route, RouteKind, RoutePolicy};

use super::{Vpc, Way, default_of, resolver, unknown};
use crate::diag::{Code, Span};
use crate::model::RouteTableModel;
use crate::tree::{Key, Value};
use crate::world::World;

/// Among equal prefixes a written route is better than a local one (a middlebox between subnets).
const LOCAL_METRIC: u32 = 100;

/// A route table of the file.
struct Table<'v> {
    name: String,
    span: Span,
    routes: &'v Value,
}

/// A route to `prefix` that way.
pub(super) fn unicast(prefix: IpNet, way: &Way, origin: Origin) -> Route {
    let (via, out, kind) = (Some(way.via), way.out, RouteKind::Unicast);
    Route { prefix, via, out, kind, metric: 0, source: None, origin }
}

fn blackhole(prefix: IpNet, origin: Origin) -> Route {
    Route { prefix, via: None, out: PortId(0), kind: RouteKind::Blackhole, metric: 0, source: None, origin }
}

impl<'v> Vpc<'v> {
    pub(super) fn write_routes(&self, world: &mut World<'_, '_>) {
        let (tables, chosen) = self.tables(world);
        for table in &tables {
            let mut routes = self.local_routes(world, Some(table));
            self.written_routes(world, table, &mut routes);
            routes.extend(self.extra.iter().filter(|e| e.table == table.name).map(|e| e.route.clone()));
            let model = RouteTableModel { name: model_name(&table.name), routes };
            world.node(self.router).node.tables.push(model);
        }
        let own = self.subnets.iter().map(|subnet| subnet.port).zip(&chosen);
        let entered =
            self.entrances.iter().filter_map(|(port, subnet, _)| Some((*port, chosen.get(*subnet)?)));
        for (port, chosen) in own.chain(entered) {
            let Some((table, origin)) = chosen.clone() else { continue };
            let when = Match { in_port: Some(port), ..Match::default() };
            let policy = RoutePolicy { when, table: table as u32 + 1, origin };
            world.node(self.router).node.policies.push(policy);
        }
        let main = self.local_routes(world, None);
        let node = &mut world.node(self.router).node;
        let connected: Vec<IpNet> = node.routes.iter().map(|r| r.prefix).collect();
        node.routes.extend(main.into_iter().filter(|r| !connected.contains(&r.prefix)));
    }

    /// The tables, and for each subnet the index of its own with the origin of that choice.
    fn tables(&self, world: &mut World<'_, '_>) -> (Vec<Table<'v>>, Vec<Option<(usize, Origin)>>) {
        let mut tables: Vec<Table<'v>> = Vec::new();
        for (name, routes) in self.value.get("route-tables").map(Value::entries).unwrap_or_default() {
            tables.push(Table { name: name.text.clone(), span: name.span, routes });
        }
        let main = match self.value.get("main-route-table") {
            Some(at) => self.table_named(world, &tables, at),
            None => tables.iter().position(|t| t.name == "main"),
        };
        let mut chosen = Vec::new();
        for subnet in &self.subnets {
            if let Some((key, routes)) =
                subnet.value.entry("routes").filter(|_| subnet.value.get("routes").is_some())
            {
                if let Some(at) = subnet.value.get("route-table") {
                    let message =
                        format!("the subnet `{}` has routes of its own and a route table", subnet.name);
                    world
                        .problems
                        .add(Code::Contradiction, at.span, message, "and this")
                        .related(key.span, "this")
                        .help("write the routes into the table, or leave `route-table` away");
                }
                chosen.push(Some((tables.len(), world.line(key.span))));
                tables.push(Table { name: subnet.name.to_owned(), span: key.span, routes });
                continue;
            }
            chosen.push(match subnet.value.get("route-table") {
                Some(at) => self.table_named(world, &tables, at).map(|t| (t, world.line(at.span))),
                None => main.map(|t| (t, world.default_of(subnet.span, "the main route table"))),
            });
        }
        (tables, chosen)
    }

    fn table_named(&self, world: &mut World<'_, '_>, tables: &[Table<'v>], at: &Value) -> Option<usize> {
        let name = at.text()?;
        let found = tables.iter().position(|t| t.name == name);
        if found.is_none() {
            unknown(world, at, "route table", (self.name, tables.iter().map(|t| t.name.as_str())));
        }
        found
    }

    /// What every table has: the subnets, the resolver, and an end for what no subnet has.
    fn local_routes(&self, world: &World<'_, '_>, table: Option<&Table<'v>>) -> Vec<Route> {
        let (whose, span) = match table {
            Some(table) => (table.routes, table.span),
            None => (self.value, self.span),
        };
        let mut out = Vec::new();
        for subnet in &self.subnets {
            let cidr =
                self.cidrs.iter().find(|(cidr, _)| cidr.contains(&subnet.net)).map_or(subnet.net, |c| c.0);
            let origin = self.local_origin(world, (whose, span), cidr.into());
            let (prefix, out_port) = (subnet.net.into(), subnet.port);
            let kind = RouteKind::Unicast;
            let metric = LOCAL_METRIC;
            out.push(Route { prefix, via: None, out: out_port, kind, metric, source: None, origin });
        }
        for (cidr, _) in &self.cidrs {
            let origin = self.local_origin(world, (whose, span), (*cidr).into());
            let taken = out.iter().any(|r: &Route| r.prefix == IpNet::from(*cidr));
            if !taken {
                out.push(Route { metric: LOCAL_METRIC, ..blackhole((*cidr).into(), origin) });
            }
        }
        if let Some(found) = &self.resolver {
            let origin = world.default_of(self.span, "the VPC's resolver");
            let apart = self.subnets.iter().all(|s| !IpNet::from(s.net).contains(&found.address));
            if apart {
                out.push(unicast(
                    found.address.into(),
                    &Way { via: found.address, ..found.way.clone() },
                    origin.clone(),
                ));
            }
            out.push(unicast(IpAddr::from(resolver::LINK_LOCAL).into(), &found.way, origin));
        }
        out
    }

    /// Where the local route to `cidr` of a table is written; by default every table has it.
    fn local_origin(&self, world: &World<'_, '_>, (whose, span): (&Value, Span), cidr: IpNet) -> Origin {
        let written = whose.entries().iter().find(|(key, value)| {
            key.text.parse::<IpNet>().ok().map(|n| n.trunc()) == Some(cidr) && target(value) == Some("local")
        });
        match written {
            Some((key, value)) => super::origin_of(world, value, key.span),
            None => default_of(world, Some(whose), span, &format!("every route table has {cidr} → local")),
        }
    }

    fn written_routes(&self, world: &mut World<'_, '_>, table: &Table<'v>, routes: &mut Vec<Route>) {
        for (key, value) in table.routes.entries() {
            if key.text == "resource" {
                continue;
            }
            let Some(text) = target(value) else { continue };
            let origin = match (value.str_at("resource"), table.routes.str_at("resource")) {
                (None, Some(address)) => Origin::Resource { address: address.to_owned() },
                _ => super::origin_of(world, value, key.span),
            };
            for prefix in self.destinations(world, key) {
                let local = self.cidrs.iter().any(|(cidr, _)| IpNet::from(*cidr) == prefix);
                match (text, local) {
                    ("local", true) => {}
                    ("local", false) => not_local(world, (key, prefix)),
                    // Of a prefix list only the rest counts: the local route is always there and cannot be replaced.
                    (_, true) if key.text.parse::<IpNet>().is_err() => {}
                    (_, true) => stays_local(world, (key, prefix)),
                    ("blackhole", _) => routes.push(blackhole(prefix, origin.clone())),
                    _ if self.dead.contains_key(text) => {
                        routes.push(blackhole(prefix, self.dead[text].clone()))
                    }
                    _ => {
                        if let Some(way) = self.way(world, (value, text)) {
                            routes.push(unicast(prefix, &way, origin.clone()));
                        }
                    }
                }
            }
        }
    }

    /// The networks of a destination: one, or those of a prefix list.
    fn destinations(&self, world: &mut World<'_, '_>, key: &Key) -> Vec<IpNet> {
        if let Ok(net @ IpNet::V4(_)) = key.text.parse::<IpNet>() {
            return vec![net.trunc()];
        }
        let lists = self.value.get("prefix-lists");
        if let Some(list) = lists.and_then(|l| l.get(&key.text)) {
            return list.items().iter().filter_map(|v| Some(v.host(32)?.trunc())).collect();
        }
        let known = lists.map(Value::entries).unwrap_or_default().iter().map(|(k, _)| k.text.as_str());
        let message = format!("`{}` is neither a network nor a prefix list", key.text);
        world
            .problems
            .add(Code::BadNetwork, key.span, message, "not a destination")
            .known(&key.text, known)
            .help("destinations look like `0.0.0.0/0`");
        Vec::new()
    }

    /// Where a target is.
    fn way(&self, world: &mut World<'_, '_>, (value, text): (&Value, &str)) -> Option<Way> {
        let at = value.get("target").unwrap_or(value);
        let nat = |name: &str| {
            let nat = self.nats.iter().find(|n| n.name == name)?;
            Some(Way { out: self.subnets[nat.subnet].port, via: nat.address })
        };
        let instance = |name: &str| {
            let found = self.instances.iter().find(|i| i.name == name)?;
            Some(Way { out: self.subnets[found.subnet].port, via: found.address })
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let found = match *words {
            ["internet-gateway"] => match &self.gateway {
                Some(gateway) => Some(gateway.way.clone()),
                None => {
                    self.no_gateway(world, at);
                    return None;
                }
            },
            ["nat", name] => nat(name),
            ["instance", name] => instance(name),
            [name] => nat(name).or_else(|| self.ways.get(name).cloned()),
            _ => self.ways.get(&words.join(" ")).cloned(),
        };
        if found.is_none() {
            self.unknown_target(world, (at, text));
        }
        found
    }

    fn no_gateway(&self, world: &mut World<'_, '_>, at: &Value) {
        if world.problems.has(&[Code::NeedsInternet]) {
            return;
        }
        let message = format!("`{}` has no internet gateway that a route could lead to", self.name);
        world
            .problems
            .add(Code::UnknownReference, at.span, message, "there is none")
            .related(self.span, "the VPC")
            .help(format!("write `internet-gateway: yes` in `{}`", self.name));
    }

    fn unknown_target(&self, world: &mut World<'_, '_>, (at, text): (&Value, &str)) {
        let name = text.split_whitespace().last().unwrap_or("");
        let written = ["nat-gateways", "instances"];
        if written.iter().any(|key| self.value.get(key).is_some_and(|v| v.entry(name).is_some())) {
            // It is there and was refused: that is reported already.
            return;
        }
        let mut known: Vec<String> = self.nats.iter().map(|n| n.name.clone()).collect();
        known.extend(self.gateway.iter().map(|_| "internet-gateway".to_owned()));
        known.extend(self.instances.iter().map(|i| format!("instance {}", i.name)));
        known.extend(self.ways.keys().chain(self.dead.keys()).cloned());
        known.push("blackhole".to_owned());
        let message = format!("`{text}` is nothing that a route of `{}` can lead to", self.name);
        world
            .problems
            .add(Code::UnknownReference, at.span, message, "unknown target")
            .known(text, known)
            .help("targets are `internet-gateway`, a NAT gateway, `instance NAME`, `peering NAME`, `transit-gateway NAME`, `endpoint NAME`, `blackhole`");
    }
}

/// The name of a table in the model, where `main` is the machine's own.
pub(super) fn model_name(name: &str) -> String {
    if name == "main" { "main-table".to_owned() } else { name.to_owned() }
}

/// The text of a route's target: `{ target: ..., resource: ... }` or the text itself.
fn target(value: &Value) -> Option<&str> {
    value.get("target").unwrap_or(value).text()
}

fn not_local(world: &mut World<'_, '_>, (key, prefix): (&Key, IpNet)) {
    let message = format!("{prefix} is not a network of this VPC, so it cannot be local");
    world
        .problems
        .add(Code::ForeignAddress, key.span, message, "not local")
        .help("`local` belongs to the VPC's own networks; leave the line away, every table has them");
}

fn stays_local(world: &mut World<'_, '_>, (key, prefix): (&Key, IpNet)) {
    let message = format!("{prefix} is the VPC's own network: its local route cannot be replaced");
    world
        .problems
        .add(Code::Contradiction, key.span, message, "always local")
        .help("a route to one subnet of it can lead to an instance");
}
