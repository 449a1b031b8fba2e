//! Sites.

use super::cloud::{PEERING, TRANSIT_GATEWAY, VPC};
use super::links::{ACCESS, CABLE, HOME_ACCESS};
use super::machine::{
    ACLS, CLIENT_SUBNET, CONNTRACK_KEY, FIREWALL, FLOW_TIMEOUT_KEY, HTTP2, MACHINE, ORDER, PAGES, PORTS_TY,
    PROCESSING, REVERSE_PATH_ABOUT, REVERSE_PATH_TY, SILENT, THINK,
};
use super::topology::MIDDLEBOX;
use super::{ADDRESSES, HOST_NAMES, LINES, NAMES};
use crate::shape::{Key, Shape, Ty, key, must};

pub(super) const KIND: Key = must("kind", Ty::Name, "What kind of site it is.");
pub(super) const PLACE: Key = key("place", Ty::Name, "The city it stands in: one of the internet's places.");

const NAT_TYPES: Ty = Ty::OneOf(&["full-cone", "restricted-cone", "port-restricted-cone", "symmetric"]);
const DEPENDS: Ty = Ty::OneOf(&["endpoint-independent", "address-dependent", "address-and-port-dependent"]);
pub(super) static NAT: Shape = Shape {
    name: "NAT behaviour",
    about: "How the mappings of a home router behave, in the words of RFC 4787.",
    keys: &[&[
        key("type", NAT_TYPES, "Mapping and filtering by the old names; `port-restricted-cone` by default."),
        key(
            "mapping",
            DEPENDS,
            "When an inner address and port keep their external port: towards everybody (the default), or one for each \
             remote address, or for each remote address and port.",
        ),
        key(
            "filtering",
            DEPENDS,
            "Who may come in through a mapping: everybody, who was written to from any port, or only what answers (the \
             default).",
        ),
        key("hairpin", Ty::Flag, "Whether machines inside reach each other through the external address."),
        key(
            "overload",
            Ty::Flag,
            "Whether one external port serves several remote ends at once, as Linux and AWS do; with `type: symmetric`.",
        ),
        key(
            "exhausted",
            Ty::OneOf(&["silent", "prohibited", "host-unreachable"]),
            "What a sender hears for whom there is no port: nothing (the default), or an ICMP error.",
        ),
    ]],
};

pub(super) static CGNAT: Shape = Shape {
    name: "a carrier-grade NAT",
    about: "The NAT of ISPs whose customers share public addresses (RFC 6888): blocks of ports for each customer.",
    keys: &[&[
        key(
            "pool",
            Ty::Net,
            "The public addresses that customers share, /24 at most; out of 198.18.255.0/24 when not given.",
        ),
        key("ports", Ty::Ports, "External ports of each (1024-65535 by default)."),
        key("block", Ty::Whole(1, 64_512), "Ports of one block (512 by default)."),
        key("blocks", Ty::Whole(1, 64_512), "Blocks that one customer may have (4 by default)."),
        key(
            "nat",
            Ty::Object(&NAT),
            "How its mappings behave; full-cone with hairpinning by default, as RFC 6888 wants.",
        ),
        FLOW_TIMEOUT_KEY,
        CONNTRACK_KEY,
    ]],
};

pub(super) static HOME_ROUTER: Shape = Shape {
    name: "a home router",
    about: "The router of a home: NAT, DHCP and a firewall that lets nobody in unasked.",
    keys: &[&[
        key("address", Ty::Address, "Its address inside; the first of the LAN by default."),
        key("mac", Ty::Mac, "Its MAC on the LAN."),
        key(
            "nat-ports",
            PORTS_TY,
            "External ports of the NAT: `10001-` counts up from there; `{ policy: preserve }` keeps source ports.",
        ),
        key(
            "nat",
            Ty::Either(&NAT_TYPES, &Ty::Object(&NAT)),
            "How its mappings behave: `symmetric` and the like, or key by key.",
        ),
        key(
            "port-forwards",
            Ty::List(&Ty::Text),
            "Ports open to the world: `tcp 8080 to laptop:80`, `udp 8000-8009 to laptop`.",
        ),
        FLOW_TIMEOUT_KEY,
        CONNTRACK_KEY,
        key(
            "firewall",
            Ty::Object(&FIREWALL),
            "Replaces the usual lines of a home router, direction by direction.",
        ),
        key("acl", ACLS, "Stateless access lists by interface: `wan`, `lan`."),
        key("reverse-path", REVERSE_PATH_TY, REVERSE_PATH_ABOUT),
        key("processing", PROCESSING, "Time it takes for each frame that it sends on."),
        key(
            "clamp-mss",
            Ty::Flag,
            "Whether it lowers the MSS of SYNs to what its line carries (no by default; most real ones do).",
        ),
        MIDDLEBOX,
    ]],
};

