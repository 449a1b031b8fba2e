//! The transport layer (RFC 4253): versions, key exchange, packets. Payloads go in and come out; no sockets, no clock, dice only
//! from the generator that was handed in.
//!
//! Key exchange is `curve25519-sha256` (RFC 8731), host keys are `ssh-ed25519`, packets are sealed with
//! `chacha20-poly1305@openssh.com`: what two OpenSSH of the last ten years agree on by default. The strict key exchange of
//! OpenSSH 9.6 is spoken too (`kex-strict-*-v00@openssh.com`), without which packets before the first keys could be slipped in.
//!
//! Deliberate simplification: nothing else is offered, so a peer that insists on AES-GCM, RSA host keys or finite-field
//! Diffie-Hellman is told "no matching ... found".

use std::collections::VecDeque;

use ring::digest::{Context, SHA256};
use rt_base::Rng;
use x25519_dalek::{PublicKey as Point, StaticSecret};

use super::keys::{ED25519_NAME, Identity, PublicKey};
use super::seal::{Broken, Opener, Sealer};
use super::wire::{Malformed, Reader, Writer, msg};

/// What we call ourselves (RFC 4253, 4.2).
const VERSION: &str = "SSH-2.0-roundtrip_0.1";
/// A version line is never longer, its end included (RFC 4253, 4.2).
const LONGEST_VERSION: usize = 255;
/// Text that a server may say before its version.
const MOST_PREAMBLE: usize = 8 << 10;
const KEX: [&str; 2] = ["curve25519-sha256", "curve25519-sha256@libssh.org"];
const CIPHER: &str = "chacha20-poly1305@openssh.com";
/// Named because the list may not be empty (RFC 4253, 7.1); never used, since the cipher has its own tag.
const MAC: &str = "hmac-sha2-256-etm@openssh.com";
/// Keys are exchanged anew after so many bytes in one direction.
//= rfc4253#section-9
//# It is RECOMMENDED that the keys be changed after each gigabyte of
//# transmitted data
const REKEY_AFTER: u64 = 1 << 30;

/// Which end this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Asked for the connection.
    Client,
    /// Was asked.
    Server,
}

/// Why a connection ends before its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    /// Reason code of `SSH_MSG_DISCONNECT` (RFC 4253, 11.1).
    pub(super) reason: u32,
    /// In OpenSSH's words where it has some.
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(reason: u32, text: impl Into<String>) -> Fault {
        Fault { reason, text: text.into() }
    }

    pub(super) fn protocol(text: impl Into<String>) -> Fault {
        Fault::new(2, text)
    }
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Fault {
        Fault::protocol("a message is malformed")
    }
}

/// What a client thinks of host keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trust {
    /// One of these; with none, nobody.
    Known(Vec<PublicKey>),
    /// Whoever answers, the first time.
    New,
}

/// Bytes that may wait for the end of a key exchange: a peer that never ends it is left.
const MOST_HELD: usize = 8 << 20;

/// What one side proposed, and its secret.
struct Proposal {
    init: Vec<u8>,
    secret: StaticSecret,
}

enum Kex {
    /// Nothing is exchanged now.
    Rest,
    /// Our proposal is out.
    Proposed(Proposal),
    /// Both are out: a client waits for the reply, a server for the client's point. A guess that was wrong is skipped.
    Agreed { ours: Proposal, theirs: Vec<u8>, skip: bool },
    /// Our NEWKEYS is out; theirs begins this key.
    Taken { opening: Box<[u8; 64]> },
}

/// One end of a connection.
pub(super) struct Transport {
    role: Role,
    rng: Rng,
    input: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// The peer's version line, without its end.
    pub(super) peer_version: Option<String>,
    preamble: usize,
    sealer: Sealer,
    opener: Opener,
    kex: Kex,
    /// Payloads that wait for the end of a key exchange, and their bytes.
    held: VecDeque<Vec<u8>>,
    held_bytes: usize,
    /// The first exchange hash.
    pub(super) session: Option<[u8; 32]>,
    strict: bool,
    extensions: bool,
    host: Option<Identity>,
    trust: Trust,
    /// The host key that the server proved to have.
    pub(super) host_key: Option<PublicKey>,
    /// Lines for the key log, in Wireshark's form: `cookie SHARED_SECRET secret`.
    pub(super) secrets: Vec<String>,
    /// Bytes sent and received under the keys of now.
    under_keys: [u64; 2],
    rekey_after: u64,
    /// Key exchanges so far.
    pub(super) exchanges: u32,
}

