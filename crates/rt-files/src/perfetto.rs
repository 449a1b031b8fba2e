//! A time line that Perfetto (ui.perfetto.dev) and `chrome://tracing` open: the Chrome trace event format, one track per
//! node and one per request.
//!
//! Times are microseconds with three decimals, so nanoseconds survive. Spans of one track that overlap are spread over
//! lanes (`tid`s), since the format nests what overlaps.

use rt_base::Time;
use serde_json::{Map, Value, json};

/// A group of tracks: a node, or the requests.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Track {
    /// `home.laptop`, `request 1: GET https://google.com/`.
    pub name: String,
    /// What happened on it.
    pub spans: Vec<Span>,
}

/// One thing with a beginning and an end.
#[derive(Clone, PartialEq, Debug)]
pub struct Span {
    /// What it is called.
    pub name: String,
    /// Its kind: `queue`, `tls`, `request`.
    pub category: String,
    /// When it began.
    pub start: Time,
    /// When it ended (not before `start`).
    pub end: Time,
    /// More about it, shown on click.
    pub args: Vec<(String, String)>,
}

/// The whole document.
#[must_use]
pub fn document(tracks: &[Track]) -> String {
    let mut events = Vec::new();
    for (index, track) in tracks.iter().enumerate() {
        let pid = index + 1;
        events.push(json!({ "ph": "M", "pid": pid, "name": "process_name", "args": { "name": track.name } }));
        events.push(
            json!({ "ph": "M", "pid": pid, "name": "process_sort_index", "args": { "sort_index": pid } }),
        );
        let lanes = lanes(&track.spans);
        for (span, lane) in track.spans.iter().zip(lanes) {
            events.push(span_event(pid, lane, span));
        }
    }
    let document = json!({ "displayTimeUnit": "ns", "traceEvents": events });
    format!("{document}\n")
}

fn span_event(pid: usize, lane: usize, span: &Span) -> Value {
    let args: Map<String, Value> = span.args.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    json!({
        "ph": "X",
        "pid": pid,
        "tid": lane + 1,
        "name": span.name,
        "cat": span.category,
        "ts": micros(span.start.0),
        "dur": micros(span.end.since(span.start).0),
        "args": args,
    })
}

/// Nanoseconds as microseconds; exact up to 2^53 ns (104 days).
fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

/// The first lane in which a span overlaps no earlier one unless it lies inside it.
fn lanes(spans: &[Span]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&i| (spans[i].start, std::cmp::Reverse(spans[i].end), i));
    let mut open: Vec<Vec<Time>> = Vec::new();
    let mut lane_of = vec![0; spans.len()];
    for i in order {
        let span = &spans[i];
        let free = open.iter_mut().position(|ends| {
            ends.retain(|end| *end > span.start);
            ends.last().is_none_or(|end| *end >= span.end)
        });
        let lane = free.unwrap_or_else(|| {
            open.push(Vec::new());
            open.len() - 1
        });
        open[lane].push(span.end);
        lane_of[i] = lane;
    }
    lane_of
}

#[cfg(test)]
mod tests {
    use super::{Span, Track, document, lanes};
    use rt_base::Time;

    fn span(start: u64, end: u64) -> Span {
        Span { name: "s".into(), category: "c".into(), start: Time(start), end: Time(end), args: Vec::new() }
    }

    #[test]
    fn spans_that_overlap_without_nesting_get_lanes_of_their_own() {
        let check = |spans: &[Span], expected: &[usize]| assert_eq!(lanes(spans), expected);
        check(&[span(0, 10), span(2, 5)], &[0, 0]);
        check(&[span(0, 10), span(5, 15)], &[0, 1]);
        check(&[span(0, 10), span(10, 15)], &[0, 0]);
        check(&[span(5, 15), span(0, 10), span(12, 20)], &[1, 0, 0]);
    }

    #[test]
    fn the_document_is_json_with_nanoseconds_kept() {
        let text = document(&[Track { name: "a \"b\"".into(), spans: vec![span(1_234, 5_678)] }]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let event = &value["traceEvents"][2];
        assert_eq!((event["ts"].as_f64(), event["dur"].as_f64()), (Some(1.234), Some(4.444)));
    }
}
