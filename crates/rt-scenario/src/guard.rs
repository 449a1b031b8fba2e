//! What guards a machine beside its firewall: stateless access lists, the reverse-path check, and groups of addresses that
//! rules of all kinds may name.
//!
//! An access list is lowered to rules of the two stateless chains (`rt_rules::Chain`), which name its interface; its `*` line,
//! which denies the rest, is the rule without a number behind them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{HookPoint, NodeId, PortId};
use rt_rules::{Action, Chain, Construct, Filter, Match, Origin, Policy, ReversePath, SourceCheck};

use crate::diag::{Code, Span};
use crate::rules_text::{self, Line};
use crate::tree::{Key, Value};
use crate::world::World;

/// The highest number of a line (as AWS counts; 32767 is its `*`).
pub(crate) const LAST_NUMBER: u32 = 32_766;

const ACL_HELP: &str =
    "an access list looks like `in: { 100: allow tcp port 443, 200: deny from 10.0.0.0/8 }`";

/// The modes of the reverse-path check.
pub(crate) const REVERSE_PATH: &[&str] = &["strict", "loose", "off"];

impl World<'_, '_> {
    /// Reads `acl:` and `reverse-path:` of a machine whose interfaces are made.
    pub(crate) fn read_guards(&mut self, id: NodeId, value: &Value) {
        for (name, lists) in value.get("acl").map(Value::entries).unwrap_or_default() {
            let Some(port) = self.find_port(id, &name.text) else {
                self.no_such_interface(id, name);
                continue;
            };
            let construct = lists.str_at("name").map(|name| Construct::NetworkAcl { name: name.to_owned() });
            for (key, hook) in [("in", HookPoint::Prerouting), ("out", HookPoint::Postrouting)] {
                if let Some((name, lines)) = lists.entry(key) {
                    let border = lists.entry("border").filter(|_| lists.flag_at("border") == Some(true));
                    let border = border.map(|(name, _)| border_rule(port, self.line(name.span)));
                    let mut rules: Vec<Filter> = border.into_iter().collect();
                    rules.extend(self.read_always(id, lists.get(&format!("always-{key}"))));
                    rules.extend(self.read_numbered(id, lines));
                    rules.iter_mut().for_each(|rule| rule.construct.clone_from(&construct));
                    let rest = self.default_of(name.span, "an access list denies what no line names");
                    let rest = Filter::new(Match::default(), Action::Drop, rest);
                    let construct = construct.clone();
                    self.add_list(id, (hook, port), rules, Filter { construct, ..rest });
                }
            }
        }
        if let Some(mode) = value.get("reverse-path") {
            for port in 0..self.nodes[id.index()].node.interfaces.len() {
                if self.nodes[id.index()].node.interfaces[port].reverse_path.is_none() {
                    self.read_reverse_path((id, PortId(port as u16)), mode);
                }
            }
        }
    }

    /// Reads the mode of the reverse-path check of one interface.
    pub(crate) fn read_reverse_path(&mut self, (id, port): (NodeId, PortId), value: &Value) {
        let mode = match value.text() {
            Some("strict") => ReversePath::Strict,
            Some("loose") => ReversePath::Loose,
            _ => ReversePath::Off,
        };
        let origin = self.line(value.span);
        self.node(id).node.interfaces[port.index()].reverse_path = Some(SourceCheck { mode, origin });
    }

    fn no_such_interface(&mut self, id: NodeId, name: &Key) {
        let interfaces = &self.nodes[id.index()].node.interfaces;
        let known: Vec<String> = interfaces.iter().map(|i| i.name.clone()).collect();
        let message = format!("there is no interface `{}` here", name.text);
        self.problems
            .add(Code::UnknownReference, name.span, message, "no such interface")
            .known(&name.text, known);
    }

    /// Reads the lines before the numbered ones.
    fn read_always(&mut self, id: NodeId, lines: Option<&Value>) -> Vec<Filter> {
        let mut rules = Vec::new();
        for line in lines.map(Value::items).unwrap_or_default() {
            let Some(text) = line.text() else { continue };
            match rules_text::firewall(text, &|name| self.find_port(id, name)).and_then(stateless) {
                Ok(rule) => rules.push(rule.with_origin(self.line(line.span))),
                Err(why) => self.bad_rule(line.span, text, &why, ACL_HELP),
            }
        }
        rules
    }

    /// Reads `{ 100: allow tcp port 443, 200: deny }`: rules in the order of their numbers, as AWS's network ACLs have them.
    pub(crate) fn read_numbered(&mut self, id: NodeId, lines: &Value) -> Vec<Filter> {
        let mut rules: Vec<Filter> = Vec::new();
        for (number, line) in lines.entries() {
            let wanted = number.text.parse().ok().filter(|n| (1..=LAST_NUMBER).contains(n));
            let Some(wanted) = wanted.filter(|n| rules.iter().all(|rule| rule.number != Some(*n))) else {
                let message = format!("`{}` is not a line's number from 1 to {LAST_NUMBER}", number.text);
                self.problems
                    .add(Code::BadRule, number.span, message, "not a number of its own")
                    .help(ACL_HELP);
                continue;
            };
            let Some(text) = line.text() else { continue };
            match rules_text::firewall(text, &|name| self.find_port(id, name)).and_then(stateless) {
                Ok(rule) => {
                    let origin = self.line(line.span);
                    let rule = Filter { number: Some(wanted), ..rule.with_origin(origin) };
                    self.check_group(line.span, &rule.when, text);
                    rules.push(rule);
                }
                Err(why) => self.bad_rule(line.span, text, &why, ACL_HELP),
            }
        }
        rules.sort_by_key(|rule| rule.number);
        rules
    }

