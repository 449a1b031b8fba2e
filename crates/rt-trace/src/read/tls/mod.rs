//! TLS 1.2 and 1.3 sessions: what each handshake message carries, and the plaintext by key log.

mod cursor;
mod handshake;
mod keys;
mod names;
mod secrets;
mod session;
mod x509;

use serde::{Deserialize, Serialize};

use super::{Mark, Side, Span};

pub use secrets::Secrets;
pub(crate) use session::Session;

/// One TLS session on one connection.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TlsSession {
    /// The version agreed on.
    pub version: Option<TlsVersion>,
    /// Cipher suite number.
    pub suite: Option<u16>,
    /// Cipher suite name: `TLS_AES_128_GCM_SHA256`, or the number in hex.
    pub suite_name: String,
    /// Key exchange group: `x25519`, `secp256r1`...
    pub group: Option<String>,
    /// Server name asked for (SNI).
    pub server_name: Option<String>,
    /// Application protocol agreed on (ALPN).
    pub alpn: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether the server asked for another hello (HelloRetryRequest).
    pub retried: bool,
    /// 0-RTT data.
    pub early_data: EarlyData,
    /// Handshake messages, change_cipher_spec and alerts, in the order seen.
    pub messages: Vec<TlsMessage>,
    /// When both Finished messages had been seen.
    pub handshake_done: Option<Mark>,
    /// What the client sent.
    pub from_client: TlsDirection,
    /// What the server sent.
    pub from_server: TlsDirection,
    /// Whether the secrets were there.
    pub readable: bool,
    /// Why something could not be read, in words.
    pub problems: Vec<String>,
}

impl TlsSession {
    /// The certificates that the server sent, leaf first (none when resumed).
    pub fn server_chain(&self) -> impl Iterator<Item = &CertificateInfo> {
        self.messages
            .iter()
            .filter(|m| m.from == Side::Server)
            .filter_map(|m| match &m.what {
                TlsMessageKind::Certificate { chain } => Some(chain.iter()),
                _ => None,
            })
            .flatten()
    }
}

/// Version of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "TLS 1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "TLS 1.3")]
    Tls13,
}

/// 0-RTT data of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyData {
    /// The client did not offer any.
    #[default]
    None,
    /// Offered, the server has not said yet.
    Offered,
    /// Taken by the server.
    Accepted,
    /// Not taken: the client sends it again.
    Refused,
}

/// Record layer of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TlsDirection {
    /// Records of any type.
    pub records: u64,
    /// Records that could not be opened (no keys, or the tag was wrong).
    pub sealed_records: u64,
    /// Application bytes after opening.
    pub plain_bytes: u64,
    /// Bytes of records that carried application data, on the wire.
    pub wire_bytes: u64,
    /// Where the close_notify alert was.
    pub close_notify: Option<Mark>,
}

/// One handshake message, change_cipher_spec or alert.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TlsMessage {
    /// Who sent it.
    pub from: Side,
    /// The record(s) that carried it.
    pub span: Span,
    /// Whether it was encrypted on the wire.
    pub sealed: bool,
    /// Bytes of the message with its 4-byte header (alerts: 2, change_cipher_spec: 1).
    pub len: u32,
    /// What it carries.
    #[serde(flatten)]
    pub what: TlsMessageKind,
}

/// What a TLS message carries.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "message")]
pub enum TlsMessageKind {
    /// ClientHello.
    ClientHello {
        /// Versions offered, best first: `TLS 1.3`.
        versions: Vec<String>,
        /// Cipher suites by name, best first.
        suites: Vec<String>,
        /// Server name.
        server_name: Option<String>,
        /// Application protocols offered.
        alpn: Vec<String>,
        /// Groups supported.
        groups: Vec<String>,
        /// Groups for which a key share is sent.
        key_shares: Vec<String>,
        /// Signature schemes accepted.
        signatures: Vec<String>,
        /// Length of the legacy session id.
        session_id_len: u8,
        /// Number of pre-shared keys offered (1.3), or 1 for a session ticket (1.2).
        psk_offered: u32,
        /// Whether early data is offered.
        early_data: bool,
        /// The client random, in hex: the key of the key log.
        random: String,
    },
    /// ServerHello.
    ServerHello {
        /// Version chosen.
        version: String,
        /// Suite chosen.
        suite: String,
        /// Group of its key share.
        group: Option<String>,
        /// Whether the offered pre-shared key is used.
        psk_accepted: bool,
        /// ALPN (1.2; in 1.3 it is in EncryptedExtensions).
        alpn: Option<String>,
    },
    /// HelloRetryRequest.
    HelloRetryRequest {
        /// The group the server wants.
        group: Option<String>,
        /// Whether a cookie must be returned.
        cookie: bool,
    },
    /// EncryptedExtensions.
    EncryptedExtensions {
        /// Application protocol chosen.
        alpn: Option<String>,
        /// Whether early data is taken.
        early_data: bool,
    },
    /// CertificateRequest.
    CertificateRequest,
    /// Certificate.
    Certificate {
        /// Leaf first.
        chain: Vec<CertificateInfo>,
    },
    /// CertificateVerify.
    CertificateVerify {
        /// Signature scheme: `ecdsa_secp256r1_sha256`, `ed25519`.
        algorithm: String,
        /// Signature bytes.
        signature_len: u32,
    },
    /// Finished.
    Finished {
        /// Whether its MAC over the whole handshake is right; `None` when it could not be checked.
        verified: Option<bool>,
    },
    /// NewSessionTicket.
    NewSessionTicket {
        /// Seconds for which it can be used.
        lifetime_secs: u32,
        /// Ticket bytes.
        ticket_len: u32,
        /// Early data it permits, bytes.
        max_early_data: Option<u32>,
    },
    /// KeyUpdate.
    KeyUpdate {
        /// Whether the other end shall update too.
        requested: bool,
    },
    /// EndOfEarlyData.
    EndOfEarlyData,
    /// ServerKeyExchange (1.2).
    ServerKeyExchange {
        /// Group.
        group: Option<String>,
        /// Signature scheme.
        algorithm: Option<String>,
    },
    /// ServerHelloDone (1.2).
    ServerHelloDone,
    /// ClientKeyExchange (1.2).
    ClientKeyExchange,
    /// CertificateStatus (OCSP, 1.2).
    CertificateStatus,
    /// change_cipher_spec; in TLS 1.3 without meaning.
    ChangeCipherSpec,
    /// Alert.
    Alert {
        /// Whether it ends the session (level fatal).
        fatal: bool,
        /// Description number.
        code: u8,
        /// Description: `close_notify`, `bad_certificate`.
        name: String,
    },
    /// A handshake message that cannot be read (sealed without keys, malformed or of unknown type).
    Other {
        /// Handshake type, 255 when sealed.
        kind: u8,
        /// What is known of it.
        note: String,
    },
}

/// What a certificate says (RFC 5280), without judging it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// Subject: `CN=google.com`.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// Serial number in hex.
    pub serial: String,
    /// Start of validity, Unix seconds.
    pub not_before: Option<i64>,
    /// End of validity, Unix seconds.
    pub not_after: Option<i64>,
    /// Subject alternative names: DNS names and addresses.
    pub names: Vec<String>,
    /// Key: `EC P-256`, `Ed25519`, `RSA 2048`.
    pub key: String,
    /// Signature algorithm of the issuer.
    pub signature: String,
    /// Whether it may issue certificates (basicConstraints CA).
    pub is_ca: bool,
    /// DER bytes.
    pub der_len: u32,
    /// Why it could not be read to the end.
    pub problem: Option<String>,
}
