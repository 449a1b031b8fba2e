//! The story in the words of other tools: HAR entries, Perfetto tracks.

use rt_base::{Nanos, Time};
use rt_files::har::{self, Entry, Page, Phases};
use rt_files::perfetto::{Span, Track};
use rt_trace::story::{RequestStory, StepStory};

use crate::output::Told;

/// Requests of these kinds are not HTTP exchanges.
const NOT_HTTP: [&str; 2] = ["lookup", "probe"];

/// `page.har`: every page and every HTTP exchange.
pub(crate) fn har(version: &str, told: &Told<'_>) -> String {
    let (mut pages, mut entries) = (Vec::new(), Vec::new());
    for step in &told.story.steps {
        let exchanges: Vec<&RequestStory> =
            step.requests.iter().filter(|r| !NOT_HTTP.contains(&r.kind.as_str())).collect();
        let Some(first) = exchanges.first() else { continue };
        let id = format!("page_{}", step.number);
        let load = Nanos(step.end_ns.saturating_sub(step.start_ns));
        let html = Nanos(first.end_ns.saturating_sub(step.start_ns));
        let (title, started) = (first.target.clone(), Time(step.start_ns));
        pages.push(Page { id: id.clone(), title, started, on_content_load: Some(html), on_load: Some(load) });
        entries.extend(exchanges.iter().map(|r| entry(&id, step, r)));
    }
    har::document(version, told.model.epoch, &pages, &entries)
}

fn entry(page: &str, step: &StepStory, request: &RequestStory) -> Entry {
    let pairs = |fields: &[rt_trace::story::Field]| -> Vec<(String, String)> {
        fields.iter().map(|f| (f.name.clone(), f.value.clone())).collect()
    };
    let header = |name: &str| {
        request.response_headers.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value.clone())
    };
    let t = &request.timings;
    let tls = t.tls_ns.map(Nanos);
    let connect = t.connect_ns.map(Nanos).map(|c| c + tls.unwrap_or_default());
    let connection = request.connection.and_then(|c| step.connections.get(c as usize));
    Entry {
        page: Some(page.to_owned()),
        started: Time(request.start_ns),
        phases: Phases {
            blocked: Some(Nanos(t.blocked_ns)).filter(|b| b.0 > 0),
            dns: t.dns_ns.map(Nanos),
            connect: connect.or(tls),
            ssl: tls,
            send: Nanos(t.send_ns),
            wait: Nanos(t.wait_ns),
            receive: Nanos(t.receive_ns),
        },
        method: request.method.clone(),
        url: request.target.clone(),
        http_version: request.protocol.clone(),
        request_headers: pairs(&request.request_headers),
        request_body: request_length(request),
        status: request.status,
        response_headers: pairs(&request.response_headers),
        body_on_wire: request.transferred_bytes,
        body_size: request.body_bytes,
        mime_type: header("content-type").unwrap_or_default(),
        server_address: connection.map(|c| address_only(&c.ends.to)),
        connection: connection.map(|c| c.ends.from.clone()),
        from_cache: request.cache == "hit",
        comment: request.note.clone(),
        ..Entry::default()
    }
}

/// Bytes of the request's body, as its head says.
fn request_length(request: &RequestStory) -> u64 {
    let length = request.request_headers.iter().find(|f| f.name.eq_ignore_ascii_case("content-length"));
    length.and_then(|f| f.value.parse().ok()).unwrap_or(0)
}

/// `142.250.190.46` of `142.250.190.46:443`.
fn address_only(end: &str) -> String {
    end.rsplit_once(':').map_or(end, |(address, _)| address).to_owned()
}

/// `trace.json`: one track per request, one per node (what the critical path spent there).
pub(crate) fn tracks(told: &Told<'_>) -> Vec<Track> {
    let mut tracks = Vec::new();
    for step in &told.story.steps {
        tracks
            .push(Track { name: format!("step {}: {}", step.number, step.text), spans: chapter_spans(step) });
        tracks.extend(step.requests.iter().map(request_track));
    }
    for node in &told.trace.map.nodes {
        let spans: Vec<Span> = told.story.steps.iter().flat_map(|s| node_spans(s, &node.name)).collect();
        tracks.push(Track { name: node.name.clone(), spans });
    }
    tracks
}

fn chapter_spans(step: &StepStory) -> Vec<Span> {
    let mut spans = vec![Span {
        name: step.text.clone(),
        category: "step".into(),
        start: Time(step.start_ns),
        end: Time(step.end_ns),
        args: vec![("summary".into(), step.summary.clone())],
    }];
    spans.extend(step.chapters.iter().map(|c| Span {
        name: format!("{} {}", c.title, c.subject),
        category: c.code.clone(),
        start: Time(c.start_ns),
        end: Time(c.end_ns),
        args: vec![("remark".into(), c.remark.clone())],
    }));
    spans
}

fn request_track(request: &RequestStory) -> Track {
    let whole = Span {
        name: format!("{} {}", request.method, request.target),
        category: request.kind.clone(),
        start: Time(request.start_ns),
        end: Time(request.end_ns),
        args: vec![("status".into(), request.status.to_string()), ("cache".into(), request.cache.clone())],
    };
    let t = &request.timings;
    let parts = [
        ("blocked", Some(t.blocked_ns)),
        ("dns", t.dns_ns),
        ("connect", t.connect_ns),
        ("tls", t.tls_ns),
        ("send", Some(t.send_ns)),
        ("wait", Some(t.wait_ns)),
        ("receive", Some(t.receive_ns)),
    ];
    let mut at = request.start_ns;
    let mut spans = vec![whole];
    for (name, length) in parts.into_iter().filter_map(|(n, l)| Some((n, l.filter(|l| *l > 0)?))) {
        let (start, end) = (Time(at), Time(at + length));
        spans.push(Span { name: name.into(), category: "phase".into(), start, end, args: Vec::new() });
        at += length;
    }
    Track { name: format!("request {}: {} {}", request.number, request.method, request.target), spans }
}

fn node_spans(step: &StepStory, node: &str) -> Vec<Span> {
    let own = step.budget.slices.iter().filter(|s| s.node == node && s.end_ns > s.start_ns);
    own.map(|s| Span {
        name: s.say.clone(),
        category: s.cause.clone(),
        start: Time(s.start_ns),
        end: Time(s.end_ns),
        args: vec![
            ("phase".into(), s.phase.clone()),
            ("to".into(), s.to.clone()),
            ("frame".into(), s.frame.clone()),
        ],
    })
    .collect()
}
