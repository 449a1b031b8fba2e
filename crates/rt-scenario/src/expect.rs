//! What must hold (`expect:`) and what happens to links (`timeline:`).

use rt_base::{Nanos, Time};

use crate::diag::{Code, Span};
use crate::language;
use crate::model::{App, Change, Check, Expect, Happening};
use crate::shape::Ty;
use crate::tree::{Key, Value};
use crate::units::{self, Measure};
use crate::world::World;

/// What an expectation about something measured is about.
pub(crate) fn figure_measure(name: &str) -> Option<units::Measure> {
    language::FIGURES.iter().find(|k| k.name == name).and_then(|k| match k.ty {
        Ty::Between(measure) => Some(measure),
        _ => None,
    })
}

/// An entry may stand for many machines.
const MOST_HAPPENINGS: usize = 100_000;
/// What an entry of the timeline can do.
const HAPPENINGS: [&str; 7] = ["cut", "heal", "impair", "rebind", "drain", "admit", "purge"];

impl World<'_, '_> {
    /// Reads `expect:`. `steps` is how many steps there are.
    pub(crate) fn read_expect(&mut self, list: Option<&Value>, steps: usize) -> Vec<Expect> {
        let mut out: Vec<Expect> = Vec::new();
        for item in list.map(Value::items).unwrap_or_default() {
            for (key, value) in item.entries() {
                let Some(step) = self.step_number(key, steps) else { continue };
                let checks = self.read_checks(value);
                self.refuse_contradiction(value);
                out.push(Expect { step, checks, origin: self.line(key.span) });
            }
        }
        out
    }

    fn step_number(&mut self, key: &Key, steps: usize) -> Option<usize> {
        let number = key.text.strip_prefix("step ").and_then(|n| n.trim().parse::<usize>().ok());
        let known = (1..=steps.min(30)).map(|n| format!("step {n}"));
        match number {
            Some(n) if (1..=steps).contains(&n) => Some(n - 1),
            Some(n) => {
                let there = match steps {
                    0 => "there is none".to_owned(),
                    1 => "there is only one".to_owned(),
                    n => format!("there are only {n}"),
                };
                let message = format!("there is no step {n}: {there}");
                self.problems
                    .add(Code::ExpectationForNoStep, key.span, message, "no such step")
                    .known("", known);
                None
            }
            None => {
                let message = format!("`{}` does not name a step", key.text);
                self.problems
                    .add(Code::ExpectationForNoStep, key.span, message, "not a step")
                    .help("write `step 1: { status: 200 }`")
                    .known("", known);
                None
            }
        }
    }

    fn read_checks(&mut self, value: &Value) -> Vec<Check> {
        let mut out: Vec<Check> = Vec::new();
        for (key, inner) in value.entries() {
            if language::EXPECT.all().any(|k| k.name == key.text) {
                let check = self.read_check(&key.text, inner);
                let twice = |c: &Check| {
                    matches!(c, Check::Fails(_)) && out.iter().any(|o| matches!(o, Check::Fails(_)))
                };
                out.extend(check.filter(|c| !twice(c)));
            }
        }
        out
    }

    fn read_check(&mut self, key: &str, value: &Value) -> Option<Check> {
        if key == "through" {
            let names = value.items().iter();
            let mut nodes = Vec::new();
            for name in names {
                let id = self.node_named(name.text()?, name.span)?;
                nodes.push(self.node(id).node.name.clone());
            }
            return Some(Check::Through(nodes));
        }
        let text = value.text()?;
        if let Some(measure) = figure_measure(key) {
            let (least, most) = units::between(text, measure).ok()?;
            return Some(Check::Figure { name: key.to_owned(), least, most });
        }
        let number = || text.parse::<u32>().ok();
        Some(match key {
            "status" => Check::Status(text.parse().ok()?),
            "protocol" => Check::Protocol(text.to_owned()),
            "field" => {
                let (name, field) = text.split_once(':').unwrap_or((text, ""));
                Check::Field { name: name.trim().to_owned(), value: field.trim().to_owned() }
            }
            "within" => Check::Within(units::duration(text).ok()?),
            "dns" => Check::Dns(text.to_owned()),
            "tls" => Check::Tls(text.to_owned()),
            "fails" => Check::Fails(if text == "yes" { String::new() } else { text.to_owned() }),
            "succeeds" if crate::shape::flag(text)? => Check::Succeeds,
            "succeeds" => Check::Fails(String::new()),
            "prints" => Check::Prints(text.to_owned()),
            "answered-by" => return self.answered_by(text, value),
            "from-cache" => Check::FromCache(number()?),
            _ => return None,
        })
    }

