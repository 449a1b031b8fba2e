//! `inputs.bin`: everything that came into a run from outside, each with its virtual time. With it a run whose machines were
//! played by real programs can be made again without them.
//!
//! A header (magic, version, then a document of the writer's choice that says what the inputs are for), then records:
//! length and CRC-32 of the body (u32 each, little-endian), then the body: kind, time, fields. Each is written whole, so a
//! file cut anywhere gives back all inputs before the cut. Hostile files cost at most one record of memory; a record whose
//! sum is wrong, or whose time goes back, is an error that says where.

use std::io::{self, Read, Write};

use rt_base::{Carried, NodeId, PortId, Time};

const MAGIC: [u8; 4] = *b"RTIN";
/// Raised when the encoding changes.
const VERSION: u16 = 2;
/// The document at the beginning is not longer.
const DOCUMENT_MAX: usize = 64 << 20;
/// No record is longer: the longest frame that Linux makes, a text, and some.
const BODY_MAX: usize = 128 << 10;

const FRAME: u8 = 1;
const BEGIN: u8 = 2;
const END: u8 = 3;
const SECRET: u8 = 4;
const GIVE: u8 = 5;
const STOP: u8 = 6;
const BRIDGE: u8 = 7;

const OPEN: u8 = 1;
const BYTES: u8 = 2;
const FINISHED: u8 = 3;
const RESET: u8 = 4;
const ROOM: u8 = 5;

/// How late frames were when the real program got them, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lateness {
    /// Frames handed over.
    pub frames: u64,
    /// Half of them were not later than this.
    pub p50: u64,
    /// Of a hundred, ninety-nine were not.
    pub p99: u64,
    /// None was.
    pub max: u64,
}

/// Something that came from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A frame of the program that plays `node`.
    Frame {
        /// Which machine.
        node: NodeId,
        /// Through which interface.
        port: PortId,
        /// Ethernet bytes.
        bytes: Vec<u8>,
    },
    /// A program begins.
    Begin {
        /// On which machine.
        node: NodeId,
        /// Its number, from 0 in the order of beginning.
        program: u32,
        /// As it was called.
        text: String,
    },
    /// A program is over.
    End {
        /// Which.
        program: u32,
        /// Its exit code; 128 + n when signal n ended it.
        code: i32,
        /// How late frames were until now.
        late: Lateness,
    },
    /// A line of a program's key log.
    Secret {
        /// On which machine.
        node: NodeId,
        /// The line without its end.
        line: String,
    },
    /// A machine is given to a real program from now on.
    Give {
        /// Which.
        node: NodeId,
    },
    /// Something came over a bridge from a real connection.
    Bridge {
        /// Which bridge, in the order of the document.
        bridge: u16,
        /// Which of its connections.
        connection: u32,
        /// What.
        carried: Carried,
    },
    /// Nothing more comes.
    Stop,
}

/// An input and its virtual time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamped {
    /// Everything up to and including this instant had happened before the input.
    pub at: Time,
    /// What came.
    pub input: Input,
}

/// Writes inputs as they come.
#[derive(Debug)]
pub struct InputWriter<W: Write> {
    out: W,
    body: Vec<u8>,
}

impl<W: Write> InputWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// What `out` says; `InvalidInput` for a document that no reader would take.
    pub fn new(mut out: W, document: &[u8]) -> io::Result<InputWriter<W>> {
        if document.len() > DOCUMENT_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the world is too large to be kept"));
        }
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        record(&mut out, document)?;
        Ok(InputWriter { out, body: Vec::new() })
    }

    /// Takes an input.
    ///
    /// # Errors
    /// What the output says; `InvalidInput` for one that no reader would take.
    pub fn push(&mut self, stamped: &Stamped) -> io::Result<()> {
        self.body.clear();
        encode(stamped, &mut self.body);
        if self.body.len() > BODY_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an input is too long to be kept"));
        }
        record(&mut self.out, &self.body)
    }

    /// Hands on what waits, so that a reader finds it.
    ///
    /// # Errors
    /// What the output says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Hands on what waits and gives the output back.
    ///
    /// # Errors
    /// What the output says.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn record(out: &mut impl Write, body: &[u8]) -> io::Result<()> {
    let len = u32::try_from(body.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&crc32fast::hash(body).to_le_bytes())?;
    out.write_all(body)
}

