//! What went wrong on the way: each retransmission with its reason, each dropped packet with rule and origin, ICMP
//! errors, cut links.

use std::collections::BTreeSet;

use rt_base::{DropReason, Event, FrameId, Place, SendWhy, TcpSendRecord, Time, Way, What};

use super::model::Line;
use super::tell::{self, Step};
use super::view::{Conn, End, View};
use super::words;
use crate::read::Side;

/// Lines told at most; more are counted.
const LIMIT: usize = 200;

/// Everything that went wrong during a step, in order.
pub(crate) fn tell(step: &Step<'_, '_>, conns: &[usize]) -> Vec<Line> {
    let view = step.view;
    let mut lines: Vec<(Time, Line)> = Vec::new();
    let mut explained = BTreeSet::new();
    let ends = ends_of(view, conns);
    let within = |e: &&Event| e.at > step.start() && e.at <= step.until;
    for event in view.trace.events.iter().filter(within) {
        match &event.what {
            What::TcpSend(record) if is_again(record) => {
                if let Some(line) = again(step, event, record, &ends, &mut explained) {
                    lines.push((event.at, line));
                }
            }
            What::LinkChanged { .. } => {
                let line = link_changed(view, event);
                lines.extend(line.map(|l| (event.at, l.margin(words::after(step.start(), event.at)))));
            }
            _ => {}
        }
    }
    let concerned = |f: FrameId| match view.conn_of(f) {
        Some((conn, _)) => conns.contains(&conn),
        None => true,
    };
    for event in view.trace.events.iter().filter(within) {
        let What::Drop { reason, .. } = event.what else { continue };
        let told = explained.contains(&event.frame) || !concerned(event.frame) || is_harmless(reason);
        if !told {
            lines.push((event.at, dropped(step, event)));
        }
    }
    lines.extend(icmp_errors(step));
    lines.sort_by_key(|(at, _)| *at);
    let left_out = lines.len().saturating_sub(LIMIT);
    let mut lines: Vec<Line> = lines.into_iter().take(LIMIT).map(|(_, line)| line).collect();
    if left_out > 0 {
        lines.push(Line::new(
            "more",
            "and more",
            format!("{left_out} more of the same kinds are not listed"),
        ));
    }
    lines
}

fn is_again(record: &TcpSendRecord) -> bool {
    match record.why {
        SendWhy::FastRetransmit | SendWhy::RtoRetransmit | SendWhy::PathMtu | SendWhy::TailLossProbe => true,
        // A SYN or SYN-ACK that names the one before it.
        SendWhy::Handshake => !record.origin.is_none(),
        _ => false,
    }
}

/// Ends of frames that mean nothing to a reader: copies flooded by a switch, and the like.
fn is_harmless(reason: DropReason) -> bool {
    matches!(reason, DropReason::NotForThisStation | DropReason::SamePort | DropReason::RunEnded)
}

/// Both ends of the step's connections: (end, whether it is the client's).
fn ends_of(view: &View<'_>, conns: &[usize]) -> Vec<(End, bool)> {
    let both = |&c: &usize| {
        let Conn { client, server } = view.conns[c];
        [Some((client, true)), server.map(|s| (s, false))]
    };
    conns.iter().flat_map(both).flatten().collect()
}

/// One retransmission with its reason.
fn again(
    step: &Step<'_, '_>,
    event: &Event,
    record: &TcpSendRecord,
    ends: &[(End, bool)],
    explained: &mut BTreeSet<FrameId>,
) -> Option<Line> {
    let view = step.view;
    let (conn, side) = view.conn_of(event.frame)?;
    let client = view.conns[conn].client;
    if !ends.iter().any(|(end, _)| end.node == event.node()) || !ends.iter().any(|(e, _)| *e == client) {
        return None;
    }
    let before = view.trace.event(record.origin);
    let first = first_copy(view, event);
    let copy = if before.map(|b| b.id) == first.map(|f| f.id) { "the first copy" } else { "the copy before" };
    // Whoever refused a SYN for good is told with its rule; what was merely lost is told here alone.
    let told_here =
        |b: &&Event| record.why != SendWhy::Handshake || end_of(view, b.frame).is_none_or(on_wire);
    explained.extend(before.filter(told_here).map(|b| b.frame));
    let what = if record.len > 0 {
        let stream = if side == Side::Client { "request" } else { "answer" };
        let to = record.offset + u64::from(record.len);
        format!("bytes {} to {to} of the {stream}'s stream", record.offset + 1)
    } else {
        format!("{} seq {}", words::flags(record.flags), record.seq)
    };
    let fate = before.map_or(String::new(), |b| format!(": {}", fate(view, b.frame, event.at, copy)));
    let waited =
        before.map_or(String::new(), |b| format!(", {} after {copy}", words::between(b.at, event.at)));
    let (code, noticed) = noticed(view, event, record);
    let text = format!("sends {what} again{waited}{fate}; {noticed}");
    let tcp = view.tcp(client);
    let frame = |e: Option<&Event>| e.map_or(String::new(), |e| format!("{:?}", e.frame));
    Some(
        Line::new(code, view.name(event.node()), text)
            .at(event.at)
            .on(view.name(event.node()))
            .margin(words::after(step.start(), event.at))
            .with("connection", format!("{} → {}", tcp.client, tcp.server))
            .with("seq", record.seq)
            .with("len", record.len)
            .with("offset", record.offset)
            .with("cwnd", record.cwnd)
            .with("first_copy", frame(first))
            .with("copy_before", frame(before)),
    )
}

