//! The plain level, in containerlab's shape.

use super::links::{IMPAIRMENTS, LINK};
use super::machine::{MACHINE, PROCESSING, REVERSE_PATH_ABOUT, REVERSE_PATH_TY};
use crate::shape::{Key, Shape, Ty, key, must};

pub(super) static INTERFACE: Shape = Shape {
    name: "an interface",
    about: "A network interface of a node.",
    keys: &[&[
        key("address", Ty::Host, "Its address with the prefix length, such as 10.0.0.1/24."),
        key("addresses", Ty::List(&Ty::Host), "Several addresses."),
        key("mac", Ty::Mac, "Its MAC address; made from its name when not given."),
        key("mtu", Ty::Size, "Largest IP packet that it sends, in bytes."),
        key("reverse-path", REVERSE_PATH_TY, REVERSE_PATH_ABOUT),
        key(
            "vlan",
            Ty::Whole(1, 4_094),
            "Of a machine: the interface is this VLAN on another one (IEEE 802.1Q). Of a switch: an access port of it.",
        ),
        key(
            "trunk",
            Ty::Either(&Ty::OneOf(&["all"]), &VLANS),
            "Of a switch: the port carries these VLANs with tags; `all` for every one.",
        ),
        key(
            "native",
            Ty::Whole(1, 4_094),
            "Of a trunk: the VLAN of frames without tag; they are refused when not given.",
        ),
        key(
            "on",
            Ty::Name,
            "The interface below a VLAN or a PPPoE session; `eth0.10` is on `eth0` when not given.",
        ),
        key("gre", Ty::Object(&GRE), "A GRE tunnel (RFC 2784)."),
        key("ipip", Ty::Object(&IPIP), "An IP-in-IP tunnel (RFC 2003)."),
        key("vxlan", Ty::Object(&VXLAN), "A VXLAN (RFC 7348) with one other end."),
        key(
            "pppoe",
            Ty::Either(&Ty::Flag, &Ty::Object(&PPPOE)),
            "A PPPoE session (RFC 2516) on another interface.",
        ),
        key("tun", Ty::Flag, "Packets go to a program of this machine and come from it."),
        key("anycast", Ty::Flag, "Its address stands in other places too, on purpose."),
    ]],
};

static VLAN: Ty = Ty::Whole(1, 4_094);
static VLANS: Ty = Ty::List(&VLAN);
const TUNNEL: &[Key] = &[
    must("to", Ty::Address, "The other end."),
    key("from", Ty::Address, "This end; the machine's first address when not given."),
];
static GRE: Shape = Shape {
    name: "a GRE tunnel",
    about: "IP in GRE in IP: 24 bytes around each packet, 28 with a key.",
    keys: &[
        TUNNEL,
        &[key("key", Ty::Whole(0, 0xffff_ffff), "Tells tunnels between the same ends apart (RFC 2890).")],
    ],
};
static IPIP: Shape =
    Shape { name: "an IP-in-IP tunnel", about: "IP in IP: 20 bytes around each packet.", keys: &[TUNNEL] };
static VXLAN: Shape = Shape {
    name: "a VXLAN",
    about: "Ethernet in UDP in IP: 50 bytes around each packet.",
    keys: &[
        TUNNEL,
        &[
            key("vni", Ty::Whole(0, 0xff_ffff), "The network's number (1 by default)."),
            key("port", Ty::Port, "UDP port (4789 by default)."),
        ],
    ],
};
static PPPOE: Shape = Shape {
    name: "a PPPoE session",
    about: "PPP over Ethernet: eight bytes before each packet.",
    keys: &[&[
        key("on", Ty::Name, "The interface below."),
        key("server", Ty::Flag, "Whether this end is the access concentrator, which waits for a client."),
    ]],
};

