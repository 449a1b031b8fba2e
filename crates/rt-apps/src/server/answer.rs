//! What a request gets: a pure function of the pages, the request and the clock.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG,
    HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, SERVER, SET_COOKIE, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::pages::{PageSet, Resource};
use crate::http::{Body, Coding, date, parse_date};

/// When all built-in and given files were written: 7 November 2023.
const WRITTEN: u64 = 1_699_315_200;

/// Answers a request whose body is `body`; `now` is civil time.
pub(super) fn answer(pages: &PageSet, request: &Parts, body: &Bytes, now: u64) -> Response<Body> {
    if let Some(recorded) = &pages.recorded
        && request.method == Method::GET
        && let Some(known) = recorded.get(request.uri.path()).or_else(|| recorded.get(""))
    {
        return known.answer(request, now);
    }
    let mut response = match (&request.method, pages.resources.get(request.uri.path())) {
        (&Method::POST, _) => post(request, body),
        (&Method::GET | &Method::HEAD, Some(resource)) => get(resource, request, now),
        (&Method::GET | &Method::HEAD, None) => not_found(request),
        _ => method_not_allowed(),
    };
    put(response.headers_mut(), DATE, &date(now));
    put(response.headers_mut(), SERVER, &pages.server);
    if request.method == Method::HEAD {
        // The fields of a GET, without the body (RFC 9110, 9.3.2).
        let length = hyper::body::Body::size_hint(response.body()).exact();
        if let (Some(length), StatusCode::OK) = (length, response.status()) {
            put(response.headers_mut(), CONTENT_LENGTH, &length.to_string());
        }
        *response.body_mut() = Body::default();
    }
    response
}

fn get(resource: &Resource, request: &Parts, now: u64) -> Response<Body> {
    let coding = choose_coding(resource, &request.headers);
    let etag = resource.etag(coding);
    let mut response = if let Some((code, to)) = &resource.redirect {
        let mut response = page(*code, &format!("It is at <a href=\"{0}\">{0}</a>.", escape(to)));
        put(response.headers_mut(), LOCATION, to);
        response
    } else if resource.validators && is_unchanged(&request.headers, &etag) {
        status(StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        let mut response = status(StatusCode::OK, resource.encoded(coding));
        put(response.headers_mut(), CONTENT_TYPE, &resource.content_type);
        if let Some(name) = coding.name() {
            put(response.headers_mut(), CONTENT_ENCODING, name);
        }
        response
    };
    let headers = response.headers_mut();
    if !resource.cache_control.is_empty() {
        put(headers, CACHE_CONTROL, &resource.cache_control);
    }
    if resource.redirect.is_none() && resource.compressible() {
        put(headers, VARY, "Accept-Encoding");
    }
    if resource.validators {
        put(headers, ETAG, &etag);
        // A date after the response's own must not be sent (RFC 9110, 8.8.2.1).
        if WRITTEN <= now {
            put(headers, LAST_MODIFIED, &date(WRITTEN));
        }
    }
    for cookie in &resource.cookies {
        if let Ok(value) = HeaderValue::from_str(cookie) {
            headers.append(SET_COOKIE, value);
        }
    }
    response
}

/// Pages made while the visitor waits go out as gzip, which is quick; files that could be packed once as Brotli.
fn choose_coding(resource: &Resource, headers: &HeaderMap) -> Coding {
    if !resource.compressible() {
        return Coding::Identity;
    }
    let best_first =
        if resource.validators { [Coding::Brotli, Coding::Gzip] } else { [Coding::Gzip, Coding::Brotli] };
    let accepted = text(headers, &ACCEPT_ENCODING);
    best_first.into_iter().find(|coding| accepts(accepted, *coding)).unwrap_or(Coding::Identity)
}

/// RFC 9110, 12.5.3: named without `q=0`.
fn accepts(field: &str, coding: Coding) -> bool {
    let Some(name) = coding.name() else { return true };
    field.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|found| found.eq_ignore_ascii_case(name) || found == "*");
        let refused = parts.any(|weight| {
            weight.strip_prefix("q=").is_some_and(|q| q.bytes().all(|byte| matches!(byte, b'0' | b'.')))
        });
        named && !refused
    })
}

/// RFC 9110, 13.2.2: If-None-Match counts first, If-Modified-Since only without it.
fn is_unchanged(headers: &HeaderMap, etag: &str) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        let strip = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        return text(headers, &IF_NONE_MATCH).split(',').any(|tag| tag.trim() == "*" || strip(tag) == etag);
    }
    parse_date(text(headers, &IF_MODIFIED_SINCE)).is_some_and(|since| since >= WRITTEN)
}

