//! "Ask and answer": requests joined to their bytes at both ends, the balancer's choice, the resources of a page.

use std::collections::BTreeMap;

use rt_base::{AppRecord, CacheKind, CacheOutcome, ReqId, ReqKind, Time};

use super::model::{Chapter, Field, Line, RequestStory, Timings};
use super::tell::Step;
use super::view::{End, Req, View};
use super::{forward, lookup, relay, upstream, upstream_lines, words};
use crate::read::{HttpExchange, HttpHeader, HttpVersion, TcpConversation};

/// Where a request travelled: a connection and an exchange on it (indices).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    pub(crate) conn: usize,
    pub(crate) exchange: usize,
    /// Whether the connection was there before this request.
    pub(crate) reused: bool,
}

/// Every request of a step that travelled over HTTP, joined to its exchange.
pub(crate) fn places(step: &Step<'_, '_>) -> BTreeMap<ReqId, Place> {
    let mut taken = BTreeMap::new();
    for req in &step.requests {
        if let Some(place) = place(step.view, req, &taken) {
            taken.insert((place.conn, place.exchange), req.id);
        }
    }
    let mut all = BTreeMap::new();
    for (&(conn, exchange), &req) in &taken {
        let used = step.view.requests.get(&(step.node, req)).and_then(|r| r.used().last());
        all.insert(req, Place { conn, exchange, reused: used.is_some_and(|u| u.reused) });
    }
    all
}

fn place(view: &View<'_>, req: &Req<'_>, taken: &BTreeMap<(usize, usize), ReqId>) -> Option<Place> {
    let used = req.used().last()?;
    let conn = view.conn_used(req.node, &used)?;
    let tcp = view.tcp(view.conns[conn].client);
    let free = |i: &usize| !taken.contains_key(&(conn, *i));
    let fits = |i: &usize| {
        let e = &tcp.http[*i];
        e.request.method == req.method && same_url(&e.url(tcp.tls.is_some()), req.target)
    };
    let index = view.index.end(view, view.conns[conn].client);
    let until = req.end_at().unwrap_or(Time::MAX);
    let exchange = index.begun_within(req.begin.at, until).into_iter().filter(free).find(fits)?;
    Some(Place { conn, exchange, reused: used.reused })
}

/// Equal but for a default port and a fragment.
fn same_url(a: &str, b: &str) -> bool {
    let plain = |url: &str| {
        let url = url.split('#').next().unwrap_or("").to_string();
        let url = url.replacen("https://", "s:", 1).replacen("http://", "h:", 1);
        // WebSocket's schemes are those of its handshake (RFC 6455, 3).
        let url = url.replacen("wss://", "s:", 1).replacen("ws://", "h:", 1);
        let (host, path) = url.split_once('/').unwrap_or((url.as_str(), ""));
        let host = if host.starts_with("s:") {
            host.strip_suffix(":443").unwrap_or(host)
        } else {
            host.strip_suffix(":80").unwrap_or(host)
        };
        format!("{host}/{path}")
    };
    plain(a) == plain(b)
}

/// An exchange on a connection.
pub(crate) fn exchange_of<'v>(view: &'v View<'_>, place: Place) -> (&'v TcpConversation, &'v HttpExchange) {
    let tcp = view.tcp(view.conns[place.conn].client);
    (tcp, &tcp.http[place.exchange])
}

const EXPLAIN: &str = "HTTP is the language of the web: one side asks for something (GET, POST), the other answers with \
                       a status (200 means fine) and the thing itself.";

