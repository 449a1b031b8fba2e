//! What people do: sentences such as `laptop opens https://google.com/ after 2s`, or mappings when more must be said.

use std::net::IpAddr;

use rt_base::{Nanos, NodeId};

use crate::diag::{Code, Span};
use crate::dns::{self, host_name_problem};
use crate::language::LONGEST_PAUSE;
use crate::lookup::Found;
use crate::model::{NodeKind, Repeat, Step, Verb};
use crate::tree::{Kind, Value};
use crate::units;
use crate::world::World;

const VERBS: &[&str] = &[
    "opens",
    "reloads",
    "purges",
    "posts to",
    "pings",
    "looks up",
    "connects to",
    "traces the route to",
    "finds the path MTU to",
    "sends",
    "streams",
    "calls",
    "floods",
    "spoofs",
    "runs ssh",
];
const FORMS: &str = "steps look like `laptop opens https://google.com/`, `laptop opens wss://shop.example/chat`, `laptop posts to URL`, `ops purges URL`, `laptop pings HOST`, \
                     `laptop looks up NAME`, `laptop connects to HOST:PORT`, `laptop traces the route to HOST`, \
                     `laptop finds the path MTU to HOST`, `laptop sends 10MB to HOST over TCP`, `laptop streams \
                     2Mbit/s for 10s to HOST over UDP`, `laptop calls HOST:PORT 20 times`, `laptop calls https://HOST:PORT/SERVICE/METHOD 8 times`, \
                     `mallory floods HOST:PORT with SYNs at 1000/s for 2s`, `mallory spoofs RST from A:P to B:P`, `laptop runs ssh -J bastion db hostname`, each with `after 2s` if you like; what is done once may be done `every 10s for 5min`";
const RECORD_TYPES: &[&str] = &["A", "AAAA", "MX", "CNAME", "NS", "TXT", "SOA", "SRV", "PTR"];

/// A step with what the checks need of it.
pub(crate) struct StepDraft {
    pub(crate) step: Step,
    /// The target: a host name or an address, and its place in the sentence.
    pub(crate) target: String,
    pub(crate) target_span: Span,
    /// The initial sequence number of the machine that is connected to.
    pub(crate) server_isn: Option<u32>,
}

/// What the checks need of a URL.
pub(crate) struct Url<'u> {
    pub(crate) host: &'u str,
}

/// Reads `http://` and `https://` URLs.
pub(crate) fn url(text: &str) -> Result<Url<'_>, String> {
    let rest = match text.strip_prefix("https://").or(text.strip_prefix("http://")) {
        Some(rest) => rest,
        None => return Err("it begins with neither `https://` nor `http://`".to_owned()),
    };
    if !text.is_ascii() || text.contains(|c: char| c.is_control() || c == ' ') {
        return Err("it has characters that a URL may not have".to_owned());
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = match rest[..end].rsplit_once(':') {
        Some((host, port)) => units::port(port).map(|_| host)?,
        None => &rest[..end],
    };
    Ok(Url { host })
}

/// Repetitions last so long at most, and there are so many of them.
const LONGEST_REPEAT: Nanos = Nanos::from_secs(86_400);
const MOST_ROUNDS: u64 = 100_000;

/// The sentence of a step.
fn sentence(item: &Value) -> Option<&Value> {
    match &item.kind {
        Kind::Map(_) => item.get("do"),
        _ => Some(item),
    }
}

impl World<'_, '_> {
    /// Reads all steps. Bad ones are reported and left out of the model, but keep their numbers.
    pub(crate) fn read_steps(&mut self, list: Option<&Value>) -> Vec<Option<StepDraft>> {
        let mut out = Vec::new();
        for item in list.map(Value::items).unwrap_or_default() {
            match self.crowd(item) {
                Some(crowd) => self.read_crowd(item, &crowd, &mut out),
                None => out.push(self.read_step(item, None)),
            }
        }
        out
    }