impl Transport {
    /// A client that believes `trust`.
    pub(super) fn client(rng: Rng, trust: Trust) -> Transport {
        Transport::new(Role::Client, rng, None, trust)
    }

    /// A server with this host key.
    pub(super) fn server(rng: Rng, host: Identity) -> Transport {
        Transport::new(Role::Server, rng, Some(host), Trust::Known(Vec::new()))
    }

    fn new(role: Role, rng: Rng, host: Option<Identity>, trust: Trust) -> Transport {
        let mut transport = Transport {
            role,
            rng,
            input: Vec::new(),
            output: Vec::new(),
            peer_version: None,
            preamble: 0,
            sealer: Sealer::default(),
            opener: Opener::default(),
            kex: Kex::Rest,
            held: VecDeque::new(),
            held_bytes: 0,
            session: None,
            strict: false,
            extensions: false,
            host,
            trust,
            host_key: None,
            secrets: Vec::new(),
            under_keys: [0; 2],
            rekey_after: REKEY_AFTER,
            exchanges: 0,
        };
        transport.output.extend(VERSION.as_bytes());
        transport.output.extend(b"\r\n");
        transport.propose();
        transport
    }

    /// New keys after so many bytes, for tests.
    #[cfg(test)]
    pub(super) fn rekey_after(&mut self, bytes: u64) {
        self.rekey_after = bytes;
    }

    /// Sends a payload, after a key exchange that is under way.
    pub(super) fn send(&mut self, payload: Vec<u8>) {
        if matches!(self.kex, Kex::Rest) {
            self.put(&payload);
            if self.under_keys.iter().any(|n| *n > self.rekey_after) {
                self.propose();
            }
        } else {
            self.held_bytes += payload.len() + 1;
            self.held.push_back(payload);
        }
    }

    /// Sends what ends the connection, whatever else is under way.
    pub(super) fn disconnect(&mut self, fault: &Fault) {
        let payload =
            Writer::message(msg::DISCONNECT).number(fault.reason).string(&fault.text).string("").done();
        self.put(&payload);
    }

    /// Answers a message that nobody knows.
    pub(super) fn unimplemented(&mut self) {
        let payload = Writer::message(msg::UNIMPLEMENTED).number(self.opener.last()).done();
        self.send(payload);
    }

