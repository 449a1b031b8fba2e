//! Security groups: stateful chains on the interface that wears them.
//!
//! What comes in and what goes out is allowed by any rule of any of its groups; answers always pass; the rest ends silently.
//! A rule that names a group means its members' private addresses. The source check stands in the same chain: only what
//! bears the interface's own address goes out.
//!
//! Simplified: of an instance that forwards (`source-dest-check: no`), what passes through is asked for `in` only. A user notices
//! when such an instance has narrow `out` lines.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{HookPoint, NodeId};
use rt_rules::{Action, Chain, Construct, CtState, Filter, Match, Origin, Policy, PortRange};

use super::lines::{self, End, Toward};
use super::{Vpc, default_of, fine_name, origin_of, unknown};
use crate::diag::{Code, Span};
use crate::tree::{Kind, Value};
use crate::world::World;

/// The group that is there unless it is written.
const DEFAULT: &str = "default";
/// Groups of one interface at most (AWS: 5, on request 16).
pub(crate) const MOST_GROUPS: usize = 16;
/// Rules that the groups of one interface come to at most (AWS: 1000).
pub(crate) const MOST_RULES: usize = 1_000;

/// An interface with security groups.
pub(in crate::sites) struct Eni {
    pub(in crate::sites) id: NodeId,
    pub(in crate::sites) span: Span,
    pub(in crate::sites) address: IpAddr,
    pub(in crate::sites) groups: Vec<String>,
    /// Whether it sends and takes only what bears its own address.
    pub(in crate::sites) checked: bool,
}

/// The members of every group: by VPC and group.
type Members = BTreeMap<(String, String), Vec<IpNet>>;

