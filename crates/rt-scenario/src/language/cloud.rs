//! Cloud sites: VPCs, what joins them, and what stands in them. The words are AWS's.

use super::links::{ACCESS, CABLE};
use super::machine::{MACHINE, PORTS_TY, PROCESSING};
use super::sites::{CERT_TY, KIND, NAME_SERVER_TY, PLACE};
use super::{HOST_NAMES, LINES, NAMES};
use crate::shape::{Key, Shape, Ty, key, must};

const RESOURCE: Key = key(
    "resource",
    Ty::Text,
    "Its Terraform address, such as `aws_instance.app`: what stories call its origin.",
);

static GATEWAY: Shape = Shape { name: "a gateway", about: "A gateway of a VPC.", keys: &[&[RESOURCE]] };

static ROUTE_TO: Shape = Shape {
    name: "a route of a VPC",
    about: "Where packets for a destination go.",
    keys: &[&[must("target", Ty::Text, TARGETS), RESOURCE]],
};
const TARGETS: &str = "`local`, `internet-gateway`, the name of a NAT gateway, `nat NAME`, `peering NAME`, \
    `transit-gateway NAME`, `endpoint NAME`, `instance NAME` or `blackhole`.";
/// Destinations to targets; the key `resource` gives the table's own address.
static ROUTES: Ty = Ty::Map("destination", &Ty::Either(&Ty::Text, &Ty::Object(&ROUTE_TO)));

static RULE: Shape = Shape {
    name: "a security group rule",
    about: "One line of a security group.",
    keys: &[&[must("rule", Ty::Text, "The line."), RESOURCE]],
};
static RULES: Ty = Ty::List(&Ty::Either(&Ty::Text, &Ty::Object(&RULE)));

static SECURITY_GROUP: Shape = Shape {
    name: "a security group",
    about: "What may come in and go out, statefully: answers always pass. A line is `all` or any of `tcp|udp|icmp|protocol N`, \
            `port N[-M]`, `type N`, `code N`, then `from`/`to` a network, an address, `any`, `self`, `group NAME` or \
            `prefix-list NAME`.",
    keys: &[&[
        key("in", RULES, "What may come in; nothing when not given."),
        key("out", RULES, "What may go out; everything when not given."),
        key("about", Ty::Text, "Its description."),
        RESOURCE,
    ]],
};

static ENTRY: Shape = Shape {
    name: "an entry of a network ACL",
    about: "One numbered line of a network ACL.",
    keys: &[&[must("rule", Ty::Text, "The line."), RESOURCE]],
};
static ENTRIES: Ty = Ty::Map("rule number", &Ty::Either(&Ty::Text, &Ty::Object(&ENTRY)));

static ACL: Shape = Shape {
    name: "a network ACL",
    about: "What passes a subnet's border, packet by packet: the lowest number that matches decides, and what none matches \
            is denied. A line is `allow|deny`, then as in a security group, as `allow tcp port 1024-65535 from any`.",
    keys: &[&[
        key("in", ENTRIES, "Lines for what enters the subnet, by number (1 to 32766)."),
        key("out", ENTRIES, "Lines for what leaves the subnet."),
        RESOURCE,
    ]],
};

static SUBNET: Shape = Shape {
    name: "a subnet",
    about: "A part of a VPC's addresses, with a route table and a network ACL.",
    keys: &[&[
        must("cidr", Ty::Net, "Its network: within the VPC's, /16 to /28."),
        key("zone", Ty::Name, "Its availability zone, such as `eu-central-1a`."),
        key(
            "public",
            Ty::Flag,
            "Whether instances in it get a public address when they say nothing (no by default).",
        ),
        key("route-table", Ty::Name, "Its route table; the main one when not given."),
        key("routes", ROUTES, "Its routes, when no other subnet shares them: instead of `route-table`."),
        key("acl", Ty::Name, "Its network ACL; the default one, which allows everything, when not given."),
        RESOURCE,
    ]],
};

