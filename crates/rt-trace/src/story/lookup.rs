//! "Find the address": the caches in order, the question, the resolver's walk down the tree, the answer.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use rt_base::{AppRecord, CacheKind, CacheOutcome, DropReason, FrameId, NodeId, ReqId, ReqKind, Time, What};

use super::model::{Chapter, Ends, Field, Line, LookupStory, ReferralStory};
use super::tell::{self, Step};
use super::view::{Req, View};
use super::words;
use crate::read::{DnsAnswer, DnsExchange, DnsOutcome, DnsRecord};

const EXPLAIN: &str = "People use names, packets need numbers (IP addresses). DNS is the internet's phone book: the \
                       laptop looks into its own notes first, then asks a resolver, which asks its way down from the \
                       root of all names.";

/// The chapter and the facts of one look-up.
pub(crate) fn tell(step: &Step<'_, '_>, req: &Req<'_>) -> (Chapter, LookupStory) {
    let view = step.view;
    let start = req.begin.at;
    let end = req.end_at().unwrap_or(step.last);
    let mut lines = cache_lines(req);
    let mut story = LookupStory {
        name: req.target.to_string(),
        rtype: req.method.to_string(),
        start_ns: start.0,
        end_ns: end.0,
        ok: req.end.is_some_and(|e| e.ok),
        caches: lines.iter().map(|l| Field::new(&l.label, &l.text)).collect(),
        ..LookupStory::default()
    };
    for exchange in asked(view, req) {
        ask_lines(step, req, exchange, &mut lines, &mut story);
    }
    lines.extend(retry_lines(req, start));
    story.retries =
        u32::try_from(req.said.iter().filter(|(_, r)| matches!(r, AppRecord::Retry { .. })).count())
            .unwrap_or(u32::MAX);
    lines.push(conclusion(req, &story));
    lines.extend(stored_lines(req));
    let subject = if matches!(req.method, "A" | "AAAA") {
        req.target.to_string()
    } else {
        format!("{} of {}", req.method, req.target)
    };
    let chapter = Chapter {
        code: "dns".into(),
        title: "find the address".into(),
        subject,
        start_ns: start.0,
        end_ns: end.0,
        remark: if story.question.is_none() { "no packet needed".into() } else { String::new() },
        explain: EXPLAIN.into(),
        lines,
    };
    (chapter, story)
}

/// The DNS exchanges that belong to a request at its machine, in order.
pub(crate) fn asked<'v>(view: &'v View<'_>, req: &Req<'_>) -> Vec<&'v DnsExchange> {
    let mut all: Vec<&DnsExchange> = Vec::new();
    for used in req.used() {
        for exchange in view.dns_used(req.node, &used) {
            let mark = exchange.query.map(|q| q.first.at);
            let within =
                mark.is_some_and(|at| at >= req.begin.at && req.end_at().is_none_or(|end| at <= end));
            let known = all.iter().any(|e| std::ptr::eq(*e, exchange));
            if within && exchange.outgoing && !known {
                all.push(exchange);
            }
        }
    }
    // A real program may ask several questions from one socket.
    let own = |e: &&DnsExchange| e.questions.iter().any(|q| q.name == req.target && q.rtype == req.method);
    if all.iter().any(own) {
        all.retain(own);
    }
    all
}

fn cache_name(cache: CacheKind) -> &'static str {
    match cache {
        CacheKind::BrowserHttp => "browser cache",
        CacheKind::BrowserDns => "browser's names",
        CacheKind::OsDns => "system's names",
        CacheKind::HostsFile => "hosts file",
        CacheKind::Resolver => "resolver cache",
        CacheKind::TlsSession => "TLS tickets",
        CacheKind::ConnectionPool => "open connections",
        CacheKind::Cookies => "cookies",
    }
}

fn cache_code(cache: CacheKind) -> &'static str {
    match cache {
        CacheKind::BrowserHttp => "browser-http",
        CacheKind::BrowserDns => "browser-dns",
        CacheKind::OsDns => "os-dns",
        CacheKind::HostsFile => "hosts-file",
        CacheKind::Resolver => "resolver",
        CacheKind::TlsSession => "tls-session",
        CacheKind::ConnectionPool => "connection-pool",
        CacheKind::Cookies => "cookies",
    }
}

