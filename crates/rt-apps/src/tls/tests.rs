//! Handshakes over an in-memory pipe, each side with its own dice; outside judges: webpki (in every handshake) and, when
//! the machine has it, OpenSSL.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use rt_base::{AppRecord, Rng, Time};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{Authority, CertificateSpec, ClientTls, ServerTls, SignedBy, TlsHooks};
use crate::entropy::lend;

/// 2026-11-21 00:00 UTC.
pub(crate) const EPOCH: u64 = 1_795_219_200;

/// What hooks said, in order.
pub(crate) type Said = Arc<Mutex<Vec<AppRecord>>>;

/// Hooks with a fixed clock that write down what is said.
pub(crate) fn hooks(now: u64) -> (TlsHooks, Said) {
    let said = Said::default();
    let theirs = Arc::clone(&said);
    let say = Arc::new(move |record| theirs.lock().unwrap().push(record));
    (TlsHooks { unix_time: Arc::new(move || now), now: Arc::new(|| Time::ZERO), say }, said)
}

/// Polls two nodes in turn, each with its own dice, until both are done.
pub(crate) fn run_both<A, B>(seed: u64, a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let mut dice = [Rng::stream(seed, "client", "entropy"), Rng::stream(seed, "server", "entropy")];
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut left, mut right) = (None, None);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if left.is_none()
            && let Poll::Ready(value) = lend(&mut dice[0], || a.as_mut().poll(&mut cx))
        {
            left = Some(value);
        }
        if right.is_none()
            && let Poll::Ready(value) = lend(&mut dice[1], || b.as_mut().poll(&mut cx))
        {
            right = Some(value);
        }
        if left.is_some() && right.is_some() {
            break;
        }
    }
    (left.expect("the client ends"), right.expect("the server ends"))
}

/// A stream that keeps all that is written to it.
pub(crate) struct Tap<S> {
    inner: S,
    written: Arc<Mutex<Vec<u8>>>,
}

