//! Network ACLs: stateless access lists at the ports of the VPC's router, one for each subnet.
//!
//! What leaves a subnet comes in by the router's port; what enters it goes out there. Each packet is judged alone, so answers
//! need a line of their own. Traffic inside a subnet is not asked, also where a route leads it over the router (to a NAT
//! gateway or an instance of the same subnet): it crosses no border.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::HookPoint;
use rt_rules::{Action, Construct, Filter, Match, Origin};

use super::lines::{self, End, Toward};
use super::{Subnet, Vpc, default_of, fine_name, origin_of, unknown};
use crate::diag::Code;
use crate::guard::{LAST_NUMBER, border_rule};
use crate::tree::{Key, Value};
use crate::world::World;

/// The ACL of subnets that name none.
const DEFAULT: &str = "default";

impl Vpc<'_> {
    pub(super) fn write_acls(&self, world: &mut World<'_, '_>) {
        let acls = self.value.get("acls").map(Value::entries).unwrap_or_default();
        let read: Vec<(&str, [Vec<Filter>; 2])> = acls
            .iter()
            .map(|(key, value)| {
                fine_name(world, key, "a network ACL");
                let both =
                    [Toward::Out, Toward::In].map(|toward| self.acl_rules(world, (key, value), toward));
                (key.text.as_str(), both)
            })
            .collect();
        for subnet in &self.subnets {
            let named = subnet.value.get("acl");
            let name = named.and_then(Value::text).unwrap_or(DEFAULT);
            match read.iter().find(|(n, _)| *n == name) {
                Some((_, both)) => self.put_acl(world, subnet, (name, both)),
                None if name == DEFAULT => {}
                None => unknown(
                    world,
                    named.unwrap_or(subnet.value),
                    "network ACL",
                    (self.name, read.iter().map(|(n, _)| *n)),
                ),
            }
        }
    }

    /// Puts both lists at the router's port to a subnet.
    fn put_acl(
        &self,
        world: &mut World<'_, '_>,
        subnet: &Subnet<'_>,
        (name, both): (&str, &[Vec<Filter>; 2]),
    ) {
        let hooks = [HookPoint::Prerouting, HookPoint::Postrouting];
        for (hook, rules) in hooks.into_iter().zip(both) {
            let mut rules = rules.clone();
            let rest = rules.pop().expect("invariant: every list ends with its denial");
            let inside = default_of(
                world,
                Some(subnet.value),
                subnet.span,
                "a network ACL stands at its subnet's border: what stays in the subnet passes",
            );
            let inside = border_rule(subnet.port, inside);
            let before = [Some(inside), self.unblockable(world, subnet, hook)].into_iter().flatten();
            let construct = Some(Construct::NetworkAcl { name: name.to_owned() });
            rules.splice(0..0, before.map(|rule| Filter { construct: construct.clone(), ..rule }));
            world.add_list(self.router, (hook, subnet.port), rules, rest);
        }
    }

    /// No network ACL can keep anybody from the VPC's resolver: questions to it leave a subnet and answers come back, the
    /// other way round where it stands.
    fn unblockable(&self, world: &World<'_, '_>, subnet: &Subnet<'_>, hook: HookPoint) -> Option<Filter> {
        let resolver = self.resolver.as_ref()?;
        let own = IpNet::from(subnet.net).contains(&resolver.address);
        let ends = vec![resolver.address.into(), IpAddr::from(super::resolver::LINK_LOCAL).into()];
        let when = match (hook == HookPoint::Prerouting) != own {
            true => Match { dst: ends, ..Match::default() },
            false => Match { src: ends, ..Match::default() },
        };
        let origin = world.default_of(self.span, "no network ACL can block the VPC's resolver");
        Some(Filter::new(when, Action::Accept, origin))
    }

    /// The lines of an ACL in one direction, by number, and the denial at the end.
    fn acl_rules(
        &self,
        world: &mut World<'_, '_>,
        (key, value): (&Key, &Value),
        toward: Toward,
    ) -> Vec<Filter> {
        let word = if toward == Toward::In { "in" } else { "out" };
        let construct = Some(Construct::NetworkAcl { name: key.text.clone() });
        let mut out: Vec<Filter> = Vec::new();
        for (number, line) in value.get(word).map(Value::entries).unwrap_or_default() {
            let at = line.get("rule").unwrap_or(line);
            let (Some(n), Some(text)) = (rule_number(world, number), at.text()) else { continue };
            let origin = match (line.str_at("resource"), value.str_at("resource")) {
                (None, Some(address)) => Origin::Resource { address: address.to_owned() },
                _ => origin_of(world, line, number.span),
            };
            match lines::acl_line(text, toward) {
                Ok(read) => {
                    let when = self.ends_of(world, (&read, toward), at);
                    let rule = Filter::new(when, read.action, origin);
                    out.push(Filter { number: Some(n), construct: construct.clone(), ..rule });
                }
                Err(why) => world.bad_rule(at.span, text, &why, lines::ACL_HELP),
            }
        }
        out.sort_by_key(|rule| rule.number);
        let origin = default_of(
            world,
            Some(value),
            key.span,
            "a network ACL denies what none of its lines names (rule *)",
        );
        let rest = Filter::new(Match::default(), Action::Drop, origin);
        out.push(Filter { construct, ..rest });
        out
    }

    fn ends_of(
        &self,
        world: &mut World<'_, '_>,
        (line, toward): (&lines::Line, Toward),
        at: &Value,
    ) -> Match {
        let mut nets: Vec<IpNet> = Vec::new();
        for end in &line.ends {
            match end {
                End::Net(net) => nets.push(*net),
                End::List(name) => nets.extend(self.prefix_list(world, at, name)),
                End::Own | End::Group(_) => {}
            }
        }
        match toward {
            Toward::In => Match { src: nets, ..line.when.clone() },
            Toward::Out => Match { dst: nets, ..line.when.clone() },
        }
    }
}

fn rule_number(world: &mut World<'_, '_>, key: &Key) -> Option<u32> {
    let number = key.text.parse::<u32>().ok().filter(|n| (1..=LAST_NUMBER).contains(n));
    if number.is_none() {
        let message = format!("`{}` is not the number of a network ACL's line", key.text);
        world
            .problems
            .add(Code::BadNumber, key.span, message, "not a number")
            .help(format!("numbers go from 1 to {LAST_NUMBER}; leave room between them: 100, 110, 120"));
    }
    number
}