/// One line per store that was asked, in the order asked.
pub(crate) fn cache_lines(req: &Req<'_>) -> Vec<Line> {
    let line = |(event, record): &(&rt_base::Event, &AppRecord)| {
        let AppRecord::Cache { cache, key, outcome, note, .. } = record else { return None };
        let note = if note.is_empty() { String::new() } else { format!(": {note}") };
        let (code, text) = match outcome {
            CacheOutcome::Hit { age, .. } if *cache == CacheKind::ConnectionPool => {
                ("cache.hit", format!("there is one, opened {} ago", words::about(*age)))
            }
            CacheOutcome::Hit { .. } if *cache == CacheKind::Cookies => {
                ("cache.hit", format!("goes along{note}"))
            }
            CacheOutcome::Hit { age, fresh_for } if *cache == CacheKind::HostsFile || fresh_for.0 == 0 => {
                let _ = age;
                ("cache.hit", format!("has it{note}"))
            }
            CacheOutcome::Hit { age, fresh_for } => {
                let (age, left) = (words::about(*age), words::about(*fresh_for));
                ("cache.hit", format!("has it{note} (stored {age} ago, good for {left})"))
            }
            CacheOutcome::Miss if *cache == CacheKind::HostsFile => ("cache.miss", "no entry".to_string()),
            CacheOutcome::Miss if *cache == CacheKind::ConnectionPool => {
                ("cache.miss", "none to there".to_string())
            }
            CacheOutcome::Miss if *cache == CacheKind::TlsSession => {
                ("cache.miss", "none from there, so it must be the full handshake".to_string())
            }
            CacheOutcome::Miss => ("cache.miss", "nothing there".to_string()),
            CacheOutcome::Stale { age } => (
                "cache.stale",
                format!("has it, but it is {} old: ask whether it is still right", words::about(*age)),
            ),
            CacheOutcome::Revalidated => ("cache.revalidated", format!("still right{note}")),
            CacheOutcome::Stored { .. } | CacheOutcome::NotStored => return None,
        };
        let line = Line::new(code, cache_name(*cache), text).at(event.at).with("key", key);
        Some(line.with("cache", cache_code(*cache)))
    };
    req.said.iter().filter_map(line).collect()
}

fn stored_lines(req: &Req<'_>) -> Vec<Line> {
    let mut where_to: Vec<String> = Vec::new();
    let mut how_long = None;
    for (_, record) in &req.said {
        if let AppRecord::Cache { cache, outcome: CacheOutcome::Stored { fresh_for }, .. } = record {
            where_to.push(cache_name(*cache).to_string());
            how_long = Some(*fresh_for);
        }
    }
    let Some(how_long) = how_long else { return Vec::new() };
    let text = format!("{} keep it for {}", words::list(&where_to), words::about(how_long));
    vec![Line::new("cache.stored", "remembered", text).with("fresh_for_ns", how_long.0)]
}

fn ask_lines(
    step: &Step<'_, '_>,
    req: &Req<'_>,
    exchange: &DnsExchange,
    lines: &mut Vec<Line>,
    story: &mut LookupStory,
) {
    let view = step.view;
    let Some(query) = exchange.query else { return };
    let server = view.bearer_name(exchange.server.ip());
    story.resolver = server.clone();
    let ends = Ends { from: exchange.client.to_string(), to: exchange.server.to_string() };
    let question = exchange.questions.first();
    let what = question.map_or(String::new(), |q| format!("\"{} of {}?\"", q.rtype, q.name));
    lines.push(
        Line::new("dns.query", "question", format!("{what}  {} → {} ({server})", ends.from, ends.to))
            .at(query.first.at)
            .on(view.name(req.node))
            .margin(words::after(req.begin.at, query.first.at))
            .with("id", exchange.id)
            .with("recursion_desired", exchange.recursion_desired),
    );
    story.question.get_or_insert(ends);
    lines.extend(tell::nat_lines(view, query.first.frame, 1));
    if let Some((resolver, work)) = resolver_work(view, query.first.frame) {
        let way = view.way(query.first.frame);
        if let Some(last) = way.last() {
            let text = format!("has the question, after {}", words::count(way.len() as u64, "link"));
            lines.push(
                Line::new("dns.arrive", view.name(resolver), text)
                    .deep(1)
                    .at(last.arrive)
                    .margin(words::after(req.begin.at, last.arrive)),
            );
        }
        walk_lines(view, work, lines, story);
    }
    if exchange.answer.is_none() {
        lines.push(silence(view, query.first.frame));
    }
    for (i, mark) in exchange.again.iter().enumerate() {
        let text = format!("the same question again (try {})", i + 2);
        lines.push(
            Line::new("dns.retry", "question", text).at(mark.at).margin(words::after(req.begin.at, mark.at)),
        );
    }
    if let Some(answer) = &exchange.answer {
        story.rcode = answer.rcode_name.clone();
        story.answer = answer.answers.iter().map(|r| r.data.clone()).collect();
        let text = answer_words(answer);
        lines.push(
            Line::new(answer_code(answer), "answer", text)
                .at(answer.span.last.at)
                .margin(words::after(req.begin.at, answer.span.last.at))
                .with("rcode", &answer.rcode_name)
                .with("authoritative", answer.authoritative),
        );
    }
}

