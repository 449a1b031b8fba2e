//! Why a TLS handshake failed, with a stable code and a sentence for people.

use rustls::{AlertDescription, CertificateError, Error};

use crate::http::date;

/// Why a handshake failed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The certificate's validity is over.
    Expired {
        /// End of its validity, seconds since 1970.
        not_after: u64,
        /// The client's clock, seconds since 1970.
        now: u64,
    },
    /// The certificate's validity has not begun.
    NotYetValid {
        /// Start of its validity, seconds since 1970.
        not_before: u64,
        /// The client's clock, seconds since 1970.
        now: u64,
    },
    /// The certificate is for other names.
    WrongName {
        /// The name asked for.
        expected: String,
        /// The names in the certificate.
        presented: Vec<String>,
    },
    /// No chain to a trusted root.
    UnknownIssuer,
    /// Another fault of the certificate, in rustls's words.
    BadCertificate(String),
    /// The peer ended it with an alert (RFC 8446, 6.2).
    Alert(String),
    /// Anything else, in rustls's words.
    Protocol(String),
}

impl TlsFailure {
    /// Reads rustls's error.
    #[must_use]
    pub fn of(error: &Error) -> TlsFailure {
        match error {
            Error::InvalidCertificate(fault) => TlsFailure::of_certificate(fault),
            Error::AlertReceived(alert) => TlsFailure::Alert(alert_name(*alert)),
            other => TlsFailure::Protocol(other.to_string()),
        }
    }

    /// Finds rustls's error inside an I/O error, as tokio-rustls hands it on.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Option<TlsFailure> {
        error.get_ref()?.downcast_ref::<Error>().map(TlsFailure::of)
    }

    /// The stable code, such as `tls.expired`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            TlsFailure::Expired { .. } => "tls.expired",
            TlsFailure::NotYetValid { .. } => "tls.not_yet_valid",
            TlsFailure::WrongName { .. } => "tls.wrong_name",
            TlsFailure::UnknownIssuer => "tls.unknown_issuer",
            TlsFailure::BadCertificate(_) => "tls.bad_certificate",
            TlsFailure::Alert(_) => "tls.alert",
            TlsFailure::Protocol(_) => "tls.protocol",
        }
    }

    fn of_certificate(fault: &CertificateError) -> TlsFailure {
        match fault {
            CertificateError::ExpiredContext { time, not_after } => {
                TlsFailure::Expired { not_after: not_after.as_secs(), now: time.as_secs() }
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                TlsFailure::NotYetValid { not_before: not_before.as_secs(), now: time.as_secs() }
            }
            CertificateError::NotValidForNameContext { expected, presented } => TlsFailure::WrongName {
                expected: expected.to_str().into_owned(),
                presented: presented.iter().map(|name| bare_name(name)).collect(),
            },
            CertificateError::UnknownIssuer => TlsFailure::UnknownIssuer,
            other => TlsFailure::BadCertificate(other.to_string()),
        }
    }
}

impl std::fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TlsFailure::Expired { not_after, now } => {
                write!(f, "the certificate expired on {}, and it is {} now", date(*not_after), date(*now))
            }
            TlsFailure::NotYetValid { not_before, now } => write!(
                f,
                "the certificate is not valid before {}, and it is {} now",
                date(*not_before),
                date(*now)
            ),
            TlsFailure::WrongName { expected, presented } => {
                write!(f, "the certificate is for {}, not for {expected}", presented.join(", "))
            }
            TlsFailure::UnknownIssuer => f.write_str("no chain leads to a root in the trust store"),
            TlsFailure::BadCertificate(why) => write!(f, "the certificate is faulty: {why}"),
            TlsFailure::Alert(name) => write!(f, "the server refused with the alert {name}"),
            TlsFailure::Protocol(why) => write!(f, "the TLS handshake failed: {why}"),
        }
    }
}

impl std::error::Error for TlsFailure {}

/// webpki presents names as `DnsName("a.example")`.
fn bare_name(presented: &str) -> String {
    presented.split('"').nth(1).unwrap_or(presented).to_owned()
}

/// RFC 8446's own spelling, such as `handshake_failure`.
fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    for letter in format!("{alert:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
