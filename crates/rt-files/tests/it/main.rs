//! A capture of real machines, read to the end: curl and OpenSSL over the Linux kernel's loopback, taken by tcpdump, with
//! the key log put inside by editcap.

use rt_base::{FrameId, PortId, Rng, Way};
use rt_files::foreign::{self, CaptureFile};
use rt_trace::read::{NodeExchanges, Secrets, SeenFrame, TlsMessageKind, read_node};

const OPENSSL_CURL: &[u8] = include_bytes!("../data/openssl-curl.pcapng");

fn exchanges(file: &CaptureFile) -> NodeExchanges {
    let secrets = Secrets::from_lines(file.secrets.iter().map(String::as_str));
    let frames = file.frames.iter().map(|f| SeenFrame {
        at: f.at,
        port: PortId(f.interface as u16),
        // tcpdump does not say; `Out` because checksums on loopback are never filled in.
        way: f.way.unwrap_or(Way::Out),
        frame: FrameId::NONE,
        bytes: &f.bytes,
    });
    read_node(frames, &secrets)
}

#[test]
fn a_capture_of_openssl_and_curl_is_read_to_the_end() {
    let file = foreign::read(OPENSSL_CURL, usize::MAX).unwrap();
    assert_eq!((file.problem.as_deref(), file.skipped), (None, 0));
    let all = exchanges(&file);
    assert_eq!((all.problems.len(), all.unread_frames), (0, 0), "{:?}", all.problems);
    let lines: Vec<String> = all
        .tcp
        .iter()
        .map(|c| {
            let tls = c.tls.as_ref();
            let e = &c.http[0];
            let r = e.response.as_ref().unwrap();
            format!(
                "{} {} {:?} -> {} {:?} {} {:?}",
                e.request.method,
                e.url(tls.is_some()),
                e.version,
                r.status,
                String::from_utf8_lossy(&r.body.content),
                r.complete,
                tls.map(|t| (t.suite_name.as_str(), t.server_name.as_deref().unwrap_or_default())),
            )
        })
        .collect();
    let sni = "example.test";
    assert_eq!(
        lines,
        [
            format!(
                "GET https://{sni}:18443/data.json Http11 -> 200 \"{{\\\"hello\\\":\\\"world\\\"}}\\n\" true Some((\"TLS_AES_256_GCM_SHA384\", \"{sni}\"))"
            ),
            format!(
                "GET https://{sni}:18444/data.json Http11 -> 200 \"{{\\\"hello\\\":\\\"world\\\"}}\\n\" true Some((\"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256\", \"{sni}\"))"
            ),
            "GET http://127.0.0.1:18080/data.json Http11 -> 200 \"{\\\"hello\\\":\\\"world\\\"}\\n\" true None".to_owned(),
        ]
    );
    for tls in all.tcp.iter().filter_map(|c| c.tls.as_ref()) {
        assert_eq!(tls.problems, Vec::<String>::new());
        let finished = tls
            .messages
            .iter()
            .filter(|m| matches!(m.what, TlsMessageKind::Finished { verified: Some(true) }));
        assert_eq!(finished.count(), 2);
        let leaf = tls.server_chain().next().unwrap();
        assert_eq!((leaf.key.as_str(), leaf.signature.as_str()), ("RSA 2048", "RSA with SHA-256"));
        assert_eq!(leaf.names, ["example.test", "127.0.0.1"]);
    }
}

#[test]
fn a_cut_capture_gives_what_came_before() {
    let whole = foreign::read(OPENSSL_CURL, usize::MAX).unwrap();
    for cut in (0..OPENSSL_CURL.len()).step_by(97) {
        let Ok(file) = foreign::read(&OPENSSL_CURL[..cut], usize::MAX) else { continue };
        assert_eq!(file.frames[..], whole.frames[..file.frames.len()], "cut at {cut}");
    }
    assert!(foreign::read(&b"nothing of the kind"[..], 10).is_err());
}

#[test]
fn changed_captures_are_survived() {
    let mut rng = Rng::stream(1, "foreign", "mutate");
    for _ in 0..200 {
        let mut bytes = OPENSSL_CURL.to_vec();
        for _ in 0..=rng.below(8) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u32() as u8;
        }
        if let Ok(file) = foreign::read(&bytes[..], 10_000) {
            let _ = exchanges(&file);
        }
    }
}
