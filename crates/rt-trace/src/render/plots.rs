//! The plots of a connection as SVG: time-sequence (as tcptrace and Wireshark draw it), congestion window, round-trip time,
//! queues, states. Layout only; the data are [`crate::plot`]'s.
//!
//! Bounded: whatever the length of the run, points that fall onto the same pixels are drawn once, and only short
//! connections have a title for every segment.

mod states;

use rt_base::Nanos;

use super::chart::{Chart, HEIGHT, Unit, WIDTH, Words, grouped, within};
use super::layout::Page;
use super::svg::Svg;
use crate::plot::{Flow, Flows, QueueCurve, Sent, SentWhy, TimeSequence};
use crate::read::Side;
use crate::story::words::{bytes, count, flags, ms};

/// Which plots to draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlotKind {
    /// Segments, acknowledgements, window, SACK blocks over time.
    TimeSequence,
    /// Congestion window, threshold, bytes in flight.
    Cwnd,
    /// Round-trip times and timeouts.
    Rtt,
    /// The queues on the way.
    Queue,
    /// Both ends' states.
    States,
    /// All of these, one below the other.
    All,
}

impl PlotKind {
    /// Every single plot, in the order of [`PlotKind::All`].
    pub const EACH: [PlotKind; 5] =
        [PlotKind::TimeSequence, PlotKind::Cwnd, PlotKind::Rtt, PlotKind::Queue, PlotKind::States];
}

/// Segments that have a title each; a plot of more has titles for what was sent again alone.
const TITLED: usize = 800;
/// Titles of segments that were sent again or lost, at most.
const MARKED: usize = 600;
/// Queues drawn, the fullest ones.
const QUEUES: usize = 3;
/// Height of one queue's chart, pixels.
const QUEUE_HEIGHT: u32 = 320;

/// Draws plots of what one side of a connection sent; without a side, the one that sent more.
#[must_use]
pub fn plots(flows: &Flows<'_>, flow: &Flow, which: PlotKind, from: Option<Side>) -> String {
    let from = from.unwrap_or_else(|| flows.main_sender(flow));
    let one = |which| one(flows, flow, which, from);
    let parts: Vec<(Svg, u32)> = match which {
        PlotKind::All => PlotKind::EACH.into_iter().map(one).collect(),
        which => vec![one(which)],
    };
    let mut all = Svg::default();
    let mut height = 0;
    for (part, high) in parts {
        all.group_at(height, part);
        height += high;
    }
    all.document(WIDTH, height)
}

fn one(flows: &Flows<'_>, flow: &Flow, which: PlotKind, from: Side) -> (Svg, u32) {
    let chart = match which {
        PlotKind::TimeSequence => time_sequence(flows, flow, from),
        PlotKind::Cwnd => congestion(flows, flow, from),
        PlotKind::Rtt => round_trips(flows, flow, from),
        PlotKind::Queue => return queues(flows, flow, from),
        PlotKind::States | PlotKind::All => return states::draw(flow, &flows.states(flow)),
    };
    (
        chart.unwrap_or_else(|| nothing(&words(flow, from, which), "that side is no machine of this run")),
        HEIGHT,
    )
}

/// `home.laptop 192.168.1.10:52432`.
fn ends(flow: &Flow, from: Side) -> (String, String) {
    let name =
        |name: &str, end: &str| if name.is_empty() { end.to_string() } else { format!("{name} {end}") };
    let (client, server) = (name(&flow.client, &flow.ends.from), name(&flow.server, &flow.ends.to));
    if from == Side::Client { (client, server) } else { (server, client) }
}

/// The words of a chart, with what it leaves out at the end.
fn titled(flow: &Flow, from: Side, which: PlotKind, span: (u64, u64)) -> Words {
    let mut words = words(flow, from, which);
    if span.1 < flow.end_ns {
        let rest = ms(Nanos(flow.end_ns - span.1));
        words.subtitle += &format!("; the last {rest}, silence and the hang-up, are not drawn");
    }
    words
}

