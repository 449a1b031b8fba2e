//! The words of the scenario language, as tables: every key with its meaning and the shape of its values.
//!
//! Read by [`crate::shape::check`] (unknown keys, wrong values) and by [`crate::schema`]. To add a key: add it here with
//! a sentence, read it where its site or node is lowered, and show it in `views/expanded` if the model keeps it.

use crate::shape::{Key, Shape, Ty, key, must};

/// Built-in page sets.
pub(crate) const PAGE_SETS: &[&str] = &["google-home", "hello", "shop"];

const NAMES: &Ty = &Ty::List(&Ty::Name);
const HOST_NAMES: &Ty = &Ty::List(&Ty::Text);
const ADDRESSES: &Ty = &Ty::List(&Ty::Address);
const LINES: &Ty = &Ty::List(&Ty::Text);

// ---- links -------------------------------------------------------------------------------------------------------

const IMPAIRMENTS: &[Key] = &[
    key("rate", Ty::Rate, "Bits per second, such as 100Mbit/s."),
    key("delay", Ty::Duration, "Propagation delay, one way, such as 4ms."),
    key("jitter", Ty::Duration, "Extra delay per frame, evenly from nothing to this."),
    key("loss", Ty::Share, "Share of frames that are lost, such as 2%."),
    key(
        "reorder",
        Ty::Share,
        "Share of frames that are held back by one more delay, so that later ones overtake them.",
    ),
    key("duplicate", Ty::Share, "Share of frames that arrive twice."),
    key("corrupt", Ty::Share, "Share of frames in which one bit is flipped."),
    key(
        "queue",
        Ty::Queue,
        "How much waits before the link at most: `1000 packets` or `256KiB`; more is dropped.",
    ),
];
const LINK_MTU: &[Key] = &[key(
    "mtu",
    Ty::Size,
    "Longest IP packet that the link carries, in bytes (at least 68; 1500 by default).",
)];

static DIRECTION: Shape =
    Shape { name: "one direction of a link", about: "What differs in one direction.", keys: &[IMPAIRMENTS] };

static ACCESS: Shape = Shape {
    name: "an access link",
    about: "The link between a site and the internet.",
    keys: &[
        IMPAIRMENTS,
        LINK_MTU,
        &[
            key(
                "up",
                Ty::Object(&DIRECTION),
                "What differs from the site to the internet, such as a lower rate.",
            ),
            key("down", Ty::Object(&DIRECTION), "What differs from the internet to the site."),
        ],
    ],
};

static CABLE: Shape = Shape {
    name: "a cable",
    about: "Properties of the cables inside a site.",
    keys: &[IMPAIRMENTS, LINK_MTU],
};

static LINK: Shape = Shape {
    name: "a link",
    about: "A full-duplex cable between two interfaces.",
    keys: &[
        &[must(
            "endpoints",
            Ty::List(&Ty::Text),
            "Its two ends, as [\"a:eth0\", \"b:eth0\"]: node, colon, interface.",
        )],
        IMPAIRMENTS,
        LINK_MTU,
        &[
            key("a-to-b", Ty::Object(&DIRECTION), "What differs from the first end to the second."),
            key("b-to-a", Ty::Object(&DIRECTION), "What differs from the second end to the first."),
        ],
    ],
};

// ---- machines ----------------------------------------------------------------------------------------------------

static PORTS: Shape = Shape {
    name: "a range of ports",
    about: "Which ports are used, and how one is chosen.",
    keys: &[&[
        key("range", Ty::Ports, "From first to last, such as 10001-20000, or 10001- for all from there."),
        key(
            "policy",
            Ty::OneOf(&["sequential", "random", "preserve"]),
            "How one is chosen: in turn, by dice, or the source port itself when it is free (NAT only).",
        ),
    ]],
};
const PORTS_TY: Ty = Ty::Either(&Ty::Ports, &Ty::Object(&PORTS));

