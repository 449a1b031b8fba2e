//! The story: what a person did, and everything that came of it, in the order in which it happened.
//!
//! Made after the run from three sources: the events (who moved what, and because of what), the bytes that the machines'
//! interfaces saw (read by [`crate::read`]), and the few things that only applications know. The result is data
//! ([`Story`], versioned, with a JSON Schema); [`crate::render`] makes text of it. Not for answering questions about one
//! packet ([`crate::follow`]).
//!
//! Deliberate simplification: what happened on other machines is told where a step's own request led there; background
//! work of machines that no step touched is in the events, not in the story.

mod again;
mod calls;
mod carried;
mod causes;
mod connect;
mod echo;
mod files;
mod forged;
mod forward;
mod grpc;
mod guards;
mod http;
mod index;
mod join;
mod life;
mod listeners;
mod lookup;
mod measure;
mod model;
mod navigation;
mod outcome;
mod over;
mod packets;
mod prologue;
mod relay;
pub(crate) mod room;
mod rounds;
mod saved;
mod shared_cache;
mod silence;
mod spent;
mod ssh;
mod tables;
mod tell;
mod tls;
mod trouble;
mod unanswered;
mod upstream;
mod upstream_lines;
pub(crate) mod view;
mod waits;
mod ways;
mod websocket;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet};

use rt_base::{Figure, FigureUnit, FrameId, Nanos, ReqId, ReqKind, Time, What};

pub use model::{
    Alternative, BudgetStory, Chapter, ConnectionReport, ConnectionStory, Ends, Field, FigureStory, HopStory,
    Line, LookupStory, PacketStory, PhaseStory, ReferralStory, RequestStory, STORY_VERSION, Saved,
    SliceStory, StateStory, StepStory, Story, Timings, TotalStory,
};
pub use over::OverStory;
pub use room::Room;
pub use rounds::answered_by;
pub use shared_cache::CacheStory;
pub use tables::{NatRow, NatTable};
pub use upstream::{CallerStory, ProxyStepStory, UpstreamStory};

pub(crate) use connect::story as connection;
pub(crate) use packets::carries;
pub(crate) use tell::did;

use crate::Trace;
use tell::Step;
use view::{Req, View};

/// Tells the story of a run.
#[must_use]
pub fn tell(trace: &Trace) -> Story {
    let view = View::new(trace);
    let mut steps: Vec<StepStory> = Vec::new();
    let mut requests = 0;
    for step in tell::steps_of(&view) {
        let mut story = step_story(&step, &mut requests);
        story.saved = saved::tell(&steps, &story);
        steps.push(story);
    }
    let changed = |e: &rt_base::Event| trouble::world_changed(&view, e).or_else(|| relay::health(&view, e));
    Story {
        version: STORY_VERSION,
        scenario: trace.map.scenario.clone(),
        about: trace.map.about.clone(),
        file: trace.map.file.clone(),
        seed: trace.map.seed,
        complete: trace.complete(),
        prologue: prologue::tell(&view),
        steps,
        timeline: trace.events.iter().filter_map(changed).collect(),
        nat: tables::tell(&view),
    }
}

/// The JSON Schema of `story.json`.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Story).to_value()
}

/// The frames of a request of the story, in the order of their numbers in `follow`, without a limit.
pub(crate) fn frames_of_request(view: &View<'_>, number: u32) -> Option<Vec<FrameId>> {
    let mut counted = 0;
    for step in tell::steps_of(view) {
        let places = http::places(&step);
        for req in counted_requests(&step) {
            counted += 1;
            if counted == number {
                return Some(packets::frames_of(&step, req, places.get(&req.id).copied()));
            }
        }
    }
    None
}

/// Requests that a person would count: not the look-ups and redirect-free inner work that belong to another request.
fn counted_requests<'s, 't>(step: &'s Step<'_, 't>) -> Vec<&'s Req<'t>> {
    let counts = |r: &&Req<'t>| match r.kind {
        ReqKind::Page | ReqKind::Subresource | ReqKind::Probe => true,
        ReqKind::Lookup => r.parent == ReqId(0),
        ReqKind::ResolverQuery | ReqKind::Upstream => false,
    };
    step.requests.iter().copied().filter(counts).collect()
}

