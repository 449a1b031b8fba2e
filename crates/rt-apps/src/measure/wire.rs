//! What `sends`, `streams` and their sink say to each other. Our own format; iperf's differs in every version.
//!
//! A TCP connection begins with [`Hello`]; then come bytes (bulk) or frames (a length of four bytes and so many bytes each),
//! then FIN, and the sink answers with a report: lines of `name value`. Over UDP each datagram begins with [`Piece`]; the
//! end is said again and again until the report comes.

use std::collections::BTreeMap;

use rt_base::Nanos;

/// What everything of ours begins with.
const MAGIC: [u8; 4] = *b"rtm1";
const KIND_BULK: u8 = 0;
const KIND_FRAMES: u8 = 1;
const KIND_END: u8 = 2;

/// Longest report.
pub(super) const LONGEST_REPORT: usize = 4_096;

/// The first bytes of a TCP connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hello {
    /// Bytes without structure.
    Bulk,
    /// Frames, `interval` apart, each to be played `playout` after it could have come.
    Frames { interval: Nanos, playout: Nanos },
}

impl Hello {
    pub(super) const LEN: usize = 24;

    pub(super) fn emit(self) -> [u8; Hello::LEN] {
        let mut out = [0; Hello::LEN];
        out[..4].copy_from_slice(&MAGIC);
        if let Hello::Frames { interval, playout } = self {
            out[4] = KIND_FRAMES;
            out[8..16].copy_from_slice(&interval.0.to_be_bytes());
            out[16..].copy_from_slice(&playout.0.to_be_bytes());
        }
        out
    }

    pub(super) fn parse(bytes: &[u8; Hello::LEN]) -> Option<Hello> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        match *rest.first()? {
            KIND_BULK => Some(Hello::Bulk),
            KIND_FRAMES => Some(Hello::Frames { interval: nanos(bytes, 8)?, playout: nanos(bytes, 16)? }),
            _ => None,
        }
    }
}

/// The beginning of each datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// The last word: no more data, `frame` is their number and `packet` that of all datagrams.
    pub(super) end: bool,
    /// Which part of its frame, from 0.
    pub(super) part: u8,
    /// How many parts the frame has.
    pub(super) parts: u8,
    pub(super) frame: u32,
    /// Counts datagrams from 0.
    pub(super) packet: u32,
    /// When it was sent, since the first one.
    pub(super) sent: Nanos,
    pub(super) interval: Nanos,
    pub(super) playout: Nanos,
}

impl Piece {
    pub(super) const LEN: usize = 40;

    pub(super) fn emit(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        let kind = if self.end { KIND_END } else { KIND_FRAMES };
        out.extend_from_slice(&[kind, self.part, self.parts, 0]);
        out.extend_from_slice(&self.frame.to_be_bytes());
        out.extend_from_slice(&self.packet.to_be_bytes());
        for span in [self.sent, self.interval, self.playout] {
            out.extend_from_slice(&span.0.to_be_bytes());
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Piece> {
        let b = bytes.strip_prefix(&MAGIC)?;
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Piece {
            end: *b.first()? == KIND_END,
            part: *b.get(1)?,
            parts: *b.get(2)?,
            frame: word(8)?,
            packet: word(12)?,
            sent: nanos(bytes, 16)?,
            interval: nanos(bytes, 24)?,
            playout: nanos(bytes, 32)?,
        })
    }
}

fn nanos(bytes: &[u8], at: usize) -> Option<Nanos> {
    Some(Nanos(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?)))
}

/// A report: whole numbers by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Numbers(BTreeMap<String, u64>);

impl Numbers {
    pub(super) fn set(&mut self, name: &str, value: u64) {
        self.0.insert(name.to_string(), value);
    }

    pub(super) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    pub(super) fn span(&self, name: &str) -> Nanos {
        Nanos(self.get(name))
    }

    pub(super) fn emit(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.0 {
            out.push_str(&format!("{name} {value}\n"));
        }
        out
    }

    pub(super) fn parse(text: &[u8]) -> Option<Numbers> {
        let text = std::str::from_utf8(text).ok()?;
        let one = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_string(), value.parse().ok()?))
        };
        let all: Option<BTreeMap<String, u64>> = text.lines().map(one).collect();
        all.filter(|all| !all.is_empty()).map(Numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let (interval, playout) = (Nanos(20_000_000), Nanos(150_000_000));
        for hello in [Hello::Bulk, Hello::Frames { interval, playout }] {
            assert_eq!(Hello::parse(&hello.emit()), Some(hello));
        }
        let piece =
            Piece { end: false, part: 1, parts: 3, frame: 7, packet: 22, sent: Nanos(5), interval, playout };
        let mut bytes = Vec::new();
        piece.emit(&mut bytes);
        assert_eq!((bytes.len(), Piece::parse(&bytes)), (Piece::LEN, Some(piece)));
        assert!((0..Piece::LEN).all(|cut| Piece::parse(&bytes[..cut]).is_none()));
        let mut numbers = Numbers::default();
        numbers.set("late", 3);
        assert_eq!(Numbers::parse(numbers.emit().as_bytes()), Some(numbers));
        assert_eq!(Numbers::parse(b"GET / HTTP/1.1\r\n"), None);
    }
}
