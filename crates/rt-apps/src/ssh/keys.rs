//! Ed25519 keys as OpenSSH writes them: `ssh-ed25519 AAAA... comment`, `SHA256:...`, and the unencrypted private key file.
//!
//! Deliberate simplification: no other kind of key (RSA, ECDSA, certificates, hardware keys). A line with another one is not
//! understood, and an OpenSSH client that has no Ed25519 key is refused with `Permission denied (publickey)`.

use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rt_base::Rng;

use super::wire::{Malformed, Reader, Writer};
use crate::wireguard::base64;

/// The name of the algorithm (RFC 8709).
pub(super) const ED25519_NAME: &str = "ssh-ed25519";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PublicKey(pub(super) [u8; 32]);

/// A private key with its comment.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    seed: [u8; 32],
    public: PublicKey,
    /// What its owner calls it: `ana@laptop`.
    pub comment: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).field("comment", &self.comment).finish()
    }
}

impl PublicKey {
    /// As it stands in messages (RFC 8709, section 4).
    pub(super) fn blob(&self) -> Vec<u8> {
        Writer::default().string(ED25519_NAME).string(self.0).done()
    }

    pub(super) fn from_blob(blob: &[u8]) -> Result<PublicKey, Malformed> {
        let mut reader = Reader::new(blob);
        if reader.text()? != ED25519_NAME {
            return Err(Malformed);
        }
        let key = reader.string()?.try_into().map_err(|_| Malformed)?;
        if reader.rest().is_empty() { Ok(PublicKey(key)) } else { Err(Malformed) }
    }

    /// `SHA256:...`, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", base64(digest(&SHA256, &self.blob()).as_ref()).trim_end_matches('='))
    }

    /// The first key in a line of `authorized_keys` or of a `.pub` file: `ssh-ed25519 AAAA... comment`.
    #[must_use]
    pub fn from_line(line: &str) -> Option<PublicKey> {
        let mut words = line.split_whitespace().skip_while(|word| *word != ED25519_NAME);
        words.next()?;
        PublicKey::from_blob(&from_base64(words.next()?)?).ok()
    }

    /// `ssh-ed25519 AAAA...`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{ED25519_NAME} {}", base64(&self.blob()))
    }

    /// Whether `signature` (a blob of RFC 8709, section 6) is this key's over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let mut reader = Reader::new(signature);
        let (Ok(ED25519_NAME), Ok(bytes)) = (reader.text(), reader.string()) else { return false };
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, bytes).is_ok()
    }
}

impl Identity {
    /// The key that 32 secret bytes make.
    #[must_use]
    pub fn from_seed(seed: [u8; 32], comment: impl Into<String>) -> Identity {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("invariant: any 32 bytes are a seed");
        let public = pair.public_key().as_ref().try_into().expect("invariant: Ed25519 keys have 32 bytes");
        Identity { seed, public: PublicKey(public), comment: comment.into() }
    }

    /// The key of this name in a run with this seed.
    #[must_use]
    pub fn drawn(seed: u64, name: &str, comment: impl Into<String>) -> Identity {
        let mut secret = [0; 32];
        Rng::stream(seed, name, "ssh key").fill(&mut secret);
        Identity::from_seed(secret, comment)
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Ed25519 signatures need no dice (RFC 8032, 5.1.6): the same key and text give the same signature.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(&self.seed).expect("invariant: checked when it was made");
        Writer::default().string(ED25519_NAME).string(pair.sign(message)).done()
    }