    /// Bytes from the peer.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
    }

    /// The next payload that is not the transport's own.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        if self.peer_version.is_none() && !self.read_version()? {
            return Ok(None);
        }
        loop {
            let before = self.input.len();
            let Some(payload) = self.opener.open(&mut self.input).map_err(broken)? else { return Ok(None) };
            self.under_keys[1] += (before - self.input.len()) as u64;
            let Some(&number) = payload.first() else { return Err(Fault::protocol("an empty packet")) };
            if let Some(payload) = self.sort(number, payload)? {
                return Ok(Some(payload));
            }
        }
    }

    fn put(&mut self, payload: &[u8]) {
        let before = self.output.len();
        self.sealer.seal(payload, &mut self.rng, &mut self.output);
        self.under_keys[0] += (self.output.len() - before) as u64;
    }

    //= rfc4253#section-4.2
    //# The server MAY send other lines of data before sending the version
    //# string.
    fn read_version(&mut self) -> Result<bool, Fault> {
        while let Some(end) = self.input.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            if !text.starts_with("SSH-") && self.role == Role::Client {
                self.preamble += line.len();
                if self.preamble > MOST_PREAMBLE {
                    return Err(Fault::new(8, "banner line contains invalid characters"));
                }
                continue;
            }
            let known = text.starts_with("SSH-2.0-") || text.starts_with("SSH-1.99-");
            if !known || line.len() > LONGEST_VERSION || !text.bytes().all(|b| (32..127).contains(&b)) {
                return Err(Fault::new(8, "Invalid SSH identification string."));
            }
            self.peer_version = Some(text);
            return Ok(true);
        }
        match self.input.len() {
            0..=LONGEST_VERSION => Ok(false),
            _ => Err(Fault::new(8, "Invalid SSH identification string.")),
        }
    }

    /// Deals with the transport's own messages; others are handed on.
    fn sort(&mut self, number: u8, payload: Vec<u8>) -> Result<Option<Vec<u8>>, Fault> {
        // OpenSSH's PROTOCOL, 1.9: before the first keys nothing but the exchange itself.
        if self.strict
            && self.session.is_none()
            && !(msg::KEXINIT..50).contains(&number)
            && number != msg::DISCONNECT
        {
            return Err(Fault::protocol("strict KEX violation: unexpected packet"));
        }
        //= rfc4253#section-7.1
        //# Once a party has sent a SSH_MSG_KEXINIT message for key exchange or
        //# re-exchange, until it has sent a SSH_MSG_NEWKEYS message (Section
        //# 7.3), it MUST NOT send any messages other than:
        let exchanging = matches!(self.kex, Kex::Agreed { .. } | Kex::Taken { .. });
        let other = number >= 50 || matches!(number, msg::SERVICE_REQUEST | msg::SERVICE_ACCEPT);
        if exchanging && other || self.held_bytes > MOST_HELD {
            return Err(Fault::protocol("other messages during a key exchange"));
        }
        match number {
            msg::KEXINIT => self.on_proposal(payload)?,
            msg::NEWKEYS => self.on_new_keys()?,
            30..50 => self.on_exchange(number, &payload)?,
            msg::IGNORE | msg::DEBUG | msg::UNIMPLEMENTED | msg::EXT_INFO => {}
            msg::DISCONNECT => return Ok(Some(payload)),
            _ if self.session.is_none() => return Err(Fault::protocol("a message before the first keys")),
            _ => return Ok(Some(payload)),
        }
        Ok(None)
    }

    /// Begins a key exchange (RFC 4253, 7.1).
    fn propose(&mut self) {
        let (mut cookie, mut secret) = ([0; 16], [0; 32]);
        self.rng.fill(&mut cookie);
        self.rng.fill(&mut secret);
        let mut kex = KEX.to_vec();
        if self.session.is_none() {
            kex.extend(match self.role {
                Role::Client => ["ext-info-c", "kex-strict-c-v00@openssh.com"],
                Role::Server => ["ext-info-s", "kex-strict-s-v00@openssh.com"],
            });
        }
        let mut message = Writer::message(msg::KEXINIT).raw(&cookie).names(&kex).names(&[ED25519_NAME]);
        for list in [CIPHER, CIPHER, MAC, MAC, "none", "none", "", ""] {
            message = message.string(list);
        }
        let init = message.flag(false).number(0).done();
        self.put(&init);
        self.kex = Kex::Proposed(Proposal { init, secret: StaticSecret::from(secret) });
    }

    fn on_proposal(&mut self, theirs: Vec<u8>) -> Result<(), Fault> {
        if matches!(self.kex, Kex::Rest) {
            self.propose();
        }
        let Kex::Proposed(ours) = std::mem::replace(&mut self.kex, Kex::Rest) else {
            return Err(Fault::protocol("a second KEXINIT"));
        };
        let mut reader = Reader::new(&theirs[1..]);
        reader.take(16)?;
        let kex = reader.names()?;
        let hosts = reader.names()?;
        let ciphers = [reader.names()?, reader.names()?];
        let (_macs, compression) = ([reader.names()?, reader.names()?], [reader.names()?, reader.names()?]);
        let (_languages, guess) = ([reader.string()?, reader.string()?], reader.flag()?);
        // The client's first choice that the server knows; here both lists are those of one algorithm under two names.
        let chosen = match self.role {
            Role::Client => KEX.iter().find(|name| kex.contains(name)).copied(),
            Role::Server => kex.iter().find(|name| KEX.contains(name)).copied(),
        };
        let none = |what: &str, list: &[&str]| {
            let text = format!("no matching {what} found. Their offer: {}", list.join(","));
            Fault::new(3, text)
        };
        chosen.ok_or_else(|| none("key exchange method", &kex))?;
        if !hosts.contains(&ED25519_NAME) {
            return Err(none("host key type", &hosts));
        }
        if let Some(list) = ciphers.iter().find(|list| !list.contains(&CIPHER)) {
            return Err(none("cipher", list));
        }
        if let Some(list) = compression.iter().find(|list| !list.contains(&"none")) {
            return Err(none("compression", list));
        }
        if self.session.is_none() {
            let (strict, extensions) = match self.role {
                Role::Client => ("kex-strict-s-v00@openssh.com", "ext-info-s"),
                Role::Server => ("kex-strict-c-v00@openssh.com", "ext-info-c"),
            };
            self.strict = kex.contains(&strict);
            self.extensions = kex.contains(&extensions);
            if self.strict && self.opener.last() != 0 {
                return Err(Fault::protocol("strict KEX violation: KEXINIT was not the first packet"));
            }
        }
        let wrong = kex.first() != Some(&KEX[0]) || hosts.first() != Some(&ED25519_NAME);
        if self.role == Role::Client {
            let point = Point::from(&ours.secret);
            let message = Writer::message(msg::ECDH_INIT).string(point.as_bytes()).done();
            self.put(&message);
        }
        self.kex = Kex::Agreed { ours, theirs, skip: guess && wrong };
        Ok(())
    }

    fn on_exchange(&mut self, number: u8, payload: &[u8]) -> Result<(), Fault> {
        let Kex::Agreed { ours, theirs, skip } = std::mem::replace(&mut self.kex, Kex::Rest) else {
            return Err(Fault::protocol("a key exchange message out of turn"));
        };
        if skip {
            self.kex = Kex::Agreed { ours, theirs, skip: false };
            return Ok(());
        }
        match (self.role, number) {
            (Role::Server, msg::ECDH_INIT) => self.answer_exchange(&ours, &theirs, payload),
            (Role::Client, msg::ECDH_REPLY) => self.take_reply(&ours, &theirs, payload),
            _ => Err(Fault::protocol("a key exchange message out of turn")),
        }
    }

    /// The server's part of RFC 8731.
    fn answer_exchange(&mut self, ours: &Proposal, theirs: &[u8], payload: &[u8]) -> Result<(), Fault> {
        let point = point(Reader::new(&payload[1..]).string()?)?;
        let shared = agree(&ours.secret, &point)?;
        let own = Point::from(&ours.secret);
        let host = self.host.as_ref().expect("invariant: a server has a host key");
        let host_key = host.public();
        let hash = self.hash(&[theirs, &ours.init], &host_key, (&point, &own), &shared);
        let signature = host.sign(&hash);
        let reply = Writer::message(msg::ECDH_REPLY)
            .string(host_key.blob())
            .string(own.as_bytes())
            .string(signature)
            .done();
        self.put(&reply);
        self.log_secret(theirs, &shared);
        self.take_keys(hash, &shared);
        Ok(())
    }

    /// The client's part.
    fn take_reply(&mut self, ours: &Proposal, theirs: &[u8], payload: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(&payload[1..]);
        let host_key = PublicKey::from_blob(reader.string()?)?;
        let point = point(reader.string()?)?;
        let shared = agree(&ours.secret, &point)?;
        let own = Point::from(&ours.secret);
        let hash = self.hash(&[&ours.init, theirs], &host_key, (&own, &point), &shared);
        if !host_key.verifies(&hash, reader.string()?) {
            return Err(Fault::new(3, "incorrect signature"));
        }
        self.host_key = Some(host_key);
        match &self.trust {
            Trust::Known(keys) if !keys.contains(&host_key) => {
                return Err(Fault::new(9, "Host key verification failed."));
            }
            Trust::New => self.trust = Trust::Known(vec![host_key]),
            Trust::Known(_) => {}
        }
        self.log_secret(&ours.init, &shared);
        self.take_keys(hash, &shared);
        Ok(())
    }

    /// The exchange hash (RFC 8731, 3.1; RFC 4253, 8). `inits` and `points` are the client's and the server's.
    fn hash(
        &self,
        inits: &[&[u8]; 2],
        host_key: &PublicKey,
        (client, server): (&Point, &Point),
        shared: &[u8; 32],
    ) -> [u8; 32] {
        let peer = self.peer_version.as_deref().unwrap_or("");
        let (client_version, server_version) = match self.role {
            Role::Client => (VERSION, peer),
            Role::Server => (peer, VERSION),
        };
        let text = Writer::default()
            .string(client_version)
            .string(server_version)
            .string(inits[0])
            .string(inits[1])
            .string(host_key.blob())
            .string(client.as_bytes())
            .string(server.as_bytes())
            .mpint(shared)
            .done();
        sha256(&[&text])
    }

    fn log_secret(&mut self, client_init: &[u8], shared: &[u8; 32]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        self.secrets.push(format!("{} SHARED_SECRET {}", hex(&client_init[1..17]), hex(shared)));
    }

    /// Says NEWKEYS and changes the key of what goes out.
    fn take_keys(&mut self, hash: [u8; 32], shared: &[u8; 32]) {
        let first = self.session.is_none();
        let session = *self.session.get_or_insert(hash);
        let key = |letter: u8| derive(shared, &hash, letter, &session);
        let (sealing, opening) = match self.role {
            Role::Client => (key(b'C'), key(b'D')),
            Role::Server => (key(b'D'), key(b'C')),
        };
        self.put(&[msg::NEWKEYS]);
        self.sealer.rekey(&sealing, self.strict);
        self.under_keys[0] = 0;
        self.kex = Kex::Taken { opening: Box::new(opening) };
        if first && self.role == Role::Server && self.extensions {
            // RFC 8308, 2.4: right behind NEWKEYS. Which signatures are taken, so that nobody has to guess.
            let info =
                Writer::message(msg::EXT_INFO).number(1).string("server-sig-algs").string(ED25519_NAME);
            self.put(&info.done());
        }
    }

    fn on_new_keys(&mut self) -> Result<(), Fault> {
        let Kex::Taken { opening } = std::mem::replace(&mut self.kex, Kex::Rest) else {
            return Err(Fault::protocol("NEWKEYS out of turn"));
        };
        self.opener.rekey(&opening, self.strict);
        self.under_keys[1] = 0;
        self.exchanges += 1;
        self.held_bytes = 0;
        while let Some(payload) = self.held.pop_front() {
            self.put(&payload);
        }
        Ok(())
    }
}