static TCP: Shape = Shape {
    name: "TCP options",
    about: "How the machine's TCP behaves.",
    keys: &[&[
        key("congestion", Ty::OneOf(&["cubic", "reno"]), "Congestion control (cubic by default)."),
        key("nagle", Ty::Flag, "Whether small segments wait for outstanding data (RFC 896)."),
        key("timestamps", Ty::Flag, "Whether the timestamps option is used (RFC 7323)."),
        key("sack", Ty::Flag, "Whether selective acknowledgement is used (RFC 2018)."),
        key("buffers", Ty::Size, "Largest send and receive buffer of a connection."),
        key(
            "isns",
            Ty::List(&Ty::Whole(0, 0xffff_ffff)),
            "Initial sequence numbers of the first connections that are accepted, in order.",
        ),
        key("msl", Ty::Duration, "Maximum segment lifetime: TIME-WAIT lasts twice this."),
    ]],
};

static LOOKUP: Shape = Shape {
    name: "lookup options",
    about: "How long and how often a name is asked for.",
    keys: &[&[
        key("timeout", Ty::Duration, "Wait for an answer this long (5s by default)."),
        key("attempts", Ty::Whole(1, 10), "Ask so many times (2 by default)."),
    ]],
};

static BROWSER: Shape = Shape {
    name: "a browser",
    about: "The browser of a machine.",
    keys: &[&[
        key("user-agent", Ty::Text, "The User-Agent header."),
        key("http2", Ty::Flag, "Whether HTTP/2 is offered."),
        key("connections", Ty::Whole(1, 64), "Parallel HTTP/1.1 connections to one origin (6 by default)."),
        key("cookies", Ty::Map("domain", &Ty::Text), "Cookies at the start, as `google.com: NID=123`."),
        key("parse", Ty::Duration, "Time to read the page before its resources are asked for."),
        key("render", Ty::Duration, "Time to lay out and paint after the last resource."),
        key("timeout", Ty::Duration, "Give up on a request after this long."),
    ]],
};

static FIREWALL: Shape = Shape {
    name: "a firewall",
    about: "Filter lines per direction; the first that matches decides. A line is `allow|deny|reject`, then any of \
            `tcp|udp|icmp`, `from NET`, `to NET`, `port N[-M]`, `from-port N[-M]`, `in IFACE`, `out IFACE`, \
            `established`, `new`. The line `otherwise deny` says what happens to the rest.",
    keys: &[&[
        key("in", Ty::List(&Ty::Text), "For packets to this machine."),
        key("out", Ty::List(&Ty::Text), "For this machine's own packets."),
        key("forward", Ty::List(&Ty::Text), "For packets that pass through this machine."),
    ]],
};

const MACHINE: &[Key] = &[
    key(
        "ephemeral-ports",
        PORTS_TY,
        "Source ports of its own connections: `52431-` counts up from there; `{ policy: random }` throws dice.",
    ),
    key("ttl", Ty::Whole(1, 255), "TTL of its own packets (64 by default)."),
    key("tcp", Ty::Object(&TCP), "How its TCP behaves."),
    key(
        "resolvers",
        Ty::List(&Ty::Address),
        "Resolvers that it asks; those learnt by DHCP when none is given.",
    ),
    key("hosts", Ty::Map("host name", &Ty::Address), "Its hosts file."),
    key("lookup", Ty::Object(&LOOKUP), "How long and how often it asks for a name."),
    key("browser", Ty::Object(&BROWSER), "Its browser."),
    key("firewall", Ty::Object(&FIREWALL), "What it lets in, out and through."),
    key("processing", Ty::Duration, "Time it takes for each frame that it sends on."),
    key("run", Ty::List(&Ty::OneKey(APPS)), "What runs on it, such as `http: { port: 80, pages: hello }`."),
];

// ---- applications ------------------------------------------------------------------------------------------------

const PAGES: Key = key(
    "pages",
    Ty::Text,
    "What is served: a built-in set (`google-home`, `hello`, `shop`) or a folder of files.",
);
const THINK: Key = key("think", Ty::Duration, "Time to answer one request.");
const SILENT: Key = key("silent", Ty::Flag, "Takes requests and never answers.");
const PORT: Key = key("port", Ty::Port, "TCP port (80, or 443 with a certificate).");
const HTTP2: Key = key("http2", Ty::Flag, "Whether HTTP/2 is offered (with a certificate).");
const CERTIFICATE: Key =
    key("certificate", Ty::Name, "The name of a certificate under `names: certificates:`.");
const ON: Key = key("on", Ty::Name, "The interface.");