/// The chapter of one request and its answer.
pub(crate) fn tell(step: &Step<'_, '_>, req: &Req<'_>, place: Place) -> Chapter {
    let view = step.view;
    let (tcp, exchange) = exchange_of(view, place);
    let start = exchange.request.head.first.at;
    let response = exchange.response.as_ref();
    let end =
        response.map_or(step.last, |r| r.body.span.unwrap_or(r.head).readable.at.max(r.head.readable.at));
    let of_request = |l: &Line| l.data.get("cache").is_some_and(|c| c == "cookies");
    let mut lines: Vec<Line> = lookup::cache_lines(req).into_iter().filter(of_request).collect();
    let stream = if exchange.stream > 0 { format!(" on stream {}", exchange.stream) } else { String::new() };
    let text = format!(
        "{} {}{stream} · {}",
        exchange.request.method,
        exchange.request.target,
        exchange.version.name()
    );
    lines.push(
        Line::new("http.request", "request →", text)
            .at(start)
            .margin(words::after(start, start))
            .with("head_bytes", exchange.request.head_bytes)
            .with("stream", exchange.stream),
    );
    lines.extend(request_fields(exchange));
    let way = relay::way(view, place);
    lines.extend(relay::passing(view, &way, start));
    let far = way.last().copied().unwrap_or(place);
    let mut afterwards = Vec::new();
    if let Some(upstream) = upstream::tell(view, place) {
        let told = upstream_lines::lines(&upstream, forward::passing(view, far, start), start);
        let (late, told): (Vec<_>, Vec<_>) = told.into_iter().partition(|l| l.code == "proxy.carried");
        lines.extend(told);
        afterwards.extend(late.into_iter().map(|line| line.deep(0)));
    } else if let Some((server, there)) = relay::at_server(view, far) {
        let mut told = server_lines(view, server, there, start);
        // Machines before it that pass bytes on unread leave it to guess.
        let client = upstream::client(view, place).filter(|_| way.len() > 1);
        let caller =
            client.map(|client| upstream::caller(view, (server, there), client, &upstream::telling(there)));
        let got = there.request.head.readable.at;
        told.splice(1..1, caller.map(|caller| upstream_lines::caller(&caller, got, 1)));
        lines.extend(told);
    }
    if let Some(response) = response {
        lines.extend(response_lines(tcp, exchange, response, start));
    } else {
        lines.push(Line::new("http.no_answer", "answer ←", "none before the end"));
    }
    lines.extend(kept(req));
    lines.extend(afterwards);
    Chapter {
        code: "http".into(),
        title: "ask and answer".into(),
        subject: format!("{} {}", req.method, req.target),
        start_ns: start.0,
        end_ns: end.0,
        remark: response.map_or(String::new(), |r| format!("{} {}", r.status, reason(r.status))),
        explain: EXPLAIN.into(),
        lines,
    }
}

fn request_fields(exchange: &HttpExchange) -> Vec<Line> {
    let authority =
        (exchange.version == HttpVersion::Http2).then_some(exchange.request.authority.as_deref()).flatten();
    let pseudo = authority.map(|a| Line::new("http.header", ":authority", a).deep(1));
    let field = |h: &HttpHeader| Line::new("http.header", h.name.clone(), h.value.clone()).deep(1);
    let mut lines: Vec<Line> = pseudo.into_iter().chain(exchange.request.headers.iter().map(field)).collect();
    let body = &exchange.request.body;
    if body.encoded_bytes > 0 {
        let text = format!("{}{}", words::bytes(body.encoded_bytes), preview(&body.content));
        lines.push(
            Line::new("http.request_body", "with a body", text).deep(1).with("bytes", body.encoded_bytes),
        );
    }
    lines
}

/// The beginning of a short text body.
fn preview(content: &[u8]) -> String {
    match std::str::from_utf8(content) {
        Ok(text) if !text.is_empty() && text.len() <= 200 && !text.chars().any(char::is_control) => {
            format!(": {text}")
        }
        _ => String::new(),
    }
}

