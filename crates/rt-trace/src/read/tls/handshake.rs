//! Handshake messages (RFC 8446, 4; RFC 5246, 7.4) to what they carry. Pure: bytes and what is known of the session
//! in, values out; the session keeps the state.

use super::cursor::Cursor;
use super::{CertificateInfo, TlsMessageKind, names, x509};

/// The random that marks a ServerHello as HelloRetryRequest (RFC 8446, 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// Certificates of a chain that are read.
const MAX_CHAIN: usize = 32;

/// What the session needs of a ClientHello.
#[derive(Clone, Debug)]
pub(super) struct ClientHello {
    pub(super) random: [u8; 32],
    pub(super) session_id: Vec<u8>,
    pub(super) early_data: bool,
    pub(super) server_name: Option<String>,
    pub(super) show: TlsMessageKind,
}

/// What the session needs of a ServerHello.
#[derive(Clone, Debug)]
pub(super) struct ServerHello {
    pub(super) random: [u8; 32],
    pub(super) session_id: Vec<u8>,
    pub(super) version: u16,
    pub(super) suite: u16,
    pub(super) retry: bool,
    pub(super) group: Option<String>,
    pub(super) psk: bool,
    pub(super) alpn: Option<String>,
    pub(super) show: TlsMessageKind,
}

/// Extensions in order.
fn extensions<'a>(c: &mut Cursor<'a>) -> Option<Vec<(u16, Cursor<'a>)>> {
    if c.is_empty() {
        return Some(Vec::new());
    }
    let mut list = c.vec16()?;
    let mut out = Vec::new();
    while !list.is_empty() {
        let kind = list.u16()?;
        out.push((kind, list.vec16()?));
    }
    Some(out)
}

fn alpn_list(body: &mut Cursor<'_>) -> Option<Vec<String>> {
    let mut list = body.vec16()?;
    let mut out = Vec::new();
    while !list.is_empty() {
        out.push(String::from_utf8_lossy(list.vec8()?.0).into_owned());
    }
    Some(out)
}

/// Fields of a ClientHello that its extensions fill.
#[derive(Default)]
struct Offers {
    versions: Vec<u16>,
    server_name: Option<String>,
    alpn: Vec<String>,
    groups: Vec<String>,
    key_shares: Vec<String>,
    signatures: Vec<String>,
    psk_offered: u32,
    early_data: bool,
}

impl Offers {
    fn take(&mut self, kind: u16, mut body: Cursor<'_>) -> Option<()> {
        match kind {
            0 => {
                let mut list = body.vec16()?;
                if list.u8()? == 0 {
                    self.server_name = Some(String::from_utf8_lossy(list.vec16()?.0).into_owned());
                }
            }
            10 => self.groups = body.vec16()?.u16s().into_iter().map(names::group).collect(),
            13 => self.signatures = body.vec16()?.u16s().into_iter().map(names::signature).collect(),
            16 => self.alpn = alpn_list(&mut body)?,
            35 => self.psk_offered += u32::from(!body.is_empty()),
            41 => {
                let mut identities = body.vec16()?;
                while !identities.is_empty() {
                    identities.vec16()?;
                    identities.u32()?;
                    self.psk_offered += 1;
                }
            }
            42 => self.early_data = true,
            43 => self.versions = body.vec8()?.u16s(),
            51 => {
                let mut shares = body.vec16()?;
                while !shares.is_empty() {
                    self.key_shares.push(names::group(shares.u16()?));
                    shares.vec16()?;
                }
            }
            _ => {}
        }
        Some(())
    }
}

pub(super) fn client_hello(body: &[u8]) -> Option<ClientHello> {
    let mut c = Cursor(body);
    let legacy = c.u16()?;
    let random: [u8; 32] = c.take(32)?.try_into().ok()?;
    let session_id = c.vec8()?.0.to_vec();
    let suites = c.vec16()?.u16s();
    c.vec8()?;
    let mut offers = Offers { versions: Vec::new(), ..Offers::default() };
    for (kind, body) in extensions(&mut c)? {
        offers.take(kind, body)?;
    }
    if offers.versions.is_empty() {
        offers.versions.push(legacy);
    }
    let show = TlsMessageKind::ClientHello {
        versions: offers.versions.into_iter().map(names::version).collect(),
        suites: suites.iter().map(|s| names::suite(*s)).collect(),
        server_name: offers.server_name.clone(),
        alpn: offers.alpn,
        groups: offers.groups,
        key_shares: offers.key_shares,
        signatures: offers.signatures,
        session_id_len: session_id.len() as u8,
        psk_offered: offers.psk_offered,
        early_data: offers.early_data,
        random: hex(&random),
    };
    Some(ClientHello {
        random,
        session_id,
        early_data: offers.early_data,
        server_name: offers.server_name,
        show,
    })
}