fn words(flow: &Flow, from: Side, which: PlotKind) -> Words {
    let (sender, receiver) = ends(flow, from);
    let (title, y) = match which {
        PlotKind::TimeSequence => ("Time-sequence", "sequence number, relative"),
        PlotKind::Cwnd => ("Congestion window", "bytes"),
        PlotKind::Rtt => ("Round-trip time", "time for one round trip"),
        PlotKind::Queue => ("Queue", "frames that wait"),
        PlotKind::States | PlotKind::All => ("States", ""),
    };
    let sent = flow.bytes[usize::from(from == Side::Server)];
    let again = count(u64::from(flow.retransmissions), "retransmission");
    let took = ms(Nanos(flow.end_ns.saturating_sub(flow.start_ns)));
    Words {
        title: format!("{title}: {sender} → {receiver}"),
        subtitle: format!("connection {}, {} in this direction, {took}, {again}", flow.number, bytes(sent)),
        y: y.to_string(),
    }
}

/// An empty chart that says why it is empty.
fn nothing(words: &Words, why: &str) -> Svg {
    let mut svg = Svg::default();
    let anchor = super::svg::Anchor::Start;
    svg.text("title", (160, 260), anchor, &words.title);
    svg.text("soft", (160, 460), anchor, &words.subtitle);
    svg.text("soft", (160, 900), anchor, why);
    svg
}

/// The time that the data of a connection takes: without the silence before its FINs if that is most of it. Probes and lost
/// segments are no silence.
fn span(sequence: &TimeSequence, flow: &Flow) -> (u64, u64) {
    let end = flow.end_ns.max(flow.start_ns + 1);
    let tells = |s: &&Sent| s.len > 0 || s.why == SentWhy::Probe || s.lost.is_some();
    let last_data = sequence.sent.iter().rev().find(tells).map_or(end, |s| s.at.0);
    let answered = sequence.acks.iter().find(|a| a.at.0 > last_data).map_or(last_data, |a| a.at.0);
    let busy = answered.saturating_sub(flow.start_ns);
    if end.saturating_sub(answered) > 4 * busy.max(1) && busy > 0 {
        (flow.start_ns, answered + busy / 4)
    } else {
        (flow.start_ns, end)
    }
}

fn kind(sent: &Sent) -> (&'static str, &'static str) {
    match sent.why {
        SentWhy::First => ("blue", "segment"),
        SentWhy::FastRetransmit => ("red", "fast retransmit"),
        SentWhy::Timeout => ("orange", "after a timeout (RTO)"),
        SentWhy::TailProbe => ("purple", "tail loss probe"),
        SentWhy::Probe => ("teal", "window probe or keepalive"),
        SentWhy::Again => ("red", "sent again"),
    }
}

fn time_sequence(flows: &Flows<'_>, flow: &Flow, from: Side) -> Option<Svg> {
    let sequence = flows.time_sequence(flow, from)?;
    let span = span(&sequence, flow);
    let top = sequence.sent.iter().map(|s| s.end).max().unwrap_or(1).max(1);
    // The window line is shown as far as it does not make the rest small.
    let edge = sequence.acks.iter().map(|a| a.edge).max().unwrap_or(0);
    let high = if edge <= top * 2 { top.max(edge) } else { top };
    let mut chart = Chart::new(
        &titled(flow, from, PlotKind::TimeSequence, span),
        span,
        (0, high + high / 40 + 1),
        Unit::Seq,
    );
    let acks = || sequence.acks.iter().filter_map(|a| a.ack.map(|n| (a.at.0, n)));
    let edges: Vec<(u64, u64)> =
        sequence.acks.iter().filter(|a| chart.y.holds(a.edge)).map(|a| (a.at.0, a.edge)).collect();
    chart.steps("grey thin", &edges, span.1);
    chart.steps("green", &acks().collect::<Vec<_>>(), span.1);
    let blocks: Vec<(u64, u64, u64)> = sequence.sacks.iter().map(|s| (s.at.0, s.left, s.right)).collect();
    chart.bars("teal", &blocks);
    segments(&mut chart, &sequence);
    chart.key("blue", "bar", "segment");
    for sent in
        sequence.sent.iter().filter(|s| s.why != SentWhy::First && (s.end > s.seq || s.why == SentWhy::Probe))
    {
        chart.key(kind(sent).0, "bar", kind(sent).1);
    }
    let lost = || sequence.sent.iter().chain(&sequence.unsent).filter(|s| s.lost.is_some());
    match (lost().any(|s| !s.reached), lost().any(|s| s.reached)) {
        (true, true) => chart.key("red", "x", "never arrived, or refused"),
        (true, false) => chart.key("red", "x", "never arrived"),
        (false, true) => chart.key("red", "x", "refused where it arrived"),
        (false, false) => {}
    }
    chart.key("green", "line", "acknowledged");
    if !blocks.is_empty() {
        chart.key("teal", "bar", "SACK block");
    }
    if !edges.is_empty() {
        chart.key("grey thin", "line", "receiver's window ends");
    }
    Some(chart.finish())
}

