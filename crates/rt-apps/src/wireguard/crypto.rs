//! The primitives that WireGuard names (whitepaper, 5.4): X25519, ChaCha20-Poly1305, BLAKE2s, XChaCha20-Poly1305 for cookies.
//! The Noise handshake itself is `snow`'s; here it gets these primitives and keys drawn by the machine's own dice.

use blake2::digest::consts::U16;
use blake2::digest::{Digest, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, Payload};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState};
use x25519_dalek::{PublicKey, StaticSecret};

/// Noise's name of WireGuard's handshake (whitepaper, 5.4).
const NAME: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// What both sides mix in first (whitepaper, 5.4, `IDENTIFIER`).
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
/// Bytes of a Poly1305 tag.
pub(super) const TAG: usize = 16;

/// A 32-byte key.
pub(super) type Key = [u8; 32];

/// The public half of a private key (RFC 7748, section 5).
#[must_use]
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*secret)).to_bytes()
}

/// `MAC(key, input)`: keyed BLAKE2s with 16 bytes (whitepaper, 5.4).
pub(super) fn mac(key: &[u8], input: &[&[u8]]) -> [u8; 16] {
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("invariant: at most 32 bytes");
    input.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// `HASH(label || key)`: the keys of mac1 and of cookies (whitepaper, 5.4.4 and 5.4.7).
pub(super) fn labelled(label: &[u8; 8], key: &Key) -> Key {
    let mut hash = <Blake2s256 as Digest>::new();
    Digest::update(&mut hash, label);
    Digest::update(&mut hash, key);
    hash.finalize().into()
}

/// Seals a cookie (`XAEAD` of whitepaper, 5.4.7).
pub(super) fn seal_cookie(key: &Key, nonce: &[u8; 24], cookie: &[u8; 16], mac1: &[u8; 16]) -> Vec<u8> {
    let payload = Payload { msg: cookie, aad: mac1 };
    let sealed = XChaCha20Poly1305::new(key.into()).encrypt(nonce.into(), payload);
    sealed.expect("invariant: 16 bytes can be sealed")
}

/// Opens a cookie; `None` when it is none of ours.
pub(super) fn open_cookie(key: &Key, nonce: &[u8; 24], sealed: &[u8], mac1: &[u8; 16]) -> Option<[u8; 16]> {
    let payload = Payload { msg: sealed, aad: mac1 };
    XChaCha20Poly1305::new(key.into()).decrypt(nonce.into(), payload).ok()?.try_into().ok()
}

/// The beginning of a handshake for whoever asks. `ephemeral` is the private key that this side sends.
pub(super) fn initiator(own: &Key, peer: &Key, psk: &Key, ephemeral: Key) -> Result<HandshakeState, Error> {
    builder(ephemeral)?.local_private_key(own)?.remote_public_key(peer)?.psk(2, psk)?.build_initiator()
}

/// The same for whoever is asked: who asks, and thus the shared key, is known only after the first message
/// ([`HandshakeState::set_psk`]).
pub(super) fn responder(own: &Key, ephemeral: Key) -> Result<HandshakeState, Error> {
    builder(ephemeral)?.local_private_key(own)?.psk(2, &[0; 32])?.build_responder()
}

fn builder<'b>(ephemeral: Key) -> Result<Builder<'b>, Error> {
    Builder::with_resolver(NAME.parse()?, Box::new(Primitives { ephemeral })).prologue(PROLOGUE)
}

struct Primitives {
    ephemeral: Key,
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Drawn(self.ephemeral)))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| Box::<Agreement>::default() as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        (*choice == HashChoice::Blake2s).then(|| Box::<Blake2s>::default() as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        (*choice == CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly::of(&[0; 32])) as Box<dyn Cipher>)
    }
}

/// Gives the one key that a handshake asks for, drawn before.
struct Drawn(Key);

impl Random for Drawn {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        match dest.len() {
            32 => dest.copy_from_slice(&self.0),
            _ => return Err(Error::Input),
        }
        Ok(())
    }
}

#[derive(Default)]
struct Agreement {
    secret: Key,
    public: Key,
}

impl Dh for Agreement {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.secret.copy_from_slice(privkey);
        self.public = public_key(&self.secret);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = [0; 32];
        rng.try_fill_bytes(&mut secret)?;
        self.set(&secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.secret
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let theirs: Key = pubkey.get(..32).and_then(|key| key.try_into().ok()).ok_or(Error::Dh)?;
        let shared = StaticSecret::from(self.secret).diffie_hellman(&PublicKey::from(theirs));
        // A point of small order would make the key everybody's.
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

#[derive(Default)]
struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::default();
    }

    fn input(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&std::mem::take(&mut self.0).finalize());
    }
}

struct ChaChaPoly(LessSafeKey);

impl ChaChaPoly {
    fn of(key: &Key) -> ChaChaPoly {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("invariant: 32 bytes are a key");
        ChaChaPoly(LessSafeKey::new(key))
    }
}

/// Four zero bytes and the counter (Noise, 12.3).
fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &Key) {
        *self = ChaChaPoly::of(key);
    }

    fn encrypt(&self, counter: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (body, rest) = out.split_at_mut(plaintext.len());
        body.copy_from_slice(plaintext);
        let tag = self.0.seal_in_place_separate_tag(nonce(counter), Aad::from(authtext), body);
        rest[..TAG].copy_from_slice(tag.expect("invariant: messages are short").as_ref());
        plaintext.len() + TAG
    }

    fn decrypt(
        &self,
        counter: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let mut text = ciphertext.to_vec();
        let opened = self.0.open_in_place(nonce(counter), Aad::from(authtext), &mut text);
        let opened = opened.map_err(|_| Error::Decrypt)?;
        out.get_mut(..opened.len()).ok_or(Error::Decrypt)?.copy_from_slice(opened);
        Ok(opened.len())
    }
}
