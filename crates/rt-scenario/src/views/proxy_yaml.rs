//! A proxy's options back to YAML.

use super::plain_yaml::{list, map, q, yes_no};
use crate::model::{CacheRules, CdnPlace, ProxyOptions};
use crate::units::show_duration;

/// The options as entries of the plain level.
pub(super) fn show_proxy(options: &ProxyOptions) -> Vec<(String, String)> {
    let ProxyOptions { cache, cdn, upstream_tls, .. } = options;
    let entries = [
        ("cache", cache.as_ref().map(show_cache)),
        ("cdn", cdn.as_ref().map(show_place)),
        ("upstream-tls", upstream_tls.as_deref().map(q)),
    ];
    entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

pub(super) fn show_cache(cache: &CacheRules) -> String {
    let usual = CacheRules::default();
    let texts = |all: &[String]| (!all.is_empty()).then(|| list(all.iter().map(|text| q(text))));
    let flag = |own: bool, usual: bool| (own != usual).then(|| yes_no(own));
    let entries = [
        ("size", (cache.size != usual.size).then(|| cache.size.to_string())),
        ("largest", (cache.largest != usual.largest).then(|| cache.largest.to_string())),
        ("ignore-query", flag(cache.ignore_query, usual.ignore_query)),
        ("key-headers", texts(&cache.key_headers)),
        ("only", texts(&cache.only)),
        ("default-lifetime", cache.default_lifetime.map(show_duration)),
        ("keep-cookies", flag(cache.keep_cookies, usual.keep_cookies)),
        ("obey-clients", flag(cache.obey_clients, usual.obey_clients)),
        ("stale-after-s-maxage", flag(cache.stale_after_s_maxage, usual.stale_after_s_maxage)),
        ("collapse", flag(cache.collapse, usual.collapse)),
        (
            "purge-from",
            (!cache.purge_from.is_empty()).then(|| list(cache.purge_from.iter().map(ToString::to_string))),
        ),
    ];
    let written: Vec<_> =
        entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    if written.is_empty() { "yes".to_owned() } else { map(&written) }
}

fn show_place(place: &CdnPlace) -> String {
    let countries: Vec<_> =
        place.countries.iter().map(|(net, country)| (q(&net.to_string()), q(country))).collect();
    let mut entries = vec![("airport".to_owned(), q(&place.airport))];
    if !countries.is_empty() {
        entries.push(("countries".to_owned(), map(&countries)));
    }
    map(&entries)
}
