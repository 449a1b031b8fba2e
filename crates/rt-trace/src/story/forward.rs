//! Forward proxies: what was asked of them, what they decided, how they looked the name up, and what each side believes.

use std::net::SocketAddr;

use rt_base::{AppRecord, NodeId, ReqId, ReqKind, Time};

use super::http::{Place, exchange_of, reason};
use super::model::Line;
use super::tell::Step;
use super::upstream::ProxyStepStory;
use super::view::{End, Req, View};
use super::{tls, upstream, upstream_lines, words};
use crate::read::{HttpExchange, Side, TlsMessageKind, TlsSession};

/// A verdict, as a sentence whose subject is the proxy.
pub(crate) fn verdict(verdict: &str, why: &str) -> String {
    match verdict {
        "tunnel" => format!("opens a tunnel ({why}); what passes it cannot read"),
        "inspect" => format!("says yes ({why})"),
        "pass" => format!("lets it pass ({why})"),
        _ => format!("refuses: {why}"),
    }
}

/// What was said to the proxy at the far end of `conn`: each CONNECT of the client.
fn connects<'v>(view: &'v View<'_>, conn: usize) -> impl DoubleEndedIterator<Item = &'v HttpExchange> {
    let tcp = view.tcp(view.conns[conn].client);
    let refused = tcp.http.iter().filter(|e| e.request.method == "CONNECT");
    tcp.tunnel.iter().chain(refused).filter(|e| e.request.method == "CONNECT")
}

/// Lines of "connect": what was said to the proxy until the tunnel was open, or was not.
pub(crate) fn opening(view: &View<'_>, conn: usize, start: Time) -> Vec<Line> {
    let mut lines = Vec::new();
    for exchange in connects(view, conn) {
        let asked = exchange.request.head.first.at;
        lines.push(
            Line::new("tunnel.connect", "CONNECT →", exchange.request.target.clone())
                .at(asked)
                .margin(words::after(start, asked))
                .with("target", &exchange.request.target),
        );
        lines.extend(decided(view, conn, exchange, start));
        let Some(answer) = &exchange.response else { continue };
        let text = match answer.status {
            200..300 => {
                format!("{}: from here on the bytes are for {}", answer.status, exchange.request.target)
            }
            status => format!("{status} {}: no tunnel", reason(status)),
        };
        lines.push(
            Line::new("tunnel.answer", "answer ←", text)
                .at(answer.head.readable.at)
                .margin(words::after(start, answer.head.readable.at))
                .with("status", answer.status),
        );
    }
    lines.extend(left_alone(view, conn).map(|(proxy, step)| upstream_lines::said(&proxy, &step, (start, 1))));
    lines
}

/// What the proxy at the far end of `conn` decided about a CONNECT, for whom it took the client, its own look-up, and its tries.
fn decided(view: &View<'_>, conn: usize, exchange: &HttpExchange, start: Time) -> Vec<Line> {
    let Some(end) = view.conns[conn].server else { return Vec::new() };
    let client = view.tcp(end).client;
    let since = exchange.request.head.first.at;
    let steps = steps(view, end, exchange);
    let Some(begun) = steps.first().map(|step| step.at_ns) else { return Vec::new() };
    let node = view.name(end.node);
    let caller = upstream::caller(view, (end, exchange), client.ip(), &[]);
    let mut lines = vec![upstream_lines::caller(&caller, since, 1)];
    let until = exchange.response.as_ref().map_or(Time::MAX, |r| r.head.first.at);
    let (ends, first): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step.code == "fails");
    let said = |step: &ProxyStepStory| upstream_lines::said(&node, step, (start, 1));
    let mut more: Vec<Line> = first.into_iter().map(said).collect();
    if let Some(req) = own(view, (end.node, client, exchange.ordinal), (Time(begun), until)) {
        more.extend(lookup(view, req, start));
        let tries = upstream::tries(req).0;
        more.extend(tries.iter().map(|one| upstream_lines::in_vain(&node, one, (start, 1))));
    }
    more.sort_by_key(|line| line.at_ns);
    lines.extend(more);
    lines.extend(ends.into_iter().map(said));
    lines
}

/// What was said of a CONNECT until it was answered. Requests inside the tunnel have ordinals of their own.
fn steps(view: &View<'_>, end: End, exchange: &HttpExchange) -> Vec<ProxyStepStory> {
    let since = exchange.request.head.first.at;
    let until = exchange.response.as_ref().map_or(Time::MAX, |r| r.head.first.at);
    let place = (end.node, view.tcp(end).client, exchange.ordinal);
    let said = view.asked.get(&place).into_iter().flatten();
    said.filter(|(event, _)| event.at >= since && event.at <= until)
        .filter_map(|one| upstream::step(*one))
        .collect()
}

/// Why a connection that was brought to a proxy, which left it alone, went no further.
fn left_alone(view: &View<'_>, conn: usize) -> Option<(String, ProxyStepStory)> {
    let (tcp, end) = (view.tcp(view.conns[conn].client), view.conns[conn].server?);
    let opened = tcp.established?.at;
    if !tcp.http.is_empty() || !tcp.tunnel.is_empty() {
        return None;
    }
    let said = view.asked.get(&(end.node, view.tcp(end).client, 0))?.iter();
    let step = said.filter(|(event, _)| event.at >= opened).find_map(|one| upstream::step(*one))?;
    (step.code == "fails").then(|| (view.name(end.node), step))
}