static NAT_GATEWAY: Shape = Shape {
    name: "a NAT gateway",
    about: "Lets instances without a public address reach out; nobody reaches in through it.",
    keys: &[&[
        must("subnet", Ty::Name, "The subnet it stands in: one with a route to the internet gateway."),
        key("address", Ty::Address, "Its private address; the next free one when not given."),
        key(
            "public",
            Ty::Text,
            "Its elastic IP: an address, or a name under `elastic-ips`; the next of 54.93.0.0/24 when not given.",
        ),
        key(
            "ports",
            PORTS_TY,
            "External ports: `10001-` counts up from there (by dice within 1024-65535 by default).",
        ),
        key("processing", PROCESSING, "Time it takes for each packet."),
        RESOURCE,
    ]],
};

static ELASTIC_IP: Shape = Shape {
    name: "an elastic IP",
    about: "A public address that belongs to the account.",
    keys: &[&[
        key("address", Ty::Address, "The address; the next of 54.93.0.0/24 when not given."),
        RESOURCE,
    ]],
};

static ENDPOINT: Shape = Shape {
    name: "a VPC endpoint",
    about: "A way to a service that does not touch the internet.",
    keys: &[&[
        key(
            "type",
            Ty::OneOf(&["gateway", "interface"]),
            "`gateway` (a target in route tables; the default) or `interface` (an address in subnets).",
        ),
        must("service", Ty::Name, "The service: a site of kind `service` or `host`."),
        key("subnets", *NAMES, "Where an interface endpoint has addresses."),
        key(
            "addresses",
            Ty::Map("subnet", &Ty::Address),
            "Its addresses there; the next free ones when not given.",
        ),
        key("groups", *NAMES, "Security groups of an interface endpoint; `default` when not given."),
        key("route-tables", *NAMES, "Route tables that a gateway endpoint puts its prefix list into."),
        key(
            "private-dns",
            Ty::Flag,
            "Whether the service's names mean this endpoint inside the VPC (yes by default).",
        ),
        RESOURCE,
    ]],
};

static INSTANCE: Shape = Shape {
    name: "an instance",
    about: "A machine in a subnet.",
    keys: &[
        &[
            must("subnet", Ty::Name, "The subnet it stands in."),
            key("address", Ty::Address, "Its private address; the next free one when not given."),
            key(
                "public",
                Ty::Text,
                "`yes`, `no`, an address, or a name under `elastic-ips`; as its subnet says when not given.",
            ),
            key("groups", *NAMES, "Its security groups; `default` when not given."),
            key(
                "source-dest-check",
                Ty::Flag,
                "Whether it may only send and receive what bears its own address (yes by default); `no` lets it forward.",
            ),
            key("mac", Ty::Mac, "Its MAC address."),
            key(
                "names",
                *HOST_NAMES,
                "Public names of its public address; zone and name server follow from them.",
            ),
            key("certificate", CERT_TY, "The certificate of its web server on port 443 (none by default)."),
            key(
                "name-server",
                NAME_SERVER_TY,
                "The authoritative name server: its address, or its properties.",
            ),
            key("records", *LINES, "More DNS records of its domain."),
            key("role", Ty::Text, "What it is, in a person's words; its name when not given."),
            RESOURCE,
        ],
        MACHINE,
    ],
};

