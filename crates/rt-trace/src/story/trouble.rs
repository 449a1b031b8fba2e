//! What went wrong on the way: each retransmission with its reason, each dropped packet with rule and origin, ICMP
//! errors, cut links.

use std::collections::BTreeSet;

use rt_base::{DropReason, Event, FrameId, SendWhy, TcpSendRecord, Time, What};

use super::model::Line;
use super::tell::{self, Step};
use super::view::{Conn, End, View};
use super::words;

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
            What::TcpSend(record) if is_again(record.why) => {
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

fn is_again(why: SendWhy) -> bool {
    matches!(
        why,
        SendWhy::FastRetransmit | SendWhy::RtoRetransmit | SendWhy::PathMtu | SendWhy::TailLossProbe
    )
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
    let (conn, _) = view.conn_of(event.frame)?;
    if !ends.iter().any(|(end, _)| end.node == event.node())
        || !ends.iter().any(|(e, _)| *e == view.conns[conn].client)
    {
        return None;
    }
    let first = view.trace.event(record.origin);
    let lost = first.and_then(|f| fate(view, f.frame));
    explained.extend(first.map(|f| f.frame));
    let what = if record.len > 0 {
        let to = record.seq.wrapping_add(record.len);
        format!("bytes {}..{to} ({} B)", record.seq, record.len)
    } else {
        format!("{} seq {}", words::flags(record.flags), record.seq)
    };
    let fate = match &lost {
        Some(text) => text.clone(),
        None => "the first copy did arrive, so its acknowledgement was lost or late".to_string(),
    };
    let noticed = match record.why {
        SendWhy::FastRetransmit => "acknowledgements for later bytes gave it away (fast retransmit)",
        SendWhy::RtoRetransmit => "no acknowledgement came before the timer ran out (RTO)",
        SendWhy::PathMtu => "a router said that it is too long for the path (path MTU)",
        _ => "the last packet stayed unanswered, so TCP probed (tail loss probe)",
    };
    let waited =
        first.map_or(String::new(), |f| format!(", {} after the first copy", words::between(f.at, event.at)));
    let text = format!("sends {what} again{waited}: {fate}; {noticed}");
    let code = match record.why {
        SendWhy::FastRetransmit => "tcp.retransmit.fast",
        SendWhy::RtoRetransmit => "tcp.retransmit.rto",
        SendWhy::PathMtu => "tcp.retransmit.path_mtu",
        _ => "tcp.retransmit.probe",
    };
    Some(
        Line::new(code, view.name(event.node()), text)
            .at(event.at)
            .on(view.name(event.node()))
            .margin(words::after(step.start(), event.at))
            .with("seq", record.seq)
            .with("len", record.len)
            .with("cwnd", record.cwnd)
            .with("first_copy", first.map_or(String::new(), |f| format!("{:?}", f.frame))),
    )
}

/// How a frame was lost, if it was.
fn fate(view: &View<'_>, frame: FrameId) -> Option<String> {
    let dropped = view.trace.events_of(frame).find(|e| matches!(e.what, What::Drop { .. }))?;
    let What::Drop { reason, place, port, .. } = dropped.what else { return None };
    let at = match place {
        rt_base::Place::Link | rt_base::Place::Queue => match view.trace.map.link_at(dropped.node(), port) {
            Some(link) => format!("between {}", view.trace.map.link_name(link).replace(" - ", " and ")),
            None => format!("at {}", view.name(dropped.node())),
        },
        _ => format!("at {}", view.name(dropped.node())),
    };
    Some(format!("the first copy ended {at} ({})", reason.say()))
}

fn dropped(step: &Step<'_, '_>, event: &Event) -> Line {
    let view = step.view;
    let What::Drop { reason, place, port, rule } = event.what else {
        return Line::default();
    };
    let seen = view.trace.sightings(event.frame).next();
    let what = seen.map_or(String::new(), |c| rt_wire::summary(&c.bytes));
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
pub(crate) fn retransmissions(view: &View<'_>, conn: &Conn) -> u32 {
    let of_end = |end: End| {
        let frames: BTreeSet<FrameId> = view.tcp(end).segments.iter().map(|s| s.mark.frame).collect();
        let sent = view.trace.events_at(end.node).filter(|e| frames.contains(&e.frame));
        let again = sent.filter(|e| matches!(&e.what, What::TcpSend(r) if is_again(r.why)));
        u32::try_from(again.count()).unwrap_or(u32::MAX)
    };
    of_end(conn.client) + conn.server.map_or(0, of_end)
}
