//! A PNG writer for the built-in pictures (ISO/IEC 15948): 8-bit RGB, one IDAT, no filter.

use std::io::Write as _;

/// A picture whose pixels are given by `(x, y) -> [red, green, blue]`.
pub(super) fn png(width: u32, height: u32, mut pixel: impl FnMut(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let mut header = Vec::with_capacity(13);
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    // Depth 8, colour type 2 (RGB), deflate, adaptive filters, not interlaced.
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    let mut rows = Vec::with_capacity(((width * 3 + 1) * height) as usize);
    for y in 0..height {
        rows.push(0);
        for x in 0..width {
            rows.extend_from_slice(&pixel(x, y));
        }
    }
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    let packed = encoder.write_all(&rows).and_then(|()| encoder.finish());
    let packed = packed.expect("invariant: writing into a Vec does not fail");
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", &header), (b"IDAT", &packed), (b"IEND", &Vec::new())] {
        chunk(&mut out, kind, data);
    }
    out
}

fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    out.extend_from_slice(kind);
    out.extend_from_slice(data);
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    out.extend_from_slice(&crc.sum().to_be_bytes());
}
