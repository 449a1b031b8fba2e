//! One TLS session while it is read: records in, messages and plaintext out.
//!
//! The two sides wait for each other, whatever order the bytes are fed in: the server's records wait for the
//! ClientHello, the client's later ones for the ServerHello, which tells the suite. Keys change only after a whole
//! handshake message; a record number advances only when the tag was right.

mod messages;
mod transcript;

use transcript::Transcript;

use super::handshake::{self, ClientHello};
use super::keys::{self, Keys, Suite};
use super::secrets::{Label, Secrets};
use super::{EarlyData, TlsDirection, TlsMessage, TlsMessageKind, TlsSession, TlsVersion, names};
use crate::read::mark::Origins;
use crate::read::{Limits, Mark, Side, Span};

/// The largest record: 2^14 + 2048 bytes (RFC 5246, 6.2.3).
const MAX_RECORD: usize = (1 << 14) + 2_048;
/// Bytes of one side that may wait for the other.
const MAX_WAITING: usize = 16 << 20;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Application bytes of one record.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    /// Who sent them.
    pub(crate) from: Side,
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    /// The record.
    pub(crate) span: Span,
    /// Early data that the server did not take: the client sends it again.
    pub(crate) refused_early: bool,
}

/// The reader of one session.
#[derive(Debug)]
pub(crate) struct Session<'s> {
    secrets: &'s Secrets,
    limits: Limits,
    facts: TlsSession,
    phase: Phase,
    hello: Option<ClientHello>,
    server_random: Option<[u8; 32]>,
    suite: Option<Suite>,
    tls13: bool,
    transcript: Transcript,
    halves: [Half; 2],
    certificate_seen: bool,
    plain: Vec<Plain>,
    closed: Vec<Side>,
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing yet: the server waits.
    AwaitClientHello,
    /// The client waits (but for change_cipher_spec and alerts).
    AwaitServerHello,
    /// After HelloRetryRequest: the server waits.
    AwaitSecondHello,
    /// Suite and randoms are known.
    Open,
}

/// Which keys a direction uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Epoch {
    #[default]
    Plain,
    Early,
    Handshake,
    Traffic,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    buf: Vec<u8>,
    /// Stream offset of `buf[0]`.
    base: u64,
    origins: Origins,
    epoch: Epoch,
    keys: Option<Keys>,
    /// The traffic secret in use (1.3), for KeyUpdate and Finished.
    secret: Vec<u8>,
    /// Handshake bytes of which a message is not yet whole.
    messages: Vec<u8>,
    messages_base: u64,
    messages_origins: Origins,
    finished: bool,
    stopped: bool,
}

/// A record taken off a direction.
struct Record {
    kind: u8,
    head: [u8; 5],
    payload: Vec<u8>,
    span: Span,
}

