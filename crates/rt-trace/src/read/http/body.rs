//! Bodies: collected as they come, decoded at the end (gzip, br, deflate), all within limits.

use std::io::Read;

use super::{Body, HttpHeader};
use crate::read::{Limits, Span};

/// A body while it comes.
#[derive(Debug, Default)]
pub(super) struct BodyBuilder {
    span: Option<Span>,
    bytes: u64,
    kept: Vec<u8>,
    cut: bool,
}

impl BodyBuilder {
    /// The next bytes of the body; `room` is what all bodies of the connection may still keep.
    pub(super) fn push(&mut self, bytes: &[u8], span: Span, limit: usize, room: &mut usize) {
        self.touch(span);
        self.bytes += bytes.len() as u64;
        let take = bytes.len().min(limit.saturating_sub(self.kept.len())).min(*room);
        self.kept.extend_from_slice(&bytes[..take]);
        *room -= take;
        self.cut |= take < bytes.len();
    }

    /// Bytes that belong to the body's framing (a last chunk, an empty DATA frame) move its end.
    pub(super) fn touch(&mut self, span: Span) {
        self.span = Some(self.span.map_or(span, |s| s.to(span)));
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    /// The body, decoded as the headers say.
    pub(super) fn finish(self, headers: &[HttpHeader], limits: &Limits) -> Body {
        let codings = codings(headers);
        let mut body = Body {
            span: self.span,
            encoded_bytes: self.bytes,
            decoded_bytes: self.bytes,
            codings,
            content: self.kept,
            cut: self.cut,
            problem: None,
        };
        if body.encoded_bytes == 0 {
            return body;
        }
        for coding in body.codings.clone().iter().rev() {
            match decode(coding, &body.content, limits.decoded_body) {
                Ok(decoded) => {
                    body.decoded_bytes = decoded.bytes.len() as u64;
                    body.content = decoded.bytes;
                    body.cut |= decoded.cut;
                    body.problem = decoded.problem.map(|e| format!("{coding}: {e}"));
                }
                Err(why) => body.problem = Some(why),
            }
            if body.problem.is_some() {
                break;
            }
        }
        if body.content.len() > limits.body {
            body.content.truncate(limits.body);
            body.cut = true;
        }
        body
    }
}

/// Content codings that change the bytes, in the order applied.
fn codings(headers: &[HttpHeader]) -> Vec<String> {
    headers
        .iter()
        .filter(|h| h.name.eq_ignore_ascii_case("content-encoding"))
        .flat_map(|h| h.value.split(','))
        .map(|c| c.trim().to_ascii_lowercase())
        .filter(|c| !c.is_empty() && c != "identity")
        .take(4)
        .collect()
}

/// A decoded body: as far as it could be decoded.
struct Decoded {
    bytes: Vec<u8>,
    cut: bool,
    problem: Option<String>,
}

/// Undoes one coding.
fn decode(coding: &str, bytes: &[u8], limit: usize) -> Result<Decoded, String> {
    match coding {
        "gzip" | "x-gzip" => Ok(inflate(flate2::read::MultiGzDecoder::new(bytes), limit)),
        "deflate" => {
            // By the standard zlib; some servers send the bare stream.
            let zlib = inflate(flate2::read::ZlibDecoder::new(bytes), limit);
            if zlib.problem.is_some() && zlib.bytes.is_empty() {
                return Ok(inflate(flate2::read::DeflateDecoder::new(bytes), limit));
            }
            Ok(zlib)
        }
        "br" => Ok(inflate(brotli::Decompressor::new(bytes, 4096), limit)),
        other => Err(format!("content coding {other} is not read")),
    }
}

fn inflate(from: impl Read, limit: usize) -> Decoded {
    let mut bytes = Vec::new();
    let read = from.take(limit as u64 + 1).read_to_end(&mut bytes);
    let cut = bytes.len() > limit;
    bytes.truncate(limit);
    Decoded { bytes, cut, problem: read.err().map(|e| e.to_string()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[track_caller]
    fn check(coding: &str, bytes: &[u8], expect: Result<&str, &str>) {
        let mut room = 1 << 20;
        let mut builder = BodyBuilder::default();
        builder.push(bytes, Span::default(), 1 << 20, &mut room);
        let header = HttpHeader { name: "Content-Encoding".to_owned(), value: coding.to_owned() };
        let body = builder.finish(&[header], &Limits { decoded_body: 1000, ..Limits::default() });
        match expect {
            Ok(text) => assert_eq!((body.content.as_slice(), body.problem), (text.as_bytes(), None)),
            Err(why) => assert!(body.problem.unwrap().contains(why)),
        }
    }

    #[test]
    fn codings_are_undone_in_reverse_order() {
        let text = "hello hello hello hello";
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(text.as_bytes()).unwrap();
        let gz = gz.finish().unwrap();
        check("gzip", &gz, Ok(text));
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        raw.write_all(text.as_bytes()).unwrap();
        check("deflate", &raw.finish().unwrap(), Ok(text));
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(&gz).unwrap();
        check("gzip, deflate", &zlib.finish().unwrap(), Ok(text));
        let mut br = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
        br.write_all(text.as_bytes()).unwrap();
        check("br", &br.into_inner(), Ok(text));
        check("gzip", b"not gzip", Err("gzip"));
        check("zstd", b"whatever", Err("zstd is not read"));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&vec![b'a'; 1 << 20]).unwrap();
        check("gzip", &gz.finish().unwrap(), Ok(&"a".repeat(1000)));
    }
}
