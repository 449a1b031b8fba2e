//! Calls of gRPC: each on its stream, what the server's workers did with it, how it ended and what that saved.
//!
//! Streams, messages, deadlines and statuses are read from the bytes; queue and workers are the server's own words
//! ([`AppRecord::Work`]), joined by the client's address and the number of the request on its connection. Behind a proxy the call is
//! looked for where the proxy's own request went.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rt_base::{AppRecord, Event, Nanos, NodeId, ReqId, Time, WorkStep, WorkStop, grpc_status, grpc_timeout};

use super::http::{Place, exchange_of};
use super::model::{Chapter, Line};
use super::tell::Step;
use super::upstream::UpstreamStory;
use super::view::{Req, View};
use super::{relay, upstream, upstream_lines, words};
use crate::read::{GrpcCall, GrpcMessage, HttpExchange, Side, show_fields};

const EXPLAIN: &str = "gRPC calls a function on another machine. Each call is a stream of one HTTP/2 connection: a POST whose body is \
                       messages, each behind five bytes (is it compressed, how long is it). How it ended stands behind the last one, \
                       in the trailers (grpc-status). Streams do not wait for each other; workers at the server are another matter.";

/// Calls that are told with all that happened to them.
const TOLD: usize = 10;
/// Messages of a stream that are told one by one.
const MESSAGES: usize = 12;
/// Machines in a row that pass a call on.
const MOST_HOPS: usize = 8;

/// Whether a request is a series of calls.
pub(crate) fn is_series(req: &Req<'_>) -> bool {
    req.method == "grpc"
}

/// Whether a request is one of such a series.
pub(crate) fn is_call(step: &Step<'_, '_>, req: &Req<'_>) -> bool {
    step.requests.iter().any(|r| r.id == req.parent && is_series(r))
}

/// What servers said of their work: by machine, client, and the request's number on its connection.
type Works<'t> = BTreeMap<(NodeId, SocketAddr, u32), Vec<(&'t Event, &'t WorkStep)>>;

fn works<'t>(view: &View<'t>) -> Works<'t> {
    let mut all = Works::new();
    for (event, record) in view.trace.said() {
        if let AppRecord::Work { downstream, downstream_ordinal, step } = record {
            all.entry((event.node(), *downstream, *downstream_ordinal)).or_default().push((event, step));
        }
    }
    all
}

/// One call with everything known of it.
struct Call<'v, 't> {
    number: usize,
    req: &'v Req<'t>,
    /// Its connection, if it came to be sent.
    conn: Option<usize>,
    /// What proxies on its way did.
    proxies: Option<UpstreamStory>,
    exchange: Option<&'v HttpExchange>,
    grpc: Option<&'v GrpcCall>,
    server: String,
    work: Vec<(&'t Event, &'t WorkStep)>,
}

/// A series of calls, together.
#[derive(Default)]
struct Sums {
    worked: Nanos,
    saved: Nanos,
    in_vain: Nanos,
    queued: u64,
    longest: (Nanos, u32),
}

/// The chapter of a series of calls.
pub(crate) fn tell(step: &Step<'_, '_>, req: &Req<'_>, places: &BTreeMap<ReqId, Place>) -> Chapter {
    let calls = calls(step, req, places);
    let start = calls.first().map_or(req.begin.at, |c| c.begun());
    let mut lines: Vec<Line> = connections(&calls).into_iter().collect();
    let told = chosen(&calls);
    for call in calls.iter().filter(|c| told.contains(&c.number)) {
        lines.extend(call.lines(step.view, start));
    }
    if told.len() < calls.len() {
        let left = words::count((calls.len() - told.len()) as u64, "more call");
        lines.push(Line::new("grpc.more", "", format!("and {left}; `follow` and story.json have all")));
    }
    lines.extend(overtaken(&calls));
    lines.extend(sums(&calls));
    let failed = calls.iter().filter(|c| c.req.end.is_some_and(|e| !e.ok)).count();
    let remark = format!("{} of {} OK", calls.len() - failed, calls.len());
    let mut chapter = step.chapter_of(req, lines, ("grpc", "call", EXPLAIN));
    (chapter.start_ns, chapter.remark) = (start.0, remark);
    chapter
}

