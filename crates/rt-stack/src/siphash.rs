//! SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash that nobody without the key can predict, as small as it is. It
//! makes the cookies of Fast Open and of SYN floods, as in Linux.

/// A key's two halves, little end first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key(pub(crate) u64, pub(crate) u64);

impl Key {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Key {
        let word = u128::from_le_bytes(bytes);
        Key(word as u64, (word >> 64) as u64)
    }
}

/// The hash of whole words, as if they stood in memory little end first.
pub(crate) fn siphash(key: Key, words: &[u64]) -> u64 {
    let mut v = [
        key.0 ^ 0x736f_6d65_7073_6575,
        key.1 ^ 0x646f_7261_6e64_6f6d,
        key.0 ^ 0x6c79_6765_6e65_7261,
        key.1 ^ 0x7465_6462_7974_6573,
    ];
    // The last word has only the length.
    let length = (words.len() as u64 * 8) << 56;
    for &word in words.iter().chain(core::iter::once(&length)) {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vector of the paper's reference code for a message of eight bytes 00 to 07.
    #[test]
    fn as_the_reference() {
        let key = Key::from_bytes(core::array::from_fn(|i| i as u8));
        let word = u64::from_le_bytes(core::array::from_fn(|i| i as u8));
        assert_eq!(siphash(key, &[word]).to_le_bytes(), [0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93]);
    }
}