    /// `web-1 10..30`.
    fn answered_by(&mut self, text: &str, value: &Value) -> Option<Check> {
        let parts = text.trim().rsplit_once(' ').ok_or_else(|| "it wants a server and a number".to_owned());
        let read = parts.and_then(|(server, range)| Ok((server, units::between(range, Measure::Count)?)));
        match read {
            Ok((server, (least, most))) => {
                self.could_answer(server.trim(), value);
                Some(Check::AnsweredBy { server: server.trim().to_owned(), least, most })
            }
            Err(why) => {
                let message = format!("`{text}` does not say who answered how often: {why}");
                self.problems
                    .add(Code::BadNumber, value.span, message, "not a server and a number")
                    .help("write `web-1 20`, `web-1 10..30` or `web-1 ..5`");
                None
            }
        }
    }

    /// Servers behind proxies and balancers answer; a forward proxy asks whoever is asked for.
    fn could_answer(&mut self, server: &str, value: &Value) {
        let mut known: Vec<String> = Vec::new();
        for app in self.nodes.iter().flat_map(|draft| &draft.node.apps) {
            match app {
                App::ForwardProxy(_) => return,
                App::L4Balancer(balancer) => {
                    known.extend(balancer.upstreams.iter().map(|(name, _)| name.clone()));
                }
                App::Edge { upstreams, options, .. } => {
                    let more = options.pools.iter().flat_map(|pool| &pool.upstreams);
                    known.extend(upstreams.iter().chain(more).map(|(name, _)| name.clone()));
                }
                _ => {}
            }
        }
        known.sort();
        known.dedup();
        if !known.iter().any(|name| name == server) {
            let span = self.part(value, server);
            let message = match known.is_empty() {
                true => "no server stands behind a proxy here".to_owned(),
                false => format!("no server behind a proxy is called `{server}`"),
            };
            self.problems
                .add(Code::UnknownReference, span, message, "no such server")
                .help("servers have the names that the proxy's `upstreams:` give them")
                .known(server, known);
        }
    }

    fn refuse_contradiction(&mut self, value: &Value) {
        let fails = value.entry("fails");
        let other = value.entries().iter().find(|(k, v)| match k.text.as_str() {
            "succeeds" => v.text().and_then(crate::shape::flag) == Some(true),
            "status" | "protocol" | "field" | "from-cache" => true,
            _ => false,
        });
        if let (Some((fails, _)), Some((other, _))) = (fails, other) {
            let message = format!("a step that fails has no `{}`", other.text);
            self.problems
                .add(Code::Contradiction, other.span, message, "this cannot hold")
                .related(fails.span, "if this holds")
                .help("remove one of them");
        }
    }

    /// Reads `timeline:`; sorted by time, equal times in the order of the file.
    pub(crate) fn read_timeline(&mut self, list: Option<&Value>) -> Vec<Happening> {
        let mut out = Vec::new();
        for item in list.map(Value::items).unwrap_or_default() {
            let Some(at) = item.duration_at("at") else { continue };
            let verbs: Vec<&str> = HAPPENINGS.into_iter().filter(|v| item.get(v).is_some()).collect();
            let [verb] = *verbs else {
                self.problems
                    .add(
                        Code::MissingKey,
                        crate::shape::head(item),
                        "an entry of the timeline does one thing",
                        "which one?",
                    )
                    .help(
                        "write exactly one of `cut:`, `heal:`, `impair:`, `rebind:`, `drain:`, `admit:` and `purge:`",
                    );
                continue;
            };
            let Some(end) = item.get(verb) else { continue };
            let changes = match verb {
                "purge" => self.read_purge(item, end),
                _ => self.change(verb, item, end).into_iter().collect(),
            };
            self.refuse_idle(item, verb);
            if out.len() + changes.len() > MOST_HAPPENINGS {
                let message = format!("more than {MOST_HAPPENINGS} things happen");
                self.problems.add(Code::TooLarge, end.span, message, "too many").help("split the scenario");
                break;
            }
            let origin = self.line(end.span);
            let happening = |change| Happening { at: Time(at.0), change, origin: origin.clone() };
            out.extend(changes.into_iter().map(happening));
        }
        out.sort_by_key(|h| h.at);
        out
    }

