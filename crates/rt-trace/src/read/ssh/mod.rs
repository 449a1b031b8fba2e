//! SSH as it stands in captured bytes (RFC 4253, 4252, 4254): versions and key exchange in clear, and behind NEWKEYS what the key log
//! opens: logins, channels, and a connection inside a `direct-tcpip` channel of another, which is read in the same way.
//!
//! Deliberate simplification: opened are connections with `curve25519-sha256` and `chacha20-poly1305@openssh.com`, the only ones whose
//! secrets our programs log. Of all others the clear part is told and the rest is counted.

mod packets;
mod words;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{Limits, Mark, Secrets, Side, Span};
use packets::{Direction, Packet};
use words::{Reader, names};

/// Connections inside connections are read this deep.
const DEEPEST: u8 = 8;
/// Messages kept of a connection: data is counted, not kept, so there are few.
const MOST_MESSAGES: usize = 4_096;
const STRICT: [&str; 2] = ["kex-strict-c-v00@openssh.com", "kex-strict-s-v00@openssh.com"];
const CIPHER: &str = "chacha20-poly1305@openssh.com";

/// A connection.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct SshSession {
    /// The version lines of client and server.
    pub versions: [String; 2],
    /// Key exchange, host key and cipher that were agreed on.
    pub suite: [String; 3],
    /// `SHA256:...` of the host key.
    pub host_key: String,
    /// The client's first cookie: by it the key log names the secret.
    pub cookie: String,
    /// Everything but data, in the order seen.
    pub messages: Vec<SshMessage>,
    /// When both ends had said NEWKEYS.
    pub keyed: Option<Mark>,
    /// When the server let the client in, and as whom.
    pub login: Option<(Mark, String)>,
    /// What was opened inside.
    pub channels: Vec<SshChannel>,
    /// Bytes behind NEWKEYS from client and server.
    pub sealed: [u64; 2],
    /// Whether what is behind NEWKEYS could be read.
    pub readable: bool,
    /// What could not be read and why.
    pub problems: Vec<String>,
}

/// A message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SshMessage {
    /// Who sent it.
    pub from: Side,
    /// Where it was.
    pub span: Span,
    /// Its number (RFC 4250, 4.1.2); 0 for a version line.
    pub number: u8,
    /// Its name: `KEXINIT`.
    pub name: String,
    /// What it says, in words.
    pub text: String,
    /// Whether it was sealed.
    pub sealed: bool,
}

/// A channel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SshChannel {
    /// Who asked for it.
    pub opener: Side,
    /// Its numbers at client and server.
    pub numbers: [Option<u32>; 2],
    /// `session`, `direct-tcpip`.
    pub kind: String,
    /// Where a `direct-tcpip` channel leads: `10.0.2.100:22`.
    pub to: String,
    /// When it was asked for.
    pub asked: Mark,
    /// When the other end agreed.
    pub opened: Option<Mark>,
    /// Why it did not.
    pub refused: String,
    /// The command that runs in it; empty for a shell.
    pub command: String,
    /// How that ended.
    pub exit: Option<u32>,
    /// Bytes of data from client and server.
    pub bytes: [u64; 2],
    /// When it was closed.
    pub closed: Option<Mark>,
    /// The connection that runs inside it.
    pub inside: Option<Box<SshSession>>,
}

/// Reads a connection as its bytes come.
#[derive(Debug)]
pub(crate) struct Ssh<'s> {
    secrets: &'s Secrets,
    limits: Limits,
    depth: u8,
    out: SshSession,
    ways: [Direction; 2],
    kexinit: [Vec<u8>; 2],
    /// Keys that NEWKEYS of client and server begin.
    next: [Option<[u8; 64]>; 2],
    client_point: Vec<u8>,
    first_hash: Option<[u8; 32]>,
    strict: bool,
    /// Readers of what is inside channels, by position in `out.channels`.
    inside: Vec<Option<Box<Ssh<'s>>>>,
}

