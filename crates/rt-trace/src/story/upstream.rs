//! Behind a proxy: which upstream it chose and how, what it added, and what happened there.

use rt_base::{AppRecord, ReqId, ReqKind, Time};

use super::http::{Place, exchange_of};
use super::model::{Field, Line, UpstreamStory};
use super::view::{End, Req, View};
use super::{shared_cache, words};
use crate::read::HttpExchange;

/// What a proxy did for the request at `place`, if its far end is one.
pub(crate) fn tell(view: &View<'_>, place: Place) -> Option<UpstreamStory> {
    let (_, exchange) = exchange_of(view, place);
    let (end, there) = view.exchange_at_server(place.conn, exchange)?;
    let got = received(there);
    let cache = shared_cache::decisions(view, (end, there), got);
    let up = chosen(view, (end, there), got);
    if cache.is_empty() && up.is_none() {
        return None;
    }
    let mut story = UpstreamStory {
        proxy: view.name(end.node),
        received_ns: got.0,
        answered_ns: there.response.as_ref().map_or(0, |r| r.head.first.at.0),
        cache,
        ..UpstreamStory::default()
    };
    if let Some((req, AppRecord::ChoseUpstream { chosen, address, policy, candidates, .. })) = up {
        story.chosen.clone_from(chosen);
        story.address = address.to_string();
        story.policy.clone_from(policy);
        story.candidates = candidates.iter().map(|c| Field::new(&c.name, &c.note)).collect();
        fill_upstream(view, req, there, &mut story);
    }
    Some(story)
}

/// Where a proxy's request for the one at `place` travelled, if the answer had to wait for it.
pub(crate) fn behind(view: &View<'_>, place: Place) -> Option<Place> {
    let (_, exchange) = exchange_of(view, place);
    let (end, there) = view.exchange_at_server(place.conn, exchange)?;
    let got = received(there);
    if shared_cache::decisions(view, (end, there), got).iter().any(|step| step.verdict == "updating") {
        return None;
    }
    let (req, _) = chosen(view, (end, there), got)?;
    place_of(view, req)
}

/// When the proxy had the whole request.
fn received(there: &HttpExchange) -> Time {
    let head = there.request.head.readable.at;
    there.request.body.span.map_or(head, |body| head.max(body.readable.at))
}

/// The proxy's own request that serves a client's: by the client's address and the number on its connection.
fn chosen<'v, 't>(
    view: &'v View<'t>,
    (end, there): (End, &HttpExchange),
    got: Time,
) -> Option<(&'v Req<'t>, &'t AppRecord)> {
    let peer = view.tcp(end).client;
    let of_node = view.requests.range((end.node, ReqId(0))..=(end.node, ReqId(u32::MAX)));
    of_node.filter(|(_, req)| req.kind == ReqKind::Upstream).find_map(|(_, req)| {
        let last = req.said.iter().rev().find_map(|(event, record)| match record {
            AppRecord::ChoseUpstream { downstream, downstream_ordinal, .. }
                if *downstream == peer && *downstream_ordinal == there.ordinal && event.at >= got =>
            {
                Some(*record)
            }
            _ => None,
        })?;
        Some((req, last))
    })
}

fn fill_upstream(view: &View<'_>, req: &Req<'_>, there: &HttpExchange, story: &mut UpstreamStory) {
    let Some(place) = place_of(view, req) else { return };
    let (tcp, up) = exchange_of(view, place);
    story.secure = tcp.tls.is_some();
    story.sent_ns = up.request.head.first.at.0;
    story.status = up.response.as_ref().map_or(0, |r| r.status);
    story.added = up
        .request
        .headers
        .iter()
        .filter(|h| {
            !there.request.headers.iter().any(|t| t.name.eq_ignore_ascii_case(&h.name) && t.value == h.value)
                && !h.name.eq_ignore_ascii_case("host")
        })
        .map(|h| Field::new(&h.name, &h.value))
        .collect();
    if let Some((_, far)) = super::relay::at_server(view, place) {
        story.server_got_ns = far.request.head.readable.at.0;
        story.server_answered_ns = far.response.as_ref().map_or(0, |r| r.head.first.at.0);
    }
}