fn calls<'v, 't>(
    step: &Step<'v, 't>,
    series: &Req<'t>,
    places: &BTreeMap<ReqId, Place>,
) -> Vec<Call<'v, 't>> {
    let view = step.view;
    let works = works(view);
    let of_series = step.requests.iter().copied().filter(|r| r.parent == series.id && r.method == "POST");
    let one = |(at, req): (usize, &'v Req<'t>)| {
        let place = places.get(&req.id).copied();
        let exchange = place.map(|p| exchange_of(view, p));
        let grpc = exchange.and_then(|(tcp, e)| {
            tcp.http2.as_ref().and_then(|h2| h2.calls.iter().find(|c| c.stream == e.stream))
        });
        let (server, work) = place.and_then(|p| worked(view, &works, p)).unwrap_or_default();
        let exchange = exchange.map(|(_, e)| e);
        let proxies = place.and_then(|place| upstream::tell(view, place));
        Call { number: at + 1, req, conn: place.map(|p| p.conn), proxies, exchange, grpc, server, work }
    };
    of_series.enumerate().map(one).collect()
}

/// The machine that worked for the call at `place`, and what it said of it.
fn worked<'t>(
    view: &View<'t>,
    works: &Works<'t>,
    place: Place,
) -> Option<(String, Vec<(&'t Event, &'t WorkStep)>)> {
    let mut at = place;
    for _ in 0..MOST_HOPS {
        let (end, there) = relay::at_server(view, at)?;
        if let Some(said) = works.get(&(end.node, view.tcp(end).client, there.ordinal)) {
            // The same address may have had another connection before.
            let came = there.request.head.readable.at;
            let its = said.iter().filter(|(event, _)| event.at >= came).copied().collect();
            return Some((view.name(end.node), its));
        }
        at = upstream::behind(view, relay::way(view, at).last().copied()?)?;
    }
    None
}

impl Call<'_, '_> {
    fn begun(&self) -> Time {
        self.exchange.map_or(self.req.begin.at, |e| e.request.head.first.at)
    }

    fn stream(&self) -> u32 {
        self.exchange.map_or(0, |e| e.stream)
    }

    /// When it was answered as it was asked.
    fn answered(&self) -> Option<Time> {
        self.grpc?.status.as_ref().filter(|s| s.code == 0).map(|s| s.mark.at)
    }

    fn lines(&self, view: &View<'_>, start: Time) -> Vec<Line> {
        let after = |at: Time| words::after(start, at);
        let Some(exchange) = self.exchange else {
            let note = self.req.end.map_or("the run ended first", |e| e.note);
            let at = self.req.end_at().unwrap_or(self.req.begin.at);
            let text = format!("never sent: {note}");
            return vec![
                Line::new("grpc.unsent", format!("call {}", self.number), text).at(at).margin(after(at)),
            ];
        };
        let method = self.grpc.map_or(exchange.request.target.as_str(), |g| g.method.as_str());
        let timeout = self.grpc.and_then(|g| g.timeout.as_deref());
        let deadline = timeout.map_or(String::new(), |t| match grpc_timeout(t) {
            Some(span) => format!(", to be answered within {} (grpc-timeout: {t})", words::ms(span)),
            None => format!(", grpc-timeout: {t}"),
        });
        let mut lines = vec![
            Line::new(
                "grpc.call",
                format!("call {} →", self.number),
                format!("{method} on stream {}{deadline}", exchange.stream),
            )
            .at(self.begun())
            .margin(after(self.begun()))
            .with("stream", exchange.stream)
            .with("deadline_ns", timeout.and_then(grpc_timeout).map_or(0, |span| span.0)),
        ];
        if let Some(proxies) = &self.proxies {
            lines.extend(upstream_lines::lines(proxies, super::forward::Told::default(), start));
        }
        let mut inner: Vec<(Time, Line)> = self.messages(start);
        inner.extend(self.work.iter().map(|(event, step)| {
            (event.at, self.work_line(step).at(event.at).on(&self.server).margin(after(event.at)))
        }));
        inner.extend(self.end(view, start));
        inner.sort_by_key(|(at, _)| *at);
        lines.extend(inner.into_iter().map(|(_, line)| line.deep(1)));
        lines
    }

