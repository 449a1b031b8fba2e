//! One peer: its keys, the packets that wait for some, and its alarms.

use std::collections::VecDeque;
use std::net::SocketAddr;

use rt_base::{FrameId, Time};
use snow::{HandshakeState, StatelessTransportState};

use super::crypto::{Key, TAG};
use super::door::Visitor;
use super::message;
use super::replay::Window;
use super::timers::Alarms;
use super::{PeerConfig, REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME};

/// Packets that wait for a key (Linux's `MAX_STAGED_PACKETS`); the oldest goes for a newer one.
const STAGED: usize = 128;

/// A handshake that this side began.
pub(super) struct Begun {
    pub(super) state: HandshakeState,
    pub(super) index: u32,
}

/// A pair of keys.
pub(super) struct Session {
    pub(super) local: u32,
    remote: u32,
    keys: StatelessTransportState,
    /// Of the next message.
    pub(super) counter: u64,
    window: Window,
    pub(super) born: Time,
    pub(super) initiator: bool,
}

impl Session {
    pub(super) fn new(
        keys: StatelessTransportState,
        (local, remote): (u32, u32),
        (born, initiator): (Time, bool),
    ) -> Session {
        Session { local, remote, keys, counter: 0, window: Window::default(), born, initiator }
    }

    /// Whether it may still be used.
    pub(super) fn is_alive(&self, now: Time) -> bool {
        self.counter < REJECT_AFTER_MESSAGES && now.since(self.born) < REJECT_AFTER_TIME
    }

    /// A transport message with `packet` inside, padded with zeros to a multiple of 16, though not beyond `mtu`
    /// (whitepaper, 5.4.6).
    pub(super) fn seal(&mut self, packet: &[u8], mtu: usize) -> Vec<u8> {
        let padded = packet.len().next_multiple_of(16).min(mtu.max(packet.len()));
        let mut text = packet.to_vec();
        text.resize(padded, 0);
        let mut bytes = message::transport(self.remote, self.counter);
        let at = bytes.len();
        bytes.resize(at + text.len() + TAG, 0);
        let sealed = self.keys.write_message(self.counter, &text, &mut bytes[at..]);
        sealed.expect("invariant: an IPv4 packet fits into a Noise message, or was refused");
        self.counter += 1;
        bytes
    }

    /// What is sealed, if it is authentic and new.
    pub(super) fn open(&mut self, counter: u64, sealed: &[u8]) -> Result<Vec<u8>, &'static str> {
        if counter >= REJECT_AFTER_MESSAGES {
            return Err("its counter is beyond the key's life");
        }
        let mut text = vec![0; sealed.len()];
        let opened = self.keys.read_message(counter, sealed, &mut text);
        text.truncate(opened.map_err(|_| "it is not sealed with the key it names")?);
        if self.window.take(counter) { Ok(text) } else { Err("it has been received before") }
    }
}

/// A peer and all that is known of it.
pub(super) struct Peer {
    pub(super) config: PeerConfig,
    /// Where it was last heard from.
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) visitor: Visitor,
    pub(super) begun: Option<Begun>,
    pub(super) current: Option<Session>,
    pub(super) previous: Option<Session>,
    /// Made for a peer that has not used it yet (whitepaper, 5.4.5: the responder waits for the initiator's first packet).
    pub(super) next: Option<Session>,
    pub(super) waiting: VecDeque<(Vec<u8>, FrameId)>,
    pub(super) alarms: Alarms,
    pub(super) attempts: u32,
    pub(super) last_initiation: Option<Time>,
    pub(super) another_keepalive: bool,
    pub(super) renewed: bool,
    /// The greatest timestamp in its initiations (whitepaper, 5.1).
    pub(super) stamp: [u8; 12],
    pub(super) stamp_at: Option<Time>,
}

impl Peer {
    pub(super) fn new(config: PeerConfig) -> Peer {
        Peer {
            endpoint: config.endpoint,
            visitor: Visitor::new(&config.public),
            config,
            begun: None,
            current: None,
            previous: None,
            next: None,
            waiting: VecDeque::new(),
            alarms: Alarms::default(),
            attempts: 0,
            last_initiation: None,
            another_keepalive: false,
            renewed: false,
            stamp: [0; 12],
            stamp_at: None,
        }
    }

    pub(super) fn public(&self) -> &Key {
        &self.config.public
    }

    /// Puts a packet into the queue; the oldest goes when it is full, and is given back.
    pub(super) fn stage(&mut self, packet: Vec<u8>, frame: FrameId) -> Option<(Vec<u8>, FrameId)> {
        let gone = if self.waiting.len() >= STAGED { self.waiting.pop_front() } else { None };
        self.waiting.push_back((packet, frame));
        gone
    }

    /// The session that a receiver index names.
    pub(super) fn session(&mut self, local: u32) -> Option<&mut Session> {
        let all = [&mut self.current, &mut self.previous, &mut self.next];
        all.into_iter().flatten().find(|s| s.local == local)
    }

    /// Whether this index is in use.
    pub(super) fn has(&self, local: u32) -> bool {
        let sessions = [&self.current, &self.previous, &self.next];
        self.begun.as_ref().is_some_and(|b| b.index == local)
            || sessions.into_iter().flatten().any(|s| s.local == local)
    }

    /// Forgets every key.
    pub(super) fn forget(&mut self) {
        (self.begun, self.current, self.previous, self.next) = (None, None, None, None);
    }
}