pub(super) fn server_hello(body: &[u8]) -> Option<ServerHello> {
    let mut c = Cursor(body);
    let mut version = c.u16()?;
    let random: [u8; 32] = c.take(32)?.try_into().ok()?;
    let session_id = c.vec8()?.0.to_vec();
    let suite = c.u16()?;
    c.u8()?;
    let (mut group, mut psk, mut alpn, mut cookie) = (None, false, None, false);
    for (kind, mut body) in extensions(&mut c)? {
        match kind {
            16 => alpn = alpn_list(&mut body)?.into_iter().next(),
            41 => psk = true,
            43 => version = body.u16()?,
            44 => cookie = true,
            51 => group = Some(names::group(body.u16()?)),
            _ => {}
        }
    }
    let retry = random == RETRY_RANDOM;
    let show = if retry {
        TlsMessageKind::HelloRetryRequest { group: group.clone(), cookie }
    } else {
        TlsMessageKind::ServerHello {
            version: names::version(version),
            suite: names::suite(suite),
            group: group.clone(),
            psk_accepted: psk,
            alpn: alpn.clone(),
        }
    };
    Some(ServerHello { random, session_id, version, suite, retry, group, psk, alpn, show })
}

/// (ALPN, early data taken).
pub(super) fn encrypted_extensions(body: &[u8]) -> Option<(Option<String>, bool)> {
    let (mut alpn, mut early) = (None, false);
    for (kind, mut body) in extensions(&mut Cursor(body))? {
        match kind {
            16 => alpn = alpn_list(&mut body)?.into_iter().next(),
            42 => early = true,
            _ => {}
        }
    }
    Some((alpn, early))
}

/// The chain of a Certificate message.
pub(super) fn certificate(body: &[u8], tls13: bool) -> Option<Vec<CertificateInfo>> {
    let mut c = Cursor(body);
    if tls13 {
        c.vec8()?;
    }
    let mut list = c.vec24()?;
    let mut chain = Vec::new();
    while !list.is_empty() && chain.len() < MAX_CHAIN {
        chain.push(x509::read(list.vec24()?.0));
        if tls13 {
            list.vec16()?;
        }
    }
    Some(chain)
}

/// NewSessionTicket of either version.
pub(super) fn new_session_ticket(body: &[u8], tls13: bool) -> Option<TlsMessageKind> {
    let mut c = Cursor(body);
    let lifetime_secs = c.u32()?;
    if !tls13 {
        let ticket_len = c.vec16()?.0.len() as u32;
        return Some(TlsMessageKind::NewSessionTicket { lifetime_secs, ticket_len, max_early_data: None });
    }
    c.u32()?;
    c.vec8()?;
    let ticket_len = c.vec16()?.0.len() as u32;
    let mut max_early_data = None;
    for (kind, mut body) in extensions(&mut c)? {
        if kind == 42 {
            max_early_data = body.u32();
        }
    }
    Some(TlsMessageKind::NewSessionTicket { lifetime_secs, ticket_len, max_early_data })
}

/// CertificateVerify.
pub(super) fn certificate_verify(body: &[u8]) -> Option<TlsMessageKind> {
    let mut c = Cursor(body);
    let algorithm = names::signature(c.u16()?);
    let signature_len = c.vec16()?.0.len() as u32;
    Some(TlsMessageKind::CertificateVerify { algorithm, signature_len })
}

/// ServerKeyExchange of an ECDHE suite.
pub(super) fn server_key_exchange(body: &[u8]) -> TlsMessageKind {
    let read = || {
        let mut c = Cursor(body);
        // 3 is named_curve (RFC 8422, 5.4).
        if c.u8()? != 3 {
            return None;
        }
        let group = names::group(c.u16()?);
        c.vec8()?;
        Some((group, c.u16().map(names::signature)))
    };
    let (group, algorithm) = read().map_or((None, None), |(group, algorithm)| (Some(group), algorithm));
    TlsMessageKind::ServerKeyExchange { group, algorithm }
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
