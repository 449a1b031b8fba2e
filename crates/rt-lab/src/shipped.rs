//! Scenarios and templates that are built in, so that the program works from any folder.

use crate::Refusal;

/// A built-in scenario.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name, as `roundtrip run` takes it.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// The file's text.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// File names and texts, in the order of `roundtrip list`.
        const TEXTS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../scenarios/", $name, ".yaml")))),*];
    };
}

shipped![
    "web-browsing",
    "web-browsing-http1",
    "post-json",
    "two-hosts",
    "home",
    "nxdomain",
    "resolver-down",
    "dhcp-silent",
    "port-closed",
    "no-route",
    "routing-loop",
    "server-silent",
    "lossy",
    "certificate-expired",
    "certificate-wrong-name",
    "certificate-untrusted",
    "cable-cut",
    "pravin-dev",
    "nagle-and-delayed-ack",
    "connection-cost",
    "fast-open",
    "keepalive",
    "time-wait",
    "syn-flood",
    "spoofed-reset",
    "spoofing",
    "slow-start",
    "pmtu-black-hole",
    "mtu-trouble",
    "frame-size",
    "two-uplinks",
    "udp-or-tcp",
    "home-nat",
    "same-private-ip",
    "private-subnet",
    "bastion",
    "cdn",
    "load-balancers",
    "clicking-a-link",
    "proxies",
    "ossification",
    "rpc",
    "websocket",
    "alice-and-bob",
    "alice-and-bob-acl",
    "alice-and-bob-cgnat",
    "alice-and-bob-video",
    "vpn",
    "example-com",
    "playground",
    "hub-and-spoke",
    "full-mesh",
];

/// All built-in scenarios.
#[must_use]
pub fn shipped() -> Vec<Shipped> {
    TEXTS.iter().map(|&(name, text)| Shipped { name, about: about(text), text }).collect()
}

/// The `about:` line of a scenario's text.
fn about(text: &'static str) -> &'static str {
    text.lines().find_map(|line| line.strip_prefix("about:")).unwrap_or_default().trim().trim_matches('"')
}

/// A commented starting file: `home` or `two-hosts`.
///
/// # Errors
/// [`Refusal::Unknown`] with the names that exist.
pub fn template(name: &str) -> Result<&'static str, Refusal> {
    match name {
        "home" => Ok(rt_scenario::templates::HOME),
        "two-hosts" => Ok(rt_scenario::templates::TWO_HOSTS),
        _ => Err(Refusal::unknown("template", name, &["home", "two-hosts"])),
    }
}