fn step_story(step: &Step<'_, '_>, requests: &mut u32) -> StepStory {
    let view = step.view;
    let facts = view.trace.map.steps.get(step.index as usize);
    let conns = conns_of(step);
    let places = http::places(step);
    let stories = request_stories(step, &places, &conns, requests);
    let Chapters { told: mut chapters, summed, lookups } = chapters(step, &conns, &places, &stories);
    let mut concerned = with_upstreams(view, &conns);
    concerned.extend(view.carriers(&concerned));
    let budget = spent::tell(step, &[chapters.as_slice(), summed.as_slice()].concat());
    // After the budget, whose parts are the other chapters.
    if let Some(overview) = navigation::tell(step) {
        chapters.insert(0, overview);
    }
    let mut trouble = trouble::tell(step, &concerned);
    trouble::cost(&mut trouble, &budget, step);
    let waits = waits(step, &conns);
    let end = step.end;
    let ok = end.is_some_and(|e| e.ok);
    StepStory {
        number: step.index + 1,
        text: step.text.to_string(),
        origin: facts.map_or_else(String::new, |f| f.origin.clone()),
        node: view.name(step.node),
        ended: end.is_some(),
        ok,
        summary: end.map_or("the run ended first", |e| e.summary).to_string(),
        outcome: if ok { Vec::new() } else { outcome::tell(step, &conns, &trouble) },
        figures: step.figures.iter().map(figure).collect(),
        start_ns: step.start().0,
        end_ns: step.last.0,
        duration_ns: step.last.since(step.start()).0,
        budget,
        chapters,
        requests: stories,
        lookups,
        connections: conns.iter().map(|&c| connect::story(view, c)).collect(),
        waits,
        trouble: if is_probing(step) { Vec::new() } else { trouble },
        saved: None,
    }
}

fn figure(figure: &Figure) -> FigureStory {
    let value = figure.value;
    let (unit, text) = match figure.unit {
        FigureUnit::Nanos => ("ns", words::ms(Nanos(value))),
        FigureUnit::Count => ("count", value.to_string()),
        FigureUnit::Bytes => ("bytes", words::bytes(value)),
        FigureUnit::BitsPerSecond => ("bit/s", words::rate(value)),
        FigureUnit::Ppm => ("ppm", format!("{}.{:04} %", value / 10_000, value % 10_000)),
    };
    FigureStory { name: figure.name.clone(), value, unit: unit.into(), text }
}

/// What TCP waited for on these connections during a step.
fn waits(step: &Step<'_, '_>, conns: &[usize]) -> Vec<Line> {
    let asked =
        |&conn: &usize| again::Asked { conn, after: step.start(), until: step.last, zero: step.start() };
    let mut all: Vec<(Time, Line)> = conns.iter().flat_map(|c| waits::tell(step.view, asked(c))).collect();
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, line)| line).collect()
}

/// Why a segment was sent again, as "what went wrong" has it; `None` for one that was not.
pub(crate) fn why_again(view: &View<'_>, event: &rt_base::Event) -> Option<String> {
    let What::TcpSend(record) = &event.what else { return None };
    let (conn, _) = view.conn_of(event.frame).filter(|_| trouble::goes_again(record))?;
    let asked = again::Asked { conn, after: Time::ZERO, until: Time::MAX, zero: Time::ZERO };
    let lines = again::tell(view, asked, &mut BTreeSet::new());
    lines
        .into_iter()
        .map(|(_, l)| l)
        .find(|l| l.data.get("frame") == Some(&format!("{:?}", event.frame)))
        .map(|l| l.text)
}

/// A connection by itself, whole: what it waited for, and what went wrong with it.
pub(crate) fn report(view: &View<'_>, conn: usize) -> ConnectionReport {
    let zero = view.tcp(view.conns[conn].client).segments.first().map_or(Time::ZERO, |s| s.mark.at);
    let asked = again::Asked { conn, after: Time::ZERO, until: Time::MAX, zero };
    let mut trouble = again::tell(view, asked, &mut BTreeSet::new());
    trouble.sort_by_key(|(at, _)| *at);
    ConnectionReport {
        connection: connect::story(view, conn),
        waits: waits::tell(view, asked).into_iter().map(|(_, line)| line).collect(),
        trouble: trouble.into_iter().map(|(_, line)| line).collect(),
    }
}

/// Whether a step is about what the network throws away.
fn is_probing(step: &Step<'_, '_>) -> bool {
    step.requests.iter().any(|req| measure::is_probing(req))
}

/// Connections told of that a machine opened during a step and that no request names: more of them are a flood.
const MOST_OPENED: usize = 40;

