//! Packets of RFC 4253, section 6: framing, padding, and `chacha20-poly1305@openssh.com` (OpenSSH's `PROTOCOL.chacha20poly1305`)
//! once there are keys. One direction of a connection each.

use ring::aead::chacha20_poly1305_openssh::{OpeningKey, SealingKey, TAG_LEN};
use rt_base::Rng;

/// Bytes of the length field.
const LENGTH: usize = 4;
/// Packets are padded to a multiple of this (RFC 4253, section 6; the cipher's block is that long as well).
const BLOCK: usize = 8;
/// Least padding.
const PADDING: usize = 4;
/// Longest packet that is taken, as OpenSSH's.
//= rfc4253#section-6.1
//# Implementations SHOULD support longer packets, where they might be
//# needed.
const LONGEST: usize = 256 << 10;

/// Why packets cannot be read any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// The length is impossible.
    Length,
    /// The tag does not fit: somebody changed it, or has another key.
    Tag,
}

/// Packets on their way out.
#[derive(Default)]
pub(super) struct Sealer {
    key: Option<SealingKey>,
    sequence: u32,
}

impl Sealer {
    /// From now on with this key; `reset` counts packets from zero again (strict key exchange).
    pub(super) fn rekey(&mut self, key: &[u8; 64], reset: bool) {
        self.key = Some(SealingKey::new(key));
        if reset {
            self.sequence = 0;
        }
    }

    /// Appends a packet with this payload.
    pub(super) fn seal(&mut self, payload: &[u8], rng: &mut Rng, out: &mut Vec<u8>) {
        // With this cipher the length is sealed by itself and does not count to the blocks.
        let counted = if self.key.is_some() { 1 + payload.len() } else { LENGTH + 1 + payload.len() };
        let mut padding = BLOCK - counted % BLOCK;
        if padding < PADDING {
            padding += BLOCK;
        }
        let mut pad = [0; BLOCK + PADDING];
        rng.fill(&mut pad);
        let length = u32::try_from(1 + payload.len() + padding).unwrap_or(u32::MAX);
        let start = out.len();
        out.extend(length.to_be_bytes());
        out.push(padding as u8);
        out.extend(payload);
        out.extend(&pad[..padding]);
        if let Some(key) = &self.key {
            let mut tag = [0; TAG_LEN];
            key.seal_in_place(self.sequence, &mut out[start..], &mut tag);
            out.extend(tag);
        }
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// Packets that come in.
#[derive(Default)]
pub(super) struct Opener {
    key: Option<OpeningKey>,
    sequence: u32,
    /// The length of the packet at the front, once its first four bytes were opened.
    length: Option<usize>,
}

impl Opener {
    pub(super) fn rekey(&mut self, key: &[u8; 64], reset: bool) {
        self.key = Some(OpeningKey::new(key));
        if reset {
            self.sequence = 0;
        }
    }

    /// The number of the packet that was opened last.
    pub(super) fn last(&self) -> u32 {
        self.sequence.wrapping_sub(1)
    }

    /// Takes the payload of the first packet off `bytes`; `None` while it is not whole.
    pub(super) fn open(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Broken> {
        let Some(head) = bytes.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = match self.length {
            Some(length) => length,
            None => {
                let plain = match &self.key {
                    Some(key) => key.decrypt_packet_length(self.sequence, *head),
                    None => *head,
                };
                let length = u32::from_be_bytes(plain) as usize;
                let aligned = if self.key.is_some() { length } else { LENGTH + length };
                if !(1 + PADDING..=LONGEST).contains(&length) || !aligned.is_multiple_of(BLOCK) {
                    return Err(Broken::Length);
                }
                self.length = Some(length);
                length
            }
        };
        let tag_len = if self.key.is_some() { TAG_LEN } else { 0 };
        let whole = LENGTH + length + tag_len;
        if bytes.len() < whole {
            return Ok(None);
        }
        let rest = bytes.split_off(whole);
        let mut packet = std::mem::replace(bytes, rest);
        if let Some(key) = &self.key {
            let tag: [u8; TAG_LEN] =
                packet.split_off(LENGTH + length).try_into().expect("invariant: split where the tag begins");
            key.open_in_place(self.sequence, &mut packet, &tag).map_err(|_| Broken::Tag)?;
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.length = None;
        let padding = usize::from(packet[LENGTH]);
        let end = packet.len().checked_sub(padding).filter(|end| *end > LENGTH && padding >= PADDING);
        let end = end.ok_or(Broken::Length)?;
        packet.truncate(end);
        packet.drain(..=LENGTH);
        Ok(Some(packet))
    }
}

#[cfg(test)]
mod tests {
    use rt_base::Rng;

    use super::{Broken, Opener, Sealer};

    fn sealed(keyed: bool) -> (Vec<u8>, Opener) {
        let (mut sealer, mut opener) = (Sealer::default(), Opener::default());
        if keyed {
            sealer.rekey(&[7; 64], true);
            opener.rekey(&[7; 64], true);
        }
        let (mut rng, mut out) = (Rng::stream(1, "a", "pad"), Vec::new());
        for len in 1..40_u8 {
            sealer.seal(&vec![len; usize::from(len)], &mut rng, &mut out);
        }
        (out, opener)
    }

    #[test]
    fn what_is_sealed_is_opened_in_any_pieces() {
        for (keyed, piece) in [(false, 1), (true, 1), (false, 1000), (true, 1000)] {
            let (bytes, mut opener) = sealed(keyed);
            let (mut came, mut next) = (Vec::new(), 1);
            for piece in bytes.chunks(piece) {
                came.extend(piece);
                while let Some(payload) = opener.open(&mut came).unwrap() {
                    assert_eq!(payload, vec![next; usize::from(next)]);
                    next += 1;
                }
            }
            assert_eq!((next, came.len(), opener.last()), (40, 0, 38));
        }
    }

    #[test]
    fn a_changed_bit_is_noticed() {
        let (bytes, _) = sealed(true);
        for at in 0..24 {
            let (_, mut opener) = sealed(true);
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let opened = opener.open(&mut changed);
            assert!(matches!(opened, Err(Broken::Tag | Broken::Length) | Ok(None)), "{at}: {opened:?}");
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for head in [[0, 0, 0, 0], [0, 0, 0, 4], [255; 4], [0, 0, 0, 13]] {
            assert_eq!(Opener::default().open(&mut head.to_vec()), Err(Broken::Length));
        }
        // More padding than packet.
        assert_eq!(
            Opener::default().open(&mut vec![0, 0, 0, 12, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
            Err(Broken::Length)
        );
    }
}
