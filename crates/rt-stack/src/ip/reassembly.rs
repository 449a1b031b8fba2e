//! Putting fragments together (RFC 791, 3.2; RFC 815's task with a map instead of hole descriptors).
//!
//! Main type: [`Reassembly`]. The frames themselves are kept until the datagram is whole, so that each one ends with its
//! own reason when it is not. A datagram with overlapping fragments is given up altogether (Linux does so since 2018;
//! RFC 5722 demands it of IPv6); an exact repetition of a fragment is only dropped itself. Bounds: 64 datagrams and 4 MiB
//! at a time, 1,024 fragments a datagram, 30 s from the first fragment (Linux `ipfrag_time`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use rt_base::{EventId, Frame, FrameId, Nanos, Outbox, PortId, Time};
use rt_wire::Ipv4Header;

use crate::packet::{EMPTY_ETHERNET, ETHERNET, Packet};

const LIFETIME: Nanos = Nanos::from_secs(30);
const MOST_DATAGRAMS: usize = 64;
const MOST_FRAGMENTS: usize = 1_024;
const MOST_BYTES: usize = 4 << 20;
const LONGEST: usize = 65_535 - Ipv4Header::LEN;

/// What became of a fragment.
#[derive(Debug)]
#[must_use]
pub(crate) enum Put {
    /// It waits for the others.
    Waits,
    /// The datagram is whole.
    Whole(Box<Packet>),
    /// These frames are refused: the fragment, and with an overlap all that waited with it.
    Refused(Vec<Frame>),
}

/// A datagram whose time is up.
#[derive(Debug)]
pub(crate) struct Expired {
    /// All its frames, the first fragment first if it came.
    pub(crate) frames: Vec<Frame>,
    /// Whether `frames[0]` is the first fragment (then ICMP time exceeded is due).
    pub(crate) has_first: bool,
    /// Where it arrived.
    pub(crate) port: PortId,
    /// Since when its timer ran, and because of what.
    pub(crate) armed: (EventId, Time),
}

/// (source, destination, protocol, identification): RFC 791 names a datagram so.
type Key = (Ipv4Addr, Ipv4Addr, u8, u16);

#[derive(Debug)]
struct Datagram {
    pieces: BTreeMap<u16, Frame>,
    /// Payload length, once the last fragment is here.
    len: Option<usize>,
    held: usize,
    deadline: Time,
    armed: (EventId, Time),
    port: PortId,
}

/// Datagrams in pieces.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    datagrams: BTreeMap<Key, Datagram>,
    bytes: usize,
}

impl Reassembly {
    /// Takes a fragment that arrived.
    pub(crate) fn put(&mut self, now: Time, packet: Packet, out: &mut Outbox) -> Put {
        let ip = packet.ip;
        let port = packet.in_port.unwrap_or_default();
        let key = (ip.src, ip.dst, ip.protocol, ip.id);
        let (start, len) = (usize::from(ip.frag_offset), packet.payload().len());
        let misaligned = ip.mf && len % 8 != 0;
        let full = self.bytes + len > MOST_BYTES
            || (self.datagrams.len() >= MOST_DATAGRAMS && !self.datagrams.contains_key(&key));
        if len == 0 || misaligned || start + len > LONGEST || full {
            return Put::Refused(vec![packet.frame]);
        }
        let armed = (out.cause(), now);
        let datagram = self.datagrams.entry(key).or_insert_with(|| Datagram {
            pieces: BTreeMap::new(),
            len: None,
            held: 0,
            deadline: now + LIFETIME,
            armed,
            port,
        });
        if datagram.repeats(&packet) {
            return Put::Refused(vec![packet.frame]);
        }
        //= rfc5722#4 MUST (of IPv6; Linux does the same to IPv4)
        if datagram.clashes(start, len, ip.mf) || datagram.pieces.len() >= MOST_FRAGMENTS {
            return self.give_up(key, packet.frame);
        }
        if !ip.mf {
            datagram.len = Some(start + len);
        }
        datagram.held += len;
        self.bytes += len;
        datagram.pieces.insert(ip.frag_offset, packet.frame);
        if datagram.len != Some(datagram.held) {
            return Put::Waits;
        }
        match self.remove(key) {
            Some(datagram) => Put::Whole(Box::new(datagram.join(packet.in_port, packet.from_group, out))),
            None => Put::Waits,
        }
    }

    fn give_up(&mut self, key: Key, newest: Frame) -> Put {
        let mut frames: Vec<Frame> =
            self.remove(key).map(|d| d.pieces.into_values().collect()).unwrap_or_default();
        frames.push(newest);
        Put::Refused(frames)
    }