fn segments(chart: &mut Chart, sequence: &TimeSequence) {
    // A keepalive's probe has no bytes, and is what such a plot is about.
    let shown = || sequence.sent.iter().filter(|s| s.end > s.seq || s.why == SentWhy::Probe);
    let title = |s: &Sent| {
        let mut text = format!(
            "{} {}..{} ({} B, {}), {}",
            kind(s).1,
            grouped(s.seq),
            grouped(s.end),
            s.len,
            flags(s.flags),
            ms(Nanos(s.at.0))
        );
        if let Some(reason) = s.lost {
            let what = if s.reached { "refused" } else { "never arrived" };
            text += &format!("\n{what}: {}", reason.say());
        }
        text
    };
    let least = sequence.sent.iter().map(|s| s.end).max().unwrap_or(0) / 60 + 1;
    let bar = |s: &Sent| (s.at.0, s.seq, if s.end > s.seq { s.end } else { s.seq + least });
    if sequence.sent.len() <= TITLED {
        for s in shown() {
            chart.bar(kind(s).0, bar(s), &title(s));
        }
    } else {
        let plain: Vec<_> =
            shown().filter(|s| s.why == SentWhy::First).map(|s| (s.at.0, s.seq, s.end)).collect();
        chart.bars("blue", &plain);
        let again = || shown().filter(|s| s.why != SentWhy::First);
        for s in again().take(MARKED) {
            chart.bar(kind(s).0, bar(s), &title(s));
        }
        let rest: Vec<_> = again().skip(MARKED).map(|s| (s.at.0, s.seq, s.end)).collect();
        chart.bars("red", &rest);
    }
    for s in sequence.unsent.iter().filter(|s| s.end > s.seq).take(MARKED) {
        chart.bar(kind(s).0, (s.at.0, s.seq, s.end), &title(s));
    }
    let lost = sequence.sent.iter().chain(&sequence.unsent).filter(|s| s.lost.is_some());
    for s in lost.take(MARKED) {
        chart.cross("red", (s.at.0, s.end), &title(s));
    }
}