/// A proxy's request keeps the client's Host, so its URL differs from its target: go by time and path.
fn place_of(view: &View<'_>, req: &Req<'_>) -> Option<Place> {
    let used = req.used().last()?;
    let conn = view.conn_used(req.node, &used)?;
    let tcp = view.tcp(view.conns[conn].client);
    let path = req.target.splitn(4, '/').nth(3).map_or("/".to_string(), |p| format!("/{p}"));
    let fits = |e: &HttpExchange| {
        e.request.method == req.method
            && e.request.target == path
            && e.request.head.first.at >= used.at
            && req.end_at().is_none_or(|end| e.request.head.first.at <= end)
    };
    let exchange = tcp.http.iter().position(fits)?;
    Some(Place { conn, exchange, reused: used.reused })
}

pub(crate) fn lines(up: &UpstreamStory, start: Time) -> Vec<Line> {
    let after = |ns: u64| words::after(start, Time(ns));
    let mut lines = vec![
        Line::new("http.arrive", up.proxy.clone(), "has the whole request")
            .deep(1)
            .at(Time(up.received_ns))
            .margin(after(up.received_ns)),
    ];
    let (before, after_answer): (Vec<_>, Vec<_>) =
        up.cache.iter().partition(|step| shared_cache::comes_first(step));
    lines.extend(before.into_iter().map(|step| shared_cache::line(up, step, start)));
    let aside = up.cache.iter().any(|step| step.verdict == "updating");
    if !up.chosen.is_empty() {
        lines.extend(way_up(up, start, if aside { "aside " } else { "" }));
    }
    lines.extend(after_answer.into_iter().map(|step| shared_cache::line(up, step, start)));
    if up.answered_ns > 0 {
        lines.push(
            Line::new("balance.return", up.proxy.clone(), "passes it back, encrypted")
                .deep(1)
                .at(Time(up.answered_ns))
                .margin(after(up.answered_ns)),
        );
    }
    lines
}

/// The upstream's part: who was chosen, how it was asked, how long it took.
fn way_up(up: &UpstreamStory, start: Time, aside: &str) -> Vec<Line> {
    let after = |ns: u64| words::after(start, Time(ns));
    let others: Vec<String> = up
        .candidates
        .iter()
        .map(|c| if c.value.is_empty() { c.name.clone() } else { format!("{} ({})", c.name, c.value) })
        .collect();
    let text = format!("chooses {} by {}, out of {}", up.chosen, up.policy, words::list(&others));
    let mut lines = vec![
        Line::new("balance.choose", up.proxy.clone(), text)
            .deep(1)
            .at(Time(up.sent_ns))
            .with("policy", &up.policy)
            .with("chosen", &up.chosen)
            .with("address", &up.address),
    ];
    if up.sent_ns > 0 {
        let added: Vec<String> = up.added.iter().map(|f| format!("{}: {}", f.name, f.value)).collect();
        let added = if added.is_empty() { String::new() } else { format!(", adding {}", added.join(" · ")) };
        let how = if up.secure { "over TLS, in HTTP/1.1" } else { "in plain HTTP/1.1" };
        let text = format!("asks {} {aside}{how}{added}", up.address);
        lines.push(
            Line::new("balance.forward", up.proxy.clone(), text)
                .deep(1)
                .at(Time(up.sent_ns))
                .margin(after(up.sent_ns)),
        );
    }
    if up.server_got_ns > 0 && up.server_answered_ns >= up.server_got_ns {
        let think = words::between(Time(up.server_got_ns), Time(up.server_answered_ns));
        let text = format!("makes the answer ({}) in {think}", up.status);
        lines.push(
            Line::new("http.answer", up.chosen.clone(), text)
                .deep(2)
                .at(Time(up.server_answered_ns))
                .margin(after(up.server_answered_ns)),
        );
    }
    lines
}
