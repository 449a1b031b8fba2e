//! What a certificate says (X.509 v3, RFC 5280): names, validity, key. A bounded walk over DER; nothing is verified
//! here, because what the machines decided is read elsewhere.

use super::CertificateInfo;
use super::handshake::hex;

/// A DER element: tag and content.
type Element<'a> = (u8, &'a [u8]);

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXPLICIT_0: u8 = 0xa0;
const EXPLICIT_3: u8 = 0xa3;

/// Names that are read from one certificate at most.
const MAX_NAMES: usize = 1_000;
/// Bytes of a serial number that are shown.
const MAX_SERIAL: usize = 20;

/// Reads a certificate; what cannot be read is left empty and said in `problem`.
pub(super) fn read(der: &[u8]) -> CertificateInfo {
    let mut info = CertificateInfo { der_len: der.len() as u32, ..CertificateInfo::default() };
    if let Err(what) = walk(der, &mut info) {
        info.problem = Some(format!("the certificate cannot be read at its {what}"));
    }
    info
}

fn walk(der: &[u8], info: &mut CertificateInfo) -> Result<(), &'static str> {
    let mut outer = expect(&mut { der }, SEQUENCE, "outer sequence")?;
    let mut tbs = expect(&mut outer, SEQUENCE, "body")?;
    info.signature = algorithm(expect(&mut outer, SEQUENCE, "signature algorithm")?);
    if tbs.first() == Some(&EXPLICIT_0) {
        element(&mut tbs).ok_or("version")?;
    }
    let serial = expect(&mut tbs, INTEGER, "serial number")?;
    info.serial = hex(&serial[..serial.len().min(MAX_SERIAL)]);
    expect(&mut tbs, SEQUENCE, "inner algorithm")?;
    info.issuer = name(expect(&mut tbs, SEQUENCE, "issuer")?);
    let mut validity = expect(&mut tbs, SEQUENCE, "validity")?;
    info.not_before = time(element(&mut validity).ok_or("start of validity")?);
    info.not_after = time(element(&mut validity).ok_or("end of validity")?);
    info.subject = name(expect(&mut tbs, SEQUENCE, "subject")?);
    info.key = key(expect(&mut tbs, SEQUENCE, "key")?);
    while let Some((tag, content)) = element(&mut tbs) {
        if tag == EXPLICIT_3 {
            extensions(content, info).ok_or("extensions")?;
        }
    }
    Ok(())
}

/// The next element, taken off `input`.
fn element<'a>(input: &mut &'a [u8]) -> Option<Element<'a>> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut len = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 3 {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(count)?;
        len = bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(len)?;
    *input = rest;
    Some((tag, content))
}

fn expect<'a>(input: &mut &'a [u8], tag: u8, what: &'static str) -> Result<&'a [u8], &'static str> {
    match element(input) {
        Some((found, content)) if found == tag => Ok(content),
        _ => Err(what),
    }
}

/// A distinguished name as `CN=google.com, O=Google LLC`.
fn name(mut sets: &[u8]) -> String {
    let mut parts = Vec::new();
    while let Some((_, mut set)) = element(&mut sets) {
        while let Some((_, mut pair)) = element(&mut set) {
            let (Some((OID, oid)), Some((_, value))) = (element(&mut pair), element(&mut pair)) else {
                continue;
            };
            let key = match oid {
                [0x55, 4, 3] => "CN".to_owned(),
                [0x55, 4, 6] => "C".to_owned(),
                [0x55, 4, 7] => "L".to_owned(),
                [0x55, 4, 8] => "ST".to_owned(),
                [0x55, 4, 10] => "O".to_owned(),
                [0x55, 4, 11] => "OU".to_owned(),
                other => hex(other),
            };
            parts.push(format!("{key}={}", String::from_utf8_lossy(value)));
            if parts.len() >= MAX_NAMES {
                return parts.join(", ");
            }
        }
    }
    parts.join(", ")
}

