//! Captures made elsewhere (pcap and pcapng, by `pcap-parser`) as plain frames: what tcpdump, Wireshark and our own runs
//! write.
//!
//! Link types are made Ethernet: raw IP and Linux "any" captures get a header of zeros before their packets, other
//! types are counted and skipped. Times are nanoseconds since 1970. A file that is cut or turns bad in the middle gives
//! what was read before, and says so.

use std::io::{self, Read};

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, Linktype, OptionCode, PcapBlockOwned, PcapError, PcapHeader};
use rt_base::{Time, Way};

/// A block longer than this is not read: no packet is.
const BLOCK_MAX: usize = 4 << 20;

/// A capture file as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptureFile {
    /// Interface names (`if0` where the file does not say).
    pub interfaces: Vec<String>,
    /// All frames that could be read.
    pub frames: Vec<ForeignFrame>,
    /// Lines of the key logs inside (Decryption Secrets Blocks).
    pub secrets: Vec<String>,
    /// Packets of link types that are not read.
    pub skipped: u64,
    /// Why reading ended before the end of the file.
    pub problem: Option<String>,
}

/// One frame of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignFrame {
    /// Nanoseconds since 1970.
    pub at: Time,
    /// Index of its interface.
    pub interface: u32,
    /// Which way, if the file says so.
    pub way: Option<Way>,
    /// Ethernet bytes.
    pub bytes: Vec<u8>,
}

/// How an interface's packets are to be read.
#[derive(Clone, Copy, Debug)]
struct Source {
    link: Linktype,
    units_per_second: u64,
    offset_seconds: i64,
}

/// Reads a file; at most `limit` frames are kept.
///
/// # Errors
/// `InvalidData` when it is neither pcap nor pcapng, else what `input` says.
pub fn read(input: impl Read + Send, limit: usize) -> io::Result<CaptureFile> {
    let mut reader = match pcap_parser::create_reader(BLOCK_MAX, input) {
        Ok(reader) => reader,
        Err(PcapError::ReadError) => return Err(io::Error::other("the capture cannot be read")),
        Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "neither pcap nor pcapng")),
    };
    let mut file = CaptureFile::default();
    let mut sources = Vec::new();
    let mut stuck = false;
    while file.frames.len() < limit {
        match reader.next() {
            Ok((used, block)) => {
                take(&mut file, &mut sources, &block);
                reader.consume(used);
                stuck = false;
            }
            Err(PcapError::Eof) => return Ok(file),
            Err(PcapError::Incomplete(_)) if !stuck => {
                stuck = true;
                if reader.refill().is_err() {
                    break;
                }
            }
            Err(PcapError::Incomplete(_) | PcapError::UnexpectedEof) => {
                file.problem = Some("the file ends inside a block".to_owned());
                return Ok(file);
            }
            Err(e) => {
                file.problem = Some(format!("a block cannot be read ({})", say(&e)));
                return Ok(file);
            }
        }
    }
    file.problem = Some(format!("only the first {limit} frames were read"));
    Ok(file)
}

fn say<I>(error: &PcapError<I>) -> &'static str {
    match error {
        PcapError::BufferTooSmall => "it is too long",
        PcapError::ReadError => "the file cannot be read",
        _ => "it is malformed",
    }
}

fn take(file: &mut CaptureFile, sources: &mut Vec<Source>, block: &PcapBlockOwned<'_>) {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            sources.push(legacy_source(header));
            file.interfaces.push("if0".to_owned());
        }
        PcapBlockOwned::Legacy(packet) => {
            let Some(source) = sources.first() else { return };
            let units = u64::from(packet.ts_usec);
            let at = u64::from(packet.ts_sec).saturating_mul(source.units_per_second).saturating_add(units);
            keep(file, *source, 0, at, None, packet.data);
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            let name = interface.if_name().and_then(Result::ok).map(str::to_owned);
            file.interfaces.push(name.unwrap_or_else(|| format!("if{}", sources.len())));
            sources.push(Source {
                link: interface.linktype,
                units_per_second: interface.ts_resolution().unwrap_or(1_000_000),
                offset_seconds: interface.ts_offset(),
            });
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let Some(source) = sources.get(packet.if_id as usize) else {
                file.skipped += 1;
                return;
            };
            let flags = packet.options.iter().find(|o| o.code == OptionCode(2)).and_then(|o| o.value.first());
            let way = match flags.map(|f| f & 3) {
                Some(1) => Some(Way::In),
                Some(2) => Some(Way::Out),
                _ => None,
            };
            let at = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            keep(file, *source, packet.if_id, at, way, packet.packet_data());
        }
        PcapBlockOwned::NG(Block::DecryptionSecrets(secrets)) => {
            let len = (secrets.secrets_len as usize).min(secrets.data.len());
            let text = String::from_utf8_lossy(&secrets.data[..len]);
            file.secrets.extend(text.lines().map(str::to_owned));
        }
        // A section of its own has its own interfaces; their numbers start again.
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            sources.clear();
            file.interfaces.clear();
        }
        PcapBlockOwned::NG(_) => {}
    }
}

fn legacy_source(header: &PcapHeader) -> Source {
    let units_per_second = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
    Source { link: header.network, units_per_second, offset_seconds: 0 }
}

fn keep(file: &mut CaptureFile, source: Source, interface: u32, units: u64, way: Option<Way>, data: &[u8]) {
    let Some(bytes) = ethernet(source.link, data) else {
        file.skipped += 1;
        return;
    };
    let per_second = u128::from(source.units_per_second.max(1));
    let ns = u128::from(units) * 1_000_000_000 / per_second;
    let at = (ns as i128 + i128::from(source.offset_seconds) * 1_000_000_000).clamp(0, i128::from(u64::MAX));
    file.frames.push(ForeignFrame { at: Time(at as u64), interface, way, bytes });
}

/// The packet with an Ethernet header; `None` for a link type that is not read.
fn ethernet(link: Linktype, data: &[u8]) -> Option<Vec<u8>> {
    let with_header = |kind: u16, payload: &[u8]| {
        let mut bytes = vec![0; 12];
        bytes.extend(kind.to_be_bytes());
        bytes.extend(payload);
        bytes
    };
    match link {
        Linktype::ETHERNET => Some(data.to_vec()),
        Linktype::RAW | Linktype::IPV4 | Linktype(12 | 14) => {
            let kind = if data.first()? >> 4 == 6 { 0x86dd } else { 0x0800 };
            Some(with_header(kind, data))
        }
        Linktype::LINUX_SLL => {
            let kind = u16::from_be_bytes([*data.get(14)?, *data.get(15)?]);
            Some(with_header(kind, data.get(16..)?))
        }
        // LINUX_SLL2: the protocol stands first, the packet after 20 bytes.
        Linktype(276) => {
            Some(with_header(u16::from_be_bytes([*data.first()?, *data.get(1)?]), data.get(20..)?))
        }
        _ => None,
    }
}
