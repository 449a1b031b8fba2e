//! The client: a step's work. Handshake, things said and waited for, close.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use rt_base::{AppRecord, Figure, Nanos, ReqId, ReqKind, Time, Wait};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::reader::{Event, Message};
use super::socket::{Ended, Socket};
use super::{accept, code, names};
use crate::ConnectOptions;
use crate::browser::BrowserProxy;
use crate::dns::RecordType;
use crate::forward::BoxStream;
use crate::http::{Body, HyperIo, Linger, UpgradedIo};
use crate::net::Net;
use crate::server::put;
use crate::socket::TcpStream;
use crate::step::StepResult;
use crate::tls::{CertificateDer, ClientTls, TlsFailure, TlsHooks};

/// What the client says it is.
const AGENT: &str = "roundtrip-websocket/0.1";
/// How long it waits for the server to end the connection.
const FAREWELL: Nanos = Nanos::from_secs(2);
/// Lines of what was heard that are printed at most.
const MOST_LINES: usize = 1_000;

/// A conversation, one step's work.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Whether over TLS (`wss`).
    pub secure: bool,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query: `/chat`.
    pub target: String,
    /// What is said, one after the other.
    pub says: Vec<String>,
    /// A binary message of so many bytes besides.
    pub bytes: Option<u32>,
    /// All of that so many times.
    pub times: u32,
    /// Pause between an answer and the next message.
    pub every: Nanos,
    /// Goes on listening for so long when everything is said.
    pub listens: Nanos,
    /// An answer is waited for so long.
    pub patience: Nanos,
    /// Fields of the handshake in place of its own.
    pub fields: Vec<(String, String)>,
    /// A forward proxy that is asked for a tunnel.
    pub proxy: Option<BrowserProxy>,
    /// Whom it trusts.
    pub roots: Vec<CertificateDer<'static>>,
    /// What the connection may pin.
    pub first: ConnectOptions,
}

/// Why a conversation is over before its time.
enum End {
    /// The server answered the handshake otherwise.
    Refused(StatusCode, String),
    /// The server closed.
    Closed(Option<u16>, String),
    /// Anything else.
    Broken(String),
}

/// How far it came.
#[derive(Default)]
struct Course {
    /// The handshake is over.
    open: bool,
    sent: u64,
    heard: u64,
    heard_bytes: u64,
    answers: Vec<Nanos>,
    lines: Vec<String>,
}

/// Holds the conversation.
pub async fn talk(net: Net, talk: Talk) -> StepResult {
    let req = net.new_req();
    let (kind, parent) = (ReqKind::Probe, ReqId(0));
    net.say(AppRecord::RequestBegin { req, parent, kind, method: "GET".into(), target: talk.url() });
    let mut course = Course::default();
    let end = hold(&net, &talk, req, &mut course).await;
    let (status, result) = course.result(end);
    let (ok, note, body_bytes) = (result.ok, result.summary.clone(), course.heard_bytes);
    net.say(AppRecord::RequestEnd { req, status, ok, body_bytes, note });
    result
}

impl Talk {
    /// The host with its port, unless that is the usual one.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The proxy that is asked for a tunnel to this host.
    fn via(&self) -> Option<&BrowserProxy> {
        self.proxy.as_ref().filter(|proxy| proxy.is_for(&self.host))
    }

    fn url(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority(), self.target)
    }

    /// Everything that is said, in order; made as it is said.
    fn messages(&self) -> impl Iterator<Item = Message> + use<> {
        let texts = self.says.iter().map(|text| Message { text: true, bytes: text.clone().into_bytes() });
        let binary = self.bytes.map(|len| Message { text: false, bytes: pattern(len) });
        let once: Vec<Message> = texts.chain(binary).collect();
        (0..self.times).flat_map(move |_| once.clone())
    }
}

