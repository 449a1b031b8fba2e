//! The receive buffer against a model that cannot be wrong: an array with one slot per byte.

use proptest::prelude::*;
use rt_wire::Seq;

use crate::tcp::recv_buffer::{RecvBuffer, Stored};

/// One slot per byte of the stream.
struct Model {
    held: Vec<bool>,
    read: usize,
}

impl Model {
    fn next(&self) -> usize {
        self.held.iter().position(|h| !h).unwrap_or(self.held.len())
    }

    /// Ranges held beyond the first hole.
    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (i, _) in self.held.iter().enumerate().skip(self.next()).filter(|(_, held)| **held) {
            match ranges.last_mut() {
                Some(last) if last.1 == i as u64 => last.1 += 1,
                _ => ranges.push((i as u64, i as u64 + 1)),
            }
        }
        ranges
    }
}

fn pattern(at: usize) -> u8 {
    (at ^ (at >> 7)) as u8
}

const SPAN: usize = 4000;

/// A piece of the stream, or a read of so many bytes.
#[derive(Clone, Debug)]
enum Step {
    Store(usize, usize),
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let store = (0..SPAN, 1usize..700).prop_map(|(at, len)| Step::Store(at, len.min(SPAN - at)));
    prop::collection::vec(prop_oneof![6 => store, 1 => (1usize..900).prop_map(Step::Read)], 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(2018), ..ProptestConfig::default() })]

    //= rfc2018#4
    //= type=test
    #[test]
    fn any_order_and_overlap(steps in steps()) {
        let mut buffer = RecvBuffer::default();
        let mut model = Model { held: vec![false; SPAN], read: 0 };
        for step in steps {
            match step {
                Step::Store(at, len) => store(&mut buffer, &mut model, at, len),
                Step::Read(n) => read(&mut buffer, &mut model, n),
            }
        }
        read(&mut buffer, &mut model, SPAN);
        prop_assert_eq!(buffer.readable(), 0);
    }
}

fn store(buffer: &mut RecvBuffer, model: &mut Model, at: usize, len: usize) {
    let bytes: Vec<u8> = (at..at + len).map(pattern).collect();
    let before = model.next();
    let new = model.held[at..at + len].iter().any(|h| !h);
    model.held[at..at + len].fill(true);
    let stored = buffer.store(at as u64, &bytes);
    match stored {
        Stored::InOrder(n) => assert_eq!(n as usize, model.next() - before),
        Stored::Beyond => assert!(new && model.next() == before),
        Stored::Duplicate => assert!(!new),
        Stored::Refused => panic!("few holes"),
    }
    assert_eq!(buffer.next() as usize, model.next());
    let ranges = model.ranges();
    assert_eq!(buffer.has_holes(), !ranges.is_empty());
    let mut blocks = Vec::new();
    let nxt = Seq(u32::MAX - 1000);
    buffer.sack_blocks(nxt, 4, |left, right| {
        let offset = |s: Seq| buffer.next() + u64::from(s - nxt);
        blocks.push((offset(left), offset(right)));
    });
    assert!(blocks.iter().all(|b| ranges.contains(b)), "{blocks:?} of {ranges:?}");
    assert!(blocks.len() <= ranges.len());
    assert!((1..blocks.len()).all(|i| !blocks[..i].contains(&blocks[i])), "told twice: {blocks:?}");
    if stored == Stored::Beyond {
        assert!((blocks[0].0..blocks[0].1).contains(&(at as u64)), "the newest comes first: {blocks:?}");
    }
}

fn read(buffer: &mut RecvBuffer, model: &mut Model, n: usize) {
    let mut buf = vec![0; n];
    let got = buffer.read_into(&mut buf);
    assert_eq!(got, n.min(model.next() - model.read));
    assert!(buf[..got].iter().enumerate().all(|(i, b)| *b == pattern(model.read + i)));
    model.read += got;
}
