//! Two rustls ends without sockets: pushes plaintext pieces through and records what goes over the wire.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock, Mutex};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::ServerSessionMemoryCache;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::read::Side;

/// Pieces in the order in which they went over the wire.
pub(super) type Pieces = Vec<(Side, Vec<u8>)>;

/// Key log lines as they come.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Vec<String>>);

impl Log {
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl rustls::KeyLog for Log {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
        self.0.lock().unwrap().push(format!("{label} {} {}", hex(client_random), hex(secret)));
    }
}

/// What two ends agree on.
pub(super) struct Ends {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) log: Arc<Log>,
}

/// How to set up two ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) suite: &'static str,
    pub(super) tls12: bool,
    /// The server wants another group than the client guessed.
    pub(super) retry: bool,
    pub(super) early: bool,
    /// What the server speaks.
    pub(super) alpn: &'static str,
}

impl Setup {
    pub(super) fn tls13(suite: &'static str) -> Setup {
        Setup { suite, tls12: false, retry: false, early: false, alpn: "http/1.1" }
    }

    pub(super) fn ends(self) -> Ends {
        let log = Arc::new(Log::default());
        let only_suite = |provider: CryptoProvider| CryptoProvider {
            cipher_suites: provider
                .cipher_suites
                .into_iter()
                .filter(|s| format!("{:?}", s.suite()).contains(self.suite))
                .collect(),
            ..provider
        };
        let client_provider = only_suite(ring::default_provider());
        let mut server_provider = only_suite(ring::default_provider());
        if self.retry {
            server_provider.kx_groups.retain(|g| g.name() == rustls::NamedGroup::secp256r1);
        }
        let versions = if self.tls12 { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
        let made = &*CERTIFICATES;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.key.clone()));
        let mut roots = RootCertStore::empty();
        roots.add(made.root.clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(Arc::new(client_provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        client.key_log = Arc::<Log>::clone(&log);
        client.enable_early_data = self.early;
        let mut server = ServerConfig::builder_with_provider(Arc::new(server_provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(made.chain.clone(), key)
            .unwrap();
        server.alpn_protocols = vec![self.alpn.as_bytes().to_vec()];
        server.session_storage = ServerSessionMemoryCache::new(32);
        server.max_early_data_size = if self.early { 1 << 14 } else { 0 };
        Ends { client: Arc::new(client), server: Arc::new(server), log }
    }
}

/// A chain of two, its key and its root.
struct Made {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    root: CertificateDer<'static>,
}

/// The same for all tests, so that two servers can be one that forgot its sessions.
static CERTIFICATES: LazyLock<Made> = LazyLock::new(|| {
    let root_key = rcgen::KeyPair::generate().unwrap();
    let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.distinguished_name.push(rcgen::DnType::CommonName, "Test Root");
    let root_cert = root.self_signed(&root_key).unwrap();
    let issuer = rcgen::Issuer::new(root, &root_key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let mut leaf =
        rcgen::CertificateParams::new(vec!["google.com".to_owned(), "*.google.com".to_owned()]).unwrap();
    leaf.distinguished_name.push(rcgen::DnType::CommonName, "google.com");
    leaf.not_before = rcgen::date_time_ymd(2020, 2, 29);
    leaf.not_after = rcgen::date_time_ymd(2099, 12, 31);
    let leaf_cert = leaf.signed_by(&leaf_key, &issuer).unwrap();
    Made {
        chain: vec![leaf_cert.der().clone(), root_cert.der().clone()],
        key: leaf_key.serialize_der(),
        root: root_cert.der().clone(),
    }
});

/// Extra things to do between pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extra {
    Nothing,
    /// Both ends ask for new keys in the middle.
    KeyUpdate,
    /// The first client piece goes as early data.
    Early,
}

/// Runs the pieces over one TLS connection; returns what went over the wire.
pub(super) fn run(ends: &Ends, pieces: &[(Side, Vec<u8>)], extra: Extra) -> Pieces {
    let name = ServerName::try_from("google.com").unwrap();
    let mut client = ClientConnection::new(Arc::clone(&ends.client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(&ends.server)).unwrap();
    let mut wire = Pieces::new();
    let mut pieces = pieces.iter();
    if extra == Extra::Early {
        let (_, bytes) = pieces.next().unwrap();
        client.early_data().expect("a ticket that permits early data").write_all(bytes).unwrap();
    }
    flow(&mut client, &mut server, &mut wire);
    if extra == Extra::Early && !client.is_early_data_accepted() {
        // Refused: it is sent again.
        client.writer().write_all(b"GET /early HTTP/1.1\r\nHost: google.com\r\n\r\n").unwrap();
    }
    for (i, (side, bytes)) in pieces.enumerate() {
        match side {
            Side::Client => client.writer().write_all(bytes).unwrap(),
            Side::Server => server.writer().write_all(bytes).unwrap(),
        }
        flow(&mut client, &mut server, &mut wire);
        if extra == Extra::KeyUpdate && i % 2 == 1 {
            client.refresh_traffic_keys().unwrap();
            server.refresh_traffic_keys().unwrap();
        }
    }
    client.send_close_notify();
    server.send_close_notify();
    flow(&mut client, &mut server, &mut wire);
    wire
}

/// Carries bytes until both are quiet.
fn flow(client: &mut ClientConnection, server: &mut ServerConnection, wire: &mut Pieces) {
    let mut sink = Vec::new();
    loop {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut to_server).unwrap();
        }
        let mut rest = to_server.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
            let _ = server.reader().read_to_end(&mut sink);
            if let Some(mut early) = server.early_data() {
                let _ = early.read_to_end(&mut sink);
            }
        }
        while server.wants_write() {
            server.write_tls(&mut to_client).unwrap();
        }
        let mut rest = to_client.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
            let _ = client.reader().read_to_end(&mut sink);
        }
        let quiet = to_server.is_empty() && to_client.is_empty();
        for (side, bytes) in [(Side::Client, to_server), (Side::Server, to_client)] {
            if !bytes.is_empty() {
                wire.push((side, bytes));
            }
        }
        if quiet {
            return;
        }
    }
}
