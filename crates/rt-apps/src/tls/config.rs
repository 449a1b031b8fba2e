//! The two configurations: what a client and a server need to speak TLS over any stream.

use std::sync::Arc;

use rt_base::{AppRecord, Nanos, Rng, Time};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, KeyLog, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, TlsAcceptor, TlsConnector, client, server};

use super::authority::Identity;
use super::provider::{provider, server_provider};
use super::session::Sessions;
use super::ticket::Ticketer;
use super::verify::{Verdict, Verifier};
use crate::names;
use crate::net::Net;

/// What TLS asks of the machine it runs on.
#[derive(Clone)]
pub struct TlsHooks {
    /// Civil time, seconds since 1970.
    pub unix_time: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Virtual time.
    pub now: Arc<dyn Fn() -> Time + Send + Sync>,
    /// Where records of the story go: [`AppRecord::Secret`].
    pub say: Arc<dyn Fn(AppRecord) + Send + Sync>,
}

impl TlsHooks {
    /// The clock and the record of a host.
    #[must_use]
    pub fn of(net: &Net) -> TlsHooks {
        let (calendar, clock, record) = (net.clone(), net.clone(), net.clone());
        TlsHooks {
            unix_time: Arc::new(move || calendar.unix_time()),
            now: Arc::new(move || clock.now()),
            say: Arc::new(move |said| record.say(said)),
        }
    }
}

impl TimeProvider for TlsHooks {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs((self.unix_time)())))
    }
}

impl KeyLog for TlsHooks {
    /// One line as RFC 9850 has it: label, client random, secret.
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        (self.say)(AppRecord::Secret { line: format!("{label} {} {}", hex(client_random), hex(secret)) });
    }
}

impl std::fmt::Debug for TlsHooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsHooks")
    }
}

/// A client's trust store, tickets and settings. Cheap to clone; clones share the tickets.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    sessions: Arc<Sessions>,
    verifier: Arc<Verifier>,
}

impl ClientTls {
    /// A client that trusts `roots` and offers the protocols `alpn`, best first (RFC 7301).
    ///
    /// # Errors
    /// When a root is not a certificate.
    pub fn new(
        hooks: TlsHooks,
        roots: &[CertificateDer<'static>],
        alpn: &[&str],
    ) -> Result<ClientTls, Error> {
        let provider = provider();
        let verifier = Arc::new(Verifier::new(&provider, roots)?);
        let sessions = Arc::new(Sessions::new(hooks.clone()));
        let hooks = Arc::new(hooks);
        let mut config = ClientConfig::builder_with_details(provider, Arc::clone(&hooks) as _)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.key_log = hooks;
        config.resumption = rustls::client::Resumption::store(Arc::clone(&sessions) as _);
        Ok(ClientTls { config: Arc::new(config), sessions, verifier })
    }

    /// Shakes hands with `name` over `stream`.
    ///
    /// # Errors
    /// Those of the stream, and rustls's inside `InvalidData` (see [`super::TlsFailure::of_io`]).
    pub async fn connect<S>(
        &self,
        name: ServerName<'static>,
        stream: S,
    ) -> std::io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }

    /// The age of the ticket for `name` with which the next handshake can resume; `None` when there is none.
    #[must_use]
    pub fn ticket_age(&self, name: &ServerName<'_>) -> Option<Nanos> {
        self.sessions.ticket_age(name)
    }

    /// What was found about the chain in a handshake with `name` that is just over; `None` after a resumption.
    #[must_use]
    pub fn take_verdict(&self, name: &ServerName<'_>) -> Option<Verdict> {
        self.verifier.take_verdict(name)
    }
}

/// A server's certificates, ticket key and settings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    refuses_unknown: bool,
}

impl ServerTls {
    /// A server that shows the identity that is for the name asked for (SNI), and the first one when none is or no name
    /// was given, as nginx's default server does. It speaks the protocols `alpn`, best first. `rng` gives the ticket
    /// key.
    ///
    /// # Errors
    /// When the provider does not fit TLS 1.3, or there is no identity.
    pub fn new(
        hooks: TlsHooks,
        identities: &[Identity],
        alpn: &[&str],
        rng: &mut Rng,
    ) -> Result<ServerTls, Error> {
        if identities.is_empty() {
            return Err(Error::NoCertificatesPresented);
        }
        let hooks = Arc::new(hooks);
        let certificates = Arc::new(Certificates(identities.to_vec()));
        let mut config = ServerConfig::builder_with_details(server_provider(), Arc::clone(&hooks) as _)
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.key_log = hooks;
        config.ticketer = Arc::new(Ticketer::new(rng));
        Ok(ServerTls { config: Arc::new(config), certificates, refuses_unknown: false })
    }

    /// The same, and a client that asks for a name that none is for gets the alert unrecognized_name instead of the
    /// first identity (RFC 6066, 3; nginx's `ssl_reject_handshake`). A client that gives no name still gets that.
    #[must_use]
    pub fn refusing_unknown_names(mut self) -> ServerTls {
        self.refuses_unknown = true;
        self
    }

    /// Shakes hands with whoever is at the other end of `stream`.
    ///
    /// # Errors
    /// Those of the stream, and rustls's inside `InvalidData`.
    pub async fn accept<S>(&self, stream: S) -> std::io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !self.refuses_unknown {
            return TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await;
        }
        let mut hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let asked = hello.client_hello().server_name().map(str::to_owned);
        if asked.is_some_and(|name| self.certificates.find(&name).is_none()) {
            hello.io.write_all(&UNRECOGNIZED_NAME).await?;
            hello.io.shutdown().await?;
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, Error::General(REFUSED.into())));
        }
        hello.into_stream(Arc::clone(&self.config)).await
    }

    /// Goes on with a handshake of which the ClientHello was heard.
    ///
    /// # Errors
    /// Those of the stream, and rustls's inside `InvalidData`.
    pub(crate) async fn accept_heard<S>(
        &self,
        heard: StartHandshake<S>,
    ) -> std::io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        heard.into_stream(Arc::clone(&self.config)).await
    }

    /// The index of the identity that a client gets that asks for `name`, or for none.
    #[must_use]
    pub fn shown_to(&self, name: Option<&str>) -> usize {
        name.and_then(|name| self.certificates.find(name)).unwrap_or(0)
    }

    /// Whether the identity with this index is for `name`.
    #[must_use]
    pub fn is_for(&self, shown: usize, name: &str) -> bool {
        let names = self.certificates.0.get(shown).map_or(&[][..], Identity::names);
        names.iter().any(|pattern| names::covers(pattern, name))
    }
}

/// A fatal alert before there are keys (RFC 8446, 5.1 and 6): type, version, length, level, description 112.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
const REFUSED: &str = "the client asks for a name that no certificate is for";

/// What a server can show; never empty.
#[derive(Debug)]
struct Certificates(Vec<Identity>);

impl Certificates {
    fn find(&self, name: &str) -> Option<usize> {
        names::choose(self.0.iter().map(Identity::names), name)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let index = hello.server_name().and_then(|name| self.find(name)).unwrap_or(0);
        self.0.get(index).map(|identity| Arc::clone(&identity.key))
    }
}

/// Reads a ClientHello, before it is decided who answers it.
///
/// # Errors
/// Those of the stream, and rustls's inside `InvalidData` for what is no ClientHello.
pub(crate) async fn hear<S>(stream: S) -> std::io::Result<StartHandshake<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