impl<'s> Session<'s> {
    pub(crate) fn new(secrets: &'s Secrets, limits: Limits) -> Session<'s> {
        Session {
            secrets,
            limits,
            facts: TlsSession::default(),
            phase: Phase::AwaitClientHello,
            hello: None,
            server_random: None,
            suite: None,
            tls13: false,
            transcript: Transcript::default(),
            halves: Default::default(),
            certificate_seen: false,
            plain: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// The next bytes of one side.
    pub(crate) fn feed(&mut self, from: Side, bytes: &[u8], span: Span) {
        let half = &mut self.halves[from.index()];
        if half.stopped {
            return;
        }
        half.origins.push(bytes.len() as u64, span);
        half.buf.extend_from_slice(bytes);
        // Two cursors, so that a buffer is drained once per feed and not once per record.
        let mut used = [0, 0];
        while self.step(Side::Client, &mut used) | self.step(Side::Server, &mut used) {}
        for (half, used) in self.halves.iter_mut().zip(used) {
            let used = used.min(half.buf.len());
            half.buf.drain(..used);
            half.base += used as u64;
        }
        if self.halves[from.index()].buf.len() > MAX_WAITING {
            self.stop(from, "it waits too long for the other side");
        }
    }

    /// Application bytes read since the last call.
    pub(crate) fn take_plain(&mut self) -> Vec<Plain> {
        std::mem::take(&mut self.plain)
    }

    /// Sides that said they will send no more, since the last call.
    pub(crate) fn take_closed(&mut self) -> Vec<Side> {
        std::mem::take(&mut self.closed)
    }

    /// What was read.
    pub(crate) fn finish(mut self) -> TlsSession {
        let sealed = self.facts.from_client.sealed_records + self.facts.from_server.sealed_records;
        if sealed > 0 && !self.facts.readable {
            let why = match self.facts.suite {
                Some(_) if self.suite.is_none() => format!("the suite {} is not read", self.facts.suite_name),
                _ => "the key log has no secret for this session".to_owned(),
            };
            self.problem(why);
        } else if sealed > 0 {
            self.problem(format!("{sealed} records could not be opened"));
        }
        self.facts
    }

    /// Reads one record of `side`, if one is there and it is its turn.
    fn step(&mut self, side: Side, used: &mut [usize; 2]) -> bool {
        let at = &mut used[side.index()];
        let half = &self.halves[side.index()];
        if half.stopped {
            return false;
        }
        let Some(&head) = half.buf[*at..].first_chunk::<5>() else { return false };
        let [kind, major, _, len0, len1] = head;
        let len = usize::from(u16::from_be_bytes([len0, len1]));
        if !(20..=24).contains(&kind) || major != 3 || len > MAX_RECORD {
            self.stop(side, "a record is malformed");
            return false;
        }
        if !self.may_read(side, kind) {
            return false;
        }
        let Some(payload) = half.buf.get(*at + 5..*at + 5 + len) else { return false };
        let start = half.base + *at as u64;
        let span = half.origins.span(start, start + 5 + len as u64);
        let record = Record { kind, head, payload: payload.to_vec(), span };
        *at += 5 + len;
        self.record(side, &record);
        true
    }

    /// The gates between the sides.
    fn may_read(&self, side: Side, kind: u8) -> bool {
        match (self.phase, side) {
            (Phase::AwaitClientHello | Phase::AwaitSecondHello, side) => side == Side::Client,
            (Phase::AwaitServerHello, Side::Server) => true,
            (Phase::AwaitServerHello, Side::Client) => matches!(kind, CHANGE_CIPHER_SPEC | ALERT),
            // Whether early data is taken stands in EncryptedExtensions.
            (Phase::Open, Side::Client) if self.halves[0].epoch == Epoch::Early => {
                let server = &self.halves[Side::Server.index()];
                self.facts.early_data != EarlyData::Offered || server.stopped || server.keys.is_none()
            }
            (Phase::Open, _) => true,
        }
    }

    fn record(&mut self, side: Side, record: &Record) {
        self.direction(side).records += 1;
        let epoch = self.halves[side.index()].epoch;
        let in_tls13 = self.tls13 || epoch == Epoch::Early;
        let plain = epoch == Epoch::Plain
            || record.kind == CHANGE_CIPHER_SPEC
            || (in_tls13 && record.kind != APPLICATION_DATA);
        if plain {
            self.content(side, record.kind, &record.payload, record.span, false);
            return;
        }
        match self.open(side, record) {
            Some((kind, bytes)) => {
                self.facts.readable = true;
                self.content(side, kind, &bytes, record.span, true);
            }
            None => {
                self.direction(side).sealed_records += 1;
                if record.kind == APPLICATION_DATA {
                    self.direction(side).wire_bytes += record.payload.len() as u64 + 5;
                }
            }
        }
    }

    /// Opens a sealed record with the keys of its epoch, or with those that may follow without our having seen it.
    fn open(&mut self, side: Side, record: &Record) -> Option<(u8, Vec<u8>)> {
        if self.halves[side.index()].epoch == Epoch::Early && self.halves[side.index()].keys.is_none() {
            self.halves[side.index()].keys = self.early_keys(record);
        }
        let half = &mut self.halves[side.index()];
        if let Some(opened) = half.keys.as_mut().and_then(|k| k.open(record.head, &record.payload)) {
            return Some(opened);
        }
        // Early data refused has no end marker; and without handshake secrets the Finished is not seen.
        let next = match half.epoch {
            Epoch::Early if self.phase == Phase::Open => Epoch::Handshake,
            Epoch::Handshake if half.keys.is_none() => Epoch::Traffic,
            _ => return None,
        };
        let secret = self.secret(side, next)?.to_vec();
        let mut keys = Keys::tls13(self.suite?, &secret)?;
        let opened = keys.open(record.head, &record.payload)?;
        let half = &mut self.halves[side.index()];
        (half.epoch, half.keys, half.secret) = (next, Some(keys), secret);
        Some(opened)
    }

    /// Early keys belong to the suite of the earlier session, which may not be the one chosen now: the one that opens
    /// the first record is right.
    fn early_keys(&self, record: &Record) -> Option<Keys> {
        let secret = self.secrets.find(&self.hello.as_ref()?.random, Label::ClientEarly)?;
        [0x1301, 0x1302, 0x1303].into_iter().filter_map(keys::suite).find_map(|suite| {
            let usable = suite.hash.len() == secret.len();
            let make = || usable.then(|| Keys::tls13(suite, secret)).flatten();
            make()?.open(record.head, &record.payload)?;
            make()
        })
    }

    fn secret(&self, side: Side, epoch: Epoch) -> Option<&'s [u8]> {
        let label = match (epoch, side) {
            (Epoch::Early, _) => Label::ClientEarly,
            (Epoch::Handshake, Side::Client) => Label::ClientHandshake,
            (Epoch::Handshake, Side::Server) => Label::ServerHandshake,
            (Epoch::Traffic, Side::Client) => Label::ClientTraffic,
            (Epoch::Traffic, Side::Server) => Label::ServerTraffic,
            (Epoch::Plain, _) => return None,
        };
        self.secrets.find(&self.hello.as_ref()?.random, label)
    }

    /// Moves a direction to the TLS 1.3 keys of `epoch`.
    fn switch13(&mut self, side: Side, epoch: Epoch) {
        let secret = self.secret(side, epoch).map(<[u8]>::to_vec);
        let keys = self.suite.and_then(|suite| Keys::tls13(suite, secret.as_deref()?));
        self.facts.readable |= keys.is_some() && epoch == Epoch::Traffic;
        let half = &mut self.halves[side.index()];
        (half.epoch, half.keys, half.secret) = (epoch, keys, secret.unwrap_or_default());
    }

    /// Moves a direction to the TLS 1.2 keys (its change_cipher_spec).
    fn switch12(&mut self, side: Side) {
        let keys = || {
            let client = &self.hello.as_ref()?.random;
            let master = self.secrets.find(client, Label::Master)?;
            Keys::tls12(self.suite?, master, client, self.server_random.as_ref()?)
        };
        let keys = keys().map(|[client, server]| if side == Side::Client { client } else { server });
        self.facts.readable |= keys.is_some();
        let half = &mut self.halves[side.index()];
        (half.epoch, half.keys) = (Epoch::Traffic, keys);
    }

    /// The content of an opened or plain record.
    fn content(&mut self, side: Side, kind: u8, bytes: &[u8], span: Span, sealed: bool) {
        match kind {
            CHANGE_CIPHER_SPEC => {
                self.message(side, span, sealed, bytes.len(), TlsMessageKind::ChangeCipherSpec);
                if self.phase == Phase::Open && !self.tls13 {
                    if side == Side::Server && !self.certificate_seen {
                        self.facts.resumed = true;
                    }
                    self.switch12(side);
                }
            }
            ALERT => self.alert(side, bytes, span, sealed),
            HANDSHAKE => self.handshake_bytes(side, bytes, span, sealed),
            APPLICATION_DATA if sealed => self.application_data(side, bytes, span),
            APPLICATION_DATA => self.stop(side, "application data comes before the keys"),
            _ => {}
        }
    }

    fn application_data(&mut self, side: Side, bytes: &[u8], span: Span) {
        let direction = self.direction(side);
        direction.plain_bytes += bytes.len() as u64;
        direction.wire_bytes += span.len();
        if bytes.is_empty() {
            return;
        }
        let early = self.halves[side.index()].epoch == Epoch::Early;
        let refused_early = early && self.facts.early_data != EarlyData::Accepted;
        self.plain.push(Plain { from: side, bytes: bytes.to_vec(), span, refused_early });
    }

    fn alert(&mut self, side: Side, bytes: &[u8], span: Span, sealed: bool) {
        let &[level, code, ..] = bytes else { return };
        let what = TlsMessageKind::Alert { fatal: level == 2, code, name: names::alert(code) };
        self.message(side, span, sealed, 2, what);
        if code == 0 {
            self.direction(side).close_notify.get_or_insert(span.readable);
            self.closed.push(side);
        } else if level == 2 {
            self.closed.extend([Side::Client, Side::Server]);
        }
    }

    fn handshake_bytes(&mut self, side: Side, bytes: &[u8], span: Span, sealed: bool) {
        let half = &mut self.halves[side.index()];
        half.messages_origins.push(bytes.len() as u64, span);
        half.messages.extend_from_slice(bytes);
        loop {
            let half = &mut self.halves[side.index()];
            let Some(&[kind, a, b, c]) = half.messages.first_chunk::<4>() else { break };
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if len > self.limits.handshake_message {
                self.stop(side, "a handshake message is too long");
                break;
            }
            if half.messages.len() < 4 + len {
                break;
            }
            let message: Vec<u8> = half.messages.drain(..4 + len).collect();
            let start = half.messages_base;
            half.messages_base += message.len() as u64;
            let span = half.messages_origins.span(start, half.messages_base);
            let what = self.handshake(side, kind, &message, span.readable);
            self.message(side, span, sealed, message.len(), what);
            if self.halves[side.index()].stopped {
                break;
            }
        }
    }

    fn message(&mut self, from: Side, span: Span, sealed: bool, len: usize, what: TlsMessageKind) {
        if self.facts.messages.len() < self.limits.items {
            self.facts.messages.push(TlsMessage { from, span, sealed, len: len as u32, what });
        }
    }

    fn direction(&mut self, side: Side) -> &mut TlsDirection {
        match side {
            Side::Client => &mut self.facts.from_client,
            Side::Server => &mut self.facts.from_server,
        }
    }

    fn stop(&mut self, side: Side, why: &str) {
        let half = &mut self.halves[side.index()];
        half.stopped = true;
        half.buf = Vec::new();
        half.messages = Vec::new();
        let who = if side == Side::Client { "client" } else { "server" };
        self.problem(format!("TLS of the {who} was not read on: {why}"));
    }

    fn problem(&mut self, text: String) {
        if self.facts.problems.len() < 100 && !self.facts.problems.contains(&text) {
            self.facts.problems.push(text);
        }
    }
}
