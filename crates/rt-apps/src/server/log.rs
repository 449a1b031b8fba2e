//! The access log of web servers and reverse proxies, a line for each request, in the combined format: client, user, when the
//! response was over, request line, status, bytes of the body that were sent, Referer, User-Agent. As nginx writes it, with its
//! escapes, and with its 499 for a client that went away before it got an answer.
//!
//! Only written while somebody records the run. Bytes count once they are handed to the connection, as nginx counts.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, REFERER, USER_AGENT};
use http::{Request, Response, Version};
use hyper::body::{Frame, SizeHint};
use rt_base::{AppRecord, ReqId};

use crate::http::{Body, date};
use crate::net::Net;

/// The longest field that is written, bytes.
const LONGEST: usize = 2_048;
/// nginx's status for a client that closed before there was an answer.
const CLIENT_CLOSED: u16 = 499;

/// A request from its beginning to its line, which is written when this goes.
pub(super) struct Access {
    net: Net,
    client: IpAddr,
    user: String,
    request: String,
    referer: String,
    agent: String,
    status: u16,
    bytes: u64,
}

impl Access {
    /// `None` when nobody records.
    pub(super) fn begin<B>(net: &Net, client: IpAddr, request: &Request<B>) -> Option<Box<Access>> {
        net.is_recording().then(|| {
            let headers = request.headers();
            Box::new(Access {
                net: net.clone(),
                client,
                user: user(headers).unwrap_or_else(|| "-".to_owned()),
                request: request_line(request),
                referer: field(headers, REFERER),
                agent: field(headers, USER_AGENT),
                status: CLIENT_CLOSED,
                bytes: 0,
            })
        })
    }

    /// The response whose body tells when it is over.
    pub(super) fn follow(access: Option<Box<Access>>, response: Response<Body>) -> Response<Logged> {
        let status = response.status().as_u16();
        response.map(|body| {
            let mut access = access;
            if let Some(access) = &mut access {
                access.status = status;
            }
            Logged { body, access }
        })
    }

    fn line(&self, unix_time: u64) -> String {
        let Access { client, user, request, referer, agent, status, bytes, .. } = self;
        let time = local_time(unix_time);
        format!("{client} - {user} [{time}] \"{request}\" {status} {bytes} \"{referer}\" \"{agent}\"")
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let text = self.line(self.net.unix_time());
        self.net.say(AppRecord::Note { req: ReqId(0), code: "http.access".to_owned(), text });
    }
}

/// A body whose bytes are counted for the log.
pub(super) struct Logged {
    body: Body,
    access: Option<Box<Access>>,
}

impl hyper::body::Body for Logged {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(access)) = (&polled, &mut self.access) {
            access.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `GET /path HTTP/2.0`.
fn request_line<B>(request: &Request<B>) -> String {
    let (uri, method) = (request.uri(), request.method());
    let version = match request.version() {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    };
    let target = match uri.path_and_query() {
        // In HTTP/2 scheme and host are fields of their own.
        Some(path) if request.version() == Version::HTTP_2 => path.to_string(),
        _ => uri.to_string(),
    };
    escaped(format!("{method} {target} {version}").as_bytes())
}

fn field(headers: &HeaderMap, name: HeaderName) -> String {
    headers.get(name).map_or_else(|| "-".to_owned(), |value| escaped(value.as_bytes()))
}

/// The name that basic authentication tells (RFC 7617), true or not.
fn user(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let told = STANDARD.decode(token.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let name = told.split(|byte| *byte == b':').next().filter(|name| !name.is_empty())?;
    Some(escaped(name))
}

/// nginx's default: quotes, backslashes, and what is not printable ASCII, as `\x22`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().min(LONGEST));
    for byte in bytes.iter().take(LONGEST) {
        match byte {
            b'"' | b'\\' | 0..=31 | 127.. => {
                let _ = write!(text, "\\x{byte:02X}");
            }
            _ => text.push(char::from(*byte)),
        }
    }
    text
}

/// `21/Nov/2026:00:00:01 +0000`.
fn local_time(unix_time: u64) -> String {
    let date = date(unix_time);
    let mut words = date.split(' ').skip(1);
    let mut next = || words.next().unwrap_or_default();
    let (day, month, year, time) = (next(), next(), next(), next());
    format!("{day}/{month}/{year}:{time} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_nginx_writes_them() {
        assert_eq!(local_time(1_795_219_200), "21/Nov/2026:00:00:00 +0000");
        assert_eq!(escaped(b"a\"b\\c\n\xc3\xa9"), "a\\x22b\\x5Cc\\x0A\\xC3\\xA9");
        assert_eq!(escaped(&[b'x'; 5_000]).len(), LONGEST);
        let request = |version, uri: &str| {
            let request = Request::builder().version(version).uri(uri).header("referer", "http://a/\"");
            request.header("authorization", "Basic YW5uOmxldG1laW4=").body(()).unwrap()
        };
        let two = request(Version::HTTP_2, "https://shop.example/cup?x=1");
        assert_eq!(request_line(&two), "GET /cup?x=1 HTTP/2.0");
        assert_eq!(request_line(&request(Version::HTTP_11, "/cup")), "GET /cup HTTP/1.1");
        assert_eq!(
            (user(two.headers()).unwrap(), field(two.headers(), REFERER)),
            ("ann".into(), "http://a/\\x22".into())
        );
        assert_eq!(field(two.headers(), USER_AGENT), "-");
    }
}