fn response_lines(
    tcp: &TcpConversation,
    exchange: &HttpExchange,
    response: &crate::read::Response,
    start: Time,
) -> Vec<Line> {
    let head = Line::new(
        "http.response",
        "answer ←",
        format!("{} {} · {}", response.status, reason(response.status), exchange.version.name()),
    )
    .at(response.head.readable.at)
    .margin(words::after(start, response.head.readable.at))
    .with("head_bytes", response.head_bytes);
    let field = |h: &HttpHeader| Line::new("http.header", h.name.clone(), h.value.clone()).deep(1);
    let mut lines = vec![head];
    lines.extend(response.headers.iter().map(field));
    let body = &response.body;
    if let Some(span) = body.span {
        let packed = if body.codings.is_empty() {
            String::new()
        } else {
            format!(", packed with {} from {}", body.codings.join(" and "), words::bytes(body.decoded_bytes))
        };
        let packets = packets_of(tcp, span.start, span.end);
        let text =
            format!("{}{packed}, in {}", words::bytes(body.encoded_bytes), words::count(packets, "packet"));
        lines.push(
            Line::new("http.body", "body ←", text)
                .at(span.readable.at)
                .margin(words::after(start, span.readable.at))
                .with("bytes", body.encoded_bytes)
                .with("decoded_bytes", body.decoded_bytes),
        );
    }
    lines
}

/// Segments of the server that carried bytes of this range.
pub(crate) fn packets_of(tcp: &TcpConversation, start: u64, end: u64) -> u64 {
    let carries = |s: &&crate::read::Segment| {
        s.from == crate::read::Side::Server
            && s.len > 0
            && s.offset < end
            && s.offset + u64::from(s.len) > start
    };
    tcp.segments.iter().filter(carries).count() as u64
}

fn kept(req: &Req<'_>) -> Vec<Line> {
    let line = |(event, record): &(&rt_base::Event, &AppRecord)| match record {
        AppRecord::Cache {
            cache: CacheKind::BrowserHttp,
            outcome: CacheOutcome::Stored { fresh_for },
            ..
        } => {
            let text = if fresh_for.0 == 0 {
                "the browser keeps it, but must ask each time whether it is still right".to_string()
            } else {
                format!("the browser keeps it, fresh for {}", words::about(*fresh_for))
            };
            Some(Line::new("cache.stored", "remembered", text).at(event.at))
        }
        AppRecord::Cache {
            cache: CacheKind::BrowserHttp, outcome: CacheOutcome::NotStored, note, ..
        } => {
            let why = if note.is_empty() { String::new() } else { format!(": {note}") };
            Some(
                Line::new("cache.not_stored", "not kept", format!("the browser does not keep it{why}"))
                    .at(event.at),
            )
        }
        AppRecord::Cache {
            cache: CacheKind::Cookies,
            outcome: CacheOutcome::Stored { .. },
            key,
            note,
            ..
        } => {
            let text = format!("the browser keeps the cookie {note} of {key}");
            Some(Line::new("cookie.stored", "cookie", text).at(event.at))
        }
        // Told where the connection is opened.
        AppRecord::Note { code, .. } if code == "tcp.address" => None,
        AppRecord::Note { code, text, .. } => Some(Line::new(code, "note", text.clone()).at(event.at)),
        AppRecord::Retry { attempt, why, .. } => {
            Some(Line::new("http.retry", "again", format!("{why}: try {attempt}")).at(event.at))
        }
        _ => None,
    };
    req.said.iter().filter_map(line).collect()
}

fn server_lines(view: &View<'_>, server: End, there: &HttpExchange, start: Time) -> Vec<Line> {
    let node = server.node;
    let got =
        there.request.body.span.unwrap_or(there.request.head).readable.at.max(there.request.head.readable.at);
    let mut lines = vec![
        Line::new("http.arrive", view.name(node), "has the whole request")
            .deep(1)
            .at(got)
            .on(view.name(node))
            .margin(words::after(start, got)),
    ];
    let said = view.asked.get(&(node, view.tcp(server).client, there.ordinal));
    lines.extend(said.into_iter().flatten().filter_map(|(event, record)| {
        let line = Line::new("http.site", view.name(node), site_words(record)?).deep(1);
        Some(line.at(event.at).on(view.name(node)).margin(words::after(start, event.at)))
    }));
    if let Some(response) = &there.response {
        let text = format!("answers after {}", words::between(got, response.head.first.at));
        lines.push(
            Line::new("http.answer", view.name(node), text)
                .deep(1)
                .at(response.head.first.at)
                .on(view.name(node))
                .margin(words::after(start, response.head.first.at)),
        );
    }
    lines
}