/// Bytes of which none can be lost unnoticed.
fn pattern(len: u32) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Until the connection is over; why it ended too early if it did.
async fn hold(net: &Net, talk: &Talk, req: ReqId, course: &mut Course) -> Result<(), End> {
    let shaking = Box::pin(open(net, talk, req));
    let opened = net.timeout(talk.patience, Wait::Timeout, shaking).await;
    let upgraded =
        opened.unwrap_or_else(|_| Err(End::Broken(format!("no answer within {}", talk.patience))))?;
    let dice = net.rng(&format!("websocket.mask {}", req.0));
    course.open = true;
    let mut line = Line { net, socket: Socket::client(upgraded, dice), course };
    let end = converse(talk, &mut line).await;
    let farewell = line.socket.end();
    let _ = net.timeout(FAREWELL, Wait::Housekeeping, farewell).await;
    end
}

async fn converse<S>(talk: &Talk, line: &mut Line<'_, S>) -> Result<(), End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let net = line.net;
    for (at, message) in talk.messages().enumerate() {
        if at > 0 && talk.every > Nanos::ZERO {
            line.listen(net.now() + talk.every).await?;
        }
        line.ask(&message, talk.patience).await?;
    }
    if talk.listens > Nanos::ZERO {
        line.listen(net.now() + talk.listens).await?;
    }
    line.hang_up(talk.patience).await
}

async fn open(net: &Net, talk: &Talk, req: ReqId) -> Result<UpgradedIo, End> {
    let stream = dial(net, talk, req).await?;
    let (local, remote) = (stream.local_addr(), stream.peer_addr());
    let uses = |protocol: &str| AppRecord::UsesConnection {
        req,
        local,
        remote,
        reused: false,
        protocol: protocol.to_owned(),
    };
    let stream = Linger::new(net, stream);
    let stream: BoxStream = match talk.via() {
        None => Box::new(stream),
        Some(proxy) => {
            let tunnel = proxy.tunnel(net, stream, AGENT, (&talk.host, talk.port)).await;
            Box::new(tunnel.map_err(|why| {
                net.say(uses("http/1.1"));
                End::Broken(why)
            })?)
        }
    };
    let shaken = if talk.secure { secure(net, talk, req, stream).await } else { Ok(stream) };
    net.say(uses(if shaken.is_ok() { "http/1.1" } else { "tls" }));
    shake(net, talk, req, shaken?).await
}

async fn dial(net: &Net, talk: &Talk, req: ReqId) -> Result<TcpStream, End> {
    let (host, port) = talk.via().map_or((&talk.host, talk.port), |proxy| (&proxy.host, proxy.port));
    let address = match host.parse() {
        Ok(address) => address,
        Err(_) => {
            let found = net.lookup(host, RecordType::A, req).await;
            let found = found.map_err(|error| End::Broken(error.to_string()))?;
            let first = found.addresses.first().copied();
            first.ok_or_else(|| End::Broken(format!("{host} has no address")))?
        }
    };
    let options = ConnectOptions { nodelay: true, ..talk.first };
    let stream = net.tcp_connect((address, port).into(), options).await;
    stream.map_err(|error| End::Broken(crate::rpc::words(&error)))
}

async fn secure(net: &Net, talk: &Talk, req: ReqId, stream: BoxStream) -> Result<BoxStream, End> {
    // RFC 8441 is not spoken: HTTP/1.1 is all that is offered.
    let tls = ClientTls::new(TlsHooks::of(net), &talk.roots, &["http/1.1"]);
    let tls = tls.map_err(|error| End::Broken(error.to_string()))?;
    let name = ServerName::try_from(talk.host.clone())
        .map_err(|_| End::Broken(format!("{} cannot stand in a certificate", talk.host)))?;
    let shaken = tls.connect(name.clone(), stream).await;
    if let Some(verdict) = tls.take_verdict(&name) {
        let (name, chain, ok) = (talk.host.clone(), verdict.chain, verdict.failure.is_none());
        net.say(AppRecord::CertificateChecked { req, name, chain, ok, note: verdict.note });
    }
    let stream = shaken.map_err(|error| {
        let why = TlsFailure::of_io(&error).map_or_else(|| error.to_string(), |f| f.to_string());
        End::Broken(format!("no TLS with {}: {why}", talk.host))
    })?;
    Ok(Box::new(stream))
}

