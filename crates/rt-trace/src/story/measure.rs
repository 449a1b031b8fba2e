//! Measurements: a route, a path MTU, a transfer, a stream. Their applications say every line; here it gets its place.

use std::net::IpAddr;

use rt_base::AppRecord;

use super::model::{Chapter, Line};
use super::tell::Step;
use super::view::Req;

const ROUTE: &str = "Every router takes one from a packet's TTL and, at zero, throws it away and says so. Packets with a \
                     TTL of 1, 2, 3 and so on make the routers of the way name themselves, one after the other.";
const MTU: &str = "Every link carries packets up to some length. A packet that may not be cut (DF) and is too long is \
                   thrown away; the router should say what would fit. Some do not, and long packets vanish.";
const SEND: &str = "TCP finds out by itself how fast it may send: it opens its window until something is lost (or, with \
                    some algorithms, until the queue grows), and then steps back.";
const STREAM: &str = "Sound and pictures come in frames that must be there when it is their turn. UDP loses some; TCP \
                      brings all, but those behind a lost one wait until it has been sent again.";

/// Whether this request is a measurement.
pub(crate) fn is_one(req: &Req<'_>) -> bool {
    req.said.iter().any(|(_, record)| matches!(record, AppRecord::Measured { .. }))
}

/// Whether what it sends is meant to be thrown away: its packets are no connections, and their end is no trouble.
pub(crate) fn is_probing(req: &Req<'_>) -> bool {
    is_one(req) && matches!(req.method, "traceroute" | "path MTU")
}

/// Its chapter.
pub(crate) fn tell(step: &Step<'_, '_>, req: &Req<'_>) -> Chapter {
    let (code, title, explain) = match req.method {
        "traceroute" => ("route", "trace the route", ROUTE),
        "path MTU" => ("mtu", "find the path MTU", MTU),
        "send" => ("send", "send", SEND),
        "stream" => ("stream", "stream", STREAM),
        other => ("measure", other, ""),
    };
    step.chapter_of(req, lines(step, req), (code, title, explain))
}

fn lines(step: &Step<'_, '_>, req: &Req<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (event, record) in &req.said {
        let AppRecord::Measured { code, label, text, data, .. } = record else { continue };
        let mut line = Line::new(code, label.trim().to_string(), text.clone()).at(event.at);
        for (name, value) in data {
            line = line.with(name, value);
            if name == "address"
                && let Ok(address) = value.parse::<IpAddr>()
                && let Some(node) = step.view.bearer(address)
            {
                line = line.margin(step.view.name(node));
            }
        }
        lines.push(line);
    }
    lines
}
