//! The time budget in the story's words: slices with names and phases, sums by cause and by phase.

use std::collections::BTreeMap;

use rt_base::{TimerKind, Wait};

use super::model::{BudgetStory, Chapter, PhaseStory, SliceStory, TotalStory};
use super::tell::Step;
use super::view::View;
use crate::budget::{Budget, Cause, Group, Slice, walk};
use crate::read::Side;

/// The part of a request that a slice belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    Dns,
    Connect,
    Tls,
    Request,
    Server,
    Response,
    Resources,
    Page,
    Program,
    Echo,
    Wait,
}

impl Phase {
    fn code(self) -> &'static str {
        match self {
            Phase::Dns => "dns",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Request => "request",
            Phase::Server => "server",
            Phase::Response => "response",
            Phase::Resources => "resources",
            Phase::Page => "page",
            Phase::Program => "program",
            Phase::Echo => "echo",
            Phase::Wait => "wait",
        }
    }

    fn say(self) -> &'static str {
        match self {
            Phase::Dns => "find the address",
            Phase::Connect => "connect",
            Phase::Tls => "agree on secrets",
            Phase::Request => "send the request",
            Phase::Server => "behind the door",
            Phase::Response => "bring the answer",
            Phase::Resources => "fetch what the page needs",
            Phase::Page => "the browser's own work",
            Phase::Program => "the real program",
            Phase::Echo => "echo and back",
            Phase::Wait => "wait",
        }
    }
}

/// The budget of a whole step, told with the windows of its chapters.
pub(crate) fn tell(step: &Step<'_, '_>, chapters: &[Chapter]) -> BudgetStory {
    let Some(end) = step.end else { return BudgetStory::default() };
    let budget = walk(step.view.trace, end.event.id, step.start());
    let phases: Vec<Phase> = budget.slices.iter().map(|s| phase_of(step, chapters, s)).collect();
    let named = |(slice, phase): (&Slice, &Phase)| slice_story(step.view, slice, *phase);
    BudgetStory {
        slices: budget.slices.iter().zip(&phases).map(named).collect(),
        totals: totals(&budget.slices.iter().collect::<Vec<_>>()),
        causes: causes(&budget),
        phases: by_phase(&budget, &phases),
        problems: budget.problems.iter().map(|p| format!("{} (at {:?})", p.kind.say(), p.at)).collect(),
    }
}

fn slice_story(view: &View<'_>, slice: &Slice, phase: Phase) -> SliceStory {
    let to = slice.link.and_then(|l| view.trace.map.other_end(l, slice.node));
    SliceStory {
        start_ns: slice.start.0,
        end_ns: slice.end.0,
        cause: slice.cause.code().into(),
        say: slice.cause.say().into(),
        group: slice.cause.group().code().into(),
        phase: phase.code().into(),
        node: view.name(slice.node),
        to: to.map_or_else(String::new, |(node, _)| view.name(node)),
        event: format!("{:?}", slice.ended_by),
        frame: if slice.frame.is_none() { String::new() } else { format!("{:?}", slice.frame) },
    }
}

fn totals(slices: &[&Slice]) -> Vec<TotalStory> {
    let total = |group: &Group| {
        let time: u64 = slices.iter().filter(|s| s.cause.group() == *group).map(|s| s.len().0).sum();
        (time > 0).then(|| TotalStory {
            group: group.code().into(),
            say: group.say().into(),
            explain: group.explain().into(),
            time_ns: time,
        })
    };
    Group::ALL.iter().filter_map(total).collect()
}

/// Sums by cause where the group's name does not say enough.
fn causes(budget: &Budget) -> Vec<TotalStory> {
    let mut all: Vec<TotalStory> = Vec::new();
    for slice in &budget.slices {
        let group = slice.cause.group();
        if !matches!(group, Group::Held | Group::Loss | Group::Timeouts | Group::Protocol | Group::Unnamed) {
            continue;
        }
        match all.iter_mut().find(|t| t.explain == slice.cause.code()) {
            Some(total) => total.time_ns += slice.len().0,
            None => all.push(TotalStory {
                group: group.code().into(),
                say: slice.cause.say().into(),
                explain: slice.cause.code().into(),
                time_ns: slice.len().0,
            }),
        }
    }
    all
}

