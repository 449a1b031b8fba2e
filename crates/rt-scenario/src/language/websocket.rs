//! The keys of WebSocket: a web server's paths, and what a step that converses may say.

use crate::shape::{Key, Shape, Ty, key, must};
use crate::websocket::LONGEST;

const HOUR: u64 = 3_600_000_000_000;

static PUSH: Shape = Shape {
    name: "a voice",
    about: "Says something by itself to whoever is connected.",
    keys: &[&[
        must("push", Ty::Text, "What it says, with a number behind it: `tick` is `tick 1`, `tick 2`, ..."),
        key("every", Ty::Span(1_000_000, HOUR), "How often (1s by default)."),
    ]],
};
static KIND: Ty = Ty::Either(&Ty::OneOf(&["echo", "room"]), &Ty::Object(&PUSH));

/// Of a web server.
pub(super) const WEBSOCKET: Key = key(
    "websocket",
    Ty::Map("path", &KIND),
    "Paths where it speaks WebSocket: `echo` sends back what it hears, `room` passes it on to everybody who is connected, \
     `{ push: tick, every: 1s }` says something by itself.",
);

// Keys of a step.
pub(super) const SAYS: Key = key(
    "says",
    Ty::List(&Ty::Text),
    "`opens wss://...`: texts that are said, each when the one before was answered by a message.",
);
pub(super) const BINARY: Key = key(
    "binary",
    Ty::Bytes(0, LONGEST),
    "`opens wss://...`: a binary message of this size, after what is said.",
);
pub(super) const TIMES: Key =
    key("times", Ty::Whole(1, 10_000), "`opens wss://...`: all of that so many times (once by default).");
pub(super) const LISTENS: Key = key(
    "listens",
    Ty::Span(0, HOUR),
    "`opens wss://...`: listens for so long when everything is said, then closes.",
);
