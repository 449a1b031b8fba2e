//! HPACK, the reading side (RFC 7541): header blocks to field lists.
//!
//! Bounded: a decoded list stops at [`crate::read::Limits::header_list`], the dynamic table at the limit set by the
//! peer's SETTINGS (at most [`TABLE_CAP`]). One decoder per direction, fed with every block in order.

use std::collections::VecDeque;

use super::huffman;

/// The dynamic table never grows beyond this, whatever SETTINGS say.
const TABLE_CAP: usize = 1 << 20;
/// Overhead of an entry (RFC 7541, 4.1).
const ENTRY: usize = 32;

/// A field: name and value.
pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// Why a block could not be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HpackError {
    /// It ended inside a field.
    Truncated,
    /// An integer beyond 32 bits.
    Integer,
    /// No entry with that index.
    Index,
    /// A Huffman string that is none.
    Huffman,
    /// A table size update that is too large or not at the start.
    SizeUpdate,
    /// The decoded list is too long.
    TooLong,
}

impl HpackError {
    pub(crate) fn say(self) -> &'static str {
        match self {
            HpackError::Truncated => "the header block ends inside a field",
            HpackError::Integer => "an integer in the header block is too large",
            HpackError::Index => "the header block names a table entry that does not exist",
            HpackError::Huffman => "a string in the header block is not valid Huffman code",
            HpackError::SizeUpdate => "the header block changes the table size where it may not",
            HpackError::TooLong => "the header list is too long",
        }
    }
}

/// The decoder of one direction.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Newest first.
    table: VecDeque<Field>,
    size: usize,
    /// As the encoder set it.
    max_size: usize,
    /// As SETTINGS allow it.
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { table: VecDeque::new(), size: 0, max_size: 4_096, limit: 4_096 }
    }
}

impl Decoder {
    /// The peer's SETTINGS_HEADER_TABLE_SIZE. A smaller one than before binds only after its acknowledgement, so the
    /// limit here only grows.
    pub(crate) fn allow(&mut self, size: u32) {
        self.limit = self.limit.max((size as usize).min(TABLE_CAP));
    }

    /// Decodes one whole block into at most `budget` bytes of names and values.
    pub(crate) fn decode(&mut self, mut block: &[u8], budget: usize) -> Result<Vec<Field>, HpackError> {
        let mut fields = Vec::new();
        let mut left = budget;
        while let Some(&first) = block.first() {
            let field = match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    self.entry(index)?
                }
                0x40..0x80 => {
                    let field = self.literal(&mut block, 6)?;
                    self.insert(field.clone());
                    field
                }
                0x20..0x40 => {
                    let size = integer(&mut block, 5)?;
                    if size > self.limit || !fields.is_empty() {
                        return Err(HpackError::SizeUpdate);
                    }
                    self.max_size = size;
                    self.evict(0);
                    continue;
                }
                // Without indexing and never indexed differ only for proxies.
                _ => self.literal(&mut block, 4)?,
            };
            left = left.checked_sub(field.0.len() + field.1.len() + ENTRY).ok_or(HpackError::TooLong)?;
            fields.push(field);
        }
        Ok(fields)
    }

    fn literal(&self, block: &mut &[u8], prefix: u32) -> Result<Field, HpackError> {
        let index = integer(block, prefix)?;
        let name = if index == 0 { string(block)? } else { self.entry(index)?.0 };
        Ok((name, string(block)?))
    }

    fn entry(&self, index: usize) -> Result<Field, HpackError> {
        let at = index.checked_sub(1).ok_or(HpackError::Index)?;
        if let Some((name, value)) = STATIC_TABLE.get(at) {
            return Ok((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        self.table.get(at - STATIC_TABLE.len()).cloned().ok_or(HpackError::Index)
    }

    fn insert(&mut self, field: Field) {
        let size = field.0.len() + field.1.len() + ENTRY;
        self.evict(size);
        if size <= self.max_size {
            self.size += size;
            self.table.push_front(field);
        }
    }

    /// Makes room for `extra` bytes.
    fn evict(&mut self, extra: usize) {
        while self.size + extra > self.max_size {
            let Some((name, value)) = self.table.pop_back() else { break };
            self.size -= name.len() + value.len() + ENTRY;
        }
    }
}

/// An integer with a prefix of so many bits (RFC 7541, 5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, HpackError> {
    let (&first, mut rest) = block.split_first().ok_or(HpackError::Truncated)?;
    let mask = (1_u32 << prefix) - 1;
    let mut value = u64::from(u32::from(first) & mask);
    if value == u64::from(mask) {
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(HpackError::Truncated)?;
            rest = after;
            value += u64::from(byte & 0x7f) << shift;
            shift += 7;
            if value > u64::from(u32::MAX) {
                return Err(HpackError::Integer);
            }
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 28 {
                return Err(HpackError::Integer);
            }
        }
    }
    *block = rest;
    Ok(value as usize)
}

/// A string literal (RFC 7541, 5.2).
fn string(block: &mut &[u8]) -> Result<Vec<u8>, HpackError> {
    let huffman = block.first().is_some_and(|b| b & 0x80 != 0);
    let len = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(len).ok_or(HpackError::Truncated)?;
    *block = rest;
    if huffman { huffman::decode(bytes).ok_or(HpackError::Huffman) } else { Ok(bytes.to_vec()) }
}

/// RFC 7541, appendix A.
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests;