static HTTP: Shape = Shape {
    name: "a web server",
    about: "Serves pages over HTTP.",
    keys: &[&[PORT, PAGES, CERTIFICATE, HTTP2, THINK, SILENT]],
};
static EDGE: Shape = Shape {
    name: "a load balancer",
    about: "Takes HTTP or TLS and spreads requests over servers.",
    keys: &[&[
        PORT,
        CERTIFICATE,
        HTTP2,
        must("upstreams", Ty::Map("node", &Ty::Text), "Where requests go: node names with `address:port`."),
        key("balance", Ty::OneOf(&["round-robin", "least-requests"]), "How one is picked."),
        THINK,
    ]],
};
static DHCP_SERVER: Shape = Shape {
    name: "a DHCP server",
    about: "Gives out addresses.",
    keys: &[&[
        ON,
        key("pool", Ty::Text, "First and last address, as `192.168.1.100-192.168.1.199`."),
        key("reservations", Ty::Map("MAC address", &Ty::Address), "Fixed addresses."),
        key("gateway", Ty::Address, "The default gateway that it tells."),
        key("resolvers", Ty::List(&Ty::Address), "The resolvers that it tells."),
        key("lease", Ty::Duration, "Lease time."),
        SILENT,
    ]],
};
static DHCP_CLIENT: Shape = Shape { name: "a DHCP client", about: "Asks for an address.", keys: &[&[ON]] };
static DNS_RESOLVER: Shape = Shape {
    name: "a resolver",
    about: "Resolves names for others, from the root down, and remembers.",
    keys: &[&[
        must("roots", Ty::Map("host name", &Ty::Address), "The root servers: names and addresses."),
        THINK,
        SILENT,
    ]],
};
static DNS_SERVER: Shape = Shape {
    name: "a name server",
    about: "Answers for zones.",
    keys: &[&[must("zones", Ty::List(&Ty::Text), "The zones, by name (`.` for the root)."), THINK, SILENT]],
};
const APPS: &[(&str, &Shape)] = &[
    ("http", &HTTP),
    ("edge", &EDGE),
    ("dhcp-client", &DHCP_CLIENT),
    ("dhcp-server", &DHCP_SERVER),
    ("dns-resolver", &DNS_RESOLVER),
    ("dns-server", &DNS_SERVER),
];

// ---- plain topology ----------------------------------------------------------------------------------------------

static INTERFACE: Shape = Shape {
    name: "an interface",
    about: "A network interface of a node.",
    keys: &[&[
        key("address", Ty::Host, "Its address with the prefix length, such as 10.0.0.1/24."),
        key("addresses", Ty::List(&Ty::Host), "Several addresses."),
        key("mac", Ty::Mac, "Its MAC address; made from its name when not given."),
        key("mtu", Ty::Size, "Largest IP packet that it sends, in bytes."),
        key("anycast", Ty::Flag, "Its address stands in other places too, on purpose."),
    ]],
};

static ROUTE: Shape = Shape {
    name: "a route",
    about: "Where packets for a network go.",
    keys: &[&[
        must("to", Ty::Net, "The network, such as 10.2.0.0/16 or 0.0.0.0/0."),
        key("via", Ty::Address, "The next router."),
        key("out", Ty::Name, "The interface it leaves by; found from `via` when not given."),
        key(
            "kind",
            Ty::OneOf(&["unicast", "blackhole", "unreachable"]),
            "Send on, drop silently, or drop and say so.",
        ),
        key("metric", Ty::Whole(0, 0xffff_ffff), "Among equal networks the lowest wins."),
        key("source", Ty::Address, "Preferred source address of own packets."),
    ]],
};

static INTERFACE_TY: Ty = Ty::OrNothing(&Ty::Object(&INTERFACE));
static ROUTE_TY: Ty = Ty::Object(&ROUTE);