/// The connections of a step: those that its requests used, and those that its machine opened meanwhile.
fn conns_of(step: &Step<'_, '_>) -> Vec<usize> {
    let view = step.view;
    let mut all: BTreeSet<usize> = BTreeSet::new();
    let mut causes = causes::Causes::new(view);
    // What an attacker forges looks like connections, and is none.
    let forged = step.requests.iter().any(|r| calls::is_forged(r));
    for (number, conn) in view.conns.iter().enumerate().filter(|_| !forged) {
        let syn = view.tcp(conn.client).syn.as_ref().map(|s| s.mark);
        // The next step may begin in the instant in which this one ends.
        let sent = syn.and_then(|mark| view.trace.events_of(mark.frame).next());
        let meanwhile = syn.is_some_and(|mark| mark.at >= step.start() && mark.at <= step.last)
            && sent.is_none_or(|event| step.covers(event));
        let opened = conn.client.node == step.node && meanwhile && !is_probing(step);
        // Steps of one machine may overlap: each has its own.
        let mut another =
            || sent.and_then(|e| Some((e, causes.step_of(e.frame).filter(|by| *by != step.index)?)));
        if opened && another().is_some_and(|(event, by)| step.is_told_by(by, event)) {
            continue;
        }
        // A tunnel's own connection is no doing of the step.
        if opened && all.len() < MOST_OPENED && !view.carries_tunnel(number) {
            all.insert(number);
        }
    }
    for req in &step.requests {
        all.extend(req.used().filter_map(|used| view.conn_used(req.node, &used)));
    }
    let mut all: Vec<usize> = all.into_iter().collect();
    all.extend(ssh::behind(view, &all));
    all.sort_by_key(|&c| view.tcp(view.conns[c].client).syn.as_ref().map(|s| s.mark.at));
    all
}

/// With the connections that the servers among them opened: a proxy's to its upstreams.
fn with_upstreams(view: &View<'_>, conns: &[usize]) -> Vec<usize> {
    let conns = &relay::with_behind(view, conns);
    let servers: BTreeSet<_> = conns.iter().filter_map(|&c| view.conns[c].server.map(|e| e.node)).collect();
    let opened = servers.iter().flat_map(|node| view.index.opened_by(*node));
    let concerned = opened.copied().filter(|&c| !conns.contains(&c) && relay::concerns(view, conns, c));
    let upstream: BTreeSet<usize> = concerned.collect();
    conns.iter().copied().chain(upstream).collect()
}

fn request_stories(
    step: &Step<'_, '_>,
    places: &BTreeMap<ReqId, http::Place>,
    conns: &[usize],
    numbers: &mut u32,
) -> Vec<RequestStory> {
    let mut known: BTreeMap<ReqId, u32> = BTreeMap::new();
    let mut stories = Vec::new();
    for req in counted_requests(step) {
        *numbers += 1;
        known.insert(req.id, *numbers);
        let mut story = plain_request(step, req);
        story.number = *numbers;
        story.parent = known.get(&req.parent).copied();
        let place = places.get(&req.id).copied();
        if let Some(place) = place {
            http::fill(step, req, place, &mut story);
            story.connection =
                conns.iter().position(|c| *c == place.conn).and_then(|i| u32::try_from(i).ok());
        }
        (story.packets, story.packets_left_out) = packets::tell(step, req, place);
        stories.push(story);
    }
    slack(&mut stories);
    stories
}

fn plain_request(step: &Step<'_, '_>, req: &Req<'_>) -> RequestStory {
    let end = req.end;
    let kind = match req.kind {
        ReqKind::Page => "page",
        ReqKind::Subresource => "subresource",
        ReqKind::Lookup => "lookup",
        _ => "probe",
    };
    RequestStory {
        kind: kind.into(),
        method: req.method.to_string(),
        target: req.target.to_string(),
        start_ns: req.begin.at.0,
        end_ns: req.end_at().unwrap_or(step.last).0,
        status: end.map_or(0, |e| e.status),
        ok: end.is_some_and(|e| e.ok),
        note: end.map_or("the run ended first", |e| e.note).to_string(),
        protocol: if req.kind == ReqKind::Lookup { "DNS".into() } else { String::new() },
        body_bytes: end.map_or(0, |e| e.body_bytes),
        cache: http::cache_word(req).to_string(),
        ..RequestStory::default()
    }
}

/// Files of one page that were there before its last one could have come later.
fn slack(stories: &mut [RequestStory]) {
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    for story in stories.iter() {
        if let Some(parent) = story.parent {
            let end = last.entry(parent).or_default();
            *end = (*end).max(story.end_ns);
        }
    }
    for story in stories.iter_mut() {
        let end = story.parent.and_then(|p| last.get(&p).copied());
        story.slack_ns = end.map_or(0, |e| e.saturating_sub(story.end_ns));
    }
}

