//! Seeded dice: one stream per (seed, node, purpose), so that a new feature does not move an old choice.
//!
//! xoshiro256++ (Blackman and Vigna, 2019), seeded through SplitMix64. Not for real-world secrets: everything here is
//! reproducible by design.

use serde::{Deserialize, Serialize};

/// A deterministic random stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng {
    s: [u64; 4],
}

impl Rng {
    /// The stream of `(seed, who, purpose)`, such as `(7, "home.laptop", "tcp.isn")`.
    #[must_use]
    pub fn stream(seed: u64, who: &str, purpose: &str) -> Rng {
        // FNV-1a over the names; the zero byte keeps ("ab", "c") and ("a", "bc") apart.
        let mut h: u64 = 0xcbf2_9ce4_8422_2325;
        for b in who.bytes().chain([0]).chain(purpose.bytes()) {
            h = (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let mut x = seed ^ h.rotate_left(32);
        Rng { s: core::array::from_fn(|_| split_mix(&mut x)) }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.s;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// Evenly in `0..n` (Lemire's multiply and shift; the bias is below 2^-32 for n < 2^32). Zero when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// True with probability `ppm` in a million.
    pub fn chance_ppm(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }

    /// Fills `buf`.
    pub fn fill(&mut self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

fn split_mix(x: &mut u64) -> u64 {
    *x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *x;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn streams_differ_by_seed_node_and_purpose() {
        let first = |seed, who, what| Rng::stream(seed, who, what).next_u64();
        let all = [
            first(1, "a", "x"),
            first(2, "a", "x"),
            first(1, "b", "x"),
            first(1, "a", "y"),
            first(1, "ax", ""),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        assert_eq!(first(1, "a", "x"), all[0]);
    }

    #[test]
    fn below_stays_below() {
        let mut r = Rng::stream(1, "t", "t");
        assert!((0..1000).all(|_| r.below(7) < 7));
        assert_eq!(r.below(0), 0);
    }
}