/// The opening handshake (RFC 6455, 4.1).
async fn shake(net: &Net, talk: &Talk, req: ReqId, stream: BoxStream) -> Result<UpgradedIo, End> {
    let broken = |error: hyper::Error| End::Broken(error.to_string());
    let mut builder = http1::Builder::new();
    let handshake = builder.title_case_headers(true).handshake(HyperIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    net.launch(async move {
        let _ = connection.with_upgrades().await;
    });
    let mut nonce = [0; 16];
    net.rng(&format!("websocket.key {}", req.0)).fill(&mut nonce);
    let key = STANDARD.encode(nonce);
    let response = sender.send_request(request(talk, &key)?).await.map_err(broken)?;
    check(&response, &key)?;
    Ok(hyper::upgrade::on(response).await.map_err(broken)?.into())
}

fn request(talk: &Talk, key: &str) -> Result<Request<Body>, End> {
    let mut request = Request::new(Body::default());
    let target = talk.target.parse();
    *request.uri_mut() = target.map_err(|_| End::Broken(format!("{} is no path", talk.target)))?;
    let headers = request.headers_mut();
    let scheme = if talk.secure { "https" } else { "http" };
    put(headers, HOST, &talk.authority());
    put(headers, CONNECTION, "Upgrade");
    put(headers, UPGRADE, "websocket");
    put(headers, ORIGIN, &format!("{scheme}://{}", talk.authority()));
    put(headers, USER_AGENT, AGENT);
    put(headers, SEC_WEBSOCKET_VERSION, "13");
    put(headers, SEC_WEBSOCKET_KEY, key);
    for (name, value) in &talk.fields {
        if let Ok(name) = name.parse::<HeaderName>() {
            put(headers, name, value);
        }
    }
    Ok(request)
}

//= rfc6455#section-4.1 what the server's handshake must have; else the connection fails
fn check(response: &Response<Incoming>, key: &str) -> Result<(), End> {
    let (status, headers) = (response.status(), response.headers());
    let refused = |why: &str| Err(End::Refused(status, why.to_owned()));
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return refused("no WebSocket there");
    }
    if !names(headers, UPGRADE, "websocket") || !names(headers, CONNECTION, "upgrade") {
        return refused("the server switches to something else");
    }
    let given = headers.get(SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes().trim_ascii());
    if given != Some(accept(key.as_bytes()).as_bytes()) {
        return refused("Sec-WebSocket-Accept is not that of our key");
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) || headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return refused("the server chose what was not offered");
    }
    Ok(())
}

/// An open conversation.
struct Line<'a, S> {
    net: &'a Net,
    socket: Socket<S>,
    course: &'a mut Course,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Line<'_, S> {
    /// Says something and waits for the next message that comes.
    async fn ask(&mut self, message: &Message, patience: Nanos) -> Result<(), End> {
        let begun = self.net.now();
        self.socket.send(message).await.map_err(broken)?;
        self.course.sent += 1;
        let Some(answer) = self.hear(begun + patience, Wait::Timeout).await? else {
            return Err(End::Broken(format!("no answer to {} within {patience}", show(message))));
        };
        let took = self.net.now().since(begun);
        self.course.answers.push(took);
        self.course.print(format!("{} → {} ({took})", show(message), show(&answer)));
        Ok(())
    }

    /// Takes what comes until then.
    async fn listen(&mut self, until: Time) -> Result<(), End> {
        while let Some(message) = self.hear(until, Wait::Person).await? {
            self.course.print(format!("← {}", show(&message)));
        }
        Ok(())
    }

    /// The next message, if one comes until then.
    async fn hear(&mut self, until: Time, why: Wait) -> Result<Option<Message>, End> {
        loop {
            let left = until.since(self.net.now());
            match self.net.timeout(left, why, self.socket.next()).await {
                Err(_) => return Ok(None),
                Ok(Ok(Event::Message(message))) => {
                    self.course.heard += 1;
                    self.course.heard_bytes += message.bytes.len() as u64;
                    return Ok(Some(message));
                }
                Ok(Ok(Event::Ping(payload))) => self.socket.pong(&payload).await.map_err(broken)?,
                Ok(Ok(Event::Pong(_))) => {}
                Ok(Ok(Event::Close(code, reason))) => {
                    let _ = self.socket.close(code, "").await;
                    self.wait_for_the_end().await;
                    return Err(End::Closed(code, reason));
                }
                Ok(Err(Ended::Gone(why))) => return Err(End::Broken(why)),
                Ok(Err(Ended::Violation(violation))) => {
                    let _ = self.socket.close(Some(violation.code), violation.why).await;
                    return Err(End::Broken(format!("the server broke the rules: {}", violation.why)));
                }
            }
        }
    }

    /// Closes, and waits until the server agrees and ends the connection.
    async fn hang_up(&mut self, patience: Nanos) -> Result<(), End> {
        self.socket.close(Some(code::NORMAL), "").await.map_err(broken)?;
        let until = self.net.now() + patience;
        loop {
            let left = until.since(self.net.now());
            match self.net.timeout(left, Wait::Timeout, self.socket.next()).await {
                Ok(Ok(Event::Close(..))) => break,
                Ok(Ok(Event::Message(message))) => {
                    self.course.heard += 1;
                    self.course.heard_bytes += message.bytes.len() as u64;
                }
                Ok(Ok(_)) => {}
                Ok(Err(Ended::Gone(why))) => return Err(End::Broken(why)),
                Ok(Err(Ended::Violation(violation))) => return Err(End::Broken(violation.why.to_owned())),
                Err(_) => return Err(End::Broken("the close was not answered".to_owned())),
            }
        }
        self.wait_for_the_end().await;
        Ok(())
    }

    //= rfc6455#section-7.1.1 the client leaves it to the server to end the TCP connection
    async fn wait_for_the_end(&mut self) {
        let draining = self.socket.drain();
        let _ = self.net.timeout(FAREWELL, Wait::Housekeeping, draining).await;
    }
}

