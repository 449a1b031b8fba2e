//! Record keys from logged secrets (RFC 8446, 7; RFC 5246, 6.3 and 8.1) and the opening of records, by ring.

use ring::{aead, digest, hkdf, hmac};

/// What a suite needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suite {
    aead: &'static aead::Algorithm,
    pub(super) hash: Hash,
    key_len: usize,
    /// TLS 1.2: bytes of the nonce that come with each record (8 for GCM, 0 for ChaCha20).
    explicit: usize,
}

/// SHA-256 or SHA-384.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hash {
    Sha256,
    Sha384,
}

impl Hash {
    pub(super) fn len(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha384 => hmac::HMAC_SHA384,
        }
    }

    fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Hash::Sha256 => hkdf::HKDF_SHA256,
            Hash::Sha384 => hkdf::HKDF_SHA384,
        }
    }

    pub(super) fn start(self) -> digest::Context {
        digest::Context::new(match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
        })
    }
}

/// The suite by its number, if it is one that is read.
pub(super) fn suite(id: u16) -> Option<Suite> {
    let (aead, hash, key_len, explicit) = match id {
        0x1301 => (&aead::AES_128_GCM, Hash::Sha256, 16, 0),
        0x1302 => (&aead::AES_256_GCM, Hash::Sha384, 32, 0),
        0x1303 => (&aead::CHACHA20_POLY1305, Hash::Sha256, 32, 0),
        0x009c | 0x009e | 0xc02b | 0xc02f => (&aead::AES_128_GCM, Hash::Sha256, 16, 8),
        0x009d | 0x009f | 0xc02c | 0xc030 => (&aead::AES_256_GCM, Hash::Sha384, 32, 8),
        0xcca8..=0xccaa => (&aead::CHACHA20_POLY1305, Hash::Sha256, 32, 0),
        _ => return None,
    };
    Some(Suite { aead, hash, key_len, explicit })
}

/// The keys of one direction.
pub(super) struct Keys {
    key: aead::LessSafeKey,
    /// 12 bytes, or the first 4 when the rest comes with the record.
    iv: Vec<u8>,
    explicit: usize,
    sequence: u64,
    tls13: bool,
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Keys(record {})", self.sequence)
    }
}

impl Keys {
    /// TLS 1.3 keys from a traffic secret.
    pub(super) fn tls13(suite: Suite, secret: &[u8]) -> Option<Keys> {
        let key = expand_label(suite.hash, secret, "key", &[], suite.key_len)?;
        let iv = expand_label(suite.hash, secret, "iv", &[], 12)?;
        Keys::new(suite, &key, iv, true)
    }

    /// TLS 1.2 keys of (client, server) from the master secret.
    pub(super) fn tls12(
        suite: Suite,
        master: &[u8],
        client: &[u8; 32],
        server: &[u8; 32],
    ) -> Option<[Keys; 2]> {
        let iv_len = 12 - suite.explicit;
        let seed = [server.as_slice(), client].concat();
        let block = prf(suite.hash, master, b"key expansion", &seed, 2 * (suite.key_len + iv_len));
        let (keys, ivs) = block.split_at_checked(2 * suite.key_len)?;
        let (client_key, server_key) = keys.split_at_checked(suite.key_len)?;
        let (client_iv, server_iv) = ivs.split_at_checked(iv_len)?;
        Some([
            Keys::new(suite, client_key, client_iv.to_vec(), false)?,
            Keys::new(suite, server_key, server_iv.to_vec(), false)?,
        ])
    }