    /// The machines of a step that is written for several, as `homes.user*`: all whose names begin so, by their numbers.
    fn crowd(&self, item: &Value) -> Option<Vec<String>> {
        let who = sentence(item)?.text()?.split_whitespace().next()?.strip_suffix('*')?;
        let number = |name: &str| name.strip_prefix(who).and_then(|rest| rest.parse::<u32>().ok());
        let mut names: Vec<(u32, String)> = self
            .nodes
            .iter()
            .filter_map(|draft| Some((number(&draft.node.name)?, draft.node.name.clone())))
            .collect();
        names.sort();
        Some(names.into_iter().map(|(_, name)| name).collect())
    }

    /// One step for each, side by side: evenly spread over a repetition's period, all at once without one.
    fn read_crowd(&mut self, item: &Value, crowd: &[String], out: &mut Vec<Option<StepDraft>>) {
        if crowd.is_empty() {
            let span = sentence(item).map_or(item.span, |s| s.span);
            let message = "no machine's name begins so and goes on with a number";
            self.problems
                .add(Code::UnknownNode, span, message, "nobody")
                .help("a `*` behind the whole name of devices with `count:` stands for all of them, as `home.user*`");
            out.push(None);
            return;
        }
        let members = crowd.len() as u64;
        for (index, who) in (0u64..).zip(crowd) {
            let problems = self.problems.count();
            let mut draft = self.read_step(item, Some(who));
            if let Some(StepDraft { step, .. }) = &mut draft {
                step.background |= index + 1 < members;
                let period = step.repeat.map_or(0, |repeat| repeat.every.0);
                if index > 0 {
                    step.after = Nanos(period * index / members - period * (index - 1) / members);
                }
            }
            let wrong = draft.is_none() || self.problems.count() > problems;
            out.push(draft);
            // What is wrong with one is wrong with all.
            if wrong {
                return;
            }
        }
    }

    /// `who` acts instead of the machine that is written, if given.
    fn read_step(&mut self, item: &Value, who: Option<&str>) -> Option<StepDraft> {
        let sentence = sentence(item)?;
        let text = sentence.text()?;
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if let (Some(first), Some(who)) = (words.first_mut(), who) {
            *first = who;
        }
        let text = words.join(" ");
        let mut after = item.duration_at("after");
        let mut source_port = item.str_at("source-port").and_then(|t| units::port(t).ok());
        let written = source_port;
        let repeat = self.take_tail(sentence, &mut words, &mut after, &mut source_port)?;
        let Some((who, rest)) = words.split_first() else {
            self.bad_step(sentence.span, "this step says nothing");
            return None;
        };
        self.idle_step_keys(item, sentence, rest, source_port != written);
        self.check_repeat(sentence, rest, repeat);
        let actor = self.actor(who, self.part(sentence, who));
        let (verb, target) = self.verb(sentence, rest, item)?;
        let node = actor?;
        self.name_by_hosts(node, &target);
        self.name_for_ssh(node, &verb);
        self.are_fields(item, "fields");
        let isn = item.get("isn");
        let number = |key: &str| isn.and_then(|v| v.str_at(key)?.parse::<u32>().ok());
        let step = Step {
            text,
            node,
            verb,
            after: after.unwrap_or(Nanos::ZERO),
            source_port,
            isn: number("client"),
            background: item.flag_at("background").unwrap_or(false),
            ecn: item.flag_at("ecn"),
            fields: crate::routes::pairs(item, "fields"),
            repeat,
            origin: self.line(sentence.span),
        };
        let target_span = self.part(sentence, &target);
        Some(StepDraft { step, target, target_span, server_isn: number("server") })
    }

