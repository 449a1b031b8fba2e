//! Connection tracking in the words of the file: what differs from the usual.

use rt_rules::ConntrackOptions;

use crate::nat::TIMEOUTS;
use crate::units::show_duration;

/// The keys of `conntrack:`.
pub(super) fn entries(options: &ConntrackOptions) -> Vec<(String, String)> {
    let (mut options, mut usual) = (*options, ConntrackOptions::default());
    let mut out = Vec::new();
    let mut put = |key: &str, value: String| out.push((key.to_owned(), value));
    if options.max != usual.max {
        put("max", options.max.to_string());
    }
    if let Some(most) = options.per_source {
        put("per-source", most.to_string());
    }
    if options.tcp_loose {
        put("tcp-loose", "yes".to_owned());
    }
    for (key, field) in TIMEOUTS {
        if *field(&mut options) != *field(&mut usual) {
            put(key, show_duration(*field(&mut options)));
        }
    }
    out
}
