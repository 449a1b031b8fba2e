//! Firewall and NAT lines: text to rules, and rules back to text.
//!
//! A firewall line is `allow|deny|reject`, then conditions in any order: `tcp|udp|icmp|protocol N`, `from NET`, `to NET`,
//! `port N[-M]`, `from-port N[-M]`, `in IFACE`, `out IFACE`, `new|established|related|invalid`. `otherwise deny` is the
//! policy. A NAT line begins with `masquerade`, `snat to A`, `dnat to A[:P]` or `keep`, takes the same conditions, and
//! ends with `using PORTS [random|preserve]`.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::PortId;
use rt_rules::{Action, CtState, Match, NatAction, NatPorts, NatRule, PortRange, RejectWith};

use crate::units;

/// A firewall line.
pub(crate) enum Line {
    /// A rule.
    Rule(Match, Action),
    /// The policy.
    Otherwise(Action),
}

/// Finds an interface by its name.
pub(crate) type FindPort<'f> = &'f dyn Fn(&str) -> Option<PortId>;

struct Words<'t> {
    words: std::iter::Peekable<std::str::SplitWhitespace<'t>>,
}

impl<'t> Words<'t> {
    fn new(text: &'t str) -> Words<'t> {
        Words { words: text.split_whitespace().peekable() }
    }

    fn next(&mut self) -> Option<&'t str> {
        self.words.next()
    }

    fn after(&mut self, word: &str) -> Result<&'t str, String> {
        self.words.next().ok_or_else(|| format!("something must follow `{word}`"))
    }

    fn take(&mut self, word: &str) -> bool {
        self.words.next_if(|w| *w == word).is_some()
    }
}

/// Reads a firewall line.
pub(crate) fn firewall(text: &str, find: FindPort<'_>) -> Result<Line, String> {
    let mut words = Words::new(text);
    let first = words.next().unwrap_or("");
    if first == "otherwise" {
        let verb = words.after("otherwise")?;
        let action = action(verb, &mut words)?;
        return match words.next() {
            None => Ok(Line::Otherwise(action)),
            Some(more) => Err(format!("`{more}` has no place behind `otherwise {verb}`")),
        };
    }
    let action = action(first, &mut words)?;
    let when = conditions(&mut words, find)?;
    match words.next() {
        None => Ok(Line::Rule(when, action)),
        Some(more) => Err(format!("`{more}` is not a condition")),
    }
}

fn action(word: &str, words: &mut Words<'_>) -> Result<Action, String> {
    match word {
        "allow" => Ok(Action::Accept),
        "deny" => Ok(Action::Drop),
        "reject" if words.take("reset") => Ok(Action::Reject(RejectWith::TcpReset)),
        "reject" if words.take("unreachable") => Ok(Action::Reject(RejectWith::IcmpPort)),
        "reject" => {
            let _ = words.take("prohibited");
            Ok(Action::Reject(RejectWith::IcmpProhibited))
        }
        other => Err(format!("a line begins with `allow`, `deny`, `reject` or `otherwise`, not `{other}`")),
    }
}

/// Reads conditions until a word that is none.
fn conditions(words: &mut Words<'_>, find: FindPort<'_>) -> Result<Match, String> {
    let mut when = Match::default();
    while let Some(word) = words.words.peek().copied() {
        match word {
            "tcp" => when.protocol = Some(6),
            "udp" => when.protocol = Some(17),
            "icmp" => when.protocol = Some(1),
            "new" => when.states.push(CtState::New),
            "established" => when.states.extend([CtState::Established, CtState::Related]),
            "related" => when.states.push(CtState::Related),
            "invalid" => when.states.push(CtState::Invalid),
            "protocol" | "from" | "to" | "port" | "from-port" | "in" | "out" => {
                let _ = words.next();
                let value = words.after(word)?;
                condition(&mut when, word, value, find)?;
                continue;
            }
            "any" | "all" => {}
            _ => break,
        }
        let _ = words.next();
    }
    when.states.dedup();
    Ok(when)
}

fn condition(when: &mut Match, word: &str, value: &str, find: FindPort<'_>) -> Result<(), String> {
    let net = || -> Result<Option<IpNet>, String> {
        if matches!(value, "any" | "anywhere") {
            return Ok(None);
        }
        let whole = || value.parse::<IpAddr>().map(IpNet::from).ok();
        value
            .parse::<IpNet>()
            .ok()
            .map(|n| n.trunc())
            .or_else(whole)
            .map(Some)
            .ok_or(format!("`{value}` is not a network"))
    };
    let port = || find(value).map(Some).ok_or_else(|| format!("there is no interface `{value}` here"));
    match word {
        "protocol" => {
            when.protocol = Some(value.parse().map_err(|_| format!("`{value}` is not a protocol number"))?)
        }
        "from" => when.src = net()?,
        "to" => when.dst = net()?,
        "port" => when.dport = Some(units::ports(value)?),
        "from-port" => when.sport = Some(units::ports(value)?),
        "in" => when.in_port = port()?,
        _ => when.out_port = port()?,
    }
    if matches!(word, "port" | "from-port") && !matches!(when.protocol, Some(6 | 17)) {
        return Err(format!("`{word}` needs `tcp` or `udp` before it"));
    }
    Ok(())
}

