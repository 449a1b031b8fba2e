//! Content codings (RFC 9110, 8.4): gzip and Brotli, with levels pinned so that a run's bytes stay the same.

use std::cell::RefCell;
use std::io::{Read, Write};

use bytes::Bytes;

use crate::memo::Memo;

/// What a decoded body may be at most, bytes: a small body must not blow up.
pub(crate) const DECODED_LIMIT: u64 = 64 << 20;

/// A longer body is decoded anew each time.
const KEPT: usize = 1 << 20;

/// Like nginx's and zlib's default.
const GZIP_LEVEL: u32 = 6;
/// Brotli for bodies compressed while someone waits.
const BROTLI_QUALITY: i32 = 5;
/// 4 MiB window, Brotli's usual default.
const BROTLI_WINDOW: i32 = 22;

/// A content coding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
}

impl Coding {
    /// The name in Content-Encoding; `None` for identity.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Coding::Identity => None,
            Coding::Gzip => Some("gzip"),
            Coding::Brotli => Some("br"),
        }
    }

    /// Encodes a whole body.
    pub(crate) fn encode(self, plain: &[u8]) -> Bytes {
        let encoded = match self {
            Coding::Identity => Ok(plain.to_vec()),
            Coding::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL));
                encoder.write_all(plain).and_then(|()| encoder.finish())
            }
            Coding::Brotli => {
                let params = brotli::enc::BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: BROTLI_WINDOW,
                    size_hint: plain.len(),
                    ..Default::default()
                };
                let mut out = Vec::new();
                brotli::BrotliCompress(&mut &*plain, &mut out, &params).map(|_| out)
            }
        };
        encoded.expect("invariant: writing into a Vec does not fail").into()
    }
}

/// Undoes the codings of a Content-Encoding field, last applied first.
///
/// # Errors
/// A sentence: unknown coding, broken data, or more than [`DECODED_LIMIT`].
pub(crate) fn decode(field: &str, body: Bytes) -> Result<Bytes, String> {
    field.rsplit(',').map(str::trim).filter(|coding| !coding.is_empty()).try_fold(body, decode_one)
}

thread_local! {
    /// What was decoded from gzip, and from Brotli.
    static DECODED: [RefCell<Memo<Bytes>>; 2] = const { [RefCell::new(Memo::new()), RefCell::new(Memo::new())] };
}

fn decode_one(body: Bytes, coding: &str) -> Result<Bytes, String> {
    let which = match coding.to_ascii_lowercase().as_str() {
        "identity" => return Ok(body),
        "gzip" | "x-gzip" => 0,
        "br" => 1,
        other => return Err(format!("the content coding {other} was not asked for")),
    };
    if let Some(plain) = DECODED.with(|memos| memos[which].borrow().get(&body)) {
        return Ok(plain);
    }
    let plain = unpack(&body, coding, which == 0)?;
    if plain.len() <= KEPT {
        DECODED.with(|memos| memos[which].borrow_mut().put(&body, plain.clone()));
    }
    Ok(plain)
}

fn unpack(body: &[u8], coding: &str, gzip: bool) -> Result<Bytes, String> {
    let mut plain = Vec::new();
    let read = match gzip {
        true => flate2::read::MultiGzDecoder::new(body).take(DECODED_LIMIT + 1).read_to_end(&mut plain),
        false => brotli::Decompressor::new(body, 4096).take(DECODED_LIMIT + 1).read_to_end(&mut plain),
    };
    match read {
        Ok(n) if n as u64 > DECODED_LIMIT => Err(format!("the {coding} body is larger than 64 MiB")),
        Ok(_) => Ok(plain.into()),
        Err(error) => Err(format!("the {coding} body is broken: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Coding, decode};

    #[test]
    fn what_was_encoded_is_decoded() {
        let plain: Vec<u8> = (0..20_000u32).map(|i| (i / 7) as u8).collect();
        for coding in [Coding::Identity, Coding::Gzip, Coding::Brotli] {
            let sent = coding.encode(&plain);
            assert_eq!(decode(coding.name().unwrap_or(""), sent).unwrap(), plain);
        }
        let twice = Coding::Brotli.encode(&Coding::Gzip.encode(&plain));
        assert_eq!(decode("gzip, br", twice).unwrap(), plain);
    }

    #[test]
    fn bad_bodies_are_sentences() {
        let cases = [
            ("gzip", "the gzip body is broken"),
            ("br", "the br body is broken"),
            ("zstd", "the content coding zstd was not asked for"),
        ];
        for (coding, start) in cases {
            let error = decode(coding, b"\xffnonsense".to_vec().into()).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
        let bomb = Coding::Gzip.encode(&vec![0; (64 << 20) + 1]);
        assert_eq!(decode("gzip", bomb).unwrap_err(), "the gzip body is larger than 64 MiB");
    }
}