/// What made the sender send again: a line's code and words.
fn noticed(view: &View<'_>, event: &Event, record: &TcpSendRecord) -> (&'static str, &'static str) {
    let input = view.trace.event(event.because).map(|e| &e.what);
    match record.why {
        SendWhy::FastRetransmit => {
            ("tcp.retransmit.fast", "acknowledgements for later bytes gave it away (fast retransmit)")
        }
        SendWhy::Handshake if !matches!(input, Some(What::TimerFired { .. })) => {
            ("tcp.retransmit.handshake", "the SYN came again, so it is answered again")
        }
        SendWhy::RtoRetransmit | SendWhy::Handshake => {
            ("tcp.retransmit.rto", "no acknowledgement came before the timer ran out (RTO)")
        }
        SendWhy::PathMtu => {
            ("tcp.retransmit.path_mtu", "a router said that it is too long for the path (path MTU)")
        }
        _ => ("tcp.retransmit.probe", "the last packet stayed unanswered, so TCP probed (tail loss probe)"),
    }
}

/// The sending that a retransmission repeats, however often it was repeated since.
fn first_copy<'t>(view: &View<'t>, event: &Event) -> Option<&'t Event> {
    let before = |e: &Event| match &e.what {
        What::TcpSend(record) if is_again(record) => view.trace.event(record.origin),
        _ => None,
    };
    let mut first = before(event)?;
    while let Some(earlier) = before(first) {
        first = earlier;
    }
    Some(first)
}

/// The drop that ended a frame, if one did.
fn end_of<'t>(view: &View<'t>, frame: FrameId) -> Option<&'t Event> {
    let ended = |e: &&Event| matches!(e.what, What::Drop { reason, .. } if !is_harmless(reason));
    view.trace.events_of(frame).find(ended)
}

/// Whether a drop happened on a link or before it, where no rule decides.
fn on_wire(drop: &Event) -> bool {
    matches!(drop.what, What::Drop { place: Place::Link | Place::Queue, .. })
}

/// What became of a frame that was sent again at an instant; `copy` is what the sentence calls it.
fn fate(view: &View<'_>, frame: FrameId, again: Time, copy: &str) -> String {
    let dropped = end_of(view, frame);
    if let Some((dropped, What::Drop { reason, port, .. })) = dropped.map(|d| (d, &d.what)) {
        let link = view.trace.map.link_at(dropped.node(), *port).filter(|_| on_wire(dropped));
        let at = match link {
            Some(link) => format!("between {}", view.trace.map.link_name(link).replace(" - ", " and ")),
            None => format!("at {}", view.name(dropped.node())),
        };
        return format!("{copy} ended {at} ({})", reason.say());
    }
    let arrived = view.trace.events_of(frame).find(|e| matches!(e.what, What::Deliver { .. }));
    match arrived {
        Some(event) if event.at > again => format!("{copy} was still on its way"),
        _ => format!("{copy} did arrive, so its acknowledgement was lost or late"),
    }
}

fn dropped(step: &Step<'_, '_>, event: &Event) -> Line {
    let view = step.view;
    let What::Drop { reason, place, port, rule } = event.what else {
        return Line::default();
    };
    let what = as_seen(view, event).map_or(String::new(), rt_wire::summary);
    let rule = tell::rule_at(view, event, place, rule);
    let by = rule.as_ref().map_or(String::new(), |(text, _)| format!(" by the rule \"{text}\""));
    let round = circle(view, event.frame).map_or(String::new(), |c| format!(" ({c})"));
    let text = format!("drops a packet{by}: {}{round}. It was: {what}", reason.say());
    Line::new(reason.code(), view.name(event.node()), text)
        .at(event.at)
        .on(view.name(event.node()))
        .margin(rule.map_or_else(|| words::after(step.start(), event.at), |(_, origin)| origin))
        .with("frame", format!("{:?}", event.frame))
        .with("interface", view.trace.map.port_name(event.node(), port))
}