pub(super) static ROUTE: Shape = Shape {
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

pub(super) static INTERFACE_TY: Ty = Ty::OrNothing(&Ty::Either(&Ty::Host, &Ty::Object(&INTERFACE)));
pub(super) static ROUTE_TY: Ty = Ty::Object(&ROUTE);
static ROUTES_TY: Ty = Ty::List(&ROUTE_TY);

/// What a machine does not know.
pub(super) const MIDDLEBOX: Key = key(
    "middlebox",
    Ty::List(&Ty::Text),
    "What it does not know and treats as an error in packets that pass: `drop` or `strip`, then `tcp option N`, `tcp option unknown` \
     (SYNs with an option newer than timestamps) or `ecn` (SYNs that ask for it), or `drop tls1.3` (ServerHellos that choose it; \
     `without compatibility` only those that do not look like TLS 1.2), then conditions as in a firewall line.",
);

pub(super) const NODE_KEYS: &[Key] = &[
    key("address", Ty::Host, "The address of its first interface, with the prefix length."),
    key("mac", Ty::Mac, "The MAC of its first interface."),
    key("mtu", Ty::Size, "The MTU of its interfaces."),
    key("dhcp", Ty::Flag, "Whether its first interface asks for an address by DHCP."),
    key("gateway", Ty::Address, "Its default gateway; the only router on its link when not given."),
    key(
        "interfaces",
        Ty::Map("interface", &INTERFACE_TY),
        "Its interfaces, when one address is not enough: `wan: 203.0.113.2/30`, or with properties.",
    ),
    key(
        "routes",
        Ty::List(&ROUTE_TY),
        "Its static routes. A router without this key gets shortest-path routes to every network; `[]` gives it none but its own networks.",
    ),
    key(
        "tables",
        Ty::Map("table", &ROUTES_TY),
        "Other tables of routes, which `rules:` choose. They hold nothing but what is written.",
    ),
    key(
        "rules",
        Ty::List(&Ty::Text),
        "Policy routing, as `ip rule`: conditions as in a firewall line, then `table NAME`, such as `from 10.1.0.0/16 table blue` or `in lan tcp port 443 table blue`. The first that matches and whose table has a route decides, else the main table (`main`).",
    ),
    key(
        "clamp-mss",
        Ty::List(&Ty::Text),
        "Lowers the MSS of SYNs that pass: conditions as in a firewall line, then `size N`; what both interfaces carry without a size. `out ppp0`.",
    ),
    MIDDLEBOX,
    key(
        "transparent",
        Ty::Flag,
        "Whether it passes packets on unseen, as a cloud's router does: takes nothing from their TTL, answers no ping, and \
             complains only of packets that are too long.",
    ),
    key(
        "nat",
        Ty::List(&Ty::Text),
        "NAT lines: `masquerade`, `snat to ADDRESS`, `snat to POOL`, `dnat to ADDRESS[:PORT[-PORT]]`, `dnat to A:PORT,B:PORT by round-robin|source-hash|maglev`, `static INSIDE to OUTSIDE` or `keep`; then conditions as in a firewall line; then `using PORTS` with `random`, `preserve` or `blocks of N most N`; then how mappings behave: `mapping` and `filtering` with `endpoint-independent`, `address-dependent` or `address-and-port-dependent`, `hairpin`, `overload`, `exclusive`, `exhausted silent|prohibited|host-unreachable`.",
    ),
    key("role", Ty::Text, "What it is, in a person's words."),
    key("site", Ty::Name, "The site that it belongs to."),
    key("place", Ty::Name, "The city it stands in, for drawing."),
];

pub(super) const KIND_NAMES: &[&str] = &["host", "router", "switch"];

pub(super) static NODE: Shape = Shape {
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

pub(super) static DEFAULTS: Shape = Shape {
    name: "the defaults",
    about: "What holds for all links and nodes that do not say otherwise.",
    keys: &[
        IMPAIRMENTS,
        &[
            key("mtu", Ty::Size, "MTU of links and interfaces."),
            key("processing", PROCESSING, "Time a machine takes for each frame that it sends on."),
        ],
    ],
};

pub(super) static KIND_DEFAULTS: Shape = Shape {
    name: "the defaults of a kind",
    about: "What holds for all nodes of this kind that do not say otherwise.",
    keys: &[NODE_KEYS, MACHINE],
};

pub(super) static KINDS: Shape = Shape {
    name: "kinds",
    about: "Defaults per kind of node.",
    keys: &[&[
        key("host", Ty::Object(&KIND_DEFAULTS), "Defaults of hosts."),
        key("router", Ty::Object(&KIND_DEFAULTS), "Defaults of routers."),
        key("switch", Ty::Object(&KIND_DEFAULTS), "Defaults of switches."),
    ]],
};

pub(super) static TOPOLOGY: Shape = Shape {
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
