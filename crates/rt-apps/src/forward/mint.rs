//! Certificates made on the fly for the names that clients ask for, the last ones kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rt_base::Nanos;

use crate::net::Net;
use crate::tls::{PrivateCa, ServerTls, TlsHooks};

/// Certificates kept; the one that was not asked for longest goes first. A client that asks for endless names costs time, not
/// memory.
pub(super) const MOST_KEPT: usize = 1_024;

/// A day, in seconds.
const DAY: u64 = 86_400;

/// See the module.
pub(super) struct Mint {
    net: Net,
    ca: Arc<PrivateCa>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    uses: u64,
    /// With the number of the last use.
    kept: BTreeMap<String, (u64, ServerTls)>,
}

impl Mint {
    pub(super) fn new(net: &Net, ca: Arc<PrivateCa>) -> Mint {
        Mint { net: net.clone(), ca, state: Mutex::default() }
    }

    /// Who signs.
    pub(super) fn ca(&self) -> &PrivateCa {
        &self.ca
    }

    /// TLS in the name of `host`: valid from a day before the run for a month.
    ///
    /// # Errors
    /// What keeps the name from standing in a certificate.
    pub(super) fn identity(&self, host: &str) -> Result<ServerTls, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.uses += 1;
        let now = state.uses;
        if let Some((used, tls)) = state.kept.get_mut(host) {
            *used = now;
            return Ok(tls.clone());
        }
        // Other crates of a build decide how strict the certificate's maker is about names.
        if rustls::pki_types::ServerName::try_from(host).is_err() {
            return Err(format!("no certificate can have the name {host:?}"));
        }
        let epoch = self.net.epoch();
        let valid = (epoch.saturating_sub(DAY), epoch.saturating_add(30 * DAY));
        let identity = self.ca.issue(host, valid).map_err(|error| error.to_string())?;
        let mut rng = self.net.rng(&format!("tls.ticket-key {host}"));
        let tls = ServerTls::new(TlsHooks::of(&self.net), &[identity], &["http/1.1"], &mut rng)
            .map_err(|error| error.to_string())?;
        if state.kept.len() >= MOST_KEPT {
            let oldest = state.kept.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| name.clone());
            oldest.map(|name| state.kept.remove(&name));
        }
        state.kept.insert(host.to_owned(), (now, tls.clone()));
        Ok(tls)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept.len()
    }
}

/// How long a client may take for its ClientHello.
pub(super) const HELLO: Nanos = Nanos::from_secs(30);