/// Where a question ended that nobody answered.
fn silence(view: &View<'_>, query: FrameId) -> Line {
    let dropped = view.trace.events_of(query).find_map(|e| match e.what {
        What::Drop { reason, .. } if reason != DropReason::NotForThisStation => Some((e, reason)),
        _ => None,
    });
    let last = view.way(query).last().map(|leg| leg.to);
    match (dropped, last) {
        (Some((event, reason)), _) => {
            let text = format!("that is where the question ended: {}", reason.say());
            Line::new(reason.code(), view.name(event.node()), text).deep(1).at(event.at)
        }
        (None, Some(node)) => {
            Line::new("dns.silence", view.name(node), "got the question and says nothing").deep(1)
        }
        (None, None) => Line::new("dns.silence", "nobody", "the question never left").deep(1),
    }
}

/// The resolver's own request that serves a query's frame.
pub(crate) fn resolver_work<'v, 't>(view: &'v View<'t>, query: FrameId) -> Option<(NodeId, &'v Req<'t>)> {
    let arrived = *view.way(query).last()?;
    let read = view.read.get(&arrived.to)?;
    let conversation = read.udp.iter().find(|u| u.datagrams.iter().any(|d| d.mark.frame == query))?;
    let of_node = view.requests.range((arrived.to, ReqId(0))..=(arrived.to, ReqId(u32::MAX)));
    let work = of_node.map(|(_, r)| r).find(|r| {
        r.kind == ReqKind::Lookup
            && r.begin.at >= arrived.arrive
            && r.used().any(|u| u.remote == conversation.client)
    })?;
    Some((arrived.to, work))
}

/// The resolver's caches and its questions to other servers, in order.
fn walk_lines(view: &View<'_>, work: &Req<'_>, lines: &mut Vec<Line>, story: &mut LookupStory) {
    lines.extend(cache_lines(work).into_iter().filter(|l| l.code == "cache.hit").map(|l| l.deep(2)));
    let questions = view.children(work.node, work.id);
    if questions.is_empty() {
        return;
    }
    let resolver = view.name(work.node);
    lines.push(
        Line::new("dns.walk", resolver, "does not know it either, so it asks its way down the tree:").deep(1),
    );
    for question in questions {
        for used in question.used() {
            let exchanges = asked(view, question);
            let server = view.bearer_name(used.remote.ip());
            let answer = exchanges.iter().find_map(|e| e.answer.as_ref());
            let sent = exchanges.first().and_then(|e| e.query).map_or(question.begin.at, |q| q.first.at);
            let end = answer.map_or_else(|| question.end_at().unwrap_or(sent), |a| a.span.last.at);
            let said = match answer {
                Some(answer) => answer_words(answer),
                None => question.end.map_or("no answer".to_string(), |e| e.note.to_string()),
            };
            let walked = ReferralStory {
                server: server.clone(),
                address: used.remote.ip().to_string(),
                said: said.clone(),
                start_ns: sent.0,
                end_ns: end.0,
            };
            story.walk.push(walked);
            let code = answer.map_or("dns.silence", answer_code);
            lines.push(
                Line::new(code, server.clone(), format!("\"{said}\""))
                    .deep(2)
                    .at(end)
                    .margin(words::between(sent, end))
                    .with("address", used.remote.ip())
                    .with("question", format!("{} {}", question.target, question.method)),
            );
            lines.extend(
                steered(view, &used.local, sent..=end).map(|(why, chosen)| {
                    Line::new("dns.steered", server, why).deep(3).with("chosen", chosen)
                }),
            );
        }
    }
}

