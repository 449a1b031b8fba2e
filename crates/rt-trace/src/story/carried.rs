//! A packet in a tunnel's TCP stream, in words: which segments carried it, and what it waited for.

use rt_base::{Event, Nanos, What};

use super::model::Line;
use super::view::View;
use super::words;
use crate::streams::{Carrying, Passage};

/// Segments named one by one.
const NAMED: usize = 3;

/// The line of a [`What::InStream`].
pub(crate) fn line(view: &View<'_>, event: &Event) -> Option<Line> {
    let What::InStream { offset, len, inward, .. } = event.what else { return None };
    let of_event = |p: &Passage<'_>| {
        let end = if inward { p.left } else { Some(p.entered) };
        end.is_some_and(|e| e.id == event.id)
    };
    let passage = view.trace.in_streams(event.frame).into_iter().find(of_event);
    let line = match (&passage, inward) {
        (Some(passage), false) => went(passage, offset, len),
        (Some(passage), true) => came(passage),
        // The other end is not known: somebody on the way ends the connection.
        (None, _) => {
            let text = format!("{len} bytes from the stream's byte {offset} on");
            Line::new(if inward { "stream.out" } else { "stream.in" }, "stream", text)
        }
    };
    Some(line.with("offset", offset).with("length", len))
}

fn went(passage: &Passage<'_>, offset: u64, len: u32) -> Line {
    let needed: Vec<&Carrying<'_>> = passage.segments.iter().filter(|s| s.needed).collect();
    let copies = passage.segments.len() - needed.len();
    let (first, last) = (offset, offset + u64::from(len).saturating_sub(1));
    let mut text = format!("bytes {first} to {last} of the tunnel's stream");
    if passage.segments.is_empty() {
        text += ", which no segment has carried";
        return Line::new("stream.in", "stream", text);
    }
    let named: Vec<String> = needed.iter().take(NAMED).map(|s| name(s)).collect();
    let more = needed.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    text += &match needed.len() {
        0 => ", and no segment with them has come to the other end".to_owned(),
        1 => format!(", carried by the segment {}", named.concat()),
        n => format!(", carried by {n} segments: {}{more}", words::list(&named)),
    };
    let sent = passage.segments.iter().map(|s| s.sent.at).min().unwrap_or(passage.entered.at);
    let waited = sent.since(passage.entered.at);
    if waited > Nanos::ZERO {
        text += &format!(". In the connection's send buffer for {}", words::ms(waited));
    }
    if copies > 0 {
        let them = words::count(copies as u64, "more segment");
        text += &format!(". {them} with some of them did not count: lost, or late");
    }
    let short = match needed.len() {
        0 => "in the stream".to_owned(),
        n => format!("in {}", words::count(n as u64, "segment")),
    };
    Line::new("stream.in", "stream", text)
        .with("segments", needed.len())
        .with("copies", copies)
        .with("waited_ns", waited.0)
        .with("short", short)
}

/// `seq 1107163552 (1448 bytes)`.
fn name(segment: &Carrying<'_>) -> String {
    let What::TcpSend(record) = &segment.sent.what else { return String::new() };
    format!("seq {} ({} bytes)", record.seq, record.len)
}

fn came(passage: &Passage<'_>) -> Line {
    let (Some(left), Some(last)) = (passage.left, passage.last()) else {
        return Line::new("stream.out", "stream", "whole again");
    };
    let arrived = last.arrived.map_or(left.at, |e| e.at);
    let waited = left.at.since(arrived);
    let line = Line::new("stream.out", "stream", "").with("waited_ns", waited.0);
    if waited == Nanos::ZERO {
        return Line { text: format!("whole with the segment {}", name(&last)), ..line };
    }
    let text = format!(
        "all its bytes were here with the segment {}; then it waited {} for bytes before them (head-of-line blocking)",
        name(&last),
        words::ms(waited)
    );
    let short = format!("waits {} behind a hole in the stream", words::ms(waited));
    Line { text, ..line.with("short", short) }
}