fn congestion(flows: &Flows<'_>, flow: &Flow, from: Side) -> Option<Svg> {
    let curve = flows.congestion(flow, from)?;
    let span = span(&flows.time_sequence(flow, from)?, flow);
    let highest = |points: &[(u64, u64)]| points.iter().map(|p| p.1).max().unwrap_or(0);
    let most = highest(&curve.cwnd).max(highest(&curve.in_flight)).max(1);
    let extra = [highest(&curve.ssthresh), highest(&curve.peer_window)];
    let high = extra.into_iter().filter(|v| *v <= most + most / 2).fold(most, u64::max);
    let words = titled(flow, from, PlotKind::Cwnd, span);
    let mut chart = Chart::new(&words, span, (0, high + high / 20 + 1), Unit::Bytes);
    if highest(&curve.peer_window) <= high {
        chart.steps("grey thin", &curve.peer_window, span.1);
        chart.key("grey thin", "line", "peer's window");
    }
    chart.steps("green thin", &curve.in_flight, span.1);
    chart.steps("blue", &curve.cwnd, span.1);
    let shown: Vec<(u64, u64)> = curve.ssthresh.iter().copied().filter(|p| p.1 <= high + high / 20).collect();
    chart.steps("orange dash", &shown, span.1);
    for (at, why) in curve.decisions.iter().take(MARKED) {
        let cwnd = curve.cwnd.iter().take_while(|p| p.0 <= *at).last().map_or(0, |p| p.1);
        chart.cross("red", (*at, cwnd), &format!("{why}, {}", ms(Nanos(*at))));
    }
    chart.key("blue", "line", "congestion window (cwnd)");
    chart.key("green thin", "line", "bytes in flight");
    if !shown.is_empty() {
        chart.key("orange dash", "line", "slow start threshold (ssthresh)");
    }
    if !curve.decisions.is_empty() {
        chart.key("red", "x", "a decision (hover)");
    }
    Some(chart.finish())
}

fn round_trips(flows: &Flows<'_>, flow: &Flow, from: Side) -> Option<Svg> {
    let curve = flows.round_trips(flow, from)?;
    let span = span(&flows.time_sequence(flow, from)?, flow);
    let highest = |points: &[(u64, u64)]| points.iter().map(|p| p.1).max().unwrap_or(0);
    let most = highest(&curve.samples).max(highest(&curve.srtt)).max(1);
    let rto = highest(&curve.rto);
    let high = if rto <= most * 8 { most.max(rto) } else { most };
    let mut words = titled(flow, from, PlotKind::Rtt, span);
    if rto > high {
        words.subtitle += &format!("; RTO up to {}, above the chart", ms(Nanos(rto)));
    }
    let mut chart = Chart::new(&words, span, (0, high + high / 10 + 1), Unit::Time);
    let rtos: Vec<(u64, u64)> = curve.rto.iter().copied().filter(|p| chart.y.holds(p.1)).collect();
    chart.steps("orange dash", &rtos, span.1);
    chart.steps("blue", &curve.srtt, span.1);
    chart.dots("green", &curve.samples);
    chart.key("green", "dot", "samples (segment to its acknowledgement)");
    chart.key("blue", "line", "smoothed (SRTT)");
    if !rtos.is_empty() {
        chart.key("orange dash", "line", "retransmission timeout (RTO)");
    }
    Some(chart.finish())
}

fn queues(flows: &Flows<'_>, flow: &Flow, from: Side) -> (Svg, u32) {
    let words = words(flow, from, PlotKind::Queue);
    let Some(sequence) = flows.time_sequence(flow, from) else {
        return (nothing(&words, "that side is no machine of this run"), 160);
    };
    let span = span(&sequence, flow);
    let mut all = flows.queues(flow, from);
    all.retain(|q| !q.packets.is_empty() || !q.overflows.is_empty());
    if all.is_empty() {
        return (nothing(&words, "No frame waited behind another on the way."), 160);
    }
    // A queue in which nothing waited a hundredth as long as in the longest one tells nothing.
    let longest = all.iter().map(|q| q.longest_ns).max().unwrap_or(0);
    let waited = all.len();
    all.retain(|q| q.longest_ns > longest / 100 || !q.overflows.is_empty());
    let left_out = waited - all.len().min(QUEUES);
    let mut fullest: Vec<(u64, usize)> =
        all.iter().enumerate().map(|(i, q)| (q.longest_ns.max(q.overflows.len() as u64), i)).collect();
    fullest.sort_by_key(|(longest, i)| (std::cmp::Reverse(*longest), *i));
    let mut shown: Vec<usize> = fullest.into_iter().take(QUEUES).map(|(_, i)| i).collect();
    shown.sort_unstable();
    let mut svg = Svg::default();
    let mut height = 0;
    for i in shown {
        svg.group_at(height, queue(&all[i], &words, span, left_out));
        height += QUEUE_HEIGHT;
    }
    (svg, height)
}

