//! Everything above packets: who may come in (RFC 4252) and channels (RFC 4254). Sans-IO: bytes in, bytes and [`Event`]s out.

use std::collections::{BTreeMap, VecDeque};

use super::channel::{Channel, Kind, PACKET, Request, WINDOW};
use super::keys::{ED25519_NAME, Identity, PublicKey};
use super::transport::{Fault, Role, Transport};
use super::wire::{Reader, Writer, msg};

/// The service in which a client proves who it is.
const USERAUTH: &str = "ssh-userauth";
/// The service that it wants then.
const CONNECTION: &str = "ssh-connection";
/// Channels of one connection at most.
const MOST_CHANNELS: usize = 64;
/// Events that nobody has taken yet, at most: a peer that sends more is not waited for.
const MOST_EVENTS: usize = 1024;
/// Bytes that wait for the wire, beyond which channels wait.
const BACKLOG: usize = 256 << 10;

/// What a client shows to be let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// Nothing: which ways are there?
    None,
    /// A key: would it do (`None`)? Or with a signature, which holds or not.
    Key { key: PublicKey, signed: Option<bool> },
    /// A key of a kind that we do not know, or another way.
    Other(String),
}

/// What the application has to know or to decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// Client: the server takes logins.
    Service,
    /// Client: not this way, but by one of these.
    Refused(Vec<String>),
    /// Client: a signature by this key would do.
    KeyWelcome,
    /// Client: in.
    Welcome,
    /// Client: words before the login.
    Banner(String),
    /// Server: somebody wants in.
    Login { user: String, proof: Proof },
    /// The peer wants a channel; [`Peer::confirm`] or [`Peer::refuse`] it.
    Open { channel: u32, kind: Kind },
    /// Something about a channel.
    Asked { channel: u32, what: Request, reply: bool },
}

/// One end of a connection.
pub(super) struct Peer {
    role: Role,
    pub(super) transport: Transport,
    pub(super) events: VecDeque<Event>,
    channels: BTreeMap<u32, Channel>,
    made: u32,
    /// Server: the user who is in. Client: whether it is.
    pub(super) user: Option<String>,
    service: bool,
    /// Why it is over.
    pub(super) ended: Option<Fault>,
}

impl Peer {
    pub(super) fn client(transport: Transport) -> Peer {
        let mut peer = Peer::new(Role::Client, transport);
        peer.transport.send(Writer::message(msg::SERVICE_REQUEST).string(USERAUTH).done());
        peer
    }

    pub(super) fn server(transport: Transport) -> Peer {
        Peer::new(Role::Server, transport)
    }

    fn new(role: Role, transport: Transport) -> Peer {
        Peer {
            role,
            transport,
            events: VecDeque::new(),
            channels: BTreeMap::new(),
            made: 0,
            user: None,
            service: false,
            ended: None,
        }
    }

    /// Bytes from the wire.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.transport.feed(bytes);
        while self.ended.is_none() {
            let taken = match self.transport.next() {
                Ok(None) => return,
                Ok(Some(payload)) => self.take(&payload),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = taken {
                self.end(fault);
            }
        }
    }

    /// Ends the connection and says why.
    pub(super) fn end(&mut self, fault: Fault) {
        if self.ended.is_none() {
            self.transport.disconnect(&fault);
            self.ended = Some(fault);
        }
    }

    /// The wire is gone.
    pub(super) fn cut(&mut self, text: &str) {
        self.ended.get_or_insert(Fault::new(0, text));
    }

    fn take(&mut self, payload: &[u8]) -> Result<(), Fault> {
        if self.events.len() > MOST_EVENTS {
            return Err(Fault::protocol("too much at once"));
        }
        let mut reader = Reader::new(payload);
        let number = reader.byte()?;
        match number {
            msg::DISCONNECT => {
                let reason = reader.number()?;
                let text = String::from_utf8_lossy(reader.string()?).into_owned();
                self.ended = Some(Fault::new(reason, text));
                Ok(())
            }
            msg::SERVICE_REQUEST if self.role == Role::Server => self.on_service(reader),
            msg::SERVICE_ACCEPT if self.role == Role::Client => {
                self.events.push_back(Event::Service);
                Ok(())
            }
            50..80 => self.on_login(number, reader),
            80..128 if self.user.is_none() => {
                Err(Fault::protocol("a message of the connection before the login"))
            }
            msg::GLOBAL_REQUEST => self.on_global(reader),
            msg::REQUEST_SUCCESS | msg::REQUEST_FAILURE => Ok(()),
            msg::CHANNEL_OPEN => self.on_open(reader),
            msg::CHANNEL_OPEN_CONFIRMATION..=msg::CHANNEL_FAILURE => self.on_channel(number, reader),
            _ => {
                self.transport.unimplemented();
                Ok(())
            }
        }
    }

