//! [`Interface`]: the protocol of one machine's tunnel, without sockets or clock. Packets and datagrams in, [`Output`] out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rt_base::{DropReason, FrameId, Nanos, Rng, Time};
use snow::HandshakeState;

use super::crypto::{self, Key, public_key};
use super::door::{Door, Knock};
use super::message::{self, Macs, Message};
use super::peer::{Begun, Peer, Session};
use super::timers::Due;
use super::{
    Config, KEEPALIVE_TIMEOUT, Output, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME,
    REKEY_ATTEMPT_TIME, REKEY_TIMEOUT,
};

/// Initiations of one peer closer together than this are not looked at (Linux's `INITIATIONS_PER_SECOND` of 50).
const INITIATION_GAP: Nanos = Nanos::from_millis(20);
/// Repetitions of an initiation before it is given up.
const ATTEMPTS: u32 = (REKEY_ATTEMPT_TIME.0 / REKEY_TIMEOUT.0) as u32;
/// Alarms are moved by up to a third of a second, so that two ends do not do the same at once (whitepaper, 6.1).
const JITTER_MS: u64 = 334;

/// Why a packet cannot go into the tunnel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is no IPv4 packet.
    NotIp,
    /// No peer may have that destination.
    NoPeer(IpAddr),
    /// The peer's address is not known yet.
    NoEndpoint(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::NotIp => f.write_str("it is no IPv4 packet"),
            Refused::NoPeer(to) => write!(f, "no peer has {to} among its allowed addresses"),
            Refused::NoEndpoint(peer) => write!(f, "nobody knows yet where {peer} is"),
        }
    }
}

/// A tunnel interface: keys, peers, alarms.
pub struct Interface {
    secret: Key,
    mtu: usize,
    rng: Rng,
    /// Civil time at virtual time zero, seconds since 1970.
    epoch: u64,
    door: Door,
    peers: Vec<Peer>,
    out: Vec<Output>,
}

impl Interface {
    /// `epoch` is the civil time of [`Time::ZERO`] in seconds since 1970; `rng` draws keys and indices.
    #[must_use]
    pub fn new(now: Time, config: Config, epoch: u64, rng: Rng) -> Interface {
        let door = Door::new(&public_key(&config.secret));
        let peers = config.peers.into_iter().map(Peer::new).collect();
        let mtu = usize::from(config.mtu);
        let mut new = Interface { secret: config.secret, mtu, rng, epoch, door, peers, out: Vec::new() };
        let secret = format!("LOCAL_STATIC_PRIVATE_KEY = {}", base64(&config.secret));
        new.out.push(Output::Secret(secret));
        for peer in 0..new.peers.len() {
            new.passed(now, peer);
        }
        new
    }