    fn remove(&mut self, key: Key) -> Option<Datagram> {
        let datagram = self.datagrams.remove(&key)?;
        self.bytes -= datagram.held;
        Some(datagram)
    }

    /// When the next datagram expires.
    pub(crate) fn deadline(&self) -> Time {
        self.datagrams.values().map(|d| d.deadline).min().unwrap_or(Time::MAX)
    }

    /// A datagram whose time is up, if there is one.
    pub(crate) fn expire(&mut self, now: Time) -> Option<Expired> {
        let key = *self.datagrams.iter().find(|(_, d)| d.deadline <= now)?.0;
        let datagram = self.remove(key)?;
        let has_first = datagram.pieces.contains_key(&0);
        let (port, armed) = (datagram.port, datagram.armed);
        Some(Expired { frames: datagram.pieces.into_values().collect(), has_first, port, armed })
    }
}

impl Datagram {
    /// Whether the same bytes are here already.
    fn repeats(&self, packet: &Packet) -> bool {
        self.pieces.get(&packet.ip.frag_offset).is_some_and(|old| payload(old) == packet.payload())
    }

    /// Whether a piece overlaps another, lies beyond the end, or moves the end.
    fn clashes(&self, start: usize, len: usize, more: bool) -> bool {
        let end = start + len;
        let end_of = |at: &u16, piece: &Frame| usize::from(*at) + payload(piece).len();
        let before = self.pieces.range(..=start as u16).next_back();
        let after = self.pieces.range(start as u16..).next();
        let last = self.pieces.iter().next_back();
        before.is_some_and(|(at, piece)| end_of(at, piece) > start)
            || after.is_some_and(|(at, _)| usize::from(*at) < end)
            || self.len.is_some_and(|whole| end > whole || !more)
            || (!more && last.is_some_and(|(at, piece)| end_of(at, piece) > end))
    }

    /// The whole datagram. It takes up the identity of the frame that the fragments came from, when they agree on one.
    fn join(mut self, in_port: Option<PortId>, from_group: bool, out: &mut Outbox) -> Packet {
        let first = self.pieces.remove(&0).expect("invariant: no holes, so there is a piece at 0");
        let (mut ip, _) =
            Ipv4Header::parse_unchecked(&first.bytes[ETHERNET..]).expect("invariant: parsed when it came");
        let len = self.len.unwrap_or_default();
        (ip.header_len, ip.mf) = (Ipv4Header::LEN as u8, false);
        ip.total_len = (Ipv4Header::LEN + len) as u16;
        let mut bytes = out.buffer(ETHERNET + usize::from(ip.total_len));
        bytes.extend_from_slice(&EMPTY_ETHERNET);
        ip.emit(&mut bytes);
        bytes.extend_from_slice(payload(&first));
        let parent = first.parent;
        let mut agreed = !parent.is_none();
        for piece in self.pieces.into_values() {
            agreed &= piece.parent == parent;
            bytes.extend_from_slice(payload(&piece));
            out.recycle(piece.bytes);
        }
        let mut frame = if agreed {
            Frame { id: parent, parent: FrameId::NONE, bytes }
        } else {
            out.new_frame(bytes, first.id)
        };
        frame.bytes.truncate(ETHERNET + usize::from(ip.total_len));
        out.recycle(first.bytes);
        Packet { in_port, from_group, ..Packet::unparsed(frame, ip) }
    }
}