impl<'s> Ssh<'s> {
    pub(crate) fn new(secrets: &'s Secrets, limits: Limits) -> Ssh<'s> {
        Ssh::at_depth(secrets, limits, 0)
    }

    fn at_depth(secrets: &'s Secrets, limits: Limits, depth: u8) -> Ssh<'s> {
        Ssh {
            secrets,
            limits,
            depth,
            out: SshSession::default(),
            ways: Default::default(),
            kexinit: Default::default(),
            next: [None; 2],
            client_point: Vec::new(),
            first_hash: None,
            strict: false,
            inside: Vec::new(),
        }
    }

    /// The next bytes of one side, in order.
    pub(crate) fn feed(&mut self, from: Side, bytes: &[u8], span: Span) {
        let way = &mut self.ways[from.index()];
        way.push(bytes, span);
        if way.keyed {
            self.out.sealed[from.index()] += bytes.len() as u64;
        }
        loop {
            let way = &mut self.ways[from.index()];
            if !way.versioned {
                let Some((line, span)) = way.line() else { return };
                self.on_version(from, line, span);
                continue;
            }
            match way.next() {
                Ok(Some(packet)) => self.on_packet(from, &packet),
                Ok(None) => return,
                Err(why) => {
                    self.problem(why);
                    return;
                }
            }
        }
    }

    pub(crate) fn finish(mut self) -> SshSession {
        let inside: Vec<_> = self.inside.into_iter().collect();
        for (channel, inside) in self.out.channels.iter_mut().zip(inside) {
            channel.inside = inside.filter(|i| !i.out.versions[0].is_empty()).map(|i| Box::new(i.finish()));
        }
        self.out
    }

    fn problem(&mut self, why: &str) {
        if !self.out.problems.iter().any(|p| p == why) && self.out.problems.len() < 16 {
            self.out.problems.push(why.to_owned());
        }
    }

    fn on_version(&mut self, from: Side, line: String, span: Span) {
        if line.starts_with("SSH-") {
            self.out.versions[from.index()].clone_from(&line);
            self.ways[from.index()].versioned = true;
        }
        self.keep(from, span, (0, "version", line), false);
    }

    fn keep(&mut self, from: Side, span: Span, (number, name, text): (u8, &str, String), sealed: bool) {
        if self.out.messages.len() < MOST_MESSAGES.min(self.limits.items) {
            let name = name.to_owned();
            self.out.messages.push(SshMessage { from, span, number, name, text, sealed });
        }
    }

    fn on_packet(&mut self, from: Side, packet: &Packet) {
        let Some((&number, body)) = packet.payload.split_first() else { return };
        match number {
            20 => self.on_kexinit(from, &packet.payload),
            21 => self.on_new_keys(from, packet.span.readable),
            30 if from == Side::Client => {
                self.client_point = Reader(body).string().unwrap_or_default().to_vec();
            }
            31 if from == Side::Server => self.on_reply(body),
            52 => {
                let user = self.asked_user();
                self.out.login.get_or_insert((packet.span.readable, user));
            }
            90..=100 => self.on_channel(from, number, body, packet.span),
            _ => {}
        }
        if !(93..=95).contains(&number) {
            let (name, text) = words::message(number, body);
            self.keep(from, packet.span, (number, name, text), packet.sealed);
        }
    }

    /// The user of the last login that was tried.
    fn asked_user(&self) -> String {
        let last = self.out.messages.iter().rev().find(|m| m.number == 50);
        last.and_then(|m| m.text.split(' ').next()).unwrap_or_default().to_owned()
    }

    fn on_kexinit(&mut self, from: Side, payload: &[u8]) {
        self.kexinit[from.index()] = payload.to_vec();
        let [client, server] = &self.kexinit;
        if client.is_empty() || server.is_empty() {
            return;
        }
        let (Some(ours), Some(theirs)) = (words::lists(client), words::lists(server)) else { return };
        if self.first_hash.is_none() {
            let has = |list: &str, name: &str| list.split(',').any(|n| n == name);
            self.strict = has(&ours[0], STRICT[0]) && has(&theirs[0], STRICT[1]);
            self.out.cookie =
                client.get(1..17).unwrap_or_default().iter().map(|b| format!("{b:02x}")).collect();
            for (at, list) in [0, 1, 2].into_iter().enumerate() {
                let first = names(&ours[list]).find(|name| has(&theirs[list], name));
                self.out.suite[at] = first.unwrap_or_default().to_owned();
            }
        }
    }

    fn on_reply(&mut self, body: &[u8]) {
        let mut reader = Reader(body);
        let (Some(host), Some(point)) = (reader.string(), reader.string()) else { return };
        self.out.host_key = words::fingerprint(host);
        self.next = [None; 2];
        let cookie: Option<[u8; 16]> = self.kexinit[0].get(1..17).and_then(|c| c.try_into().ok());
        let secret = cookie.and_then(|cookie| self.secrets.ssh(&cookie));
        let Some(secret) = secret.filter(|_| self.out.suite[2] == CIPHER) else { return };
        let mut text = Vec::new();
        let [client, server] = &self.out.versions;
        let parts = [
            client.as_bytes(),
            server.as_bytes(),
            &self.kexinit[0],
            &self.kexinit[1],
            host,
            &self.client_point,
            point,
        ];
        for part in parts {
            words::put_string(&mut text, part);
        }
        words::put_mpint(&mut text, secret);
        let hash = sha256(&[&text]);
        let session = *self.first_hash.get_or_insert(hash);
        self.next = [b'C', b'D'].map(|letter| Some(derive(secret, &hash, letter, &session)));
    }

    fn on_new_keys(&mut self, from: Side, mark: Mark) {
        let key = self.next[from.index()].take();
        self.out.readable = key.is_some();
        self.ways[from.index()].rekey(key.as_ref(), self.strict);
        let rest = self.ways[from.index()].waiting();
        if self.ways[from.other().index()].keyed {
            self.out.keyed.get_or_insert(mark);
        }
        self.out.sealed[from.index()] += rest as u64;
    }

    fn on_channel(&mut self, from: Side, number: u8, body: &[u8], span: Span) {
        let mut reader = Reader(body);
        if number == 90 {
            let Some(channel) = opened(from, reader, span.first) else { return };
            if self.out.channels.len() < 1_024 {
                let inner = channel.kind == "direct-tcpip" && self.depth < DEEPEST;
                let inside =
                    inner.then(|| Box::new(Ssh::at_depth(self.secrets, self.limits, self.depth + 1)));
                self.inside.push(inside);
                self.out.channels.push(channel);
            }
            return;
        }
        let Some(to) = reader.number() else { return };
        let mine = from.other().index();
        let Some(at) = self.out.channels.iter().rposition(|c| c.numbers[mine] == Some(to)) else { return };
        let channel = &mut self.out.channels[at];
        match number {
            91 => {
                channel.numbers[from.index()] = reader.number();
                channel.opened = Some(span.readable);
            }
            92 => {
                reader.number();
                channel.refused = String::from_utf8_lossy(reader.string().unwrap_or_default()).into_owned();
                channel.closed = Some(span.readable);
            }
            94 => {
                let data = reader.string().unwrap_or_default();
                channel.bytes[from.index()] += data.len() as u64;
                // The opener is the client of what is inside.
                let side = if from == channel.opener { Side::Client } else { Side::Server };
                if let Some(Some(inside)) = self.inside.get_mut(at) {
                    inside.feed(side, data, span);
                }
            }
            95 => {
                reader.number();
                channel.bytes[from.index()] += reader.string().unwrap_or_default().len() as u64;
            }
            97 => channel.closed = Some(span.readable),
            98 => {
                let what = reader.text();
                reader.take(1);
                match what.as_str() {
                    "exec" => channel.command = reader.text(),
                    "exit-status" => channel.exit = reader.number(),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

fn opened(from: Side, mut reader: Reader<'_>, asked: Mark) -> Option<SshChannel> {
    let kind = reader.text();
    let number = reader.number()?;
    reader.take(8)?;
    let to = if kind == "direct-tcpip" {
        format!("{}:{}", reader.text(), reader.number()?)
    } else {
        String::new()
    };
    let mut numbers = [None; 2];
    numbers[from.index()] = Some(number);
    Some(SshChannel {
        opener: from,
        numbers,
        kind,
        to,
        asked,
        opened: None,
        refused: String::new(),
        command: String::new(),
        exit: None,
        bytes: [0; 2],
        closed: None,
        inside: None,
    })
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("invariant: SHA-256 has 32 bytes")
}

/// RFC 4253, 7.2.
fn derive(secret: &[u8; 32], hash: &[u8; 32], letter: u8, session: &[u8; 32]) -> [u8; 64] {
    let mut shared = Vec::new();
    words::put_mpint(&mut shared, secret);
    let first = sha256(&[&shared, hash, &[letter], session]);
    let second = sha256(&[&shared, hash, &first]);
    let mut key = [0; 64];
    key[..32].copy_from_slice(&first);
    key[32..].copy_from_slice(&second);
    key
}
