//! What messages say, in words; and SSH's data types as far as they are read here.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

/// Reads a message from its beginning.
#[derive(Clone, Copy)]
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn string(&mut self) -> Option<&'b [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }

    /// A string as text; empty when there is none.
    pub(super) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.string().unwrap_or_default()).into_owned()
    }
}

pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

/// RFC 4251, section 5.
pub(super) fn put_mpint(out: &mut Vec<u8>, number: &[u8]) {
    let lead = number.iter().take_while(|b| **b == 0).count();
    let mut bytes = number[lead..].to_vec();
    if bytes.first().is_some_and(|b| b & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    put_string(out, &bytes);
}

pub(super) fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|name| !name.is_empty())
}

/// The first three lists of a KEXINIT: key exchange, host keys, ciphers from the client.
pub(super) fn lists(payload: &[u8]) -> Option<[String; 3]> {
    let mut reader = Reader(payload.get(17..)?);
    Some([reader.text(), reader.text(), reader.text()])
}

/// `SHA256:...` of a key, as ssh-keygen prints it.
pub(super) fn fingerprint(blob: &[u8]) -> String {
    let digest = crate::read::websocket::base64(digest(&SHA256, blob).as_ref());
    format!("SHA256:{}", digest.trim_end_matches('='))
}

/// The name of a message and what it says.
pub(super) fn message(number: u8, body: &[u8]) -> (&'static str, String) {
    let mut r = Reader(body);
    match number {
        1 => {
            r.number();
            ("DISCONNECT", r.text())
        }
        2 => ("IGNORE", String::new()),
        5 => ("SERVICE_REQUEST", r.text()),
        6 => ("SERVICE_ACCEPT", r.text()),
        7 => ("EXT_INFO", extensions(r)),
        20 => ("KEXINIT", offer(body)),
        21 => ("NEWKEYS", "from here on everything is sealed".into()),
        30 => ("ECDH_INIT", "my public point".into()),
        31 => {
            let host = fingerprint(r.string().unwrap_or_default());
            ("ECDH_REPLY", format!("my point, my host key {host}, and its signature over all of the above"))
        }
        50 => ("USERAUTH_REQUEST", login(r)),
        51 => ("USERAUTH_FAILURE", format!("no; by one of these: {}", r.text())),
        52 => ("USERAUTH_SUCCESS", "come in".into()),
        53 => ("USERAUTH_BANNER", r.text()),
        60 => {
            r.text();
            (
                "USERAUTH_PK_OK",
                format!("a signature by {} would do", fingerprint(r.string().unwrap_or_default())),
            )
        }
        80 => ("GLOBAL_REQUEST", r.text()),
        81 => ("REQUEST_SUCCESS", String::new()),
        82 => ("REQUEST_FAILURE", String::new()),
        _ => channel(number, r),
    }
}

fn channel(number: u8, mut r: Reader<'_>) -> (&'static str, String) {
    if number == 90 {
        let kind = r.text();
        r.take(12);
        let to = match kind.as_str() {
            "direct-tcpip" => format!(" to {} port {}", r.text(), r.number().unwrap_or(0)),
            _ => String::new(),
        };
        return ("CHANNEL_OPEN", format!("{kind}{to}"));
    }
    r.number();
    match number {
        91 => ("CHANNEL_OPEN_CONFIRMATION", "it is open".into()),
        92 => {
            r.number();
            ("CHANNEL_OPEN_FAILURE", r.text())
        }
        96 => ("CHANNEL_EOF", "nothing more from this side".into()),
        97 => ("CHANNEL_CLOSE", String::new()),
        98 => {
            let what = r.text();
            r.take(1);
            let more = match what.as_str() {
                "exec" => format!(" `{}`", r.text()),
                "exit-status" => format!(" {}", r.number().unwrap_or(0)),
                _ => String::new(),
            };
            ("CHANNEL_REQUEST", format!("{what}{more}"))
        }
        99 => ("CHANNEL_SUCCESS", String::new()),
        100 => ("CHANNEL_FAILURE", String::new()),
        _ => ("message", format!("number {number}")),
    }
}

/// What one side offers, the first of each list and how many there are.
fn offer(body: &[u8]) -> String {
    let mut r = Reader(body.get(16..).unwrap_or_default());
    let mut text = String::new();
    for what in ["key exchange", "host key", "cipher"] {
        let list = r.text();
        let all: Vec<&str> =
            names(&list).filter(|n| !n.starts_with("kex-strict") && !n.starts_with("ext-info")).collect();
        let more = all.len().saturating_sub(1);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = write!(text, "{what} {}{more} · ", all.first().unwrap_or(&"none"));
    }
    text.truncate(text.len().saturating_sub(" · ".len()));
    text
}

fn extensions(mut r: Reader<'_>) -> String {
    let count = r.number().unwrap_or(0).min(16);
    (0..count).map(|_| format!("{}: {}", r.text(), r.text())).collect::<Vec<_>>().join(" · ")
}

fn login(mut r: Reader<'_>) -> String {
    let user = r.text();
    r.text();
    let method = r.text();
    match method.as_str() {
        "none" => format!("{user} wants in: which ways are there?"),
        "publickey" => {
            let signed = r.take(1).is_some_and(|flag| flag[0] != 0);
            r.text();
            let key = fingerprint(r.string().unwrap_or_default());
            let how = if signed { "here is its signature" } else { "would it do?" };
            format!("{user} has the key {key}: {how}")
        }
        other => format!("{user} tries {other}"),
    }
}