/// What follows the IP header of a fragment.
fn payload(frame: &Frame) -> &[u8] {
    let header = frame.bytes.get(ETHERNET).map_or(Ipv4Header::LEN, |b| usize::from(b & 0x0f) * 4);
    frame.bytes.get(ETHERNET + header..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fragment(out: &mut Outbox, start: usize, bytes: &[u8], more: bool) -> Packet {
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut ip = Ipv4Header::new(src, dst, 17, 64, bytes.len());
        (ip.mf, ip.frag_offset, ip.id) = (more, start as u16, 7);
        let mut frame = EMPTY_ETHERNET.to_vec();
        ip.emit(&mut frame);
        frame.extend_from_slice(bytes);
        Packet::unparsed(out.new_frame(frame, FrameId::NONE), ip)
    }

    /// The model: who has which byte, and the end once known. `None` when the datagram is given up.
    #[derive(Default)]
    struct Model {
        pieces: Vec<(usize, usize, bool)>,
    }

    impl Model {
        fn fits(&self, new: (usize, usize, bool)) -> bool {
            self.pieces.iter().all(|old| {
                let apart = old.1 <= new.0 || new.1 <= old.0;
                let ends = |last: &(usize, usize, bool), other: &(usize, usize, bool)| {
                    last.2 || (other.1 <= last.1 && other.2)
                };
                apart && ends(old, &new) && ends(&new, old)
            })
        }

        fn is_whole(&self) -> bool {
            let held: usize = self.pieces.iter().map(|p| p.1 - p.0).sum();
            self.pieces.iter().any(|p| !p.2 && p.1 == held)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(791), ..ProptestConfig::default() })]

        //= rfc5722#4
        //= type=test
        #[test]
        fn any_fragments_in_any_order(
            cuts in prop::collection::btree_set(1usize..30, 0..6),
            order in prop::collection::vec(any::<prop::sample::Index>(), 1..24),
            stray in prop::option::weighted(0.3, (0usize..20, (0usize..30, 1usize..60), any::<bool>())),
        ) {
            let text: Vec<u8> = (0..243u8).collect();
            let edges: Vec<usize> = [0].into_iter().chain(cuts.iter().map(|c| c * 8)).chain([text.len()]).collect();
            let mut list: Vec<(usize, usize, bool)> =
                order.iter().map(|i| i.index(edges.len() - 1)).map(|i| (edges[i], edges[i + 1], i + 2 < edges.len())).collect();
            if let Some((when, (at, len), more)) = stray {
                let end = (at * 8 + if more { len.next_multiple_of(8) } else { len }).min(240);
                if end > at * 8 {
                    list.insert(when.min(list.len()), (at * 8, end, more));
                }
            }
            feed(&text, &list)?;
        }
    }

    /// Gives the pieces to a machine and to the model, which must agree about each.
    fn feed(text: &[u8], list: &[(usize, usize, bool)]) -> Result<(), TestCaseError> {
        let (mut out, mut reassembly, mut model) =
            (Outbox::new(false), Reassembly::default(), Model::default());
        for &piece in list {
            let packet = fragment(&mut out, piece.0, &text[piece.0..piece.1], piece.2);
            let put = reassembly.put(Time::ZERO, packet, &mut out);
            let again = model.pieces.iter().any(|p| (p.0, p.1) == (piece.0, piece.1));
            if again {
                prop_assert!(matches!(put, Put::Refused(frames) if frames.len() == 1));
            } else if !model.fits(piece) {
                let all = model.pieces.len() + 1;
                prop_assert!(matches!(put, Put::Refused(frames) if frames.len() == all));
                model.pieces.clear();
            } else {
                model.pieces.push(piece);
                if model.is_whole() {
                    let Put::Whole(whole) = put else { return Err(TestCaseError::fail("it is whole")) };
                    let len = model.pieces.iter().map(|p| p.1).max().unwrap_or(0);
                    prop_assert_eq!(whole.payload(), &text[..len]);
                    model.pieces.clear();
                } else {
                    prop_assert!(matches!(put, Put::Waits));
                }
            }
            let held: usize = model.pieces.iter().map(|p| p.1 - p.0).sum();
            prop_assert_eq!(reassembly.bytes, held);
            prop_assert_eq!(reassembly.deadline() == Time::MAX, model.pieces.is_empty());
        }
        Ok(())
    }

    //= rfc5722#4
    //= type=test
    /// Every way in which three fragments of up to 28 bytes can lie beside, inside, across or on each other, the last one or
    /// not, in every order.
    #[test]
    fn three_fragments_in_every_relation() {
        let text: Vec<u8> = (0..32).collect();
        let edges = [0, 8, 16, 24, 28];
        let mut pieces = Vec::new();
        for (i, &start) in edges.iter().enumerate().take(4) {
            for &end in &edges[i + 1..] {
                pieces.push((start, end, false));
                pieces.extend((end % 8 == 0).then_some((start, end, true)));
            }
        }
        let mut across = 0;
        for (a, b, c) in pieces
            .iter()
            .flat_map(|a| pieces.iter().map(move |b| (a, b)))
            .flat_map(|(a, b)| pieces.iter().map(move |c| (*a, *b, *c)))
        {
            across += usize::from(a.0 < b.0 && b.0 < a.1 && a.1 < b.1);
            feed(&text, &[a, b, c]).unwrap_or_else(|e| panic!("{a:?} {b:?} {c:?}: {e}"));
        }
        assert!(across > 100, "partial overlaps are among them: {across}");
    }
}