fn queue(curve: &QueueCurve, words: &Words, span: (u64, u64), left_out: usize) -> Svg {
    let rate = match curve.rate_bps {
        0 => "no limit".to_string(),
        r if r.is_multiple_of(1_000_000) => format!("{} Mbit/s", r / 1_000_000),
        r => format!("{} kbit/s", r / 1_000),
    };
    let highest = |points: &[(u64, u64)]| within(points, span).iter().map(|p| p.1).max().unwrap_or(1).max(1);
    let (most, heaviest) = (highest(&curve.packets), highest(&curve.bytes));
    let overflows = || curve.overflows.iter().filter(|d| d.at_ns >= span.0 && d.at_ns <= span.1);
    let drops = match overflows().count() {
        0 => String::new(),
        n => format!(", {} dropped", count(n as u64, "frame")),
    };
    let more = match left_out {
        0 => String::new(),
        n => format!(" ({} not drawn)", count(n as u64, "shorter queue")),
    };
    let words = Words {
        title: format!("Queue of {} towards {}", curve.from, curve.to),
        subtitle: format!(
            "{rate}; at most {} ({}) waited, the longest {}{drops}; all traffic{more}",
            count(most, "frame"),
            bytes(heaviest),
            ms(Nanos(curve.longest_ns))
        ),
        y: words.y.clone(),
    };
    let mut chart = Chart::of_two(&words, span, most + most / 10 + 1, QUEUE_HEIGHT);
    let right = chart.right_axis(heaviest + heaviest / 10 + 1, "bytes that wait");
    chart.steps_right("grey thin", right, &curve.bytes, span.1);
    chart.steps("blue", &curve.packets, span.1);
    for drop in overflows().take(MARKED) {
        let whose = if drop.own { "this connection's frame" } else { "another connection's frame" };
        let title = format!("no room: {whose} dropped, {}", ms(Nanos(drop.at_ns)));
        chart.cross(if drop.own { "red" } else { "grey" }, (drop.at_ns, most), &title);
    }
    chart.key("blue", "line", "frames that wait");
    chart.key("grey thin", "line", "bytes that wait (right)");
    if overflows().any(|d| d.own) {
        chart.key("red", "x", "dropped: no room");
    }
    if overflows().any(|d| !d.own) {
        chart.key("grey", "x", "another connection's frame dropped");
    }
    chart.finish()
}

/// Connections listed at most.
const LISTED: usize = 100;

/// The list of connections as text.
#[must_use]
pub fn flows(flows: &[Flow]) -> String {
    let mut page = Page::new();
    page.plain(
        0,
        "  no  client → server                                        bytes → / ←        duration  again",
    );
    let real = || flows.iter().filter(|f| !f.forged);
    for flow in real().take(LISTED) {
        let ends = format!("{} {} → {} {}", flow.client, flow.ends.from, flow.server, flow.ends.to);
        let sent = format!("{} / {}", bytes(flow.bytes[0]), bytes(flow.bytes[1]));
        let took = ms(Nanos(flow.end_ns.saturating_sub(flow.start_ns)));
        let again = flow.retransmissions.to_string();
        let number = flow.number.to_string();
        page.plain(
            0,
            &format!("{number:>4}  {:<52}  {sent:>19}  {took:>14}  {again:>5}", shorten(&ends, 52)),
        );
    }
    let (all, forged) = (real().count(), flows.len() - real().count());
    if all > LISTED {
        page.plain(0, &format!("and {} more", all - LISTED));
    }
    if forged > 0 {
        let numbers = if forged == 1 {
            format!("number {}", all + 1)
        } else {
            format!("numbers {} to {}", all + 1, flows.len())
        };
        page.prose(
            0,
            &format!("not connections, but segments that a forger sent in somebody else's name: {numbers}"),
        );
    }
    page.finish()
}

/// Names first, then addresses: what does not fit is cut at the end.
fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_string();
    }
    let kept: String = text.chars().take(room - 1).collect();
    format!("{kept}…")
}
