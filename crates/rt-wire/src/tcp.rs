//! The TCP header (RFC 9293, 3.1). Its options are in `tcp_options`.

use core::fmt;
use core::ops::BitOr;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::tcp_options::TcpOptions;
use crate::{Error, Layer, Seq, be16, be32, checksum, protocol};

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
    #[inline]
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
        // One array and one append: a buffer grows once, not nine times.
        let ([s0, s1], [d0, d1]) = (self.src.to_be_bytes(), self.dst.to_be_bytes());
        let ([n0, n1, n2, n3], [a0, a1, a2, a3]) = (self.seq.0.to_be_bytes(), self.ack.0.to_be_bytes());
        let ([w0, w1], [u0, u1]) = (self.window.to_be_bytes(), self.urgent.to_be_bytes());
        let (offset, flags) = (words << 4, self.flags.0);
        out.extend_from_slice(&[
            s0, s1, d0, d1, n0, n1, n2, n3, a0, a1, a2, a3, offset, flags, w0, w1, 0, 0, u0, u1,
        ]);
        self.options.emit(out);
    }

    /// Appends the header of a segment in IPv4 with its checksum: `text_len` bytes follow, which sum up to `text_sum`.
    ///
    /// The usual headers are summed from their fields: reading what was just written, in larger pieces than it was
    /// written in, waits until the stores are through.
    #[inline]
    pub fn emit_summed(
        &self,
        (src, dst): (Ipv4Addr, Ipv4Addr),
        (text_len, text_sum): (usize, u64),
        out: &mut Vec<u8>,
    ) {
        let header_len = self.emit_len();
        let sum = text_sum + checksum::pseudo_v4(src, dst, protocol::TCP, header_len + text_len);
        let options = match self.options.only_timestamps() {
            Some(stamps) => stamps,
            None => return self.emit_and_sum(sum, out),
        };
        let words = [
            u32::from(self.src) << 16 | u32::from(self.dst),
            self.seq.0,
            self.ack.0,
            (header_len as u32 / 4) << 28 | u32::from(self.flags.0) << 16 | u32::from(self.window),
            u32::from(self.urgent),
        ];
        let sum_of = |words: &[u32]| words.iter().map(|word| u64::from(word.to_be())).sum::<u64>();
        let fixed = |check: u16| [words[0], words[1], words[2], words[3], u32::from(check) << 16 | words[4]];
        let sum = sum + sum_of(&words);
        match options {
            None => {
                let [a, b, c, d, e] = fixed(checksum::of_sum(sum)).map(u32::to_be_bytes);
                append(out, [a, b, c, d, e]);
            }
            Some((value, echo)) => {
                let stamps = [TIMESTAMPS, value, echo];
                let [a, b, c, d, e] = fixed(checksum::of_sum(sum + sum_of(&stamps))).map(u32::to_be_bytes);
                let [f, g, h] = stamps.map(u32::to_be_bytes);
                append(out, [a, b, c, d, e, f, g, h]);
            }
        }
    }

    /// With other options: written, then read.
    #[cold]
    fn emit_and_sum(&self, sum: u64, out: &mut Vec<u8>) {
        let start = out.len();
        self.emit(out);
        let header = &mut out[start..];
        let check = checksum::of_sum(sum + checksum::ones_sum(header));
        header[16..18].copy_from_slice(&check.to_be_bytes());
    }

    /// How much sequence space a segment with this header and `payload_len` bytes takes (SYN and FIN count one each).
    #[must_use]
    pub fn seq_len(&self, payload_len: usize) -> u32 {
        payload_len as u32
            + u32::from(self.flags.has(TcpFlags::SYN))
            + u32::from(self.flags.has(TcpFlags::FIN))
    }
}

/// Two NOPs, the kind of timestamps and their length (RFC 7323, appendix A).
const TIMESTAMPS: u32 = 0x0101_080a;

/// Appends words in one go.
#[inline(always)]
fn append<const N: usize>(out: &mut Vec<u8>, words: [[u8; 4]; N]) {
    out.extend_from_slice(words.as_flattened());
}