fn by_phase(budget: &Budget, phases: &[Phase]) -> Vec<PhaseStory> {
    let mut all: BTreeMap<Phase, Vec<&Slice>> = BTreeMap::new();
    let mut order: Vec<Phase> = Vec::new();
    for (slice, phase) in budget.slices.iter().zip(phases) {
        if !all.contains_key(phase) {
            order.push(*phase);
        }
        all.entry(*phase).or_default().push(slice);
    }
    let story = |phase: Phase| {
        let slices = &all[&phase];
        PhaseStory {
            phase: phase.code().into(),
            say: phase.say().into(),
            time_ns: slices.iter().map(|s| s.len().0).sum(),
            totals: totals(slices),
        }
    };
    order.into_iter().map(story).collect()
}

/// The phase of a slice: by the chapter in whose time it begins at the step's own machine, and inside "ask and answer" by
/// whose frame moved.
fn phase_of(step: &Step<'_, '_>, chapters: &[Chapter], slice: &Slice) -> Phase {
    if slice.cause == Cause::Timer(TimerKind::App(Wait::PageWork)) {
        return Phase::Page;
    }
    if slice.cause == Cause::Outside {
        return Phase::Program;
    }
    if let Some(phase) = handshake_of(step, slice) {
        return phase;
    }
    let begins = |c: &&Chapter| c.start_ns <= slice.start.0 && slice.start.0 < c.end_ns && c.code != "close";
    let chapter = chapters.iter().filter(begins).min_by_key(|c| c.end_ns - c.start_ns);
    match chapter.map(|c| c.code.as_str()) {
        Some("dns") => Phase::Dns,
        Some("connect" | "probe") => Phase::Connect,
        Some("tls") => Phase::Tls,
        Some("resources") => Phase::Resources,
        Some("page") => Phase::Page,
        Some("echo") => Phase::Echo,
        Some("http") => side_of(step.view, slice),
        _ if step.view.is_dns(slice.frame) => Phase::Dns,
        _ if step.view.conn_of(slice.frame).is_some() => side_of(step.view, slice),
        _ => Phase::Wait,
    }
}

/// The handshake that a frame belongs to, when it is one of a connection of the step's own machine for the page itself: a
/// frame is processed a moment before the capture sees it, so times alone would put that moment into the wrong chapter.
fn handshake_of(step: &Step<'_, '_>, slice: &Slice) -> Option<Phase> {
    let (conn, _) = step.view.conn_of(slice.frame)?;
    let client = step.view.conns[conn].client;
    let tcp = step.view.tcp(client);
    let opened = tcp.syn.as_ref()?.mark.at;
    if client.node != step.node || opened < step.start() {
        return None;
    }
    let sent = step.view.trace.sightings(slice.frame).next()?.at;
    let earlier_page =
        step.requests.iter().any(|r| r.kind == rt_base::ReqKind::Subresource && r.begin.at <= opened);
    if earlier_page {
        return None;
    }
    let before = |done: Option<rt_base::Time>| done.is_none_or(|done| sent < done);
    if before(tcp.established.map(|m| m.at)) {
        return Some(Phase::Connect);
    }
    let tls = tcp.tls.as_ref()?;
    before(tls.handshake_done.map(|m| m.at)).then_some(Phase::Tls)
}

fn side_of(view: &View<'_>, slice: &Slice) -> Phase {
    if matches!(slice.cause.group(), Group::Servers | Group::Proxies) {
        return Phase::Server;
    }
    let Some((conn, from)) = view.conn_of(slice.frame) else { return Phase::Server };
    let client = view.conns[conn].client;
    let is_upstream =
        view.requests.range((client.node, rt_base::ReqId(0))..).take_while(|((n, _), _)| *n == client.node);
    let is_upstream = is_upstream.filter(|(_, r)| r.kind == rt_base::ReqKind::Upstream).count() > 0;
    match from {
        _ if is_upstream => Phase::Server,
        Side::Client => Phase::Request,
        Side::Server => Phase::Response,
    }
}