    fn new(suite: Suite, key: &[u8], iv: Vec<u8>, tls13: bool) -> Option<Keys> {
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(suite.aead, key).ok()?);
        Some(Keys { key, iv, explicit: if tls13 { 0 } else { suite.explicit }, sequence: 0, tls13 })
    }

    /// Opens the payload of a record (`head` is its five bytes) into (type, plaintext). The record number advances only
    /// when the tag was right.
    pub(super) fn open(&mut self, head: [u8; 5], payload: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (explicit, sealed) = payload.split_at_checked(self.explicit)?;
        let plain_len = sealed.len().checked_sub(16)?;
        let mut nonce = [0; 12];
        if explicit.is_empty() {
            nonce.copy_from_slice(self.iv.get(..12)?);
            for (n, s) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
                *n ^= s;
            }
        } else {
            nonce[..4].copy_from_slice(self.iv.get(..4)?);
            nonce[4..].copy_from_slice(explicit);
        }
        let aad = if self.tls13 {
            head.to_vec()
        } else {
            let mut aad = self.sequence.to_be_bytes().to_vec();
            aad.extend_from_slice(&head[..3]);
            aad.extend_from_slice(&u16::try_from(plain_len).ok()?.to_be_bytes());
            aad
        };
        let mut buf = sealed.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.key.open_in_place(nonce, aead::Aad::from(aad), &mut buf).ok()?;
        buf.truncate(plain_len);
        self.sequence += 1;
        if !self.tls13 {
            return Some((head[0], buf));
        }
        // The last byte that is not zero is the real type (RFC 8446, 5.4).
        let end = buf.iter().rposition(|b| *b != 0)?;
        let kind = buf[end];
        buf.truncate(end);
        Some((kind, buf))
    }
}

/// HKDF-Expand-Label (RFC 8446, 7.1).
pub(super) fn expand_label(
    hash: Hash,
    secret: &[u8],
    label: &str,
    context: &[u8],
    len: usize,
) -> Option<Vec<u8>> {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut info = u16::try_from(len).ok()?.to_be_bytes().to_vec();
    info.push(u8::try_from(label.len() + 6).ok()?);
    info.extend_from_slice(b"tls13 ");
    info.extend_from_slice(label.as_bytes());
    info.push(u8::try_from(context.len()).ok()?);
    info.extend_from_slice(context);
    let mut out = vec![0; len];
    let prk = hkdf::Prk::new_less_safe(hash.hkdf(), secret);
    prk.expand(&[&info], Len(len)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

/// The secret after a KeyUpdate.
pub(super) fn updated(hash: Hash, secret: &[u8]) -> Option<Vec<u8>> {
    expand_label(hash, secret, "traffic upd", &[], hash.len())
}

/// What a TLS 1.3 Finished must hold.
pub(super) fn finished13(hash: Hash, secret: &[u8], transcript: &[u8]) -> Option<Vec<u8>> {
    let key = expand_label(hash, secret, "finished", &[], hash.len())?;
    Some(hmac::sign(&hmac::Key::new(hash.hmac(), &key), transcript).as_ref().to_vec())
}

/// What a TLS 1.2 Finished must hold.
pub(super) fn finished12(hash: Hash, master: &[u8], client: bool, transcript: &[u8]) -> Vec<u8> {
    let label: &[u8] = if client { b"client finished" } else { b"server finished" };
    prf(hash, master, label, transcript, 12)
}

/// The TLS 1.2 PRF (RFC 5246, 5).
fn prf(hash: Hash, secret: &[u8], label: &[u8], seed: &[u8], len: usize) -> Vec<u8> {
    let key = hmac::Key::new(hash.hmac(), secret);
    let seed = [label, seed].concat();
    let mut a = hmac::sign(&key, &seed);
    let mut out = Vec::with_capacity(len + 48);
    while out.len() < len {
        let block = hmac::sign(&key, &[a.as_ref(), &seed].concat());
        out.extend_from_slice(block.as_ref());
        a = hmac::sign(&key, a.as_ref());
    }
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_expand(secret: &str, label: &str, len: usize, expect: &str) {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
        };
        let got = expand_label(Hash::Sha256, &bytes(secret), label, &[], len).unwrap();
        assert_eq!(got, bytes(expect));
    }

    #[test]
    fn keys_of_rfc_8448() {
        // RFC 8448, 3: server handshake traffic secret and what is derived from it.
        let secret = "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38";
        check_expand(secret, "key", 16, "3fce516009c21727d0f2e4e86ee403bc");
        check_expand(secret, "iv", 12, "5d313eb2671276ee13000b30");
        check_expand(
            secret,
            "finished",
            32,
            "008d3b66f816ea559f96b537e885c31fc068bf492c652f01f288a1d8cdc19fc8",
        );
    }
}