/// The bytes of a dropped packet as the machine that dropped it had them: NAT may have rewritten them before.
fn as_seen<'t>(view: &View<'t>, drop: &Event) -> Option<&'t [u8]> {
    let all = || view.trace.sightings(drop.frame).rev();
    let here = all().find(|c| {
        let came = c.way == Way::In && c.at <= drop.at;
        c.node == drop.node() && (came || on_wire(drop))
    });
    let seen = here
        .or_else(|| all().find(|c| c.at <= drop.at))
        .or_else(|| view.trace.sightings(drop.frame).next())?;
    Some(&seen.bytes)
}

/// The machines between which a packet went in circles.
pub(crate) fn circle(view: &View<'_>, frame: FrameId) -> Option<String> {
    let way = view.way(frame);
    let last = way.last()?.to;
    let before = way.iter().rev().skip(1).position(|leg| leg.to == last)?;
    let round: Vec<String> = way.iter().rev().take(before + 1).map(|leg| view.name(leg.from)).collect();
    let mut names = round;
    names.reverse();
    let times = way.iter().filter(|leg| leg.to == last).count();
    Some(format!(
        "{} sent it round and round: it came to {} {times} times",
        words::list(&names),
        view.name(last)
    ))
}

/// What the timeline did.
pub(crate) fn link_changed(view: &View<'_>, event: &Event) -> Option<Line> {
    let What::LinkChanged { link, up, loss_ppm } = event.what else { return None };
    let name = view.trace.map.link_name(link).replace(" - ", " and ");
    let (code, text) = match (up, loss_ppm) {
        (false, _) => ("link.cut", format!("the cable between {name} is cut")),
        (true, 0) => ("link.up", format!("the cable between {name} works again")),
        (true, ppm) => {
            let (whole, part) = (ppm / 10_000, ppm % 10_000 / 100);
            ("link.impaired", format!("the link between {name} now loses {whole}.{part:02} % of the packets"))
        }
    };
    Some(Line::new(code, "timeline", text).at(event.at))
}

fn icmp_errors(step: &Step<'_, '_>) -> Vec<(Time, Line)> {
    let Some(read) = step.view.read.get(&step.node) else { return Vec::new() };
    let of_step = read
        .icmp_errors
        .iter()
        .filter(|e| !e.outgoing && e.mark.at > step.start() && e.mark.at <= step.until);
    let line = |e: &crate::read::IcmpError| {
        let about = e.quoted.map_or(String::new(), |q| {
            let names = ["", "ICMP", "", "", "", "", "TCP"];
            let protocol =
                if q.protocol == 17 { "UDP" } else { names.get(q.protocol as usize).copied().unwrap_or("") };
            if q.dst.port() == 0 {
                format!(" about the {protocol} packet to {}", q.dst.ip())
            } else {
                format!(" about the {protocol} packet {} → {}", q.src, q.dst)
            }
        });
        let text = format!("complains{about}: {} (ICMP type {} code {})", e.text, e.kind, e.code);
        let line = Line::new("icmp.error", super::lookup::named(step.view, e.from), text)
            .at(e.mark.at)
            .margin(words::after(step.start(), e.mark.at))
            .with("type", e.kind)
            .with("code", e.code);
        (e.mark.at, line)
    };
    of_step.map(line).collect()
}

/// Retransmissions of both ends of a connection.
pub(crate) fn retransmissions(view: &View<'_>, conn: usize) -> u32 {
    let sides = [Side::Client, Side::Server].into_iter();
    let events = sides.flat_map(|side| view.tcp_events(conn, side));
    let again = events.filter(|e| matches!(&e.what, What::TcpSend(r) if is_again(r)));
    u32::try_from(again.count()).unwrap_or(u32::MAX)
}

/// The flags of a TCP segment.
pub(crate) fn flags_of(view: &View<'_>, frame: FrameId) -> Option<u8> {
    let (_, packet) = rt_wire::EthernetHeader::parse(&view.trace.sightings(frame).next()?.bytes).ok()?;
    let (ip, payload) = rt_wire::Ipv4Header::parse_unchecked(packet).ok()?;
    let tcp = ip.protocol == rt_wire::protocol::TCP && ip.frag_offset == 0;
    rt_wire::TcpHeader::parse(payload).ok().filter(|_| tcp).map(|(header, _)| header.flags.0)
}