/// Reads a NAT line.
pub(crate) fn nat(text: &str, find: FindPort<'_>) -> Result<(Match, NatAction), String> {
    let mut words = Words::new(text);
    let verb = words.next().unwrap_or("");
    let target = match verb {
        "snat" | "dnat" if words.take("to") => Some(words.after("to")?),
        "snat" | "dnat" => return Err(format!("`{verb}` needs `to ADDRESS`")),
        "masquerade" | "keep" => None,
        other => {
            return Err(format!("a line begins with `masquerade`, `snat`, `dnat` or `keep`, not `{other}`"));
        }
    };
    let when = conditions(&mut words, find)?;
    let ports = if words.take("using") { Some(using(&mut words)?) } else { None };
    if let Some(more) = words.next() {
        return Err(format!("`{more}` is not a condition"));
    }
    let all = NatPorts::Preserve(PortRange { first: 1024, last: 65_535 });
    let action = match (verb, target) {
        ("masquerade", _) => NatAction::Masquerade { ports: ports.unwrap_or(all) },
        ("snat", Some(to)) => NatAction::Snat { to: address(to)?, ports: ports.unwrap_or(all) },
        ("dnat", Some(to)) => {
            let (host, port) = to.split_once(':').map_or((to, None), |(h, p)| (h, Some(p)));
            NatAction::Dnat { to: address(host)?, port: port.map(units::port).transpose()? }
        }
        _ => NatAction::Accept,
    };
    Ok((when, action))
}

fn using(words: &mut Words<'_>) -> Result<NatPorts, String> {
    let range = units::ports(words.after("using")?)?;
    Ok(if words.take("random") {
        NatPorts::Random(range)
    } else if words.take("preserve") {
        NatPorts::Preserve(range)
    } else {
        NatPorts::Sequential(range)
    })
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address"))
}

// ---- back to text ------------------------------------------------------------------------------------------------

/// Writes a rule so that [`firewall`] reads the same.
pub(crate) fn show_filter(when: &Match, action: Action, name: &dyn Fn(PortId) -> String) -> String {
    format!("{}{}", show_action(action), show_match(when, name))
}

/// Writes an action.
pub(crate) fn show_action(action: Action) -> &'static str {
    match action {
        Action::Accept => "allow",
        Action::Drop => "deny",
        Action::Reject(RejectWith::TcpReset) => "reject reset",
        Action::Reject(RejectWith::IcmpPort) => "reject unreachable",
        Action::Reject(RejectWith::IcmpProhibited) => "reject prohibited",
    }
}

/// Writes a NAT rule so that [`nat`] reads the same.
pub(crate) fn show_nat(rule: &NatRule, name: &dyn Fn(PortId) -> String) -> String {
    let (verb, ports) = match &rule.action {
        NatAction::Snat { to, ports } => (format!("snat to {to}"), Some(ports)),
        NatAction::Masquerade { ports } => ("masquerade".to_owned(), Some(ports)),
        NatAction::Dnat { to, port: None } => (format!("dnat to {to}"), None),
        NatAction::Dnat { to, port: Some(port) } => (format!("dnat to {to}:{port}"), None),
        NatAction::Accept => ("keep".to_owned(), None),
    };
    let using = match ports {
        None => String::new(),
        Some(NatPorts::Sequential(r)) => format!(" using {}-{}", r.first, r.last),
        Some(NatPorts::Random(r)) => format!(" using {}-{} random", r.first, r.last),
        Some(NatPorts::Preserve(r)) => format!(" using {}-{} preserve", r.first, r.last),
    };
    format!("{verb}{}{using}", show_match(&rule.when, name))
}

fn show_match(when: &Match, name: &dyn Fn(PortId) -> String) -> String {
    let mut out = String::new();
    let mut word = |text: String| {
        out.push(' ');
        out.push_str(&text);
    };
    match when.protocol {
        Some(6) => word("tcp".into()),
        Some(17) => word("udp".into()),
        Some(1) => word("icmp".into()),
        Some(n) => word(format!("protocol {n}")),
        None => {}
    }
    let range = |r: PortRange| {
        if r.first == r.last { r.first.to_string() } else { format!("{}-{}", r.first, r.last) }
    };
    if let Some(net) = when.src {
        word(format!("from {net}"));
    }
    if let Some(net) = when.dst {
        word(format!("to {net}"));
    }
    if let Some(ports) = when.dport {
        word(format!("port {}", range(ports)));
    }
    if let Some(ports) = when.sport {
        word(format!("from-port {}", range(ports)));
    }
    if let Some(port) = when.in_port {
        word(format!("in {}", name(port)));
    }
    if let Some(port) = when.out_port {
        word(format!("out {}", name(port)));
    }
    let mut states = when.states.as_slice();
    while let Some((first, rest)) = states.split_first() {
        let both = *first == CtState::Established && rest.first() == Some(&CtState::Related);
        states = if both { &rest[1..] } else { rest };
        word(state_word(*first, both).into());
    }
    out
}

/// `established` in a line means both states; a lone one cannot be written and does not occur in lowered models.
fn state_word(state: CtState, _both: bool) -> &'static str {
    match state {
        CtState::New => "new",
        CtState::Established => "established",
        CtState::Related => "related",
        CtState::Invalid => "invalid",
    }
}
