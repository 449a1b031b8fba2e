//! Our rules as a file for `nft`.

use std::fmt::Write;

use ipnet::IpNet;
use rt_base::{HookPoint, PortId};
use rt_rules::{Action, CtState, Filter, Match, NatAction, NatPorts, NatRule, PortRange, RejectWith};

use crate::cases::Rules;

/// The whole file.
pub(crate) fn text(rules: &Rules) -> String {
    let mut all = String::from(
        "flush ruleset\ntable ip t {\n chain reset_or_icmp {\n  meta l4proto tcp reject with tcp reset\n  reject\n }\n",
    );
    for chain in &rules.chains {
        let (name, hook, priority) = match chain.hook {
            HookPoint::Prerouting => ("acl_in", "prerouting", -300),
            HookPoint::Input => ("input", "input", 0),
            HookPoint::Forward => ("forward", "forward", 0),
            HookPoint::Output => ("output", "output", 0),
            HookPoint::Postrouting => ("acl_out", "postrouting", 300),
        };
        let policy = if chain.policy.action == Action::Drop { "drop" } else { "accept" };
        writeln!(all, " chain {name} {{\n  type filter hook {hook} priority {priority}; policy {policy};")
            .unwrap();
        for rule in &chain.rules {
            writeln!(all, "  {}", filter(rule)).unwrap();
        }
        all.push_str(" }\n");
    }
    let is_dnat = |rule: &&NatRule| matches!(rule.action, NatAction::Dnat { .. });
    nat_chain(&mut all, ("nat_in", "prerouting", -100), rules.nat.iter().filter(is_dnat));
    nat_chain(&mut all, ("nat_out", "postrouting", 100), rules.nat.iter().filter(|r| !is_dnat(r)));
    all.push_str("}\n");
    all
}

fn nat_chain<'r>(
    all: &mut String,
    (name, hook, priority): (&str, &str, i32),
    rules: impl Iterator<Item = &'r NatRule>,
) {
    writeln!(all, " chain {name} {{\n  type nat hook {hook} priority {priority}; policy accept;").unwrap();
    for rule in rules {
        let action = match &rule.action {
            NatAction::Snat { to, ports } => format!("snat to {to}{}", external(*ports)),
            NatAction::Masquerade { ports } => {
                format!("masquerade{}", external(*ports).replace(':', " to :"))
            }
            NatAction::Dnat { to, port: Some(port) } => format!("dnat to {to}:{port}"),
            NatAction::Dnat { to, port: None } => format!("dnat to {to}"),
            NatAction::Accept => "accept".into(),
            other => panic!("no word for {other:?}"),
        };
        writeln!(all, "  {}{action}", conditions(&rule.when)).unwrap();
    }
    all.push_str(" }\n");
}

/// All ports are what `nft` means when it says nothing.
fn external(ports: NatPorts) -> String {
    match ports {
        NatPorts::Preserve(PortRange { first: 1, last: 65_535 }) => String::new(),
        NatPorts::Sequential(range) => format!(":{}-{}", range.first, range.last),
        other => panic!("no word for {other:?}"),
    }
}

fn filter(rule: &Filter) -> String {
    let mut text = conditions(&rule.when);
    if let Some(limit) = rule.limit {
        assert_eq!(limit.per.0, 3_600_000_000_000, "the only unit written here");
        write!(text, "limit rate {}/hour burst {} packets ", limit.packets, limit.burst).unwrap();
    }
    text + match rule.action {
        Action::Accept => "accept",
        Action::Drop => "drop",
        Action::Continue => "continue",
        Action::Reject(RejectWith::IcmpPort) => "reject with icmp type port-unreachable",
        Action::Reject(RejectWith::IcmpProhibited) => "reject with icmp type admin-prohibited",
        // A reset for TCP, ICMP for all else.
        Action::Reject(RejectWith::TcpReset) if rule.when.protocol == Some(6) => "reject with tcp reset",
        Action::Reject(RejectWith::TcpReset) => "jump reset_or_icmp",
    }
}

fn conditions(when: &Match) -> String {
    let mut text = String::new();
    let mut say = |condition: String| {
        text.push_str(&condition);
        text.push(' ');
    };
    let name = |port: PortId| format!("\"eth{}\"", port.0);
    if let Some(port) = when.in_port {
        say(format!("iifname {}", name(port)));
    }
    if let Some(port) = when.out_port {
        say(format!("oifname {}", name(port)));
    }
    if !when.src.is_empty() {
        say(format!("ip saddr {}", set(&when.src)));
    }
    if !when.dst.is_empty() {
        say(format!("ip daddr {}", set(&when.dst)));
    }
    let protocol = when.protocol.map(|number| match number {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        other => panic!("no word for protocol {other}"),
    });
    if let Some(name) = protocol {
        say(format!("meta l4proto {name}"));
        if let Some(range) = when.sport {
            say(format!("{name} sport {}-{}", range.first, range.last));
        }
        if let Some(range) = when.dport {
            say(format!("{name} dport {}-{}", range.first, range.last));
        }
    }
    if let Some(flags) = when.tcp_flags {
        say(format!("tcp flags & {:#x} == {:#x}", flags.mask, flags.value));
    }
    if let Some(icmp) = when.icmp {
        say(format!("icmp type {}", icmp.kind));
        if let Some(code) = icmp.code {
            say(format!("icmp code {code}"));
        }
    }
    if !when.states.is_empty() {
        let states: Vec<&str> = when.states.iter().map(|state| word(*state)).collect();
        say(format!("ct state {{ {} }}", states.join(", ")));
    }
    text
}

fn word(state: CtState) -> &'static str {
    match state {
        CtState::New => "new",
        CtState::Established => "established",
        CtState::Related => "related",
        CtState::Invalid => "invalid",
    }
}

fn set(nets: &[IpNet]) -> String {
    // Overlapping elements are no set: the widest of them says the same.
    let mut nets = nets.to_vec();
    nets.sort_by_key(IpNet::prefix_len);
    let mut kept: Vec<IpNet> = Vec::new();
    for net in nets {
        if !kept.iter().any(|wider| wider.contains(&net)) {
            kept.push(net);
        }
    }
    let words: Vec<String> = kept.iter().map(ToString::to_string).collect();
    format!("{{ {} }}", words.join(", "))
}
