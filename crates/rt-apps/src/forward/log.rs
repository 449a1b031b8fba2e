//! The access log, a line for each request, in squid's native format: time, milliseconds, client, result and status,
//! bytes, method, URL, user, from where, content type.

use std::net::IpAddr;

use http::header::{CONTENT_TYPE, HeaderMap};
use rt_base::{AppRecord, ReqId, Time};

use super::Desk;

/// The longest URL that is written, bytes.
const LONGEST_URL: usize = 2_048;

/// A request from its beginning to its line.
#[derive(Clone)]
pub(super) struct Access {
    begun: Time,
    client: IpAddr,
    method: String,
    url: String,
    user: Option<String>,
}

/// How it ended.
pub(super) struct Ended<'a> {
    /// `TCP_MISS`, `TCP_TUNNEL`, `TCP_DENIED`...
    pub(super) result: &'a str,
    pub(super) status: u16,
    pub(super) bytes: u64,
    /// The server's address, if one was asked.
    pub(super) server: Option<IpAddr>,
    /// Content-Type.
    pub(super) kind: Option<String>,
}

impl Access {
    pub(super) fn begin(desk: &Desk, client: IpAddr, method: &str, url: &str, user: Option<&str>) -> Access {
        let url = url.chars().filter(|letter| !letter.is_control() && *letter != ' ');
        Access {
            begun: desk.net.now(),
            client,
            method: method.to_owned(),
            url: url.take(LONGEST_URL).collect(),
            user: user.map(str::to_owned),
        }
    }

    /// Writes the line.
    pub(super) fn end(self, desk: &Desk, ended: &Ended<'_>) {
        if !desk.config.log {
            return;
        }
        let text = self.line(desk.net.epoch(), desk.net.now(), ended);
        desk.net.say(AppRecord::Note { req: ReqId(0), code: "proxy.access".to_owned(), text });
    }

    fn line(&self, epoch: u64, now: Time, ended: &Ended<'_>) -> String {
        let Access { begun, client, method, url, user } = self;
        let (seconds, millis) = (epoch + now.0 / 1_000_000_000, now.0 / 1_000_000 % 1_000);
        let took = now.since(*begun).0 / 1_000_000;
        let Ended { result, status, bytes, server, kind } = ended;
        let from = server.map_or("HIER_NONE/-".to_owned(), |server| format!("HIER_DIRECT/{server}"));
        let (user, kind) = (user.as_deref().unwrap_or("-"), kind.as_deref().unwrap_or("-"));
        format!(
            "{seconds}.{millis:03} {took:>6} {client} {result}/{status:03} {bytes} {method} {url} {user} {from} {kind}"
        )
    }
}

/// The media type without its parameters.
pub(super) fn kind_of(headers: &HeaderMap) -> Option<String> {
    let whole = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(whole.split(';').next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_squid_writes_it() {
        let access = Access {
            begun: Time(1_000_000),
            client: "10.0.0.5".parse().unwrap(),
            method: "GET".into(),
            url: "http://shop.example/".into(),
            user: None,
        };
        let ended = Ended {
            result: "TCP_MISS",
            status: 200,
            bytes: 1270,
            server: Some("203.0.113.5".parse().unwrap()),
            kind: Some("text/html".into()),
        };
        assert_eq!(
            access.line(1_795_219_200, Time(53_400_000), &ended),
            "1795219200.053     52 10.0.0.5 TCP_MISS/200 1270 GET http://shop.example/ - HIER_DIRECT/203.0.113.5 text/html"
        );
    }
}
