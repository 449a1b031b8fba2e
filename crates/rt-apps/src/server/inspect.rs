//! The page set `httpbin`: a server to try clients on, with the calls of httpbin.org that they are usually tried with.
//!
//! | call | answer |
//! |---|---|
//! | `GET /headers`, `GET /get` | the request's fields, the query, as JSON |
//! | `POST`, `PUT`, `PATCH` `/post`, `/anything` | what came: its length, its SHA-256, the text when short |
//! | `GET /redirect/N` | 302, N times, then `/get` |
//! | `GET /redirect-to?url=U&status_code=S` | that redirect |
//! | `GET /cookies` and `/cookies/set?name=value` | the cookies that came; sets them and redirects to `/cookies` |
//! | `/status/S` | that status |
//! | `GET /delay/SECONDS` | after so long (10 s at most) |
//! | `GET /bytes/N` | N bytes, the same for everybody (1 GiB at most) |
//!
//! Not for: pages that people look at (`pages`). Simplified against the real one: no authentication, no streams of JSON,
//! no forms taken apart. A user notices by a 404.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, DATE, HOST, LOCATION, SERVER, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ring::digest::{Context, SHA256};
use rt_base::{Nanos, Wait};
use serde_json::{Map, Value, json};

use super::answer::{page, put};
use super::pages::{PageSet, Resource};
use crate::http::{Body, date};
use crate::net::Net;

/// The longest body that is made.
const MOST_BYTES: u64 = 1 << 30;
/// Redirects in a row at most.
const MOST_REDIRECTS: u32 = 100;
/// The longest delay, as on the real one.
const MOST_DELAY: Nanos = Nanos::from_secs(10);
/// Text that came is shown up to here, bytes.
const SHOWN: usize = 4_096;

/// What there is besides the calls.
pub(super) fn page_set() -> PageSet {
    let html = "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>httpbin</title>\n\
                <style>body{font-family:sans-serif;background:#e8f1ff}h1{color:#06c}</style></head>\n\
                <body><h1>httpbin</h1><img src=\"/image/png\" width=\"200\" height=\"100\" alt=\"\">\n\
                <p>Try <code>/get</code>, <code>/post</code>, <code>/redirect/3</code>, <code>/cookies</code>, \
                <code>/status/418</code>, <code>/delay/1</code> and <code>/bytes/1000000</code>.</p></body>\n</html>\n";
    let lines: String = (1..=400).map(|n| format!("line {n} of a text that packs well\n")).collect();
    let resources = [
        ("/", Resource::new("text/html; charset=utf-8", html)),
        ("/image/png", Resource::new("image/png", super::built_in::picture(200, 100, 5))),
        ("/text", Resource::new("text/plain; charset=utf-8", lines)),
    ];
    PageSet::new("httpbin", resources.map(|(path, resource)| (path.to_owned(), resource))).inspecting()
}

/// What came with a request.
struct Received {
    length: u64,
    sha256: String,
    start: Vec<u8>,
}

/// Answers a call (see [`is_call`]); a request takes `think`.
pub(super) async fn answer(net: &Net, request: &Parts, body: Incoming, think: Nanos) -> Response<Body> {
    let Ok(received) = receive(body).await else {
        return page(StatusCode::BAD_REQUEST, "The body broke off.");
    };
    let delay = word(request, 2, "/delay/").and_then(|s| s.parse::<f64>().ok()).unwrap_or(0.0);
    let delay = Nanos((delay.clamp(0.0, 10.0) * 1e9) as u64).min(MOST_DELAY);
    net.sleep(think + delay, Wait::ServerThink).await;
    let mut response = call(request, &received);
    put(response.headers_mut(), DATE, &date(net.unix_time()));
    put(response.headers_mut(), SERVER, "httpbin");
    response
}

/// Reads all of it and keeps little.
async fn receive(mut body: Incoming) -> Result<Received, hyper::Error> {
    let (mut length, mut start, mut digest) = (0, Vec::new(), Context::new(&SHA256));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len() as u64;
        digest.update(&data);
        start.extend_from_slice(&data[..data.len().min(SHOWN - start.len())]);
    }
    let sha256 = digest.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Ok(Received { length, sha256, start })
}

/// The first words of the paths of all calls.
const CALLS: [&str; 12] = [
    "get",
    "headers",
    "post",
    "put",
    "patch",
    "anything",
    "redirect",
    "redirect-to",
    "cookies",
    "status",
    "delay",
    "bytes",
];

/// Whether the path is one of the module's table; every other one is a page or nothing.
pub(super) fn is_call(request: &Parts) -> bool {
    CALLS.contains(&request.uri.path().split('/').nth(1).unwrap_or_default())
}

/// What follows `prefix` in the path, when the path has so many words.
fn word<'a>(request: &'a Parts, words: usize, prefix: &str) -> Option<&'a str> {
    let path = request.uri.path();
    path.strip_prefix(prefix).filter(|_| path.split('/').count() == words + 1)
}

