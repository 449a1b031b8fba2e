//! The keys of a balancer of connections.

use super::machine::PORT_MUST;
use crate::shape::{Key, Shape, Ty, key, must};

const MILLISECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MILLISECOND;
const SPAN: Ty = Ty::Span(MILLISECOND, HOUR);

pub(super) const HEALTH_KEYS: &[Key] = &[
    key("every", SPAN, "From one to the next (2s by default)."),
    key("timeout", SPAN, "One that takes longer has failed (1s by default)."),
    key("rise", Ty::Whole(1, 1_000), "Good ones in a row that bring a server back (2 by default)."),
    key("fall", Ty::Whole(1, 1_000), "Failed ones in a row that take it out (3 by default)."),
];
static HEALTH: Shape = Shape {
    name: "health checks",
    about: "A connection to each server from time to time, closed again at once.",
    keys: &[HEALTH_KEYS],
};
static COLLECT: Shape = Shape {
    name: "collecting",
    about: "What came in small segments goes on in large ones, and later.",
    keys: &[&[
        key("bytes", Ty::Bytes(1, 1 << 20), "So many go at once (16KiB by default)."),
        must("wait", Ty::Span(1, 60_000 * MILLISECOND), "What is there goes after this, however little."),
    ]],
};
static HEALTH_TY: Ty = Ty::Object(&HEALTH);

pub(super) static L4_BALANCER: Shape = Shape {
    name: "a balancer of connections",
    about: "Takes connections and goes on over its own to one of several servers. Bytes pass unread, TLS too; the servers see \
            the balancer as their caller.",
    keys: &[&[
        PORT_MUST,
        must("upstreams", Ty::Map("server", &Ty::Text), "Where connections go: names with `address:port`."),
        key(
            "balance",
            Ty::OneOf(&["round-robin", "least-connections", "source-hash", "maglev", "random-of-two"]),
            "How one is picked (round-robin by default). `source-hash` and `maglev` go by the client's address.",
        ),
        key(
            "sticky",
            Ty::Span(MILLISECOND, 24 * HOUR),
            "A client stays with its server until it was away for so long.",
        ),
        key(
            "health",
            Ty::Either(&Ty::Flag, &HEALTH_TY),
            "Checks that take a dead server out and bring it back.",
        ),
        key("warm", Ty::Whole(0, 1_000), "Connections to each server that stand ready."),
        key(
            "connect-timeout",
            SPAN,
            "A server that does not answer is given up after this, and the next one is tried (1s by default).",
        ),
        key("collect", Ty::Object(&COLLECT), "Collects bytes before they go on; else they go as they come."),
    ]],
};
