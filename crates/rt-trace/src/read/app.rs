//! What is spoken on a stream: tells protocols apart by their first bytes and hands the bytes to the reader.

use super::dns::DnsStream;
use super::http::{Behind, H1, H2, Pieces};
use super::ssh::Ssh;
use super::tcp::{TcpApplication, TcpConversation};
use super::tls::Session;
use super::websocket::WebSocket;
use super::{Limits, Secrets, Side, Span};

/// Bytes looked at before giving up on telling the protocol.
const SNIFF_LIMIT: usize = 64 << 10;
/// The HTTP/2 client preface (RFC 9113, 3.4).
pub(crate) const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Tunnels in tunnels that are read.
const DEEPEST: u8 = 4;

/// How a version line of SSH begins (RFC 4253, 4.2).
const SSH_VERSION: &[u8] = b"SSH-";

/// The reader of one stream's content.
#[derive(Debug)]
pub(crate) struct AppReader<'s> {
    limits: Limits,
    secrets: &'s Secrets,
    dns_port: bool,
    /// Tunnels around it.
    depth: u8,
    inner: Inner<'s>,
}

#[derive(Debug)]
enum Inner<'s> {
    /// Not known yet: pieces kept in order.
    Sniff {
        pieces: Vec<(Side, Vec<u8>, Span)>,
        heads: [Vec<u8>; 2],
        bytes: usize,
    },
    Tls(Box<Tls<'s>>),
    H1(Box<H1>),
    Tunnel(Box<Tunnel<'s>>),
    Upgraded(Box<(H1, WebSocket)>),
    H2(Box<H2>),
    Dns(Box<DnsStream>),
    Ssh(Box<Ssh<'s>>),
    Unknown,
}

/// Behind a CONNECT that succeeded (RFC 9110, 9.3.6).
#[derive(Debug)]
struct Tunnel<'s> {
    asked: Box<H1>,
    inside: AppReader<'s>,
}

#[derive(Debug)]
struct Tls<'s> {
    session: Session<'s>,
    inside: AppReader<'s>,
}

/// What the first bytes tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guess {
    Tls,
    H1,
    H2,
    Dns,
    Ssh,
    Unknown,
}

impl<'s> AppReader<'s> {
    pub(crate) fn new(secrets: &'s Secrets, limits: Limits, server_port: u16) -> AppReader<'s> {
        let dns_port = matches!(server_port, 53 | 853);
        AppReader { limits, secrets, dns_port, depth: 0, inner: Inner::sniff() }
    }

    /// The next bytes of one side, in order.
    pub(crate) fn feed(&mut self, from: Side, bytes: &[u8], span: Span) {
        match &mut self.inner {
            Inner::Sniff { pieces, heads, bytes: kept } => {
                let head = &mut heads[from.index()];
                head.extend_from_slice(
                    &bytes[..bytes.len().min(H2_PREFACE.len().saturating_sub(head.len()))],
                );
                let guess = guess(heads, self.dns_port);
                if bytes.len() + *kept > SNIFF_LIMIT && guess.is_none() {
                    self.inner = Inner::Unknown;
                    return;
                }
                *kept += bytes.len();
                pieces.push((from, bytes.to_vec(), span));
                if let Some(guess) = guess {
                    let pieces = std::mem::take(pieces);
                    self.decide(guess);
                    for (from, bytes, span) in pieces {
                        self.feed(from, &bytes, span);
                    }
                }
            }
            Inner::Tls(tls) => tls.feed(from, bytes, span),
            Inner::H1(h1) => {
                h1.feed(from, bytes, span);
                if let Some((what, rest)) = h1.take_behind() {
                    self.enter(what, rest);
                }
            }
            Inner::Tunnel(tunnel) => tunnel.inside.feed(from, bytes, span),
            Inner::Upgraded(upgraded) => upgraded.1.feed(from, bytes, span),
            Inner::H2(h2) => h2.feed(from, bytes, span),
            Inner::Dns(dns) => dns.feed(from, bytes, span),
            Inner::Ssh(ssh) => ssh.feed(from, bytes, span),
            Inner::Unknown => {}
        }
    }

    /// From here on another protocol is spoken.
    fn enter(&mut self, what: Behind, rest: Pieces) {
        let Inner::H1(asked) = std::mem::replace(&mut self.inner, Inner::Unknown) else { return };
        if what == Behind::WebSocket {
            let mut frames = WebSocket::new(self.limits);
            rest.into_iter().for_each(|(from, bytes, span)| frames.feed(from, &bytes, span));
            self.inner = Inner::Upgraded(Box::new((*asked, frames)));
            return;
        }
        // Tunnels in tunnels in plain text would nest readers without end.
        if self.depth >= DEEPEST {
            self.inner = Inner::H1(asked);
            return;
        }
        let mut inside = AppReader::new(self.secrets, self.limits, 0);
        inside.depth = self.depth + 1;
        for (from, bytes, span) in rest {
            inside.feed(from, &bytes, span);
        }
        self.inner = Inner::Tunnel(Box::new(Tunnel { asked, inside }));
    }

    fn decide(&mut self, guess: Guess) {
        self.inner = match guess {
            Guess::Tls => {
                // TLS inside TLS is not looked for: the inner reader sees plaintext only.
                let port = if self.dns_port { 53 } else { 0 };
                let mut inside = AppReader::new(self.secrets, self.limits, port);
                inside.depth = self.depth;
                Inner::Tls(Box::new(Tls { session: Session::new(self.secrets, self.limits), inside }))
            }
            Guess::H1 => Inner::H1(Box::new(H1::new(self.limits))),
            Guess::H2 => Inner::H2(Box::new(H2::new(self.limits))),
            Guess::Dns => Inner::Dns(Box::default()),
            Guess::Ssh => Inner::Ssh(Box::new(Ssh::new(self.secrets, self.limits))),
            Guess::Unknown => Inner::Unknown,
        };
    }

    /// One side ended (FIN in order, close_notify, reset or end of capture).
    pub(crate) fn end(&mut self, side: Side) {
        match &mut self.inner {
            Inner::Tls(tls) => tls.inside.end(side),
            Inner::H1(h1) => h1.end(side),
            Inner::Tunnel(tunnel) => tunnel.inside.end(side),
            _ => {}
        }
    }

    /// Puts what was read into the conversation.
    pub(crate) fn finish(self, into: &mut TcpConversation) {
        match self.inner {
            Inner::Sniff { .. } | Inner::Unknown => {}
            Inner::Tls(tls) => {
                let session = tls.session.finish();
                tls.inside.finish(into);
                if into.application == TcpApplication::Unknown && !session.readable {
                    into.application = TcpApplication::Sealed;
                }
                into.tls = Some(session);
            }
            Inner::H1(h1) => {
                into.application = TcpApplication::Http1;
                h1.finish(into);
            }
            Inner::Tunnel(tunnel) => {
                let Tunnel { asked, inside } = *tunnel;
                inside.finish(into);
                let carried = std::mem::take(&mut into.http);
                asked.finish(into);
                into.tunnel.splice(..0, std::mem::replace(&mut into.http, carried));
            }
            Inner::Upgraded(upgraded) => {
                into.application = TcpApplication::Http1;
                let (asked, frames) = *upgraded;
                asked.finish(into);
                into.websocket = Some(Box::new(frames.finish()));
            }
            Inner::H2(h2) => {
                into.application = TcpApplication::Http2;
                h2.finish(into);
            }
            Inner::Ssh(ssh) => {
                into.application = TcpApplication::Ssh;
                into.ssh = Some(ssh.finish());
            }
            Inner::Dns(dns) => {
                into.application = TcpApplication::Dns;
                dns.finish(into);
            }
        }
    }
}

impl Inner<'_> {
    fn sniff() -> Self {
        Inner::Sniff { pieces: Vec::new(), heads: Default::default(), bytes: 0 }
    }
}

