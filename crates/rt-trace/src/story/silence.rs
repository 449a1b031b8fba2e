//! Why a packet that asks (a ping, a probe of a traced route, a question) brought no answer: where it ended, who kept the answer
//! back, or what became of the answer.
//!
//! Not for TCP's connections ([`super::unanswered`]). What a program answers after asking others first is not found: then the
//! sentence ends with who had the packet.

use rt_base::{DropReason, Event, FrameId, NodeId, Time, What};
use rt_wire::{EthernetHeader, ethertype};

use super::model::Line;
use super::trouble;
use super::view::View;
use super::{tell, words};

/// Why there was no answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Why {
    /// A clause: `core drops it by the rule "deny icmp": a filter rule dropped it`.
    pub(super) text: String,
    /// Where the rule is written that decided; empty when none did.
    pub(super) origin: String,
    /// Machine code: a drop's, or `icmp.withheld`, `answer.late`, `answer.strange`, `answer.none`.
    pub(super) code: String,
}

impl Why {
    /// As a line under the one that has the silence.
    pub(super) fn line(self, label: &str, depth: u8) -> Line {
        Line::new("silence", label, self.text).deep(depth).margin(self.origin).with("why", self.code)
    }
}

/// What became of the question in this frame and of its answer; `None` when the answer came before `until`, or nothing is known.
pub(super) fn why(view: &View<'_>, asked: FrameId, until: Time) -> Option<Why> {
    let end = view.delivered(asked).or_else(|| trouble::end_of(view, asked))?;
    let who = view.name(end.node());
    if let Some(answer) = answer_to(view, end) {
        return strange(view, &who, (asked, answer)).or_else(|| answered(view, end.node(), answer, until));
    }
    let withheld = |e: &&Event| matches!(e.what, What::IcmpWithheld { .. }) && e.node() == end.node();
    if let What::Drop { reason, .. } = end.what {
        if view.trace.events_of(asked).any(|e| withheld(&e)) {
            let text = format!(
                "{who} dropped it ({}) and kept its complaint back: of ICMP errors it sends six at once to one machine, then \
                 one a second, and no more than 1,000 a second to all (RFC 1812 4.3.2.8)",
                reason.say()
            );
            return Some(Why { text, origin: String::new(), code: "icmp.withheld".into() });
        }
        return Some(ended(view, end, "it"));
    }
    let text = format!("{who} had it, and no answer of it is known");
    Some(Why { text, origin: String::new(), code: "answer.none".into() })
}

/// An answer that reached the asker in the name of another than the one who was asked, so that nobody took it: it did not pass
/// the machine that had rewritten the question. (ICMP errors come in the name of whoever complains.)
fn strange(view: &View<'_>, who: &str, (asked, answer): (FrameId, FrameId)) -> Option<Why> {
    let end = view.delivered(answer).or_else(|| trouble::end_of(view, answer))?;
    let taken = matches!(end.what, What::Deliver { .. } | What::Drop { reason: DropReason::NoSocket, .. });
    if end.node() != asked.node() || !taken {
        return None;
    }
    let header = |bytes: &[u8]| {
        let (ip, _) = rt_wire::Ipv4Header::parse_unchecked(EthernetHeader::parse(bytes).ok()?.1).ok()?;
        (ip.protocol != rt_wire::protocol::ICMP).then_some(ip)
    };
    let called = header(&view.trace.sightings(asked).next()?.bytes)?.dst;
    let name = header(trouble::as_seen(view, end)?)?.src;
    let asker = view.name(end.node());
    let text = format!("{who} answered in the name of {name}, and {asker} had asked nobody but {called}");
    (name != called).then(|| Why { text, origin: String::new(), code: "answer.strange".into() })
}

/// What became of an answer.
fn answered(view: &View<'_>, by: NodeId, answer: FrameId, until: Time) -> Option<Why> {
    let who = view.name(by);
    if let Some(arrived) = view.delivered(answer) {
        let late = arrived.at.since(until);
        let text = format!("{who} answered, {} too late", words::ms(late));
        return (arrived.at > until).then(|| Why { text, origin: String::new(), code: "answer.late".into() });
    }
    let end = trouble::end_of(view, answer)?;
    if end.node() == by {
        return Some(ended(view, end, "its own answer"));
    }
    let why = ended(view, end, "the answer");
    Some(Why { text: format!("{who} answered, but {}", why.text), ..why })
}

