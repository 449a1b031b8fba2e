//! Firewall and NAT lines: text to rules, and rules back to text.
//!
//! A firewall line is `allow|deny|reject|log`, then conditions in any order: `tcp|udp|icmp [TYPE[/CODE]]|protocol N`,
//! `from NET[,NET]`, `to NET[,NET]`, `from group NAME`, `to group NAME`, `port N[-M]`, `from-port N[-M]`, `flags syn,!ack`,
//! `in IFACE`, `out IFACE`, `new|established|related|invalid`; then `limit N/s [burst M]`, `as WORD` (log it under this
//! word) and `of group NAME` (the security group whose it is). A line that begins with `log WORD` only logs.
//! `otherwise deny` is the policy, which may be `of group NAME` too. NAT lines are in [`mod@nat`].

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{Nanos, PortId};
use rt_rules::{
    Action, Construct, CtState, Filter, FlagsMatch, IcmpMatch, Limit, Match, MssClamp, MssTarget, Origin,
    Policy, PortRange, RejectWith,
};

use crate::units;

mod middlebox;
mod nat;

pub(crate) use middlebox::{middlebox, show_middlebox};
pub(crate) use nat::{DEPENDS, EXHAUSTED, nat, show_nat, word_of};

/// A firewall line.
pub(crate) enum Line {
    /// A rule.
    Rule(Box<Rule>),
    /// The policy, and whose it is.
    Otherwise(Action, Option<Construct>),
}

/// A rule as a line says it.
pub(crate) struct Rule {
    when: Match,
    action: Action,
    limit: Option<Limit>,
    log: Option<String>,
    construct: Option<Construct>,
}

impl Rule {
    /// Whether it asks for the state of a connection.
    pub(crate) fn names_states(&self) -> bool {
        !self.when.states.is_empty()
    }

    /// Whether it asks for an interface.
    pub(crate) fn names_interfaces(&self) -> bool {
        self.when.in_port.is_some() || self.when.out_port.is_some()
    }

    /// The rule, written there.
    pub(crate) fn with_origin(self, origin: Origin) -> Filter {
        let Rule { when, action, limit, log, construct } = self;
        Filter { limit, log, construct, ..Filter::new(when, action, origin) }
    }
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
        let construct = construct(&mut words)?;
        return match words.next() {
            None => Ok(Line::Otherwise(action, construct)),
            Some(more) => Err(format!("`{more}` has no place behind `otherwise {verb}`")),
        };
    }
    let only_logs = first == "log";
    let action = if only_logs { Action::Continue } else { action(first, &mut words)? };
    let log = if only_logs { Some(words.after("log")?.to_owned()) } else { None };
    let when = conditions(&mut words, find)?;
    let other = when.protocol.is_some_and(|protocol| protocol != 6);
    if action == Action::Reject(RejectWith::TcpReset) && other {
        return Err("only TCP has resets: write `reject unreachable`".to_owned());
    }
    let mut rule = Rule { when, action, limit: None, log, construct: None };
    if words.take("limit") {
        rule.limit = Some(limit(&mut words)?);
    }
    if !only_logs && words.take("as") {
        rule.log = Some(words.after("as")?.to_owned());
    }
    rule.construct = construct(&mut words)?;
    match words.next() {
        None => Ok(Line::Rule(Box::new(rule))),
        Some(more) => Err(format!("`{more}` is not a condition")),
    }
}

/// Reads `of group web` or `of internet-gateway`.
fn construct(words: &mut Words<'_>) -> Result<Option<Construct>, String> {
    if !words.take("of") {
        return Ok(None);
    }
    if words.take("internet-gateway") {
        return Ok(Some(Construct::InternetGateway));
    }
    if !words.take("group") {
        return Err("`of` is followed by `group NAME` or `internet-gateway`".to_owned());
    }
    let name = words.after("group")?.to_owned();
    Ok(Some(Construct::SecurityGroup { name }))
}

/// Reads `10/s burst 20`.
fn limit(words: &mut Words<'_>) -> Result<Limit, String> {
    let rate = words.after("limit")?;
    let bad = || format!("`{rate}` is not a rate such as `10/s` or `3/minute`");
    let (packets, unit) = rate.split_once('/').ok_or_else(bad)?;
    let packets: u32 = packets.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?;
    let per = UNITS.iter().find(|(name, _)| !unit.is_empty() && name.starts_with(unit)).ok_or_else(bad)?.1;
    let burst = match words.take("burst") {
        true => {
            let burst = words.after("burst")?;
            let wrong = || format!("`{burst}` is not a number of packets");
            burst.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?
        }
        false => DEFAULT_BURST,
    };
    Ok(Limit { packets, per, burst })
}

