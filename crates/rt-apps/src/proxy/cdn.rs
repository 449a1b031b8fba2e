//! What the largest CDN's edges add to requests and responses: the ray's number with the place, the client's address and
//! country.
//!
//! Simplification: a country is looked up in a table of prefixes that the network's own map gives; real ones buy it.

use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use http::header::{HeaderName, SERVER};
use ipnet::IpNet;
use rt_base::Rng;

use crate::net::Net;
use crate::server::Client;
use crate::server::put;

const CF_RAY: HeaderName = HeaderName::from_static("cf-ray");
const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
const CF_IPCOUNTRY: HeaderName = HeaderName::from_static("cf-ipcountry");
const CF_VISITOR: HeaderName = HeaderName::from_static("cf-visitor");
/// RFC 8586.
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Where an edge stands, and where its clients are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CdnPlace {
    /// The code of the airport nearby (IATA), as `NRT`.
    pub airport: String,
    /// Countries (ISO 3166) by prefix; the longest prefix counts.
    pub countries: Vec<(IpNet, String)>,
}

/// Numbers each request and marks it.
pub(super) struct Rays {
    place: CdnPlace,
    dice: Mutex<Rng>,
}

impl Rays {
    pub(super) fn new(net: &Net, place: CdnPlace, port: u16) -> Rays {
        Rays { place, dice: Mutex::new(net.rng(&format!("cdn.ray {port}"))) }
    }

    /// Puts into a request what the origin is to know; returns the ray's number.
    pub(super) fn mark(&self, headers: &mut HeaderMap, client: Client) -> String {
        let number = self.dice.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        let ray = format!("{number:016x}-{}", self.place.airport);
        put(headers, CF_RAY, &ray);
        put(headers, CF_CONNECTING_IP, &client.peer.ip().to_string());
        put(headers, CF_IPCOUNTRY, self.country(client));
        let scheme = if client.tls { "https" } else { "http" };
        put(headers, CF_VISITOR, &format!("{{\"scheme\":\"{scheme}\"}}"));
        super::headers::append(headers, CDN_LOOP, "cloudflare", ", ");
        ray
    }

    /// Puts into a response what the client is to know.
    pub(super) fn sign(headers: &mut HeaderMap, ray: &str) {
        put(headers, SERVER, "cloudflare");
        put(headers, CF_RAY, ray);
    }

    /// `XX` where nobody knows.
    fn country(&self, client: Client) -> &str {
        let known = self.place.countries.iter().filter(|(net, _)| net.contains(&client.peer.ip()));
        known.max_by_key(|(net, _)| net.prefix_len()).map_or("XX", |(_, country)| country)
    }
}
