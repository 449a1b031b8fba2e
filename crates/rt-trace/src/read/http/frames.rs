//! HTTP/2 frames (RFC 9113, 4 and 6): heads, payloads without padding, and a few words on each.

/// END_STREAM of DATA and HEADERS (also ACK of SETTINGS and PING).
pub(super) const END_STREAM: u8 = 0x1;
/// END_HEADERS of HEADERS, PUSH_PROMISE and CONTINUATION.
pub(super) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY_FLAG: u8 = 0x20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
/// More of a header block.
pub(super) const CONTINUATION: u8 = 9;

/// A frame head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) len: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// The head at the start of `bytes`, if nine are there.
    pub(super) fn parse(bytes: &[u8]) -> Option<Head> {
        let &[a, b, c, kind, flags, s0, s1, s2, s3] = bytes.first_chunk::<9>()?;
        Some(Head {
            len: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        })
    }
}

/// What a frame carries, as far as the reader needs it.
#[derive(Debug)]
pub(super) enum Payload<'a> {
    Data { data: &'a [u8] },
    Headers { block: &'a [u8], promised: Option<u32> },
    Continuation { block: &'a [u8] },
    Settings { settings: Vec<(u16, u32)> },
    Reset { code: u32 },
    Words(String),
}

impl<'a> Payload<'a> {
    /// Takes padding and priority away.
    pub(super) fn parse(head: &Head, bytes: &'a [u8]) -> Result<Payload<'a>, &'static str> {
        match head.kind {
            DATA => Ok(Payload::Data { data: unpadded(head, bytes)? }),
            HEADERS => {
                let mut block = unpadded(head, bytes)?;
                if head.flags & PRIORITY_FLAG != 0 {
                    block = block.get(5..).ok_or("a HEADERS frame is too short for its priority")?;
                }
                Ok(Payload::Headers { block, promised: None })
            }
            PUSH_PROMISE => {
                let inner = unpadded(head, bytes)?;
                let (id, block) =
                    inner.split_first_chunk::<4>().ok_or("a PUSH_PROMISE frame is too short")?;
                let promised = u32::from_be_bytes(*id) & 0x7fff_ffff;
                Ok(Payload::Headers { block, promised: Some(promised) })
            }
            CONTINUATION => Ok(Payload::Continuation { block: bytes }),
            RST_STREAM => {
                let code = bytes.first_chunk::<4>().ok_or("a RST_STREAM frame is too short")?;
                Ok(Payload::Reset { code: u32::from_be_bytes(*code) })
            }
            SETTINGS if bytes.len().is_multiple_of(6) => {
                let settings = bytes
                    .chunks_exact(6)
                    .map(|c| (u16::from_be_bytes([c[0], c[1]]), u32::from_be_bytes([c[2], c[3], c[4], c[5]])))
                    .collect();
                Ok(Payload::Settings { settings })
            }
            SETTINGS => Err("a SETTINGS frame is no multiple of six bytes"),
            _ => Ok(Payload::Words(words(head, bytes))),
        }
    }

    /// A few words for people.
    pub(super) fn say(&self, head: &Head) -> String {
        let mut words = match self {
            Payload::Settings { .. } if head.flags & END_STREAM != 0 => "ack".to_owned(),
            Payload::Settings { settings } => {
                let list: Vec<String> =
                    settings.iter().map(|(id, value)| format!("{}={value}", setting_name(*id))).collect();
                list.join(" ")
            }
            Payload::Headers { promised: Some(id), .. } => format!("promises stream {id}"),
            Payload::Reset { code } => error_name(*code),
            Payload::Words(words) => words.clone(),
            _ => String::new(),
        };
        if matches!(head.kind, DATA | HEADERS) && head.flags & END_STREAM != 0 {
            words.push_str("END_STREAM");
        }
        words
    }
}

fn unpadded<'a>(head: &Head, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
    if head.flags & PADDED == 0 {
        return Ok(bytes);
    }
    let (&pad, rest) = bytes.split_first().ok_or("a padded frame without its padding length")?;
    let len = rest.len().checked_sub(usize::from(pad)).ok_or("a frame with more padding than payload")?;
    Ok(&rest[..len])
}

/// PRIORITY, PING, GOAWAY, WINDOW_UPDATE and unknown types in words.
fn words(head: &Head, bytes: &[u8]) -> String {
    let u32_at =
        |at: usize| bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    match head.kind {
        6 if head.flags & 1 != 0 => "ack".to_owned(),
        7 => format!("last stream {}, {}", u32_at(0) & 0x7fff_ffff, error_name(u32_at(4))),
        8 => format!("window +{}", u32_at(0) & 0x7fff_ffff),
        _ => String::new(),
    }
}

/// Name of a frame type.
pub(super) fn kind_name(kind: u8) -> String {
    const NAMES: [&str; 10] = [
        "DATA",
        "HEADERS",
        "PRIORITY",
        "RST_STREAM",
        "SETTINGS",
        "PUSH_PROMISE",
        "PING",
        "GOAWAY",
        "WINDOW_UPDATE",
        "CONTINUATION",
    ];
    NAMES.get(usize::from(kind)).map_or_else(|| format!("TYPE {kind}"), |n| (*n).to_owned())
}

fn setting_name(id: u16) -> String {
    const NAMES: [&str; 6] = [
        "HEADER_TABLE_SIZE",
        "ENABLE_PUSH",
        "MAX_CONCURRENT_STREAMS",
        "INITIAL_WINDOW_SIZE",
        "MAX_FRAME_SIZE",
        "MAX_HEADER_LIST_SIZE",
    ];
    usize::from(id)
        .checked_sub(1)
        .and_then(|i| NAMES.get(i))
        .map_or_else(|| format!("SETTING_{id}"), |n| (*n).to_owned())
}

/// Name of an error code (RFC 9113, 7).
fn error_name(code: u32) -> String {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(code as usize).map_or_else(|| format!("error {code}"), |n| (*n).to_owned())
}
