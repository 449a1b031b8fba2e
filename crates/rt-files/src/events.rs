//! `events.bin`, the event store's file: every [`Event`] of a run in the engine's total order.
//!
//! A header (magic, version), then chunks: length (u32, little-endian) and that many bytes of events, one after the
//! other, each encoded on its own: the frequent kinds with fixed fields, the rest by postcard. A chunk is written
//! whole; a file cut anywhere gives back all events before the cut. Hostile files cost at most one chunk of memory.

mod encoding;

use std::io::{self, Read, Write};

use rt_base::Event;

const MAGIC: [u8; 4] = *b"RTEV";
/// Raised when the encoding of an event changes.
const VERSION: u16 = 3;
/// A chunk is handed on when it holds so many bytes.
const CHUNK: usize = 64 << 10;
/// No chunk is longer: it ends with the first event that fills it.
const CHUNK_MAX: usize = 16 << 20;

/// Writes events as they come; memory is one chunk.
#[derive(Debug)]
pub struct EventWriter<W: Write> {
    out: W,
    chunk: Vec<u8>,
    count: u64,
}

impl<W: Write> EventWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(mut out: W) -> io::Result<EventWriter<W>> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        Ok(EventWriter { out, chunk: Vec::with_capacity(CHUNK + 1024), count: 0 })
    }

    /// Takes an event.
    ///
    /// # Errors
    /// What `out` says.
    pub fn push(&mut self, event: &Event) -> io::Result<()> {
        encoding::encode(event, &mut self.chunk)?;
        self.count += 1;
        if self.chunk.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    /// Events taken so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Writes the last chunk and gives the output back.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn flush(&mut self) -> io::Result<()> {
        let len = u32::try_from(self.chunk.len()).map_err(io::Error::other)?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

/// Reads events one by one; memory is one chunk.
#[derive(Debug)]
pub struct EventReader<R: Read> {
    input: R,
    chunk: Vec<u8>,
    used: usize,
    truncated: bool,
    ended: bool,
}

impl<R: Read> EventReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// `InvalidData` when it is not an event file of this version, else what `input` says.
    pub fn new(mut input: R) -> io::Result<EventReader<R>> {
        let mut header = [0; 6];
        input.read_exact(&mut header)?;
        if header[..4] != MAGIC || header[4..] != VERSION.to_le_bytes() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not an event file of this version"));
        }
        Ok(EventReader { input, chunk: Vec::new(), used: 0, truncated: false, ended: false })
    }

    /// The next event, or `None` at the end of the file or of its readable part.
    ///
    /// # Errors
    /// What the input says.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        while !self.ended {
            let mut rest = &self.chunk[self.used..];
            if rest.is_empty() {
                self.next_chunk()?;
                continue;
            }
            if let Some(event) = encoding::decode(&mut rest) {
                self.used = self.chunk.len() - rest.len();
                return Ok(Some(event));
            }
            self.truncated = true;
            self.ended = true;
        }
        Ok(None)
    }

    /// Whether reading ended in the middle of something.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.used = 0;
        let mut len = Vec::with_capacity(4);
        self.input.by_ref().take(4).read_to_end(&mut len)?;
        let Ok(len) = <[u8; 4]>::try_from(len.as_slice()) else {
            self.truncated |= !len.is_empty();
            self.ended = true;
            return Ok(());
        };
        let len = u32::from_le_bytes(len) as usize;
        let got = self.input.by_ref().take(len.min(CHUNK_MAX) as u64).read_to_end(&mut self.chunk)?;
        // What is whole before the cut still counts.
        self.truncated |= got < len;
        self.ended = got == 0 && len > 0;
        Ok(())
    }
}

/// What came out of a file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct EventFile {
    /// All events that are whole.
    pub events: Vec<Event>,
    /// Whether the file ends in the middle of something, or holds more than was asked for.
    pub truncated: bool,
}

