//! Network ACLs: stateless access lists at the ports of the VPC's router, one for each subnet.
//!
//! What leaves a subnet comes in by the router's port; what enters it goes out there. Each packet is judged alone, so answers
//! need a line of their own. Traffic inside a subnet does not pass the router and is not asked.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::HookPoint;
use rt_rules::{Action, Chain, Construct, Filter, Match, Origin, Policy};

use super::lines::{self, End, Toward};
use super::{Subnet, Vpc, default_of, fine_name, origin_of, unknown};
use crate::diag::Code;
use crate::tree::{Key, Value};
use crate::world::World;

/// The ACL of subnets that name none.
const DEFAULT: &str = "default";
/// Lines go up to this number; `*`, the denial at the end, is the next.
const LAST_NUMBER: u32 = 32_766;

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
        let mut chains = [Vec::new(), Vec::new()];
        for subnet in &self.subnets {
            let named = subnet.value.get("acl");
            let name = named.and_then(Value::text).unwrap_or(DEFAULT);
            match read.iter().find(|(n, _)| *n == name) {
                Some((_, [leaves, enters])) => {
                    chains[0].extend(leaves.iter().map(|rule| at_port(rule, subnet, Toward::Out)));
                    chains[1].extend(enters.iter().map(|rule| at_port(rule, subnet, Toward::In)));
                }
                None if name == DEFAULT => {}
                None => unknown(
                    world,
                    named.unwrap_or(subnet.value),
                    "network ACL",
                    (self.name, read.iter().map(|(n, _)| *n)),
                ),
            }
        }
        let hooks = [HookPoint::Prerouting, HookPoint::Postrouting];
        for (hook, rules) in hooks.into_iter().zip(chains) {
            if rules.is_empty() {
                continue;
            }
            let rules = self.unblockable(world).into_iter().chain(rules).collect();
            let origin = world.default_of(self.span, "the default network ACL allows everything");
            let policy = Policy::new(Action::Accept, origin);
            world.node(self.router).node.chains.push(Chain { hook, rules, policy });
        }
    }

    /// No network ACL can keep anybody from the VPC's resolver.
    fn unblockable(&self, world: &World<'_, '_>) -> Vec<Filter> {
        let Some(resolver) = &self.resolver else { return Vec::new() };
        let origin = world.default_of(self.span, "no network ACL can block the VPC's resolver");
        let both = vec![resolver.address.into(), IpAddr::from(super::resolver::LINK_LOCAL).into()];
        let to = Match { dst: both.clone(), ..Match::default() };
        let from = Match { src: both, ..Match::default() };
        [to, from].into_iter().map(|when| Filter::new(when, Action::Accept, origin.clone())).collect()
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
        out.push(Filter { number: Some(LAST_NUMBER + 1), construct, ..rest });
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

/// A line as it stands at the router's port to a subnet.
fn at_port(rule: &Filter, subnet: &Subnet<'_>, toward: Toward) -> Filter {
    let mut rule = rule.clone();
    match toward {
        Toward::In => rule.when.out_port = Some(subnet.port),
        Toward::Out => rule.when.in_port = Some(subnet.port),
    }
    rule
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