    /// Takes what is to be done.
    pub fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    /// When [`Interface::tick`] is needed next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.peers.iter().filter_map(|p| p.alarms.next()).min()
    }

    /// Sends a packet (`frame`) through the tunnel, now or when there is a key.
    ///
    /// # Errors
    /// [`Refused`], for a packet that no peer may have.
    pub fn send(&mut self, now: Time, packet: Vec<u8>, frame: FrameId) -> Result<(), Refused> {
        let (_, to) = addresses(&packet).ok_or(Refused::NotIp)?;
        let to = IpAddr::V4(to);
        let index = self.peer_for(to).ok_or(Refused::NoPeer(to))?;
        let peer = &mut self.peers[index];
        if peer.endpoint.is_none() {
            return Err(Refused::NoEndpoint(peer.config.name.clone()));
        }
        if let Some((_, gone)) = peer.stage(packet, frame) {
            self.out.push(Output::Lost(gone, DropReason::QueueFull));
            let text = format!("a packet for {} waited for a key and went for a newer one", peer.config.name);
            self.out.push(Output::Note("wireguard.queue-full", text));
        }
        self.flush(now, index);
        Ok(())
    }

    /// The peer with the longest prefix around `to` (whitepaper, 2).
    fn peer_for(&self, to: IpAddr) -> Option<usize> {
        let all = self.peers.iter().enumerate();
        let fits = all.flat_map(|(i, p)| p.config.allowed.iter().map(move |net| (i, net)));
        fits.filter(|(_, net)| net.contains(&to)).max_by_key(|(_, net)| net.prefix_len()).map(|(i, _)| i)
    }

    /// Sends what waits, if there is a key for it; else asks for one.
    fn flush(&mut self, now: Time, index: usize) {
        let peer = &mut self.peers[index];
        if !peer.current.as_ref().is_some_and(|s| s.is_alive(now)) {
            // One is being asked for already: then its alarm will ask again.
            if !peer.alarms.is_set(Due::Retransmit) {
                peer.attempts = 0;
                self.initiate(now, index);
            }
            return;
        }
        while let Some((packet, frame)) = self.peers[index].waiting.pop_front() {
            self.transmit(now, index, (&packet, frame));
        }
    }

    /// Sends a packet, or a keepalive (an empty one), under the current key.
    fn transmit(&mut self, now: Time, index: usize, (packet, inner): (&[u8], FrameId)) {
        let peer = &mut self.peers[index];
        let (Some(session), Some(to)) = (peer.current.as_mut(), peer.endpoint) else { return };
        let bytes = session.seal(packet, self.mtu);
        let old = session.initiator && now.since(session.born) >= REKEY_AFTER_TIME;
        let renew = old || session.counter > REKEY_AFTER_MESSAGES;
        self.out.push(Output::Datagram { to, bytes, inner, len: packet.len() });
        peer.alarms.clear(Due::Keepalive);
        if !packet.is_empty() && !peer.alarms.is_set(Due::Renew) {
            let jitter = self.rng.below(JITTER_MS);
            let at = now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + Nanos::from_millis(jitter);
            peer.alarms.set(Due::Renew, at);
        }
        self.passed(now, index);
        if renew {
            self.initiate(now, index);
        }
    }

    /// Something authentic passed in either direction: the user's interval begins anew.
    fn passed(&mut self, now: Time, index: usize) {
        let peer = &mut self.peers[index];
        if let Some(interval) = peer.config.persistent_keepalive {
            peer.alarms.set(Due::Persistent, now + interval);
        }
    }

    /// Asks a peer for a new key (whitepaper, 5.4.2), at most every [`REKEY_TIMEOUT`].
    fn initiate(&mut self, now: Time, index: usize) {
        let (ephemeral, local) = (self.draw(), self.new_index());
        let peer = &mut self.peers[index];
        let Some(to) = peer.endpoint else { return };
        if peer.last_initiation.is_some_and(|at| now.since(at) < REKEY_TIMEOUT) {
            return;
        }
        let begun = crypto::initiator(&self.secret, peer.public(), &peer.config.psk, ephemeral);
        let mut noise = [0; 108];
        let written = begun.and_then(|mut state| {
            state.write_message(&tai64n(self.epoch, now), &mut noise)?;
            Ok(state)
        });
        let Ok(state) = written else {
            let text = format!("{}'s public key is no key", peer.config.name);
            self.out.push(Output::Note("wireguard.bad-key", text));
            return;
        };
        self.out.extend(key_log(peer, &ephemeral));
        peer.last_initiation = Some(now);
        peer.begun = Some(Begun { state, index: local });
        let bytes = peer.visitor.sign(now, message::handshake(1, &[local], &noise));
        let text = match peer.attempts {
            0 => format!("asks {} at {to} for a new key", peer.config.name),
            n => format!("asks {} at {to} for a new key again (attempt {})", peer.config.name, n + 1),
        };
        self.out.push(Output::Note("wireguard.initiation", text));
        self.out.push(Output::Datagram { to, bytes, inner: FrameId::NONE, len: 0 });
        let jitter = self.rng.below(JITTER_MS);
        peer.alarms.set(Due::Retransmit, now + REKEY_TIMEOUT + Nanos::from_millis(jitter));
        self.passed(now, index);
    }

    fn draw(&mut self) -> Key {
        let mut key = [0; 32];
        self.rng.fill(&mut key);
        key
    }

    fn new_index(&mut self) -> u32 {
        loop {
            let index = self.rng.next_u32();
            if !self.peers.iter().any(|p| p.has(index)) {
                return index;
            }
        }
    }

    /// Takes a datagram.
    pub fn receive(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        match Message::parse(datagram) {
            Some(Message::Initiation { sender, noise, macs }) => {
                if self.may_enter(now, from, (datagram, sender, macs)) {
                    self.initiation(now, from, (sender, noise));
                }
            }
            Some(Message::Response { sender, receiver, noise, macs }) => {
                if self.may_enter(now, from, (datagram, sender, macs)) {
                    self.response(now, from, (sender, receiver, noise));
                }
            }
            Some(Message::Cookie { receiver, nonce, sealed }) => {
                let mut peers = self.peers.iter_mut();
                let peer = peers.find(|p| p.has(receiver));
                if let Some(peer) = peer.filter(|p| p.begun.as_ref().is_some_and(|b| b.index == receiver))
                    && peer.visitor.take_cookie(now, &nonce, sealed)
                {
                    let text =
                        format!("{} is busy and sent a cookie: the next attempt shows it", peer.config.name);
                    self.out.push(Output::Note("wireguard.cookie", text));
                }
            }
            Some(Message::Transport { receiver, counter, sealed }) => {
                self.transport(now, from, (receiver, counter, sealed));
            }
            None => self.odd(from, "it is no message of WireGuard's"),
        }
    }

    fn odd(&mut self, from: SocketAddr, why: &str) {
        let text = format!("a datagram from {from} is not taken: {why}");
        self.out.extend([Output::Note("wireguard.dropped", text), Output::NotTaken]);
    }

    fn may_enter(&mut self, now: Time, from: SocketAddr, message: (&[u8], u32, Macs)) -> bool {
        match self.door.look((now, &mut self.rng), from, message) {
            Knock::Welcome => true,
            Knock::Forged => {
                self.odd(from, "its sender does not know this machine's public key (mac1)");
                false
            }
            Knock::ShowCookie(bytes) => {
                self.out.push(Output::Datagram { to: from, bytes, inner: FrameId::NONE, len: 0 });
                false
            }
        }
    }

    /// A peer asks for a key (whitepaper, 5.4.2 and 5.4.3).
    fn initiation(&mut self, now: Time, from: SocketAddr, (remote, noise): (u32, &[u8])) {
        let (ephemeral, local) = (self.draw(), self.new_index());
        let mut stamp = [0; 12];
        let read = crypto::responder(&self.secret, ephemeral).and_then(|mut state| {
            state.read_message(noise, &mut stamp)?;
            Ok(state)
        });
        let Ok(mut state) = read else { return self.odd(from, "its handshake is not authentic") };
        let known =
            state.get_remote_static().and_then(|key| self.peers.iter().position(|p| p.public() == key));
        let Some(index) = known else { return self.odd(from, "its public key is none of a peer's") };
        let peer = &mut self.peers[index];
        if stamp <= peer.stamp {
            return self.odd(from, "its timestamp is not newer than the last one: a replay");
        }
        if peer.stamp_at.is_some_and(|at| now.since(at) < INITIATION_GAP) {
            return self.odd(from, "initiations come too fast");
        }
        (peer.stamp, peer.stamp_at, peer.endpoint) = (stamp, Some(now), Some(from));
        let mut answer = [0; 48];
        let psk = peer.config.psk;
        let keys = state.set_psk(2, &psk).and_then(|()| state.write_message(&[], &mut answer));
        let Ok(keys) = keys.and_then(|_| state.into_stateless_transport_mode()) else {
            return self.odd(from, "its keys give no common one");
        };
        self.out.extend(key_log(peer, &ephemeral));
        // Only its first packet shows that it has the key; until then the old one is used.
        peer.next = Some(Session::new(keys, (local, remote), (now, false)));
        peer.previous = None;
        peer.alarms.set(Due::Forget, now + Nanos(REJECT_AFTER_TIME.0 * 3));
        let bytes = peer.visitor.sign(now, message::handshake(2, &[local, remote], &answer));
        self.out.push(Output::Note(
            "wireguard.response",
            format!("agrees with {} on a new key", peer.config.name),
        ));
        self.out.push(Output::Datagram { to: from, bytes, inner: FrameId::NONE, len: 0 });
        self.passed(now, index);
    }

    /// The answer to an initiation of ours (whitepaper, 5.4.3 and 5.4.5).
    fn response(&mut self, now: Time, from: SocketAddr, (remote, receiver, noise): (u32, u32, &[u8])) {
        let mut peers = self.peers.iter_mut();
        let asked = peers.position(|p| p.begun.as_ref().is_some_and(|b| b.index == receiver));
        let Some(index) = asked else { return self.odd(from, "it answers nothing that was asked") };
        let peer = &mut self.peers[index];
        let Some(begun) = peer.begun.take() else { return };
        match finish(begun, noise) {
            Ok((keys, local)) => {
                peer.previous = peer.next.take().or(peer.current.take());
                peer.current = Some(Session::new(keys, (local, remote), (now, true)));
            }
            Err(begun) => {
                peer.begun = begun;
                return self.odd(from, "its handshake is not authentic");
            }
        }
        peer.endpoint = Some(from);
        (peer.attempts, peer.renewed) = (0, false);
        peer.alarms.clear(Due::Retransmit);
        peer.alarms.set(Due::Forget, now + Nanos(REJECT_AFTER_TIME.0 * 3));
        self.out.push(Output::Note("wireguard.session", format!("has a new key with {}", peer.config.name)));
        self.arrived(now, index);
        if self.peers[index].waiting.is_empty() {
            // The peer must see that the key is in use before it may send.
            self.transmit(now, index, (&[], FrameId::NONE));
        } else {
            self.flush(now, index);
        }
    }

    /// Something authentic came.
    fn arrived(&mut self, now: Time, index: usize) {
        self.peers[index].alarms.clear(Due::Renew);
        self.passed(now, index);
    }

    fn transport(&mut self, now: Time, from: SocketAddr, (receiver, counter, sealed): (u32, u64, &[u8])) {
        let Some(index) = self.peers.iter().position(|p| p.has(receiver)) else {
            return self.odd(from, "it names no key of ours");
        };
        let peer = &mut self.peers[index];
        let Some(session) = peer.session(receiver).filter(|s| s.is_alive(now)) else {
            return self.odd(from, "its key is dead");
        };
        let text = match session.open(counter, sealed) {
            Ok(text) => text,
            Err(why) => return self.odd(from, why),
        };
        peer.endpoint = Some(from);
        if peer.next.as_ref().is_some_and(|next| next.local == receiver) {
            peer.previous = peer.current.take();
            peer.current = peer.next.take();
            peer.begun = None;
            peer.attempts = 0;
            peer.alarms.clear(Due::Retransmit);
        }
        self.arrived(now, index);
        self.flush_if_any(now, index);
        self.keep_fresh(now, index);
        if !text.is_empty() {
            self.deliver(now, (from, index), text);
        }
    }

    fn flush_if_any(&mut self, now: Time, index: usize) {
        if !self.peers[index].waiting.is_empty() {
            self.flush(now, index);
        }
    }

    /// Whoever only receives makes a new key before the old one dies (whitepaper, 6.2).
    fn keep_fresh(&mut self, now: Time, index: usize) {
        let peer = &mut self.peers[index];
        let Some(session) = peer.current.as_ref().filter(|s| s.initiator && !peer.renewed) else { return };
        let limit = Nanos(REJECT_AFTER_TIME.0 - KEEPALIVE_TIMEOUT.0 - REKEY_TIMEOUT.0);
        if now.since(session.born) >= limit {
            peer.renewed = true;
            peer.attempts = 0;
            self.initiate(now, index);
        }
    }

    /// A packet has come out: it must be from where the peer may send from (whitepaper, 2).
    fn deliver(&mut self, now: Time, (from, index): (SocketAddr, usize), mut text: Vec<u8>) {
        let Some((source, _)) = addresses(&text) else {
            return self.odd(from, "what is inside is no IPv4 packet");
        };
        let len = usize::from(u16::from_be_bytes([text[2], text[3]]));
        if len < 20 || len > text.len() {
            return self.odd(from, "the packet inside is longer than what came");
        }
        text.truncate(len);
        let peer = &mut self.peers[index];
        if peer.alarms.is_set(Due::Keepalive) {
            peer.another_keepalive = true;
        } else {
            peer.alarms.set(Due::Keepalive, now + KEEPALIVE_TIMEOUT);
        }
        if self.peer_for(IpAddr::V4(source)) != Some(index) {
            let name = &self.peers[index].config.name;
            let text =
                format!("a packet of {name} is not taken: {source} is not among its allowed addresses");
            self.out.extend([Output::Note("wireguard.not-allowed", text), Output::NotTaken]);
            return;
        }
        self.out.push(Output::Packet(text));
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time) {
        for index in 0..self.peers.len() {
            while let Some(due) = self.peers[index].alarms.take(now) {
                self.ring(now, index, due);
            }
        }
    }

    fn ring(&mut self, now: Time, index: usize, due: Due) {
        let peer = &mut self.peers[index];
        match due {
            Due::Retransmit if peer.attempts >= ATTEMPTS => {
                let lost = peer.waiting.len();
                let reason = DropReason::TunnelRefused;
                self.out.extend(peer.waiting.drain(..).map(|(_, frame)| Output::Lost(frame, reason)));
                peer.begun = None;
                peer.alarms.set(Due::Forget, now + Nanos(REJECT_AFTER_TIME.0 * 3));
                let text = format!(
                    "{} never answered: {lost} packets that waited for a key are dropped",
                    peer.config.name
                );
                self.out.push(Output::Note("wireguard.given-up", text));
            }
            Due::Retransmit => {
                peer.attempts += 1;
                self.initiate(now, index);
            }
            Due::Keepalive => {
                if std::mem::take(&mut peer.another_keepalive) {
                    peer.alarms.set(Due::Keepalive, now + KEEPALIVE_TIMEOUT);
                    let at = now + KEEPALIVE_TIMEOUT;
                    self.transmit(now, index, (&[], FrameId::NONE));
                    self.peers[index].alarms.set(Due::Keepalive, at);
                } else {
                    self.transmit(now, index, (&[], FrameId::NONE));
                }
            }
            Due::Renew => {
                peer.attempts = 0;
                self.initiate(now, index);
            }
            Due::Forget => peer.forget(),
            Due::Persistent => {
                if peer.current.as_ref().is_some_and(|s| s.is_alive(now)) {
                    self.transmit(now, index, (&[], FrameId::NONE));
                } else {
                    self.flush(now, index);
                    self.passed(now, index);
                }
            }
        }
    }
}