/// Which of several sites a server took, and by what.
fn site_words(record: &AppRecord) -> Option<String> {
    let AppRecord::ChoseSite { host, site, sites, certificate, misdirected, .. } = record else {
        return None;
    };
    let shown = match certificate {
        (_, 0 | 1) => String::new(),
        (number, of) => format!("; the name in the handshake chose certificate {number} of {of}"),
    };
    let host = if host.is_empty() { "no host" } else { host };
    Some(match site {
        _ if *misdirected => {
            format!("is asked for {host}, which this connection's certificate is not for{shown}")
        }
        Some(site) if site == host => format!("{host} chooses the page: one of {sites} sites here{shown}"),
        Some(site) => format!("{host} chooses the page, as one of {site}: one of {sites} sites here{shown}"),
        None => format!("has no site {host}: the default one of {sites} answers{shown}"),
    })
}

/// Reason phrases of the status codes (RFC 9110, 15, and the registry that it begins).
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        511 => "Network Authentication Required",
        _ => "",
    }
}

/// How the browser's cache answered: `hit`, `revalidated`, `stale`, `miss`, or empty.
pub(crate) fn cache_word(req: &Req<'_>) -> &'static str {
    let mut word = "";
    for (_, record) in &req.said {
        if let AppRecord::Cache { cache: CacheKind::BrowserHttp, outcome, .. } = record {
            word = match outcome {
                CacheOutcome::Hit { .. } => "hit",
                CacheOutcome::Revalidated => "revalidated",
                CacheOutcome::Stale { .. } => "stale",
                CacheOutcome::Miss if word.is_empty() => "miss",
                _ => word,
            };
        }
    }
    word
}

/// Fills what HAR needs of a request that travelled.
pub(crate) fn fill(step: &Step<'_, '_>, req: &Req<'_>, place: Place, story: &mut RequestStory) {
    let view = step.view;
    let (tcp, exchange) = exchange_of(view, place);
    story.protocol = exchange.version.name().to_string();
    story.reused = place.reused;
    story.stream = exchange.stream;
    story.request_headers = fields(&exchange.request.headers);
    if let Some(response) = &exchange.response {
        story.response_headers = fields(&response.headers);
        story.transferred_bytes = response.body.encoded_bytes;
        story.head_bytes = response.head_bytes;
        if story.status == 0 {
            story.status = response.status;
        }
    }
    story.upstream = upstream::tell(view, place);
    story.timings = timings(step, req, tcp, exchange, place.reused);
}

fn fields(headers: &[HttpHeader]) -> Vec<Field> {
    headers.iter().map(|h| Field::new(&h.name, &h.value)).collect()
}

/// The parts of a request's time; cut so that they add up to the whole.
fn timings(
    step: &Step<'_, '_>,
    req: &Req<'_>,
    tcp: &TcpConversation,
    exchange: &HttpExchange,
    reused: bool,
) -> Timings {
    let mut at = req.begin.at;
    let mut until = |to: Time| {
        let to = to.max(at);
        let span = to.since(at).0;
        at = to;
        span
    };
    let mut timings = Timings::default();
    let looked_up = step.children(req.id).into_iter().find(|r| r.kind == ReqKind::Lookup);
    if let Some(lookup) = looked_up {
        timings.blocked_ns += until(lookup.begin.at);
        timings.dns_ns = lookup.end_at().map(&mut until);
    }
    if let (false, Some(syn), Some(done)) = (reused, &tcp.syn, tcp.established)
        && syn.mark.at >= req.begin.at
    {
        timings.blocked_ns += until(syn.mark.at);
        timings.connect_ns = Some(until(done.at));
        timings.tls_ns = tcp.tls.as_ref().and_then(|t| t.handshake_done).map(|m| until(m.at));
    }
    let request = &exchange.request;
    timings.blocked_ns += until(request.head.first.at);
    timings.send_ns = until(request.body.span.unwrap_or(request.head).last.at);
    let end = req.end_at().unwrap_or(step.last);
    match &exchange.response {
        Some(response) => {
            timings.wait_ns = until(response.head.first.at.min(end));
            timings.receive_ns = until(end);
        }
        None => timings.wait_ns = until(end),
    }
    timings
}