fn broken(error: io::Error) -> End {
    End::Broken(crate::rpc::words(&error))
}

/// A message as a person would see it.
fn show(message: &Message) -> String {
    match std::str::from_utf8(&message.bytes) {
        Ok(text) if message.text => rt_base::text::excerpt(text, 60),
        _ => rt_base::count(message.bytes.len() as u64, "byte"),
    }
}

/// `1000`, or what stands for none.
fn said(code: Option<u16>, reason: &str) -> String {
    let code = code.map_or_else(|| "without a code".to_owned(), |code| code.to_string());
    if reason.is_empty() { code } else { format!("{code} ({reason})") }
}

impl Course {
    fn print(&mut self, line: String) {
        if self.lines.len() < MOST_LINES {
            self.lines.push(line);
        }
    }

    /// Status of the handshake (0 without one), and what the step says.
    fn result(&mut self, end: Result<(), End>) -> (u16, StepResult) {
        self.answers.sort_unstable();
        let messages = rt_base::count(self.sent, "message");
        let median = self.answers.get(self.answers.len().saturating_sub(1) / 2);
        let median = median.map_or(String::new(), |median| format!(", median {median}"));
        let did = format!("{messages} sent, {} received{median}", self.heard);
        let everything = self.answers.len() as u64 == self.sent;
        let (status, result) = match end {
            Ok(()) => (101, StepResult::ok(format!("{did}, closed with {}", code::NORMAL))),
            Err(End::Refused(status, why)) => {
                (status.as_u16(), StepResult::failed(format!("{status}: {why}")))
            }
            Err(End::Closed(code @ (Some(code::NORMAL | code::AWAY) | None), reason)) if everything => {
                (101, StepResult::ok(format!("{did}, the server closed: {}", said(code, &reason))))
            }
            Err(End::Closed(code, reason)) => {
                (101, StepResult::failed(format!("{did}, the server closed: {}", said(code, &reason))))
            }
            Err(End::Broken(why)) if !self.open => (0, StepResult::failed(why)),
            Err(End::Broken(why)) => (101, StepResult::failed(format!("{did}; {why}"))),
        };
        let mut figures = crate::rpc::latencies(&self.answers);
        figures.push(Figure::count("messages-sent", self.sent));
        figures.push(Figure::count("messages-received", self.heard));
        (status, result.with_lines(std::mem::take(&mut self.lines)).with_figures(figures))
    }
}