pub(super) static DHCP: Shape = Shape {
    name: "DHCP options",
    about: "How addresses are given out.",
    keys: &[&[
        key("pool", Ty::Text, "First and last address, as `192.168.1.100-192.168.1.199`."),
        key("lease", Ty::Duration, "Lease time (24h by default)."),
        SILENT,
    ]],
};

pub(super) static DEVICE: Shape = Shape {
    name: "a device",
    about: "A machine in a home.",
    keys: &[
        &[
            key(
                "address",
                Ty::Address,
                "Its address; given out by DHCP as a reservation. From the pool when not given.",
            ),
            key("mac", Ty::Mac, "Its MAC address."),
            key("dhcp", Ty::Flag, "Whether it asks by DHCP (yes by default); `no` sets its address by hand."),
            key("role", Ty::Text, "What it is, in a person's words; its name when not given."),
            key(
                "count",
                Ty::Whole(1, 10_000),
                "So many of them, called NAME1, NAME2 and so on; a written address counts up. A step of `SITE.NAME*` is one \
                 step for each.",
            ),
        ],
        MACHINE,
    ],
};

pub(super) static HOME: Shape = Shape {
    name: "a home",
    about: "A star: a router with NAT, DHCP and firewall, a switch, and devices.",
    keys: &[&[
        KIND,
        PLACE,
        key("lan", Ty::Net, "The network inside (192.168.1.0/24 by default)."),
        key("public", Ty::Host, "The router's address outside; the next of 203.0.113.0/24 when not given."),
        key("router", Ty::Object(&HOME_ROUTER), "The router."),
        key("access", Ty::Object(&HOME_ACCESS), "The link to the internet (100Mbit/s, 4ms by default)."),
        key("cables", Ty::Object(&CABLE), "The links between devices and switch (1Gbit/s, 5us by default)."),
        key(
            "dhcp",
            Ty::Either(&Ty::OneOf(&["silent", "on"]), &Ty::Object(&DHCP)),
            "How addresses are given out; `silent` never answers.",
        ),
        key("resolvers", *ADDRESSES, "The resolvers that DHCP tells; the internet's when not given."),
        key("devices", Ty::Map("device", &Ty::OrNothing(&Ty::Object(&DEVICE))), "The machines inside."),
    ]],
};

pub(super) static RESOLVER: Shape = Shape {
    name: "a public resolver",
    about: "Resolves names for everybody.",
    keys: &[&[must("address", Ty::Address, "Its address."), PLACE, ORDER, CLIENT_SUBNET, THINK, SILENT]],
};

pub(super) static FAULTS: Shape = Shape {
    name: "faults of the internet",
    about: "What is broken in the backbone, on purpose.",
    keys: &[&[
        key("no-route", Ty::List(&Ty::Net), "Networks that no backbone router has a route to."),
        key(
            "routing-loop",
            Ty::Map("network", NAMES),
            "Networks that two neighbouring places each believe to be behind the other.",
        ),
    ]],
};