    fn messages(&self, start: Time) -> Vec<(Time, Line)> {
        let Some(grpc) = self.grpc else { return Vec::new() };
        let line = |m: &GrpcMessage| {
            let (code, label) = match m.from {
                Side::Client => ("grpc.message_out", "message →"),
                Side::Server => ("grpc.message_in", "message ←"),
            };
            let packed = if m.compressed { ", compressed" } else { "" };
            let text = format!("{}{packed} {}", words::bytes(u64::from(m.len)), show_fields(&m.fields));
            let at = m.span.readable.at;
            let line = Line::new(code, label, text.trim_end()).at(at).margin(words::after(start, at));
            (at, line.with("bytes", m.len))
        };
        let mut lines: Vec<(Time, Line)> = grpc.messages.iter().take(MESSAGES).map(line).collect();
        let left = (grpc.count[0] + grpc.count[1]).saturating_sub(lines.len() as u64);
        if left > 0 {
            let at = lines.last().map_or(start, |(at, _)| *at);
            lines.push((at, Line::new("grpc.messages", "", words::count(left, "more message"))));
        }
        let problem = grpc.problem.iter().map(|why| (self.begun(), Line::new("grpc.problem", "", why)));
        lines.extend(problem);
        lines
    }

    fn work_line(&self, step: &WorkStep) -> Line {
        let who = self.server.clone();
        let how = |why: &WorkStop| match why {
            WorkStop::Gone => "the call is gone",
            WorkStop::Deadline => "its deadline has passed",
        };
        let line = |code: &str, text: String| Line::new(code, who.clone(), text);
        match step {
            WorkStep::Queued { ahead } => {
                let place =
                    if *ahead == 0 { "next in line".to_owned() } else { format!("{ahead} before it") };
                line("grpc.queued", format!("no worker is free: it waits, {place}")).with("ahead", ahead)
            }
            WorkStep::Refused { waiting } => {
                let calls = words::count(u64::from(*waiting), "call");
                line("grpc.refused", format!("no room in the queue: {calls} wait already"))
                    .with("waiting", waiting)
            }
            WorkStep::Begun { worker, units, takes } => {
                let units_text = words::count(u64::from(*units), "unit");
                let text = format!("worker {worker} begins: {units_text}, {}", words::ms(*takes));
                line("grpc.begun", text).with("worker", worker).with("units", units)
            }
            WorkStep::Done { worked } => {
                line("grpc.done", format!("done after {}", words::ms(*worked))).with("worked_ns", worked.0)
            }
            WorkStep::Stopped { worked, saved, why } => {
                let (did, spared) = (words::ms(*worked), words::ms(*saved));
                let text = format!("STOPS after {did} of work: {}; {spared} of work are saved", how(why));
                line("grpc.stopped", text).with("worked_ns", worked.0).with("saved_ns", saved.0)
            }
            WorkStep::Wasted { worked, in_vain } => {
                let (did, vain) = (words::ms(*worked), words::ms(*in_vain));
                let text = format!("done after {did}; nobody waits: {vain} of work were in vain");
                line("grpc.wasted", text).with("worked_ns", worked.0).with("in_vain_ns", in_vain.0)
            }
            WorkStep::Left { saved, why } => {
                let text = format!(
                    "takes it out of the queue: {}; {} of work are saved",
                    how(why),
                    words::ms(*saved)
                );
                line("grpc.left", text).with("saved_ns", saved.0)
            }
        }
    }