fn call(request: &Parts, received: &Received) -> Response<Body> {
    let path = request.uri.path();
    if let Some(code) = word(request, 2, "/status/") {
        return code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok()).map_or_else(bad, empty);
    }
    if let Some(count) = word(request, 2, "/redirect/") {
        let Ok(left @ 1..=MOST_REDIRECTS) = count.parse::<u32>() else { return bad() };
        let next = if left == 1 { "/get".to_owned() } else { format!("/redirect/{}", left - 1) };
        return redirect(StatusCode::FOUND, &next);
    }
    if let Some(length) = word(request, 2, "/bytes/") {
        let Ok(length @ 0..=MOST_BYTES) = length.parse::<u64>() else { return bad() };
        let mut response = Response::new(Body::made(length));
        put(response.headers_mut(), CONTENT_TYPE, "application/octet-stream");
        return response;
    }
    match path {
        "/redirect-to" => {
            let query = query(request);
            let code = query.get("status_code").and_then(Value::as_str).and_then(|code| code.parse().ok());
            let code = StatusCode::from_u16(code.unwrap_or(302)).ok().filter(StatusCode::is_redirection);
            match (code, query.get("url").and_then(Value::as_str)) {
                (Some(code), Some(url)) => redirect(code, url),
                _ => bad(),
            }
        }
        "/cookies" => json_page(&json!({ "cookies": cookies(&request.headers) })),
        "/cookies/set" => {
            let mut response = redirect(StatusCode::FOUND, "/cookies");
            for (name, value) in query(request) {
                let cookie = format!("{name}={}; Path=/", value.as_str().unwrap_or_default());
                if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                    response.headers_mut().append(SET_COOKIE, cookie);
                }
            }
            response
        }
        _ => mirror(request, received),
    }
}

/// Says what came.
fn mirror(request: &Parts, received: &Received) -> Response<Body> {
    if request.uri.path() == "/post" && request.method != Method::POST {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let mut fields = Map::new();
    for (name, value) in &request.headers {
        fields.insert(name.as_str().to_owned(), json!(String::from_utf8_lossy(value.as_bytes())));
    }
    // HTTP/2 has it in a pseudo-field.
    if let Some(authority) = request.uri.authority().filter(|_| !request.headers.contains_key(HOST)) {
        fields.insert("host".to_owned(), json!(authority.as_str()));
    }
    let mut said = json!({
        "method": request.method.as_str(),
        "version": format!("{:?}", request.version),
        "path": request.uri.path(),
        "args": query(request),
        "headers": fields,
    });
    if received.length > 0 {
        said["length"] = json!(received.length);
        said["sha256"] = json!(received.sha256);
        if received.length <= SHOWN as u64 {
            said["data"] = json!(String::from_utf8_lossy(&received.start));
        }
    }
    json_page(&said)
}

fn query(request: &Parts) -> Map<String, Value> {
    let text = request.uri.query().unwrap_or_default();
    url::form_urlencoded::parse(text.as_bytes()).map(|(k, v)| (k.into_owned(), json!(v))).collect()
}

fn cookies(headers: &HeaderMap) -> Map<String, Value> {
    let fields = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn json_page(value: &Value) -> Response<Body> {
    let text = format!("{value:#}\n");
    let mut response = Response::new(Body::from(Bytes::from(text)));
    put(response.headers_mut(), CONTENT_TYPE, "application/json");
    put(response.headers_mut(), CACHE_CONTROL, "no-store");
    response
}

fn redirect(code: StatusCode, to: &str) -> Response<Body> {
    let mut response = page(code, "What you look for is elsewhere.");
    put(response.headers_mut(), LOCATION, to);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.status_mut() = code;
    response
}

fn empty(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = code;
    response
}

fn bad() -> Response<Body> {
    page(StatusCode::BAD_REQUEST, "This call cannot be understood.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, target: &str, fields: &[(&str, &str)]) -> Response<Body> {
        let mut builder = http::Request::builder().method(method).uri(target);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let (parts, ()) = builder.body(()).expect("a request").into_parts();
        assert!(is_call(&parts), "{target} is a call");
        call(&parts, &Received { length: 0, sha256: String::new(), start: Vec::new() })
    }

    fn field(response: &Response<Body>, name: http::HeaderName) -> &str {
        response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    #[test]
    fn redirects_count_down() {
        let first = ask("GET", "/redirect/2", &[]);
        assert_eq!((first.status().as_u16(), field(&first, LOCATION)), (302, "/redirect/1"));
        assert_eq!(field(&ask("GET", "/redirect/1", &[]), LOCATION), "/get");
        let to = ask("GET", "/redirect-to?url=http%3A%2F%2Fa.example%2F&status_code=307", &[]);
        assert_eq!((to.status().as_u16(), field(&to, LOCATION)), (307, "http://a.example/"));
    }

    #[test]
    fn nonsense_is_refused() {
        for target in ["/redirect/0", "/redirect/101", "/redirect-to?url=x&status_code=200", "/bytes/-1"] {
            assert_eq!(ask("GET", target, &[]).status(), StatusCode::BAD_REQUEST, "{target}");
        }
        assert_eq!(ask("GET", "/bytes/1073741825", &[]).status(), StatusCode::BAD_REQUEST);
        assert_eq!(ask("GET", "/status/99", &[]).status(), StatusCode::BAD_REQUEST);
        assert_eq!(ask("GET", "/post", &[]).status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn cookies_are_set_and_shown() {
        let set = ask("GET", "/cookies/set?a=1", &[]);
        assert_eq!((field(&set, SET_COOKIE), field(&set, LOCATION)), ("a=1; Path=/", "/cookies"));
        assert_eq!(
            Value::Object(cookies(ask_fields(&[("cookie", "a=1; b=2")]).headers())),
            json!({"a":"1","b":"2"})
        );
    }

    fn ask_fields(fields: &[(&str, &str)]) -> http::Request<()> {
        let builder = http::Request::builder();
        fields.iter().fold(builder, |b, (k, v)| b.header(*k, *v)).body(()).expect("a request")
    }

    #[test]
    fn made_bodies_have_their_length() {
        let response = ask("GET", "/bytes/200000", &[]);
        assert_eq!(hyper::body::Body::size_hint(response.body()).exact(), Some(200_000));
    }
}
