//! TLS by rustls, both versions, read with the key log alone.

use super::frames::{connection, read};
use super::pump::{Ends, Extra, Pieces, Setup, run};
use crate::read::{Secrets, Side, TcpApplication, TcpConversation, TlsMessageKind};

const ASK: &str = "GET /early HTTP/1.1\r\nHost: google.com\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn talk() -> Pieces {
    let one = [(Side::Client, ASK.as_bytes().to_vec()), (Side::Server, ANSWER.as_bytes().to_vec())];
    [one.clone(), one.clone(), one].concat()
}

/// Runs one connection and reads it with what the key log holds by then.
fn read_one(ends: &Ends, extra: Extra) -> TcpConversation {
    let wire = run(ends, &talk(), extra);
    let lines = ends.log.lines();
    let secrets = Secrets::from_lines(lines.iter().map(String::as_str));
    let mut seen = read(&connection(&wire, 700), &secrets);
    assert_eq!(seen.tcp.len(), 1);
    seen.tcp.remove(0)
}

/// The messages as one word each, the client's to the left.
fn words(c: &TcpConversation) -> Vec<String> {
    c.tls.as_ref().unwrap().messages.iter().map(word).collect()
}

fn word(m: &crate::read::TlsMessage) -> String {
    let text = match &m.what {
        TlsMessageKind::Finished { verified } => format!("Finished({verified:?})"),
        TlsMessageKind::Certificate { chain } => format!("Certificate({})", chain.len()),
        TlsMessageKind::Alert { name, .. } => name.clone(),
        TlsMessageKind::Other { note, .. } => note.clone(),
        other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    };
    let sealed = if m.sealed { "*" } else { "" };
    format!("{}{text}{sealed}", if m.from == Side::Client { "> " } else { "< " })
}

