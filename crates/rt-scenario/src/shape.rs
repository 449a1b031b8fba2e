//! The shape of the language as data: which keys a mapping has, what each means, and what its values look like.
//!
//! One table ([`crate::language`]) drives three things, so that they cannot disagree: the check of a file ([`check`]:
//! unknown keys, wrong kinds of values, bad units, all reported), the JSON Schema ([`crate::schema()`]), and the names
//! that diagnostics call known. What the values mean together is checked after lowering, not here.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::text::excerpt;
use rt_base::{MacAddr, Nanos};

use crate::diag::{Code, Problems, Span};
use crate::tree::{Kind, Value};
use crate::units;

/// What a value looks like.
#[derive(Clone, Copy)]
pub(crate) enum Ty {
    /// Any text.
    Text,
    /// The name of a node, site, interface...
    Name,
    /// `yes` or `no`.
    Flag,
    /// A whole number within limits.
    Whole(u64, u64),
    /// Bits per second.
    Rate,
    /// A span of time.
    Duration,
    /// A span of time within limits, in nanoseconds.
    Span(u64, u64),
    /// A share.
    Share,
    /// A bit error rate: `1e-7`.
    BitErrors,
    /// A share, or `every 1000th`.
    Loss,
    /// Bytes.
    Size,
    /// Bytes within limits.
    Bytes(u64, u64),
    /// At least and at most: `40ms..45ms`.
    Between(units::Measure),
    /// A queue limit.
    Queue,
    /// A TCP or UDP port.
    Port,
    /// A range of ports.
    Ports,
    /// An IP address.
    Address,
    /// An IP address, with a prefix length or without.
    Host,
    /// A network in CIDR form.
    Net,
    /// A MAC address of a station.
    Mac,
    /// Civil time.
    Instant,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any JSON.
    Json,
    /// A list.
    List(&'static Ty),
    /// A mapping from names to values. The text says what the keys are.
    Map(&'static str, &'static Ty),
    /// A mapping with these keys.
    Object(&'static Shape),
    /// A mapping whose keys depend on its `kind`.
    ByKind(&'static [(&'static str, &'static Shape)]),
    /// A mapping with exactly one of these keys (or the bare key as text).
    OneKey(&'static [(&'static str, &'static Shape)]),
    /// A single value of one type, or something bigger.
    Either(&'static Ty, &'static Ty),
    /// May also be left empty.
    OrNothing(&'static Ty),
}

/// A key of a mapping.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// A sentence for editors and people.
    pub(crate) about: &'static str,
    pub(crate) ty: Ty,
    pub(crate) required: bool,
}

/// A mapping with known keys.
pub(crate) struct Shape {
    /// What it is, with an article: `a home`.
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [&'static [Key]],
}

impl Shape {
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().flat_map(|group| group.iter())
    }
}

/// An optional key.
pub(crate) const fn key(name: &'static str, ty: Ty, about: &'static str) -> Key {
    Key { name, about, ty, required: false }
}

/// A key that must be there.
pub(crate) const fn must(name: &'static str, ty: Ty, about: &'static str) -> Key {
    Key { name, about, ty, required: true }
}

/// Checks `value` against `ty`; every problem is reported.
pub(crate) fn check(problems: &mut Problems<'_>, value: &Value, ty: &Ty) {
    match ty {
        Ty::OrNothing(_) if value.kind == Kind::Null => {}
        Ty::OrNothing(inner) => check(problems, value, inner),
        Ty::Either(one, bigger) => {
            let inner = if matches!(value.kind, Kind::Scalar { .. }) { one } else { bigger };
            check(problems, value, inner);
        }
        Ty::Json => {}
        Ty::List(inner) => match &value.kind {
            Kind::List(items) => items.iter().for_each(|item| check(problems, item, inner)),
            _ => wrong(problems, value, "a list", "write `- ` before each item, or `[a, b]`"),
        },
        Ty::Map(_, inner) => match &value.kind {
            Kind::Map(entries) => entries.iter().for_each(|(_, v)| check(problems, v, inner)),
            _ => wrong(problems, value, "a mapping", "write `name: value` lines, or `{ name: value }`"),
        },
        Ty::Object(shape) => object(problems, value, shape),
        Ty::ByKind(kinds) => by_kind(problems, value, kinds),
        Ty::OneKey(kinds) => one_key(problems, value, kinds),
        _ => scalar(problems, value, ty),
    }
}

fn wrong(problems: &mut Problems<'_>, value: &Value, wanted: &str, help: &str) {
    let message = format!("{wanted} belongs here, not {}", value.what());
    problems.add(Code::WrongShape, head(value), message, &format!("{wanted} belongs here")).help(help);
}

/// The first line of a value is enough to point at.
pub(crate) fn head(value: &Value) -> Span {
    match value.kind {
        Kind::List(_) | Kind::Map(_) => Span { start: value.span.start, end: value.span.start + 1 },
        _ => value.span,
    }
}

fn object(problems: &mut Problems<'_>, value: &Value, shape: &Shape) {
    object_except(problems, value, shape, "");
}

fn object_except(problems: &mut Problems<'_>, value: &Value, shape: &Shape, except: &str) {
    let Kind::Map(entries) = &value.kind else {
        return wrong(
            problems,
            value,
            &format!("{} is a mapping, which", shape.name),
            "write `key: value` lines",
        );
    };
    for (name, inner) in entries {
        match shape.all().find(|k| k.name == name.text) {
            Some(_) if inner.kind == Kind::Null => {}
            Some(key) => check(problems, inner, &key.ty),
            None if name.text == except => {}
            None => {
                let message = format!("`{}` is not a key of {}", name.text, shape.name);
                problems
                    .add(Code::UnknownKey, name.span, message, "unknown key")
                    .known(&name.text, shape.all().map(|k| k.name));
            }
        }
    }
    for key in shape.all().filter(|k| k.required && value.get(k.name).is_none()) {
        let message = format!("{} needs the key `{}`", shape.name, key.name);
        problems.add(Code::MissingKey, head(value), message, "it is missing here").help(key.about);
    }
}

fn by_kind(problems: &mut Problems<'_>, value: &Value, kinds: &[(&str, &Shape)]) {
    let Kind::Map(_) = &value.kind else {
        return wrong(problems, value, "a mapping", "write `kind: ...` and its other keys");
    };
    let names = kinds.iter().map(|(n, _)| *n);
    let Some((_, kind)) = value.entry("kind") else {
        let message = "it needs a `kind`";
        problems.add(Code::MissingKey, head(value), message, "`kind` is missing").known("", names);
        return;
    };
    let word = kind.text().unwrap_or("");
    match kinds.iter().find(|(n, _)| *n == word) {
        Some((_, shape)) => object(problems, value, shape),
        None => {
            let message = format!("`{word}` is not a known kind");
            problems.add(Code::UnknownChoice, head(kind), message, "unknown kind").known(word, names);
        }
    }
}

fn one_key(problems: &mut Problems<'_>, value: &Value, kinds: &[(&str, &Shape)]) {
    let (word, span) = match &value.kind {
        Kind::Scalar { text, .. } => (text, value.span),
        Kind::Map(entries) if entries.len() == 1 => (&entries[0].0.text, entries[0].0.span),
        _ => {
            return wrong(
                problems,
                value,
                "one name with its options",
                "write `- http: { port: 80 }` or `- http`",
            );
        }
    };
    match kinds.iter().find(|(n, _)| n == word) {
        Some((_, shape)) => match value.entries().first() {
            Some((_, inner)) if inner.kind != Kind::Null => object(problems, inner, shape),
            _ => missing(problems, value, shape),
        },
        None => {
            let message = format!("`{word}` is not known here");
            problems
                .add(Code::UnknownChoice, span, message, "unknown")
                .known(word, kinds.iter().map(|(n, _)| *n));
        }
    }
}

fn missing(problems: &mut Problems<'_>, value: &Value, shape: &Shape) {
    for key in shape.all().filter(|k| k.required) {
        let message = format!("{} needs the key `{}`", shape.name, key.name);
        problems.add(Code::MissingKey, head(value), message, "it is missing here").help(key.about);
    }
}

fn scalar(problems: &mut Problems<'_>, value: &Value, ty: &Ty) {
    let Some(text) = value.text() else {
        let (wanted, help) = describe(ty);
        return wrong(problems, value, wanted, help);
    };
    let Err((code, message, label)) = judge(text, ty) else { return };
    let draft = problems.add(code, value.span, message, label);
    match ty {
        Ty::OneOf(words) => drop(draft.known(text, *words)),
        _ if code == Code::GroupMac => drop(draft.help(group_help(text))),
        Ty::Whole(low, high) => drop(draft.help(format!("write a whole number from {low} to {high}"))),
        Ty::Span(low, high) if code == Code::BadNumber => {
            let (low, high) = (units::show_limit(Nanos(*low)), units::show_limit(Nanos(*high)));
            draft.help(format!("write a span from {low} to {high}"));
        }
        Ty::Bytes(low, high) if code == Code::BadNumber => {
            let (low, high) = (units::show_size(*low), units::show_size(*high));
            draft.help(format!("write a size from {low} to {high}"));
        }
        _ => drop(draft.help(describe(ty).1)),
    }
}

fn group_help(text: &str) -> String {
    let fixed = text.parse::<MacAddr>().map(|mut mac| {
        mac.0[0] &= 0xfe;
        mac.to_string()
    });
    let fixed = fixed.unwrap_or_else(|_| "02:00:00:00:00:01".to_owned());
    format!(
        "the lowest bit of the first byte marks groups, which no station may bear: use an even first byte, such as `{fixed}`"
    )
}

/// What a type is called and how to write one.
fn describe(ty: &Ty) -> (&'static str, &'static str) {
    match ty {
        Ty::Text => ("text", "write the text on the same line"),
        Ty::Name => ("a name", "names are letters, digits, `-`, `_` and `.`, such as `web-1`"),
        Ty::Flag => ("yes or no", "write `yes` or `no`"),
        Ty::Whole(..) => ("a whole number", "write a whole number within the limits"),
        Ty::Rate => ("a rate", "rates look like `100Mbit/s`, `1Gbit/s`"),
        Ty::Duration | Ty::Span(..) => {
            ("a span of time", "spans look like `4ms`, `50us`, `1.2s`, and are never negative")
        }
        Ty::Loss => {
            ("a share", "loss looks like `2%` or `500ppm`, or like `every 1000th` when it is to be regular")
        }
        Ty::BitErrors => ("a bit error rate", "bit error rates look like `1e-7`, from 0 to 1"),
        Ty::Share => ("a share", "shares look like `2%` or `500ppm`, from 0% to 100%"),
        Ty::Size | Ty::Bytes(..) => ("a size", "sizes look like `1500`, `64KiB`, `10MB`"),
        Ty::Between(_) => {
            ("a range", "ranges look like `40ms..45ms`, `40ms..`, `..45ms`, or one value for exactly that")
        }
        Ty::Queue => ("a queue limit", "queue limits look like `1000 packets` or `256KiB`"),
        Ty::Port => ("a port", "ports go from 1 to 65535"),
        Ty::Ports => ("a range of ports", "ranges look like `10001-` or `10001-20000`, within 1 to 65535"),
        Ty::Address => ("an address", "IPv4 addresses look like `192.168.1.10`: four numbers from 0 to 255"),
        Ty::Host => (
            "an address",
            "addresses look like `192.168.1.10/24`: the address and the length of its network's prefix",
        ),
        Ty::Net => ("a network", "networks look like `192.168.1.0/24`"),
        Ty::Mac => ("a MAC address", "MAC addresses look like `02:00:00:00:00:01`: six bytes in hexadecimal"),
        Ty::Instant => ("an instant", "instants look like `2026-01-15T12:00:00Z`"),
        Ty::OneOf(_) => ("one of the known words", "write one of the known words"),
        _ => ("something else", "see `roundtrip schema`"),
    }
}

type Refusal = (Code, String, &'static str);

/// Whether `text` is a `ty`.
fn judge(text: &str, ty: &Ty) -> Result<(), Refusal> {
    let no = |code: Code, what: &'static str, label: &'static str| {
        move |why: String| (code, format!("`{}` is not {what}: {why}", shown(text)), label)
    };
    match ty {
        Ty::Name => name(text),
        Ty::Flag => flag(text).map(drop).ok_or_else(|| {
            (Code::UnknownChoice, format!("`{}` is neither yes nor no", shown(text)), "yes or no")
        }),
        Ty::Whole(low, high) => match text.parse::<u64>() {
            Ok(n) if (*low..=*high).contains(&n) => Ok(()),
            Ok(n) => {
                Err((Code::BadNumber, format!("{n} is not within {low} and {high}"), "out of its limits"))
            }
            Err(_) => {
                Err((Code::BadNumber, format!("`{}` is not a whole number", shown(text)), "not a number"))
            }
        },
        Ty::Rate => units::rate(text).map(drop).map_err(no(Code::BadUnit, "a rate", "not a rate")),
        Ty::Duration => span(text).map(drop),
        Ty::Span(low, high) => match span(text)? {
            span if (*low..=*high).contains(&span.0) => Ok(()),
            _ => Err(beyond(text, units::show_limit(Nanos(*low)), units::show_limit(Nanos(*high)))),
        },
        Ty::Loss => units::loss(text).map(drop).map_err(no(Code::BadPercent, "a share", "not a share")),
        Ty::BitErrors => {
            units::bit_errors(text).map(drop).map_err(no(Code::BadNumber, "a bit error rate", "not a rate"))
        }
        Ty::Share => units::share(text).map(drop).map_err(no(Code::BadPercent, "a share", "not a share")),
        Ty::Size => bytes(text).map(drop),
        Ty::Bytes(low, high) => match bytes(text)? {
            n if (*low..=*high).contains(&n) => Ok(()),
            _ => Err(beyond(text, units::show_size(*low), units::show_size(*high))),
        },
        Ty::Between(measure) => {
            units::between(text, *measure).map(drop).map_err(no(Code::BadNumber, "a range", "not a range"))
        }
        Ty::Queue => {
            units::queue(text).map(drop).map_err(no(Code::BadUnit, "a queue limit", "not a queue limit"))
        }
        Ty::Port => units::port(text).map(drop).map_err(|why| (Code::BadPort, why, "not a port")),
        Ty::Ports => units::ports(text).map(drop).map_err(|why| (Code::BadPort, why, "not a range of ports")),
        Ty::Instant => {
            units::instant(text).map(drop).map_err(|why| (Code::BadInstant, why, "not an instant"))
        }
        Ty::Address => address(text).map(drop),
        Ty::Host if text.contains('/') => network(text).map(drop),
        Ty::Host => address(text).map(drop),
        Ty::Net => network_itself(text),
        Ty::Mac => match text.parse::<MacAddr>() {
            Ok(mac) if mac.is_group() => Err((
                Code::GroupMac,
                format!("no station may bear the MAC {text}: it has the group bit set"),
                "group bit set",
            )),
            Ok(_) => Ok(()),
            Err(_) => {
                Err((Code::BadMac, format!("`{}` is not a MAC address", shown(text)), "not a MAC address"))
            }
        },
        Ty::OneOf(words) if !words.contains(&text) => {
            Err((Code::UnknownChoice, format!("`{}` is not known here", shown(text)), "unknown"))
        }
        _ => Ok(()),
    }
}

/// A network without host bits.
fn network_itself(text: &str) -> Result<(), Refusal> {
    match network(text)? {
        net if net.trunc() == net => Ok(()),
        net => {
            let why = format!("`{text}` has bits set behind its prefix: the network is `{}`", net.trunc());
            Err((Code::BadNetwork, why, "host bits set"))
        }
    }
}

fn span(text: &str) -> Result<Nanos, Refusal> {
    let bad = |why| format!("`{}` is not a span of time: {why}", shown(text));
    units::duration(text).map_err(|why| (Code::BadDuration, bad(why), "not a span of time"))
}

fn bytes(text: &str) -> Result<u64, Refusal> {
    let bad = |why| format!("`{}` is not a size: {why}", shown(text));
    units::size(text).map_err(|why| (Code::BadUnit, bad(why), "not a size"))
}

/// A value that could be read and is too small or too large.
fn beyond(text: &str, low: String, high: String) -> Refusal {
    (Code::BadNumber, format!("`{}` is not within {low} and {high}", shown(text)), "out of its limits")
}

/// At most so much of a value is repeated in a message.
fn shown(text: &str) -> String {
    excerpt(text, 60)
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => Err((
            Code::BadAddress,
            format!("`{text}` is an IPv6 address, which no machine here speaks yet"),
            "IPv6",
        )),
        Ok(v4) => Ok(v4),
        Err(_) => {
            Err((Code::BadAddress, format!("`{}` is not an IP address", shown(text)), "not an address"))
        }
    }
}

fn network(text: &str) -> Result<IpNet, Refusal> {
    let bad = |why: String| Err((Code::BadNetwork, why, "not a network"));
    let Some((ip, length)) = text.split_once('/') else {
        return bad(format!("`{}` has no prefix length", shown(text)));
    };
    let ip = address(ip)?;
    match length.parse::<u8>() {
        Ok(n) if n <= 32 => IpNet::new(ip, n).or_else(|_| bad(format!("`{}` is not a network", shown(text)))),
        _ => bad(format!("`/{}` is not a prefix length: they go from /0 to /32", shown(length))),
    }
}

fn name(text: &str) -> Result<(), Refusal> {
    match name_problem(text) {
        None => Ok(()),
        Some(why) => Err((Code::BadName, format!("`{}` cannot be a name: {why}", shown(text)), "not a name")),
    }
}

/// Longest name: two of them and a hyphen still make a file name.
const MAX_NAME: usize = 100;

/// Why `text` cannot name a node, site or interface.
pub(crate) fn name_problem(text: &str) -> Option<&'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > MAX_NAME {
        Some("it is longer than 100 characters")
    } else if !text.chars().all(fine) {
        Some("names are letters, digits, `-`, `_` and `.`")
    } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || text.ends_with('.') {
        Some("names begin with a letter or digit and do not end with a dot")
    } else {
        None
    }
}

/// `yes`, `no` and their relatives.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text {
        "yes" | "true" | "on" => Some(true),
        "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// Typed reading of values that [`check`] has seen: `None` is "not there" or "reported already".
impl Value {
    pub(crate) fn str_at(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    pub(crate) fn flag_at(&self, key: &str) -> Option<bool> {
        flag(self.str_at(key)?)
    }

    pub(crate) fn whole_at(&self, key: &str) -> Option<u64> {
        self.str_at(key)?.parse().ok()
    }

    pub(crate) fn address(&self) -> Option<IpAddr> {
        address(self.text()?).ok()
    }

    pub(crate) fn address_at(&self, key: &str) -> Option<IpAddr> {
        self.get(key)?.address()
    }

    /// An address with its prefix length; `default` when none is written.
    pub(crate) fn host(&self, default: u8) -> Option<IpNet> {
        let text = self.text()?;
        if text.contains('/') { network(text).ok() } else { IpNet::new(address(text).ok()?, default).ok() }
    }

    pub(crate) fn net_at(&self, key: &str) -> Option<IpNet> {
        network(self.str_at(key)?).ok().map(|n| n.trunc())
    }

    pub(crate) fn mac_at(&self, key: &str) -> Option<MacAddr> {
        self.str_at(key)?.parse().ok().filter(|m: &MacAddr| !m.is_group())
    }

    pub(crate) fn duration_at(&self, key: &str) -> Option<Nanos> {
        units::duration(self.str_at(key)?).ok()
    }
}