    /// Puts an access list on an interface, in front of nothing: `rest` says what becomes of packets that no line names.
    pub(crate) fn add_list(
        &mut self,
        id: NodeId,
        (hook, port): (HookPoint, PortId),
        rules: Vec<Filter>,
        rest: Filter,
    ) {
        let span = self.nodes[id.index()].span;
        let elsewhere = self.default_of(span, "an interface without an access list lets everything pass");
        let chains = &mut self.node(id).node.chains;
        let at = chains.iter().position(|chain| chain.hook == hook).unwrap_or_else(|| {
            chains.push(Chain { hook, rules: Vec::new(), policy: Policy::new(Action::Accept, elsewhere) });
            chains.len() - 1
        });
        for mut rule in rules.into_iter().chain([rest]) {
            match hook {
                HookPoint::Prerouting => rule.when.in_port = Some(port),
                _ => rule.when.out_port = Some(port),
            }
            chains[at].rules.push(rule);
        }
    }

    /// Remembers that a line names a group, which must exist when the whole file is read.
    pub(crate) fn check_group(&mut self, span: Span, when: &Match, text: &str) {
        for group in [&when.src_group, &when.dst_group].into_iter().flatten() {
            if !text.contains(&format!("group {group}=")) {
                self.groups_named.push((group.clone(), span));
            }
        }
    }

    /// Reads `groups:` and fills in the members wherever a rule names a group.
    pub(crate) fn fill_groups(&mut self, groups: Option<&Value>) {
        let mut members: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
        for (name, list) in groups.map(Value::entries).unwrap_or_default() {
            let nets = list.items().iter().flat_map(|item| self.member(item)).collect();
            members.insert(name.text.clone(), nets);
        }
        for (name, span) in core::mem::take(&mut self.groups_named) {
            if !members.contains_key(&name) {
                self.problems
                    .add(Code::UnknownReference, span, format!("there is no group `{name}`"), "no such group")
                    .known(&name, members.keys());
            }
        }
        let fill = |when: &mut Match| {
            for (group, nets) in [(&when.src_group, &mut when.src), (&when.dst_group, &mut when.dst)] {
                if let Some(known) = group.as_ref().and_then(|name| members.get(name))
                    && nets.is_empty()
                {
                    nets.clone_from(known);
                }
            }
        };
        for draft in &mut self.nodes {
            let filters = draft.node.chains.iter_mut().flat_map(|chain| &mut chain.rules);
            filters.map(|rule| &mut rule.when).for_each(fill);
            draft.node.nat.iter_mut().map(|rule| &mut rule.when).for_each(fill);
            draft.node.policies.iter_mut().map(|rule| &mut rule.when).for_each(fill);
        }
    }

    /// An address, a network, or all fixed addresses of a machine.
    fn member(&mut self, item: &Value) -> Vec<IpNet> {
        let Some(text) = item.text() else { return Vec::new() };
        if let Ok(net) = text.parse::<IpNet>() {
            return vec![net.trunc()];
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return vec![address.into()];
        }
        let Some(id) = self.node_named(text, item.span) else { return Vec::new() };
        let interfaces = &self.nodes[id.index()].node.interfaces;
        let nets: Vec<IpNet> =
            interfaces.iter().flat_map(|i| &i.addresses).map(|net| IpNet::from(net.addr())).collect();
        if nets.is_empty() {
            let message = format!("`{text}` has no fixed address that a group could hold");
            self.problems
                .add(Code::UnknownReference, item.span, message, "no fixed address")
                .help("write the network that its addresses come from");
        }
        nets
    }
}

/// A line of an access list, which knows no connections and no policy.
/// The rule of a list that stands at a border: what comes by its interface and leaves by it again stays on one side.
pub(crate) fn border_rule(port: PortId, origin: Origin) -> Filter {
    let when = Match { in_port: Some(port), out_port: Some(port), ..Match::default() };
    Filter::new(when, Action::Accept, origin)
}

fn stateless(line: Line) -> Result<rules_text::Rule, String> {
    match line {
        Line::Otherwise(..) => Err("an access list denies the rest by itself".to_owned()),
        Line::Rule(rule) if rule.names_states() => {
            Err("an access list knows no connections: allow the ports of the answers".to_owned())
        }
        Line::Rule(rule) if rule.names_interfaces() => Err("the list is an interface's already".to_owned()),
        Line::Rule(rule) => Ok(*rule),
    }
}

/// The word of the language for a mode.
#[must_use]
pub fn reverse_path_word(check: &SourceCheck) -> &'static str {
    match check.mode {
        ReversePath::Strict => "strict",
        ReversePath::Loose => "loose",
        ReversePath::Off => "off",
    }
}
