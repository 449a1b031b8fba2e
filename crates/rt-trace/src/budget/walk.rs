//! The walk back from the end.

use std::net::SocketAddr;

use rt_base::{Blocked, ConnId, Event, EventId, FrameId, LinkId, NodeId, SendWhy, TcpSendRecord, Time, What};

use rt_wire::{EthernetHeader, Ipv4Header, ethertype, protocol};

use super::{Budget, Cause, Crossing, Problem, ProblemKind, Slice};
use crate::{Captured, Trace};

/// Walks back from the event `end` to the instant `start` and says what each nanosecond was spent on.
///
/// `end` may be any recorded event. What happened before `start` is cut off: a slice that began earlier begins there.
#[must_use]
pub fn walk(trace: &Trace, end: EventId, start: Time) -> Budget {
    let Some(last) = trace.event(end) else {
        let problems = vec![Problem { at: end, kind: ProblemKind::NotKept }];
        return Budget { start, end: start, problems, ..Budget::default() };
    };
    let mut walker = Walker {
        trace,
        start,
        asked: last.node(),
        now: last.at.max(start),
        budget: Budget { start, end: last.at.max(start), ..Budget::default() },
    };
    walker.run(last);
    walker.budget.slices.reverse();
    walker.budget.crossings.reverse();
    walker.budget
}

struct Walker<'t> {
    trace: &'t Trace,
    start: Time,
    /// Whose end it is.
    asked: NodeId,
    /// Everything from here to the end is explained.
    now: Time,
    budget: Budget,
}

/// Where to go on, and which event led there.
struct Next {
    event: EventId,
    from: EventId,
}

/// What a slice is about, besides its times.
#[derive(Clone, Copy)]
struct About {
    node: NodeId,
    link: Option<LinkId>,
    frame: FrameId,
    conn: ConnId,
    ended_by: EventId,
}

