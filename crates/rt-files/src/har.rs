//! HAR 1.2 (HTTP Archive): a page load as browser developer tools show it.
//!
//! [`document`] takes plain [`Page`]s and [`Entry`]s; all times are virtual, stamped from the run's epoch. `timings` add up to
//! `time` as the format demands; a phase that did not happen is -1.

use rt_base::{Nanos, Time};
use serde_json::{Value, json};

/// A page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// `page_1`.
    pub id: String,
    /// URL or title.
    pub title: String,
    /// When the person asked for it.
    pub started: Time,
    /// HTML there and parsed, after `started`.
    pub on_content_load: Option<Nanos>,
    /// Everything there, after `started`.
    pub on_load: Option<Nanos>,
}

/// The phases of an entry; `None` where it did not happen (a connection that was there already).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Phases {
    /// Waiting for a connection or for its turn.
    pub blocked: Option<Nanos>,
    /// Name look-up.
    pub dns: Option<Nanos>,
    /// Connecting, the TLS handshake included (as the format wants it).
    pub connect: Option<Nanos>,
    /// The TLS handshake alone.
    pub ssl: Option<Nanos>,
    /// Sending the request.
    pub send: Nanos,
    /// Waiting for the first byte.
    pub wait: Nanos,
    /// Reading the response.
    pub receive: Nanos,
}

/// One request and its response.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Entry {
    /// The page it belongs to.
    pub page: Option<String>,
    /// When it began.
    pub started: Time,
    /// Its phases.
    pub phases: Phases,
    /// `GET`.
    pub method: String,
    /// Full URL.
    pub url: String,
    /// `h2` or `http/1.1`; empty for a response from the cache.
    pub http_version: String,
    /// Request headers in order.
    pub request_headers: Vec<(String, String)>,
    /// Request body: content type and text.
    pub post: Option<(String, String)>,
    /// Bytes of the request body.
    pub request_body: u64,
    /// Status code.
    pub status: u16,
    /// Reason phrase, empty in HTTP/2.
    pub status_text: String,
    /// Response headers in order.
    pub response_headers: Vec<(String, String)>,
    /// Bytes of the response body on the wire.
    pub body_on_wire: u64,
    /// Bytes of the decoded body.
    pub body_size: u64,
    /// Content type.
    pub mime_type: String,
    /// The decoded body when it is text and not too long.
    pub text: Option<String>,
    /// The server's address.
    pub server_address: Option<String>,
    /// Which connection (the local port).
    pub connection: Option<String>,
    /// Answered from the browser's cache without the network, or with a 304.
    pub from_cache: bool,
    /// What else is worth saying.
    pub comment: String,
}

/// The whole document. `epoch` is the civil time at virtual time zero, seconds since 1970.
#[must_use]
pub fn document(version: &str, epoch: u64, pages: &[Page], entries: &[Entry]) -> String {
    let creator = json!({ "name": "roundtrip", "version": version });
    let log = json!({
        "version": "1.2",
        "creator": creator,
        "pages": pages.iter().map(|p| page(epoch, p)).collect::<Vec<_>>(),
        "entries": entries.iter().map(|e| entry(epoch, e)).collect::<Vec<_>>(),
    });
    format!("{:#}\n", json!({ "log": log }))
}

fn page(epoch: u64, page: &Page) -> Value {
    json!({
        "startedDateTime": date(epoch, page.started),
        "id": page.id,
        "title": page.title,
        "pageTimings": { "onContentLoad": optional(page.on_content_load), "onLoad": optional(page.on_load) },
    })
}

fn entry(epoch: u64, entry: &Entry) -> Value {
    let p = &entry.phases;
    // `ssl` is contained in `connect`, so it does not count twice.
    let parts = [p.blocked, p.dns, p.connect, Some(p.send), Some(p.wait), Some(p.receive)];
    let total = parts.into_iter().flatten().fold(Nanos::ZERO, |a, b| a + b);
    let mut value = json!({
        "startedDateTime": date(epoch, entry.started),
        "time": millis(total),
        "request": request(entry),
        "response": response(entry),
        "cache": {},
        "timings": {
            "blocked": optional(p.blocked), "dns": optional(p.dns), "connect": optional(p.connect),
            "send": millis(p.send), "wait": millis(p.wait), "receive": millis(p.receive), "ssl": optional(p.ssl),
        },
    });
    let optional = [
        ("pageref", entry.page.clone()),
        ("serverIPAddress", entry.server_address.clone()),
        ("connection", entry.connection.clone()),
        ("comment", Some(entry.comment.clone()).filter(|c| !c.is_empty())),
        ("_fromCache", entry.from_cache.then(|| "disk".to_owned())),
    ];
    for (key, text) in optional.into_iter().filter_map(|(k, t)| Some((k, t?))) {
        value[key] = json!(text);
    }
    value
}