/// Why a name server gave this asker the address that it gave.
fn steered(view: &View<'_>, local: &SocketAddr, during: RangeInclusive<Time>) -> Option<(String, String)> {
    view.trace.said().find_map(|(event, record)| match record {
        AppRecord::Steered { asker, chosen, why, .. } if asker == local && during.contains(&event.at) => {
            Some((why.clone(), chosen.map_or_else(String::new, |address| address.to_string())))
        }
        _ => None,
    })
}

fn answer_code(answer: &DnsAnswer) -> &'static str {
    match answer.outcome {
        DnsOutcome::Answer => "dns.answer",
        DnsOutcome::Referral => "dns.referral",
        DnsOutcome::NoData => "dns.nodata",
        DnsOutcome::NxDomain => "dns.nxdomain",
        DnsOutcome::Truncated => "dns.truncated",
        DnsOutcome::Failure => "dns.failure",
    }
}

/// What a DNS answer says, as a person would.
pub(crate) fn answer_words(answer: &DnsAnswer) -> String {
    match answer.outcome {
        DnsOutcome::Answer => {
            let ttl = answer.answers.iter().map(|r| r.ttl).min().unwrap_or(0);
            let told: Vec<String> = answer.answers.iter().map(record_words).collect();
            format!("{}, keep it for {ttl} s", told.join(", "))
        }
        DnsOutcome::Referral => {
            let servers: Vec<&DnsRecord> = answer.authority.iter().filter(|r| r.rtype == "NS").collect();
            let zone = servers.first().map_or("", |r| r.name.as_str());
            let zone = if zone == "." { "the root" } else { zone };
            match servers.as_slice() {
                [one] => format!("{zone} is served by {}", one.data),
                [first, rest @ ..] => format!("{zone} is served by {} and {} more", first.data, rest.len()),
                [] => "ask somebody else".to_string(),
            }
        }
        DnsOutcome::NoData => "the name exists, but has no record of that type".to_string(),
        DnsOutcome::NxDomain => "there is no such name (NXDOMAIN)".to_string(),
        DnsOutcome::Truncated => "too long for one packet: ask again over TCP".to_string(),
        DnsOutcome::Failure => format!("sorry: {}", answer.rcode_name),
    }
}

fn record_words(record: &DnsRecord) -> String {
    match record.rtype.as_str() {
        "A" | "AAAA" => record.data.clone(),
        "CNAME" => format!("{} is really {}", record.name, record.data),
        other => format!("{other} {}", record.data),
    }
}

fn retry_lines(req: &Req<'_>, start: Time) -> Vec<Line> {
    let line = |(event, record): &(&rt_base::Event, &AppRecord)| match record {
        AppRecord::Retry { attempt, why, .. } => {
            let text = format!("{why}: try {attempt}");
            Some(Line::new("dns.retry", "again", text).at(event.at).margin(words::after(start, event.at)))
        }
        _ => None,
    };
    req.said.iter().filter_map(line).collect()
}

fn conclusion(req: &Req<'_>, story: &LookupStory) -> Line {
    match req.end {
        Some(end) if end.ok => {
            let found =
                if story.answer.is_empty() { end.note.to_string() } else { words::list(&story.answer) };
            Line::new("dns.result", "so", format!("{} is {found}", req.target)).at(end.event.at)
        }
        Some(end) => Line::new("dns.failed", "so", end.note.to_string()).at(end.event.at),
        None => Line::new("dns.open", "so", "the run ended before an answer came"),
    }
}

/// An address in words: with the machine that bears it.
pub(crate) fn named(view: &View<'_>, address: IpAddr) -> String {
    match view.bearer(address) {
        Some(node) => format!("{address} ({})", view.name(node)),
        None => address.to_string(),
    }
}