    fn on_service(&mut self, mut reader: Reader<'_>) -> Result<(), Fault> {
        let name = reader.text()?;
        if name != USERAUTH {
            return Err(Fault::new(7, format!("service {name} is not here")));
        }
        self.service = true;
        self.transport.send(Writer::message(msg::SERVICE_ACCEPT).string(name).done());
        Ok(())
    }

    fn on_login(&mut self, number: u8, mut reader: Reader<'_>) -> Result<(), Fault> {
        match (self.role, number) {
            (Role::Server, msg::USERAUTH_REQUEST) => {
                if !self.service {
                    return Err(Fault::protocol("a login before its service"));
                }
                // RFC 4252, 5.1: after success, further requests are to be ignored.
                if self.user.is_some() {
                    return Ok(());
                }
                let user = reader.text()?.to_owned();
                if reader.text()? != CONNECTION {
                    return Err(Fault::new(7, "only ssh-connection is here"));
                }
                let proof = self.proof(&user, reader)?;
                self.events.push_back(Event::Login { user, proof });
                Ok(())
            }
            (Role::Client, msg::USERAUTH_FAILURE) => {
                let methods = reader.names()?.into_iter().map(str::to_owned).collect();
                self.events.push_back(Event::Refused(methods));
                Ok(())
            }
            (Role::Client, msg::USERAUTH_SUCCESS) => {
                self.user = Some(String::new());
                self.events.push_back(Event::Welcome);
                Ok(())
            }
            (Role::Client, msg::USERAUTH_BANNER) => {
                let text = String::from_utf8_lossy(reader.string()?).into_owned();
                self.events.push_back(Event::Banner(text));
                Ok(())
            }
            (Role::Client, msg::USERAUTH_PK_OK) => {
                self.events.push_back(Event::KeyWelcome);
                Ok(())
            }
            _ => {
                self.transport.unimplemented();
                Ok(())
            }
        }
    }

    fn proof(&self, user: &str, mut reader: Reader<'_>) -> Result<Proof, Fault> {
        let method = reader.text()?;
        Ok(match method {
            "none" => Proof::None,
            "publickey" => {
                let signed = reader.flag()?;
                let name = reader.text()?.to_owned();
                let blob = reader.string()?;
                match PublicKey::from_blob(blob) {
                    Ok(key) if name == ED25519_NAME => {
                        let holds = |signature| key.verifies(&self.to_sign(user, &key), signature);
                        let signed = if signed { Some(holds(reader.string()?)) } else { None };
                        Proof::Key { key, signed }
                    }
                    _ => Proof::Other(format!("a key of type {name}")),
                }
            }
            other => Proof::Other(other.to_owned()),
        })
    }

    /// What a client signs (RFC 4252, section 7).
    fn to_sign(&self, user: &str, key: &PublicKey) -> Vec<u8> {
        let session = self.transport.session.unwrap_or_default();
        Writer::default().string(session).raw(&with_key(user, key, true)).done()
    }

    /// Client: asks which ways there are.
    pub(super) fn ask_ways(&mut self, user: &str) {
        self.transport.send(login(user, "none").done());
    }

    /// Client: asks whether this key would do.
    pub(super) fn ask_key(&mut self, user: &str, key: &PublicKey) {
        let message = Writer::default().raw(&with_key(user, key, false)).done();
        self.transport.send(message);
    }

    /// Client: what the holder of `key` must sign to log in.
    pub(super) fn challenge(&self, user: &str, key: &PublicKey) -> Vec<u8> {
        self.to_sign(user, key)
    }

    /// Client: logs in with a signature over the challenge.
    pub(super) fn prove(&mut self, user: &str, key: &PublicKey, signature: &[u8]) {
        self.transport.send(Writer::default().raw(&with_key(user, key, true)).string(signature).done());
    }

    /// Server: this user is in.
    pub(super) fn welcome(&mut self, user: &str) {
        self.user = Some(user.to_owned());
        self.transport.send(vec![msg::USERAUTH_SUCCESS]);
    }

