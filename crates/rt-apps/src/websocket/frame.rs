//! Frames (RFC 6455, 5.2): heads to bytes and back, and masking. No state, no IO.
//!
//! Ours, and not a library's: see `docs/dependencies.md`.

use super::code;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// A peer does what the protocol forbids: the close code that it gets, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Violation {
    pub(super) code: u16,
    pub(super) why: &'static str,
}

impl Violation {
    pub(super) fn protocol(why: &'static str) -> Violation {
        Violation { code: code::PROTOCOL, why }
    }
}

/// What stands before a frame's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of payload.
    pub(super) len: u64,
}

impl Head {
    /// The head at the beginning of `bytes` and its length; `None` while it is not there whole.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Head, usize)>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        //= rfc6455#section-5.2 reserved bits and opcodes fail the connection
        if first & 0x70 != 0 {
            return Err(Violation::protocol("a reserved bit is set, and no extension was agreed on"));
        }
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Err(Violation::protocol("a reserved opcode")),
        };
        let fin = first & 0x80 != 0;
        let short = u64::from(second & 0x7f);
        //= rfc6455#section-5.5 control frames have at most 125 bytes and are not fragmented
        if opcode.is_control() && (!fin || short > 125) {
            return Err(Violation::protocol("a control frame in pieces, or longer than 125 bytes"));
        }
        let (len, used) = match short {
            126 => {
                let Some(bytes) = rest.first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*bytes)), 2)
            }
            127 => {
                let Some(bytes) = rest.first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*bytes), 8)
            }
            short => (short, 0),
        };
        //= rfc6455#section-5.2 the minimal number of bytes MUST be used, and the most significant bit MUST be 0
        if (used == 2 && len < 126) || (used == 8 && len <= 0xffff) || len >> 63 != 0 {
            return Err(Violation::protocol("a length in more bytes than it needs"));
        }
        let masked = second & 0x80 != 0;
        let mask = match rest.get(used..).and_then(<[u8]>::first_chunk) {
            _ if !masked => None,
            Some(mask) => Some(*mask),
            None => return Ok(None),
        };
        let head = Head { fin, opcode, mask, len };
        Ok(Some((head, 2 + used + if masked { 4 } else { 0 })))
    }
}

/// A whole frame.
pub(super) fn write(opcode: Opcode, fin: bool, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    out.push(u8::from(fin) << 7 | opcode as u8);
    let masked = u8::from(mask.is_some()) << 7;
    match (payload.len(), u16::try_from(payload.len())) {
        (len @ 0..=125, _) => out.push(masked | len as u8),
        (_, Ok(len)) => {
            out.push(masked | 126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        (len, Err(_)) => {
            out.push(masked | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend(mask.into_iter().flatten());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        apply(key, &mut out[start..]);
    }
    out
}

/// Masks or unmasks a frame's payload (RFC 6455, 5.3).
pub(super) fn apply(key: [u8; 4], payload: &mut [u8]) {
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}