/// Behind a CONNECT, with one that was refused before it, everything is found as without a proxy.
#[test]
fn inside_a_tunnel_tls_is_read() {
    let ends = Setup::tls13("AES_128_GCM").ends();
    let inside = run(&ends, &talk(), Extra::Nothing);
    let ask = "CONNECT google.com:443 HTTP/1.1\r\nHost: google.com:443\r\n";
    let mut wire: Pieces = vec![
        (Side::Client, format!("{ask}\r\n").into_bytes()),
        (Side::Server, b"HTTP/1.1 407 Say Who\r\nContent-Length: 2\r\n\r\nno".to_vec()),
        (Side::Client, format!("{ask}Proxy-Authorization: Basic YTpi\r\n\r\n").into_bytes()),
        (Side::Server, b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
    ];
    let plain = read(&connection(&inside, 700), &secrets(&ends)).tcp.remove(0);
    wire.extend(inside);
    let through = read(&connection(&wire, 700), &secrets(&ends)).tcp.remove(0);
    assert_eq!(words(&through), words(&plain));
    assert_eq!(through.http.len(), plain.http.len());
    assert_eq!(through.http[0].request.target, "/early");
    assert_eq!(through.http[0].ordinal, 0);
    let said: Vec<u16> = through.tunnel.iter().map(|e| e.response.as_ref().unwrap().status).collect();
    assert_eq!(said, [407, 200]);
    assert_eq!(through.problems, Vec::<String>::new());
}

fn secrets(ends: &Ends) -> Secrets {
    let lines = ends.log.lines();
    Secrets::from_lines(lines.iter().map(String::as_str))
}

#[track_caller]
fn check(c: &TcpConversation, resumed: bool, requests: usize) {
    let tls = c.tls.as_ref().unwrap();
    assert_eq!(tls.problems, Vec::<String>::new(), "{:?}", words(c));
    assert_eq!(c.problems, Vec::<String>::new());
    assert_eq!(tls.resumed, resumed);
    assert!(tls.readable && tls.handshake_done.is_some());
    assert_eq!(tls.from_client.sealed_records + tls.from_server.sealed_records, 0);
    assert!(tls.from_client.close_notify.is_some() && tls.from_server.close_notify.is_some());
    assert_eq!((tls.server_name.as_deref(), tls.alpn.as_deref()), (Some("google.com"), Some("http/1.1")));
    let finished: Vec<_> = tls
        .messages
        .iter()
        .filter_map(|m| match m.what {
            TlsMessageKind::Finished { verified } => Some(verified),
            _ => None,
        })
        .collect();
    assert_eq!(finished, [Some(true), Some(true)]);
    assert_eq!(c.application, TcpApplication::Http1);
    let lines: Vec<String> = c
        .http
        .iter()
        .map(|e| {
            let r = e.response.as_ref().unwrap();
            format!("{} {} {}", e.url(true), r.status, String::from_utf8_lossy(&r.body.content))
        })
        .collect();
    assert_eq!(lines, vec!["https://google.com/early 200 hello"; requests]);
}

#[test]
fn tls13_full_and_resumed_with_every_suite_and_new_keys() {
    for suite in ["TLS13_AES_128_GCM", "TLS13_AES_256_GCM", "TLS13_CHACHA20"] {
        let ends = Setup::tls13(suite).ends();
        let full = read_one(&ends, Extra::KeyUpdate);
        check(&full, false, 3);
        assert!(words(&full).iter().filter(|w| w.contains("KeyUpdate")).count() >= 2);
        check(&read_one(&ends, Extra::Nothing), true, 3);
    }
}

#[test]
fn tls13_messages_say_what_they_carry() {
    let ends = Setup::tls13("TLS13_AES_128_GCM").ends();
    let c = read_one(&ends, Extra::Nothing);
    let list = words(&c);
    let expected = [
        "> ClientHello",
        "< ServerHello",
        "< ChangeCipherSpec",
        "< EncryptedExtensions*",
        "< Certificate(2)*",
        "< CertificateVerify*",
        "< Finished(Some(true))*",
        "> ChangeCipherSpec",
        "> Finished(Some(true))*",
        "< NewSessionTicket*",
    ];
    assert_eq!(list[..expected.len()], expected);
    let tls = c.tls.unwrap();
    assert_eq!((tls.suite_name.as_str(), tls.group.as_deref()), ("TLS_AES_128_GCM_SHA256", Some("x25519")));
    let leaf = tls.server_chain().next().unwrap();
    assert_eq!(leaf.names, ["google.com", "*.google.com"]);
    assert_eq!((leaf.key.as_str(), leaf.signature.as_str()), ("EC P-256", "ECDSA with SHA-256"));
    assert!(leaf.subject.contains("CN=google.com") && leaf.issuer.contains("CN=Test Root"), "{leaf:?}");
    // 2020-02-29 and 2099-12-31, by `date -u +%s`.
    assert_eq!((leaf.not_before, leaf.not_after), (Some(1_582_934_400), Some(4_102_358_400)));
    assert_eq!((leaf.is_ca, tls.server_chain().nth(1).unwrap().is_ca), (false, true));
    let TlsMessageKind::ClientHello { versions, alpn, key_shares, .. } = &tls.messages[0].what else {
        panic!()
    };
    assert_eq!(
        (versions[0].as_str(), alpn.as_slice()),
        ("TLS 1.3", ["h2", "http/1.1"].map(String::from).as_slice())
    );
    assert_eq!(key_shares, &["x25519"]);
}

#[test]
fn hello_retry_request() {
    let ends = Setup { retry: true, ..Setup::tls13("TLS13_AES_256_GCM") }.ends();
    let c = read_one(&ends, Extra::Nothing);
    check(&c, false, 3);
    assert_eq!(words(&c)[1], "< HelloRetryRequest");
    let tls = c.tls.unwrap();
    assert!(tls.retried);
    assert_eq!(tls.group.as_deref(), Some("secp256r1"));
}

#[test]
fn early_data_taken_and_refused() {
    use crate::read::EarlyData;
    let ends = Setup { early: true, ..Setup::tls13("TLS13_AES_128_GCM") }.ends();
    check(&read_one(&ends, Extra::Nothing), false, 3);
    let c = read_one(&ends, Extra::Early);
    check(&c, true, 3);
    assert_eq!(c.tls.as_ref().unwrap().early_data, EarlyData::Accepted);
    assert!(words(&c).contains(&"> EndOfEarlyData*".to_owned()));
    // The same client meets a server that has forgotten the session.
    let other =
        Ends { server: Setup { early: true, ..Setup::tls13("TLS13_AES_128_GCM") }.ends().server, ..ends };
    let refused = read_one(&other, Extra::Early);
    check(&refused, false, 3);
    assert_eq!(refused.tls.unwrap().early_data, EarlyData::Refused);
}

#[test]
fn tls12_full_and_resumed_with_every_suite() {
    let suites =
        ["ECDHE_ECDSA_WITH_AES_128_GCM", "ECDHE_ECDSA_WITH_AES_256_GCM", "ECDHE_ECDSA_WITH_CHACHA20"];
    for suite in suites {
        let ends = Setup { tls12: true, ..Setup::tls13(suite) }.ends();
        let full = read_one(&ends, Extra::Nothing);
        check(&full, false, 3);
        assert_eq!(full.tls.unwrap().group.as_deref(), Some("x25519"));
        check(&read_one(&ends, Extra::Nothing), true, 3);
    }
}

#[test]
fn without_keys_it_is_sealed_and_said_so() {
    let ends = Setup::tls13("TLS13_AES_128_GCM").ends();
    let wire = run(&ends, &talk(), Extra::Nothing);
    let seen = read(&connection(&wire, 1460), &Secrets::default());
    let c = &seen.tcp[0];
    assert_eq!((c.application, c.http.len()), (TcpApplication::Sealed, 0));
    let tls = c.tls.as_ref().unwrap();
    assert_eq!(tls.problems, ["the key log has no secret for this session"]);
    assert_eq!(tls.server_name.as_deref(), Some("google.com"));
}

#[test]
fn parts_point_at_the_frames_that_carried_them() {
    let ends = Setup::tls13("TLS13_AES_128_GCM").ends();
    let body = "x".repeat(40_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let wire = run(
        &ends,
        &[(Side::Client, ASK.as_bytes().to_vec()), (Side::Server, answer.into_bytes())],
        Extra::Nothing,
    );
    let lines = ends.log.lines();
    let secrets = Secrets::from_lines(lines.iter().map(String::as_str));
    let mut frames = connection(&wire, 1460);
    // The last data segment of the server comes before one that should be first.
    let data: Vec<usize> = (0..frames.len()).filter(|i| frames[*i].bytes.len() > 1_400).collect();
    let (a, b) = (data[data.len() - 3], data[data.len() - 2]);
    frames.swap(a, b);
    let seen = read(&frames, &secrets);
    let c = &seen.tcp[0];
    let response = c.http[0].response.as_ref().unwrap();
    let span = response.body.span.unwrap();
    assert!(response.complete && response.body.content == body.as_bytes());
    assert!(span.first.at >= response.head.first.at && span.last.at > span.first.at);
    // The last byte was carried by the frame of the last data segment of that record.
    let segment =
        c.segments.iter().find(|s| s.from == Side::Server && s.mark.frame == span.last.frame).unwrap();
    assert!(segment.offset < span.end && span.end <= segment.offset + u64::from(segment.len));
    assert_eq!(
        c.from_server.bytes,
        c.segments.iter().filter(|s| s.from == Side::Server).map(|s| u64::from(s.len)).sum::<u64>()
    );
}
