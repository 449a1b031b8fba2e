//! What went wrong on the way: each retransmission with its reason, each dropped packet with rule and origin, ICMP
//! errors, cut links.

use std::collections::{BTreeMap, BTreeSet};

use rt_wire::{ArpPacket, EthernetHeader, ethertype};

use rt_base::{DropReason, Event, FrameId, Place, SendWhy, TcpSendRecord, Time, Way, What};

use super::again::{self, Asked};
use super::causes::Causes;
use super::forged;
use super::guards;
use super::listeners;
use super::model::{BudgetStory, Line};
use super::tell::{self, Step};
use super::view::View;
use super::{room, words};
use crate::read::Side;

/// Bits of TCP's flags.
const SYN: u8 = 2;
const ACK: u8 = 16;

/// Lines told at most; more are counted.
const LIMIT: usize = 200;

/// Drops by the same machine, for the same reason and by the same rule, that are told one by one.
const ALIKE: u64 = 4;

/// What makes two drops alike: the machine, the reason, the rule, and the other step in whose wake they were.
type Kind = (u32, &'static str, u32, Option<u32>);

fn kind(event: &Event, other: Option<u32>) -> Kind {
    match event.what {
        What::Drop { reason, rule, .. } => (event.node().0, reason.code(), rule, other),
        _ => (event.node().0, "", 0, other),
    }
}

/// Everything that went wrong during a step, in order.
pub(crate) fn tell(step: &Step<'_, '_>, conns: &[usize]) -> Vec<Line> {
    let view = step.view;
    let mut lines: Vec<(Time, Line)> = Vec::new();
    let mut explained = BTreeSet::new();
    for &conn in conns {
        let (after, until, zero) = (step.start(), step.until, step.start());
        let asked = Asked { conn, after, until, zero };
        lines.extend(again::tell(view, asked, &mut explained));
        lines.extend(forged::tell(view, asked, &mut explained));
    }
    let within = |e: &&Event| step.covers(e);
    for event in view.trace.events.iter().filter(within) {
        if let What::LinkChanged { .. } | What::Rebound { .. } = event.what {
            let line = world_changed(view, event);
            lines.extend(line.map(|l| (event.at, l.margin(words::after(step.start(), event.at)))));
        }
    }
    let mut causes = Causes::new(view);
    lines.extend(drops(step, (conns, &explained), &mut causes));
    lines.extend(listeners::tell(view, (step.start(), step.until)));
    lines.extend(icmp_errors(step, &mut causes));
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

/// The drops during a step, but for those that another step tells and those that are told elsewhere.
fn drops(
    step: &Step<'_, '_>,
    (conns, explained): (&[usize], &BTreeSet<FrameId>),
    causes: &mut Causes<'_, '_>,
) -> Vec<(Time, Line)> {
    let view = step.view;
    let mut lines: Vec<(Time, Line)> = Vec::new();
    let mut alike: BTreeMap<Kind, (u64, &Event)> = BTreeMap::new();
    for event in view.trace.events.iter().filter(|e| step.covers(e)) {
        let What::Drop { reason, .. } = event.what else { continue };
        let told = explained.contains(&event.frame)
            || is_harmless(reason)
            || listeners::tells(reason)
            || (reason == DropReason::TcpUnacceptable && was_answered(view, event))
            || came_elsewhere(view, event);
        let conn = view.conn_of(event.frame).map(|(conn, _)| conns.contains(&conn));
        // The SYNs of a probe are no connections.
        if told || (conn == Some(false) && !super::is_probing(step)) {
            continue;
        }
        let other = match conn {
            Some(true) => None,
            _ => causes.step_of(event.frame).filter(|by| *by != step.index),
        };
        if conn == Some(false) && other.is_some() || other.is_some_and(|by| step.is_told_by(by, event)) {
            continue;
        }
        let same = alike.entry(kind(event, other)).or_insert((0, event));
        *same = (same.0 + 1, event);
        if same.0 <= ALIKE {
            lines.push((event.at, of_step(dropped(step, event), other)));
        }
    }
    lines.extend(alike.into_iter().filter(|(_, (count, _))| *count > ALIKE).map(|(kind, (count, last))| {
        let name = view.name(last.node());
        let packets = words::count(count - ALIKE, "more packet");
        let text = format!("drops {packets} for the same reason, the last one now");
        let line = Line::new("drop.more", name.clone(), text)
            .at(last.at)
            .on(name)
            .margin(words::after(step.start(), last.at))
            .with("count", count - ALIKE)
            .with("of", kind.1);
        (last.at, of_step(line, kind.3))
    }));
    lines
}

/// Marks what came of another step: it went wrong meanwhile, and explains nothing here.
fn of_step(line: Line, other: Option<u32>) -> Line {
    match other {
        Some(other) => line.with("step", other + 1),
        None => line,
    }
}

/// Says of each retransmission whether the step is longer for it: whether the wait for it stands on the critical path.
pub(crate) fn cost(lines: &mut [Line], budget: &BudgetStory, step: &Step<'_, '_>) {
    if !budget.problems.is_empty() || step.end.is_none() {
        return;
    }
    for line in lines.iter_mut().filter(|l| l.code.starts_with("tcp.retransmit")) {
        let frame = line.data.get("frame").cloned().unwrap_or_default();
        let lost = budget.slices.iter().filter(|s| s.frame == frame && s.cause.starts_with("lost."));
        let sum: u64 = lost.map(|s| s.end_ns.saturating_sub(s.start_ns)).sum();
        line.data.insert("cost_ns".into(), sum.to_string());
        let during = line.at_ns.is_some_and(|at| at <= step.last.0);
        line.text += &match (sum, during) {
            (0, true) => ". The step did not wait for it".to_string(),
            (0, false) => ". The step was over by then".to_string(),
            (sum, _) => format!(". The step waited {} for it", words::ms(rt_base::Nanos(sum))),
        };
    }
}

pub(crate) fn goes_again(record: &TcpSendRecord) -> bool {
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

/// Whether what ended is one of the copies that a switch sent out of every port, and another one reached whom it was for.
fn came_elsewhere(view: &View<'_>, drop: &Event) -> bool {
    let flooded = |e: &Event| {
        let everywhere = matches!(e.what, What::SwitchForward { out } if out.0 == u16::MAX);
        everywhere && e.node() == drop.node()
    };
    if !on_wire(drop) || !view.trace.events_of(drop.frame).any(flooded) {
        return false;
    }
    let asked = || {
        let (ethernet, packet) =
            EthernetHeader::parse(&view.trace.sightings(drop.frame).next()?.bytes).ok()?;
        let (arp, _) = ArpPacket::parse(packet).ok().filter(|_| ethernet.ethertype == ethertype::ARP)?;
        view.bearer(arp.target_ip.into())
    };
    let came_to = |node| view.trace.sightings(drop.frame).any(|c| c.node == node && c.way == Way::In);
    view.delivered(drop.frame).is_some() || asked().is_some_and(came_to)
}

/// Whether TCP answered a segment that it did not take: a keepalive's or a window's probe, a copy of what it had, a challenge
/// (RFC 9293 3.10.7.4, RFC 5961). Nothing went wrong with such a segment.
fn was_answered(view: &View<'_>, drop: &Event) -> bool {
    let probe = |e: &Event| match &e.what {
        What::TcpSend(record) => matches!(record.why, SendWhy::Keepalive | SendWhy::WindowProbe),
        _ => false,
    };
    if view.trace.events_of(drop.frame).any(probe) {
        return true;
    }
    let Some(from) = view.trace.position(drop.id) else { return false };
    let near = view.trace.events[from..].iter().take_while(|e| e.at == drop.at);
    near.filter(|e| e.node() == drop.node() && e.because == drop.because).any(|e| match &e.what {
        What::TcpSend(record) => {
            matches!(record.why, SendWhy::Ack | SendWhy::ChallengeAck | SendWhy::Handshake)
        }
        _ => false,
    })
}

/// The drop that ended a frame, if one did.
pub(super) fn end_of<'t>(view: &View<'t>, frame: FrameId) -> Option<&'t Event> {
    let ended = |e: &&Event| matches!(e.what, What::Drop { reason, .. } if !is_harmless(reason));
    view.trace.events_of(frame).find(ended)
}

/// Whether a frame ended on a link or before it.
pub(super) fn died_on_wire(view: &View<'_>, frame: FrameId) -> bool {
    end_of(view, frame).is_none_or(on_wire)
}

/// Whether a frame was dropped before the machine that it was for had it.
pub(super) fn died(view: &View<'_>, frame: FrameId) -> bool {
    let place = |d: &Event| matches!(d.what, What::Drop { place: Place::Socket, .. });
    !arrived(view, frame) && end_of(view, frame).is_some_and(|d| !place(d))
}

/// Whether a frame reached a socket.
pub(super) fn arrived(view: &View<'_>, frame: FrameId) -> bool {
    view.delivered(frame).is_some()
}

/// What stood in a queue when a frame found no room.
fn full_queue(view: &View<'_>, drop: &Event) -> Option<String> {
    let What::Drop { reason: DropReason::QueueFull, port, .. } = drop.what else { return None };
    let (node, map) = (drop.node(), &view.trace.map);
    if !map.kind_of(node, port).is_physical() {
        return Some(format!("that of the program behind {}", map.end_name((node, port))));
    }
    let (mut frames, mut bytes, mut last) = (0, 0, drop.at);
    for event in view.trace.events_at(node).filter(|e| e.at <= drop.at) {
        let What::Transmit { port: p, start, done, .. } = event.what else { continue };
        if p == port && start > drop.at {
            let seen = view.trace.sightings(event.frame).find(|c| c.event == event.id);
            frames += 1;
            bytes += seen.map_or(0, |c| c.bytes.len() as u64);
            last = last.max(done);
        }
    }
    Some(format!(
        "{} ({}) stood before {}, {} to send",
        words::count(frames, "frame"),
        words::bytes(bytes),
        map.end_name((node, port)),
        words::ms(last.since(drop.at))
    ))
}

/// Whether a drop happened on a link or before it, where no rule decides.
pub(super) fn on_wire(drop: &Event) -> bool {
    matches!(drop.what, What::Drop { place: Place::Link | Place::Queue, .. })
}

/// What became of a frame that was sent again at an instant; `copy` is what the sentence calls it.
pub(super) fn fate(view: &View<'_>, frame: FrameId, again: Time, copy: &str) -> String {
    let dropped = end_of(view, frame);
    if let Some((dropped, What::Drop { reason, port, .. })) = dropped.map(|d| (d, &d.what)) {
        let link = view.trace.map.link_at(dropped.node(), *port).filter(|_| on_wire(dropped));
        let at = match link {
            Some(link) => format!("between {}", view.trace.map.link_name(link).replace(" - ", " and ")),
            None => format!("at {}", view.name(dropped.node())),
        };
        let queue = full_queue(view, dropped).map_or(String::new(), |q| format!(": {q}"));
        return format!("{copy} ended {at} ({}{queue})", reason.say());
    }
    match view.delivered(frame) {
        Some(event) if event.at > again => format!("{copy} was still on its way"),
        _ => format!("{copy} did arrive, so its acknowledgement was lost or late"),
    }
}

fn dropped(step: &Step<'_, '_>, event: &Event) -> Line {
    let view = step.view;
    let What::Drop { reason, place, port, rule } = event.what else {
        return Line::default();
    };
    // A filter may drop what its own machine wanted to send: no frame was ever made of that.
    let what = as_seen(view, event).map_or(String::new(), |bytes| {
        format!(". It was: {}{}", rt_wire::summary(bytes), inside(view, event))
    });
    let rule = tell::rule_at(view, event, place, rule);
    let by = rule.as_ref().map_or(String::new(), |(text, _)| format!(" by the rule \"{text}\""));
    let round = circle(view, event.frame).map_or(String::new(), |c| format!(" ({c})"));
    let queue = full_queue(view, event).map_or(String::new(), |q| format!(" ({q})"));
    let cable = view.trace.map.link_at(event.node(), port).filter(|_| reason == DropReason::LinkDown);
    let cable = cable.map(|link| view.trace.map.link_name(link).replace(" - ", " and "));
    let queue = cable.map_or(queue, |names| format!(", between {names}"));
    let queue = queue + &too_narrow(view, event).map_or(String::new(), |n| format!(" ({n})"));
    let nearest = guards::nearest(view, event);
    let text =
        format!("drops a packet{by}: {}{queue}{round}{nearest}{what}", reason_words(view, event, reason));
    Line::new(reason.code(), view.name(event.node()), text)
        .at(event.at)
        .on(view.name(event.node()))
        .margin(rule.map_or_else(|| words::after(step.start(), event.at), |(_, origin)| origin))
        .with("frame", format!("{:?}", event.frame))
        .with("interface", view.trace.map.port_name(event.node(), port))
}

/// The reason; a segment that opens nothing asked for no listener.
pub(super) fn reason_words(view: &View<'_>, drop: &Event, reason: DropReason) -> &'static str {
    match reason {
        DropReason::NoSocket if flags_of(view, drop.frame).is_some_and(|f| f & (SYN | ACK) != SYN) => {
            "there is no such connection here"
        }
        reason => reason.say(),
    }
}

/// What was inside a tunnel's packet.
fn inside(view: &View<'_>, drop: &Event) -> String {
    let seen = as_seen(view, drop).map(rt_wire::summary);
    let mut bare = view.trace.sightings(drop.frame).filter(|c| !view.trace.on_link(c) && c.at <= drop.at);
    let inner = bare.next().map(|c| rt_wire::summary(&c.bytes)).filter(|inner| seen.as_ref() != Some(inner));
    inner.map_or(String::new(), |inner| format!(", and inside: {inner}"))
}

/// What a packet did not fit into.
fn too_narrow(view: &View<'_>, drop: &Event) -> Option<String> {
    let events: Vec<&Event> = view.trace.events_of(drop.frame).collect();
    let packet = as_seen(view, drop).and_then(|bytes| bytes.get(14..));
    let len = packet.and_then(|p| rt_wire::Ipv4Header::parse_unchecked(p).ok()).map(|(ip, _)| ip.total_len);
    room::too_narrow(&view.trace.map, drop, &events, len.map(usize::from))
}

/// The bytes of a dropped packet as the machine that dropped it had them: NAT may have rewritten them before.
pub(super) fn as_seen<'t>(view: &View<'t>, drop: &Event) -> Option<&'t [u8]> {
    if matches!(drop.what, What::Drop { reason: DropReason::TunnelLoop, .. }) {
        // What is around it by now are only copies of itself.
        return Some(&view.trace.sightings(drop.frame).next()?.bytes);
    }
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
pub(crate) fn world_changed(view: &View<'_>, event: &Event) -> Option<Line> {
    if let What::Rebound { mappings } = event.what {
        let (node, forgot) = (view.name(event.node()), words::count(u64::from(mappings), "NAT mapping"));
        let text = format!("{node} forgets {forgot}, as a router that was switched off and on");
        return Some(Line::new("nat.rebound", "timeline", text).at(event.at).on(node));
    }
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

fn icmp_errors(step: &Step<'_, '_>, causes: &mut Causes<'_, '_>) -> Vec<(Time, Line)> {
    let Some(read) = step.view.read.get(&step.node) else { return Vec::new() };
    let of_time = read
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
    let mut lines = Vec::new();
    for error in of_time {
        let other = causes.step_of(error.mark.frame).filter(|by| *by != step.index);
        let came = step.view.delivered(error.mark.frame);
        if !other.zip(came).is_some_and(|(by, came)| step.is_told_by(by, came)) {
            let (at, line) = line(error);
            lines.push((at, of_step(line, other)));
        }
    }
    lines
}

/// Retransmissions of both ends of a connection.
pub(crate) fn retransmissions(view: &View<'_>, conn: usize) -> u32 {
    let sides = [Side::Client, Side::Server].into_iter();
    let events = sides.flat_map(|side| view.tcp_events(conn, side));
    let again = events.filter(|e| matches!(&e.what, What::TcpSend(r) if goes_again(r)));
    u32::try_from(again.count()).unwrap_or(u32::MAX)
}

/// The flags of a TCP segment.
pub(crate) fn flags_of(view: &View<'_>, frame: FrameId) -> Option<u8> {
    let (_, packet) = rt_wire::EthernetHeader::parse(&view.trace.sightings(frame).next()?.bytes).ok()?;
    let (ip, payload) = rt_wire::Ipv4Header::parse_unchecked(packet).ok()?;
    let tcp = ip.protocol == rt_wire::protocol::TCP && ip.frag_offset == 0;
    rt_wire::TcpHeader::parse(payload).ok().filter(|_| tcp).map(|(header, _)| header.flags.0)
}