    /// How it ended, on the wire and for the caller.
    fn end(&self, view: &View<'_>, start: Time) -> Vec<(Time, Line)> {
        let mut lines = Vec::new();
        if let Some(status) = self.grpc.and_then(|g| g.status.as_ref()) {
            let why = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
            let only = if status.trailers_only { " (no message, trailers only)" } else { "" };
            let text = format!("{} ({}){why}{only}", grpc_status(status.code), status.code);
            let line = Line::new("grpc.status", "status ←", text).with("code", status.code);
            lines.push((status.mark.at, line));
        } else if let Some(response) = self.exchange.and_then(|e| e.response.as_ref())
            && response.status != 200
        {
            let text = format!("HTTP {}: no gRPC status", response.status);
            lines.push((response.head.readable.at, Line::new("grpc.http", "answer ←", text)));
        }
        if let Some(reset) = self.exchange.and_then(|e| e.reset) {
            let who = match reset.from {
                Side::Client => view.name(self.req.node),
                Side::Server => "the server".to_owned(),
            };
            let name = match reset.code {
                0 => "NO_ERROR".to_owned(),
                7 => "REFUSED_STREAM".to_owned(),
                8 => "CANCEL".to_owned(),
                code => format!("code {code}"),
            };
            let note = self.req.end.filter(|e| !e.ok).map_or(String::new(), |e| format!(": {}", e.note));
            let text = format!("{who} sends RST_STREAM({name}) on stream {}{note}", self.stream());
            lines.push((reset.mark.at, Line::new("grpc.reset", "ends", text).with("code", reset.code)));
        }
        for (at, line) in &mut lines {
            *line = std::mem::take(line).at(*at).margin(words::after(start, *at));
        }
        lines
    }
}

/// How the calls share connections.
fn connections(calls: &[Call<'_, '_>]) -> Option<Line> {
    let conns: BTreeSet<usize> = calls.iter().filter_map(|c| c.conn).collect();
    let streams: Vec<String> =
        calls.iter().filter(|c| c.conn.is_some()).map(|c| c.stream().to_string()).collect();
    let (first, last) = (streams.first()?, streams.last()?);
    let on = if streams.len() > 8 { format!("{first} to {last}") } else { words::list(&streams) };
    let over = match conns.len() {
        1 => "one connection".to_owned(),
        n => format!("{n} connections"),
    };
    let sent = words::count(streams.len() as u64, "call");
    let text =
        format!("{sent} over {over}, on {} {on}", if streams.len() == 1 { "stream" } else { "streams" });
    Some(
        Line::new("grpc.streams", "streams", text)
            .with("connections", conns.len())
            .with("calls", streams.len()),
    )
}

/// The calls that are told: the first, those that failed, and those that took longest.
fn chosen(calls: &[Call<'_, '_>]) -> BTreeSet<usize> {
    let mut by_interest: Vec<&Call<'_, '_>> = calls.iter().collect();
    let took = |c: &Call<'_, '_>| c.req.end_at().map_or(Nanos(u64::MAX), |end| end.since(c.req.begin.at));
    by_interest.sort_by_key(|c| (c.req.end.is_some_and(|e| e.ok), std::cmp::Reverse(took(c)), c.number));
    let few = calls.len() <= TOLD;
    let most = by_interest.iter().take(if few { TOLD } else { TOLD / 2 }).map(|c| c.number);
    most.chain(calls.iter().take(TOLD / 2).map(|c| c.number)).collect()
}