pub(super) static INTERNET: Shape = Shape {
    name: "an internet",
    about: "An ISP, a backbone, the DNS root and top-level domains, public resolvers and a public CA.",
    keys: &[&[
        KIND,
        must(
            "places",
            Ty::List(&Ty::Name),
            "Cities with a backbone router each. Delays follow from the distances.",
        ),
        key(
            "delays",
            Ty::Map("pair of places", &Ty::Duration),
            "One-way delays that differ from the distance: `frankfurt-paris: 5ms`.",
        ),
        key("backbone", Ty::Object(&CABLE), "The links between places (100Gbit/s by default)."),
        key("resolvers", Ty::Map("resolver", &Ty::Object(&RESOLVER)), "Public resolvers."),
        key(
            "dns-place",
            Ty::Name,
            "Where the root and top-level name servers stand; the last place by default.",
        ),
        key("dns-think", Ty::Duration, "Time a root or top-level server takes per question."),
        key("cgnat", Ty::Object(&CGNAT), "The NAT that homes with `access: { cgnat: yes }` are behind."),
        key("faults", Ty::Object(&FAULTS), "What is broken in the backbone, on purpose."),
    ]],
};

pub(super) static CERT_OPTIONS: Shape = Shape {
    name: "certificate options",
    about: "The certificate of a service.",
    keys: &[&[
        key("names", *HOST_NAMES, "The names in it; those of the service when not given."),
        key("not-before", Ty::Instant, "Valid from."),
        key("not-after", Ty::Instant, "Valid until."),
        key("issuer", Ty::OneOf(&["public-ca", "unknown-ca"]), "Who signed it."),
    ]],
};
pub(super) const CERT_TY: Ty = Ty::Either(
    &Ty::OneOf(&["good", "expired", "wrong-name", "untrusted", "none"]),
    &Ty::Object(&CERT_OPTIONS),
);

static HOSTED_SITE: Shape = Shape {
    name: "a site at an address of several",
    about: "What is served under one host name.",
    keys: &[&[PAGES, key("certificate", CERT_TY, "Its own certificate; `good` where the machine has one.")]],
};
static HOSTED_TY: Ty = Ty::Either(&Ty::Text, &Ty::Object(&HOSTED_SITE));
const HOSTED: Key = key(
    "sites",
    Ty::Map("host name", &HOSTED_TY),
    "Other sites at its address, each with its pages and its own certificate: SNI chooses the certificate, Host the pages. They \
     are in DNS where `names`, `records` or other zones lead here.",
);

pub(super) static EDGE_PLACE: Shape = Shape {
    name: "an edge",
    about: "A load balancer and its servers in one place.",
    keys: &[&[
        key("servers", Ty::Whole(1, 200), "How many servers stand behind the balancer (1 by default)."),
        key(
            "link",
            Ty::Object(&CABLE),
            "The link between the balancer and the internet (10Gbit/s, 50us by default).",
        ),
    ]],
};

pub(super) static NAME_SERVER: Shape = Shape {
    name: "a site's name server",
    about: "The authoritative name server of the site's domains.",
    keys: &[&[key("address", Ty::Address, "Its address."), PLACE, ORDER, THINK, SILENT]],
};
pub(super) const NAME_SERVER_TY: Ty = Ty::Either(&Ty::Address, &Ty::Object(&NAME_SERVER));

pub(super) static SERVICE: Shape = Shape {
    name: "a service",
    about: "One address announced from several places; at each a load balancer that terminates TLS, and servers.",
    keys: &[
        &[
            KIND,
            must(
                "address",
                Ty::Host,
                "Its address, the same at every edge. Its /24 is announced unless a prefix is written.",
            ),
            must("names", *HOST_NAMES, "Its names; zone, name server and certificate follow from them."),
            must(
                "edges",
                Ty::Map("place", &Ty::OrNothing(&Ty::Object(&EDGE_PLACE))),
                "The places where it stands.",
            ),
            PAGES,
            super::websocket::WEBSOCKET,
            HTTP2,
            key("think", Ty::Duration, "Time a server takes per request (20ms by default)."),
            super::proxy::CACHE_KEY,
            super::routes::BALANCE,
            key(
                "certificate",
                CERT_TY,
                "`good`, `expired`, `wrong-name`, `untrusted`, `none`, or its properties.",
            ),
            key(
                "name-server",
                NAME_SERVER_TY,
                "The authoritative name server: its address, or its properties.",
            ),
            key(
                "records",
                *LINES,
                "More DNS records of its domain, as `google.com. 3600 MX 10 smtp.google.com.`.",
            ),
            key("silent", Ty::Flag, "Its servers take requests and never answer."),
        ],
        super::routes::POOL_RULES,
    ],
};

