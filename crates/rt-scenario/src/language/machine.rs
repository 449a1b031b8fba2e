//! What every machine may have, and what may run on it.

use crate::calls::LONGEST_MESSAGE;
use crate::shape::{Key, Shape, Ty, key, must};
use crate::tcp;

pub(super) static PORTS: Shape = Shape {
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
pub(super) const PORTS_TY: Ty = Ty::Either(&Ty::Ports, &Ty::Object(&PORTS));

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// Timers after which an idle or stuck connection is looked at: time has to pass between two of them.
const PROBE_TIMER: Ty = Ty::Span(MILLISECOND, 24 * 3_600 * SECOND);
/// Retransmission timeouts: never longer than Linux's `TCP_RTO_MAX`.
const RTO: Ty = Ty::Span(MILLISECOND, 120 * SECOND);
/// Time for a frame: kept in 32 bits where it is used.
pub(super) const PROCESSING: Ty = Ty::Span(0, 4 * SECOND);
/// A call's request or reply: its head has 4 bytes, and both ends hold it.
pub(super) const MESSAGE: Ty = Ty::Bytes(4, LONGEST_MESSAGE);

static KEEPALIVE: Shape = Shape {
    name: "keepalive",
    about: "Probes of idle connections (RFC 9293, 3.8.4).",
    keys: &[&[
        key("idle", PROBE_TIMER, "Idle for so long before the first probe (2h by default)."),
        key("interval", PROBE_TIMER, "Between probes (75s by default)."),
        key("count", Ty::Whole(1, 127), "Unanswered probes before the connection fails (9 by default)."),
    ]],
};

pub(crate) static TCP: Shape = Shape {
    name: "TCP options",
    about: "How the machine's TCP behaves. What is not said is as its system has it.",
    keys: &[&[
        key(
            "system",
            Ty::OneOf(tcp::SYSTEMS),
            "Whose TCP it is: option order, timers, ACK policy, buffers, handshakes (linux by default).",
        ),
        key("congestion", Ty::OneOf(tcp::CONGESTION), "Congestion control (cubic by default)."),
        key("initial-window", Ty::Whole(1, 1000), "Initial congestion window in segments (10: RFC 6928)."),
        key("hystart", Ty::Flag, "Whether CUBIC leaves slow start before a loss (HyStart++, RFC 9406)."),
        key(
            "pacing",
            Ty::Flag,
            "Whether segments are spread over the round trip instead of leaving a window at a time.",
        ),
        key("rack", Ty::Flag, "Whether losses are found by time (RFC 8985); by RFC 6675 without."),
        key(
            "tail-probes",
            Ty::Flag,
            "Whether a silent tail is probed before its timeout (RFC 8985, section 7).",
        ),
        key("nagle", Ty::Flag, "Whether small segments wait for outstanding data (RFC 896)."),
        key("timestamps", Ty::Flag, "Whether the timestamps option is used (RFC 7323)."),
        key("window-scaling", Ty::Flag, "Whether the window scale option is used (RFC 7323)."),
        key("sack", Ty::Flag, "Whether selective acknowledgement is used (RFC 2018)."),
        key(
            "ecn",
            Ty::OneOf(tcp::ECN),
            "Explicit congestion notification (RFC 3168): never, when asked, or by asking.",
        ),
        key("fast-open", Ty::OneOf(tcp::FAST_OPEN), "Which side of Fast Open it knows (RFC 7413)."),
        key(
            "syn-cookies",
            Ty::OneOf(tcp::SYN_COOKIES),
            "When a listener answers a SYN with a cookie (RFC 4987).",
        ),
        key("syn-queue", Ty::Whole(1, 1_000_000), "Longest queue of half-open connections of a listener."),
        key(
            "accept-queue",
            Ty::Whole(1, 1_000_000),
            "Longest queue of connections that wait to be accepted.",
        ),
        key("delayed-ack", Ty::Span(0, 10 * SECOND), "How long an ACK may wait for company (40ms: Linux)."),
        key("quick-acks", Ty::Whole(0, 255), "So many first segments are acknowledged at once (16: Linux)."),
        key("rto-initial", RTO, "Retransmission timeout before the first measurement (1s: RFC 6298)."),
        key("rto-min", RTO, "Smallest retransmission timeout (200ms: Linux)."),
        key("keepalive", Ty::Object(&KEEPALIVE), "Probes of idle connections; none when not given."),
        key("user-timeout", PROBE_TIMER, "Unacknowledged data ends the connection after this (RFC 5482)."),
        key(
            "max-segment",
            Ty::Bytes(88, 65_495),
            "Largest segment offered and sent, in bytes: what a router's MSS clamp would do.",
        ),
        key(
            "path-mtu-discovery",
            Ty::Flag,
            "Whether ICMP's \"too big\" is believed (RFC 1191; yes by default).",
        ),
        key(
            "initial-receive-window",
            Ty::Bytes(88, 1 << 30),
            "The receive window begins at the whole segments below this.",
        ),
        key("buffers", Ty::Bytes(2_304, 1 << 30), "Largest send and receive buffer of a connection."),
        key(
            "isns",
            Ty::List(&Ty::Whole(0, 0xffff_ffff)),
            "Initial sequence numbers of the first connections that are accepted, in order.",
        ),
        key(
            "msl",
            Ty::Span(MILLISECOND, 600 * SECOND),
            "Maximum segment lifetime: TIME-WAIT lasts twice this (30s: Linux).",
        ),
    ]],
};

pub(super) static LOOKUP: Shape = Shape {
    name: "lookup options",
    about: "How long and how often a name is asked for.",
    keys: &[&[
        key("timeout", Ty::Duration, "Wait for an answer this long (5s by default)."),
        key("attempts", Ty::Whole(1, 10), "Ask so many times (2 by default)."),
        key(
            "ids-from",
            Ty::Whole(0, 65_535),
            "The ids of its questions count up from here; thrown by dice when not given.",
        ),
    ]],
};

pub(super) static BROWSER: Shape = Shape {
    name: "a browser",
    about: "The browser of a machine.",
    keys: &[
        &[
            key("user-agent", Ty::Text, "The User-Agent header."),
            key("http2", Ty::Flag, "Whether HTTP/2 is offered."),
            key(
                "connections",
                Ty::Whole(1, 64),
                "Parallel HTTP/1.1 connections to one origin (6 by default).",
            ),
            key("cookies", Ty::Map("domain", &Ty::Text), "Cookies at the start, as `google.com: NID=123`."),
            key("parse", Ty::Duration, "Time to read the page before its resources are asked for."),
            key("render", Ty::Duration, "Time to lay out and paint after the last resource."),
            key("timeout", Ty::Duration, "Give up on a request after this long."),
            key(
                "like",
                Ty::OneOf(&["chrome"]),
                "All fields that Chrome sends, two connections to a new `http` origin of which the first to be ready is used, and \
             `/favicon.ico`.",
            ),
            key("language", Ty::Text, "Accept-Language, as `en-GB,en;q=0.8`."),
            key(
                "stays-open",
                Ty::Duration,
                "The browser is not closed after each step; idle connections close after this.",
            ),
            key(
                "notices-close",
                Ty::List(&Ty::Duration),
                "How late it notices that a server closed an idle connection: the first, the second, and so on.",
            ),
            key(
                "connect-timeout",
                Ty::Duration,
                "An address that does not answer is given up after this, and the next one of the name is tried; as long as TCP tries \
                 by default, as Chrome.",
            ),
        ],
        super::forward::BROWSER,
    ],
};

static OWN_BALANCE: Shape = Shape {
    name: "client-side balancing",
    about: "How a machine picks among the addresses that it knows of a name.",
    keys: &[&[
        key(
            "policy",
            PICKS,
            "In turn, of two at random the one with fewer of its own requests under way, or the one with fewest of all.",
        ),
        key("leave-out", Ty::Duration, "A server that failed is left out for so long (10s)."),
    ]],
};
const PICKS: Ty = Ty::OneOf(&["round-robin", "random-of-two", "least-outstanding"]);
static OWN_BALANCE_TY: Ty = Ty::Either(&PICKS, &Ty::Object(&OWN_BALANCE));

pub(super) static FIREWALL: Shape = Shape {
    name: "a firewall",
    about: "Filter lines per direction; the first that matches decides. A line is `allow|deny|reject [reset|unreachable]`, \
            then any of `tcp|udp|icmp [TYPE[/CODE]]|protocol N`, `from NET[,NET]`, `to NET[,NET]`, `from group NAME`, \
            `to group NAME`, `port N[-M]`, `from-port N[-M]`, `flags syn,!ack`, `in IFACE`, `out IFACE`, \
            `new|established|related|invalid`, then `limit 10/s [burst 5]` (it matches while there are tokens) and \
            `as WORD` (the story logs it under this word) and `of group NAME` (the security group whose it is). `log WORD` in front of conditions only logs. The line \
            `otherwise deny` says what happens to the rest.",
    keys: &[&[
        key("in", Ty::List(&Ty::Text), "For packets to this machine."),
        key("out", Ty::List(&Ty::Text), "For this machine's own packets."),
        key("forward", Ty::List(&Ty::Text), "For packets that pass through this machine."),
    ]],
};

pub(super) static ACL: Shape = Shape {
    name: "an access list",
    about: "Numbered lines per direction, without memory of connections (a network ACL): the lowest number that matches decides, \
            the rest is denied. Lines are those of a firewall, without states and interfaces.",
    keys: &[&[
        key(
            "in",
            Ty::Map("number", &Ty::Text),
            "For packets that arrive by this interface: `100: allow tcp port 443`.",
        ),
        key("out", Ty::Map("number", &Ty::Text), "For packets that leave by this interface."),
        key("always-in", Ty::List(&Ty::Text), "Lines before those of `in`: what it cannot block."),
        key("always-out", Ty::List(&Ty::Text), "Lines before those of `out`."),
        key(
            "border",
            Ty::Flag,
            "Whether both lists stand at the border of the network behind this interface, and do not ask what comes from it and \
             goes back into it (no by default).",
        ),
        key("name", Ty::Text, "The network ACL that it is called in stories."),
    ]],
};

static ACL_TY: Ty = Ty::Object(&ACL);
pub(super) const ACLS: Ty = Ty::Map("interface", &ACL_TY);

pub(super) const REVERSE_PATH_TY: Ty = Ty::OneOf(crate::guard::REVERSE_PATH);
pub(super) const REVERSE_PATH_ABOUT: &str = "Whether a source is believed (RFC 3704): `strict` if the way back to it leaves by the \
                                             interface it came from, `loose` if there is any, `off` always.";
const TIMEOUT: Ty = Ty::Span(1_000_000, 31 * 24 * 3_600 * SECOND);
pub(super) static CONNTRACK: Shape = Shape {
    name: "connection tracking",
    about: "How filters and NAT remember flows. A NAT mapping lives as long as any of its flows.",
    keys: &[&[
        key(
            "max",
            Ty::Whole(1, 4_000_000),
            "Flows at most (65536 by default); beyond that new ones are dropped.",
        ),
        key("per-source", Ty::Whole(1, 4_000_000), "Flows that one source address may have begun at most."),
        key("tcp-loose", Ty::Flag, "Whether a TCP flow may begin in its middle (no by default)."),
        key(
            "timeouts",
            Ty::OneOf(&["linux", "rfc"]),
            "`linux` (the default), or the shortest that RFC 4787, 5382 and 5508 allow a NAT.",
        ),
        key("tcp-syn-sent", TIMEOUT, "A SYN without an answer (2min)."),
        key("tcp-syn-received", TIMEOUT, "A handshake that does not end (60s)."),
        key("tcp-fin-wait", TIMEOUT, "One side has closed (2min)."),
        key("tcp-last-ack", TIMEOUT, "Both sides have closed (30s)."),
        key("tcp-time-wait", TIMEOUT, "Both FINs are acknowledged (2min)."),
        key("tcp-closed", TIMEOUT, "A reset was seen (10s)."),
        key("udp", TIMEOUT, "UDP in one direction only (30s)."),
        key("udp-answered", TIMEOUT, "UDP that was answered (2min)."),
        key("icmp", TIMEOUT, "An ICMP echo (30s)."),
        key("other", TIMEOUT, "Any other protocol (10min)."),
    ]],
};
pub(super) const CONNTRACK_KEY: Key =
    key("conntrack", Ty::Object(&CONNTRACK), "How its filters and NAT remember flows: timeouts and limits.");

pub(super) const FLOW_TIMEOUT_KEY: Key = key(
    "flow-timeout",
    Ty::Duration,
    "How long its firewall and NAT remember a TCP connection on which nothing is said (Linux: 5 days).",
);

pub(super) const MACHINE: &[Key] = &[
    key(
        "ephemeral-ports",
        PORTS_TY,
        "Source ports of its own connections: `52431-` counts up from there; `{ policy: random }` throws dice.",
    ),
    key("ttl", Ty::Whole(1, 255), "TTL of its own packets (64 by default)."),
    FLOW_TIMEOUT_KEY,
    CONNTRACK_KEY,
    key("tcp", Ty::Object(&TCP), "How its TCP behaves."),
    key(
        "resolvers",
        Ty::List(&Ty::Address),
        "Resolvers that it asks; those learnt by DHCP when none is given.",
    ),
    key(
        "hosts",
        Ty::Map("host name", &Ty::Either(&Ty::Address, &Ty::List(&Ty::Address))),
        "Its hosts file; a name may have several addresses.",
    ),
    key(
        "balance",
        Ty::Map("host name", &OWN_BALANCE_TY),
        "Names whose addresses it picks among itself, for each new connection; it takes those of others as they come.",
    ),
    key("lookup", Ty::Object(&LOOKUP), "How long and how often it asks for a name."),
    key("browser", Ty::Object(&BROWSER), "Its browser."),
    key("firewall", Ty::Object(&FIREWALL), "What it lets in, out and through."),
    key("acl", ACLS, "Stateless access lists by interface."),
    key("reverse-path", REVERSE_PATH_TY, REVERSE_PATH_ABOUT),
    key("processing", PROCESSING, "Time it takes for each frame that it sends on."),
    key(
        "exec",
        Ty::List(&Ty::Text),
        "A real program that plays it, word by word; only `roundtrip exec` and `up` run it, when told --allow-exec.",
    ),
    super::ssh::HOME_KEY,
    key("run", Ty::List(&Ty::OneKey(APPS)), "What runs on it, such as `http: { port: 80, pages: hello }`."),
];

// What runs.

static PAGE: Shape = Shape {
    name: "a page",
    about: "A file that is served.",
    keys: &[&[
        key("type", Ty::Text, "Its content type, such as text/html; by its ending when not given."),
        key("text", Ty::Text, "Its content."),
        key("hex", Ty::Text, "Its content in hexadecimal, for what is not text."),
        key("redirect", Ty::Text, "The path leads there instead: `https://www.shop.example/`, `/new`."),
        key(
            "status",
            Ty::Whole(301, 308),
            "How it leads there: 301 or 308 for good, 302, 303 or 307 for now (301 by default).",
        ),
        key(
            "cache-control",
            Ty::Text,
            "Its Cache-Control: `public, max-age=600` by default, `private, max-age=0` with cookies.",
        ),
        key("cookies", Ty::List(&Ty::Text), "Set-Cookie on every visit: `SID=31d4; Path=/; Secure`."),
    ]],
};
static PAGE_TY: Ty = Ty::Object(&PAGE);
static PAGES_TY: Ty = Ty::Map("path", &PAGE_TY);
static SITE_PAGES_TY: Ty = Ty::Either(&Ty::Text, &PAGES_TY);
pub(super) const PAGES: Key = key(
    "pages",
    Ty::Either(&Ty::Text, &PAGES_TY),
    "What is served: a built-in set (`google-home`, `hello`, `shop`), a folder of files (`./my-pages`), or the files.",
);
pub(super) const THINK: Key = key("think", Ty::Duration, "Time to answer one request.");
pub(super) const SILENT: Key = key("silent", Ty::Flag, "Takes requests and never answers.");
pub(super) const PORT: Key = key("port", Ty::Port, "TCP port (80, or 443 with a certificate).");
pub(super) const PORT_22: Key = key("port", Ty::Port, "TCP port (22).");
pub(super) const HTTP2: Key = key("http2", Ty::Flag, "Whether HTTP/2 is offered (with a certificate).");
pub(super) const CERTIFICATE: Key = key(
    "certificate",
    Ty::Either(&Ty::Name, &Ty::List(&Ty::Name)),
    "The name of a certificate under `names: certificates:`, or several: the name that a client asks for (SNI) chooses, \
             and the first is for whoever asks for none of them.",
);
pub(super) const ON: Key = key("on", Ty::Name, "The interface.");

pub(super) static HTTP: Shape = Shape {
    name: "a web server",
    about: "Serves pages over HTTP.",
    keys: &[&[
        PORT,
        PAGES,
        CERTIFICATE,
        key(
            "sites",
            Ty::Map("host name", &SITE_PAGES_TY),
            "Other sites at its address: pages by the host that a request is for; `*.shop.example` is for any one label. \
             Whoever asks for another host gets `pages`.",
        ),
        key(
            "strict",
            Ty::List(&Ty::OneOf(&["sni", "host"])),
            "What it refuses: `sni`, a name in the handshake that no certificate is for (the alert unrecognized_name); \
             `host`, a host that the certificate of the connection is not for (421). Nothing by default, as nginx.",
        ),
        super::websocket::WEBSOCKET,
        HTTP2,
        THINK,
        SILENT,
        key("idle", Ty::Duration, "Closes a connection that was idle for this long (never by default)."),
        key("idle-unused", Ty::Duration, "Closes a connection on which nothing was ever asked after this."),
    ]],
};
pub(super) static EDGE: Shape = Shape {
    name: "a load balancer",
    about: "Takes HTTP or TLS and spreads requests over servers.",
    keys: &[
        &[
            PORT,
            CERTIFICATE,
            HTTP2,
            key(
                "upstreams",
                Ty::Map("node", &Ty::Text),
                "Where requests go: node names with `address:port`.",
            ),
            super::routes::BALANCE,
            THINK,
        ],
        super::proxy::PROXY,
        super::routes::POOL_RULES,
        super::routes::ROUTING,
    ],
};
pub(super) const PORT_MUST: Key = must("port", Ty::Port, "TCP port.");
pub(super) static SPLIT_TCP: Shape = Shape {
    name: "a split-TCP proxy",
    about: "Takes connections that destination NAT brings here, and makes its own to where they wanted to go (RFC 3135). \
            The client's SYN is answered when the server has answered the proxy's.",
    keys: &[&[must(
        "port",
        Ty::Port,
        "TCP port that a line such as `dnat to ADDRESS:PORT tcp port 80 in lan` leads to.",
    )]],
};
pub(super) static DHCP_SERVER: Shape = Shape {
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
pub(super) static DHCP_CLIENT: Shape =
    Shape { name: "a DHCP client", about: "Asks for an address.", keys: &[&[ON]] };
pub(super) static DNS_RESOLVER: Shape = Shape {
    name: "a resolver",
    about: "Resolves names for others, from the root down, and remembers.",
    keys: &[&[
        must("roots", Ty::Map("host name", &Ty::Address), "The root servers: names and addresses."),
        key(
            "names",
            Ty::Map("host name", &Ty::List(&Ty::Address)),
            "Names that it answers itself, with their addresses: a private zone.",
        ),
        ORDER,
        CLIENT_SUBNET,
        THINK,
        SILENT,
    ]],
};
pub(super) static DNS_SERVER: Shape = Shape {
    name: "a name server",
    about: "Answers for zones.",
    keys: &[&[
        must("zones", Ty::List(&Ty::Text), "The zones, by name (`.` for the root)."),
        ORDER,
        key(
            "steer",
            Ty::Map("host name", &Ty::Object(&STEER)),
            "Names of which an asker gets only the address that is nearest to it (geo DNS).",
        ),
        THINK,
        SILENT,
    ]],
};
static STEER: Shape = Shape {
    name: "steering by place",
    about: "The places of a name, and which networks are nearest to which. The asker is a resolver, not the person, unless it \
            tells the person's network.",
    keys: &[&[
        must("places", Ty::Map("place", &Ty::Address), "The address of each place."),
        must(
            "networks",
            Ty::Map("network", &Ty::List(&Ty::Text)),
            "Where networks lie: their city and one of the places, as `203.0.113.0/24: [ osaka, tokyo ]`.",
        ),
    ]],
};
pub(super) const ORDER: Key = key(
    "order",
    Ty::OneOf(&["cyclic", "fixed"]),
    "The order of a name's several addresses in an answer: by turns (the default), or always the same.",
);
pub(super) const CLIENT_SUBNET: Key = key(
    "client-subnet",
    Ty::Flag,
    "Whether it tells the zone's name servers the network of whoever asked it (EDNS Client Subnet, RFC 7871; no by default).",
);
pub(super) static RPC: Shape = Shape {
    name: "a call server",
    about: "Replies to the step `calls`.",
    keys: &[&[
        key("port", Ty::Port, "TCP port (7000 by default)."),
        key("reply", MESSAGE, "Length of a reply (100 bytes by default)."),
        THINK,
        key(
            "closes-first",
            Ty::OneOf(&["client", "server"]),
            "Who closes the connection (the client by default).",
        ),
        key("backlog", Ty::Whole(1, 65_535), "Connections that may wait to be accepted (128 by default)."),
        key("writes", Ty::Whole(1, 100), "A reply is written in so many pieces, its head first."),
        key("no-delay", Ty::Flag, "TCP_NODELAY."),
        key("quick-ack", Ty::Flag, "TCP_QUICKACK after each read."),
    ]],
};
pub(super) static SINK: Shape = Shape {
    name: "a sink",
    about: "Takes what the steps `sends` and `streams` send, and tells the sender what came of it.",
    keys: &[&[key("port", Ty::Port, "TCP and UDP port (5001 by default).")]],
};
pub(super) static ECHO: Shape = Shape {
    name: "an echo service",
    about: "Sends back what comes (RFC 862).",
    keys: &[&[key("port", Ty::Port, "TCP and UDP port (7 by default).")]],
};
pub(super) static DISCARD: Shape = Shape {
    name: "a discard service",
    about: "Throws away what comes (RFC 863): for any program that sends.",
    keys: &[&[key("port", Ty::Port, "TCP and UDP port (9 by default).")]],
};
pub(super) static CHARGEN: Shape = Shape {
    name: "a character generator",
    about: "Sends text without end to whoever connects (RFC 864): for any program that reads.",
    keys: &[&[key("port", Ty::Port, "TCP port (19 by default).")]],
};
pub(super) static NTP: Shape = Shape {
    name: "an NTP server",
    about: "Tells the civil time of this world (`epoch` and what has passed since) on UDP port 123.",
    keys: &[],
};
static WIREGUARD_PEER: Shape = Shape {
    name: "a WireGuard peer",
    about: "Another machine that runs WireGuard; keys are made from the seed.",
    keys: &[&[
        key("endpoint", Ty::Text, "Where it is: `203.0.113.1:51820`. Without it, its first message tells."),
        must(
            "allowed",
            Ty::List(&Ty::Text),
            "Prefixes behind it: what goes to them is for it, what comes from it must be from them.",
        ),
        key(
            "keepalive",
            Ty::Duration,
            "Sends an empty packet when nothing went either way for so long (25s holds most NAT mappings).",
        ),
    ]],
};
static WIREGUARD_PEER_TY: Ty = Ty::Object(&WIREGUARD_PEER);
pub(super) static WIREGUARD: Shape = Shape {
    name: "WireGuard",
    about: "Seals what is routed to a tun interface and carries it over UDP: 60 bytes around each packet.",
    keys: &[&[
        must("on", Ty::Name, "The tun interface."),
        key("port", Ty::Port, "UDP port (51820)."),
        must("peers", Ty::Map("machine", &WIREGUARD_PEER_TY), "Whom it talks to."),
    ]],
};
pub(super) static TCP_TUNNEL: Shape = Shape {
    name: "a tunnel inside TCP",
    about: "Carries what is routed to a tun interface through one TCP connection, each packet behind two bytes of length.",
    keys: &[&[
        must("on", Ty::Name, "The tun interface."),
        key("port", Ty::Port, "TCP port on which it waits for the other end (11940)."),
        key("to", Ty::Text, "It connects to the other end there: `203.0.113.1:11940`."),
    ]],
};

pub(super) const APPS: &[(&str, &Shape)] = &[
    ("http", &HTTP),
    ("sink", &SINK),
    ("echo", &ECHO),
    ("discard", &DISCARD),
    ("chargen", &CHARGEN),
    ("ntp", &NTP),
    ("edge", &EDGE),
    ("rpc", &RPC),
    ("grpc", &super::grpc::SERVER),
    ("ssh", &super::ssh::SERVER),
    ("forward-proxy", &super::forward::FORWARD_PROXY),
    ("split-tcp", &SPLIT_TCP),
    ("l4-balancer", &super::balancer::L4_BALANCER),
    ("wireguard", &WIREGUARD),
    ("tcp-tunnel", &TCP_TUNNEL),
    ("dhcp-client", &DHCP_CLIENT),
    ("dhcp-server", &DHCP_SERVER),
    ("dns-resolver", &DNS_RESOLVER),
    ("dns-server", &DNS_SERVER),
];
