//! The keys of a forward proxy, and of a browser that uses one.

use super::machine::THINK;
use super::proxy::CACHE_TY;
use crate::shape::{Key, Shape, Ty, key};

pub(super) static INSPECT: Shape = Shape {
    name: "inspection",
    about: "Reads what goes through CONNECT: the proxy ends TLS itself with certificates made on the fly.",
    keys: &[&[
        key("ca", Ty::Name, "Its authority (`inspection-ca` by default); browsers name it under `trusts:`."),
        key("except", Ty::List(&Ty::Text), "Hosts that it leaves alone, as in `block:`."),
        key(
            "intercept",
            Ty::Port,
            "A port to which destination NAT brings connections to port 443, from clients that know of no proxy.",
        ),
    ]],
};
static INSPECT_TY: Ty = Ty::Object(&INSPECT);

pub(super) static FORWARD_PROXY: Shape = Shape {
    name: "a forward proxy",
    about: "Clients ask it instead of servers: `http` in whole addresses, everything else through tunnels (CONNECT). It looks names \
            up itself and asks in its own name.",
    keys: &[&[
        key("port", Ty::Port, "TCP port (3128 by default)."),
        key(
            "block",
            Ty::List(&Ty::Text),
            "Sites that it refuses with 403: `ads.example`, `.ads.example` (and all below it), `*.example/games*`.",
        ),
        key("allow", Ty::List(&Ty::Net), "Networks whose machines may use it; all by default."),
        key("connect-ports", Ty::List(&Ty::Port), "Ports to which CONNECT may lead (443 by default)."),
        key(
            "users",
            Ty::Map("user", &Ty::Text),
            "Who may use it, with passwords (407 for others); all by default.",
        ),
        key(
            "forwarded",
            Ty::OneOf(&["on", "off", "transparent", "delete", "rfc7239"]),
            "What servers hear of the client in X-Forwarded-For: `on` its address (the default), `off` the word unknown, \
             `transparent` what the client wrote, `delete` nothing; `rfc7239` writes Forwarded instead.",
        ),
        key("via", Ty::Flag, "Whether it names itself in Via (yes by default)."),
        key("log", Ty::Flag, "Whether it keeps an access log, in squid's format (yes by default)."),
        key("cache", CACHE_TY, "Keeps responses and answers from them: `yes`, or how. None by default."),
        key(
            "inspect",
            Ty::Either(&Ty::Flag, &INSPECT_TY),
            "Reads what goes through CONNECT, with certificates of an authority of its own: `yes`, or how.",
        ),
        THINK,
        key("idle", Ty::Duration, "How long an idle connection to a server is kept (60s by default)."),
        key("timeout", Ty::Duration, "How long a server may take (30s by default)."),
    ]],
};

/// Of a browser.
pub(super) const BROWSER: &[Key] = &[
    key(
        "proxy",
        Ty::Text,
        "A forward proxy that it asks instead of servers: `http://proxy.corp.example:3128`, with `user:password@` before the \
         host if it is to say who it is.",
    ),
    key(
        "no-proxy",
        Ty::List(&Ty::Text),
        "Hosts that it asks directly: `intranet.example`, `.corp.example` (and all below it), `*`.",
    ),
    key(
        "trusts",
        Ty::List(&Ty::Name),
        "Authorities that it trusts beside the public one: those of inspecting proxies. Real programs on this machine do as well.",
    ),
];
