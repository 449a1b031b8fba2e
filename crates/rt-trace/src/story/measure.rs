//! Measurements: a route, a path MTU, a transfer, a stream. Their applications say every line; here it gets its place.

use std::net::IpAddr;

use rt_base::{AppRecord, Event};

use super::model::{Chapter, Line};
use super::silence::{self, Why};
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

/// What is said of each hop of a traced route.
const HOP: &str = "trace.hop";

/// Whether this request is a measurement.
pub(crate) fn is_one(req: &Req<'_>) -> bool {
    req.said.iter().any(|(_, record)| matches!(record, AppRecord::Measured { .. }))
}

/// Whether it traces a route.
pub(super) fn is_route(req: &Req<'_>) -> bool {
    req.method == "traceroute"
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
        }
        let said = data.iter().filter(|(name, _)| name == "address");
        let nodes = said.filter_map(|(_, value)| step.view.bearer(value.parse::<IpAddr>().ok()?));
        let mut names: Vec<String> = nodes.map(|node| step.view.name(node)).collect();
        names.dedup();
        line = line.margin(names.join(", "));
        lines.push(line);
        if code == HOP {
            lines.extend(silent(step, req, (event, data)).into_iter().map(|why| why.line("*", 1)));
        }
    }
    lines
}

/// Why the last hop that a traced route asked was silent.
pub(super) fn last_silence(step: &Step<'_, '_>, req: &Req<'_>) -> Vec<Line> {
    let hops = req.said.iter().rev().filter_map(|(event, record)| match record {
        AppRecord::Measured { code, data, .. } if code == HOP => Some((*event, data.as_slice())),
        _ => None,
    });
    let last = hops.take(1).flat_map(|hop| silent(step, req, hop));
    last.map(|why| {
        Why { text: format!("the last probes brought no answer: {}", why.text), ..why }.line("why", 0)
    })
    .collect()
}

/// Why probes of one hop brought no answer, each reason once; nothing where all answered.
fn silent(step: &Step<'_, '_>, req: &Req<'_>, (said, data): (&Event, &[(String, String)])) -> Vec<Why> {
    let value = |name: &str| data.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
    let heard: Vec<bool> = value("times_ns").split(',').map(|time| time != "*").collect();
    let Ok(ttl) = value("hop").parse::<u8>() else { return Vec::new() };
    if heard.iter().all(|heard| *heard) {
        return Vec::new();
    }
    let hops = req
        .said
        .iter()
        .filter(|(e, r)| e.id < said.id && matches!(r, AppRecord::Measured { code, .. } if code == HOP));
    let from = hops.map(|(e, _)| e.at).max().unwrap_or(req.begin.at);
    let probes = silence::probes(step.view, step.node, ttl, (from, said.at));
    let aligned = probes.len() == heard.len();
    let unheard = probes.iter().enumerate().filter(|(i, _)| !aligned || !heard[*i]);
    // Each is waited for until the next one goes out.
    let until = |i: usize| probes.get(i + 1).map_or(said.at, |(at, _)| *at);
    let whys = unheard.filter_map(|(i, (_, frame))| silence::why(step.view, *frame, until(i)));
    let mut counted: Vec<(Why, usize)> = Vec::new();
    for why in whys {
        match counted.iter_mut().find(|(known, _)| *known == why) {
            Some((_, count)) => *count += 1,
            None => counted.push((why, 1)),
        }
    }
    if let [(why, count)] = &counted[..]
        && *count == heard.iter().filter(|heard| !**heard).count()
    {
        return vec![why.clone()];
    }
    let several =
        |(why, count): (Why, usize)| Why { text: format!("{count} of {}: {}", heard.len(), why.text), ..why };
    counted.into_iter().map(several).collect()
}
