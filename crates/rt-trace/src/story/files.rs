//! Around a page's own request: the address taken apart before it, the files that it names, and the drawing.

use std::collections::BTreeMap;

use rt_base::{AppRecord, ReqId, ReqKind};

use super::http::Place;
use super::model::{Chapter, Line, RequestStory};
use super::tell::{self, Step};
use super::view::Req;
use super::{lookup, ways, words};

/// The chapter of taking the address apart and looking into the browser's own stores.
pub(crate) fn url(step: &Step<'_, '_>, req: &Req<'_>) -> Option<Chapter> {
    let _ = step;
    let (scheme, rest) = req.target.split_once("://")?;
    let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(a, p)| (a, p.to_string()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.to_string()),
        None => (authority, if scheme == "https" { "443" } else { "80" }.to_string()),
    };
    let private = if scheme == "https" { "encrypted (TLS)" } else { "in the clear" };
    let text = format!("{scheme}: HTTP, {private}, port {port} · with {host} · about /{path}");
    let mut lines = vec![
        Line::new("url.parts", "address", text)
            .at(req.begin.at)
            .with("scheme", scheme)
            .with("host", host)
            .with("port", &port)
            .with("path", format!("/{path}")),
    ];
    let own = |l: &Line| l.data.get("cache").is_some_and(|c| c == "browser-http" || c == "connection-pool");
    lines.extend(lookup::cache_lines(req).into_iter().filter(own));
    Some(Chapter {
        code: "url".into(),
        title: "read the address".into(),
        subject: req.target.to_string(),
        start_ns: req.begin.at.0,
        end_ns: req.begin.at.0,
        remark: String::new(),
        explain: String::new(),
        lines,
    })
}

/// What came of a file, and from whom.
fn came(story: &RequestStory) -> Vec<String> {
    let mut parts = Vec::new();
    parts.push(match story.cache.as_str() {
        "hit" => "from the browser's cache, no packet needed".to_string(),
        "revalidated" => "304: not changed, so the browser's copy is used".to_string(),
        _ => format!("{} · {}", story.status, words::bytes(story.transferred_bytes)),
    });
    if story.stream > 0 {
        parts.push(format!("stream {}", story.stream));
    }
    let deepest = story.upstream.as_ref().and_then(|up| up.chain().last());
    if let Some(up) = deepest.filter(|up| !up.chosen.is_empty()) {
        parts.push(format!("by {}", up.server()));
    }
    let failed = story.upstream.as_ref().filter(|_| story.status >= 400);
    parts.extend(failed.and_then(|up| up.refused()).map(|(proxy, text)| format!("{proxy} {text}")));
    if story.slack_ns > 0 && story.cache != "hit" {
        let slack = words::ms(rt_base::Nanos(story.slack_ns));
        parts.push(format!("could have taken {slack} longer without making the page later"));
    }
    parts
}

/// The chapter of the resources that a page names.
pub(crate) fn tell(
    step: &Step<'_, '_>,
    page: &Req<'_>,
    stories: &[RequestStory],
    places: &BTreeMap<ReqId, Place>,
) -> Option<Chapter> {
    let children: Vec<&Req<'_>> =
        step.children(page.id).into_iter().filter(|r| r.kind == ReqKind::Subresource).collect();
    let start = children.iter().map(|r| r.begin.at).min()?;
    let end = children.iter().map(|r| r.end_at().unwrap_or(step.last)).max()?;
    let mut lines = Vec::new();
    for req in &children {
        let story = stories
            .iter()
            .find(|s| s.start_ns == req.begin.at.0 && s.target == req.target && s.kind == "subresource");
        let took = words::between(req.begin.at, req.end_at().unwrap_or(step.last));
        let path = req
            .target
            .split_once("://")
            .and_then(|(_, r)| r.split_once('/'))
            .map_or(req.target.to_string(), |(_, p)| format!("/{p}"));
        let mut parts = story.map_or_else(Vec::new, came);
        if let Some(end) = req.end.filter(|e| !e.ok) {
            parts.push(end.note.to_string());
        }
        lines.push(
            Line::new("http.resource", path, parts.join(" · "))
                .at(req.begin.at)
                .margin(took)
                .with("url", req.target)
                .with("request", story.map_or(0, |s| s.number)),
        );
    }
    for req in &children {
        let own = places.get(&req.id).filter(|p| !p.reused);
        lines.extend(own.into_iter().flat_map(|p| own_connection(step, *p)));
    }
    Some(Chapter {
        code: "resources".into(),
        title: "fetch what the page needs".into(),
        subject: match children.len() as u64 {
            1 => "1 file".to_owned(),
            n => format!("{} at the same time", words::count(n, "file")),
        },
        start_ns: start.0,
        end_ns: end.0,
        remark: String::new(),
        explain: "A page names more files: style sheets say how it looks, scripts what it does, images are pictures."
            .into(),
        lines,
    })
}

/// A connection opened for one file, in a line; and where machines had a choice, what they chose for it.
fn own_connection(step: &Step<'_, '_>, place: Place) -> Vec<Line> {
    let conn = &step.view.conns[place.conn];
    let tcp = step.view.tcp(conn.client);
    let (Some(syn), Some(open)) = (tcp.syn.as_ref(), tcp.established) else { return Vec::new() };
    let (start, open) = (syn.mark.at, open.at);
    let tls = tcp.tls.as_ref().and_then(|t| t.handshake_done.map(|done| (t.resumed, done.at)));
    let tls = tls.map_or(String::new(), |(resumed, done)| {
        let how = if resumed { "TLS resumed" } else { "TLS" };
        format!(" · {how} {}", words::between(open, done))
    });
    let text = format!("{} → {} · handshake {}{tls}", tcp.client, tcp.server, words::between(start, open));
    let line = Line::new("http.connection", "a connection", text).at(start).with("conn", tcp.client);
    let syn = conn.server.map_or(syn.mark.frame, |end| step.view.tcp(end).syn_frame());
    let hops = tell::hops(step.view, syn);
    std::iter::once(line).chain(hops.iter().flat_map(|hop| ways::choices(hop, 1))).collect()
}

/// The chapter of drawing the page.
pub(crate) fn page(step: &Step<'_, '_>, page: &Req<'_>) -> Option<Chapter> {
    let (event, resources, from_cache) = page.said.iter().find_map(|(event, record)| match record {
        AppRecord::Rendered { resources, from_cache, .. } => Some((*event, *resources, *from_cache)),
        _ => None,
    })?;
    let loaded = step.children(page.id).into_iter().filter(|r| r.kind == ReqKind::Subresource);
    let start = loaded.filter_map(|r| r.end_at()).max().or(page.end_at()).unwrap_or(event.at).min(event.at);
    let cached = if from_cache > 0 {
        format!(", {from_cache} of them from the browser's cache")
    } else {
        String::new()
    };
    let text = format!("{} loaded{cached}", words::count(u64::from(resources), "file"));
    Some(Chapter {
        code: "page".into(),
        title: "draw the page".into(),
        subject: String::new(),
        start_ns: start.0,
        end_ns: event.at.0,
        remark: String::new(),
        explain: "The browser lays everything out and paints it.".into(),
        lines: vec![
            Line::new("page.rendered", "rendered", text)
                .at(event.at)
                .with("event", format!("{:?}", event.id)),
        ],
    })
}