/// Reads JSON and answers with what was understood.
fn post(request: &Parts, body: &Bytes) -> Response<Body> {
    let content_type = text(&request.headers, &CONTENT_TYPE);
    if content_type.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json"))
    {
        let error = json!({ "ok": false, "error": "send application/json", "got": content_type });
        return json_answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error);
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => {
            let mut understood = json!({ "type": kind_of(&value), "bytes": body.len() });
            if let Value::Object(fields) = &value {
                understood["fields"] = fields.keys().map(String::as_str).collect();
            }
            if let Value::Array(items) = &value {
                understood["items"] = items.len().into();
            }
            let answer = json!({ "ok": true, "path": request.uri.path(), "understood": understood, "received": value });
            json_answer(StatusCode::OK, &answer)
        }
        Err(error) => {
            let answer = json!({
                "ok": false, "error": error.to_string(), "line": error.line(), "column": error.column(),
            });
            json_answer(StatusCode::BAD_REQUEST, &answer)
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn json_answer(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = status(code, value.to_string().into());
    put(response.headers_mut(), CONTENT_TYPE, "application/json");
    put(response.headers_mut(), CACHE_CONTROL, "no-store");
    response
}

fn not_found(request: &Parts) -> Response<Body> {
    page(StatusCode::NOT_FOUND, &format!("There is no {} on this server.", escape(request.uri.path())))
}

fn method_not_allowed() -> Response<Body> {
    let mut response = page(StatusCode::METHOD_NOT_ALLOWED, "This server knows GET, HEAD and POST.");
    put(response.headers_mut(), ALLOW, "GET, HEAD, POST");
    response
}

/// A page that says what went wrong.
pub(crate) fn page(code: StatusCode, sentence: &str) -> Response<Body> {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{code}</title></head>\n\
         <body><h1>{code}</h1><p>{sentence}</p></body>\n</html>\n"
    );
    let mut response = status(code, html.into());
    put(response.headers_mut(), CONTENT_TYPE, "text/html; charset=utf-8");
    response
}

fn status(code: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    response
}

/// Sets a field; a value that no field may have is left out.
pub(crate) fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Text as HTML has it, in attributes as well.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_219_200;

    const REQUESTS: &[(&str, &str)] = &[
        // A personal page goes out as gzip and has no validators.
        ("GET /\nAccept-Encoding: gzip, br", ""),
        ("GET /", ""),
        // A file goes out as Brotli and has them.
        ("GET /xjs/home.css\nAccept-Encoding: gzip, br", ""),
        ("GET /xjs/home.css\nAccept-Encoding: gzip", ""),
        ("HEAD /xjs/home.css\nAccept-Encoding: gzip;q=0", ""),
        ("GET /xjs/home.js\nAccept-Encoding: br\nIf-None-Match: \"stale\", W/\"other\"", ""),
        // Unchanged.
        ("GET /images/logo.png\nIf-Modified-Since: Tue, 07 Nov 2023 00:00:00 GMT", ""),
        ("GET /images/logo.png\nIf-None-Match: *", ""),
        // JSON is understood, or refused with its place.
        ("POST /api\nContent-Type: application/json; charset=utf-8", r#"{"name":"cup","count":2}"#),
        ("POST /api\nContent-Type: application/json", "[1,2,3]"),
        ("POST /api\nContent-Type: application/json", "{\"name\":"),
        ("POST /api\nContent-Type: text/plain", "{}"),
        // What is not there, what cannot be done.
        ("GET /nowhere", ""),
        ("DELETE /", ""),
    ];

    fn shown(request: &str, body: &str) -> String {
        let mut lines = request.lines();
        let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
        let mut builder = http::Request::builder().method(method).uri(path);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            builder = builder.header(name, value);
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let pages = PageSet::built_in("google-home").unwrap();
        let response = answer(&pages, &parts, &body.to_owned().into(), NOW);
        let mut text = format!("> {}\n< {}\n", request.replace('\n', "\n> "), response.status());
        for (name, value) in response.headers() {
            text.push_str(&format!("< {name}: {}\n", value.to_str().unwrap()));
        }
        let size = hyper::body::Body::size_hint(response.body()).exact().unwrap();
        text.push_str(&format!("< ({size} bytes)\n"));
        text
    }

    #[test]
    fn each_request_gets_its_answer() {
        let all: Vec<_> = REQUESTS.iter().map(|(request, body)| shown(request, body)).collect();
        insta::assert_snapshot!("answers", all.join("\n"));
    }
}
