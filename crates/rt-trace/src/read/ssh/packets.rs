//! One direction: bytes to packets, opened where there is a key.

use ring::aead::chacha20_poly1305_openssh::{OpeningKey, TAG_LEN};

use crate::read::Span;
use crate::read::mark::Origins;

/// Longest packet (OpenSSH's bound).
const LONGEST: usize = 256 << 10;
/// Longest version line, or line before it.
const LONGEST_LINE: usize = 8 << 10;

/// A packet's payload and where it was.
pub(super) struct Packet {
    pub(super) payload: Vec<u8>,
    pub(super) span: Span,
    pub(super) sealed: bool,
}

#[derive(Default)]
pub(super) struct Direction {
    bytes: Vec<u8>,
    /// Offset in the stream of `bytes[0]`.
    at: u64,
    origins: Origins,
    key: Option<OpeningKey>,
    sequence: u32,
    length: Option<usize>,
    /// Whether the version line has come.
    pub(super) versioned: bool,
    /// Whether NEWKEYS has come.
    pub(super) keyed: bool,
    /// Nothing more can be read.
    deaf: bool,
}

impl std::fmt::Debug for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direction").field("sequence", &self.sequence).field("keyed", &self.keyed).finish()
    }
}

impl Direction {
    pub(super) fn push(&mut self, bytes: &[u8], span: Span) {
        self.origins.push(bytes.len() as u64, span);
        if !self.deaf {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Bytes that are there and not read.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, n: usize) -> (Vec<u8>, Span) {
        let rest = self.bytes.split_off(n.min(self.bytes.len()));
        let taken = std::mem::replace(&mut self.bytes, rest);
        let span = self.origins.span(self.at, self.at + taken.len() as u64);
        self.at += taken.len() as u64;
        (taken, span)
    }

    /// The next line, without its end.
    pub(super) fn line(&mut self) -> Option<(String, Span)> {
        let Some(end) = self.bytes.iter().position(|b| *b == b'\n') else {
            if self.bytes.len() > LONGEST_LINE {
                (self.deaf, self.bytes) = (true, Vec::new());
            }
            return None;
        };
        let (line, span) = self.take(end + 1);
        Some((String::from_utf8_lossy(&line).trim_end().to_owned(), span))
    }

    /// From now on packets are sealed, with this key if it is known.
    pub(super) fn rekey(&mut self, key: Option<&[u8; 64]>, reset: bool) {
        self.key = key.map(OpeningKey::new);
        self.keyed = true;
        self.deaf = key.is_none();
        if reset {
            self.sequence = 0;
        }
    }

    /// The next packet; `None` while it is not whole, or when nobody can read it.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, &'static str> {
        if self.deaf {
            self.bytes.clear();
            return Ok(None);
        }
        let Some(head) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let plain = self.key.as_ref().map_or(*head, |key| key.decrypt_packet_length(self.sequence, *head));
        let length = *self.length.get_or_insert(u32::from_be_bytes(plain) as usize);
        if !(5..=LONGEST).contains(&length) {
            (self.deaf, self.bytes) = (true, Vec::new());
            return Err("a packet has an impossible length");
        }
        let tag = if self.key.is_some() { TAG_LEN } else { 0 };
        if self.bytes.len() < 4 + length + tag {
            return Ok(None);
        }
        let (mut packet, span) = self.take(4 + length + tag);
        self.length = None;
        if let Some(key) = &self.key {
            let sealed = packet.split_off(4 + length);
            let opened = <[u8; TAG_LEN]>::try_from(sealed).ok();
            let opened =
                opened.is_some_and(|tag| key.open_in_place(self.sequence, &mut packet, &tag).is_ok());
            if !opened {
                (self.deaf, self.bytes) = (true, Vec::new());
                return Err("the key log's secret does not open a packet");
            }
        }
        self.sequence = self.sequence.wrapping_add(1);
        let padding = usize::from(packet[4]);
        let end = packet.len().saturating_sub(padding).max(5);
        packet.truncate(end);
        packet.drain(..5);
        Ok(Some(Packet { payload: packet, span, sealed: self.keyed }))
    }
}