const NODE_KEYS: &[Key] = &[
    key("address", Ty::Host, "The address of its first interface, with the prefix length."),
    key("mac", Ty::Mac, "The MAC of its first interface."),
    key("mtu", Ty::Size, "The MTU of its interfaces."),
    key("dhcp", Ty::Flag, "Whether its first interface asks for an address by DHCP."),
    key("gateway", Ty::Address, "Its default gateway; the only router on its link when not given."),
    key("interfaces", Ty::Map("interface", &INTERFACE_TY), "Its interfaces, when one address is not enough."),
    key(
        "routes",
        Ty::List(&ROUTE_TY),
        "Its static routes. A router without this key gets shortest-path routes to every network; `[]` gives it none but its own networks.",
    ),
    key(
        "nat",
        Ty::List(&Ty::Text),
        "NAT lines: `masquerade`, `snat to ADDRESS`, `dnat to ADDRESS[:PORT]` or `keep`, then conditions as in a firewall line, then `using PORTS`.",
    ),
    key("role", Ty::Text, "What it is, in a person's words."),
    key("site", Ty::Name, "The site that it belongs to."),
    key("place", Ty::Name, "The city it stands in, for drawing."),
];

const KIND_NAMES: &[&str] = &["host", "router", "switch"];

static NODE: Shape = Shape {
    name: "a node",
    about: "A machine or a switch.",
    keys: &[
        &[key(
            "kind",
            Ty::OneOf(KIND_NAMES),
            "host, router (forwards) or switch (learns and floods); host by default.",
        )],
        NODE_KEYS,
        MACHINE,
    ],
};

static DEFAULTS: Shape = Shape {
    name: "the defaults",
    about: "What holds for all links and nodes that do not say otherwise.",
    keys: &[
        IMPAIRMENTS,
        &[
            key("mtu", Ty::Size, "MTU of links and interfaces."),
            key("processing", Ty::Duration, "Time a machine takes for each frame that it sends on."),
        ],
    ],
};

static KIND_DEFAULTS: Shape = Shape {
    name: "the defaults of a kind",
    about: "What holds for all nodes of this kind that do not say otherwise.",
    keys: &[NODE_KEYS, MACHINE],
};

static KINDS: Shape = Shape {
    name: "kinds",
    about: "Defaults per kind of node.",
    keys: &[&[
        key("host", Ty::Object(&KIND_DEFAULTS), "Defaults of hosts."),
        key("router", Ty::Object(&KIND_DEFAULTS), "Defaults of routers."),
        key("switch", Ty::Object(&KIND_DEFAULTS), "Defaults of switches."),
    ]],
};

static TOPOLOGY: Shape = Shape {
    name: "a topology",
    about: "Nodes and links one by one, in containerlab's shape.",
    keys: &[&[
        key(
            "defaults",
            Ty::Object(&DEFAULTS),
            "What holds for all links and nodes that do not say otherwise.",
        ),
        key("kinds", Ty::Object(&KINDS), "Defaults per kind of node."),
        key("nodes", Ty::Map("node", &Ty::OrNothing(&Ty::Object(&NODE))), "The machines and switches."),
        key("links", Ty::List(&Ty::Object(&LINK)), "The cables."),
    ]],
};

// ---- sites -------------------------------------------------------------------------------------------------------

const KIND: Key = must("kind", Ty::Name, "What kind of site it is.");
const PLACE: Key = key("place", Ty::Name, "The city it stands in: one of the internet's places.");

static HOME_ROUTER: Shape = Shape {
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
        key("port-forwards", Ty::List(&Ty::Text), "Ports open to the world: `tcp 8080 to laptop:80`."),
        key(
            "firewall",
            Ty::Object(&FIREWALL),
            "Replaces the usual lines of a home router, direction by direction.",
        ),
        key("processing", Ty::Duration, "Time it takes for each frame that it sends on."),
    ]],
};

static DHCP: Shape = Shape {
    name: "DHCP options",
    about: "How addresses are given out.",
    keys: &[&[
        key("pool", Ty::Text, "First and last address, as `192.168.1.100-192.168.1.199`."),
        key("lease", Ty::Duration, "Lease time (24h by default)."),
        SILENT,
    ]],
};

static DEVICE: Shape = Shape {
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
        ],
        MACHINE,
    ],
};