/// The spans of a rate; their first letters do as well.
const UNITS: [(&str, Nanos); 4] = [
    ("second", Nanos::from_secs(1)),
    ("minute", Nanos::from_secs(60)),
    ("hour", Nanos::from_secs(3_600)),
    ("day", Nanos::from_secs(86_400)),
];

/// What a bucket holds when nothing is said (as in nftables and iptables).
const DEFAULT_BURST: u32 = 5;

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
        other => {
            Err(format!("a line begins with `allow`, `deny`, `reject`, `log` or `otherwise`, not `{other}`"))
        }
    }
}

/// Reads conditions until a word that is none.
fn conditions(words: &mut Words<'_>, find: FindPort<'_>) -> Result<Match, String> {
    let mut when = Match::default();
    while let Some(word) = words.words.peek().copied() {
        match word {
            "tcp" => is_of(&mut when, 6)?,
            "udp" => is_of(&mut when, 17)?,
            "icmp" => {
                let _ = words.next();
                is_of(&mut when, 1)?;
                when.icmp = words.words.peek().copied().and_then(icmp_type);
                if when.icmp.is_some() {
                    let _ = words.next();
                }
                continue;
            }
            "new" => when.states.push(CtState::New),
            "established" => when.states.extend([CtState::Established, CtState::Related]),
            "related" => when.states.push(CtState::Related),
            "invalid" => when.states.push(CtState::Invalid),
            "from" | "to" if words.words.clone().nth(1) == Some("group") => {
                let _ = (words.next(), words.next());
                group(&mut when, word, words.after("group")?)?;
                continue;
            }
            "protocol" | "from" | "to" | "port" | "from-port" | "in" | "out" | "flags" => {
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

/// A packet has one protocol.
fn is_of(when: &mut Match, protocol: u8) -> Result<(), String> {
    match when.protocol.replace(protocol) {
        Some(other) if other != protocol => {
            Err("a packet has one protocol: write a line for each".to_owned())
        }
        _ => Ok(()),
    }
}

fn condition(when: &mut Match, word: &str, value: &str, find: FindPort<'_>) -> Result<(), String> {
    let port = || find(value).map(Some).ok_or_else(|| format!("there is no interface `{value}` here"));
    let said = match word {
        "from" => !when.src.is_empty() || when.src_group.is_some(),
        "to" => !when.dst.is_empty() || when.dst_group.is_some(),
        "flags" => when.tcp_flags.is_some(),
        "port" => when.dport.is_some(),
        "from-port" => when.sport.is_some(),
        "in" => when.in_port.is_some(),
        "out" => when.out_port.is_some(),
        _ => false,
    };
    if said {
        return Err(format!(
            "`{word}` is said twice: several networks are written `10.0.0.0/8,192.168.0.0/16`"
        ));
    }
    match word {
        "protocol" => {
            is_of(when, value.parse().map_err(|_| format!("`{value}` is not a protocol number"))?)?;
        }
        "from" => when.src = nets(value)?,
        "to" => when.dst = nets(value)?,
        "flags" => when.tcp_flags = Some(flags(value)?),
        "port" => when.dport = Some(units::ports(value)?),
        "from-port" => when.sport = Some(units::ports(value)?),
        "in" => when.in_port = port()?,
        _ => when.out_port = port()?,
    }
    if matches!(word, "port" | "from-port") && !matches!(when.protocol, Some(6 | 17)) {
        return Err(format!("`{word}` needs `tcp` or `udp` before it"));
    }
    if word == "flags" && when.protocol != Some(6) {
        return Err("`flags` needs `tcp` before it".to_owned());
    }
    Ok(())
}

/// Reads `10.0.0.0/8,192.168.1.5`; anywhere is no condition.
fn nets(text: &str) -> Result<Vec<IpNet>, String> {
    if matches!(text, "any" | "anywhere") {
        return Ok(Vec::new());
    }
    text.split(',').map(net).collect()
}

fn net(text: &str) -> Result<IpNet, String> {
    let whole = || text.parse::<IpAddr>().map(IpNet::from).ok();
    match text.parse::<IpNet>().ok().map(|n| n.trunc()).or_else(whole) {
        Some(IpNet::V6(_)) => Err(format!("`{text}` is IPv6, which no machine here speaks yet")),
        Some(net) => Ok(net),
        None => Err(format!("`{text}` is not a network")),
    }
}

/// Reads the name of a group, with its members when they are written behind it: `web` or `web=10.0.0.1/32,10.0.0.2/32`.
fn group(when: &mut Match, word: &str, text: &str) -> Result<(), String> {
    let (name, members) = text.split_once('=').map_or((text, ""), |(name, members)| (name, members));
    let members = if members.is_empty() { Vec::new() } else { nets(members)? };
    let (group, nets) = match word {
        "from" => (&mut when.src_group, &mut when.src),
        _ => (&mut when.dst_group, &mut when.dst),
    };
    if group.is_some() || !nets.is_empty() {
        return Err(format!(
            "`{word}` is said twice: write a line for each, or put the networks into the group"
        ));
    }
    (*group, *nets) = (Some(name.to_owned()), members);
    Ok(())
}

/// Types of ICMP that have a name here (RFC 792); all have a number.
const ICMP_TYPES: [(&str, u8); 6] = [
    ("echo-reply", 0),
    ("unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
];

/// Reads `echo-request`, `3/4`, `unreachable/4`; `None` for words that are something else.
fn icmp_type(text: &str) -> Option<IcmpMatch> {
    let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
    let named = || ICMP_TYPES.iter().find(|(name, _)| *name == kind).map(|(_, number)| *number);
    let kind = kind.parse().ok().or_else(named)?;
    match code.map(str::parse) {
        None => Some(IcmpMatch { kind, code: None }),
        Some(Ok(code)) => Some(IcmpMatch { kind, code: Some(code) }),
        Some(Err(_)) => None,
    }
}

/// The flags of TCP, lowest bit first (RFC 9293, 3.1).
const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// Reads `syn,!ack`: these set, those not, the others as they like.
fn flags(text: &str) -> Result<FlagsMatch, String> {
    let mut flags = FlagsMatch { mask: 0, value: 0 };
    for word in text.split(',') {
        let (name, set) = word.strip_prefix('!').map_or((word, true), |name| (name, false));
        let bit = FLAGS.iter().position(|f| *f == name);
        let bit = 1 << bit.ok_or_else(|| format!("`{name}` is not one of {}", FLAGS.join(", ")))?;
        if flags.mask & bit != 0 {
            return Err(format!("`{name}` is said twice: a flag is set (`{name}`) or it is not (`!{name}`)"));
        }
        flags.mask |= bit;
        flags.value = if set { flags.value | bit } else { flags.value & !bit };
    }
    Ok(flags)
}

/// Reads a line that lowers the MSS.
pub(crate) fn clamp(text: &str, find: FindPort<'_>) -> Result<(Match, MssTarget), String> {
    let mut words = Words::new(text);
    let when = conditions(&mut words, find)?;
    match words.next() {
        None => Ok((when, MssTarget::Mtu)),
        Some("size") => {
            let size = words.after("size")?;
            let bytes = size.parse().ok().filter(|n| (48..=65_495).contains(n));
            let bytes = bytes.ok_or_else(|| format!("`{size}` is no size of a segment (48 to 65495)"))?;
            match words.next() {
                Some(more) => Err(format!("`{more}` has no place behind `size {size}`")),
                None => Ok((when, MssTarget::Bytes(bytes))),
            }
        }
        Some(other) => Err(format!("`{other}` is neither a condition nor `size`")),
    }
}

/// Writes a line that lowers the MSS so that [`clamp`] reads the same.
pub(crate) fn show_clamp(clamp: &MssClamp, name: &dyn Fn(PortId) -> String) -> String {
    let size = match clamp.to {
        MssTarget::Mtu => String::new(),
        MssTarget::Bytes(bytes) => format!(" size {bytes}"),
    };
    let text = format!("{}{size}", show_match(&clamp.when, name));
    if text.is_empty() { "any".to_owned() } else { text.trim_start().to_owned() }
}

/// Reads a line of policy routing; `table` finds a table by its name.
pub(crate) fn policy(
    text: &str,
    find: FindPort<'_>,
    table: &dyn Fn(&str) -> Option<u32>,
) -> Result<(Match, u32), String> {
    let mut words = Words::new(text);
    let when = conditions(&mut words, find)?;
    match words.next() {
        Some("table") => {}
        Some(other) => return Err(format!("`{other}` is neither a condition nor `table`")),
        None => return Err("it does not say which table: end it with `table NAME`".to_owned()),
    }
    let name = words.after("table")?;
    let table = table(name).ok_or_else(|| format!("there is no table `{name}` here"))?;
    match words.next() {
        Some(more) => Err(format!("`{more}` has no place behind `table {name}`")),
        None if when.out_port.is_some() => Err("where it leaves by is not known before its route".to_owned()),
        None => Ok((when, table)),
    }
}

// ---- back to text ------------------------------------------------------------------------------------------------

/// Writes a rule so that [`firewall`] reads the same.
pub(crate) fn show_filter(rule: &Filter, name: &dyn Fn(PortId) -> String) -> String {
    let when = show_match(&rule.when, name);
    let limit = rule.limit.map_or_else(String::new, show_limit);
    let whose = rule.construct.as_ref().map_or_else(String::new, show_construct);
    match (&rule.log, rule.action) {
        (Some(log), Action::Continue) => format!("log {log}{when}{limit}{whose}"),
        (Some(log), action) => format!("{}{when}{limit} as {log}{whose}", show_action(action)),
        (None, action) => format!("{}{when}{limit}{whose}", show_action(action)),
    }
}

/// Writes a policy so that [`firewall`] reads the same.
pub(crate) fn show_otherwise(policy: &Policy) -> String {
    let whose = policy.construct.as_ref().map_or_else(String::new, show_construct);
    format!("otherwise {}{whose}", show_action(policy.action))
}

fn show_construct(construct: &Construct) -> String {
    match construct {
        Construct::SecurityGroup { name } => format!(" of group {name}"),
        Construct::InternetGateway => " of internet-gateway".to_owned(),
        // Access lists say it once, for all their lines.
        Construct::NetworkAcl { .. } => String::new(),
    }
}

fn show_limit(limit: Limit) -> String {
    let unit = UNITS.iter().find(|(_, per)| *per == limit.per).map_or("second", |(name, _)| name);
    let burst = if limit.burst == DEFAULT_BURST { String::new() } else { format!(" burst {}", limit.burst) };
    format!(" limit {}/{unit}{burst}", limit.packets)
}

/// Writes an action.
fn show_action(action: Action) -> &'static str {
    match action {
        Action::Accept => "allow",
        Action::Drop => "deny",
        Action::Reject(RejectWith::TcpReset) => "reject reset",
        Action::Reject(RejectWith::IcmpPort) => "reject unreachable",
        Action::Reject(RejectWith::IcmpProhibited) => "reject prohibited",
        Action::Continue => "log",
    }
}

/// Writes a line of policy routing so that [`policy`] reads the same.
pub(crate) fn show_policy(when: &Match, table: &str, name: &dyn Fn(PortId) -> String) -> String {
    format!("{} table {table}", show_match(when, name)).trim_start().to_owned()
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
        Some(1) => word(when.icmp.map_or_else(|| "icmp".into(), |i| format!("icmp {}", show_icmp(i)))),
        Some(n) => word(format!("protocol {n}")),
        None => {}
    }
    let range = |r: PortRange| {
        if r.first == r.last { r.first.to_string() } else { format!("{}-{}", r.first, r.last) }
    };
    for (preposition, group, nets) in
        [("from", &when.src_group, &when.src), ("to", &when.dst_group, &when.dst)]
    {
        let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
        match group {
            Some(group) => word(format!("{preposition} group {group}={}", nets.join(","))),
            None if nets.is_empty() => {}
            None => word(format!("{preposition} {}", nets.join(","))),
        }
    }
    if let Some(ports) = when.dport {
        word(format!("port {}", range(ports)));
    }
    if let Some(ports) = when.sport {
        word(format!("from-port {}", range(ports)));
    }
    if let Some(flags) = when.tcp_flags {
        word(format!("flags {}", show_flags(flags)));
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

fn show_icmp(icmp: IcmpMatch) -> String {
    let name = ICMP_TYPES.iter().find(|(_, number)| *number == icmp.kind);
    let kind = name.map_or_else(|| icmp.kind.to_string(), |(name, _)| (*name).to_owned());
    icmp.code.map_or_else(|| kind.clone(), |code| format!("{kind}/{code}"))
}

fn show_flags(flags: FlagsMatch) -> String {
    let words = FLAGS.iter().enumerate().filter(|(bit, _)| flags.mask & (1 << bit) != 0);
    let words =
        words.map(|(bit, name)| format!("{}{name}", if flags.value & (1 << bit) == 0 { "!" } else { "" }));
    words.collect::<Vec<String>>().join(",")
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

#[cfg(test)]
mod tests;
