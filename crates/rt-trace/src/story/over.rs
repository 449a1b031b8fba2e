//! Over which connection a proxy asked its upstream: what it cost to open it, or that it was there already.
//!
//! Not for balancers of connections, which say so themselves ([`super::relay`]).

use rt_base::{AppRecord, Event, Time, What};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http::{Place, exchange_of};
use super::view::{Req, View};
use super::words;
use crate::read::HttpVersion;

/// Waits shorter than this are the machine's own work.
const WORTH_TELLING: u64 = 10_000;

/// A proxy's connection to an upstream, for one request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct OverStory {
    /// Its number.
    pub number: u32,
    /// `new`, `ready` (opened ahead, and not used before), `kept` (from an earlier request) or `shared` (HTTP/2, with others).
    pub how: String,
    /// How long the request waited for one that was free, or for this one to be open.
    pub waited_ns: u64,
    /// Of a new one: how long it took to find out the next machine's MAC.
    pub arp_ns: u64,
    /// Of a new one: TCP's handshake.
    pub tcp_ns: u64,
    /// Of a new one: TLS's handshake; 0 without TLS.
    pub tls_ns: u64,
}

/// The connection over which the proxy's own request went.
pub(super) fn story(view: &View<'_>, req: &Req<'_>, place: Place) -> Option<OverStory> {
    let used = req.used().last()?;
    let (tcp, exchange) = exchange_of(view, place);
    let choice = req.said.iter().rev().find_map(|(event, record)| match record {
        AppRecord::ChoseUpstream { policy, .. } if event.at <= used.at => Some((event.at, policy)),
        _ => None,
    });
    // A forward proxy looks a name up in between.
    let chose = choice.filter(|(_, policy)| policy.as_str() != "forward").map(|(at, _)| at);
    let waited = |until: Time| chose.map_or(0, |chose| until.since(chose).0);
    let story =
        OverStory { number: u32::try_from(place.conn + 1).unwrap_or(u32::MAX), ..OverStory::default() };
    if used.reused {
        let first = exchange.ordinal == 0;
        let shared = exchange.version == HttpVersion::Http2;
        let how = if first {
            "ready"
        } else if shared {
            "shared"
        } else {
            "kept"
        };
        return Some(OverStory { how: how.to_owned(), waited_ns: waited(used.at), ..story });
    }
    let syn = tcp.syn.as_ref()?.mark;
    let made = view.trace.events_of(syn.frame).next().map_or(syn.at, |event| event.at);
    // Routers on the way may ask for the next machine's MAC as well: that is part of TCP's handshake.
    let asks = |event: &Event| event.node() == req.node && matches!(event.what, What::NeighborWait { .. });
    let resolved = if view.trace.events_of(syn.frame).any(asks) { syn.at } else { made };
    let open = tcp.established?.at;
    let secret = tcp.tls.as_ref().and_then(|tls| tls.handshake_done).map_or(open, |mark| mark.at);
    Some(OverStory {
        how: "new".to_owned(),
        waited_ns: waited(made),
        arp_ns: resolved.since(made).0,
        tcp_ns: open.since(resolved).0,
        tls_ns: secret.since(open).0,
        ..story
    })
}

/// ` over a new connection (opened in 8.020 ms: ARP 4.005 ms, TCP 4.015 ms)`.
pub(super) fn say(over: &OverStory) -> String {
    let ms = |ns: u64| words::ms(rt_base::Nanos(ns));
    let parts = [("ARP", over.arp_ns), ("TCP", over.tcp_ns), ("TLS", over.tls_ns)];
    let took: u64 = parts.iter().map(|(_, ns)| ns).sum();
    let told: Vec<String> =
        parts.into_iter().filter(|(_, ns)| *ns > 0).map(|(what, ns)| format!("{what} {}", ms(ns))).collect();
    let text = match over.how.as_str() {
        "new" if told.len() > 1 => {
            format!(" over a new connection (opened in {}: {})", ms(took), told.join(", "))
        }
        "new" => format!(" over a new connection (opened in {})", ms(took)),
        "ready" => " over a connection that stood ready".to_owned(),
        "shared" => " over the connection that its requests share".to_owned(),
        _ => " over a connection kept from before".to_owned(),
    };
    if over.waited_ns < WORTH_TELLING {
        return text;
    }
    let until = if over.how == "shared" { "it to be open" } else { "one to be free" };
    format!("{text} (after {} of waiting for {until})", ms(over.waited_ns))
}
