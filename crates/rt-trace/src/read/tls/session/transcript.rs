//! The transcript hash over all handshake messages (RFC 8446, 4.4.1; RFC 5246, 7.4.9).

use ring::digest;

use super::keys::Hash;

/// Messages are kept as bytes until the suite, and with it the hash, is known.
#[derive(Default)]
pub(super) struct Transcript {
    pending: Vec<u8>,
    running: Option<digest::Context>,
}

impl Transcript {
    /// A whole message with its four bytes of head.
    pub(super) fn push(&mut self, message: &[u8]) {
        match &mut self.running {
            Some(context) => context.update(message),
            None => self.pending.extend_from_slice(message),
        }
    }

    /// The hash is known; after a HelloRetryRequest (`retry`) the first hello counts by its hash only.
    pub(super) fn start(&mut self, hash: Hash, retry: bool) {
        if self.running.is_some() {
            return;
        }
        let mut context = hash.start();
        let pending = std::mem::take(&mut self.pending);
        if retry {
            let mut first = hash.start();
            first.update(&pending);
            context.update(&[254, 0, 0, hash.len() as u8]);
            context.update(first.finish().as_ref());
        } else {
            context.update(&pending);
        }
        self.running = Some(context);
    }

    /// The hash of all messages so far, if one is running.
    pub(super) fn current(&self) -> Option<Vec<u8>> {
        self.running.as_ref().map(|c| c.clone().finish().as_ref().to_vec())
    }
}

impl core::fmt::Debug for Transcript {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Transcript({} bytes pending)", self.pending.len())
    }
}