    /// Takes `every D for D`, `after D` and `from port N` off the end.
    fn take_tail(
        &mut self,
        sentence: &Value,
        words: &mut Vec<&str>,
        after: &mut Option<Nanos>,
        source_port: &mut Option<u16>,
    ) -> Option<Option<Repeat>> {
        let mut repeat = None;
        loop {
            if let [.., "every", every, "for", lasts] = **words {
                repeat = Some(self.repeat(sentence, every, lasts)?);
                words.truncate(words.len() - 4);
            } else if let [.., "after", span] = **words {
                match units::duration(span) {
                    Ok(long) if long > LONGEST_PAUSE => {
                        let at = self.part(sentence, span);
                        let message = format!("`{span}` is longer than {}", units::show_limit(LONGEST_PAUSE));
                        self.problems.add(Code::BadNumber, at, message, "out of its limits").help(
                            "machines renew leases and probe connections meanwhile: write a shorter wait",
                        );
                        return None;
                    }
                    Ok(span) => *after = Some(span),
                    Err(why) => {
                        let at = self.part(sentence, span);
                        self.problems
                            .add(
                                Code::BadDuration,
                                at,
                                format!("`{span}` is not a span of time: {why}"),
                                "not a span of time",
                            )
                            .help("spans look like `4ms`, `50us`, `1.2s`, and are never negative");
                        return None;
                    }
                }
                words.truncate(words.len() - 2);
            } else if let [.., "from", "port", port] = **words {
                match units::port(port) {
                    Ok(port) => *source_port = Some(port),
                    Err(why) => {
                        let at = self.part(sentence, port);
                        self.problems.add(Code::BadPort, at, why, "not a port");
                        return None;
                    }
                }
                words.truncate(words.len() - 3);
            } else {
                return Some(repeat);
            }
        }
    }

    fn repeat(&mut self, sentence: &Value, every: &str, lasts: &str) -> Option<Repeat> {
        let (period, whole) = match (units::duration(every), units::duration(lasts)) {
            (Ok(period), Ok(whole)) => (period, whole),
            (Err(why), _) | (_, Err(why)) => {
                let at = self.part(sentence, every);
                self.problems
                    .add(Code::BadDuration, at, format!("this is not a span of time: {why}"), "not a span")
                    .help("write `every 10s for 5min`");
                return None;
            }
        };
        if period == Nanos::ZERO || whole > LONGEST_REPEAT || whole.0 / period.0 > MOST_ROUNDS {
            let at = self.part(sentence, every);
            let message = format!("`every {every} for {lasts}` is too often or too long");
            self.problems
                .add(Code::BadNumber, at, message, "out of its limits")
                .help(format!("at most {MOST_ROUNDS} times in {}", units::show_limit(LONGEST_REPEAT)));
            return None;
        }
        Some(Repeat { every: period, lasts: whole })
    }

    /// What goes on by itself for a while is not repeated.
    fn check_repeat(&mut self, sentence: &Value, words: &[&str], repeat: Option<Repeat>) {
        let once = ["opens", "reloads", "posts", "pings", "looks", "connects"];
        if repeat.is_some() && words.first().is_some_and(|verb| !once.contains(verb)) {
            self.bad_step(sentence.span, "this cannot be done `every` so often");
        }
    }

    /// The place of a word in a scalar; the whole scalar when it cannot be told.
    pub(crate) fn part(&self, value: &Value, word: &str) -> Span {
        let source = self.problems.source.text;
        let whole = source.get(value.span.start as usize..value.span.end as usize).unwrap_or("");
        // A whole word where there is one: the `b` of `1Mbit/s to b` is the last one.
        let edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
        let alone = |at: &usize| {
            edge(whole[..*at].chars().next_back()) && edge(whole[at + word.len()..].chars().next())
        };
        let found = whole.match_indices(word).map(|(at, _)| at).find(alone);
        match found.or_else(|| whole.find(word)) {
            Some(at) if !word.is_empty() => {
                let start = value.span.start + at as u32;
                Span { start, end: start + word.len() as u32 }
            }
            _ => value.span,
        }
    }

    /// The machine that acts: a host or router.
    fn actor(&mut self, who: &str, span: Span) -> Option<NodeId> {
        let id = self.node_named(who, span)?;
        if self.node(id).node.kind == NodeKind::Switch {
            let message = format!("`{who}` is a switch, which does nothing of its own");
            self.problems.add(Code::NotOnASwitch, span, message, "a switch").help("let a host act");
            return None;
        }
        Some(id)
    }

    pub(crate) fn bad_step(&mut self, span: Span, message: &str) {
        self.problems.add(Code::BadStep, span, message, "not understood").help(FORMS).known("", VERBS);
    }

