//! NAT lines: text to rules, and rules back to text.
//!
//! A NAT line begins with `masquerade`, `snat to A|NET`, `dnat to A[:P[-P]]`, `dnat to A:P,A:P by WORD`, `static A to A` or
//! `keep`, takes the conditions
//! of a firewall line, then `using PORTS [random|preserve|blocks of N most N]`, then how its mappings behave:
//! `mapping WORD`, `filtering WORD`, `hairpin`, `overload`, `exclusive`, `exhausted WORD`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rt_base::PortId;
use rt_rules::{
    CtState, Maglev, Match, NatAction, NatBehaviour, NatDepends, NatExhausted, NatPorts, NatRule, PortRange,
    Spread,
};

use super::{FindPort, Words, conditions, show_match};
use crate::units;

/// RFC 4787's words.
pub(crate) const DEPENDS: [(&str, NatDepends); 3] = [
    ("endpoint-independent", NatDepends::EndpointIndependent),
    ("address-dependent", NatDepends::AddressDependent),
    ("address-and-port-dependent", NatDepends::AddressAndPortDependent),
];

/// What becomes of a flow for which there is no port.
pub(crate) const EXHAUSTED: [(&str, NatExhausted); 3] = [
    ("silent", NatExhausted::Silent),
    ("prohibited", NatExhausted::Prohibited),
    ("host-unreachable", NatExhausted::HostUnreachable),
];

/// Reads a NAT line.
pub(crate) fn nat(text: &str, find: FindPort<'_>) -> Result<(Match, NatAction, NatBehaviour), String> {
    let mut words = Words::new(text);
    let verb = words.next().unwrap_or("");
    let target = match verb {
        "snat" | "dnat" if words.take("to") => Some(words.after("to")?),
        "snat" | "dnat" => return Err(format!("`{verb}` needs `to ADDRESS`")),
        "masquerade" | "keep" => None,
        "static" => Some(words.after("static")?),
        other => {
            let known = "`masquerade`, `snat`, `dnat`, `static` or `keep`";
            return Err(format!("a line begins with {known}, not `{other}`"));
        }
    };
    let outside = match verb {
        "static" if words.take("to") => Some(words.after("to")?),
        "static" => return Err("`static INSIDE` needs `to OUTSIDE`".to_owned()),
        _ => None,
    };
    let by = if verb == "dnat" && words.take("by") { Some(words.after("by")?) } else { None };
    let when = conditions(&mut words, find)?;
    let ports = if words.take("using") { Some(using(&mut words)?) } else { None };
    let behaviour = behaviour(&mut words)?;
    if let Some(more) = words.next() {
        return Err(format!("`{more}` is not a condition"));
    }
    let several = target.filter(|target| verb == "dnat" && target.contains(','));
    let action = match (several, by) {
        (Some(all), by) => spread(all, by)?,
        (None, Some(_)) => {
            return Err("`by` picks one of several: write `dnat to A:80,B:80 by round-robin`".to_owned());
        }
        (None, None) => action((verb, target, outside), ports)?,
    };
    agree((verb, &when), &action, ports.is_some(), behaviour)?;
    Ok((when, action, behaviour))
}

/// What the verb does with these addresses and ports.
fn action(
    (verb, target, outside): (&str, Option<&str>, Option<&str>),
    ports: Option<NatPorts>,
) -> Result<NatAction, String> {
    let all = NatPorts::Preserve(PortRange { first: 1024, last: 65_535 });
    Ok(match (verb, target) {
        ("masquerade", _) => NatAction::Masquerade { ports: ports.unwrap_or(all) },
        ("snat", Some(to)) => match to.parse::<IpNet>() {
            Ok(to) => NatAction::Pool { to: pool(to.trunc())?, ports: ports.unwrap_or(all) },
            Err(_) => NatAction::Snat { to: source(to)?, ports: ports.unwrap_or(all) },
        },
        ("dnat", Some(to)) => match to.split_once(':') {
            None => NatAction::Dnat { to: address(to)?, port: None },
            Some((host, ports)) if ports.contains('-') => {
                NatAction::DnatRange { to: address(host)?, ports: units::ports(ports)? }
            }
            Some((host, port)) => NatAction::Dnat { to: address(host)?, port: Some(units::port(port)?) },
        },
        ("static", Some(inside)) => {
            NatAction::Static { inside: source(inside)?, outside: source(outside.unwrap_or_default())? }
        }
        _ => NatAction::Accept,
    })
}