impl<S> Tap<S> {
    pub(crate) fn new(inner: S) -> (Tap<S>, Arc<Mutex<Vec<u8>>>) {
        let written = Arc::default();
        (Tap { inner, written: Arc::clone(&written) }, written)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.written.lock().unwrap().extend_from_slice(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// What one session of the tests is about.
#[derive(Clone, Copy)]
struct Case {
    seed: u64,
    /// Name asked for.
    name: &'static str,
    signed_by: SignedBy,
    /// Whether the client has the root in its trust store.
    trusts: bool,
    /// Days from the epoch.
    valid: (i64, i64),
}

const GOOD: Case =
    Case { seed: 7, name: "google.com", signed_by: SignedBy::PublicCa, trusts: true, valid: (-30, 60) };

/// Chain and note of a verdict.
type Judged = Option<(Vec<String>, String)>;

/// All that shows of a session.
#[derive(PartialEq, Debug)]
struct Outcome {
    client_bytes: Vec<u8>,
    server_bytes: Vec<u8>,
    secrets: Vec<AppRecord>,
    /// Per connection: resumed or the failure's code, and the verdict's chain and note.
    ends: Vec<(&'static str, Judged)>,
    suite: String,
}

/// Two connections with one ticket store.
fn session(case: Case) -> Outcome {
    let day = |days: i64| EPOCH.checked_add_signed(days * 86_400).unwrap();
    let authority = Authority::new(case.seed, EPOCH).unwrap();
    let identity = authority
        .issue(&CertificateSpec {
            names: vec!["google.com".into(), "*.google.com".into()],
            not_before: day(case.valid.0),
            not_after: day(case.valid.1),
            signed_by: case.signed_by,
        })
        .unwrap();
    let (client_hooks, said) = hooks(EPOCH);
    let (server_hooks, _) = hooks(EPOCH);
    let roots = if case.trusts { vec![authority.root().clone()] } else { Vec::new() };
    let client = ClientTls::new(client_hooks, &roots, &["h2", "http/1.1"]).unwrap();
    let mut rng = Rng::stream(case.seed, "server", "tls.ticket-key");
    let server = ServerTls::new(server_hooks, &[identity], &["h2", "http/1.1"], &mut rng).unwrap();
    let mut outcome = Outcome {
        client_bytes: Vec::new(),
        server_bytes: Vec::new(),
        secrets: Vec::new(),
        ends: Vec::new(),
        suite: String::new(),
    };
    for round in 0..2 {
        connection(case.seed + 1000 * round, case.name, &client, &server, &mut outcome);
    }
    outcome.secrets = std::mem::take(&mut said.lock().unwrap());
    outcome
}

fn connection(seed: u64, name: &str, client: &ClientTls, server: &ServerTls, outcome: &mut Outcome) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (near, client_bytes) = Tap::new(near);
    let (far, server_bytes) = Tap::new(far);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let talk = async {
        let mut stream = client.connect(name.clone(), near).await?;
        stream.write_all(b"ping").await?;
        let mut pong = [0; 4];
        stream.read_exact(&mut pong).await?;
        let (_, tls) = stream.get_ref();
        assert_eq!(tls.alpn_protocol(), Some(&b"h2"[..]));
        let suite = format!("{:?}", tls.negotiated_cipher_suite().unwrap().suite());
        let kind = match tls.handshake_kind() {
            Some(rustls::HandshakeKind::Resumed) => "resumed",
            _ => "full",
        };
        stream.shutdown().await?;
        std::io::Result::Ok((kind, suite))
    };
    let answer = async {
        let mut stream = server.accept(far).await?;
        let mut ping = [0; 4];
        stream.read_exact(&mut ping).await?;
        stream.write_all(b"pong").await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        stream.shutdown().await
    };
    let (talked, _) = run_both(seed, talk, answer);
    outcome.client_bytes.extend_from_slice(&client_bytes.lock().unwrap());
    outcome.server_bytes.extend_from_slice(&server_bytes.lock().unwrap());
    let verdict = client.take_verdict(&name).map(|verdict| (verdict.chain, verdict.note));
    let end = match talked {
        Ok((kind, suite)) => {
            outcome.suite = suite;
            kind
        }
        Err(error) => super::TlsFailure::of_io(&error).unwrap().code(),
    };
    outcome.ends.push((end, verdict));
}

const INTERMEDIATE: &str = "CN=Roundtrip Intermediate CA 1, O=Roundtrip Trust Services";
const ROOT: &str = "CN=Roundtrip Root CA, O=Roundtrip Trust Services";

#[test]
fn the_second_connection_resumes_and_only_the_first_checks_the_chain() {
    let outcome = session(GOOD);
    let chain = ["CN=google.com", INTERMEDIATE, ROOT].map(str::to_owned).to_vec();
    let note = format!("leads to {ROOT}, which is in the trust store");
    assert_eq!(outcome.ends, [("full", Some((chain, note))), ("resumed", None)]);
    assert_eq!(outcome.suite, "TLS13_AES_128_GCM_SHA256");
}

#[test]
fn one_seed_one_world_another_seed_another() {
    let (first, again) = (session(GOOD), session(GOOD));
    assert!(first == again, "same seed, same bytes, certificates and key log");
    assert_eq!(first.secrets.len(), 10, "five secrets of each connection");
    let other = session(Case { seed: 8, ..GOOD });
    assert_ne!(first.client_bytes, other.client_bytes);
    assert_ne!(first.server_bytes, other.server_bytes);
    assert_ne!(first.secrets, other.secrets);
    assert_eq!(first.ends, other.ends, "the same story");
}

#[test]
fn each_fault_has_its_code_and_sentence() {
    let cases = [
        (
            Case { valid: (-60, -21), ..GOOD },
            "tls.expired",
            "the certificate expired on Sat, 31 Oct 2026 00:00:00 GMT, and it is Sat, 21 Nov 2026 00:00:00 GMT now",
        ),
        (
            Case { valid: (10, 60), ..GOOD },
            "tls.not_yet_valid",
            "the certificate is not valid before Tue, 01 Dec 2026 00:00:00 GMT, and it is Sat, 21 Nov 2026 00:00:00 GMT now",
        ),
        (
            Case { name: "gogle.com", ..GOOD },
            "tls.wrong_name",
            "the certificate is for google.com, *.google.com, not for gogle.com",
        ),
        (
            Case { signed_by: SignedBy::UnknownCa, ..GOOD },
            "tls.unknown_issuer",
            "no chain leads to a root in the trust store",
        ),
        (Case { trusts: false, ..GOOD }, "tls.unknown_issuer", "no chain leads to a root in the trust store"),
    ];
    for (case, code, note) in cases {
        let outcome = session(case);
        let (end, verdict) = &outcome.ends[0];
        assert_eq!((*end, verdict.as_ref().unwrap().1.as_str()), (code, note));
    }
}

/// A server with three identities; the second is for a name and a pattern.
fn three(refuses: bool) -> (Authority, ServerTls) {
    let authority = Authority::new(5, EPOCH).unwrap();
    let issue = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let (not_before, not_after) = (EPOCH - 86_400, EPOCH + 86_400);
        authority
            .issue(&CertificateSpec { names, not_before, not_after, signed_by: SignedBy::PublicCa })
            .unwrap()
    };
    let identities =
        [issue(&["first.test"]), issue(&["shop.test", "*.shop.test"]), issue(&["www.shop.test"])];
    let mut rng = Rng::stream(5, "server", "tls.ticket-key");
    let server = ServerTls::new(hooks(EPOCH).0, &identities, &["h2"], &mut rng).unwrap();
    (authority, if refuses { server.refusing_unknown_names() } else { server })
}

/// How a client's handshake for `name` ends: the names in the certificate that it was shown, or what it could not read.
fn shown(name: &str, refuses: bool) -> String {
    let (authority, server) = three(refuses);
    let client = ClientTls::new(hooks(EPOCH).0, &[authority.root().clone()], &["h2"]).unwrap();
    let (near, far) = tokio::io::duplex(1 << 20);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let talk = async { client.connect(name.clone(), near).await };
    let answer =
        async { server.accept(far).await.map(|stream| stream.get_ref().1.server_name().map(str::to_owned)) };
    let (talked, answered) = run_both(5, talk, answer);
    let verdict = client.take_verdict(&name).map(|verdict| verdict.chain[0].clone());
    match talked {
        Ok(_) => format!("{}, {:?} asked", verdict.unwrap(), answered.unwrap()),
        Err(error) => format!("{}, {error}", verdict.unwrap_or_default()),
    }
}

#[test]
fn the_name_asked_for_chooses_the_certificate() {
    for (name, expected) in [
        ("first.test", "CN=first.test, Some(\"first.test\") asked"),
        ("shop.test", "CN=shop.test, Some(\"shop.test\") asked"),
        ("m.shop.test", "CN=shop.test, Some(\"m.shop.test\") asked"),
        ("www.shop.test", "CN=www.shop.test, Some(\"www.shop.test\") asked"),
    ] {
        assert_eq!(shown(name, false), expected);
        assert_eq!(shown(name, true), expected);
    }
}

#[test]
fn a_name_that_none_is_for_gets_the_first_or_an_alert() {
    let wrong = shown("a.b.shop.test", false);
    assert!(wrong.starts_with("CN=first.test, ") && wrong.contains("not valid for name"), "{wrong}");
    let refused = shown("a.b.shop.test", true);
    assert!(refused.starts_with(", ") && refused.contains("UnrecognisedName"), "{refused}");
    // No name is asked for when a client knows an address only.
    assert!(shown("192.0.2.1", true).starts_with("CN=first.test, "));
    let (_, server) = three(false);
    assert_eq!((server.shown_to(None), server.shown_to(Some("m.shop.test"))), (0, 1));
    assert!(server.is_for(1, "m.shop.test") && !server.is_for(2, "m.shop.test") && !server.is_for(9, ""));
}

#[test]
fn names_are_read_without_panic_from_any_bytes() {
    let authority = Authority::new(1, EPOCH).unwrap();
    let good = authority.root().to_vec();
    assert_eq!(super::names_of(&good).unwrap().subject, ROOT);
    let mut dice = Rng::stream(1, "test", "mutations");
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] = dice.next_u32() as u8;
        }
        bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize);
        let _ = super::names_of(&bytes);
    }
}