fn request(entry: &Entry) -> Value {
    let query = entry.url.split_once('?').map_or("", |(_, q)| q.split('#').next().unwrap_or_default());
    let pairs = query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")));
    let mut value = json!({
        "method": entry.method,
        "url": entry.url,
        "httpVersion": entry.http_version,
        "cookies": cookies(&entry.request_headers, "cookie"),
        "headers": headers(&entry.request_headers),
        "queryString": pairs.map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
        "headersSize": -1,
        "bodySize": entry.request_body,
    });
    if let Some((mime_type, text)) = &entry.post {
        value["postData"] = json!({ "mimeType": mime_type, "params": [], "text": text });
    }
    value
}

fn response(entry: &Entry) -> Value {
    let redirect = entry.response_headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("location"));
    let saved = i128::from(entry.body_size) - i128::from(entry.body_on_wire);
    let mut content =
        json!({ "size": entry.body_size, "compression": saved as i64, "mimeType": entry.mime_type });
    if let Some(text) = &entry.text {
        content["text"] = json!(text);
    }
    json!({
        "status": entry.status,
        "statusText": entry.status_text,
        "httpVersion": entry.http_version,
        "cookies": cookies(&entry.response_headers, "set-cookie"),
        "headers": headers(&entry.response_headers),
        "content": content,
        "redirectURL": redirect.map_or("", |(_, value)| value.as_str()),
        "headersSize": -1,
        "bodySize": if entry.from_cache { 0 } else { entry.body_on_wire },
    })
}