/// Destination NAT to one of several.
fn spread(all: &str, by: Option<&str>) -> Result<NatAction, String> {
    const HOW: &str = "`round-robin`, `source-hash` or `maglev`";
    let known = |word: &str| {
        let spread = Spread::of_word(word);
        spread.filter(|by| matches!(by, Spread::RoundRobin | Spread::SourceHash | Spread::Maglev))
    };
    let by = match by {
        None => Spread::RoundRobin,
        Some(word) => {
            known(word).ok_or_else(|| format!("`{word}` is no way to pick a destination: {HOW}"))?
        }
    };
    let one = |text: &str| {
        let (host, port) =
            text.split_once(':').ok_or_else(|| format!("`{text}` has no port: write `{text}:80`"))?;
        Ok(SocketAddr::new(address(host)?, units::port(port)?))
    };
    let to: Vec<SocketAddr> = all.split(',').map(one).collect::<Result<_, String>>()?;
    if to.len() > Maglev::MOST {
        return Err(format!("{} destinations are too many: {} at most", to.len(), Maglev::MOST));
    }
    Ok(NatAction::DnatSpread { to, by })
}

/// What is right in itself and cannot be together.
fn agree(
    (verb, when): (&str, &Match),
    action: &NatAction,
    ports: bool,
    behaviour: NatBehaviour,
) -> Result<(), String> {
    let of_sources = "what `masquerade` and `snat` do";
    if ports && action.ports().is_none() {
        return Err(format!("`{verb}` chooses no ports: `using` says {of_sources}"));
    }
    let usual = NatBehaviour { hairpin: behaviour.hairpin, ..NatBehaviour::default() };
    if action.ports().is_none() && behaviour != usual {
        return Err(format!("`{verb}` makes no mappings: `{}` says {of_sources}", first_word(behaviour)));
    }
    match action {
        NatAction::Accept if behaviour.hairpin => Err("`keep` has nothing to hairpin".to_owned()),
        NatAction::Static { inside, outside } if inside == outside => {
            Err(format!("{inside} is translated to itself"))
        }
        NatAction::Static { .. } | NatAction::Accept => Ok(()),
        _ if !when.states.is_empty() && !when.states.contains(&CtState::New) => {
            Err("NAT is asked for the first packet of a flow only, which is `new`".to_owned())
        }
        NatAction::Masquerade { .. } if behaviour.exclusive && when.out_port.is_none() => {
            Err("`exclusive` must know whose address it is: write `out IFACE`".to_owned())
        }
        NatAction::Dnat { port: Some(_), .. }
        | NatAction::DnatRange { .. }
        | NatAction::DnatSpread { .. }
            if !matches!(when.protocol, Some(6 | 17)) =>
        {
            Err("only `tcp` and `udp` have ports: say which of them".to_owned())
        }
        NatAction::DnatRange { ports, .. } => match when.dport {
            None => Err("it does not say which ports these take the place of: write `port N-M`".to_owned()),
            Some(outer) if outer.len() < ports.len() => Err(format!(
                "it leads {} to {}, of which the rest is never used",
                rt_base::count(outer.len().into(), "port"),
                ports.len()
            )),
            Some(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The first of these words that is not as usual.
fn first_word(behaviour: NatBehaviour) -> String {
    let words = show_behaviour(&NatBehaviour { hairpin: false, ..behaviour });
    words.split_whitespace().next().unwrap_or("mapping").to_owned()
}

/// Reads how the mappings behave.
fn behaviour(words: &mut Words<'_>) -> Result<NatBehaviour, String> {
    let mut behaviour = NatBehaviour::default();
    while let Some(word) = words.words.peek().copied() {
        let known = ["mapping", "filtering", "hairpin", "overload", "exclusive", "exhausted"];
        if !known.contains(&word) {
            break;
        }
        let _ = words.next();
        match word {
            "mapping" => behaviour.mapping = word_of(&DEPENDS, words.after(word)?)?,
            "filtering" => behaviour.filtering = word_of(&DEPENDS, words.after(word)?)?,
            "exhausted" => behaviour.exhausted = word_of(&EXHAUSTED, words.after(word)?)?,
            "hairpin" => behaviour.hairpin = true,
            "overload" => behaviour.overload = true,
            _ => behaviour.exclusive = true,
        }
    }
    Ok(behaviour)
}

/// The value that a word of one of the tables below stands for.
pub(crate) fn word_of<T: Copy>(table: &[(&str, T)], word: &str) -> Result<T, String> {
    let found = table.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
    found.ok_or_else(|| format!("`{word}` is not one of {}", names.join(", ")))
}

fn using(words: &mut Words<'_>) -> Result<NatPorts, String> {
    let range = units::ports(words.after("using")?)?;
    Ok(if words.take("random") {
        NatPorts::Random(range)
    } else if words.take("preserve") {
        NatPorts::Preserve(range)
    } else if words.take("blocks") {
        let size = number(words, "of")?;
        if u32::from(size) > range.len() {
            let all = rt_base::count(range.len().into(), "port");
            return Err(format!("a block of {size} does not fit into {all}"));
        }
        NatPorts::Block { range, size, most: number(words, "most")? }
    } else {
        NatPorts::Sequential(range)
    })
}

/// A number from 1 behind a word that must be there.
fn number(words: &mut Words<'_>, word: &str) -> Result<u16, String> {
    let text =
        if words.take(word) { words.after(word)? } else { return Err(format!("`{word} N` is missing")) };
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("`{text}` is not a number from 1 to 65535"))
}

/// An address that packets may be sent to.
fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| format!("`{text}` is not an address"))?;
    match nobodys(address) {
        Some(why) => Err(format!("{address} is no machine's address: {why}")),
        None => Ok(address),
    }
}

/// An address that packets may come from, and answers go to.
fn source(text: &str) -> Result<IpAddr, String> {
    let address = address(text)?;
    match address.is_loopback() {
        true => Err(format!("{address} means each machine itself: no answer comes back")),
        false => Ok(address),
    }
}

/// A pool of such.
fn pool(pool: IpNet) -> Result<IpNet, String> {
    let impossible = [pool.network(), pool.broadcast()].map(|end| source(&end.to_string()));
    impossible.into_iter().collect::<Result<Vec<IpAddr>, String>>().map(|_| pool)
}

/// Why no machine can have this address.
fn nobodys(address: IpAddr) -> Option<&'static str> {
    let IpAddr::V4(v4) = address else { return Some("no machine here speaks IPv6 yet") };
    match v4.octets()[0] {
        0 => Some("it means this network (0.0.0.0/8)"),
        224..240 => Some("it is a multicast group (224.0.0.0/4)"),
        240.. => Some("it is reserved (240.0.0.0/4)"),
        _ => None,
    }
}