impl Walker<'_> {
    fn run(&mut self, last: &Event) {
        let mut next = match last.what {
            What::Boot | What::Command { .. } | What::TimerFired { .. } => {
                Some(Next { event: last.id, from: last.id })
            }
            _ => Some(Next { event: last.because, from: last.id }),
        };
        // A chain is never longer than the trace; a trace read from a file might claim otherwise.
        let mut steps_left = self.trace.events.len() * 2 + 16;
        while let Some(Next { event, from }) = next.take() {
            if self.now <= self.start {
                return;
            }
            if steps_left == 0 {
                return self.give_up(from, ProblemKind::Endless);
            }
            steps_left -= 1;
            if event.is_none() {
                // What is said of a real program has no cause among the events, but a time.
                let said = self.trace.event(from).filter(|e| matches!(e.what, What::App(_)));
                match said.filter(|e| self.trace.played_since(e.node()).is_some_and(|at| at <= e.at)) {
                    Some(said) => next = self.outside(said, from),
                    None => return self.give_up(from, ProblemKind::NoCause),
                }
                continue;
            }
            let Some(event) = self.trace.event(event) else {
                return self.give_up(from, ProblemKind::NotKept);
            };
            next = self.input(event, from);
        }
        if self.now > self.start {
            self.give_up(last.id, ProblemKind::NoCause);
        }
    }

    /// Explains one input and says what to go on with.
    fn input(&mut self, event: &Event, from: EventId) -> Option<Next> {
        match &event.what {
            What::Transmit { .. } => self.arrival(event, from),
            What::TimerFired { kind, conn, armed_by, armed_at } => {
                self.close_gap(event.at, from);
                let about = About { conn: *conn, ..About::of(event) };
                self.slice(*armed_at, Cause::Timer(*kind), about);
                Some(Next { event: *armed_by, from: event.id })
            }
            What::Boot | What::Command { .. } => {
                self.close_gap(event.at, from);
                if self.now > self.start {
                    if matches!(event.what, What::Command { .. }) && event.node() != self.asked {
                        self.slice(self.start, Cause::Elsewhere, About::of(event));
                    } else {
                        self.give_up(event.id, ProblemKind::NoCause);
                    }
                }
                None
            }
            What::FromOutside { .. } => self.outside(event, from),
            // The origin of a segment may be named by the segment sent before it.
            What::TcpSend(record) => {
                self.close_gap(event.at, from);
                Some(self.segment(event, record))
            }
            _ => {
                self.close_gap(event.at, from);
                self.problem(event.id, ProblemKind::NotAnInput);
                Some(Next { event: event.because, from: event.id })
            }
        }
    }

    /// A frame arrived: the four parts of its crossing, then why it was sent.
    fn arrival(&mut self, event: &Event, from: EventId) -> Option<Next> {
        let What::Transmit { link, port, processing, start, done, arrive } = event.what else { return None };
        // A duplicate made by the link arrives later than the original: it was on the way that much longer.
        if self.now < arrive {
            self.problem(from, ProblemKind::Gap);
        }
        let offered = event.at + rt_base::Nanos(u64::from(processing));
        let about = About { link: Some(link), ..About::of(event) };
        let arrived = self.now;
        self.slice(done, Cause::Propagation, about);
        self.slice(start, Cause::Serialisation, about);
        self.slice(offered, Cause::Queue, about);
        self.slice(event.at, Cause::Processing, About { link: None, ..about });
        self.budget.crossings.push(Crossing {
            event: event.id,
            frame: event.frame,
            link,
            node: event.node(),
            port,
            out: offered,
            arrive: arrived,
        });
        let sent = self
            .trace
            .events_of(event.frame)
            .find(|e| e.node() == event.node() && e.at == event.at && matches!(e.what, What::TcpSend(_)));
        match sent.map(|e| (e, &e.what)) {
            Some((sent, What::TcpSend(record))) => Some(self.segment(sent, record)),
            _ => Some(Next { event: event.because, from: event.id }),
        }
    }

    /// A real program did something. It cannot be asked why: whatever reached it last on the same connection, or else at all,
    /// is taken for the reason, and the time since for its own.
    fn outside(&mut self, event: &Event, from: EventId) -> Option<Next> {
        self.close_gap(event.at, from);
        let flow = self.trace.sent_because(event.id).and_then(flow_of);
        let reached = self.trace.reached_outside(event.id);
        let (mut last, mut of_flow) = (None, None);
        for arrived in reached {
            if arrived.at < self.start {
                break;
            }
            last = last.or(Some(arrived));
            let same =
                flow.is_some() && self.trace.sightings(arrived.frame).next_back().and_then(flow_of) == flow;
            if same || flow.is_none() {
                of_flow = Some(arrived);
                break;
            }
        }
        let about = About::of(event);
        match of_flow.or(last) {
            Some(arrived) => {
                self.slice(arrived.at, Cause::Outside, about);
                Some(Next { event: arrived.because, from: arrived.id })
            }
            None => {
                self.slice(self.start, Cause::Outside, about);
                None
            }
        }
    }

    /// A TCP segment was built now: did its bytes, or the loss of their first copy, wait?
    fn segment(&mut self, sent: &Event, record: &TcpSendRecord) -> Next {
        let because = Next { event: sent.because, from: sent.id };
        if record.origin.is_none() || record.origin_at >= self.now {
            return because;
        }
        match record.why {
            SendWhy::NewData | SendWhy::Fin => self.held_back(sent, record),
            why => {
                let about = About { conn: record.conn, ..About::of(sent) };
                self.slice(record.origin_at, Cause::Lost(why), about);
            }
        }
        Next { event: record.origin, from: sent.id }
    }

    /// Splits the time from the writing of a segment's last byte to its sending by what TCP said it waited for.
    fn held_back(&mut self, sent: &Event, record: &TcpSendRecord) {
        let reasons = self.reasons(sent, record);
        let mut ended_by = sent.id;
        for (at, reason, said_by) in reasons.into_iter().rev() {
            let about = About { conn: record.conn, ended_by, ..About::of(sent) };
            match reason {
                Some(reason) => self.blocked(at.max(record.origin_at), reason, about),
                None => {
                    if self.now > at.max(record.origin_at) {
                        self.problem(sent.id, ProblemKind::NoReason);
                    }
                    self.slice(at.max(record.origin_at), Cause::Unnamed, about);
                }
            }
            ended_by = said_by;
        }
    }

    /// Time for which TCP gave one reason, back to `from`. Where it was also waiting to notice a loss, that is what it
    /// was really waiting for: the window stays full because an acknowledgement cannot come.
    fn blocked(&mut self, from: Time, reason: Blocked, about: About) {
        let from = from.max(self.start);
        while self.now > from {
            let losses = self.trace.noticed_losses(about.node, about.conn).filter_map(|e| match &e.what {
                What::TcpSend(record) => Some((record.origin_at, e, record.why)),
                _ => None,
            });
            let (mut covering, mut below): (Option<(Time, &Event, SendWhy)>, Time) = (None, from);
            for (since, event, why) in losses {
                if event.at >= self.now && since < self.now {
                    let sooner = covering.is_none_or(|(_, best, _)| event.at < best.at);
                    covering = if sooner { Some((since, event, why)) } else { covering };
                } else if event.at < self.now {
                    below = below.max(event.at);
                }
            }
            match covering {
                Some((since, event, why)) => {
                    let about = About { frame: event.frame, ended_by: event.id, ..about };
                    self.slice(since.max(from), Cause::Lost(why), about);
                }
                None => self.slice(below, Cause::Blocked(reason), about),
            }
        }
    }

    /// The reasons in force between the writing and the sending: (since, reason, event that said so), in order.
    fn reasons(&self, sent: &Event, record: &TcpSendRecord) -> Vec<(Time, Option<Blocked>, EventId)> {
        let mut out = vec![(record.origin_at, None, record.origin)];
        for event in self.trace.blocked_of(sent.node(), record.conn) {
            if event.at > sent.at || event.id == sent.id {
                break;
            }
            let What::TcpBlocked { reason, .. } = event.what else { continue };
            if event.at <= record.origin_at {
                out.clear();
            }
            out.push((event.at, Some(reason), event.id));
        }
        out
    }

    /// Explains the time from `from` (not before the start) to now.
    fn slice(&mut self, from: Time, cause: Cause, about: About) {
        let from = from.max(self.start);
        if from >= self.now {
            return;
        }
        let About { node, link, frame, conn, ended_by } = about;
        self.budget.slices.push(Slice {
            start: from,
            end: self.now,
            cause,
            node,
            link,
            frame,
            conn,
            ended_by,
        });
        self.now = from;
    }

    /// An input that ended before now leaves time that nobody explains: say so.
    fn close_gap(&mut self, at: Time, from: EventId) {
        if at == self.now {
            return;
        }
        self.problem(from, ProblemKind::Gap);
        let about =
            About { node: from.node(), link: None, frame: FrameId::NONE, conn: ConnId(0), ended_by: from };
        self.slice(at, Cause::Unnamed, about);
    }

    fn give_up(&mut self, at: EventId, kind: ProblemKind) {
        self.problem(at, kind);
        let about =
            About { node: at.node(), link: None, frame: FrameId::NONE, conn: ConnId(0), ended_by: at };
        self.slice(self.start, Cause::Unnamed, about);
    }

    fn problem(&mut self, at: EventId, kind: ProblemKind) {
        self.budget.problems.push(Problem { at, kind });
    }
}

/// The TCP or UDP conversation that a frame belongs to, the same for both directions.
fn flow_of(seen: &Captured) -> Option<(u8, SocketAddr, SocketAddr)> {
    let (ethernet, rest) = EthernetHeader::parse(&seen.bytes).ok()?;
    if ethernet.ethertype != ethertype::IPV4 {
        return None;
    }
    let (ip, payload) = Ipv4Header::parse(rest).ok()?;
    if !matches!(ip.protocol, protocol::TCP | protocol::UDP) {
        return None;
    }
    let [a, b, c, d] = *payload.first_chunk::<4>()?;
    let src = SocketAddr::new(ip.src.into(), u16::from_be_bytes([a, b]));
    let dst = SocketAddr::new(ip.dst.into(), u16::from_be_bytes([c, d]));
    Some((ip.protocol, src.min(dst), src.max(dst)))
}

impl About {
    fn of(event: &Event) -> About {
        About { node: event.node(), link: None, frame: event.frame, conn: ConnId(0), ended_by: event.id }
    }
}