fn broken(broken: Broken) -> Fault {
    match broken {
        Broken::Length => Fault::protocol("Bad packet length."),
        Broken::Tag => Fault::new(5, "message authentication code incorrect"),
    }
}

fn point(bytes: &[u8]) -> Result<Point, Fault> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| Fault::new(3, "a point of another length"))?;
    Ok(Point::from(bytes))
}

//= rfc8731#section-3
//# Clients and servers MUST also
//# abort if the length of the received public keys are not the expected
//# lengths.
fn agree(secret: &StaticSecret, point: &Point) -> Result<[u8; 32], Fault> {
    let shared = secret.diffie_hellman(point);
    // All zeros: a point of small order would make the secret everybody's (RFC 8731, section 3).
    if !shared.was_contributory() {
        return Err(Fault::new(3, "the shared secret is zero"));
    }
    Ok(*shared.as_bytes())
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("invariant: SHA-256 has 32 bytes")
}

/// RFC 4253, 7.2.
fn derive(shared: &[u8; 32], hash: &[u8; 32], letter: u8, session: &[u8; 32]) -> [u8; 64] {
    let secret = Writer::default().mpint(shared).done();
    let first = sha256(&[&secret, hash, &[letter], session]);
    let second = sha256(&[&secret, hash, &first]);
    let mut key = [0; 64];
    key[..32].copy_from_slice(&first);
    key[32..].copy_from_slice(&second);
    key
}
