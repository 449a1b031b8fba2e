//! Frames and handshakes as the RFC prints them; bytes from whoever.

use proptest::prelude::*;

use super::accept;
use super::frame::{Head, Opcode, Violation, write};
use super::reader::{Event, Message, Reader};

#[test]
fn the_accept_key_of_section_1_3() {
    //= rfc6455#section-1.3
    assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/// Everything that these bytes are to whoever reads.
fn read(masked: bool, bytes: &[u8]) -> (Vec<Event>, Option<Violation>) {
    let mut reader = Reader::new(masked, 1 << 17);
    let mut events = Vec::new();
    // Byte by byte: nothing may depend on how they come.
    for byte in bytes {
        reader.feed(&[*byte]);
        loop {
            match reader.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
        }
    }
    (events, None)
}

fn text(text: &str) -> Event {
    Event::Message(Message { text: true, bytes: text.as_bytes().to_vec() })
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[test]
fn the_frames_of_section_5_7() {
    //= rfc6455#section-5.7
    let plain = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let pieces = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(false, &plain), (vec![text("Hello")], None));
    assert_eq!(read(true, &masked), (vec![text("Hello")], None));
    assert_eq!(read(false, &pieces), (vec![text("Hello")], None));
    assert_eq!(read(false, &ping), (vec![Event::Ping(b"Hello".to_vec())], None));
    assert_eq!(read(true, &pong), (vec![Event::Pong(b"Hello".to_vec())], None));
    assert_eq!(write(Opcode::Text, true, None, b"Hello"), plain);
    assert_eq!(write(Opcode::Text, true, Some(MASK), b"Hello"), masked);
    assert_eq!(write(Opcode::Ping, true, None, b"Hello"), ping);
    assert_eq!(write(Opcode::Pong, true, Some(MASK), b"Hello"), pong);
    // 256 bytes and 64 KiB, unmasked.
    for (len, head) in
        [(256, &[0x82, 0x7e, 0x01, 0x00][..]), (65_536, &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..])]
    {
        let frame = write(Opcode::Binary, true, None, &vec![7; len]);
        assert!(frame.starts_with(head) && frame.len() == head.len() + len);
        let all = Event::Message(Message { text: false, bytes: vec![7; len] });
        assert_eq!(read(false, &frame), (vec![all], None));
    }
}

#[test]
fn a_ping_may_come_between_the_pieces_of_a_message() {
    let mut bytes = write(Opcode::Text, false, None, "gr\u{fc}".as_bytes());
    bytes.extend(write(Opcode::Ping, true, None, b"?"));
    bytes.extend(write(Opcode::Continuation, true, None, b"n"));
    assert_eq!(read(false, &bytes), (vec![Event::Ping(b"?".to_vec()), text("gr\u{fc}n")], None));
}

#[test]
fn what_may_not_be_is_refused_with_its_code() {
    let close = |payload: &[u8]| write(Opcode::Close, true, None, payload);
    let two = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
    let cases: [(&str, u16, Vec<u8>); 16] = [
        ("masked by a server", 1002, write(Opcode::Text, true, Some(MASK), b"x")),
        ("reserved bit", 1002, vec![0xc1, 0]),
        ("reserved opcode", 1002, vec![0x83, 0]),
        ("reserved control opcode", 1002, vec![0x8b, 0]),
        ("long ping", 1002, vec![0x89, 126, 0, 200]),
        ("ping in pieces", 1002, vec![0x09, 0]),
        ("two bytes of length for 5", 1002, vec![0x81, 126, 0, 5]),
        ("eight bytes of length for 5", 1002, vec![0x81, 127, 0, 0, 0, 0, 0, 0, 0, 5]),
        ("a length with its first bit set", 1002, vec![0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("continuation of nothing", 1002, write(Opcode::Continuation, true, None, b"x")),
        (
            "two messages at once",
            1002,
            two(write(Opcode::Text, false, None, b"x"), write(Opcode::Text, true, None, b"y")),
        ),
        ("half a close code", 1002, close(&[3])),
        ("close code 1005", 1002, close(&1005_u16.to_be_bytes())),
        ("close reason", 1007, close(&[3, 0xe8, 0xff])),
        ("text", 1007, write(Opcode::Text, true, None, &[0xff])),
        ("too long", 1009, vec![0x81, 127, 0, 0, 0, 0, 0x7f, 0, 0, 0]),
    ];
    for (what, code, bytes) in cases {
        let (events, violation) = read(false, &bytes);
        assert_eq!((events, violation.map(|v| v.code)), (vec![], Some(code)), "{what}");
    }
    let (_, unmasked) = read(true, &write(Opcode::Text, true, None, b"x"));
    assert_eq!(unmasked.map(|v| v.code), Some(1002));
    // The pieces of a message count together.
    let half = vec![b'a'; 70_000];
    let long = two(write(Opcode::Text, false, None, &half), write(Opcode::Continuation, true, None, &half));
    assert_eq!(read(false, &long).1.map(|v| v.code), Some(1009));
}

#[test]
fn a_close_frame_is_the_last() {
    let mut bytes = write(Opcode::Close, true, None, &[&1000_u16.to_be_bytes()[..], b"bye"].concat());
    bytes.extend(write(Opcode::Text, true, None, b"more"));
    assert_eq!(read(false, &bytes), (vec![Event::Close(Some(1000), "bye".into())], None));
    assert_eq!(read(false, &[0x88, 0]), (vec![Event::Close(None, String::new())], None));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_and_within_bounds(
        masked: bool,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        cuts in proptest::collection::vec(1_usize..50, 1..20),
    ) {
        let mut reader = Reader::new(masked, 100);
        let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            reader.feed(piece);
            rest = more;
            loop {
                match reader.next() {
                    Ok(Some(Event::Message(message))) => prop_assert!(message.bytes.len() <= 100),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return Ok(()),
                }
            }
            // What waits is never more than a frame and the piece that came.
            let waits = format!("{reader:?}").len();
            prop_assert!(waits < 4_000, "{}", waits);
        }
    }

    #[test]
    fn what_is_written_is_read(
        payload in proptest::collection::vec(any::<u8>(), 0..70_000),
        mask: Option<[u8; 4]>,
        binary: bool,
    ) {
        let payload = if binary { payload } else { vec![b'x'; payload.len()] };
        let opcode = if binary { Opcode::Binary } else { Opcode::Text };
        let frame = write(opcode, true, mask, &payload);
        let (head, at) = Head::read(&frame).unwrap().unwrap();
        prop_assert_eq!((head.len as usize, head.mask, at + payload.len()), (payload.len(), mask, frame.len()));
        let mut reader = Reader::new(mask.is_some(), 1 << 17);
        reader.feed(&frame);
        prop_assert_eq!(reader.next().unwrap(), Some(Event::Message(Message { text: !binary, bytes: payload })));
        prop_assert_eq!(reader.next(), Ok(None));
    }
}
