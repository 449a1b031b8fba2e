//! The words of the scenario language, as tables: every key with its meaning and the shape of its values.
//!
//! Read by [`crate::shape::check`] (unknown keys, wrong values) and by [`crate::schema()`]. To add a key: add it here with
//! a sentence, read it where its site or node is lowered, and show it in `views/plain_yaml` if the model keeps it.

mod balancer;
mod cloud;
mod forward;
mod grpc;
mod links;
mod machine;
mod proxy;
mod routes;
mod sites;
mod ssh;
mod story;
mod topology;
mod websocket;

use crate::shape::{Shape, Ty, key, must};
#[cfg(test)]
pub(crate) use machine::TCP;
use sites::SITES;
pub(crate) use story::{EXPECT, FIGURES, LONGEST_PAUSE};
use story::{HAPPENING, NAMES_SHAPE, STEP};
use topology::TOPOLOGY;

/// Built-in page sets.
pub(crate) const PAGE_SETS: &[&str] =
    &["google-home", "hello", "shop", "example-com", "httpbin", "cdn", "news"];

pub(super) const NAMES: &Ty = &Ty::List(&Ty::Name);
pub(super) const HOST_NAMES: &Ty = &Ty::List(&Ty::Text);
pub(super) const ADDRESSES: &Ty = &Ty::List(&Ty::Address);
pub(super) const LINES: &Ty = &Ty::List(&Ty::Text);

/// The whole file.
pub(crate) static SCENARIO: Shape = Shape {
    name: "a scenario",
    about: "A network, what people do in it, and what must hold.",
    keys: &[&[
        must("name", Ty::Name, "A short name; the output folder is named after it."),
        key("about", Ty::Text, "One line about it."),
        key("epoch", Ty::Instant, "Civil time at the start of the run, such as 2026-01-15T12:00:00Z."),
        key(
            "sites",
            Ty::Map("site", &Ty::ByKind(SITES)),
            "Composite places: home, internet, service, cdn, host, vpc, peering, transit-gateway.",
        ),
        key("topology", Ty::Object(&TOPOLOGY), "Nodes and links one by one."),
        key(
            "groups",
            Ty::Map("group", &Ty::List(&Ty::Text)),
            "Groups of addresses, networks and machines that rules may name: `web: [10.0.1.0/24, proxy]`, then `allow tcp port 443 from group web`.",
        ),
        key("names", Ty::Object(&NAMES_SHAPE), "Hosts entries, zones and certificates."),
        key("steps", Ty::List(&Ty::Either(&Ty::Text, &Ty::Object(&STEP))), "What people do, in order."),
        key(
            "expect",
            Ty::List(&Ty::Map("`step N`", &Ty::Object(&EXPECT))),
            "What must hold, as `step 1: { status: 200 }`.",
        ),
        key("timeline", Ty::List(&Ty::Object(&HAPPENING)), "What happens to links and machines, when."),
    ]],
};