/// Reads a file; at most `limit` events are kept.
///
/// # Errors
/// `InvalidData` when it is not an event file of this version, else what `input` says.
pub fn read(input: impl Read, limit: usize) -> io::Result<EventFile> {
    let mut reader = EventReader::new(input)?;
    let mut events = Vec::new();
    while let Some(event) = reader.next_event()? {
        if events.len() == limit {
            return Ok(EventFile { events, truncated: true });
        }
        events.push(event);
    }
    Ok(EventFile { events, truncated: reader.truncated() })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rt_base::{
        AppRecord, Blocked, CacheKind, CacheOutcome, ConnId, DropReason, Event, EventId, FrameId, LinkId,
        Nanos, NodeId, Place, PortId, ReqId, Rng, Time, What,
    };

    use super::{EventWriter, read};

    fn sample() -> Vec<Event> {
        let id = |n| EventId::new(NodeId(3), n);
        let frame = FrameId::new(NodeId(3), 9);
        let local = SocketAddr::from(([192, 168, 1, 10], 52431));
        let cache = AppRecord::Cache {
            req: ReqId(1),
            cache: CacheKind::OsDns,
            key: "google.com A".into(),
            outcome: CacheOutcome::Hit { age: Nanos(5), fresh_for: Nanos(300) },
            note: String::new(),
        };
        let whats = [
            What::Boot,
            What::Transmit {
                link: LinkId(1),
                port: PortId(2),
                processing: 20_000,
                start: Time(1),
                done: Time(2),
                arrive: Time(3),
            },
            What::Drop {
                reason: DropReason::TtlExceeded,
                place: Place::Route,
                port: PortId(0),
                rule: u32::MAX,
            },
            What::Route { rule: 3, out: PortId(1), next_hop: [10, 0, 3, 2].into(), ttl: 61 },
            What::Route { rule: 3, out: PortId(1), next_hop: std::net::Ipv6Addr::LOCALHOST.into(), ttl: 61 },
            What::Deliver { protocol: 6, conn: ConnId(9) },
            What::SwitchForward { out: PortId(u16::MAX) },
            What::FromOutside { port: PortId(2) },
            What::ToOutside { port: PortId(3) },
            What::TcpWrite { conn: ConnId(9), offset: 1 << 40, len: 7 },
            What::TcpRead { conn: ConnId(9), offset: u64::MAX, len: u32::MAX },
            What::TcpBlocked { conn: ConnId(4), reason: Blocked::Nagle },
            What::ConnOpen { conn: ConnId(4), protocol: 6, active: true, local, remote: local },
            What::App(Box::new(cache)),
        ];
        let event = |(n, what)| Event { id: id(n), because: id(1), at: Time(n * 10), frame, what };
        (1..).zip(whats).map(event).collect()
    }

    fn bytes(events: &[Event]) -> Vec<u8> {
        let mut writer = EventWriter::new(Vec::new()).unwrap();
        for event in events {
            writer.push(event).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let file = read(&bytes(&sample())[..], usize::MAX).unwrap();
        assert_eq!((file.events, file.truncated), (sample(), false));
    }

    #[test]
    fn a_cut_file_gives_back_a_beginning_of_the_whole() {
        let (whole, all) = (sample(), bytes(&sample()));
        for cut in 6..all.len() {
            let file = read(&all[..cut], usize::MAX).unwrap();
            assert_eq!(file.events[..], whole[..file.events.len()], "cut at {cut}");
        }
        assert!(read(&all[..3], usize::MAX).is_err());
    }

    #[test]
    fn hostile_bytes_are_refused_or_read_without_panic() {
        let mut rng = Rng::stream(1, "events", "mutate");
        let whole = bytes(&sample());
        for _ in 0..2_000 {
            let mut mutated = whole.clone();
            for _ in 0..=rng.below(4) {
                let at = rng.below(mutated.len() as u64) as usize;
                mutated[at] = rng.next_u32() as u8;
            }
            let _ = read(&mutated[..], 1_000);
        }
    }
}