    /// Verb and target from the words behind the actor.
    fn verb(&mut self, sentence: &Value, words: &[&str], item: &Value) -> Option<(Verb, String)> {
        match *words {
            ["opens", text] if crate::websocket::is_one(text) => self.open_websocket(sentence, text, item),
            ["opens", text] => {
                let host = self.check_url(sentence, text)?;
                Some((Verb::Open { url: text.to_owned() }, host))
            }
            ["reloads", text] => {
                let host = self.check_url(sentence, text)?;
                Some((Verb::Reload { url: text.to_owned() }, host))
            }
            ["purges", text] => {
                let host = self.check_url(sentence, text)?;
                Some((Verb::Purge { url: text.to_owned() }, host))
            }
            ["posts", .., "to", text] => {
                let host = self.check_url(sentence, text)?;
                let json = self.json_of(sentence, &words[1..words.len() - 2], item)?;
                Some((Verb::Post { url: text.to_owned(), json }, host))
            }
            ["pings", target] => {
                let count = item.whole_at("count").unwrap_or(1).clamp(1, 1000) as u32;
                self.check_host(sentence, target)?;
                Some((Verb::Ping { target: target.to_owned(), count }, target.to_owned()))
            }
            ["pings", target, count, "times"] => {
                let Some(count) = count.parse::<u32>().ok().filter(|n| (1..=1000).contains(n)) else {
                    let at = self.part(sentence, count);
                    self.problems.add(
                        Code::BadNumber,
                        at,
                        format!("`{count}` is not from 1 to 1000"),
                        "out of its limits",
                    );
                    return None;
                };
                self.check_host(sentence, target)?;
                Some((Verb::Ping { target: target.to_owned(), count }, target.to_owned()))
            }
            ["runs", ..] => self.run_ssh(sentence, words, item),
            ["calls" | "floods" | "spoofs", ..] => self.calling(sentence, words, item),
            ["traces", "the", "route", "to", ..]
            | ["finds", "the", "path", "MTU", "to", _]
            | ["sends", ..]
            | ["streams", ..] => self.measurement(sentence, words, item),
            ["looks", "up", name] => self.lookup(sentence, name, "A"),
            ["looks", "up", name, rtype] => self.lookup(sentence, name, rtype),
            ["connects", "to", target] if target.contains(':') => {
                let (host, port) = target.rsplit_once(':')?;
                self.probe(sentence, host, port)
            }
            ["connects", "to", host, "port", port] => self.probe(sentence, host, port),
            ["connects", "to", host] => {
                let at = self.part(sentence, host);
                let message = format!("to which port of `{host}`?");
                self.problems
                    .add(Code::BadStep, at, message, "no port")
                    .help(format!("write `connects to {host}:443`"));
                None
            }
            [] => {
                self.bad_step(sentence.span, "this step has no verb");
                None
            }
            [verb, ..] => {
                self.unknown_verb(sentence, verb);
                None
            }
        }
    }

    fn unknown_verb(&mut self, sentence: &Value, verb: &str) {
        let first: Vec<&str> = VERBS.iter().map(|v| v.split(' ').next().unwrap_or(v)).collect();
        let span = self.part(sentence, verb);
        if first.contains(&verb) {
            self.bad_step(sentence.span, &format!("`{verb}` is not followed by what belongs there"));
            return;
        }
        let message = format!("nobody here knows how to `{verb}`");
        self.problems.add(Code::BadStep, span, message, "unknown verb").known(verb, VERBS).help(FORMS);
    }

    pub(crate) fn check_url(&mut self, sentence: &Value, text: &str) -> Option<String> {
        match url(text) {
            Ok(url) => {
                self.check_host(sentence, url.host)?;
                Some(url.host.to_lowercase())
            }
            Err(why) => {
                let at = self.part(sentence, text);
                self.problems
                    .add(Code::BadUrl, at, format!("`{text}` cannot be opened: {why}"), "not a URL")
                    .help("URLs look like `https://google.com/` or `http://10.0.0.2:8080/page`");
                None
            }
        }
    }

