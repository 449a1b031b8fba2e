//! Subject and issuer of an X.509 certificate (RFC 5280, 4.1) as a line of text, for the story.
//!
//! Not a validator: webpki judges chains. This reader walks just far enough into the DER to find the two names, with
//! every length checked, and gives up with `None` on anything unexpected.

/// Who a certificate is about and who signed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    /// `CN=google.com`; several parts are joined by `, `.
    pub subject: String,
    /// The same of the issuer.
    pub issuer: String,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// Reads the names of a DER certificate.
#[must_use]
pub fn names_of(certificate: &[u8]) -> Option<Names> {
    let (body, _) = expect(SEQUENCE, certificate)?;
    let (mut tbs, _) = expect(SEQUENCE, body)?;
    if tbs.first() == Some(&VERSION) {
        tbs = element(tbs)?.2;
    }
    // Serial number and signature algorithm.
    let rest = element(element(tbs)?.2)?.2;
    let (issuer, rest) = expect(SEQUENCE, rest)?;
    let (_validity, rest) = expect(SEQUENCE, rest)?;
    let (subject, _) = expect(SEQUENCE, rest)?;
    Some(Names { subject: name(subject)?, issuer: name(issuer)? })
}

/// A distinguished name, most significant part last, as browsers show it.
fn name(mut rdns: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !rdns.is_empty() {
        let (set, rest) = expect(SET, rdns)?;
        let (attribute, _) = expect(SEQUENCE, set)?;
        let (oid, value) = expect(OID, attribute)?;
        let (_, text, _) = element(value)?;
        let label = match oid {
            [0x55, 0x04, 0x03] => "CN",
            [0x55, 0x04, 0x06] => "C",
            [0x55, 0x04, 0x0a] => "O",
            [0x55, 0x04, 0x0b] => "OU",
            _ => "other",
        };
        parts.push(format!("{label}={}", String::from_utf8_lossy(text)));
        rdns = rest;
    }
    parts.reverse();
    Some(parts.join(", "))
}

fn expect(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(input)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content and what follows; definite lengths of up to three bytes.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, input) = input.split_first()?;
    let (&first, mut input) = input.split_first()?;
    let mut len = usize::from(first);
    if first >= 0x80 {
        let (bytes, rest) = input.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.is_empty() || bytes.len() > 3 {
            return None;
        }
        len = bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        input = rest;
    }
    let (content, rest) = input.split_at_checked(len)?;
    Some((tag, content, rest))
}
