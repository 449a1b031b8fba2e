//! Why a request failed: a stable code and a sentence.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use rt_base::Nanos;
use rt_stack::SocketError;

use crate::dns::LookupError;
use crate::tls::TlsFailure;

/// Why a request failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// `dns.nxdomain`, `tcp.refused`, `tls.expired`, `http.timeout`...
    pub(super) code: &'static str,
    /// One sentence for people.
    pub(super) text: String,
}

/// How far a request is, so that a timeout can say what was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// For a connection that another request opens, or for a free one.
    Queue,
    /// For the address.
    Lookup,
    /// For the TCP handshake.
    Connect,
    /// For the proxy's word about a tunnel.
    Tunnel,
    /// For the TLS handshake.
    Handshake,
    /// For the response.
    Response,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

impl Failure {
    pub(super) fn new(code: &'static str, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }

    /// A name could not be resolved.
    pub(super) fn lookup(error: &LookupError) -> Failure {
        let code = match error {
            LookupError::BadName(_) => "dns.bad_name",
            LookupError::NoName(_) => "dns.nxdomain",
            LookupError::NoData(..) => "dns.nodata",
            LookupError::Failed(..) => "dns.failed",
            LookupError::TimedOut(..) => "dns.timeout",
            LookupError::Unreachable(..) => "dns.unreachable",
            LookupError::NoServers(_) => "dns.no_servers",
        };
        Failure::new(code, error.to_string())
    }

    /// TCP could not connect to `to`.
    pub(super) fn connect(to: SocketAddr, error: &io::Error) -> Failure {
        let (code, what) = of_tcp(error);
        Failure::new(code, format!("{to} {what}"))
    }

    /// TLS could not be agreed with `host`.
    pub(super) fn handshake(host: &str, error: &io::Error) -> Failure {
        if let Some(failure) = TlsFailure::of_io(error) {
            return Failure::new(failure.code(), format!("{host}: {failure}"));
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Failure::new(
                "tls.closed",
                format!("{host} closed the connection during the TLS handshake"),
            );
        }
        let (code, what) = of_tcp(error);
        Failure::new(code, format!("{host} {what} during the TLS handshake"))
    }

    /// HTTP broke.
    pub(super) fn http(host: &str, error: &hyper::Error) -> Failure {
        let mut source: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                if let Some(failure) = TlsFailure::of_io(io) {
                    return Failure::new(failure.code(), format!("{host}: {failure}"));
                }
                // hyper reports bytes that are not HTTP this way as well.
                if matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) {
                    return Failure::new("http.protocol", format!("{host}: {io}"));
                }
                let (code, what) = of_tcp(io);
                return Failure::new(code, format!("{host} {what} before the response was whole"));
            }
            source = cause.source();
        }
        let code = if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            "http.closed"
        } else {
            "http.protocol"
        };
        Failure::new(code, format!("{host}: {error}"))
    }

    /// Patience ran out.
    pub(super) fn timeout(host: &str, phase: Phase, after: Nanos) -> Failure {
        let (code, what) = match phase {
            Phase::Queue => ("http.timeout", "no connection was free"),
            Phase::Lookup => ("dns.timeout", "the name was not resolved"),
            Phase::Connect => ("tcp.timeout", "the connection was not answered"),
            Phase::Tunnel => ("proxy.timeout", "the proxy opened no tunnel"),
            Phase::Handshake => ("tls.timeout", "the TLS handshake was not answered"),
            Phase::Response => ("http.timeout", "the response did not come"),
        };
        Failure::new(code, format!("{host}: {what} within {after}"))
    }
}

/// Code and predicate for what TCP reports.
fn of_tcp(error: &io::Error) -> (&'static str, String) {
    let socket = error.get_ref().and_then(|inner| inner.downcast_ref::<SocketError>());
    if matches!(socket, Some(SocketError::TtlExceeded)) {
        return (
            "tcp.ttl_exceeded",
            "is out of reach: packets die of old age on the way (a routing loop)".into(),
        );
    }
    let (code, what) = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            ("tcp.refused", "refused the connection (RST): nothing listens there")
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            ("tcp.reset", "reset the connection (RST)")
        }
        io::ErrorKind::TimedOut => ("tcp.timeout", "did not answer"),
        io::ErrorKind::HostUnreachable => ("tcp.unreachable", "cannot be reached: host unreachable"),
        io::ErrorKind::NetworkUnreachable => ("tcp.unreachable", "cannot be reached: no route"),
        io::ErrorKind::PermissionDenied => ("tcp.prohibited", "is forbidden by a filter on the way (ICMP)"),
        io::ErrorKind::UnexpectedEof => ("http.closed", "closed the connection"),
        _ => return ("tcp.failed", format!("failed: {error}")),
    };
    (code, what.into())
}