    /// An address, a host name, or the name of a node.
    pub(crate) fn check_host(&mut self, sentence: &Value, target: &str) -> Option<()> {
        let node = || matches!(self.find_node(target), Found::Node(_));
        let fine = target.parse::<IpAddr>().is_ok() || host_name_problem(target).is_none() || node();
        if fine {
            return Some(());
        }
        let at = self.part(sentence, target);
        let known = self.known_nodes();
        self.problems
            .add(
                Code::UnresolvableName,
                at,
                format!("`{target}` is neither an address nor a host name"),
                "no such host",
            )
            .known(target, known);
        None
    }

    /// A node's name works as a host name: its address goes into the hosts file of the machine that uses it, unless a
    /// zone or that file knows the name already.
    pub(crate) fn name_by_hosts(&mut self, actor: NodeId, target: &str) {
        if target.parse::<IpAddr>().is_ok() || dns::resolve(&self.zones, target).is_some() {
            return;
        }
        let Found::Node(id) = self.find_node(target) else { return };
        let Some(address) = self.first_address(id) else { return };
        let hosts = &mut self.node(actor).node.resolver.hosts;
        if hosts.iter().all(|(name, _)| name != target) {
            hosts.push((target.to_owned(), address));
        }
    }

    fn lookup(&mut self, sentence: &Value, name: &str, rtype: &str) -> Option<(Verb, String)> {
        let upper = rtype.to_uppercase();
        if !RECORD_TYPES.contains(&&*upper) {
            let at = self.part(sentence, rtype);
            self.problems
                .add(Code::BadStep, at, format!("`{rtype}` is not a record type"), "unknown type")
                .known(rtype, RECORD_TYPES);
            return None;
        }
        if let Some(why) = host_name_problem(name) {
            let at = self.part(sentence, name);
            self.problems.add(
                Code::UnresolvableName,
                at,
                format!("`{name}` is not a host name: {why}"),
                "not a host name",
            );
            return None;
        }
        Some((Verb::Lookup { name: name.to_lowercase(), rtype: upper }, name.to_lowercase()))
    }

    fn probe(&mut self, sentence: &Value, host: &str, port: &str) -> Option<(Verb, String)> {
        let number = match units::port(port) {
            Ok(number) => number,
            Err(why) => {
                let at = self.part(sentence, port);
                self.problems.add(Code::BadPort, at, why, "not a port").help("ports go from 1 to 65535");
                return None;
            }
        };
        self.check_host(sentence, host)?;
        Some((Verb::Probe { target: host.to_owned(), port: number }, host.to_owned()))
    }

    /// The JSON that is posted: under `json:`, or between `posts` and `to`.
    fn json_of(&mut self, sentence: &Value, words: &[&str], item: &Value) -> Option<String> {
        if let Some(json) = item.get("json") {
            return Some(to_json(json).to_string());
        }
        let text = words.join(" ");
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(json) => Some(json.to_string()),
            Err(_) if text.is_empty() => {
                self.problems
                    .add(Code::BadStep, sentence.span, "what does it post?", "no JSON")
                    .help("write `{ do: laptop posts to URL, json: { item: tea, amount: 2 } }`");
                None
            }
            Err(why) => {
                let message = format!("what is posted is not JSON: {why}");
                self.problems
                    .add(Code::BadStep, sentence.span, message, "not JSON")
                    .help("write it under `json:`");
                None
            }
        }
    }
}

/// A YAML value as JSON: unquoted numbers, `true` and `false` keep their types, all else is text.
pub(crate) fn to_json(value: &Value) -> serde_json::Value {
    match &value.kind {
        Kind::Null => serde_json::Value::Null,
        Kind::Scalar { text, quoted: true } => text.as_str().into(),
        Kind::Scalar { text, quoted: false } => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            _ => match serde_json::from_str::<serde_json::Number>(text) {
                Ok(number) => serde_json::Value::Number(number),
                Err(_) => text.as_str().into(),
            },
        },
        Kind::List(items) => items.iter().map(to_json).collect(),
        Kind::Map(entries) => {
            let entries = entries.iter().map(|(k, v)| (k.text.clone(), to_json(v)));
            serde_json::Value::Object(entries.collect())
        }
    }
}
