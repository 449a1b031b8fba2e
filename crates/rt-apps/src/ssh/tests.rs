//! Two ends in memory: what they agree on, who gets in, what channels carry, and that a second run has the same bytes.

use rt_base::Rng;

use super::channel::{Kind, Request};
use super::keys::Identity;
use super::peer::{Event, Peer, Proof, sign};
use super::transport::{Transport, Trust};

/// Two ends and everything that went over the wire.
struct Pair {
    client: Peer,
    server: Peer,
    wire: Vec<(bool, Vec<u8>)>,
}

fn host() -> Identity {
    Identity::drawn(1, "server", "host key")
}

fn ana() -> Identity {
    Identity::drawn(1, "ana", "ana@laptop")
}

impl Pair {
    fn with(seed: u64, trust: Trust) -> Pair {
        let client = Transport::client(Rng::stream(seed, "client", "ssh"), trust);
        let server = Transport::server(Rng::stream(seed, "server", "ssh"), host());
        Pair { client: Peer::client(client), server: Peer::server(server), wire: Vec::new() }
    }

    fn new(seed: u64) -> Pair {
        Pair::with(seed, Trust::Known(vec![host().public()]))
    }

    /// Carries bytes both ways until neither end has any more.
    fn settle(&mut self) {
        loop {
            let up = std::mem::take(&mut self.client.transport.output);
            let down = std::mem::take(&mut self.server.transport.output);
            if up.is_empty() && down.is_empty() {
                return;
            }
            self.server.feed(&up);
            self.client.feed(&down);
            self.wire.extend([(true, up), (false, down)]);
        }
    }

    /// Logs in; the server takes any key that signs.
    fn log_in(&mut self) {
        let key = ana();
        self.settle();
        assert_eq!(self.client.events.pop_front(), Some(Event::Service));
        let challenge = self.client.challenge("root", &key.public());
        self.client.prove("root", &key.public(), &sign(&key, &challenge));
        self.settle();
        let proof = Proof::Key { key: key.public(), signed: Some(true) };
        assert_eq!(self.server.events.pop_front(), Some(Event::Login { user: "root".into(), proof }));
        self.server.welcome("root");
        self.settle();
        assert_eq!(self.client.events.pop_front(), Some(Event::Welcome));
    }

    /// Opens a channel; returns both ends' numbers.
    fn open(&mut self, kind: &Kind) -> (u32, u32) {
        let id = self.client.open(kind);
        self.settle();
        let Some(Event::Open { channel, kind: got }) = self.server.events.pop_front() else {
            panic!("no channel")
        };
        assert_eq!(got, *kind);
        self.server.confirm(channel);
        self.settle();
        (id, channel)
    }

    fn read(peer: &mut Peer, id: u32) -> Vec<u8> {
        let bytes: Vec<u8> = peer.channel(id).unwrap().input.drain(..).collect();
        peer.taken(id, bytes.len());
        bytes
    }
}

//= rfc4253#section-4.2
//= type=test
//# When the connection has been established, both sides MUST send an
//# identification string.
#[test]
fn both_ends_speak_first_and_agree() {
    let mut pair = Pair::new(1);
    pair.settle();
    assert!(pair.wire[0].1.starts_with(b"SSH-2.0-roundtrip"));
    assert!(pair.wire[1].1.starts_with(b"SSH-2.0-roundtrip"));
    assert_eq!(pair.client.transport.host_key, Some(host().public()));
    assert_eq!(pair.client.transport.session, pair.server.transport.session);
    assert!(pair.client.transport.session.is_some());
    assert_eq!(pair.client.transport.secrets, pair.server.transport.secrets);
}

#[test]
fn a_command_runs_and_the_second_run_has_the_same_bytes() {
    let run = |seed| {
        let mut pair = Pair::new(seed);
        pair.log_in();
        let (ours, theirs) = pair.open(&Kind::Session);
        pair.client.request(ours, &Request::Exec("hostname".into()), true);
        pair.settle();
        let asked = Event::Asked { channel: theirs, what: Request::Exec("hostname".into()), reply: true };
        assert_eq!(pair.server.events.pop_front(), Some(asked));
        pair.server.respond(theirs, true);
        assert_eq!(pair.server.write(theirs, b"db\n", false), Some(3));
        pair.server.write(theirs, b"oh\n", true);
        pair.server.request(theirs, &Request::ExitStatus(0), false);
        pair.server.eof(theirs);
        pair.server.release(theirs);
        pair.settle();
        assert_eq!(Pair::read(&mut pair.client, ours), b"db\n");
        let channel = pair.client.channel(ours).unwrap();
        assert_eq!((channel.exit, channel.eof_in, channel.closed_in), (Some(0), true, true));
        assert_eq!(channel.errors.iter().copied().collect::<Vec<u8>>(), b"oh\n");
        pair.client.release(ours);
        assert!(pair.client.is_quiet() && pair.server.is_quiet());
        pair.wire
    };
    assert!(run(1) == run(1), "two runs with one seed differ");
    assert!(run(1) != run(2), "the seed changes nothing");
}

#[test]
fn a_host_that_is_not_the_known_one_is_not_spoken_to() {
    for trust in [Trust::Known(Vec::new()), Trust::Known(vec![ana().public()])] {
        let mut pair = Pair::with(1, trust);
        pair.settle();
        assert_eq!(pair.client.ended.as_ref().map(|f| f.reason), Some(9));
        assert!(pair.client.events.is_empty());
        assert_eq!(pair.client.transport.host_key, Some(host().public()));
    }
    let mut pair = Pair::with(1, Trust::New);
    pair.settle();
    assert_eq!(pair.client.ended, None);
}

