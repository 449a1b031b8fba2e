//! Proxies: what they keep, and what they say of themselves.

use crate::shape::{Key, Shape, Ty, key, must};

pub(super) static CACHE: Shape = Shape {
    name: "a shared cache",
    about: "Keeps responses by RFC 9111, and says of each why it was used or not.",
    keys: &[&[
        key(
            "size",
            Ty::Bytes(1, 1 << 40),
            "How much it keeps (64MiB by default); the least recently used goes first.",
        ),
        key("largest", Ty::Bytes(1, 1 << 40), "The longest body that it keeps (16MiB by default)."),
        key("ignore-query", Ty::Flag, "Whether `/a?x=1` and `/a?x=2` are the same thing (no by default)."),
        key(
            "key-headers",
            Ty::List(&Ty::Text),
            "Request fields that are part of the key, beside what Vary names.",
        ),
        key(
            "only",
            Ty::List(&Ty::Text),
            "Only paths with one of these endings, as `[.png, .css]`; all by default. What is left out is DYNAMIC.",
        ),
        key(
            "default-lifetime",
            Ty::Duration,
            "How long a response is fresh that says nothing about it; a tenth of the time since Last-Modified by default.",
        ),
        key(
            "keep-cookies",
            Ty::Flag,
            "Whether responses with Set-Cookie are kept (no by default; RFC 9111 lets them be).",
        ),
        key(
            "obey-clients",
            Ty::Flag,
            "Whether Cache-Control in requests counts, as with a reload (yes by default, no on a CDN).",
        ),
        key(
            "stale-after-s-maxage",
            Ty::Flag,
            "Whether stale-while-revalidate and stale-if-error count beside s-maxage (RFC 9111 forbids it, CDNs do it).",
        ),
        key(
            "collapse",
            Ty::Flag,
            "Whether requests for the same thing wait for the first one's response (yes by default).",
        ),
        key(
            "purge-from",
            Ty::List(&Ty::Net),
            "Networks whose machines may make it forget a URI (`WHO purges URL`, the method PURGE); nobody by default.",
        ),
    ]],
};

pub(super) const CACHE_TY: Ty = Ty::Either(&Ty::Flag, &Ty::Object(&CACHE));
pub(super) const CACHE_KEY: Key =
    key("cache", CACHE_TY, "Keeps responses and answers from them: `yes`, or how. None by default.");

pub(super) static CDN_PLACE: Shape = Shape {
    name: "a CDN's place",
    about: "What an edge adds to requests and responses, as Cloudflare does.",
    keys: &[&[
        must("airport", Ty::Text, "The code of the airport nearby, as `NRT`: it ends CF-Ray."),
        key(
            "countries",
            Ty::Map("network", &Ty::Text),
            "Countries of clients by network: `203.0.113.0/24: JP`.",
        ),
    ]],
};

/// Of a plain `edge`.
pub(super) const PROXY: &[Key] = &[
    CACHE_KEY,
    key("cdn", Ty::Object(&CDN_PLACE), "Says where it stands and where its clients are, as CDNs do."),
    key("upstream-tls", Ty::Text, "Speaks TLS to its upstreams, whose certificates must have this name."),
];