/// Where and why a packet ended, in a clause, with the origin of the rule.
fn ended(view: &View<'_>, drop: &Event, what: &str) -> Why {
    let What::Drop { reason, place, port, rule } = drop.what else {
        return Why { text: String::new(), origin: String::new(), code: String::new() };
    };
    let rule = tell::rule_at(view, drop, place, rule);
    let link = view.trace.map.link_at(drop.node(), port).filter(|_| trouble::on_wire(drop));
    let text = match link {
        Some(link) => {
            let link = view.trace.map.link_name(link).replace(" - ", " and ");
            format!("{what} ended between {link} ({})", reason.say())
        }
        None => {
            let by = rule.as_ref().map_or(String::new(), |(text, _)| format!(" by the rule \"{text}\""));
            format!("{} drops {what}{by}: {}", view.name(drop.node()), words_of(reason))
        }
    };
    Why { text, origin: rule.map_or(String::new(), |(_, origin)| origin), code: reason.code().to_string() }
}

/// Who gets an answer to nothing listens for answers, not on ports.
fn words_of(reason: DropReason) -> &'static str {
    match reason {
        DropReason::NoSocket => "it waits for no such packet",
        reason => reason.say(),
    }
}

/// Events of a machine that are searched for its answer.
const SEARCHED: usize = 4_096;

/// The packet to the asker that a machine made of the end of the question: in the same instant, or when a program had thought.
fn answer_to(view: &View<'_>, end: &Event) -> Option<FrameId> {
    let ends = |bytes: &[u8]| {
        let (ethernet, packet) = EthernetHeader::parse(bytes).ok()?;
        let (ip, _) = rt_wire::Ipv4Header::parse_unchecked(packet).ok()?;
        (ethernet.ethertype == ethertype::IPV4).then_some((ip.src, ip.dst))
    };
    let here = |c: &&crate::Captured| c.node == end.node();
    let (asker, _) = ends(&view.trace.sightings(end.frame).rfind(here)?.bytes)?;
    // A packet that its own machine dropped was never seen.
    let answers = |frame: FrameId| match view.trace.sightings(frame).next() {
        Some(seen) => ends(&seen.bytes).is_some_and(|(_, dst)| dst == asker),
        None => true,
    };
    let mut inputs = vec![end.because];
    let later = view.trace.events_at(end.node()).skip_while(|e| e.id != end.id).take(SEARCHED);
    for event in later {
        if let What::TimerFired { armed_by, .. } = event.what
            && inputs.contains(&armed_by)
        {
            inputs.push(event.id);
        }
        let made =
            inputs.contains(&event.because) && event.frame != end.frame && event.frame.node() == end.node();
        if made && !event.frame.is_none() && answers(event.frame) {
            return Some(event.frame);
        }
    }
    None
}

/// The packets that a machine itself sent to others with this TTL within a time, with the instants, in order; those too that it
/// never got out.
pub(super) fn probes(
    view: &View<'_>,
    node: NodeId,
    ttl: u8,
    (from, to): (Time, Time),
) -> Vec<(Time, FrameId)> {
    let own = |frame: FrameId| frame.node() == node && !frame.is_none();
    let within = |at: Time| at >= from && at <= to;
    let is_probe = |bytes: &[u8]| {
        let packet = EthernetHeader::parse(bytes).ok().filter(|(e, _)| e.ethertype == ethertype::IPV4);
        let header = packet.and_then(|(_, packet)| rt_wire::Ipv4Header::parse_unchecked(packet).ok());
        header.is_some_and(|(ip, _)| ip.ttl == ttl)
    };
    let mut all: Vec<(Time, FrameId)> = Vec::new();
    for seen in view.trace.frames_at(node).filter(|c| c.way == rt_base::Way::Out && within(c.at)) {
        if own(seen.frame) && is_probe(&seen.bytes) && !all.iter().any(|(_, f)| *f == seen.frame) {
            all.push((seen.at, seen.frame));
        }
    }
    let unseen = |e: &&Event| {
        let dropped = matches!(e.what, What::Drop { .. }) && within(e.at);
        dropped && own(e.frame) && view.trace.sightings(e.frame).next().is_none()
    };
    all.extend(view.trace.events_at(node).filter(unseen).map(|e| (e.at, e.frame)));
    all.sort();
    all
}