    /// Server: a signature by this key would do.
    pub(super) fn key_would_do(&mut self, key: &PublicKey) {
        let blob = key.blob();
        self.transport.send(Writer::message(msg::USERAUTH_PK_OK).string(ED25519_NAME).string(blob).done());
    }

    /// Server: not so. `publickey` is the only way in.
    pub(super) fn turn_away(&mut self) {
        self.transport.send(Writer::message(msg::USERAUTH_FAILURE).names(&["publickey"]).flag(false).done());
    }

    /// Nothing that concerns the whole connection is done for the peer (no remote forwarding).
    fn on_global(&mut self, mut reader: Reader<'_>) -> Result<(), Fault> {
        reader.text()?;
        if reader.flag()? {
            self.transport.send(vec![msg::REQUEST_FAILURE]);
        }
        Ok(())
    }

    fn on_open(&mut self, mut reader: Reader<'_>) -> Result<(), Fault> {
        let name = reader.text()?.to_owned();
        let (theirs, credit, most) = (reader.number()?, reader.number()?, reader.number()?);
        let kind = Kind::read(&name, &mut reader)?;
        if self.channels.len() >= MOST_CHANNELS {
            let refusal = Writer::message(msg::CHANNEL_OPEN_FAILURE).number(theirs).number(4);
            self.transport.send(refusal.string("too many channels").string("").done());
            return Ok(());
        }
        let channel = self.made;
        self.made += 1;
        self.channels.insert(channel, Channel::opened_by_peer(theirs, credit, most));
        self.events.push_back(Event::Open { channel, kind });
        Ok(())
    }

    fn on_channel(&mut self, number: u8, mut reader: Reader<'_>) -> Result<(), Fault> {
        let id = reader.number()?;
        let Some(channel) = self.channels.get_mut(&id) else {
            return Err(Fault::protocol(format!("there is no channel {id}")));
        };
        match number {
            msg::CHANNEL_OPEN_CONFIRMATION => {
                channel.on_confirmed(reader.number()?, reader.number()?, reader.number()?)?;
            }
            msg::CHANNEL_OPEN_FAILURE => {
                let reason = reader.number()?;
                channel.refused = Some((reason, String::from_utf8_lossy(reader.string()?).into_owned()));
            }
            msg::CHANNEL_WINDOW_ADJUST => channel.on_credit(reader.number()?),
            msg::CHANNEL_DATA => channel.on_data(reader.string()?, false)?,
            msg::CHANNEL_EXTENDED_DATA => {
                reader.number()?;
                channel.on_data(reader.string()?, true)?;
            }
            msg::CHANNEL_EOF => channel.eof_in = true,
            msg::CHANNEL_CLOSE => {
                channel.eof_in = true;
                channel.closed_in = true;
                self.close(id);
                self.forget(id);
            }
            msg::CHANNEL_REQUEST => {
                let name = reader.text()?.to_owned();
                let reply = reader.flag()?;
                let what = Request::read(&name, reader)?;
                if let Request::ExitStatus(status) = what {
                    channel.exit = Some(status);
                } else {
                    self.events.push_back(Event::Asked { channel: id, what, reply });
                }
            }
            _ => channel.replies.push_back(number == msg::CHANNEL_SUCCESS),
        }
        Ok(())
    }

    /// Asks the peer for a channel.
    pub(super) fn open(&mut self, kind: &Kind) -> u32 {
        let id = self.made;
        self.made += 1;
        self.channels.insert(id, Channel::opened_by_us());
        let message =
            Writer::message(msg::CHANNEL_OPEN).string(kind.name()).number(id).number(WINDOW).number(PACKET);
        self.transport.send(kind.write(message).done());
        id
    }

    /// Lets the peer have the channel it asked for.
    pub(super) fn confirm(&mut self, id: u32) {
        let Some(theirs) = self.channels.get(&id).and_then(|c| c.theirs) else { return };
        let message = Writer::message(msg::CHANNEL_OPEN_CONFIRMATION).number(theirs).number(id);
        self.transport.send(message.number(WINDOW).number(PACKET).done());
    }