pub(super) static VPC: Shape = Shape {
    name: "a VPC",
    about: "A private cloud: subnets, route tables, gateways, security groups, network ACLs and instances. Behaviour and words \
            are AWS's.",
    keys: &[&[
        KIND,
        PLACE,
        must("cidr", Ty::Either(&Ty::Net, &Ty::List(&Ty::Net)), "Its network or networks, /16 to /28."),
        key(
            "internet-gateway",
            Ty::Either(&Ty::Flag, &Ty::Object(&GATEWAY)),
            "Whether it has one; `{ resource: ... }` says yes too (no by default).",
        ),
        key("subnets", Ty::Map("subnet", &Ty::Object(&SUBNET)), "Its subnets."),
        key(
            "route-tables",
            Ty::Map("route table", &ROUTES),
            "Route tables: destinations (networks, or names under `prefix-lists`) with targets, as `0.0.0.0/0: internet-gateway`.",
        ),
        key(
            "main-route-table",
            Ty::Name,
            "The one for subnets that name none; the one called `main` when not given.",
        ),
        key("nat-gateways", Ty::Map("NAT gateway", &Ty::Object(&NAT_GATEWAY)), "Its NAT gateways."),
        key(
            "elastic-ips",
            Ty::Map("elastic IP", &Ty::OrNothing(&Ty::Either(&Ty::Address, &Ty::Object(&ELASTIC_IP)))),
            "Elastic IPs, for instances and NAT gateways to name.",
        ),
        key(
            "security-groups",
            Ty::Map("security group", &Ty::OrNothing(&Ty::Object(&SECURITY_GROUP))),
            "Security groups. `default`, unless written, lets its members talk to each other and everything out.",
        ),
        key(
            "acls",
            Ty::Map("network ACL", &Ty::OrNothing(&Ty::Object(&ACL))),
            "Network ACLs. `default`, unless written, allows everything.",
        ),
        key(
            "prefix-lists",
            Ty::Map("prefix list", &Ty::List(&Ty::Net)),
            "Networks under one name, for routes and rules.",
        ),
        key("endpoints", Ty::Map("endpoint", &Ty::Object(&ENDPOINT)), "VPC endpoints."),
        key("instances", Ty::Map("instance", &Ty::Object(&INSTANCE)), "The machines."),
        key("dns", Ty::Flag, "Whether it has the resolver at its base address plus two (yes by default)."),
        key("uplink", Ty::Object(&ACCESS), "The link of the internet gateway (25Gbit/s, 50us by default)."),
        key("cables", Ty::Object(&CABLE), "The links inside (25Gbit/s, 25us, an MTU of 9001 by default)."),
        RESOURCE,
    ]],
};

pub(super) static PEERING: Shape = Shape {
    name: "a VPC peering",
    about: "Joins two VPCs, and only these two: it is not transitive. Routes in both name it as `peering NAME`.",
    keys: &[&[
        KIND,
        must("between", *NAMES, "The two VPCs: the requester and the accepter."),
        key(
            "accepted",
            Ty::Flag,
            "Whether the other side accepted it (yes by default); nothing passes before.",
        ),
        key(
            "link",
            Ty::Object(&CABLE),
            "The link between them (25Gbit/s, 50us by default; by distance between places).",
        ),
        RESOURCE,
    ]],
};

static ATTACHMENT: Shape = Shape {
    name: "an attachment",
    about: "A VPC at a transit gateway.",
    keys: &[&[
        must("vpc", Ty::Name, "The name of the VPC."),
        key(
            "subnets",
            *NAMES,
            "The subnets it enters by; what comes from the gateway follows the first one's route table.",
        ),
        key(
            "route-table",
            Ty::Name,
            "The table that decides where its packets go (association); the default one when not given.",
        ),
        key(
            "propagates-to",
            *NAMES,
            "Tables that learn the VPC's networks; the default one when not given; `[]` for none.",
        ),
        RESOURCE,
    ]],
};

pub(super) static TRANSIT_GATEWAY: Shape = Shape {
    name: "a transit gateway",
    about: "A hub that VPCs attach to. Routes in a VPC name it as `transit-gateway NAME`.",
    keys: &[&[
        KIND,
        PLACE,
        must(
            "attachments",
            Ty::Map("attachment", &Ty::OrNothing(&Ty::Object(&ATTACHMENT))),
            "The VPCs; an empty one is the VPC of its name.",
        ),
        key(
            "route-tables",
            Ty::Map("route table", &ROUTES),
            "Its route tables: destinations with attachments or `blackhole` as targets. `default` unless written learns every attachment.",
        ),
        key(
            "link",
            Ty::Object(&CABLE),
            "The link to each VPC (25Gbit/s, 50us by default; by distance between places).",
        ),
        RESOURCE,
    ]],
};
