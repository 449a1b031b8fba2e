//! The TCP header and its options (RFC 9293, 7323, 2018). Options that we do not speak are skipped, as are all after a
//! malformed one (RFC 9293, 3.1 leaves this open; Linux does the same).

use core::fmt;
use core::ops::BitOr;

use serde::{Deserialize, Serialize};

use crate::{Error, Layer, Seq, be16, be32};

/// The eight flag bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Reset.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Push.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgement field counts.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// The urgent pointer counts.
    pub const URG: TcpFlags = TcpFlags(0x20);
    /// ECN echo.
    pub const ECE: TcpFlags = TcpFlags(0x40);
    /// Congestion window reduced.
    pub const CWR: TcpFlags = TcpFlags(0x80);

    /// Whether all of `flags` are set.
    #[must_use]
    pub fn has(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of `flags` is set.
    #[must_use]
    pub fn any(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 != 0
    }
}

impl BitOr for TcpFlags {
    type Output = TcpFlags;
    fn bitor(self, other: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 | other.0)
    }
}

impl fmt::Display for TcpFlags {
    /// As tcpdump: `S`, `S.`, `P.`, `F.`, `R`, `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        for (bit, letter) in "FSRP.UEW".chars().enumerate() {
            if self.0 & (1 << bit) != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The options that we speak.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TcpOptions {
    /// Maximum segment size, bytes (on SYN).
    pub mss: Option<u16>,
    /// Window shift (on SYN).
    pub window_scale: Option<u8>,
    /// The sender understands SACK (on SYN).
    pub sack_permitted: bool,
    /// Timestamps: value and echo reply (RFC 7323).
    pub timestamps: Option<(u32, u32)>,
    sack: [(Seq, Seq); 4],
    sack_count: u8,
}

impl TcpOptions {
    /// Room for options in a header, bytes.
    pub const ROOM: usize = 40;

    /// The SACK blocks: left edge, right edge (one past the last byte).
    #[must_use]
    pub fn sack(&self) -> &[(Seq, Seq)] {
        &self.sack[..usize::from(self.sack_count)]
    }

    /// Adds a SACK block; false when there is no room for it (four without timestamps, three with).
    pub fn push_sack(&mut self, left: Seq, right: Seq) -> bool {
        let fits = usize::from(self.sack_count) < self.sack.len()
            && self.emit_len() + if self.sack_count == 0 { 12 } else { 8 } <= Self::ROOM;
        if fits {
            self.sack[usize::from(self.sack_count)] = (left, right);
            self.sack_count += 1;
        }
        fits
    }

    /// Bytes that these options take when emitted, a multiple of four.
    #[must_use]
    pub fn emit_len(&self) -> usize {
        let mut len = if self.mss.is_some() { 4 } else { 0 };
        len += match (self.timestamps.is_some(), self.sack_permitted) {
            (true, _) => 12,
            (false, true) => 4,
            (false, false) => 0,
        };
        len += if self.window_scale.is_some() { 4 } else { 0 };
        let blocks = self.sack_fitting(len);
        len + if blocks > 0 { 4 + 8 * blocks } else { 0 }
    }

    /// How many SACK blocks fit after `used` bytes of other options.
    fn sack_fitting(&self, used: usize) -> usize {
        usize::from(self.sack_count).min((Self::ROOM - used).saturating_sub(4) / 8)
    }

    /// Reads options; stops quietly at the end mark or a malformed one.
    fn parse(bytes: &[u8]) -> TcpOptions {
        let mut options = TcpOptions::default();
        for (kind, body) in RawOptions(bytes) {
            match (kind, body.len()) {
                (2, 2) => options.mss = Some(be16(body, 0)),
                (3, 1) => options.window_scale = Some(body[0]),
                (4, 0) => options.sack_permitted = true,
                (5, 8..=32) => options.sack_of(body),
                (8, 8) => options.timestamps = Some((be32(body, 0), be32(body, 4))),
                _ => {}
            }
        }
        options
    }

    fn sack_of(&mut self, body: &[u8]) {
        self.sack_count = 0;
        for block in body.chunks_exact(8).take(self.sack.len()) {
            self.sack[usize::from(self.sack_count)] = (Seq(be32(block, 0)), Seq(be32(block, 4)));
            self.sack_count += 1;
        }
    }