    /// Reads an unencrypted private key file of OpenSSH.
    #[must_use]
    pub fn from_file(text: &str) -> Option<Identity> {
        let (_, rest) = text.split_once(BEGIN)?;
        let (body, _) = rest.split_once(END)?;
        let body: String = body.split_whitespace().collect();
        let bytes = from_base64(&body)?;
        let mut reader = Reader::new(bytes.strip_prefix(b"openssh-key-v1\0")?);
        let (cipher, kdf) = (reader.text().ok()?, reader.text().ok()?);
        reader.string().ok()?;
        if (cipher, kdf) != ("none", "none") || reader.number().ok()? != 1 {
            return None;
        }
        reader.string().ok()?;
        let mut private = Reader::new(reader.string().ok()?);
        if private.number().ok()? != private.number().ok()? || private.text().ok()? != ED25519_NAME {
            return None;
        }
        let public = private.string().ok()?;
        let seed: [u8; 32] = private.string().ok()?.get(..32)?.try_into().ok()?;
        let identity = Identity::from_seed(seed, private.text().ok()?);
        (identity.public.0 == *public).then_some(identity)
    }

    /// The same the other way: what `ssh -i` reads.
    #[must_use]
    pub fn file(&self) -> String {
        let check =
            u32::from_be_bytes([self.public.0[0], self.public.0[1], self.public.0[2], self.public.0[3]]);
        let mut private = Writer::default()
            .number(check)
            .number(check)
            .string(ED25519_NAME)
            .string(self.public.0)
            .string([self.seed, self.public.0].concat())
            .string(&self.comment)
            .done();
        for pad in 1..=(8 - private.len() % 8) % 8 {
            private.push(pad as u8);
        }
        let whole = Writer::default()
            .raw(b"openssh-key-v1\0")
            .string("none")
            .string("none")
            .string("")
            .number(1)
            .string(self.public.blob())
            .string(private)
            .done();
        let text = base64(&whole);
        let lines: Vec<&str> =
            text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap_or("")).collect();
        format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
    }
}

/// Bytes of base64 (RFC 4648, section 4); `None` for anything else.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let value = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    for quad in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for &c in quad {
            bits = bits << 6 | u32::from(value(c)?);
        }
        bits <<= 6 * (4 - quad.len());
        let bytes = bits.to_be_bytes();
        let whole = match quad.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        out.extend(&bytes[1..=whole]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{Identity, PublicKey};

    /// Made by OpenSSH's ssh-keygen.
    const PUBLIC: &str = include_str!("testdata/id_ed25519.pub");
    const PRIVATE: &str = include_str!("testdata/id_ed25519");

    #[test]
    fn openssh_s_files_are_read() {
        let identity = Identity::from_file(PRIVATE).unwrap();
        assert_eq!(identity.public(), PublicKey::from_line(PUBLIC).unwrap());
        assert_eq!(identity.comment, "ana@laptop");
        assert_eq!(identity.public().line(), PUBLIC.trim().trim_end_matches(" ana@laptop"));
        let print = include_str!("testdata/fingerprint");
        assert_eq!(identity.public().fingerprint(), print.split(' ').nth(1).unwrap());
        assert_eq!(Identity::from_file(&identity.file()), Some(identity));
    }

    #[test]
    fn broken_files_are_refused() {
        for end in 0..PRIVATE.len() - 1 {
            assert!(end > PRIVATE.len() - 4 || Identity::from_file(&PRIVATE[..end]).is_none());
        }
        assert_eq!(PublicKey::from_line("ssh-rsa AAAAB3NzaC1yc2E= ana"), None);
        assert_eq!(PublicKey::from_line("ssh-ed25519"), None);
        assert_eq!(PublicKey::from_line("ssh-ed25519 %%%"), None);
    }

    #[test]
    fn a_signature_is_one_key_s_over_one_text() {
        let (ana, bob) = (Identity::drawn(1, "ana", "ana"), Identity::drawn(1, "bob", "bob"));
        let signature = ana.sign(b"text");
        assert_eq!(signature, ana.sign(b"text"));
        assert!(ana.public().verifies(b"text", &signature));
        assert!(!ana.public().verifies(b"Text", &signature));
        assert!(!bob.public().verifies(b"text", &signature));
        assert!(!ana.public().verifies(b"text", &signature[..signature.len() - 1]));
        assert!(!ana.public().verifies(b"text", b""));
    }
}