/// What a step's chapters came to.
struct Chapters {
    told: Vec<Chapter>,
    /// Of requests that are like others: their times count, and they are summed up.
    summed: Vec<Chapter>,
    lookups: Vec<LookupStory>,
}

fn chapters(
    step: &Step<'_, '_>,
    conns: &[usize],
    places: &BTreeMap<ReqId, http::Place>,
    stories: &[RequestStory],
) -> Chapters {
    let view = step.view;
    let (mut chapters, mut lookups) = (Vec::new(), Vec::new());
    for req in step.requests.iter().filter(|r| r.kind == ReqKind::Lookup) {
        let (chapter, story) = lookup::tell(step, req);
        // A file's look-up that a cache answered is no news.
        let for_file = step.requests.iter().any(|r| r.id == req.parent && r.kind == ReqKind::Subresource);
        if !for_file || story.question.is_some() {
            chapters.push(chapter);
        }
        lookups.push(story);
    }
    let inner = conns_of_files(step, places);
    let opened = |c: &&usize| {
        let syn = view.tcp(view.conns[**c].client).syn.as_ref().map(|s| s.mark.at);
        syn.is_some_and(|at| at >= step.start())
    };
    let told = calls::told(step, conns);
    let (mut rounds, mut summed) = (rounds::Rounds::default(), Vec::new());
    for &conn in told.iter().filter(opened).filter(|c| !inner.contains(c)) {
        chapters.push(connect::tell(step, conn));
        chapters.extend(tls::tell(step, conn));
        chapters.extend(ssh::conversation(step, conn));
    }
    for req in &step.requests {
        match (req.kind, places.get(&req.id)) {
            (ReqKind::Page, place) => {
                let into = if rounds.tells(req) { &mut chapters } else { &mut summed };
                into.extend(files::url(step, req));
                into.extend(place.map(|p| http::tell(step, req, *p)));
                into.extend(files::tell(step, req, stories, places));
                into.extend(files::page(step, req));
            }
            (ReqKind::Probe, _) if ssh::is_one(req) => chapters.extend(ssh::configuration(req)),
            (ReqKind::Probe, _) if measure::is_one(req) => chapters.push(measure::tell(step, req)),
            (ReqKind::Probe, _) if calls::is_calls(req) => {
                let opened: Vec<usize> = conns.iter().filter(opened).copied().collect();
                chapters.push(calls::tell(step, req, &opened));
            }
            (ReqKind::Probe, _) if grpc::is_series(req) => chapters.push(grpc::tell(step, req, places)),
            (ReqKind::Probe, _) if grpc::is_call(step, req) => {}
            (ReqKind::Probe, place) if websocket::is_one(req) => {
                chapters.extend(place.map(|p| http::tell(step, req, *p)));
                chapters.extend(place.and_then(|p| websocket::tell(step, req, *p)));
            }
            (ReqKind::Probe, _) if calls::is_forged(req) => chapters.push(calls::forged(step, req)),
            (ReqKind::Probe, _) if req.used().next().is_none() && !opened_within(step, req, conns) => {
                chapters.push(echo::tell(step, req));
            }
            _ => {}
        }
    }
    chapters.sort_by_key(|c| (c.start_ns, c.code != "url"));
    chapters.extend(rounds::rest(step, conns, stories, &summed));
    chapters.extend(connect::close(step, &told));
    Chapters { told: chapters, summed, lookups }
}

/// Whether a connection was opened while a request was under way.
fn opened_within(step: &Step<'_, '_>, req: &Req<'_>, conns: &[usize]) -> bool {
    let end = req.end_at().unwrap_or(step.last);
    conns.iter().any(|&c| {
        let syn = step.view.tcp(step.view.conns[c].client).syn.as_ref().map_or(Time::MAX, |s| s.mark.at);
        syn >= req.begin.at && syn <= end
    })
}

/// Connections opened by the files of a page only: told with the files.
fn conns_of_files(step: &Step<'_, '_>, places: &BTreeMap<ReqId, http::Place>) -> BTreeSet<usize> {
    let of_kind = |page: bool| {
        let reqs = step.requests.iter().filter(move |r| (r.kind != ReqKind::Subresource) == page);
        reqs.filter_map(|r| places.get(&r.id).map(|p| p.conn)).collect::<BTreeSet<usize>>()
    };
    let pages = of_kind(true);
    of_kind(false).into_iter().filter(|c| !pages.contains(c)).collect()
}