/// Unix seconds of a UTCTime or GeneralizedTime in the form that RFC 5280 demands.
fn time((tag, text): Element<'_>) -> Option<i64> {
    let digits = |from: usize, n: usize| -> Option<i64> {
        let part = text.get(from..from + n)?;
        part.iter().all(u8::is_ascii_digit).then(|| part.iter().fold(0, |v, b| v * 10 + i64::from(b - b'0')))
    };
    let (year, at) = match tag {
        UTC_TIME => {
            let yy = digits(0, 2)?;
            (if yy >= 50 { 1900 + yy } else { 2000 + yy }, 2)
        }
        GENERALIZED_TIME => (digits(0, 4)?, 4),
        _ => return None,
    };
    let (month, day) = (digits(at, 2)?, digits(at + 2, 2)?);
    let (hour, minute, second) = (digits(at + 4, 2)?, digits(at + 6, 2)?, digits(at + 8, 2)?);
    if !(1..=12).contains(&month) || text.get(at + 10) != Some(&b'Z') {
        return None;
    }
    Some(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Name of an AlgorithmIdentifier.
fn algorithm(mut input: &[u8]) -> String {
    let Some((OID, oid)) = element(&mut input) else { return String::new() };
    match oid {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => "ECDSA with SHA-256".to_owned(),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => "ECDSA with SHA-384".to_owned(),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => "ECDSA with SHA-512".to_owned(),
        [0x2b, 0x65, 0x70] => "Ed25519".to_owned(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11] => "RSA with SHA-256".to_owned(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] => "RSA with SHA-384".to_owned(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] => "RSA with SHA-512".to_owned(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10] => "RSA-PSS".to_owned(),
        other => format!("OID {}", hex(other)),
    }
}

/// Kind and size of the subject's key.
fn key(mut input: &[u8]) -> String {
    let Some((SEQUENCE, mut id)) = element(&mut input) else { return String::new() };
    let bits = element(&mut input).filter(|(tag, _)| *tag == BIT_STRING).map_or(&[] as &[u8], |e| e.1);
    let Some((OID, oid)) = element(&mut id) else { return String::new() };
    match oid {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1] => match element(&mut id) {
            Some((OID, [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])) => "EC P-256".to_owned(),
            Some((OID, [0x2b, 0x81, 4, 0, 0x22])) => "EC P-384".to_owned(),
            Some((OID, [0x2b, 0x81, 4, 0, 0x23])) => "EC P-521".to_owned(),
            _ => "EC".to_owned(),
        },
        [0x2b, 0x65, 0x70] => "Ed25519".to_owned(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1] => {
            let modulus = || {
                let mut inner = bits.get(1..)?;
                let (_, mut pair) = element(&mut inner)?;
                let (_, modulus) = element(&mut pair)?;
                Some(modulus.iter().skip_while(|b| **b == 0).count() * 8)
            };
            modulus().map_or_else(|| "RSA".to_owned(), |n| format!("RSA {n}"))
        }
        other => format!("OID {}", hex(other)),
    }
}

fn extensions(content: &[u8], info: &mut CertificateInfo) -> Option<()> {
    let (SEQUENCE, mut list) = element(&mut { content })? else { return None };
    while let Some((_, mut extension)) = element(&mut list) {
        let (OID, oid) = element(&mut extension)? else { return None };
        let (tag, mut value) = element(&mut extension)?;
        if tag == BOOLEAN {
            // The criticality flag comes before the value.
            value = element(&mut extension)?.1;
        }
        match oid {
            // subjectAltName
            [0x55, 0x1d, 0x11] => {
                let (_, mut names) = element(&mut value)?;
                while let Some((tag, name)) = element(&mut names) {
                    if info.names.len() >= MAX_NAMES {
                        break;
                    }
                    info.names.extend(alternative_name(tag, name));
                }
            }
            // basicConstraints
            [0x55, 0x1d, 0x13] => {
                let (_, mut inside) = element(&mut value)?;
                info.is_ca = matches!(element(&mut inside), Some((BOOLEAN, [b, ..])) if *b != 0);
            }
            _ => {}
        }
    }
    Some(())
}

/// A DNS name or an address.
fn alternative_name(tag: u8, name: &[u8]) -> Option<String> {
    match (tag, name.len()) {
        (0x82, _) => Some(String::from_utf8_lossy(name).into_owned()),
        (0x87, 4) => <[u8; 4]>::try_from(name).ok().map(|a| std::net::Ipv4Addr::from(a).to_string()),
        (0x87, 16) => <[u8; 16]>::try_from(name).ok().map(|a| std::net::Ipv6Addr::from(a).to_string()),
        _ => None,
    }
}
