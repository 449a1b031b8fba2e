//! Answers with the very fields, in the very order and of the very length that a real server sent: `example.com` as a
//! networking course's notes published it (September 2024, an edge server of Edgecast).
//!
//! Date, Expires and the body are made: the date is the run's, the body a page of ours, compressed and filled up to the length
//! that was on the wire (a gzip member may carry a comment, RFC 1952, 2.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderName, Response, StatusCode};

use super::answer::put;
use super::pages::PageSet;
use crate::http::{Body, Coding, date};

/// A recorded answer.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    status: StatusCode,
    /// Names and values in order; an empty value is filled in (Date, Expires).
    fields: &'static [(&'static str, &'static str)],
    body: Bytes,
}

/// Seconds that an answer is fresh: `max-age=604800`.
const WEEK: u64 = 604_800;
/// Bytes of each body on the wire.
const BODY: usize = 648;
/// Fields of a 304 (RFC 9110, 15.4.5, and what Edgecast adds).
const NOT_IN_304: &[&str] = &["content-encoding", "content-type", "accept-ranges"];

const START: &[(&str, &str)] = &[
    ("content-encoding", "gzip"),
    ("age", "169439"),
    ("cache-control", "max-age=604800"),
    ("content-type", "text/html; charset=UTF-8"),
    ("date", ""),
    ("etag", "\"3147526947+gzip\""),
    ("expires", ""),
    ("last-modified", "Thu, 17 Oct 2019 07:18:26 GMT"),
    ("server", "ECAcc (nyd/D11B)"),
    ("vary", "Accept-Encoding"),
    ("x-cache", "HIT"),
];
const MISSING: &[(&str, &str)] = &[
    ("content-encoding", "gzip"),
    ("accept-ranges", "bytes"),
    ("age", "169189"),
    ("cache-control", "max-age=604800"),
    ("content-type", "text/html; charset=UTF-8"),
    ("date", ""),
    ("expires", ""),
    ("last-modified", "Thu, 26 Sep 2024 18:47:50 GMT"),
    ("server", "ECAcc (nyd/D157)"),
    ("vary", "Accept-Encoding"),
    ("x-cache", "404-HIT"),
];

/// `example.com`: the page, and the 404 for everything else.
pub(super) fn example_com() -> PageSet {
    let html = "<!doctype html>\n<html>\n<head>\n    <title>Example Domain</title>\n    <meta charset=\"utf-8\" />\n\
                </head>\n<body>\n<div>\n    <h1>Example Domain</h1>\n    <p>This domain is for use in examples. \
                A page of the laboratory stands in for it here.</p>\n</div>\n</body>\n</html>\n";
    let body = gzip_of_length(html.as_bytes(), BODY);
    let page = Recorded { status: StatusCode::OK, fields: START, body: body.clone() };
    let missing = Recorded { status: StatusCode::NOT_FOUND, fields: MISSING, body };
    let answers = BTreeMap::from([("/".to_owned(), page), (String::new(), missing)]);
    PageSet::new(super::SERVER, []).with_recorded(Arc::new(answers))
}

/// A gzip member of exactly `length` bytes, when the content leaves room: the rest is a comment.
fn gzip_of_length(content: &[u8], length: usize) -> Bytes {
    const HEADER: usize = 10;
    const FLAGS: usize = 3;
    const FCOMMENT: u8 = 0x10;
    let plain = Coding::Gzip.encode(content);
    let Some(room) = length.checked_sub(plain.len() + 1) else { return plain };
    let mut member = plain.to_vec();
    member[FLAGS] |= FCOMMENT;
    let mut comment = vec![b' '; room];
    comment.push(0);
    member.splice(HEADER..HEADER, comment);
    member.into()
}

impl Recorded {
    /// The answer to `request` at civil time `now`.
    pub(super) fn answer(&self, request: &Parts, now: u64) -> Response<Body> {
        let tag = self.fields.iter().find(|(name, _)| *name == "etag").map(|(_, value)| *value);
        let asked = request.headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let unchanged = tag.is_some() && tag == asked;
        let mut response = if unchanged {
            Response::new(Body::default())
        } else {
            Response::new(Body::from(self.body.clone()))
        };
        *response.status_mut() = if unchanged { StatusCode::NOT_MODIFIED } else { self.status };
        for (name, value) in self.fields.iter().filter(|(name, _)| !unchanged || !NOT_IN_304.contains(name)) {
            let made = match *name {
                "date" => date(now),
                "expires" => date(now + WEEK),
                _ => (*value).to_owned(),
            };
            put(response.headers_mut(), HeaderName::from_static(name), &made);
        }
        if !unchanged {
            put(response.headers_mut(), CONTENT_LENGTH, &self.body.len().to_string());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_filled_up_and_still_says_what_it_said() {
        let member = gzip_of_length(b"hello hello hello", 200);
        assert_eq!(member.len(), 200);
        assert_eq!(crate::http::decode("gzip", member).unwrap(), &b"hello hello hello"[..]);
        assert!(gzip_of_length(b"too long for this", 4).len() > 4);
    }
}