/// Calls that were asked later and answered earlier than another one: what streams are for.
fn overtaken(calls: &[Call<'_, '_>]) -> Option<Line> {
    let past = |slow: &Call<'_, '_>| {
        let end = slow.answered().unwrap_or(Time::MAX);
        let later = |c: &&Call<'_, '_>| {
            c.conn == slow.conn && c.stream() > slow.stream() && c.answered().is_some_and(|at| at < end)
        };
        calls.iter().filter(later).count()
    };
    let slow =
        calls.iter().filter(|c| c.conn.is_some()).max_by_key(|c| (past(c), std::cmp::Reverse(c.number)))?;
    let count = past(slow);
    if count == 0 {
        return None;
    }
    let text = format!(
        "{} asked later than stream {} and answered before it: a slow stream holds up no other",
        words::count(count as u64, "call"),
        slow.stream()
    );
    Some(Line::new("grpc.overtaken", "overtaken", text).with("stream", slow.stream()).with("calls", count))
}

/// What the workers did, in all.
fn sums(calls: &[Call<'_, '_>]) -> Vec<Line> {
    let mut all = Sums::default();
    for call in calls {
        let mut since = None;
        for (event, step) in &call.work {
            match step {
                WorkStep::Queued { .. } => {
                    since = Some(event.at);
                    all.queued += 1;
                }
                WorkStep::Begun { .. } | WorkStep::Left { .. } => {
                    let waited = since.take().map_or(Nanos::ZERO, |at: Time| event.at.since(at));
                    all.longest = all.longest.max((waited, call.stream()));
                }
                _ => {}
            }
            match step {
                WorkStep::Done { worked } => all.worked += *worked,
                WorkStep::Stopped { worked, saved, .. } => {
                    (all.worked, all.saved) = (all.worked + *worked, all.saved + *saved);
                }
                WorkStep::Left { saved, .. } => all.saved += *saved,
                WorkStep::Wasted { worked, in_vain } => {
                    (all.worked, all.in_vain) = (all.worked + *worked, all.in_vain + *in_vain);
                }
                _ => {}
            }
        }
    }
    let server = calls.iter().find(|c| !c.server.is_empty()).map_or("", |c| c.server.as_str());
    let mut lines = Vec::new();
    if all.queued > 0 {
        let (longest, stream) = all.longest;
        let text = format!(
            "{} waited for a worker, the longest {} (stream {stream}): the streams were free, the workers were not",
            words::count(all.queued, "call"),
            words::ms(longest)
        );
        lines.push(
            Line::new("grpc.queue", "queue", text).with("calls", all.queued).with("longest_ns", longest.0),
        );
    }
    if all.worked > Nanos::ZERO || all.saved > Nanos::ZERO {
        let mut text = format!("{server} worked {}", words::ms(all.worked));
        if all.saved > Nanos::ZERO {
            text.push_str(&format!("; {} were saved by stopping", words::ms(all.saved)));
        }
        if all.in_vain > Nanos::ZERO {
            text.push_str(&format!("; {} of it in vain", words::ms(all.in_vain)));
        }
        lines.push(
            Line::new("grpc.work", "work", text)
                .with("worked_ns", all.worked.0)
                .with("saved_ns", all.saved.0)
                .with("in_vain_ns", all.in_vain.0),
        );
    }
    lines
}

/// Why calls failed, in sentences: the first few.
pub(crate) fn why(step: &Step<'_, '_>) -> Vec<Line> {
    let failed = step.requests.iter().filter(|r| r.end.is_some_and(|e| !e.ok) && is_call(step, r));
    let line = |req: &&Req<'_>| {
        let siblings = step.requests.iter().filter(|r| r.parent == req.parent && r.method == "POST");
        let number = siblings.take_while(|r| r.id != req.id).count() + 1;
        let end = req.end?;
        let text = format!("call {number} ended with {}", end.note);
        let at = end.event.at;
        Some(Line::new("grpc.failed", "why", text).at(at).margin(words::after(step.start(), at)))
    };
    failed.filter_map(line).take(3).collect()
}