/// Ends a handshake of ours: the keys and our index, or the handshake as it was.
#[allow(clippy::result_large_err, reason = "moved back to where it came from at once")]
fn finish(begun: Begun, noise: &[u8]) -> Result<(snow::StatelessTransportState, u32), Option<Begun>> {
    let Begun { mut state, index } = begun;
    let read: Result<usize, snow::Error> = HandshakeState::read_message(&mut state, noise, &mut []);
    match read {
        Ok(_) => state.into_stateless_transport_mode().map(|keys| (keys, index)).map_err(|_| None),
        Err(_) => Err(Some(Begun { state, index })),
    }
}

/// What Wireshark needs for one handshake.
fn key_log(peer: &Peer, ephemeral: &Key) -> [Output; 3] {
    [
        ("REMOTE_STATIC_PUBLIC_KEY", peer.public()),
        ("LOCAL_EPHEMERAL_PRIVATE_KEY", ephemeral),
        ("PRESHARED_KEY", &peer.config.psk),
    ]
    .map(|(name, key)| Output::Secret(format!("{name} = {}", base64(key))))
}

/// TAI64N (<https://cr.yp.to/libtai/tai64.html>), with nanoseconds in steps of about 17 ms as Linux has them, so that a timestamp
/// tells no more than it must.
fn tai64n(epoch: u64, now: Time) -> [u8; 12] {
    const STEP: u32 = 1 << 24;
    let seconds = (1_u64 << 62) + 10 + epoch + now.0 / 1_000_000_000;
    let nanos = (now.0 % 1_000_000_000) as u32 / STEP * STEP;
    let mut stamp = [0; 12];
    stamp[..8].copy_from_slice(&seconds.to_be_bytes());
    stamp[8..].copy_from_slice(&nanos.to_be_bytes());
    stamp
}

/// Source and destination of an IPv4 packet.
fn addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let at = |from: usize| packet.get(from..from + 4)?.try_into().ok().map(|b: [u8; 4]| Ipv4Addr::from(b));
    (packet.first()? >> 4 == 4).then_some(())?;
    Some((at(12)?, at(16)?))
}

/// RFC 4648, section 4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let all = chunk.iter().enumerate().fold(0_u32, |all, (i, b)| all | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