fn headers(headers: &[(String, String)]) -> Vec<Value> {
    headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn cookies(headers: &[(String, String)], header: &str) -> Vec<Value> {
    let lines = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(header)).map(|(_, value)| value);
    // Set-Cookie has one cookie and then attributes, Cookie has many cookies.
    let most = if header == "set-cookie" { 1 } else { usize::MAX };
    let pairs =
        lines.flat_map(|line| line.split(';').take(most)).filter_map(|pair| pair.trim().split_once('='));
    pairs.map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn optional(span: Option<Nanos>) -> f64 {
    span.map_or(-1.0, millis)
}

fn millis(span: Nanos) -> f64 {
    span.0 as f64 / 1e6
}

/// ISO 8601 in UTC with milliseconds, by the civil-from-days rule of the proleptic Gregorian calendar.
fn date(epoch: u64, at: Time) -> String {
    let seconds = epoch + at.0 / 1_000_000_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (h, m, s, ms) = (rest / 3600, rest / 60 % 60, rest % 60, at.0 / 1_000_000 % 1000);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use rt_base::{Nanos, Time};
    use serde_json::Value;

    use super::{Entry, Page, Phases, date, document};

    #[test]
    fn dates_are_those_of_the_calendar() {
        // Oracle: `date -u -d @N`.
        let check = |epoch, ns, text| assert_eq!(date(epoch, Time(ns)), text);
        check(0, 0, "1970-01-01T00:00:00.000Z");
        check(951_782_400, 1_999_000_000, "2000-02-29T00:00:01.999Z");
        check(1_768_478_400, 0, "2026-01-15T12:00:00.000Z");
        check(4_107_542_399, 0, "2100-02-28T23:59:59.000Z");
    }

    /// HAR 1.2, by section: the fields that must be there and their kinds. `?` marks one that may be left out.
    const RULES: [(&str, &[(&str, &str)]); 11] = [
        ("log", &[("version", "string"), ("creator", "object"), ("pages", "array?"), ("entries", "array")]),
        ("creator", &[("name", "string"), ("version", "string")]),
        (
            "page",
            &[("startedDateTime", "date"), ("id", "string"), ("title", "string"), ("pageTimings", "object")],
        ),
        ("pageTimings", &[("onContentLoad", "span?"), ("onLoad", "span?")]),
        (
            "entry",
            &[
                ("pageref", "string?"),
                ("startedDateTime", "date"),
                ("time", "time"),
                ("request", "object"),
                ("response", "object"),
                ("cache", "object"),
                ("timings", "object"),
                ("serverIPAddress", "string?"),
                ("connection", "string?"),
                ("comment", "string?"),
            ],
        ),
        (
            "request",
            &[
                ("method", "string"),
                ("url", "string"),
                ("httpVersion", "string"),
                ("cookies", "array"),
                ("headers", "array"),
                ("queryString", "array"),
                ("postData", "object?"),
                ("headersSize", "size"),
                ("bodySize", "size"),
            ],
        ),
        (
            "response",
            &[
                ("status", "size"),
                ("statusText", "string"),
                ("httpVersion", "string"),
                ("cookies", "array"),
                ("headers", "array"),
                ("content", "object"),
                ("redirectURL", "string"),
                ("headersSize", "size"),
                ("bodySize", "size"),
            ],
        ),
        (
            "content",
            &[("size", "size"), ("compression", "number?"), ("mimeType", "string"), ("text", "string?")],
        ),
        ("postData", &[("mimeType", "string"), ("params", "array?"), ("text", "string?")]),
        (
            "timings",
            &[
                ("blocked", "span?"),
                ("dns", "span?"),
                ("connect", "span?"),
                ("send", "time"),
                ("wait", "time"),
                ("receive", "time"),
                ("ssl", "span?"),
            ],
        ),
        ("pair", &[("name", "string"), ("value", "string")]),
    ];

    /// Checks `value` by the rules of `section`; fields of ours begin with an underscore, as the format allows.
    #[track_caller]
    fn check(section: &str, value: &Value) {
        let rules = RULES.iter().find(|(name, _)| *name == section).unwrap().1;
        for (field, kind) in rules {
            let (kind, optional) = kind.strip_suffix('?').map_or((*kind, false), |k| (k, true));
            let found = &value[*field];
            let number = found.as_f64();
            let holds = match kind {
                "string" => found.is_string(),
                "date" => found.as_str().is_some_and(|d| d.len() == 24 && d.ends_with('Z')),
                "object" => found.is_object(),
                "array" => found.is_array(),
                "number" => number.is_some(),
                "time" => number.is_some_and(|n| n >= 0.0),
                "size" => found.as_i64().is_some_and(|n| n >= -1),
                _ => number.is_some_and(|n| n >= 0.0 || n == -1.0),
            };
            assert!(holds || (optional && found.is_null()), "{section}.{field} is {found}");
        }
        let known = |key: &str| key.starts_with('_') || rules.iter().any(|(field, _)| *field == key);
        for (key, inner) in value.as_object().unwrap() {
            assert!(known(key), "{section}.{key} is not in the format");
            match key.as_str() {
                "headers" | "cookies" | "queryString" => {
                    inner.as_array().unwrap().iter().for_each(|p| check("pair", p))
                }
                "pages" => inner.as_array().unwrap().iter().for_each(|p| check("page", p)),
                "entries" => inner.as_array().unwrap().iter().for_each(|e| check("entry", e)),
                "cache" => {}
                key if inner.is_object() => check(key, inner),
                _ => {}
            }
        }
    }

    fn sample() -> (Page, Vec<Entry>) {
        let phases = Phases {
            dns: Some(Nanos(3_000_000)),
            connect: Some(Nanos(5_000_000)),
            ssl: Some(Nanos(2_000_000)),
            send: Nanos(1),
            wait: Nanos(2_000_000),
            receive: Nanos(499_999),
            ..Phases::default()
        };
        let page = Page {
            id: "page_1".into(),
            title: "a".into(),
            started: Time(0),
            on_content_load: Some(Nanos(7)),
            on_load: None,
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let full = Entry {
            page: Some(page.id.clone()),
            phases,
            method: "POST".into(),
            url: "https://a/?x=1&y#z".into(),
            http_version: "h2".into(),
            request_headers: vec![pair("cookie", "NID=123; a=b")],
            post: Some(pair("application/json", "{}")),
            request_body: 2,
            status: 302,
            response_headers: vec![pair("Set-Cookie", "NID=4; Path=/"), pair("location", "/b")],
            body_on_wire: 10,
            body_size: 30,
            mime_type: "text/html".into(),
            text: Some("<p>".into()),
            server_address: Some("142.250.190.46".into()),
            connection: Some("52432".into()),
            comment: "redirect".into(),
            ..Entry::default()
        };
        (page, vec![full, Entry { from_cache: true, url: "https://a/s.css".into(), ..Entry::default() }])
    }

    #[test]
    fn the_document_obeys_the_rules_of_the_format() {
        let (page, entries) = sample();
        let value: Value = serde_json::from_str(&document("1", 0, &[page], &entries)).unwrap();
        check("log", &value["log"]);
        assert_eq!(value["log"]["version"], "1.2");
        for entry in value["log"]["entries"].as_array().unwrap() {
            let parts = ["blocked", "dns", "connect", "send", "wait", "receive"];
            let sum: f64 =
                parts.iter().filter_map(|p| entry["timings"][p].as_f64()).filter(|v| *v >= 0.0).sum();
            assert!((sum - entry["time"].as_f64().unwrap()).abs() < 1e-9);
        }
    }

    #[test]
    fn cookies_queries_and_redirects_are_taken_apart() {
        let (page, entries) = sample();
        let value: Value = serde_json::from_str(&document("1", 0, &[page], &entries)).unwrap();
        let entry = &value["log"]["entries"][0];
        assert_eq!(entry["request"]["cookies"].as_array().map(Vec::len), Some(2));
        assert_eq!(entry["request"]["queryString"][1], serde_json::json!({ "name": "y", "value": "" }));
        assert_eq!(entry["response"]["cookies"].as_array().map(Vec::len), Some(1));
        assert_eq!(entry["response"]["redirectURL"], "/b");
        assert_eq!(entry["response"]["content"]["compression"], 20);
    }
}