/// OpenSSL's opinion of the chain at `EPOCH`, or webpki's where OpenSSL is not installed.
///
/// webpki has judged the same chain in every handshake above, so the claim is checked either way.
#[test]
fn an_outside_judge_accepts_the_chain() {
    let authority = Authority::new(3, EPOCH).unwrap();
    let spec = CertificateSpec {
        names: vec!["google.com".into(), "10.0.0.1".into()],
        not_before: EPOCH - 86_400,
        not_after: EPOCH + 86_400,
        signed_by: SignedBy::PublicCa,
    };
    let identity = authority.issue(&spec).unwrap();
    let [leaf, intermediate] = identity.chain() else { panic!("a chain of two") };
    match openssl_verify([authority.root(), intermediate, leaf]) {
        Some(verdict) => assert!(verdict.contains("leaf.pem: OK"), "judge: OpenSSL: {verdict}"),
        None => {
            println!("judge: webpki (no openssl on this machine)");
            assert_eq!(session(GOOD).ends[0].0, "full");
        }
    }
}

/// `openssl verify` with the host name check; `None` when there is no such program.
#[allow(clippy::disallowed_methods, reason = "a test may give files to an outside judge")]
fn openssl_verify(certificates: [&rustls::pki_types::CertificateDer<'_>; 3]) -> Option<String> {
    let folder = std::env::temp_dir().join(format!("roundtrip-openssl-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, der) in ["root.pem", "intermediate.pem", "leaf.pem"].into_iter().zip(certificates) {
        std::fs::write(folder.join(name), pem(der)).unwrap();
    }
    let run = std::process::Command::new("openssl")
        .current_dir(&folder)
        .args(["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "google.com"])
        .args([
            "-attime",
            &EPOCH.to_string(),
            "-CAfile",
            "root.pem",
            "-untrusted",
            "intermediate.pem",
            "leaf.pem",
        ])
        .output();
    std::fs::remove_dir_all(&folder).unwrap();
    let output = run.ok()?;
    Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// RFC 7468.
fn pem(der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----");
    for (number, chunk) in der.chunks(3).enumerate() {
        if number % 16 == 0 {
            text.push('\n');
        }
        let bits =
            chunk.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let symbol = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    text + "\n-----END CERTIFICATE-----\n"
}