    /// Appends them in the order that Linux uses: MSS, SACK permitted, timestamps, NOP and window scale; then SACK.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if let Some(mss) = self.mss {
            out.extend_from_slice(&[2, 4]);
            out.extend_from_slice(&mss.to_be_bytes());
        }
        if self.timestamps.is_none() && self.sack_permitted {
            out.extend_from_slice(&[1, 1, 4, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            out.extend_from_slice(if self.sack_permitted { &[4, 2, 8, 10] } else { &[1, 1, 8, 10] });
            out.extend_from_slice(&value.to_be_bytes());
            out.extend_from_slice(&echo.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            out.extend_from_slice(&[1, 3, 3, shift]);
        }
        let blocks = self.sack_fitting(out.len() - start);
        if blocks > 0 {
            out.extend_from_slice(&[1, 1, 5, 2 + 8 * blocks as u8]);
            for (left, right) in &self.sack()[..blocks] {
                out.extend_from_slice(&left.0.to_be_bytes());
                out.extend_from_slice(&right.0.to_be_bytes());
            }
        }
    }
}

/// Walks options as (kind, body); NOP has an empty body, end-of-options and malformed ones end it.
pub(crate) struct RawOptions<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for RawOptions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        match *self.0 {
            [] | [0, ..] => None,
            [1, ref rest @ ..] => {
                self.0 = rest;
                Some((1, &[]))
            }
            [kind, len, ..] if len >= 2 && usize::from(len) <= self.0.len() => {
                let (this, rest) = self.0.split_at(usize::from(len));
                self.0 = rest;
                Some((kind, &this[2..]))
            }
            _ => None,
        }
    }
}

/// A TCP header. The checksum is not a field: [`crate::checksum::fill_transport`] computes it over the whole segment
/// after `emit` left zero there, and [`crate::checksum::transport_holds`] verifies it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TcpHeader {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
    /// Sequence number of the first byte (of the SYN if it is set).
    pub seq: Seq,
    /// Next byte expected, if ACK is set.
    pub ack: Seq,
    /// Flags.
    pub flags: TcpFlags,
    /// Window as on the wire, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: TcpOptions,
}

impl TcpHeader {
    /// Bytes of a header without options.
    pub const LEN: usize = 20;

    /// Reads the header; the rest is payload.
    ///
    /// # Errors
    /// Too short, or a data offset that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<(TcpHeader, &[u8]), Error> {
        let Some(b) = bytes.first_chunk::<{ Self::LEN }>() else {
            return Err(Error::new(Layer::Tcp, "length", bytes.len()));
        };
        let offset = usize::from(b[12] >> 4) * 4;
        let options = match bytes.get(Self::LEN..offset) {
            Some([]) => TcpOptions::default(),
            Some(options) => TcpOptions::parse(options),
            None => return Err(Error::new(Layer::Tcp, "data offset", 12)),
        };
        let header = TcpHeader {
            src: be16(b, 0),
            dst: be16(b, 2),
            seq: Seq(be32(b, 4)),
            ack: Seq(be32(b, 8)),
            flags: TcpFlags(b[13]),
            window: be16(b, 14),
            urgent: be16(b, 18),
            options,
        };
        Ok((header, &bytes[offset..]))
    }

    /// Bytes that the header takes when emitted, options included.
    #[must_use]
    pub fn emit_len(&self) -> usize {
        Self::LEN + self.options.emit_len()
    }

    /// Appends the header with a checksum of zero.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let words = (self.emit_len() / 4) as u8;
        out.extend_from_slice(&self.src.to_be_bytes());
        out.extend_from_slice(&self.dst.to_be_bytes());
        out.extend_from_slice(&self.seq.0.to_be_bytes());
        out.extend_from_slice(&self.ack.0.to_be_bytes());
        out.extend_from_slice(&[words << 4, self.flags.0]);
        out.extend_from_slice(&self.window.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.urgent.to_be_bytes());
        self.options.emit(out);
    }

    /// How much sequence space a segment with this header and `payload_len` bytes takes (SYN and FIN count one each).
    #[must_use]
    pub fn seq_len(&self, payload_len: usize) -> u32 {
        payload_len as u32
            + u32::from(self.flags.has(TcpFlags::SYN))
            + u32::from(self.flags.has(TcpFlags::FIN))
    }
}
