//! NAT and connection tracking as a file says them: the options of a home router, port forwards, timeouts and limits.
//!
//! Not for NAT lines (`rules_text`), nor for what a mapping does (`rt-stack`).

use rt_base::{HookPoint, Nanos, NodeId, PortId};
use rt_rules::{
    Action, ConntrackOptions, Filter, NatAction, NatBehaviour, NatDepends, NatPorts, NatRule, PortRange,
};

use crate::diag::{Code, Span};
use crate::machine::read_ports;
use crate::rules_text::{DEPENDS, EXHAUSTED, word_of};
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// Fewer external ports than this are a mistake: one page takes as many.
const FEW_NAT_PORTS: u16 = 8;

/// The four kinds of NAT of RFC 3489, in RFC 4787's terms: mapping and filtering.
const TYPES: [(&str, (NatDepends, NatDepends)); 4] = {
    use NatDepends::{
        AddressAndPortDependent as Both, AddressDependent as Address, EndpointIndependent as Any,
    };
    [
        ("full-cone", (Any, Any)),
        ("restricted-cone", (Any, Address)),
        ("port-restricted-cone", (Any, Both)),
        ("symmetric", (Both, Both)),
    ]
};

/// A timeout of connection tracking by its key.
type Timeout = (&'static str, fn(&mut ConntrackOptions) -> &mut Nanos);

/// All timeouts but that of an open TCP connection, which is `flow-timeout`.
pub(crate) const TIMEOUTS: [Timeout; 10] = [
    ("tcp-syn-sent", |o| &mut o.tcp_syn_sent),
    ("tcp-syn-received", |o| &mut o.tcp_syn_received),
    ("tcp-fin-wait", |o| &mut o.tcp_fin_wait),
    ("tcp-last-ack", |o| &mut o.tcp_last_ack),
    ("tcp-time-wait", |o| &mut o.tcp_time_wait),
    ("tcp-closed", |o| &mut o.tcp_closed),
    ("udp", |o| &mut o.udp),
    ("udp-answered", |o| &mut o.udp_answered),
    ("icmp", |o| &mut o.icmp),
    ("other", |o| &mut o.other),
];

/// How the mappings of a home router behave: `nat:`, a word or several keys.
pub(crate) fn read_behaviour(value: Option<&Value>) -> NatBehaviour {
    let mut behaviour = NatBehaviour::default();
    let Some(value) = value else { return behaviour };
    if let Some((mapping, filtering)) =
        value.text().or_else(|| value.str_at("type")).and_then(|t| word_of(&TYPES, t).ok())
    {
        (behaviour.mapping, behaviour.filtering) = (mapping, filtering);
    }
    let depends = |key: &str| value.str_at(key).and_then(|t| word_of(&DEPENDS, t).ok());
    behaviour.mapping = depends("mapping").unwrap_or(behaviour.mapping);
    behaviour.filtering = depends("filtering").unwrap_or(behaviour.filtering);
    behaviour.hairpin = value.flag_at("hairpin").unwrap_or(behaviour.hairpin);
    behaviour.overload = value.flag_at("overload").unwrap_or(behaviour.overload);
    let exhausted = value.str_at("exhausted").and_then(|t| word_of(&EXHAUSTED, t).ok());
    behaviour.exhausted = exhausted.unwrap_or(behaviour.exhausted);
    behaviour
}

impl World<'_, '_> {
    /// Reads `flow-timeout:` and `conntrack:`.
    pub(crate) fn read_conntrack(&mut self, id: NodeId, value: &Value) {
        if let Some(options) = value.get("conntrack") {
            let written = |key: &str| options.get(key).map(|limit| self.line(limit.span));
            let (max, per_source) = (written("max"), written("per-source"));
            let limits = &mut self.node(id).node.limits;
            limits.max = max.or(limits.max.take());
            limits.per_source = per_source.or(limits.per_source.take());
        }
        let stack = &mut self.node(id).node.stack;
        if let Some(options) = value.get("conntrack") {
            if options.str_at("timeouts") == Some("rfc") {
                stack.conntrack = ConntrackOptions::rfc();
                stack.flow_timeout = stack.conntrack.tcp_established;
                stack.conntrack.tcp_established = ConntrackOptions::default().tcp_established;
            }
            for (key, field) in TIMEOUTS {
                if let Some(span) = options.duration_at(key) {
                    *field(&mut stack.conntrack) = span;
                }
            }
            let whole = |key: &str| options.whole_at(key).and_then(|n| u32::try_from(n).ok());
            stack.conntrack.max = whole("max").unwrap_or(stack.conntrack.max);
            stack.conntrack.per_source = whole("per-source").or(stack.conntrack.per_source);
            stack.conntrack.tcp_loose = options.flag_at("tcp-loose").unwrap_or(stack.conntrack.tcp_loose);
        }
        if let Some(span) = value.duration_at("flow-timeout") {
            stack.flow_timeout = span;
        }
    }

    /// An option of a NAT that contradicts another one.
    pub(crate) fn check_behaviour(&mut self, value: Option<&Value>, behaviour: NatBehaviour) {
        let Some((name, _)) = value.and_then(|v| v.entry("overload")) else { return };
        if behaviour.overload && !behaviour.overloads() {
            self.idle_overload(name.span, "add `type: symmetric`, or leave `overload` away");
        }
    }

    /// Port overloading that cannot be.
    pub(crate) fn idle_overload(&mut self, span: Span, help: &str) {
        let message = "ports can be overloaded only where mapping and filtering depend on address and port";
        self.problems.add(Code::NoEffect, span, message, "no effect").help(help);
    }

    /// Whether a port forward before this one took one of its ports; reported.
    fn is_open(&mut self, when: &rt_rules::Match, span: Span, open: &mut Vec<Opened>) -> bool {
        let (Some(protocol), Some(ports)) = (when.protocol, when.dport) else { return false };
        let both = |other: &PortRange| (ports.first.max(other.first), ports.last.min(other.last));
        let taken = |(p, other, _): &&Opened| *p == protocol && both(other).0 <= both(other).1;
        let Some((_, other, first)) = open.iter().find(taken) else {
            open.push((protocol, ports, span));
            return false;
        };
        let (word, port) = (if protocol == 6 { "tcp" } else { "udp" }, both(other).0);
        let message = format!("{word} port {port} is forwarded twice: the second line would never be asked");
        self.problems
            .add(Code::PortTaken, span, message, "second one")
            .related(*first, "first one")
            .help("open another port outside, or remove one of them");
        true
    }

    /// The external ports of a NAT: what `value` says, or the usual ones.
    pub(crate) fn read_nat_ports(&mut self, value: Option<&Value>) -> NatPorts {
        let usual = PortRange { first: 1024, last: 65_535 };
        let Some(value) = value else { return NatPorts::Preserve(usual) };
        let (range, policy) = read_ports(value);
        let range = range.unwrap_or(usual);
        if range.last - range.first < FEW_NAT_PORTS - 1 {
            let count = range.len();
            let message = format!("a NAT with {count} external ports is exhausted at once");
            self.problems
                .add(Code::NatPortsTooFew, value.span, message, "too few ports")
                .help(format!("give it at least {FEW_NAT_PORTS}, such as `{}-`", range.first.min(60_000)));
        }
        match policy {
            Some("random") => NatPorts::Random(range),
            Some("preserve") => NatPorts::Preserve(range),
            _ => NatPorts::Sequential(range),
        }
    }

    /// Opens ports to the world: `tcp 8080 to laptop:80`. `wan` is the outer interface, `open` what was opened before.
    pub(crate) fn read_port_forward(
        &mut self,
        (id, wan): (NodeId, PortId),
        line: &Value,
        (hairpin, open): (bool, &mut Vec<Opened>),
        find: FindAddress<'_>,
    ) {
        let Some(text) = line.text() else { return };
        match port_forward(text, find) {
            Ok((when, ..)) if self.is_open(&when, line.span, open) => {}
            Ok((when, action, dport)) => {
                let origin = self.line(line.span);
                let to = match action {
                    NatAction::Dnat { to, .. } | NatAction::DnatRange { to, .. } => to,
                    _ => return,
                };
                let dport = Some(dport);
                let passes = rt_rules::Match {
                    protocol: when.protocol,
                    dst: vec![to.into()],
                    dport,
                    in_port: Some(wan),
                    ..Default::default()
                };
                let node = &mut self.node(id).node;
                let when = rt_rules::Match { in_port: Some(wan), ..when };
                let behaviour = NatBehaviour { hairpin, ..NatBehaviour::default() };
                node.nat.push(NatRule { behaviour, ..NatRule::new(when, action, origin.clone()) });
                if let Some(chain) = node.chains.iter_mut().find(|c| c.hook == HookPoint::Forward) {
                    chain.rules.push(Filter::new(passes, Action::Accept, origin));
                }
            }
            Err(why) => {
                self.bad_rule(line.span, text, &why, "port forwards look like `tcp 8080 to laptop:80`")
            }
        }
    }
}

/// Ports that are open to the world: protocol, ports, where it was written.
pub(crate) type Opened = (u8, PortRange, Span);

/// Finds the fixed address of a machine by its short name, or takes its address.
pub(crate) type FindAddress<'f> = &'f dyn Fn(&str) -> Result<std::net::IpAddr, String>;

/// Of what arrives which, to what, and the ports inside.
type Forward = (rt_rules::Match, NatAction, PortRange);

fn port_forward(text: &str, find: FindAddress<'_>) -> Result<Forward, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [protocol, outer, "to", target] = *words else { return Err("it has not four parts".to_owned()) };
    let protocol = match protocol {
        "tcp" => 6,
        "udp" => 17,
        other => return Err(format!("`{other}` is neither tcp nor udp")),
    };
    let outer = units::ports(outer)?;
    let (host, inner) = match target.split_once(':') {
        Some((host, ports)) => (host, units::ports(ports)?),
        None => (target, outer),
    };
    if inner.len() != outer.len() {
        return Err(format!("{} ports outside are not {} inside", outer.len(), inner.len()));
    }
    let to = find(host)?;
    let when = rt_rules::Match { protocol: Some(protocol), dport: Some(outer), ..Default::default() };
    let action = match inner.first == inner.last {
        true => NatAction::Dnat { to, port: Some(inner.first) },
        false => NatAction::DnatRange { to, ports: inner },
    };
    Ok((when, action, inner))
}