pub(super) static CDN_EDGE: Shape = Shape {
    name: "an edge of a CDN",
    about: "A proxy with a cache in one place.",
    keys: &[&[
        key("address", Ty::Host, "Its own address, with `steering: dns`."),
        key(
            "link",
            Ty::Object(&CABLE),
            "The link between the edge and the internet (10Gbit/s, 50us by default).",
        ),
    ]],
};

pub(super) static ORIGIN: Shape = Shape {
    name: "an origin",
    about: "The web server behind a CDN. Its address is in no zone: only the edges know it.",
    keys: &[&[
        PLACE,
        key("address", Ty::Host, "Its address; one of its own when not given."),
        PAGES,
        THINK,
        key("tls", Ty::Flag, "Whether the edges speak TLS to it, with the CDN's names (yes by default)."),
        key(
            "link",
            Ty::Object(&CABLE),
            "The link between the origin and the internet (10Gbit/s, 50us by default).",
        ),
    ]],
};

pub(super) static CDN: Shape = Shape {
    name: "a CDN",
    about: "Edges in several places that keep what one origin serves; answers say so in Cloudflare's words.",
    keys: &[&[
        KIND,
        key(
            "address",
            Ty::Host,
            "The edges' address, announced from every place; one of its own when not given.",
        ),
        key(
            "steering",
            Ty::OneOf(&["anycast", "dns"]),
            "How a user comes to a near edge: `anycast`, one address announced from every place (the default), or `dns`: each edge \
             has an address of its own, and the name server answers by where the asking resolver is.",
        ),
        must("names", *HOST_NAMES, "Its names; zone, name server and certificates follow from them."),
        must(
            "edges",
            Ty::Map("place", &Ty::OrNothing(&Ty::Object(&CDN_EDGE))),
            "The places where it stands.",
        ),
        must("origin", Ty::Object(&ORIGIN), "The server behind the edges."),
        super::proxy::CACHE_KEY,
        HTTP2,
        key("think", Ty::Duration, "Time an edge takes per request (100us by default)."),
        key(
            "keep-alive",
            Ty::Duration,
            "How long an edge keeps an idle connection to the origin (60s by default).",
        ),
        key(
            "certificate",
            CERT_TY,
            "`good`, `expired`, `wrong-name`, `untrusted`, `none`, or its properties.",
        ),
        key("name-server", NAME_SERVER_TY, "The authoritative name server: its address, or its properties."),
        key(
            "records",
            *LINES,
            "More DNS records of its domain, as `example.com. 3600 MX 10 mail.example.com.`.",
        ),
    ]],
};

pub(super) static HOST_SITE: Shape = Shape {
    name: "a host",
    about: "One machine with a public address.",
    keys: &[
        &[
            KIND,
            PLACE,
            must("address", Ty::Host, "Its public address. Its /24 is announced unless a prefix is written."),
            key("mac", Ty::Mac, "Its MAC address."),
            key("names", *HOST_NAMES, "Its names; zone and name server follow from them."),
            key("access", Ty::Object(&ACCESS), "The link to the internet (10Gbit/s, 50us by default)."),
            key("certificate", CERT_TY, "The certificate of its web server on port 443 (none by default)."),
            HOSTED,
            key(
                "name-server",
                NAME_SERVER_TY,
                "The authoritative name server: its address, or its properties.",
            ),
            key("records", *LINES, "More DNS records of its domain."),
        ],
        MACHINE,
    ],
};

pub(super) const SITES: &[(&str, &Shape)] = &[
    ("home", &HOME),
    ("internet", &INTERNET),
    ("service", &SERVICE),
    ("cdn", &CDN),
    ("host", &HOST_SITE),
    ("vpc", &VPC),
    ("peering", &PEERING),
    ("transit-gateway", &TRANSIT_GATEWAY),
];
