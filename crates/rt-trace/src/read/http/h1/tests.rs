//! HTTP/1 framing: each case byte by byte and in one piece.

use proptest::prelude::*;

use super::*;
use crate::read::Mark;

fn read(client: &[u8], server: &[u8], piece: usize, close: bool) -> (Vec<HttpExchange>, Vec<String>) {
    let mut h1 = H1::new(Limits { head: 4096, ..Limits::default() });
    let mut feed = |side, bytes: &[u8]| {
        for (i, part) in bytes.chunks(piece).enumerate() {
            let span = Span::of_frame((i * piece) as u64, part.len() as u64, Mark::default());
            h1.feed(side, part, span);
        }
    };
    feed(Side::Client, client);
    feed(Side::Server, server);
    if close {
        h1.end(Side::Server);
    }
    for side in [Side::Client, Side::Server] {
        if !matches!(h1.sides[side.index()].state, State::Head | State::Stopped) {
            h1.finish_message(side, false);
        }
    }
    (h1.exchanges, h1.problems)
}

/// One line per exchange: `GET / -> 200 5 "hello"`, `+` for complete.
#[track_caller]
fn check(client: &str, server: &str, close: bool, expect: &[&str]) {
    for piece in [1, 7, 100_000] {
        let (exchanges, _) = read(client.as_bytes(), server.as_bytes(), piece, close);
        let lines: Vec<String> = exchanges.iter().map(line).collect();
        assert_eq!(lines, expect, "in pieces of {piece}");
    }
}

fn line(e: &HttpExchange) -> String {
    let text = |b: &Body| String::from_utf8_lossy(&b.content).into_owned();
    let mut out = format!("{} {} {:?}", e.request.method, e.request.target, text(&e.request.body));
    for interim in &e.interim {
        out += &format!(" ({})", interim.status);
    }
    if let Some(r) = &e.response {
        out += &format!(" -> {} {:?}{}", r.status, text(&r.body), if r.complete { "+" } else { "" });
    }
    out
}

#[test]
fn pipelined_requests_find_their_responses() {
    check(
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /b HTTP/1.1\r\nHost: x\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        false,
        &[r#"GET /a "" -> 200 "hello"+"#, r#"HEAD /b "" -> 200 ""+"#, r#"GET /c "" -> 204 ""+"#],
    );
}

#[test]
fn chunks_with_extensions_and_trailers() {
    check(
        "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        false,
        &[r#"POST /p "abcde" -> 200 "hello"+"#],
    );
    let (exchanges, _) = read(
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
        3,
        false,
    );
    assert_eq!(exchanges[0].response.as_ref().unwrap().trailers[0].value, "1");
}

#[test]
fn interim_responses_and_bodies_until_close() {
    check(
        "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end",
        true,
        &[r#"POST / "hi" (100) -> 200 "until the end"+"#],
    );
    check("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\ncut", false, &[r#"GET / "" -> 200 "cut""#]);
}

#[test]
fn what_cannot_be_framed_is_said() {
    let (exchanges, problems) = read(
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        100,
        false,
    );
    assert_eq!(exchanges.len(), 1);
    assert_eq!(problems, ["HTTP/1 of the server was not read on: a chunk size that is none"]);
    let (_, problems) = read(&[b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 5000]].concat(), b"", 100, false);
    assert_eq!(problems, ["HTTP/1 of the client was not read on: the head is too long"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_are_survived_and_pieces_do_not_matter(
        flips in prop::collection::vec((0_usize..300, any::<u8>()), 0..4), piece in 1_usize..40,
    ) {
        let mut both = [
            b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec(),
        ];
        for (at, with) in flips {
            let side = &mut both[at % 2];
            let at = at / 2 % side.len();
            side[at] ^= with;
        }
        let whole = read(&both[0], &both[1], 1 << 20, true);
        let parts = read(&both[0], &both[1], piece, true);
        prop_assert_eq!(whole.0.iter().map(line).collect::<Vec<_>>(), parts.0.iter().map(line).collect::<Vec<_>>());
    }
}
