//! Two interfaces without a network between them: what passes, when, and what does not.

use std::net::SocketAddr;

use rt_base::{DropReason, FrameId, Nanos, Rng, Time};

use super::*;

const KEYS: [[u8; 32]; 2] = [[0x11; 32], [0x22; 32]];
const PLACES: [&str; 2] = ["198.51.100.1:51820", "203.0.113.1:51820"];
const NETS: [&str; 2] = ["10.1.0.0/24", "10.2.0.0/24"];

fn place(side: usize) -> SocketAddr {
    PLACES[side].parse().unwrap()
}

fn config(side: usize, psk: [u8; 32]) -> Config {
    let other = 1 - side;
    let peer = PeerConfig {
        name: ["left", "right"][other].into(),
        public: public_key(&KEYS[other]),
        psk,
        // Only the left one knows where the right one is.
        endpoint: (side == 0).then(|| place(other)),
        allowed: vec![NETS[other].parse().unwrap()],
        persistent_keepalive: None,
    };
    Config { secret: KEYS[side], port: 51_820, mtu: 1420, peers: vec![peer] }
}

fn interface(side: usize, psk: [u8; 32]) -> Interface {
    Interface::new(
        Time::ZERO,
        config(side, psk),
        1_700_000_000,
        Rng::stream(1, ["left", "right"][side], "wireguard"),
    )
}

/// An IPv4 packet from one side's network to the other's.
fn packet(from: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x5a; len];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    bytes[12..16].copy_from_slice(&[10, 1 + from as u8, 0, 7]);
    bytes[16..20].copy_from_slice(&[10, 2 - from as u8, 0, 9]);
    bytes
}

/// Both ends and what they did.
struct Pair {
    now: Time,
    ends: [Interface; 2],
    /// Packets that came out, by side; lengths of datagrams; notes.
    packets: [Vec<Vec<u8>>; 2],
    datagrams: Vec<(usize, Vec<u8>)>,
    notes: Vec<String>,
    /// Packets that did not go into the tunnel, and datagrams that were not taken.
    lost: Vec<DropReason>,
    untaken: usize,
    /// Lose everything.
    cut: bool,
}

impl Pair {
    fn new() -> Pair {
        Pair::of([interface(0, [0; 32]), interface(1, [0; 32])])
    }

    fn of(ends: [Interface; 2]) -> Pair {
        let (packets, datagrams, notes) = ([Vec::new(), Vec::new()], Vec::new(), Vec::new());
        let (lost, untaken) = (Vec::new(), 0);
        Pair { now: Time(1_000_000_000), ends, packets, datagrams, notes, lost, untaken, cut: false }
    }

    fn send(&mut self, from: usize, len: usize) {
        self.ends[from].send(self.now, packet(from, len), FrameId::NONE).unwrap();
        self.settle();
    }