/// Writes a NAT rule so that [`nat`] reads the same.
pub(crate) fn show_nat(rule: &NatRule, name: &dyn Fn(PortId) -> String) -> String {
    let verb = match &rule.action {
        NatAction::Snat { to, .. } => format!("snat to {to}"),
        NatAction::Pool { to, .. } => format!("snat to {to}"),
        NatAction::Masquerade { .. } => "masquerade".to_owned(),
        NatAction::Dnat { to, port: None } => format!("dnat to {to}"),
        NatAction::Dnat { to, port: Some(port) } => format!("dnat to {to}:{port}"),
        NatAction::DnatRange { to, ports: r } => format!("dnat to {to}:{}-{}", r.first, r.last),
        NatAction::DnatSpread { to, by } => {
            let all: Vec<String> = to.iter().map(ToString::to_string).collect();
            format!("dnat to {} by {}", all.join(","), by.word())
        }
        NatAction::Static { inside, outside } => format!("static {inside} to {outside}"),
        NatAction::Accept => "keep".to_owned(),
    };
    let using = match rule.action.ports() {
        None => String::new(),
        Some(NatPorts::Sequential(r)) => format!(" using {}-{}", r.first, r.last),
        Some(NatPorts::Random(r)) => format!(" using {}-{} random", r.first, r.last),
        Some(NatPorts::Preserve(r)) => format!(" using {}-{} preserve", r.first, r.last),
        Some(NatPorts::Block { range: r, size, most }) => {
            format!(" using {}-{} blocks of {size} most {most}", r.first, r.last)
        }
    };
    format!("{verb}{}{using}{}", show_match(&rule.when, name), show_behaviour(&rule.behaviour))
}

fn show_behaviour(behaviour: &NatBehaviour) -> String {
    let usual = NatBehaviour::default();
    let mut out = String::new();
    let mut put = |is: bool, text: String| {
        if is {
            out.push(' ');
            out.push_str(&text);
        }
    };
    let NatBehaviour { mapping, filtering, hairpin, overload, exclusive, exhausted } = *behaviour;
    put(mapping != usual.mapping, format!("mapping {}", name_of(&DEPENDS, mapping)));
    put(filtering != usual.filtering, format!("filtering {}", name_of(&DEPENDS, filtering)));
    put(hairpin, "hairpin".to_owned());
    put(overload, "overload".to_owned());
    put(exclusive, "exclusive".to_owned());
    put(exhausted != usual.exhausted, format!("exhausted {}", name_of(&EXHAUSTED, exhausted)));
    out
}

fn name_of<T: Copy + PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, v)| *v == value).map_or("", |(name, _)| name)
}