/// Why a proxy opened no tunnel, or ended a connection that it left alone.
pub(crate) fn refused(step: &Step<'_, '_>, conn: usize) -> Option<Line> {
    let view = step.view;
    let of_tunnel = || {
        let end = view.conns[conn].server?;
        let refused = |e: &&HttpExchange| e.response.as_ref().is_some_and(|r| r.status >= 400);
        let last = connects(view, conn).rfind(refused).filter(|e| e.request.head.first.at >= step.start())?;
        Some((view.name(end.node), steps(view, end, last).pop()?))
    };
    let (proxy, said) = of_tunnel().or_else(|| left_alone(view, conn))?;
    Some(Line::new("proxy.refused", "why", format!("{proxy} {}", said.text)).at(Time(said.at_ns)))
}

/// The proxy's own request for the one of a client at `place` that it decided about at `from`.
fn own<'v, 't>(
    view: &'v View<'t>,
    place: (NodeId, SocketAddr, u32),
    (from, until): (Time, Time),
) -> Option<&'v Req<'t>> {
    let node = place.0;
    let chose = view.asked.get(&place)?.iter().find_map(|(event, record)| match record {
        AppRecord::ChoseUpstream { req, .. } if event.at >= from => Some(*req),
        _ => None,
    });
    if let Some(req) = chose {
        return view.requests.get(&(node, req));
    }
    // Its name was not found, so nobody was chosen: by time.
    let of_node = view.requests.range((node, ReqId(0))..=(node, ReqId(u32::MAX)));
    let fits = |req: &&Req<'_>| {
        let chose = req.said.iter().any(|(_, record)| matches!(record, AppRecord::ChoseUpstream { .. }));
        req.kind == ReqKind::Upstream && !chose && req.begin.at >= from && req.begin.at <= until
    };
    of_node.map(|(_, req)| req).filter(fits).min_by_key(|req| view.trace.position(req.begin.id))
}

/// The proxy's own look-up for its request.
fn lookup(view: &View<'_>, req: &Req<'_>, start: Time) -> Option<Line> {
    let node = view.name(req.node);
    let asked = view.children(req.node, req.id).into_iter().find(|r| r.kind == ReqKind::Lookup)?;
    let end = asked.end?;
    let took = words::between(asked.begin.at, end.event.at);
    let text = format!("looks up {} itself, in {took}: {}", asked.target, end.note);
    let line = Line::new("proxy.lookup", node.clone(), text).deep(1).at(end.event.at).on(node);
    Some(line.margin(words::after(start, end.event.at)).with("name", asked.target))
}

/// Lines of "ask and answer" that a forward proxy has besides those of every proxy.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) lookup: Option<Line>,
    /// Where the client's TLS ends.
    pub(crate) reads: Option<Line>,
    /// Its own TLS session.
    pub(crate) session: Option<Line>,
}

/// What a forward proxy at the far end of `place` did with the request besides; nothing if there is none.
pub(crate) fn passing(view: &View<'_>, place: Place, start: Time) -> Told {
    let (near, exchange) = exchange_of(view, place);
    let Some(end) = view.conns[place.conn].server else { return Told::default() };
    let at = (end.node, view.tcp(end).client, exchange.ordinal);
    let since = exchange.request.head.first.at;
    let decided = view.asked.get(&at).into_iter().flatten().find(|(event, record)| {
        matches!(record, AppRecord::Forward { what, .. } if !what.starts_with("CONNECT "))
            && event.at >= since
    });
    let Some((decided, _)) = decided else { return Told::default() };
    let node = view.name(end.node);
    let line = |code: &str, text: String| Line::new(code, node.clone(), text).deep(1).on(node.clone());
    let until = exchange.response.as_ref().map_or(Time::MAX, |r| r.head.first.at);
    let session = upstream::behind(view, place).and_then(|far| exchange_of(view, far).0.tls.as_ref());
    Told {
        lookup: own(view, at, (decided.at, until)).and_then(|req| lookup(view, req, start)),
        reads: near.tls.as_ref().map(|tls| line("proxy.reads", reads(tls))),
        session: session.map(|tls| line("proxy.session", second(tls))),
    }
}

/// Where the client's session ends.
fn reads(session: &TlsSession) -> String {
    let signed = session.server_chain().next().map(|c| {
        format!(" with a certificate for {} that {} signed", tls::short(&c.subject), tls::short(&c.issuer))
    });
    let took = match (offered(session), &session.alpn) {
        (offered, Some(alpn)) if offered.iter().any(|o| o == "h2") && alpn != "h2" => {
            format!("; the client offered {} and gets {alpn}", words::list(&offered))
        }
        _ => String::new(),
    };
    format!(
        "reads all of this: the client's TLS ends here{}{took}",
        signed.unwrap_or_else(|| " (a resumed session)".to_owned())
    )
}

/// The session to the server.
fn second(session: &TlsSession) -> String {
    let shown = session.server_chain().next().map(|c| {
        format!(", whose certificate for {} is signed by {}", tls::short(&c.subject), tls::short(&c.issuer))
    });
    let alpn = session.alpn.as_deref().unwrap_or("no ALPN");
    format!(
        "asks over a TLS session of its own ({}, {alpn}) with the server{}",
        session.suite_name,
        shown.unwrap_or_else(|| " (resumed)".to_owned())
    )
}

fn offered(session: &TlsSession) -> Vec<String> {
    let hello = session.messages.iter().filter(|m| m.from == Side::Client).find_map(|m| match &m.what {
        TlsMessageKind::ClientHello { alpn, .. } => Some(alpn.clone()),
        _ => None,
    });
    hello.unwrap_or_default()
}
