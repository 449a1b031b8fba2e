//! Hand-made frames: what hyper does not send (padding, priority, push, CONTINUATION), and changed bytes.

use proptest::prelude::*;

use super::*;
use crate::read::Mark;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn read(client: &[u8], server: &[u8], piece: usize) -> (Vec<HttpExchange>, Http2Session) {
    let mut h2 = H2::new(Limits::default());
    for (side, bytes) in [(Side::Client, [H2_PREFACE, client].concat()), (Side::Server, server.to_vec())] {
        for (i, part) in bytes.chunks(piece).enumerate() {
            h2.feed(side, part, Span::of_frame((i * piece) as u64, part.len() as u64, Mark::default()));
        }
    }
    (h2.exchanges, h2.session)
}

fn line(e: &HttpExchange) -> String {
    let response = e.response.as_ref().map(|r| {
        let text = String::from_utf8_lossy(&r.body.content).into_owned();
        format!("{} {text:?} {} trailers {}", r.status, r.complete, r.trailers.len())
    });
    format!(
        "{} {} {} {response:?} {:?}",
        e.stream,
        e.request.method,
        e.request.target,
        e.reset.map(|r| r.code)
    )
}

#[track_caller]
fn check(client: &[Vec<u8>], server: &[Vec<u8>], expect: &[&str]) {
    for piece in [1, 13, 100_000] {
        let (exchanges, session) = read(&client.concat(), &server.concat(), piece);
        assert_eq!(exchanges.iter().map(line).collect::<Vec<_>>(), expect, "in pieces of {piece}");
        assert_eq!(session.problem, None);
    }
}

#[test]
fn padding_priority_continuation_and_trailers() {
    check(
        &[
            frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]),
            frame(1, 0x29, 1, &[2, 0, 0, 0, 0, 16, 0x82, 0x87, 0, 0]),
            frame(9, 4, 1, &[0x84]),
        ],
        &[
            frame(4, 0, 0, &[]),
            frame(1, 4, 1, &[0x88]),
            frame(0, 8, 1, &[3, b'h', b'i', 0, 0, 0]),
            frame(0, 0, 1, b"!"),
            frame(1, 5, 1, &[0, 1, b'x', 1, b'y']),
        ],
        &[r#"1 GET / Some("200 \"hi!\" true trailers 1") None"#],
    );
}

#[test]
fn push_and_reset() {
    check(
        &[
            frame(1, 5, 1, &[0x82, 0x84, 0x87]),
            frame(1, 5, 3, &[0x82, 0x85, 0x87]),
            frame(3, 0, 3, &[0, 0, 0, 8]),
        ],
        &[
            frame(5, 4, 1, &[0, 0, 0, 2, 0x82, 0x85, 0x87]),
            frame(1, 5, 2, &[0x8d]),
            frame(1, 4, 1, &[0x88]),
            frame(0, 1, 1, b"x"),
        ],
        &[
            r#"1 GET / Some("200 \"x\" true trailers 0") None"#,
            r"3 GET /index.html None Some(8)",
            r#"2 GET /index.html Some("404 \"\" true trailers 0") None"#,
        ],
    );
}

#[test]
fn an_interrupted_block_is_said() {
    let (_, session) = read(&[frame(1, 0, 1, &[0x82]), frame(6, 0, 0, &[0; 8])].concat(), &[], 100);
    assert_eq!(
        session.problem.as_deref(),
        Some("HTTP/2 of the client was not read on: a header block is interrupted by another frame")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_are_survived_and_pieces_do_not_matter(
        flips in prop::collection::vec((0_usize..200, any::<u8>()), 0..4), piece in 1_usize..40,
    ) {
        let mut client = [frame(1, 5, 1, &[0x82, 0x84, 0x87]), frame(1, 4, 3, &[0x83, 0x84, 0x87]), frame(0, 1, 3, b"abc")].concat();
        let server = [frame(1, 4, 1, &[0x88]), frame(0, 1, 1, b"x"), frame(1, 5, 3, &[0x89])].concat();
        for (at, with) in flips {
            let at = at % client.len();
            client[at] ^= with;
        }
        let whole = read(&client, &server, 1 << 20);
        let parts = read(&client, &server, piece);
        prop_assert_eq!(whole.0.iter().map(line).collect::<Vec<_>>(), parts.0.iter().map(line).collect::<Vec<_>>());
    }
}
