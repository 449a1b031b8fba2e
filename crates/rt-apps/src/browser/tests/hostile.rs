//! Servers that answer nonsense, clients that ask nonsense: nobody panics, nobody waits for ever, everybody else is
//! still served.

use rt_base::{AppRecord, Nanos};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Setup, World, open};
use crate::proxy::{Edge, Upstream};
use crate::server::{PageSet, Resource, WebServer};
use crate::{ConnectOptions, Net, StepFn, StepResult};

/// Answers every request on port 9000 with the same bytes, whatever it is, and hangs up.
async fn answer_with(net: Net, answer: Vec<u8>) {
    let listener = net.tcp_listen(9000).unwrap();
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte).await {
                Ok(1) => heard.push(byte[0]),
                _ => break,
            }
        }
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
    }
}

/// What the browser says of a server on port 9000 that answers `answer`.
fn browse(answer: impl Into<Vec<u8>>) -> String {
    let (mut world, browser) = World::new(&Setup::default());
    let net = world.runtime.net();
    drop(net.spawn(answer_with(net.clone(), answer.into())));
    let (_, summary) = world.step(open("http://google.com:9000/", &browser));
    assert_eq!(world.runtime.open_connections(), 0, "{}", world.story());
    summary
}

#[test]
fn a_browser_survives_its_servers() {
    let bomb = crate::http::Coding::Gzip.encode(&vec![0; (64 << 20) + 1]);
    let bomb = [
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len())
            .as_bytes(),
        &bomb,
    ]
    .concat();
    let headers = "X: y\r\n".repeat(5_000);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        ("".into(), "http.closed: google.com: connection closed before message completed"),
        ("nonsense\r\n\r\n".into(), "http.protocol: google.com: invalid HTTP version parsed"),
        (vec![0xff; 100_000], "http.protocol: google.com: invalid HTTP version parsed"),
        ("HTTP/1.1 999999 x\r\n\r\n".into(), "http.protocol: google.com: invalid HTTP status-code parsed"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort".into(),
            "http.closed: google.com closed the connection before the response was whole",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".into(),
            "http.protocol: google.com: invalid content-length parsed",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n".into(),
            "http.protocol: google.com: Invalid chunk size line: missing size digit",
        ),
        (format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into(), "http.protocol: google.com: message head is too large"),
        (bomb, "http.bad_body: the gzip body is larger than 64 MiB"),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: 1\r\n\r\nx".into(),
            "http.bad_body: the content coding zstd was not asked for",
        ),
        (
            "HTTP/1.1 304 Not Modified\r\n\r\n".into(),
            "http.unexpected_304: http://google.com:9000/ is said to be unchanged, but it is not stored",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".into(),
            "http.too_many_redirects: 20 redirects for http://google.com:9000/",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: gopher://x/\r\nContent-Length: 0\r\n\r\n".into(),
            "http.bad_redirect: this browser speaks http and https, not gopher",
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://google.com/nowhere\r\nContent-Length: 0\r\n\r\n".into(),
            "404 HTTP/2, 184 B",
        ),
        // Without length: until the connection ends. Broken HTML, bad cookies, references that lead nowhere.
        (
            "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: ;;==;\r\n\r\n<img src='http://[::'><img src=x y='".into(),
            "200 HTTP/1.1, 36 B",
        ),
    ];
    for (answer, expected) in cases {
        let start = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        assert_eq!(browse(answer), expected, "{start:?}");
    }
}

/// What the browser gets of such a server through a balancer, and how the balancer's request ended.
fn browse_through_edge(answer: &str) -> (String, String) {
    let (mut world, browser) = World::new(&Setup::default());
    let net = world.runtime.net();
    drop(net.spawn(answer_with(net.clone(), answer.into())));
    let upstream = Upstream { name: "odd".into(), address: "127.0.0.1:9000".parse().unwrap() };
    let mut edge = Edge::new(9001, vec![upstream]);
    edge.pools[0].rules.timeout = Nanos::from_secs(5);
    drop(net.spawn(edge.run(net.clone())));
    let (_, summary) = world.step(open("http://google.com:9001/", &browser));
    assert_eq!(world.runtime.open_connections(), 0, "{}", world.story());
    let ends = world.said().filter_map(|said| match said {
        AppRecord::RequestEnd { req, note, .. } if req.0 == 3 => Some(note.clone()),
        _ => None,
    });
    (summary, ends.collect::<Vec<_>>().join("; "))
}