impl Vpc<'_> {
    /// The groups that an interface names; `default` when it names none. Unknown ones are reported and left out.
    pub(in crate::sites) fn groups_of(
        &self,
        world: &mut World<'_, '_>,
        value: Option<&Value>,
    ) -> Vec<String> {
        let Some(list) = value else { return vec![DEFAULT.to_owned()] };
        if list.items().len() > MOST_GROUPS {
            let message = format!("an interface has at most {MOST_GROUPS} security groups");
            world.problems.add(Code::BadNumber, crate::shape::head(list), message, "too many");
        }
        let mut out: Vec<String> = Vec::new();
        for item in list.items().iter().take(MOST_GROUPS) {
            let Some(name) = item.text() else { continue };
            if name != DEFAULT && self.group(name).is_none() {
                unknown(world, item, "security group", (self.name, self.group_names()));
            } else if !out.iter().any(|n| n == name) {
                out.push(name.to_owned());
            }
        }
        out
    }

    /// What is written of a group.
    fn group(&self, name: &str) -> Option<(Span, &Value)> {
        let (key, value) = self.value.get("security-groups")?.entry(name)?;
        Some((key.span, value))
    }

    fn group_names(&self) -> Vec<&str> {
        let written = self.value.get("security-groups").map(Value::entries).unwrap_or_default();
        let names = written.iter().map(|(k, _)| k.text.as_str());
        names.chain([DEFAULT].into_iter().filter(|d| self.group(d).is_none())).collect()
    }

    /// Writes the chains of every interface, and reads the groups that nobody wears too: their lines may be wrong.
    pub(super) fn write_groups(&self, world: &mut World<'_, '_>, vpcs: &[Vpc<'_>]) {
        for (name, _) in self.value.get("security-groups").map(Value::entries).unwrap_or_default() {
            fine_name(world, name, "a security group");
        }
        let members = members(vpcs);
        let mut rules: BTreeMap<&str, [Vec<Filter>; 2]> = BTreeMap::new();
        for name in self.group_names() {
            let both =
                [Toward::In, Toward::Out].map(|toward| self.group_rules(world, (name, toward), &members));
            rules.insert(name, both);
        }
        for eni in &self.enis {
            let own = |toward: usize| -> Vec<Filter> {
                eni.groups
                    .iter()
                    .filter_map(|g| rules.get(g.as_str()))
                    .flat_map(|r| r[toward].clone())
                    .collect()
            };
            let (enters, leaves) = (own(0), own(1));
            if enters.len().max(leaves.len()) > MOST_RULES {
                let message = format!("the security groups here come to more than {MOST_RULES} rules");
                world.problems.add(Code::TooLarge, eni.span, message, "too many rules");
                continue;
            }
            self.guard(world, eni, (enters, leaves));
        }
    }

    fn guard(&self, world: &mut World<'_, '_>, eni: &Eni, (enters, leaves): (Vec<Filter>, Vec<Filter>)) {
        let policy = |world: &World<'_, '_>, what: &str| {
            let name = eni.groups.join(",");
            let what = if eni.groups.is_empty() { "without a security group nothing passes" } else { what };
            let origin = self.refusal(world, eni, what);
            Policy { construct: Some(Construct::SecurityGroup { name }), ..Policy::new(Action::Drop, origin) }
        };
        let answers = world.default_of(eni.span, "a security group is stateful: answers pass");
        let states = vec![CtState::Established, CtState::Related];
        let known = Filter::new(Match { states, ..Match::default() }, Action::Accept, answers);
        let chain = |hook, mut rules: Vec<Filter>, policy| {
            rules.insert(0, known.clone());
            Chain { hook, rules, policy }
        };
        let input = policy(world, "a security group denies what none of its lines allows");
        let mut output = chain(
            HookPoint::Output,
            leaves,
            policy(world, "a security group denies what none of its lines allows"),
        );
        self.let_ask(world, &mut output.rules);
        if eni.checked {
            for rule in &mut output.rules {
                rule.when.src = vec![IpNet::from(eni.address)];
            }
        }
        let mut chains = vec![chain(HookPoint::Input, enters.clone(), input.clone()), output];
        if !eni.checked {
            chains.push(chain(HookPoint::Forward, enters, input));
        }
        world.node(eni.id).node.chains = chains;
    }

    /// Where what all groups of an interface refuse comes from: their Terraform addresses, or else the line of the first.
    fn refusal(&self, world: &World<'_, '_>, eni: &Eni, what: &str) -> Origin {
        let groups: Vec<(Span, &Value)> = eni.groups.iter().filter_map(|g| self.group(g)).collect();
        let resources = groups.iter().filter(|(_, group)| group.str_at("resource").is_some()).count();
        let first = groups.first().map_or(eni.span, |(span, _)| *span);
        if resources == 0 {
            return world.default_of(first, what);
        }
        let origins = groups.iter().map(|(span, group)| origin_of(world, group, *span).to_string());
        let all = origins.collect::<Vec<String>>().join(", ");
        Origin::Resource { address: format!("{all} (by default: {what})") }
    }

    /// No security group can keep an interface from the VPC's resolver.
    fn let_ask(&self, world: &World<'_, '_>, rules: &mut Vec<Filter>) {
        let everything = |r: &Filter| {
            Match { src: Vec::new(), ..r.when.clone() } == Match::default() && r.action == Action::Accept
        };
        let Some(resolver) = self.resolver.as_ref().filter(|_| !rules.iter().any(everything)) else { return };
        for protocol in [17, 6] {
            let when = Match {
                protocol: Some(protocol),
                dst: vec![resolver.address.into(), IpAddr::from(super::resolver::LINK_LOCAL).into()],
                dport: Some(PortRange { first: 53, last: 53 }),
                ..Match::default()
            };
            let origin = world.default_of(self.span, "no security group can block the VPC's resolver");
            rules.push(Filter::new(when, Action::Accept, origin));
        }
    }

    /// The rules of a group in one direction.
    fn group_rules(
        &self,
        world: &mut World<'_, '_>,
        (name, toward): (&str, Toward),
        members: &Members,
    ) -> Vec<Filter> {
        let (key, everything) = match toward {
            Toward::In => ("in", "nothing"),
            Toward::Out => ("out", "a security group lets everything out unless it says otherwise"),
        };
        let construct = Some(Construct::SecurityGroup { name: name.to_owned() });
        let written = self.group(name);
        let Some((span, value)) = written else {
            // The default group as AWS makes it: all from its members, all out.
            let mut rule =
                Filter::new(Match::default(), Action::Accept, world.default_of(self.span, everything));
            if toward == Toward::In {
                let what = "the default security group lets its members talk to each other";
                rule =
                    Filter::new(self.named(members, name), Action::Accept, world.default_of(self.span, what));
            }
            return vec![Filter { construct, ..rule }];
        };
        let list = value.entry(key).map(|(_, list)| list).filter(|list| list.kind != Kind::Null);
        let Some(list) = list else {
            let all = Filter::new(
                Match::default(),
                Action::Accept,
                default_of(world, Some(value), span, everything),
            );
            return if toward == Toward::Out { vec![Filter { construct, ..all }] } else { Vec::new() };
        };
        let mut out = Vec::new();
        for item in list.items() {
            let at = item.get("rule").unwrap_or(item);
            let Some(text) = at.text() else { continue };
            let origin = match (item.str_at("resource"), value.str_at("resource")) {
                (None, Some(address)) => Origin::Resource { address: address.to_owned() },
                _ => origin_of(world, item, at.span),
            };
            match lines::group_line(text, toward) {
                Ok(line) => {
                    for when in self.ends(world, (&line, toward), (at, name), members) {
                        let rule = Filter::new(when, line.action, origin.clone());
                        out.push(Filter { construct: construct.clone(), ..rule });
                    }
                }
                Err(why) => world.bad_rule(at.span, text, &why, lines::HELP),
            }
        }
        out
    }

    /// Conditions for the other ends of a line: one for all its networks, one for each group.
    fn ends(
        &self,
        world: &mut World<'_, '_>,
        (line, toward): (&lines::Line, Toward),
        (at, own): (&Value, &str),
        members: &Members,
    ) -> Vec<Match> {
        let mut nets = Vec::new();
        let mut out = Vec::new();
        let put = |when: Match, nets: Vec<IpNet>, group: Option<String>| match toward {
            Toward::In => Match { src: nets, src_group: group, ..when },
            Toward::Out => Match { dst: nets, dst_group: group, ..when },
        };
        for end in &line.ends {
            match end {
                End::Net(net) => nets.push(*net),
                End::List(list) => nets.extend(self.prefix_list(world, at, list)),
                End::Own | End::Group(_) => {
                    let name = if let End::Group(name) = end { name } else { own };
                    if let Some(found) = self.members_of(world, (at, name), members) {
                        out.push(put(line.when.clone(), found.to_vec(), Some(name.to_owned())));
                    }
                }
            }
        }
        if !nets.is_empty() || line.ends.is_empty() {
            out.insert(0, put(line.when.clone(), nets, None));
        }
        out
    }

    /// A condition that the sender is of a group of this VPC.
    fn named(&self, members: &Members, name: &str) -> Match {
        let key = (self.name.to_owned(), name.to_owned());
        let src = members.get(&key).cloned().unwrap_or_default();
        Match { src, src_group: Some(name.to_owned()), ..Match::default() }
    }

    /// The members of `web` here, or of `other-vpc.web`.
    fn members_of<'m>(
        &self,
        world: &mut World<'_, '_>,
        (at, name): (&Value, &str),
        members: &'m Members,
    ) -> Option<&'m [IpNet]> {
        let key = match name.split_once('.').filter(|_| self.group(name).is_none()) {
            Some((vpc, group)) => (vpc.to_owned(), group.to_owned()),
            None => (self.name.to_owned(), name.to_owned()),
        };
        let found = members.get(&key).map(Vec::as_slice);
        if found.is_none() {
            let mut known: Vec<&str> = self.group_names();
            let others: Vec<String> =
                members.keys().filter(|(v, _)| v != self.name).map(|(v, g)| format!("{v}.{g}")).collect();
            known.extend(others.iter().map(String::as_str));
            let message = format!("`{}` has no security group `{name}`", self.name);
            world
                .problems
                .add(Code::UnknownReference, at.span, message, "no such group")
                .known(name, known)
                .help("name a group of this VPC, or `VPC.GROUP` of a peered one");
        }
        found
    }

    pub(super) fn prefix_list(&self, world: &mut World<'_, '_>, at: &Value, name: &str) -> Vec<IpNet> {
        if let Some(found) = self.lists.get(name) {
            return found.clone();
        }
        let lists = self.value.get("prefix-lists").map(Value::entries).unwrap_or_default();
        match lists.iter().find(|(key, _)| key.text == name) {
            Some((_, list)) => list.items().iter().filter_map(|v| Some(v.host(32)?.trunc())).collect(),
            None => {
                let message = format!("`{}` has no prefix list `{name}`", self.name);
                world
                    .problems
                    .add(Code::UnknownReference, at.span, message, "no such list")
                    .known(name, lists.iter().map(|(k, _)| k.text.as_str()))
                    .help(format!("write it under `prefix-lists:` of `{}`", self.name));
                Vec::new()
            }
        }
    }
}

/// Who is in which group. A group without members is there too.
fn members(vpcs: &[Vpc<'_>]) -> Members {
    let mut out = Members::new();
    for vpc in vpcs {
        for group in vpc.group_names() {
            out.entry((vpc.name.to_owned(), group.to_owned())).or_default();
        }
        for eni in &vpc.enis {
            for group in &eni.groups {
                let key = (vpc.name.to_owned(), group.clone());
                out.entry(key).or_default().push(eni.address.into());
            }
        }
    }
    out
}