impl Tls<'_> {
    fn feed(&mut self, from: Side, bytes: &[u8], span: Span) {
        self.session.feed(from, bytes, span);
        for plain in self.session.take_plain() {
            if plain.refused_early {
                continue;
            }
            self.inside.feed(plain.from, &plain.bytes, plain.span);
        }
        for side in self.session.take_closed() {
            self.inside.end(side);
        }
    }
}

/// What the first bytes of both sides tell; `None` while more are needed.
fn guess(heads: &[Vec<u8>; 2], dns_port: bool) -> Option<Guess> {
    let [client, server] = heads;
    for head in [client, server] {
        if head.len() >= 3 && matches!(head[0], 20..=23) && head[1] == 3 && head[2] <= 4 {
            return Some(Guess::Tls);
        }
    }
    if client.starts_with(SSH_VERSION) || server.starts_with(SSH_VERSION) {
        return Some(Guess::Ssh);
    }
    if dns_port && !client.is_empty() {
        return Some(Guess::Dns);
    }
    if client.is_empty() {
        // An HTTP/2 server may speak first (RFC 9113, 3.4): a SETTINGS frame on stream 0. Other servers that do are
        // not read.
        return match server.as_slice() {
            [_, _, _, 4, 0, 0, 0, 0, 0, ..] => Some(Guess::H2),
            server if server.len() < SSH_VERSION.len() => None,
            server if server.len() < H2_PREFACE.len() => None,
            _ => Some(Guess::Unknown),
        };
    }
    let common = client.len().min(H2_PREFACE.len());
    if client[..common] == H2_PREFACE[..common] {
        return (common == H2_PREFACE.len()).then_some(Guess::H2);
    }
    if client[0] == 22 && client.len() < 3 {
        return None;
    }
    let token = client.iter().take_while(|b| b.is_ascii_uppercase() || **b == b'-' || **b == b'_').count();
    match client.get(token) {
        None if token > 0 && token < 24 => None,
        Some(b' ') if token > 0 => Some(Guess::H1),
        _ => Some(Guess::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(client: &[u8], server: &[u8], expect: Option<Guess>) {
        assert_eq!(guess(&[client.to_vec(), server.to_vec()], false), expect);
    }

    #[test]
    fn first_bytes_tell_the_protocol() {
        check(b"G", b"", None);
        check(b"GET /", b"", Some(Guess::H1));
        check(b"PRI", b"", None);
        check(H2_PREFACE, b"", Some(Guess::H2));
        check(b"PROPFIND /", b"", Some(Guess::H1));
        check(&[22, 3, 1], b"", Some(Guess::Tls));
        check(&[22], b"", None);
        check(b"", &[22, 3, 3], Some(Guess::Tls));
        check(b"\0\x01", b"", Some(Guess::Unknown));
        check(b"", &[0, 0, 18, 4, 0, 0, 0, 0, 0, 0, 3], Some(Guess::H2));
        check(b"", b"SSH-2.0-OpenSSH_9.6 and a long banner", Some(Guess::Ssh));
        check(b"SSH-2.0-x", b"", Some(Guess::Ssh));
    }
}
