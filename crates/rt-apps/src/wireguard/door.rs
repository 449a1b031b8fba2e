//! Who may make this machine work (whitepaper, 5.4.4 and 5.4.7): mac1 shows that a sender knows our public key; under load a
//! sender must also show, by mac2, that it receives at the address that it sends from.

use std::net::{IpAddr, SocketAddr};

use rt_base::{Nanos, Rng, Time};

use super::crypto::{Key, labelled, mac, open_cookie, seal_cookie};
use super::message::{self, Macs};

/// More handshake messages than this within a second are a load.
pub const BUSY: u32 = 50;
/// A cookie's secret changes, and a cookie is good, for so long (whitepaper, 5.4.7).
const COOKIE_LIFE: Nanos = Nanos::from_secs(120);
const SECOND: Nanos = Nanos::from_secs(1);

/// The side that is knocked at.
pub(super) struct Door {
    mac1_key: Key,
    cookie_key: Key,
    secret: Key,
    secret_since: Option<Time>,
    /// The second that is being counted, and what came in it.
    second: Time,
    came: u32,
}

/// What to do with a handshake message.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Knock {
    /// Look at it.
    Welcome,
    /// It is none of ours.
    Forged,
    /// Send this instead of an answer.
    ShowCookie(Vec<u8>),
}

impl Door {
    pub(super) fn new(own_public: &Key) -> Door {
        Door {
            mac1_key: labelled(b"mac1----", own_public),
            cookie_key: labelled(b"cookie--", own_public),
            secret: [0; 32],
            secret_since: None,
            second: Time::ZERO,
            came: 0,
        }
    }

    /// Looks at a handshake message from `from` before anything is computed for it.
    pub(super) fn look(
        &mut self,
        (now, rng): (Time, &mut Rng),
        from: SocketAddr,
        (datagram, sender, macs): (&[u8], u32, Macs),
    ) -> Knock {
        let body = datagram.len() - 32;
        if mac(&self.mac1_key, &[&datagram[..body]]) != macs.mac1 {
            return Knock::Forged;
        }
        if now.since(self.second) >= SECOND {
            (self.second, self.came) = (now, 0);
        }
        self.came += 1;
        if self.came <= BUSY {
            return Knock::Welcome;
        }
        if self.secret_since.is_none_or(|since| now.since(since) >= COOKIE_LIFE) {
            rng.fill(&mut self.secret);
            self.secret_since = Some(now);
        }
        let cookie = mac(&self.secret, &[&place(from)]);
        if mac(&cookie, &[&datagram[..body + 16]]) == macs.mac2 {
            return Knock::Welcome;
        }
        let mut nonce = [0; 24];
        rng.fill(&mut nonce);
        let sealed = seal_cookie(&self.cookie_key, &nonce, &cookie, &macs.mac1);
        Knock::ShowCookie(message::cookie(sender, &nonce, &sealed))
    }
}

/// An address and port as bytes.
fn place(from: SocketAddr) -> Vec<u8> {
    let mut bytes = match from.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(from.port().to_be_bytes());
    bytes
}

/// The side that knocks: what it needs to be let in at one peer.
pub(super) struct Visitor {
    mac1_key: Key,
    cookie_key: Key,
    cookie: Option<([u8; 16], Time)>,
    /// The mac1 of the last message: a cookie is sealed with it.
    last: Option<[u8; 16]>,
}

impl Visitor {
    pub(super) fn new(peer_public: &Key) -> Visitor {
        let (mac1_key, cookie_key) = (labelled(b"mac1----", peer_public), labelled(b"cookie--", peer_public));
        Visitor { mac1_key, cookie_key, cookie: None, last: None }
    }

    /// Ends a handshake message with its MACs.
    pub(super) fn sign(&mut self, now: Time, mut message: Vec<u8>) -> Vec<u8> {
        let mac1 = mac(&self.mac1_key, &[&message]);
        message.extend(mac1);
        self.last = Some(mac1);
        let mac2 = match self.cookie {
            Some((cookie, since)) if now.since(since) < COOKIE_LIFE => mac(&cookie, &[&message]),
            _ => [0; 16],
        };
        message.extend(mac2);
        message
    }

    /// Takes a cookie; whether it was for us.
    pub(super) fn take_cookie(&mut self, now: Time, nonce: &[u8; 24], sealed: &[u8]) -> bool {
        let Some(mac1) = self.last.as_ref() else { return false };
        let Some(cookie) = open_cookie(&self.cookie_key, nonce, sealed, mac1) else { return false };
        self.last = None;
        self.cookie = Some((cookie, now));
        true
    }
}
