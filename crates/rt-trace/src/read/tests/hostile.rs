//! Changed bytes in real conversations: no panic, no endless loop, whatever comes.

use rt_base::{Rng, Way};

use super::frames::{connection, read};
use super::pump::{Extra, Setup, run};
use crate::read::{Secrets, Side};

#[test]
fn changed_frames_are_survived() {
    let talk = [
        (Side::Client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        (
            Side::Server,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
        ),
    ];
    let mut rng = Rng::stream(1, "read", "mutate");
    for tls12 in [false, true] {
        let suite = if tls12 { "ECDHE_ECDSA_WITH_AES_128_GCM" } else { "TLS13_AES_128_GCM" };
        let ends = Setup { tls12, ..Setup::tls13(suite) }.ends();
        let wire = run(&ends, &talk, Extra::Nothing);
        let lines = ends.log.lines();
        let secrets = Secrets::from_lines(lines.iter().map(String::as_str));
        let mut frames = connection(&wire, 300);
        // Checksums are not verified of what leaves, so the changes reach the readers.
        frames.iter_mut().for_each(|f| f.way = Way::Out);
        for _ in 0..300 {
            let mut changed = frames.clone();
            for _ in 0..=rng.below(6) {
                let frame = rng.below(changed.len() as u64) as usize;
                let bytes = &mut changed[frame].bytes;
                // Mostly behind the IP header, which has a checksum of its own.
                let at = (34 + rng.below(bytes.len() as u64) as usize) % bytes.len();
                bytes[at] = rng.next_u32() as u8;
            }
            if rng.below(4) == 0 {
                let n = rng.below(changed.len() as u64) as usize;
                changed.remove(n);
            }
            let _ = read(&changed, &secrets);
        }
    }
}

#[test]
fn noise_is_survived() {
    let mut rng = Rng::stream(2, "read", "noise");
    let frames: Vec<_> = (0..2_000)
        .map(|_| {
            let mut bytes = vec![0; rng.below(120) as usize];
            rng.fill(&mut bytes);
            if bytes.len() > 24 {
                let kind = [[0x08, 0x00], [0x08, 0x06], [0x86, 0xdd], [0x81, 0x00]][rng.below(4) as usize];
                bytes[12..14].copy_from_slice(&kind);
                bytes[14] = if kind == [0x86, 0xdd] { 0x60 } else { 0x45 };
            }
            super::frames::Made { way: Way::Out, bytes }
        })
        .collect();
    assert_eq!(read(&frames, &Secrets::default()).frames, 2_000);
}