static HOME: Shape = Shape {
    name: "a home",
    about: "A star: a router with NAT, DHCP and firewall, a switch, and devices.",
    keys: &[&[
        KIND,
        PLACE,
        key("lan", Ty::Net, "The network inside (192.168.1.0/24 by default)."),
        key("public", Ty::Host, "The router's address outside; the next of 203.0.113.0/24 when not given."),
        key("router", Ty::Object(&HOME_ROUTER), "The router."),
        key("access", Ty::Object(&ACCESS), "The link to the internet (100Mbit/s, 4ms by default)."),
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

static RESOLVER: Shape = Shape {
    name: "a public resolver",
    about: "Resolves names for everybody.",
    keys: &[&[must("address", Ty::Address, "Its address."), PLACE, THINK, SILENT]],
};

static FAULTS: Shape = Shape {
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

static INTERNET: Shape = Shape {
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
        key("faults", Ty::Object(&FAULTS), "What is broken in the backbone, on purpose."),
    ]],
};

static CERT_OPTIONS: Shape = Shape {
    name: "certificate options",
    about: "The certificate of a service.",
    keys: &[&[
        key("names", *HOST_NAMES, "The names in it; those of the service when not given."),
        key("not-before", Ty::Instant, "Valid from."),
        key("not-after", Ty::Instant, "Valid until."),
        key("issuer", Ty::OneOf(&["public-ca", "unknown-ca"]), "Who signed it."),
    ]],
};
const CERT_TY: Ty = Ty::Either(
    &Ty::OneOf(&["good", "expired", "wrong-name", "untrusted", "none"]),
    &Ty::Object(&CERT_OPTIONS),
);

static EDGE_PLACE: Shape = Shape {
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

static NAME_SERVER: Shape = Shape {
    name: "a name server",
    about: "The authoritative name server of the site's domains.",
    keys: &[&[key("address", Ty::Address, "Its address."), PLACE, THINK, SILENT]],
};
const NAME_SERVER_TY: Ty = Ty::Either(&Ty::Address, &Ty::Object(&NAME_SERVER));

static SERVICE: Shape = Shape {
    name: "a service",
    about: "One address announced from several places; at each a load balancer that terminates TLS, and servers.",
    keys: &[&[
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
        HTTP2,
        key("think", Ty::Duration, "Time a server takes per request (20ms by default)."),
        key("balance", Ty::OneOf(&["round-robin", "least-requests"]), "How a server is picked."),
        key(
            "certificate",
            CERT_TY,
            "`good`, `expired`, `wrong-name`, `untrusted`, `none`, or its properties.",
        ),
        key("name-server", NAME_SERVER_TY, "The authoritative name server: its address, or its properties."),
        key(
            "records",
            *LINES,
            "More DNS records of its domain, as `google.com. 3600 MX 10 smtp.google.com.`.",
        ),
        key("silent", Ty::Flag, "Its servers take requests and never answer."),
    ]],
};

static HOST_SITE: Shape = Shape {
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

const SITES: &[(&str, &Shape)] =
    &[("home", &HOME), ("internet", &INTERNET), ("service", &SERVICE), ("host", &HOST_SITE)];

// ---- names, steps, expectations, timeline --------------------------------------------------------------------------

static ZONE: Shape = Shape {
    name: "a zone",
    about: "A DNS zone.",
    keys: &[&[
        key("server", Ty::Name, "The node whose name server answers for it."),
        key(
            "records",
            *LINES,
            "Records in master-file form: `www 300 A 192.0.2.1`; names without a final dot are relative.",
        ),
        key("text", Ty::Text, "The whole zone as a master file, instead of records."),
    ]],
};

static CERT: Shape = Shape {
    name: "a certificate",
    about: "A certificate to be made for the run.",
    keys: &[&[
        must("names", *HOST_NAMES, "The names in it."),
        key("not-before", Ty::Instant, "Valid from; 30 days before the epoch by default."),
        key("not-after", Ty::Instant, "Valid until; 60 days after the epoch by default."),
        key(
            "issuer",
            Ty::OneOf(&["public-ca", "unknown-ca"]),
            "Who signed it: a CA that everybody trusts, or nobody.",
        ),
    ]],
};

static NAMES_SHAPE: Shape = Shape {
    name: "names",
    about: "Hosts entries, zones and certificates beside those that sites bring.",
    keys: &[&[
        key("hosts", Ty::Map("host name", &Ty::Address), "Entries in every machine's hosts file."),
        key("zones", Ty::Map("domain", &Ty::Object(&ZONE)), "More DNS zones, by their names."),
        key(
            "certificates",
            Ty::Map("certificate", &Ty::Object(&CERT)),
            "Certificates that `run: http:` can name.",
        ),
    ]],
};

static ISN: Shape = Shape {
    name: "initial sequence numbers",
    about: "Pinned initial sequence numbers of the first connection.",
    keys: &[&[
        key("client", Ty::Whole(0, 0xffff_ffff), "Of the machine that connects."),
        key("server", Ty::Whole(0, 0xffff_ffff), "Of the machine that is connected to."),
    ]],
};

static STEP: Shape = Shape {
    name: "a step",
    about: "What somebody does: a sentence, or a mapping when more must be said.",
    keys: &[&[
        must(
            "do",
            Ty::Text,
            "The sentence: `WHO opens URL`, `posts to URL`, `pings TARGET`, `looks up NAME [TYPE]`, `connects to TARGET:PORT`; `after 2s` may follow.",
        ),
        key("json", Ty::Json, "What `posts to` sends."),
        key("after", Ty::Duration, "Wait this long after the step before."),
        key("source-port", Ty::Port, "The source port of the first connection."),
        key("isn", Ty::Object(&ISN), "Initial sequence numbers of the first connection."),
        key("count", Ty::Whole(1, 1000), "How many pings (1 by default)."),
    ]],
};

/// The keys of an expectation.
pub(crate) static EXPECT: Shape = Shape {
    name: "an expectation",
    about: "What must hold of a step.",
    keys: &[&[
        key("status", Ty::Whole(100, 599), "The HTTP status of the page."),
        key("protocol", Ty::OneOf(&["h2", "http/1.1"]), "The HTTP version."),
        key("within", Ty::Duration, "It is done within this."),
        key("through", Ty::List(&Ty::Name), "The request's packets pass these nodes in this order."),
        key("dns", Ty::OneOf(&["cached", "asked"]), "Whether the name came from a cache or was asked for."),
        key("tls", Ty::OneOf(&["resumed", "full"]), "Whether the TLS session was resumed."),
        key("fails", Ty::Text, "The step fails, and its summary contains this."),
        key("succeeds", Ty::Flag, "The step reaches its aim."),
        key("retransmissions", Ty::Whole(0, 1_000_000), "At least so many TCP segments are sent again."),
        key(
            "from-cache",
            Ty::Whole(0, 100_000),
            "Exactly so many resources come from the browser's cache or are revalidated.",
        ),
    ]],
};

static HAPPENING: Shape = Shape {
    name: "an entry of the timeline",
    about: "What happens to a link at a time.",
    keys: &[&[
        must("at", Ty::Duration, "When, since the start of the run."),
        key("cut", Ty::Text, "Cut this link: one of its endpoints, as `b:eth0`."),
        key("heal", Ty::Text, "Heal this link."),
        key("impair", Ty::Text, "Change this link's properties from now on."),
        key("loss", Ty::Share, "New loss, with `impair`."),
        key("delay", Ty::Duration, "New delay, with `impair`."),
        key("rate", Ty::Rate, "New rate, with `impair`."),
    ]],
};

/// The whole file.
pub(crate) static SCENARIO: Shape = Shape {
    name: "a scenario",
    about: "A network, what people do in it, and what must hold.",
    keys: &[&[
        must("name", Ty::Name, "A short name; the output folder is named after it."),
        key("about", Ty::Text, "One line about it."),
        key("epoch", Ty::Instant, "Civil time at the start of the run, such as 2026-01-15T12:00:00Z."),
        key("sites", Ty::Map("site", &Ty::ByKind(SITES)), "Composite places: home, internet, service, host."),
        key("topology", Ty::Object(&TOPOLOGY), "Nodes and links one by one."),
        key("names", Ty::Object(&NAMES_SHAPE), "Hosts entries, zones and certificates."),
        key("steps", Ty::List(&Ty::Either(&Ty::Text, &Ty::Object(&STEP))), "What people do, in order."),
        key(
            "expect",
            Ty::List(&Ty::Map("`step N`", &Ty::Object(&EXPECT))),
            "What must hold, as `step 1: { status: 200 }`.",
        ),
        key("timeline", Ty::List(&Ty::Object(&HAPPENING)), "What happens to links, when."),
    ]],
};