fn encode(stamped: &Stamped, out: &mut Vec<u8>) {
    let kind = match &stamped.input {
        Input::Frame { .. } => FRAME,
        Input::Begin { .. } => BEGIN,
        Input::End { .. } => END,
        Input::Secret { .. } => SECRET,
        Input::Give { .. } => GIVE,
        Input::Bridge { .. } => BRIDGE,
        Input::Stop => STOP,
    };
    out.push(kind);
    out.extend_from_slice(&stamped.at.0.to_le_bytes());
    match &stamped.input {
        Input::Frame { node, port, bytes } => {
            out.extend_from_slice(&node.0.to_le_bytes());
            out.extend_from_slice(&port.0.to_le_bytes());
            out.extend_from_slice(bytes);
        }
        Input::Begin { node, program, text } => {
            out.extend_from_slice(&node.0.to_le_bytes());
            out.extend_from_slice(&program.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        Input::End { program, code, late } => {
            out.extend_from_slice(&program.to_le_bytes());
            out.extend_from_slice(&code.to_le_bytes());
            for figure in [late.frames, late.p50, late.p99, late.max] {
                out.extend_from_slice(&figure.to_le_bytes());
            }
        }
        Input::Secret { node, line } => {
            out.extend_from_slice(&node.0.to_le_bytes());
            out.extend_from_slice(line.as_bytes());
        }
        Input::Give { node } => out.extend_from_slice(&node.0.to_le_bytes()),
        Input::Bridge { bridge, connection, carried } => {
            out.extend_from_slice(&bridge.to_le_bytes());
            out.extend_from_slice(&connection.to_le_bytes());
            match carried {
                Carried::Open => out.push(OPEN),
                Carried::Bytes(bytes) => {
                    out.push(BYTES);
                    out.extend_from_slice(bytes);
                }
                Carried::Finished => out.push(FINISHED),
                Carried::Reset => out.push(RESET),
                Carried::Room(bytes) => {
                    out.push(ROOM);
                    out.extend_from_slice(&bytes.to_le_bytes());
                }
            }
        }
        Input::Stop => {}
    }
}

/// Takes a body apart; `None` when it is no input.
fn decode(mut body: &[u8]) -> Option<Stamped> {
    let body = &mut body;
    let kind = take::<1>(body)?[0];
    let at = Time(u64::from_le_bytes(take(body)?));
    let input = match kind {
        FRAME => {
            let node = NodeId(u32(body)?);
            let port = PortId(u16::from_le_bytes(take(body)?));
            Input::Frame { node, port, bytes: std::mem::take(body).to_vec() }
        }
        BEGIN => Input::Begin { node: NodeId(u32(body)?), program: u32(body)?, text: text(body)? },
        END => {
            let program = u32(body)?;
            let code = i32::from_le_bytes(take(body)?);
            let mut figure = || take(body).map(u64::from_le_bytes);
            let late = Lateness { frames: figure()?, p50: figure()?, p99: figure()?, max: figure()? };
            Input::End { program, code, late }
        }
        SECRET => Input::Secret { node: NodeId(u32(body)?), line: text(body)? },
        GIVE => Input::Give { node: NodeId(u32(body)?) },
        BRIDGE => {
            let (bridge, connection) = (u16::from_le_bytes(take(body)?), u32(body)?);
            let carried = match take::<1>(body)?[0] {
                OPEN => Carried::Open,
                BYTES => Carried::Bytes(std::mem::take(body).to_vec()),
                FINISHED => Carried::Finished,
                RESET => Carried::Reset,
                ROOM => Carried::Room(u32(body)?),
                _ => return None,
            };
            Input::Bridge { bridge, connection, carried }
        }
        STOP => Input::Stop,
        _ => return None,
    };
    body.is_empty().then_some(Stamped { at, input })
}

fn take<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = body.split_first_chunk::<N>()?;
    *body = rest;
    Some(*first)
}

fn u32(body: &mut &[u8]) -> Option<u32> {
    take(body).map(u32::from_le_bytes)
}

fn text(body: &mut &[u8]) -> Option<String> {
    String::from_utf8(std::mem::take(body).to_vec()).ok()
}

/// Reads inputs one by one; memory is one record.
#[derive(Debug)]
pub struct InputReader<R: Read> {
    input: R,
    document: Vec<u8>,
    body: Vec<u8>,
    last: Time,
    /// Bytes read.
    place: u64,
    truncated: bool,
}

impl<R: Read> InputReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// `InvalidData` when it is no file of this kind and version, or damaged; else what `input` says.
    pub fn new(mut input: R) -> io::Result<InputReader<R>> {
        let mut header = [0; 6];
        let begun = input.read_exact(&mut header);
        if begun.is_err() || header[..4] != MAGIC {
            return Err(invalid("not a file of recorded inputs"));
        }
        if header[4..] != VERSION.to_le_bytes() {
            return Err(invalid(
                "recorded by another version, which kept inputs in another way: replay it with that one",
            ));
        }
        let mut reader = InputReader {
            input,
            document: Vec::new(),
            body: Vec::new(),
            last: Time::ZERO,
            place: 6,
            truncated: false,
        };
        if !reader.next_body(DOCUMENT_MAX)? {
            return Err(invalid("it ends before the first input"));
        }
        reader.document = std::mem::take(&mut reader.body);
        Ok(reader)
    }

    /// The document at the beginning.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// The next input; `None` at the end of the file or of its readable part.
    ///
    /// # Errors
    /// `InvalidData` for a record that is damaged, with its place; else what the input says.
    pub fn next_input(&mut self) -> io::Result<Option<Stamped>> {
        let place = self.place;
        if self.truncated || !self.next_body(BODY_MAX)? {
            return Ok(None);
        }
        let stamped = decode(&self.body).ok_or_else(|| invalid(format!("no input at byte {place}")))?;
        if stamped.at < self.last {
            return Err(invalid(format!("time goes back at byte {place}")));
        }
        self.last = stamped.at;
        Ok(Some(stamped))
    }

    /// Whether the file ends in the middle of a record, as that of an interrupted run may.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Reads the next record into `body`; false when there is none, or only a part of one.
    fn next_body(&mut self, max: usize) -> io::Result<bool> {
        let place = self.place;
        self.body.clear();
        self.read(8)?;
        let Some((len, sum)) = self.body.split_first_chunk::<4>().filter(|_| self.body.len() == 8) else {
            self.truncated = !self.body.is_empty();
            return Ok(false);
        };
        let len = u32::from_le_bytes(*len) as usize;
        let sum = <[u8; 4]>::try_from(sum).map_or(0, u32::from_le_bytes);
        if len > max {
            return Err(invalid(format!("a record of {len} bytes at byte {place}")));
        }
        self.body.clear();
        self.read(len)?;
        if self.body.len() < len {
            self.truncated = true;
            return Ok(false);
        }
        if crc32fast::hash(&self.body) != sum {
            return Err(invalid(format!("the record at byte {place} is damaged")));
        }
        Ok(true)
    }

    fn read(&mut self, len: usize) -> io::Result<()> {
        let got = self.input.by_ref().take(len as u64).read_to_end(&mut self.body)?;
        self.place += got as u64;
        Ok(())
    }
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

#[cfg(test)]
mod tests {
    use rt_base::Rng;

    use super::*;

    fn sample() -> Vec<Stamped> {
        let node = NodeId(3);
        let late = Lateness { frames: 9, p50: 1, p99: 2, max: 3 };
        let inputs = [
            Input::Give { node },
            Input::Begin { node, program: 0, text: "curl -v https://gøøgle.com/".into() },
            Input::Frame { node, port: PortId(1), bytes: vec![7; 1_514] },
            Input::Frame { node, port: PortId(0), bytes: Vec::new() },
            Input::Secret { node, line: "CLIENT_RANDOM 00 11".into() },
            Input::Bridge { bridge: 1, connection: 7, carried: Carried::Open },
            Input::Bridge { bridge: 0, connection: 7, carried: Carried::Bytes(vec![3; 70]) },
            Input::Bridge { bridge: 0, connection: 7, carried: Carried::Room(9) },
            Input::Bridge { bridge: 0, connection: 7, carried: Carried::Finished },
            Input::Bridge { bridge: 0, connection: 7, carried: Carried::Reset },
            Input::End { program: 0, code: -1, late },
            Input::Stop,
        ];
        (0..).zip(inputs).map(|(n, input)| Stamped { at: Time(n / 2), input }).collect()
    }

    fn bytes(document: &[u8], all: &[Stamped]) -> Vec<u8> {
        let mut writer = InputWriter::new(Vec::new(), document).unwrap();
        for stamped in all {
            writer.push(stamped).unwrap();
        }
        writer.finish().unwrap()
    }

    /// All inputs of a file and whether it ends in the middle of one.
    fn read(file: &[u8]) -> io::Result<(Vec<Stamped>, bool)> {
        let mut reader = InputReader::new(file)?;
        let mut all = Vec::new();
        while let Some(stamped) = reader.next_input()? {
            all.push(stamped);
        }
        Ok((all, reader.truncated()))
    }

    #[test]
    fn what_goes_in_comes_out() {
        let file = bytes(b"{}", &sample());
        assert_eq!(InputReader::new(&file[..]).unwrap().document(), b"{}");
        assert_eq!(read(&file).unwrap(), (sample(), false));
    }

    #[test]
    fn a_cut_file_gives_back_a_beginning_of_the_whole() {
        let (file, all) = (bytes(b"doc", &sample()), sample());
        let begin = bytes(b"doc", &[]).len();
        let mut ends = vec![begin];
        ends.extend((1..=all.len()).map(|n| bytes(b"doc", &all[..n]).len()));
        for cut in begin..=file.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            let expected = (all[..whole].to_vec(), !ends.contains(&cut));
            assert_eq!(read(&file[..cut]).unwrap(), expected, "cut at {cut}");
        }
        for cut in 0..begin {
            assert!(read(&file[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_byte_is_found() {
        let (file, all) = (bytes(b"doc", &sample()), sample());
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x40;
            match read(&damaged) {
                Ok((got, truncated)) => {
                    assert!(truncated && all.starts_with(&got) && got.len() < all.len(), "byte {at}");
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}"),
            }
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_read_without_panic() {
        let mut rng = Rng::stream(1, "inputs", "mutate");
        let whole = bytes(b"doc", &sample());
        for _ in 0..2_000 {
            let mut body = vec![0; rng.below(80) as usize];
            body.iter_mut().for_each(|b| *b = rng.next_u32() as u8);
            if let Some(kind) = body.first_mut() {
                *kind %= 9;
            }
            let mut file = whole.clone();
            record(&mut file, &body).unwrap();
            let _ = read(&file);
        }
        let mut back = sample();
        back.reverse();
        assert!(read(&bytes(b"", &back)).unwrap_err().to_string().contains("time goes back at byte"));
        let mut long = bytes(b"", &[]);
        long.extend_from_slice(&u32::MAX.to_le_bytes());
        long.extend_from_slice(&[0; 4]);
        assert!(read(&long).unwrap_err().to_string().contains("a record of 4294967295 bytes"));
    }
}
