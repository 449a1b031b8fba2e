//! Calls to a server: each with its connection and its time, the many alike told once. And what an attacker sent.

use std::collections::BTreeSet;

use rt_base::AppRecord;

use super::model::{Chapter, Line};
use super::tell::Step;
use super::view::Req;
use super::{relay, words};

const EXPLAIN: &str = "A call is a request and its reply. Its time is what a user would wait: opening a connection if there \
                       is none, the round trip, the server's work, and whatever held a packet back.";

const EXPLAIN_FORGED: &str = "Nothing in an IP packet proves who sent it: whoever can send packets can write any address into \
                              them. What protects a connection is what a stranger does not know: its ports and where its \
                              sequence numbers are.";

/// So many calls are told one by one.
const TOLD: usize = 10;

/// So many connections of one step's calls are told with their handshakes.
const CONNECTIONS_TOLD: usize = 1;

/// Whether a request is a series of calls.
pub(crate) fn is_calls(req: &Req<'_>) -> bool {
    req.method == "call"
}

/// Whether a request is what an attacker sends.
pub(crate) fn is_forged(req: &Req<'_>) -> bool {
    matches!(req.method, "flood" | "spoof")
}

/// Of a step's connections those that are told: all, unless calls opened them; then the first, and two that never opened.
pub(crate) fn told(step: &Step<'_, '_>, conns: &[usize]) -> Vec<usize> {
    if !step.requests.iter().any(|r| is_calls(r)) {
        return conns.to_vec();
    }
    let established = |c: &usize| step.view.tcp(step.view.conns[*c].client).established.is_some();
    let mut kept: BTreeSet<usize> =
        conns.iter().copied().filter(established).take(CONNECTIONS_TOLD).collect();
    kept.extend(conns.iter().copied().filter(|c| !established(c)).take(2));
    conns.iter().copied().filter(|c| kept.contains(c)).collect()
}

/// The chapter of a series of calls.
pub(crate) fn tell(step: &Step<'_, '_>, req: &Req<'_>, conns: &[usize]) -> Chapter {
    let opened = conns.len();
    let mut lines = Vec::new();
    let notes: Vec<(&rt_base::Event, &str, &str)> = req
        .said
        .iter()
        .filter_map(|(event, record)| match record {
            AppRecord::Note { code, text, .. } if code.starts_with("rpc.") => {
                Some((*event, code.as_str(), text.as_str()))
            }
            _ => None,
        })
        .collect();
    let mut left = 0_u64;
    for (at, (event, code, text)) in notes.iter().enumerate() {
        if at >= TOLD && matches!(*code, "rpc.call" | "rpc.address") {
            left += u64::from(*code == "rpc.call");
            continue;
        }
        let label = match *code {
            "rpc.call" => "reply",
            "rpc.failed" => "failed",
            "rpc.address" => "to",
            _ => "before",
        };
        lines.push(Line::new(code, label, *text).at(event.at).margin(words::after(req.begin.at, event.at)));
    }
    if left > 0 {
        lines.push(Line::new("rpc.more", "", format!("and {}", words::count(left, "more reply"))));
    }
    if opened > CONNECTIONS_TOLD {
        let more = (opened - CONNECTIONS_TOLD) as u64;
        let text = format!(
            "{}, not told here; `follow` and story.json have {}",
            words::count(more, "more connection"),
            if more == 1 { "it" } else { "them" }
        );
        lines.push(Line::new("rpc.connections", "opened", text));
    }
    lines.extend(relay::spread(step.view, conns));
    step.chapter_of(req, lines, ("calls", "call", EXPLAIN))
}

/// The chapter of forged packets.
pub(crate) fn forged(step: &Step<'_, '_>, req: &Req<'_>) -> Chapter {
    let note = req.end.map_or("the run ended first", |e| e.note);
    let line = Line::new("forged", "sent", note);
    step.chapter_of(req, vec![line], ("forged", req.method, EXPLAIN_FORGED))
}