//= rfc4252#section-7
//= type=test
//# the server MUST check whether the supplied key is
//# acceptable for authentication, and if so, it MUST check whether the
//# signature is correct.
#[test]
fn a_signature_over_another_session_does_not_count() {
    let mut pair = Pair::new(1);
    pair.settle();
    let key = ana();
    let signature = sign(&key, b"another session");
    pair.client.prove("root", &key.public(), &signature);
    // A key that would do is asked about without a signature.
    pair.client.ask_key("root", &key.public());
    pair.client.ask_ways("root");
    pair.settle();
    let login = |proof| Some(Event::Login { user: "root".into(), proof });
    assert_eq!(pair.server.events.pop_front(), login(Proof::Key { key: key.public(), signed: Some(false) }));
    assert_eq!(pair.server.events.pop_front(), login(Proof::Key { key: key.public(), signed: None }));
    assert_eq!(pair.server.events.pop_front(), login(Proof::None));
    pair.server.turn_away();
    pair.settle();
    pair.client.events.pop_front();
    assert_eq!(pair.client.events.pop_front(), Some(Event::Refused(vec!["publickey".into()])));
}

#[test]
fn nobody_gets_a_channel_before_the_login() {
    let mut pair = Pair::new(1);
    pair.settle();
    pair.client.open(&Kind::Session);
    pair.settle();
    assert!(pair.server.ended.is_some());
    assert!(pair.server.events.is_empty());
    assert_eq!(pair.client.ended.as_ref().map(|f| f.reason), Some(2));
}

//= rfc4254#section-5.2
//= type=test
//# The window size specifies how many bytes the other party can send
//# before it must wait for the window to be adjusted.
#[test]
fn long_transfers_wait_for_the_window_and_for_new_keys() {
    let mut pair = Pair::new(1);
    pair.client.transport.rekey_after(500_000);
    pair.log_in();
    let (ours, theirs) = pair.open(&Kind::Session);
    let text: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    let mut stalls = 0;
    while got.len() < text.len() {
        let n = pair.client.write(ours, &text[sent..], false).unwrap();
        sent += n;
        if n == 0 || sent == text.len() {
            stalls += 1;
            pair.settle();
            got.extend(Pair::read(&mut pair.server, theirs));
            pair.settle();
        }
        assert!(pair.client.ended.is_none() && pair.server.ended.is_none(), "{:?}", pair.client.ended);
    }
    assert!(got == text && stalls > 10);
    assert!(pair.client.transport.exchanges > 5, "{}", pair.client.transport.exchanges);
    assert_eq!(pair.client.transport.exchanges, pair.server.transport.exchanges);
    assert_eq!(pair.client.transport.secrets.len() as u32, pair.client.transport.exchanges);
}

#[test]
fn one_connection_runs_inside_another_and_the_middle_cannot_read_it() {
    let mut outer = Pair::new(1);
    outer.log_in();
    let kind = Kind::DirectTcpip {
        host: "10.0.2.100".into(),
        port: 22,
        from: "127.0.0.1".into(),
        from_port: 65_535,
    };
    let (ours, theirs) = outer.open(&kind);
    let mut inner = Pair::new(2);
    let secret = b"the inner secret";
    let mut carried = Vec::new();
    let mut done = false;
    for _ in 0..20 {
        let up = std::mem::take(&mut inner.client.transport.output);
        outer.client.write(ours, &up, false);
        outer.settle();
        let arrived = Pair::read(&mut outer.server, theirs);
        inner.server.feed(&arrived);
        let down = std::mem::take(&mut inner.server.transport.output);
        outer.server.write(theirs, &down, false);
        outer.settle();
        inner.client.feed(&Pair::read(&mut outer.client, ours));
        carried.extend([arrived, down].concat());
        if inner.client.events.pop_front() == Some(Event::Service) {
            inner.client.ask_ways(std::str::from_utf8(secret).unwrap());
        }
        done |= matches!(inner.server.events.pop_front(), Some(Event::Login { user, .. }) if user.as_bytes() == secret);
    }
    assert!(done);
    let has = |what: &[u8]| carried.windows(what.len()).any(|w| w == what);
    assert!(has(b"SSH-2.0-") && has(b"curve25519-sha256") && !has(secret));
}

#[test]
fn a_peer_that_overruns_the_window_or_talks_nonsense_is_left() {
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-x\r\n\0\0\0\x0c\x04\x15\0\0\0\0\0\0\0\0\0\0",
        &[b'S'; 300],
        b"SSH-2.0-x\r\n\xff\xff\xff\xff",
    ];
    for bytes in garbage {
        let mut server = Peer::server(Transport::server(Rng::stream(1, "s", "ssh"), host()));
        server.feed(bytes);
        assert!(server.ended.is_some(), "{:?}", String::from_utf8_lossy(bytes));
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), at in 0..6_usize) {
        // At some point of the conversation, arbitrary bytes; and arbitrary payloads that are well sealed.
        let mut pair = Pair::new(1);
        if at > 2 {
            pair.log_in();
            pair.open(&Kind::Session);
        } else {
            pair.settle();
        }
        match at {
            0 | 3 => pair.server.feed(&bytes),
            1 | 4 => pair.client.feed(&bytes),
            _ => {
                pair.client.transport.send(bytes.clone());
                pair.server.transport.send(bytes);
                pair.settle();
            }
        }
    }
}
