//! The two queues of a listener: SYNs that found no room, handshakes that found none, cookies (RFC 4987). Each is told once
//! for each listener with its number of times, because a flood has thousands.

use std::collections::BTreeMap;

use rt_base::{ConnId, DropReason, Event, ListenerStep, NodeId, Time, What};

use super::model::Line;
use super::view::View;
use super::words;

/// Everything of one kind at one listener.
struct Sum<'t> {
    count: u64,
    first: &'t Event,
    last: &'t Event,
    /// The longest the two queues were: half-open, waiting to be accepted.
    longest: [u32; 2],
}

/// Whether drops for this reason are told here, summed up.
pub(super) fn tells(reason: DropReason) -> bool {
    matches!(reason, DropReason::SynQueueFull | DropReason::AcceptQueueFull | DropReason::AcceptDeferred)
}

/// What happened at the queues of all listeners after `after` and until `until`; times count from `after`.
pub(super) fn tell(view: &View<'_>, (after, until): (Time, Time)) -> Vec<(Time, Line)> {
    let mut sums: BTreeMap<(NodeId, ConnId, ListenerStep), Sum<'_>> = BTreeMap::new();
    for event in view.trace.events.iter().filter(|e| e.at > after && e.at <= until) {
        let What::Listener { conn, step, syn_queue, accept_queue } = event.what else { continue };
        let key = (event.node(), conn, step);
        let sum = sums.entry(key).or_insert(Sum { count: 0, first: event, last: event, longest: [0; 2] });
        (sum.count, sum.last) = (sum.count + 1, event);
        sum.longest = [sum.longest[0].max(syn_queue), sum.longest[1].max(accept_queue)];
    }
    sums.iter().filter_map(|((_, _, step), sum)| line(view, *step, sum, after)).collect()
}

fn line(view: &View<'_>, step: ListenerStep, sum: &Sum<'_>, zero: Time) -> Option<(Time, Line)> {
    let [half_open, ready] = sum.longest.map(u64::from);
    let port = port_of(view, sum.first).map_or(String::new(), |p| format!(" of port {p}"));
    let times = |one: &str| words::count(sum.count, one);
    let (code, text) = match step {
        ListenerStep::SynQueueFull => (
            "tcp.syn_queue_full",
            format!(
                "drops {} without an answer: the SYN queue{port} is full with {}",
                times("SYN"),
                words::count(half_open, "half-open connection")
            ),
        ),
        ListenerStep::AcceptQueueFull => (
            "tcp.accept_queue_full",
            format!(
                "drops {} without an answer: the accept queue{port} is full with {} that the program has not accepted yet",
                times("segment"),
                words::count(ready, "connection")
            ),
        ),
        ListenerStep::CookieSent => (
            "tcp.syn_cookie",
            format!(
                "answers {} with a cookie in the sequence number and remembers nothing: the SYN queue{port} is full with {} \
                 (SYN cookies, RFC 4987)",
                times("SYN"),
                words::count(half_open, "half-open connection")
            ),
        ),
        ListenerStep::CookieAccepted => {
            ("tcp.syn_cookie.good", format!("opens {} by the cookie that came back", times("connection")))
        }
        ListenerStep::CookieRefused => {
            ("tcp.syn_cookie.bad", format!("refuses {} whose cookie is wrong or too old", times("ACK")))
        }
        ListenerStep::SynQueued
        | ListenerStep::AcceptQueued
        | ListenerStep::Deferred
        | ListenerStep::FastOpenTaken
        | ListenerStep::FastOpenOffered => return None,
    };
    let until =
        if sum.count > 1 { format!(", the last {}", words::after(zero, sum.last.at)) } else { String::new() };
    let name = view.name(sum.first.node());
    let line = Line::new(code, name.clone(), format!("{text}{until}"))
        .at(sum.first.at)
        .on(name)
        .margin(words::after(zero, sum.first.at))
        .with("count", sum.count)
        .with("syn_queue", half_open)
        .with("accept_queue", ready);
    Some((sum.first.at, line))
}

/// The port that the segment behind an event came to.
fn port_of(view: &View<'_>, event: &Event) -> Option<u16> {
    let frame = view.trace.event(event.because).map(|e| e.frame)?;
    let seen = view.trace.sightings(frame).rev().find(|c| c.node == event.node())?;
    let (_, packet) = rt_wire::EthernetHeader::parse(&seen.bytes).ok()?;
    let (_, payload) = rt_wire::Ipv4Header::parse_unchecked(packet).ok()?;
    rt_wire::TcpHeader::parse(payload).ok().map(|(header, _)| header.dst)
}
