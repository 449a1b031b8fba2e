//! The key log (SSLKEYLOGFILE, RFC 9850): labels and secrets by client random.

use std::collections::BTreeMap;

/// Secrets of TLS sessions, by client random.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secrets {
    lines: BTreeMap<([u8; 32], Label), Vec<u8>>,
    /// Shared secrets of SSH, by the client's cookie.
    ssh: BTreeMap<[u8; 16], [u8; 32]>,
}

/// The labels that are used for reading.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Label {
    /// TLS 1.2 master secret.
    Master,
    /// TLS 1.3 early data.
    ClientEarly,
    /// TLS 1.3 handshake, client to server.
    ClientHandshake,
    /// TLS 1.3 handshake, server to client.
    ServerHandshake,
    /// TLS 1.3 application, client to server.
    ClientTraffic,
    /// TLS 1.3 application, server to client.
    ServerTraffic,
}

impl Secrets {
    /// Reads key log lines; lines that are no secrets (comments, unknown labels, bad hex) are skipped.
    #[must_use]
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Secrets {
        let mut secrets = Secrets::default();
        for line in lines {
            secrets.push_line(line);
        }
        secrets
    }

    /// Takes one line; tells whether it was a secret of a known kind.
    pub fn push_line(&mut self, line: &str) -> bool {
        let mut words = line.split_ascii_whitespace();
        let (Some(label), Some(random), Some(secret)) = (words.next(), words.next(), words.next()) else {
            return false;
        };
        // Wireshark's key log of SSH: `cookie SHARED_SECRET secret`.
        if random == "SHARED_SECRET" {
            let cookie = from_hex(label).and_then(|c| <[u8; 16]>::try_from(c).ok());
            let both = cookie.zip(from_hex(secret).and_then(|s| <[u8; 32]>::try_from(s).ok()));
            self.ssh.extend(both);
            return both.is_some();
        }
        let label = match label {
            "CLIENT_RANDOM" => Label::Master,
            "CLIENT_EARLY_TRAFFIC_SECRET" => Label::ClientEarly,
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Label::ClientHandshake,
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => Label::ServerHandshake,
            "CLIENT_TRAFFIC_SECRET_0" => Label::ClientTraffic,
            "SERVER_TRAFFIC_SECRET_0" => Label::ServerTraffic,
            _ => return false,
        };
        let (Some(random), Some(secret)) = (from_hex(random), from_hex(secret)) else { return false };
        let Ok(random) = <[u8; 32]>::try_from(random) else { return false };
        if !(32..=64).contains(&secret.len()) {
            return false;
        }
        self.lines.insert((random, label), secret);
        true
    }

    /// The shared secret of the SSH key exchange with this cookie.
    pub(crate) fn ssh(&self, cookie: &[u8; 16]) -> Option<&[u8; 32]> {
        self.ssh.get(cookie)
    }

    /// Number of secrets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(crate) fn find(&self, random: &[u8; 32], label: Label) -> Option<&[u8]> {
        self.lines.get(&(*random, label)).map(Vec::as_slice)
    }
}

impl core::fmt::Debug for Secrets {
    /// The number of secrets, never the secrets.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Secrets({})", self.len())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 256 {
        return None;
    }
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    text.as_bytes().chunks_exact(2).map(|p| Some(digit(p[0])? << 4 | digit(p[1])?)).collect()
}
