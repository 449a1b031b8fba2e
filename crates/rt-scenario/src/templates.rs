//! Commented starting files for `roundtrip new`.

/// A home on the internet and a service in two places.
pub const HOME: &str = include_str!("../templates/home.yaml");
/// Two machines on a switch.
pub const TWO_HOSTS: &str = include_str!("../templates/two-hosts.yaml");
