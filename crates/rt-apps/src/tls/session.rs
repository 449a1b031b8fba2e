//! The client's store of TLS 1.3 tickets, by server name; each ticket is used once (RFC 8446, C.4).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rt_base::{Nanos, Time};
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use super::TlsHooks;

/// Tickets kept per server; the oldest goes first.
const PER_SERVER: usize = 4;
/// Servers remembered.
const SERVERS: usize = 256;

/// What is remembered of one server.
#[derive(Debug, Default)]
struct Entry {
    group: Option<NamedGroup>,
    /// With the time each came.
    tickets: VecDeque<(Time, Tls13ClientSessionValue)>,
}

/// The store.
#[derive(Debug)]
pub(super) struct Sessions {
    hooks: TlsHooks,
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Sessions {
    pub(super) fn new(hooks: TlsHooks) -> Sessions {
        Sessions { hooks, entries: Mutex::default() }
    }

    /// The age of the ticket for `name` that would be used next.
    pub(super) fn ticket_age(&self, name: &ServerName<'_>) -> Option<Nanos> {
        let entries = self.entries();
        let (came, _) = entries.get(name.to_str().as_ref())?.tickets.back()?;
        Some((self.hooks.now)().since(*came))
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_entry(&self, name: &ServerName<'_>, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.entries();
        let name = name.to_str();
        if !entries.contains_key(name.as_ref()) && entries.len() >= SERVERS {
            entries.pop_first();
        }
        change(entries.entry(name.into_owned()).or_default());
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.with_entry(&name, |entry| entry.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.entries().get(name.to_str().as_ref()).and_then(|entry| entry.group)
    }

    // TLS 1.2 is never negotiated.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let now = (self.hooks.now)();
        self.with_entry(&name, |entry| {
            if entry.tickets.len() >= PER_SERVER {
                entry.tickets.pop_front();
            }
            entry.tickets.push_back((now, ticket));
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.entries().get_mut(name.to_str().as_ref())?.tickets.pop_back().map(|(_, ticket)| ticket)
    }
}
