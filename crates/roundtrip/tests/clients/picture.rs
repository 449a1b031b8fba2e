//! Pictures as Chromium writes them: PNG of eight bits a part, colours with or without transparency, not interlaced.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// A picture in red, green and blue.
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    points: Vec<[u8; 3]>,
}

impl Picture {
    /// Reads a PNG file.
    pub(crate) fn read(file: &[u8]) -> Result<Picture, String> {
        let mut rest = file.strip_prefix(b"\x89PNG\r\n\x1a\n").ok_or("not a PNG file")?;
        let (mut head, mut packed) = (Vec::new(), Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let chunk = after.get(..length + 8).ok_or("a chunk breaks off")?;
            match &chunk[..4] {
                b"IHDR" => head = chunk[4..length + 4].to_vec(),
                b"IDAT" => packed.extend_from_slice(&chunk[4..length + 4]),
                _ => {}
            }
            rest = &after[length + 8..];
        }
        let [w0, w1, w2, w3, h0, h1, h2, h3, 8, kind @ (2 | 6), 0, 0, 0] = head[..] else {
            return Err(format!("another kind of PNG: {head:?}"));
        };
        let width = u32::from_be_bytes([w0, w1, w2, w3]) as usize;
        let height = u32::from_be_bytes([h0, h1, h2, h3]) as usize;
        let depth = if kind == 6 { 4 } else { 3 };
        let mut bytes = Vec::new();
        ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        let lines = unfilter(&bytes, width * depth, depth)?;
        let points: Vec<[u8; 3]> = lines.chunks(depth).map(|p| [p[0], p[1], p[2]]).collect();
        if points.len() != width * height {
            return Err("points are missing".into());
        }
        Ok(Picture { width, height, points })
    }

    /// The point at `x` from the left and `y` from the top.
    pub(crate) fn at(&self, x: usize, y: usize) -> [u8; 3] {
        self.points[y * self.width + x]
    }
}

/// Takes the filters off (PNG, section 9).
fn unfilter(bytes: &[u8], line: usize, depth: usize) -> Result<Vec<u8>, String> {
    let mut above = vec![0u8; line];
    let mut all = Vec::new();
    for row in bytes.chunks(line + 1) {
        let mut now = row[1..].to_vec();
        for i in 0..now.len() {
            let left = if i < depth { 0 } else { now[i - depth] };
            let corner = if i < depth { 0 } else { above[i - depth] };
            let guess = match row[0] {
                0 => 0,
                1 => left,
                2 => above[i],
                3 => u8::midpoint(left, above[i]),
                4 => paeth(left, above[i], corner),
                other => return Err(format!("no such filter: {other}")),
            };
            now[i] = now[i].wrapping_add(guess);
        }
        all.extend_from_slice(&now);
        above = now;
    }
    Ok(all)
}

fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let guess = i16::from(left) + i16::from(above) - i16::from(corner);
    let distance = |part: u8| (guess - i16::from(part)).abs();
    // Of equal ones, in this order.
    [left, above, corner].into_iter().min_by_key(|part| distance(*part)).unwrap_or(left)
}
