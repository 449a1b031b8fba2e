//! Cutting and joining against each other, and against `rt-wire`'s own idea of a checksum. The kernel judges both in
//! `tests/it/offload.rs`.

use std::net::{IpAddr, Ipv4Addr};

use rt_wire::checksum;

use super::*;

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A frame with a TCP segment: 12 bytes of options, text that tells its place.
fn frame(seq: u32, flags: u8, text: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7, 8, 0];
    let total = u16::try_from(20 + 32 + text).unwrap();
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 9, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(SOURCE.octets());
    frame.extend(TARGET.octets());
    frame.extend([0x30, 0x39, 0, 80]);
    frame.extend(seq.to_be_bytes());
    frame.extend([0, 0, 0, 5, 0x80, flags, 1, 0, 0, 0, 0, 0]);
    frame.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    frame.extend((0..text).map(|n| (seq as usize + n) as u8));
    seal(&mut frame);
    frame
}

fn seal(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum::of_sum(checksum::ones_sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let (source, target) = (IpAddr::V4(SOURCE), IpAddr::V4(TARGET));
    checksum::fill_transport(source, target, 6, &mut frame[34..]);
}

fn holds(frame: &[u8]) -> bool {
    checksum::holds(checksum::ones_sum(&frame[14..34]))
        && checksum::transport_holds(IpAddr::V4(SOURCE), IpAddr::V4(TARGET), 6, &frame[34..])
}

fn with_header(header: Header, frame: &[u8]) -> Vec<u8> {
    [&header.emit()[..], frame].concat()
}

fn all(read: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = Segments::parse(read).unwrap();
    let (mut out, mut all) = (Vec::new(), Vec::new());
    while segments.next_into(&mut out) {
        all.push(out.clone());
    }
    all
}

fn joined(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut coalescer = Coalescer::new();
    for frame in frames {
        coalescer.offer(frame);
    }
    coalescer.flush();
    std::iter::from_fn(|| coalescer.next_done()).collect()
}

/// What a failure shows instead of thousands of bytes.
fn lengths(frames: &[Vec<u8>]) -> Vec<usize> {
    frames.iter().map(Vec::len).collect()
}

const TSO: Header = Header {
    flags: Header::NEEDS_CHECKSUM,
    kind: Header::TCP_V4,
    header_len: 66,
    segment_size: 1448,
    checksum_start: 34,
    checksum_offset: 16,
};

#[test]
fn header_is_read_as_written() {
    assert_eq!(Header::parse(&TSO.emit()), Some(TSO));
    assert_eq!(Header::parse(&[0; 9]), None);
}

/// Each cut segment is byte for byte what would have been sent without offload: numbers, ids, flags, checksums.
#[test]
fn long_segment_is_cut_like_the_kernel_would() {
    let long = frame(u32::MAX - 2000, 0x10 | 0x08 | 0x01 | 0x80, 4000);
    let segments = all(&with_header(TSO, &long));
    let mut at = u32::MAX - 2000;
    let expected = [(1448, 0x90, 9u16), (1448, 0x10, 10), (1104, 0x19, 11)].map(|(text, flags, id)| {
        let mut expected = frame(at, flags, text);
        let offset = at.wrapping_sub(u32::MAX - 2000) as usize;
        expected[66..].copy_from_slice(&long[66 + offset..66 + offset + text]);
        expected[18..20].copy_from_slice(&id.to_be_bytes());
        seal(&mut expected);
        at = at.wrapping_add(text as u32);
        expected
    });
    assert!(segments == expected, "{:?}", lengths(&segments));
    assert!(segments.iter().all(|s| holds(s)));
}

#[test]
fn long_datagram_is_cut_into_datagrams() {
    let mut long = frame(0, 0, 0)[..34].to_vec();
    long[23] = 17;
    long.extend([0x30, 0x39, 0, 53, 0, 0, 0, 0]);
    long.extend((0..2500).map(|n| n as u8));
    let header = Header { kind: Header::UDP_V4, segment_size: 1200, checksum_offset: 6, ..TSO };
    let cut = all(&with_header(header, &long));
    assert_eq!(lengths(&cut), [1242, 1242, 142]);
    let mut text: Vec<u8> = Vec::new();
    for datagram in &cut {
        let length = usize::from(u16::from_be_bytes([datagram[38], datagram[39]]));
        assert_eq!(length, datagram.len() - 34);
        assert!(checksum::transport_holds(IpAddr::V4(SOURCE), IpAddr::V4(TARGET), 17, &datagram[34..]));
        text.extend(&datagram[42..]);
    }
    assert!(text == long[42..]);
}

#[test]
fn unfinished_checksum_is_finished() {
    let whole = frame(1, 0x18, 100);
    let mut partial = whole.clone();
    let pseudo = checksum::fold(checksum::pseudo_v4(SOURCE, TARGET, 6, partial.len() - 34));
    partial[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let header = Header { kind: 0, segment_size: 0, ..TSO };
    for read in [with_header(header, &partial), with_header(Header::default(), &whole)] {
        assert!(all(&read) == std::slice::from_ref(&whole));
    }
}

#[test]
fn joined_segments_cut_again_are_the_same() {
    let mut frames: Vec<_> = (0..40u32).map(|n| frame(1000 + n * 1448, 0x10, 1448)).collect();
    frames.push(frame(1000 + 40 * 1448, 0x18, 700));
    for (n, frame) in frames.iter_mut().enumerate() {
        frame[18..20].copy_from_slice(&(9 + n as u16).to_be_bytes());
        seal(frame);
    }
    let long = joined(&frames);
    assert_eq!(long.len(), 1);
    assert_eq!(Header::parse(&long[0]), Some(TSO));
    assert!(all(&long[0]) == frames);
}

#[test]
fn what_must_not_be_joined_is_not() {
    let first = frame(1000, 0x10, 1448);
    let check = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut second = frame(2448, 0x10, 1448);
        change(&mut second);
        let out = joined(&[first.clone(), second.clone()]);
        let kept: Vec<_> = out.iter().map(|f| f[HEADER..].to_vec()).collect();
        assert!(kept == [first.clone(), second], "{what}: {:?}", lengths(&kept));
    };
    let sealed = |change: &'static dyn Fn(&mut Vec<u8>)| {
        move |frame: &mut Vec<u8>| {
            change(frame);
            seal(frame);
        }
    };
    check("a hole", &sealed(&|f| f[41] += 1));
    check("another acknowledgement", &sealed(&|f| f[45] += 1));
    check("another window", &sealed(&|f| f[48] += 1));
    check("another time stamp", &sealed(&|f| f[61] += 1));
    check("another lifetime", &sealed(&|f| f[22] -= 1));
    check("congestion experienced", &sealed(&|f| f[15] = 3));
    check("a FIN", &sealed(&|f| f[47] |= 1));
    check("another flow", &sealed(&|f| f[37] = 81));
    check("a fragment", &sealed(&|f| f[20] |= 0x20));
    check("a wrong checksum of TCP", &|f| f[100] ^= 1);
    check("a wrong checksum of IP", &|f| f[24] ^= 1);
    check("no TCP", &sealed(&|f| f[23] = 17));
    // A longer one cannot be, a shorter one ends the joining.
    let out = joined(&[frame(1, 0x10, 100), frame(101, 0x10, 200)]);
    assert_eq!(out.len(), 2);
    let out = joined(&[frame(1, 0x10, 100), frame(101, 0x10, 50), frame(151, 0x10, 100)]);
    assert_eq!(out.iter().map(|f| f.len() - HEADER - 66).collect::<Vec<_>>(), [150, 100]);
    let out = joined(&[frame(1, 0x18, 100), frame(101, 0x10, 100)]);
    assert_eq!(out.len(), 2, "the first one asks to be pushed");
}