#[test]
fn a_balancer_survives_its_servers() {
    let long = "x".repeat(20_000);
    let cases = [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n"
                .to_owned(),
            "200 HTTP/1.1, 5 B",
            "passed on",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n{long}"),
            "200 HTTP/1.1, 20.0 kB",
            "passed on",
        ),
        (format!("HTTP/1.0 200 OK\r\n\r\n{long}"), "200 HTTP/1.1, 20.0 kB", "passed on"),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n{long}"),
            "http.closed: google.com closed the connection before the response was whole",
            "broke off",
        ),
        (
            "HTTP/1.1 204 No Content\r\nConnection: close, X-Odd\r\nX-Odd: 1\r\n\r\n".to_owned(),
            "204 HTTP/1.1, 0 B",
            "passed on",
        ),
        (
            "nonsense\r\n\r\n".to_owned(),
            "502 HTTP/1.1, 215 B",
            "no upstream took the request (odd: invalid HTTP version parsed)",
        ),
    ];
    for (answer, summary, end) in cases {
        let start = answer[..answer.len().min(60)].to_owned();
        assert_eq!(browse_through_edge(&answer), (summary.to_owned(), end.to_owned()), "{start:?}");
    }
}

#[test]
fn a_balancer_tells_when_the_client_goes_away() {
    let mut setup = Setup { silent: true, ..Setup::default() };
    setup.browser.timeout = Nanos::from_secs(2);
    for url in ["https://google.com/", "http://google.com/"] {
        let (mut world, browser) = World::new(&setup);
        let (_, summary) = world.step(open(url, &browser));
        assert!(summary.starts_with("http.timeout"), "{summary}");
        assert!(world.story().contains("end 0 ok=false 0 B: the client went away"), "{}", world.story());
        assert_eq!(world.runtime.open_connections(), 0, "{}", world.story());
    }
}

/// Sends `request` to port 8080 and gives the first line of what comes.
fn send_raw(request: &'static [u8]) -> StepFn {
    Box::new(move |net: Net| {
        Box::pin(async move {
            let to = "127.0.0.1:8080".parse().unwrap();
            let mut stream = net.tcp_connect(to, ConnectOptions::default()).await.unwrap();
            let _ = stream.write_all(request).await;
            let _ = stream.shutdown().await;
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard).await;
            StepResult::ok(String::from_utf8_lossy(&heard).lines().next().unwrap_or("nothing"))
        })
    })
}

#[test]
fn a_server_survives_its_clients() {
    let cases: [(&[u8], &str); 8] = [
        (b"", "nothing"),
        (b"\xff\xfe\xfd\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", "nothing"),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc", "HTTP/1.1 400 Bad Request"),
        (b"POST /a HTTP/1.1\r\nContent-Length: 99999999\r\n\r\nabc", "HTTP/1.1 413 Payload Too Large"),
        // An HTTP/2 preface without agreement on h2: hyper hangs up.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "nothing"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/1.1 400 Bad Request"),
    ];
    let (mut world, browser) = World::new(&Setup::default());
    for (request, expected) in cases {
        let shown = String::from_utf8_lossy(request).into_owned();
        assert_eq!(world.step(send_raw(request)).1, expected, "{shown:?}");
    }
    let (ok, summary) = world.step(open("http://google.com:8080/", &browser));
    assert!(ok, "{summary}");
    assert_eq!(world.runtime.open_connections(), 0);
}

#[test]
fn six_connections_carry_twenty_images() {
    let (mut world, browser) = World::new(&Setup::default());
    let net = world.runtime.net();
    let html: String = (0..20).map(|n| format!("<img src=/{n}.png>")).collect();
    let mut resources = vec![("/".to_owned(), Resource::new("text/html", html))];
    resources.extend((0..20).map(|n| (format!("/{n}.png"), Resource::new("image/png", vec![n; 3_000]))));
    let server =
        WebServer { think: Nanos::from_millis(10), ..WebServer::new(9000, PageSet::new("test", resources)) };
    drop(net.spawn(server.run(net.clone())));
    let (ok, summary) = world.step(open("http://google.com:9000/", &browser));
    assert!(ok && summary.ends_with("in 21 resources"), "{summary}");
    // The page, then 20 images by six at a time: 10 ms each round.
    let rendered = world.said.iter().find(|(_, said)| matches!(said, AppRecord::Rendered { .. }));
    assert_eq!(rendered.unwrap().0.0, 1_000_000 * (10 + 5 + 4 * 10 + 14));
    let opened = world.story().matches("reused=false").count();
    assert_eq!(opened, 6, "{}", world.story());
}
