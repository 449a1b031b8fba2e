//! Forward proxies: what was asked of them, what they decided, how they looked the name up, and what each side believes.

use std::net::SocketAddr;

use rt_base::{AppRecord, Event, NodeId, ReqId, ReqKind, Time};

use super::http::{Place, exchange_of, reason};
use super::model::Line;
use super::view::{Req, View};
use super::{tls, upstream, words};
use crate::read::{HttpExchange, Side, TlsMessageKind, TlsSession};

/// Lines of "connect": what was said to the proxy until the tunnel was open, or was not.
pub(crate) fn opening(view: &View<'_>, conn: usize, start: Time) -> Vec<Line> {
    let tcp = view.tcp(view.conns[conn].client);
    let refused = tcp.http.iter().filter(|e| e.request.method == "CONNECT");
    let mut lines = Vec::new();
    for exchange in tcp.tunnel.iter().chain(refused).filter(|e| e.request.method == "CONNECT") {
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
    lines
}

/// What the proxy at the far end of `conn` decided about an exchange, and its own lookup.
fn decided(view: &View<'_>, conn: usize, exchange: &HttpExchange, start: Time) -> Vec<Line> {
    let Some(end) = view.conns[conn].server else { return Vec::new() };
    let place = (end.node, view.tcp(end).client, exchange.ordinal);
    let tunnel = exchange.request.method == "CONNECT";
    let since = exchange.request.head.first.at;
    let Some((event, record)) = of(view, place, tunnel, since) else { return Vec::new() };
    let AppRecord::Forward { verdict, why, .. } = record else { return Vec::new() };
    let node = view.name(end.node);
    let text = match verdict.as_str() {
        "tunnel" => format!("a forward proxy, opens a tunnel ({why}); what passes it cannot read"),
        "inspect" => format!("a forward proxy, says yes ({why})"),
        "pass" => format!("a forward proxy, asks in its own name ({why})"),
        _ => format!("a forward proxy, refuses: {why}"),
    };
    let mut lines = vec![
        Line::new(&format!("proxy.{verdict}"), node.clone(), text)
            .deep(1)
            .at(event.at)
            .on(node)
            .margin(words::after(start, event.at))
            .with("why", why),
    ];
    let until = exchange.response.as_ref().map_or(Time::MAX, |r| r.head.first.at);
    lines.extend(lookup(view, end.node, (event.at, until), start));
    lines
}

fn of<'t>(
    view: &View<'t>,
    place: (NodeId, SocketAddr, u32),
    tunnel: bool,
    since: Time,
) -> Option<(&'t Event, &'t AppRecord)> {
    let fits = |(event, record): &&(&'t Event, &'t AppRecord)| {
        let AppRecord::Forward { what, .. } = record else { return false };
        event.at >= since && what.starts_with("CONNECT ") == tunnel
    };
    view.asked.get(&place)?.iter().find(fits).copied()
}

/// The proxy's own lookup for the request that it began after its decision.
fn lookup(view: &View<'_>, node: NodeId, (from, until): (Time, Time), start: Time) -> Option<Line> {
    let of_node = view.requests.range((node, ReqId(0))..=(node, ReqId(u32::MAX)));
    let own = |req: &&Req<'_>| req.kind == ReqKind::Upstream && req.begin.at >= from && req.begin.at <= until;
    let req = of_node.map(|(_, req)| req).filter(own).min_by_key(|req| view.trace.position(req.begin.id))?;
    let asked = view.children(node, req.id).into_iter().find(|r| r.kind == ReqKind::Lookup)?;
    let end = asked.end?;
    let took = words::between(asked.begin.at, end.event.at);
    let text = format!("looks up {} itself, in {took}: {}", asked.target, end.note);
    let line = Line::new("proxy.lookup", view.name(node), text).deep(1).at(end.event.at).on(view.name(node));
    Some(line.margin(words::after(start, end.event.at)).with("name", asked.target))
}

/// Lines of "ask and answer": what a forward proxy did with a request.
pub(crate) struct Told {
    decision: Vec<Line>,
    beliefs: Vec<Line>,
}

impl Told {
    /// With what is told of every proxy: it has the request, who it thinks is calling, it decides, it asks, it passes the answer back.
    pub(crate) fn around(self, mut own: Vec<Line>) -> Vec<Line> {
        let back = own.pop_if(|line| matches!(line.code.as_str(), "balance.return" | "balance.answer"));
        let asks = own.split_off(own.len().min(2));
        [own, self.decision, asks, self.beliefs, back.into_iter().collect()].concat()
    }
}

/// What a forward proxy at the far end of `place` did with the request, and who believes what; `None` if there is none.
pub(crate) fn passing(view: &View<'_>, place: Place, start: Time) -> Option<Told> {
    let (near, exchange) = exchange_of(view, place);
    let decision = decided(view, place.conn, exchange, start);
    let end = view.conns[place.conn].server.filter(|_| !decision.is_empty())?;
    let node = view.name(end.node);
    let line = |code: &str, text: String| Line::new(code, node.clone(), text).deep(1).on(node.clone());
    let mut beliefs = Vec::new();
    if let Some(session) = &near.tls {
        beliefs.push(line("proxy.reads", reads(session)));
    }
    if let Some(far) = upstream::behind(view, place) {
        let session = exchange_of(view, far).0.tls.as_ref();
        beliefs.extend(session.map(|session| line("proxy.session", second(session))));
    }
    Some(Told { decision, beliefs })
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