    fn change(&mut self, verb: &str, item: &Value, end: &Value) -> Option<Change> {
        let text = end.text().unwrap_or("");
        if verb == "rebind" {
            return self.rebind(item, (text, end.span));
        }
        if verb == "drain" || verb == "admit" {
            return self.read_shift(item, (text, end.span), verb == "drain");
        }
        let link = self.link_at(text, end.span)?;
        Some(match verb {
            "cut" => Change::Cut { link },
            "heal" => Change::Heal { link },
            _ => self.impairment(link, item, end.span),
        })
    }

    fn rebind(&mut self, item: &Value, (name, span): (&str, Span)) -> Option<Change> {
        let node = self.node_named(name, span)?;
        if self.nodes[node.index()].node.nat.is_empty() {
            let message = format!("`{name}` translates nothing: it has no NAT mappings to forget");
            self.problems
                .add(Code::NoEffect, span, message, "no NAT here")
                .help("name a home's router (`home.router`), or a node with `nat:`");
        }
        Some(Change::Rebind { node, keep_ports: item.flag_at("keep-ports").unwrap_or(false) })
    }

    fn impairment(&mut self, link: usize, item: &Value, span: Span) -> Change {
        let loss_ppm = item.str_at("loss").and_then(|t| units::share(t).ok());
        let delay: Option<Nanos> = item.duration_at("delay");
        let rate_bps = item.str_at("rate").and_then(|t| units::rate(t).ok());
        if loss_ppm.is_none() && delay.is_none() && rate_bps.is_none() {
            self.problems
                .add(Code::MissingKey, span, "what changes on this link?", "nothing changes")
                .help("add `loss:`, `delay:` or `rate:`");
        }
        Change::Impair { link, loss_ppm, delay, rate_bps }
    }

    fn refuse_idle(&mut self, item: &Value, verb: &str) {
        let of = [
            ("loss", "impair"),
            ("delay", "impair"),
            ("rate", "impair"),
            ("keep-ports", "rebind"),
            ("server", "drain"),
            ("path", "purge"),
            ("tag", "purge"),
        ];
        for (key, with) in of {
            let takes = verb == with || (key, verb) == ("server", "admit");
            if let Some((name, _)) = item.entry(key).filter(|_| !takes) {
                let message = format!("`{key}` has no effect with `{verb}`");
                let help = format!("use `{with}:`");
                self.problems.add(Code::NoEffect, name.span, message, "no effect").help(help);
            }
        }
    }

    /// The link at an endpoint: `b:eth0`, or `b` when it has one link only.
    fn link_at(&mut self, text: &str, span: Span) -> Option<usize> {
        let (node, interface) = match text.rsplit_once(':') {
            Some((node, interface)) => (node, Some(interface)),
            None => (text, None),
        };
        let id = self.node_named(node, span)?;
        let draft = &self.nodes[id.index()];
        let linked: Vec<(String, usize)> = draft
            .ports
            .iter()
            .zip(&draft.node.interfaces)
            .filter_map(|(p, i)| Some((format!("{node}:{}", i.name), p.link?)))
            .collect();
        let found = match interface {
            Some(interface) => {
                linked.iter().find(|(n, _)| n.strip_prefix(node) == Some(&format!(":{interface}")))
            }
            None if linked.len() == 1 => linked.first(),
            None => None,
        };
        if let Some((_, link)) = found {
            return Some(*link);
        }
        let message = match interface {
            Some(_) => format!("no link ends at `{text}`"),
            None => format!("`{node}` has {} links: which one?", linked.len()),
        };
        let known = linked.iter().map(|(n, _)| n.clone());
        self.problems
            .add(Code::UnknownLink, span, message, "no such link")
            .known(text, known.collect::<Vec<_>>());
        None
    }
}