#[test]
fn flows_stay_in_order_and_joined_frames_within_bounds() {
    let mut frames = Vec::new();
    for n in 0..100u32 {
        for port in 0..12u8 {
            let mut one = frame(1000 + n * 1448, 0x10, 1448);
            one[37] = port;
            seal(&mut one);
            frames.push(one);
        }
    }
    for flows in [12, 5] {
        let some: Vec<_> = frames.iter().filter(|f| f[37] < flows).cloned().collect();
        let out = joined(&some);
        assert!(out.iter().all(|f| f.len() <= HEADER + 14 + 65_535));
        for port in 0..flows {
            let of = |f: &&Vec<u8>| f[HEADER + 37] == port;
            let cut: Vec<_> = out.iter().filter(of).flat_map(|f| all(f)).collect();
            let text: Vec<u8> = cut.iter().flat_map(|f| f[66..].to_vec()).collect();
            let sent: Vec<u8> =
                some.iter().filter(|f| f[37] == port).flat_map(|f| f[66..].to_vec()).collect();
            assert!(text == sent, "port {port}");
        }
        if flows == 5 {
            assert_eq!(out.len(), 5 * 3, "45 segments fit into one packet");
        }
    }
}

/// Whatever comes out of a device, nothing panics, and what is given on is no more than a frame at a time.
#[test]
fn headers_that_lie_are_refused() {
    let long = frame(1, 0x10, 3000);
    let check = |header: Header, error: Malformed| {
        assert_eq!(Segments::parse(&with_header(header, &long)).unwrap_err(), error, "{error}");
    };
    check(Header { segment_size: 7, ..TSO }, Malformed::Size(7));
    check(Header { kind: 5, ..TSO }, Malformed::NotThat);
    check(Header { kind: 3, ..TSO }, Malformed::Kind(3));
    check(Header { kind: 4, ..TSO }, Malformed::Kind(4));
    check(Header { checksum_start: 65_535, checksum_offset: 65_535, ..TSO }, Malformed::Checksum);
    check(Header { kind: 0, checksum_start: 3064, checksum_offset: 1, ..TSO }, Malformed::Checksum);
    assert_eq!(Segments::parse(&[0; 23]).unwrap_err(), Malformed::Short);
    assert_eq!(Segments::parse(&with_header(TSO, &[0; 60])).unwrap_err(), Malformed::NotThat);
    let mut seed = 7u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    let (mut coalescer, mut out) = (Coalescer::new(), Vec::new());
    for _ in 0..200_000 {
        let mut read = with_header(TSO, &long[..14 + random(200) as usize]);
        for _ in 0..random(4) {
            let at = random(read.len() as u32) as usize;
            read[at] = random(256) as u8;
        }
        if let Ok(mut segments) = Segments::parse(&read) {
            while segments.next_into(&mut out) {
                assert!(out.len() <= read.len());
            }
        }
        coalescer.offer(&read[HEADER..]);
        while let Some(done) = coalescer.next_done() {
            coalescer.recycle(done);
        }
    }
}