    /// Does not. Reasons are those of RFC 4254, 5.1.
    pub(super) fn refuse(&mut self, id: u32, reason: u32, text: &str) {
        let Some(theirs) = self.channels.remove(&id).and_then(|c| c.theirs) else { return };
        let message = Writer::message(msg::CHANNEL_OPEN_FAILURE).number(theirs).number(reason);
        self.transport.send(message.string(text).string("").done());
    }

    /// Whether no channel is there.
    pub(super) fn is_quiet(&self) -> bool {
        self.channels.is_empty()
    }

    pub(super) fn channel(&mut self, id: u32) -> Option<&mut Channel> {
        self.channels.get_mut(&id)
    }

    /// Writes as much of `data` as the peer and the wire take now; `errors` go beside the ordinary output.
    pub(super) fn write(&mut self, id: u32, data: &[u8], errors: bool) -> Option<usize> {
        let room = BACKLOG.saturating_sub(self.transport.output.len());
        let channel = self.channels.get_mut(&id)?;
        let theirs = channel.theirs.filter(|_| !channel.eof_out && !channel.closed_in)?;
        let n = data.len().min(channel.credit as usize).min(channel.most as usize).min(room);
        if n > 0 {
            channel.credit -= n as u32;
            let message = if errors {
                Writer::message(msg::CHANNEL_EXTENDED_DATA).number(theirs).number(1)
            } else {
                Writer::message(msg::CHANNEL_DATA).number(theirs)
            };
            self.transport.send(message.string(&data[..n]).done());
        }
        Some(n)
    }

    /// The application has taken `n` bytes of a channel: the peer may send as many again.
    pub(super) fn taken(&mut self, id: u32, n: usize) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if let (Some(more), Some(theirs)) = (channel.more_window(n), channel.theirs) {
            let message = Writer::message(msg::CHANNEL_WINDOW_ADJUST).number(theirs).number(more).done();
            self.transport.send(message);
        }
    }

    /// Nothing more will be written.
    pub(super) fn eof(&mut self, id: u32) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let Some(theirs) = channel.theirs.filter(|_| !channel.eof_out && !channel.closed_out) else { return };
        channel.eof_out = true;
        self.transport.send(Writer::message(msg::CHANNEL_EOF).number(theirs).done());
    }

    /// This end is done with the channel.
    pub(super) fn close(&mut self, id: u32) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let Some(theirs) = channel.theirs.filter(|_| !channel.closed_out) else { return };
        (channel.eof_out, channel.closed_out) = (true, true);
        self.transport.send(Writer::message(msg::CHANNEL_CLOSE).number(theirs).done());
    }

    /// Nobody here uses the channel any more.
    pub(super) fn release(&mut self, id: u32) {
        self.close(id);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.released = true;
        }
        self.forget(id);
    }

    /// Forgets a channel that both ends have closed and nobody here uses.
    fn forget(&mut self, id: u32) {
        let gone = |c: &Channel| c.released && (c.closed_in && c.closed_out || c.refused.is_some());
        if self.channels.get(&id).is_some_and(gone) {
            self.channels.remove(&id);
        }
    }

    /// Asks something about a channel.
    pub(super) fn request(&mut self, id: u32, what: &Request, reply: bool) {
        let Some(theirs) = self.channels.get(&id).filter(|c| !c.closed_out).and_then(|c| c.theirs) else {
            return;
        };
        let message = Writer::message(msg::CHANNEL_REQUEST).number(theirs).string(what.name()).flag(reply);
        self.transport.send(what.write(message).done());
    }

    /// Answers what the peer asked about a channel.
    pub(super) fn respond(&mut self, id: u32, yes: bool) {
        let Some(theirs) = self.channels.get(&id).filter(|c| !c.closed_out).and_then(|c| c.theirs) else {
            return;
        };
        let number = if yes { msg::CHANNEL_SUCCESS } else { msg::CHANNEL_FAILURE };
        self.transport.send(Writer::message(number).number(theirs).done());
    }
}

fn login(user: &str, method: &str) -> Writer {
    Writer::message(msg::USERAUTH_REQUEST).string(user).string(CONNECTION).string(method)
}

/// A login by key up to the signature.
fn with_key(user: &str, key: &PublicKey, signed: bool) -> Vec<u8> {
    login(user, "publickey").flag(signed).string(ED25519_NAME).string(key.blob()).done()
}

/// A signature of the key over what a client must sign.
pub(super) fn sign(identity: &Identity, challenge: &[u8]) -> Vec<u8> {
    identity.sign(challenge)
}