    /// Carries datagrams until there are none.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for side in [0, 1] {
                for output in self.ends[side].take() {
                    quiet = false;
                    match output {
                        Output::Datagram { to, bytes, .. } => {
                            assert_eq!(to, place(1 - side));
                            self.datagrams.push((side, bytes.clone()));
                            if !self.cut {
                                self.ends[1 - side].receive(self.now, place(side), &bytes);
                            }
                        }
                        Output::Packet(bytes) => self.packets[side].push(bytes),
                        Output::Note(code, text) => self.notes.push(format!("{code}: {text}")),
                        Output::Secret(_) => {}
                        Output::Lost(_, reason) => self.lost.push(reason),
                        Output::NotTaken => self.untaken += 1,
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        let until = self.now + Nanos::from_secs(seconds);
        while let Some(next) =
            self.ends.iter().filter_map(Interface::next_deadline).min().filter(|at| *at <= until)
        {
            self.now = self.now.max(next);
            self.ends.iter_mut().for_each(|end| end.tick(next));
            self.settle();
        }
        self.now = until;
    }

    /// Who sent messages of which type and length, since the last look.
    fn wire(&mut self) -> Vec<(usize, u8, usize)> {
        self.datagrams.drain(..).map(|(side, bytes)| (side, bytes[0], bytes.len())).collect()
    }
}

#[test]
fn the_first_packet_waits_for_a_handshake_of_two_messages() {
    let mut pair = Pair::new();
    pair.send(0, 1420);
    // Whitepaper, 5.4: 148 and 92 bytes; then a header of 16 and a tag of 16 around the packet.
    assert_eq!(pair.wire(), [(0, 1, 148), (1, 2, 92), (0, 4, 1420 + 32)]);
    assert_eq!(pair.packets[1], [packet(0, 1420)]);
    pair.send(1, 50);
    // Padded to a multiple of 16, and as it was when it comes out.
    assert_eq!(pair.wire(), [(1, 4, 64 + 32)]);
    assert_eq!(pair.packets[0], [packet(1, 50)]);
}

#[test]
fn whoever_only_receives_sends_an_empty_packet_after_ten_seconds() {
    let mut pair = Pair::new();
    pair.send(0, 100);
    pair.wire();
    pair.pass(9);
    assert_eq!(pair.wire(), []);
    pair.pass(2);
    assert_eq!(pair.wire(), [(1, 4, 32)]);
    pair.pass(60);
    assert_eq!(pair.wire(), [], "nothing more to say");
}

#[test]
fn the_initiator_makes_a_new_key_after_two_minutes_when_it_has_something_to_send() {
    let mut pair = Pair::new();
    pair.send(0, 100);
    pair.pass(119);
    pair.wire();
    pair.send(1, 100);
    assert_eq!(pair.wire(), [(1, 4, 144)]);
    pair.pass(2);
    pair.send(1, 100);
    assert_eq!(pair.wire(), [(1, 4, 144)], "the responder does not");
    pair.send(0, 100);
    assert_eq!(pair.wire(), [(0, 4, 144), (0, 1, 148), (1, 2, 92), (0, 4, 32)]);
    pair.pass(100);
    pair.wire();
    pair.send(0, 100);
    assert_eq!(pair.wire(), [(0, 4, 144)], "the new key is good");
}

#[test]
fn a_dead_key_is_not_used_and_either_side_may_ask_for_a_new_one() {
    let mut pair = Pair::new();
    pair.send(0, 100);
    pair.pass(200);
    pair.wire();
    pair.send(1, 100);
    assert_eq!(pair.wire(), [(1, 1, 148), (0, 2, 92), (1, 4, 144)]);
}

#[test]
fn silence_makes_a_new_handshake_and_ninety_seconds_of_it_an_end() {
    let mut pair = Pair::new();
    pair.send(0, 100);
    pair.wire();
    pair.cut = true;
    pair.send(0, 100);
    pair.pass(14);
    assert!(!pair.wire().iter().any(|(side, kind, _)| (*side, *kind) == (0, 1)));
    pair.pass(2);
    let tries = |pair: &mut Pair| pair.wire().iter().filter(|m| (m.0, m.1) == (0, 1)).count();
    assert_eq!(tries(&mut pair), 1);
    pair.pass(200);
    assert_eq!(tries(&mut pair), 18, "again every 5 s for 90 s");
    assert!(pair.notes.iter().any(|n| n.starts_with("wireguard.given-up")), "{:?}", pair.notes);
    assert_eq!(pair.lost, [], "what the old key sealed is gone on the wire, and nothing waited");
    pair.send(0, 100);
    pair.pass(100);
    assert_eq!(pair.lost, [DropReason::TunnelRefused], "this one waited for a key that never came");
}

#[test]
fn a_message_is_taken_once_and_only_as_it_was_sealed() {
    let mut pair = Pair::new();
    pair.send(0, 100);
    let (_, data) = pair.datagrams.last().unwrap().clone();
    pair.ends[1].receive(pair.now, place(0), &data);
    let mut broken = data;
    broken[40] ^= 1;
    broken[8] = 9;
    pair.ends[1].receive(pair.now, place(0), &broken);
    let first = pair.datagrams[0].1.clone();
    pair.ends[1].receive(pair.now + Nanos::from_secs(1), place(0), &first);
    pair.settle();
    let notes = pair.notes.join("\n");
    for why in ["received before", "not sealed with the key", "a replay"] {
        assert!(notes.contains(why), "{why}: {notes}");
    }
    assert_eq!(pair.packets[1].len(), 1);
}

#[test]
fn a_peer_that_moves_is_answered_where_it_is() {
    let mut pair = Pair::new();
    pair.send(0, 100);
    pair.ends[0].send(pair.now, packet(0, 100), FrameId::NONE).unwrap();
    let Output::Datagram { bytes, .. } = pair.ends[0].take().remove(0) else { panic!() };
    let moved: SocketAddr = "192.0.2.77:4000".parse().unwrap();
    pair.ends[1].receive(pair.now, moved, &bytes);
    pair.ends[1].send(pair.now, packet(1, 100), FrameId::NONE).unwrap();
    let to = pair.ends[1].take().into_iter().find_map(|o| match o {
        Output::Datagram { to, .. } => Some(to),
        _ => None,
    });
    assert_eq!(to, Some(moved));
}

#[test]
fn addresses_that_a_peer_may_not_have_are_refused_both_ways() {
    let mut pair = Pair::new();
    let mut odd = packet(0, 60);
    odd[16] = 11;
    let refused = pair.ends[0].send(pair.now, odd, FrameId::NONE).unwrap_err();
    assert_eq!(refused.to_string(), "no peer has 11.2.0.9 among its allowed addresses");
    assert!(pair.ends[0].send(pair.now, vec![0x60; 60], FrameId::NONE).is_err());
    let unknown = pair.ends[1].send(pair.now, packet(1, 60), FrameId::NONE).unwrap_err();
    assert_eq!(unknown.to_string(), "nobody knows yet where left is");
    let mut forged = packet(0, 60);
    forged[13] = 9;
    pair.ends[0].send(pair.now, forged, FrameId::NONE).unwrap();
    pair.settle();
    assert!(
        pair.notes.last().unwrap().contains("10.9.0.7 is not among its allowed addresses"),
        "{:?}",
        pair.notes
    );
    assert_eq!((pair.packets[1].len(), pair.untaken), (0, 1));
}

#[test]
fn another_shared_key_gives_no_common_one() {
    let mut pair = Pair::of([interface(0, [1; 32]), interface(1, [2; 32])]);
    pair.send(0, 100);
    assert_eq!(pair.wire(), [(0, 1, 148), (1, 2, 92)]);
    assert!(pair.notes.iter().any(|n| n.contains("its handshake is not authentic")), "{:?}", pair.notes);
    let mut same = Pair::of([interface(0, [7; 32]), interface(1, [7; 32])]);
    same.send(0, 100);
    assert_eq!(same.packets[1].len(), 1);
}

#[test]
fn whoever_does_not_know_the_public_key_is_not_heard() {
    let mut right = interface(1, [0; 32]);
    let mut wrong = config(0, [0; 32]);
    wrong.peers[0].public = public_key(&[9; 32]);
    let mut left = Interface::new(Time::ZERO, wrong, 1, Rng::stream(1, "x", "wireguard"));
    left.send(Time(1), packet(0, 60), FrameId::NONE).unwrap();
    for output in left.take() {
        if let Output::Datagram { bytes, .. } = output {
            right.receive(Time(1), place(0), &bytes);
        }
    }
    let all = right.take();
    assert!(!all.iter().any(|o| matches!(o, Output::Datagram { .. })));
    assert!(all.iter().any(|o| matches!(o, Output::Note(_, text) if text.contains("mac1"))));
}

#[test]
fn a_busy_machine_asks_for_a_cookie_and_lets_in_who_has_it() {
    let mut pair = Pair::new();
    // Somebody else knocks all the time, with messages whose mac1 is right.
    let mut other = interface(0, [0; 32]);
    other.send(Time(1), packet(0, 60), FrameId::NONE).unwrap();
    let knock = other.take().into_iter().find_map(|o| match o {
        Output::Datagram { bytes, .. } => Some(bytes),
        _ => None,
    });
    let (knock, flood) = (knock.unwrap(), "192.0.2.9:1".parse().unwrap());
    for _ in 0..=BUSY {
        pair.ends[1].receive(pair.now, flood, &knock);
    }
    pair.ends[1].take();
    pair.send(0, 100);
    assert_eq!(pair.wire(), [(0, 1, 148), (1, 3, 64)]);
    assert!(pair.packets[1].is_empty());
    // The next attempt is made under the same load.
    let next = pair.ends[0].next_deadline().unwrap();
    pair.now = next;
    for _ in 0..=BUSY {
        pair.ends[1].receive(next, flood, &knock);
    }
    pair.ends[1].take();
    pair.ends[0].tick(next);
    pair.settle();
    assert_eq!(pair.wire(), [(0, 1, 148), (1, 2, 92), (0, 4, 144)]);
    assert_eq!(pair.packets[1].len(), 1);
}

#[test]
fn persistent_keepalives_hold_a_mapping_open() {
    let mut left = config(0, [0; 32]);
    left.peers[0].persistent_keepalive = Some(Nanos::from_secs(25));
    let left = Interface::new(Time(1_000_000_000), left, 1, Rng::stream(1, "left", "wireguard"));
    let mut pair = Pair::of([left, interface(1, [0; 32])]);
    pair.pass(100);
    let empty = pair.wire().iter().filter(|m| **m == (0, 4, 32)).count();
    assert_eq!(empty, 4, "one to confirm the key, and at 50, 75 and 100 s");
}

#[test]
fn nothing_that_comes_makes_it_fall_over() {
    let mut pair = Pair::new();
    pair.send(0, 100);
    let all: Vec<Vec<u8>> = pair.datagrams.iter().map(|(_, bytes)| bytes.clone()).collect();
    let mut rng = Rng::stream(1, "x", "fuzz");
    for round in 0..3_000 {
        let mut bytes = all[round % all.len()].clone();
        let at = rng.below(bytes.len() as u64) as usize;
        match rng.below(3) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << rng.below(8),
            _ => rng.fill(&mut bytes[4..]),
        }
        pair.ends[round % 2].receive(pair.now, place(0), &bytes);
        pair.ends[round % 2].take();
    }
    pair.send(0, 200);
    assert_eq!(pair.packets[1].last(), Some(&packet(0, 200)), "and the key is still good");
}

#[test]
fn base64_is_that_of_rfc_4648() {
    for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(super::interface::base64(plain.as_bytes()), text);
    }
}
