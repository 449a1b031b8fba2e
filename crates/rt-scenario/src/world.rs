//! The model under construction: drafts of nodes and links with the places in the file that they come from.
//!
//! Sites and the plain topology both build through [`World`], so every check that follows sees one kind of thing. What
//! is said here about a value's place (a [`Span`]) is for diagnostics; what the model keeps is its [`Origin`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rt_base::{InterfaceKind, MacAddr, Nanos, NodeId, PortId};
use rt_rules::{Origin, Route, RouteKind};

use crate::diag::{Code, Problems, Span};
use crate::dns::Domain;
use crate::model::{
    BrowserOptions, Certificate, Direction, Interface, LimitOrigins, Node, NodeKind, PortPolicy, QueueLimit,
    ResolverOptions, SshHome, StackOptions, TcpOptions, Zone,
};
use crate::tree::Value;
use crate::upstreams::UpstreamDraft;
use crate::{PageFolders, units};

/// How long Linux remembers an open TCP connection on which nothing is said (`nf_conntrack_tcp_timeout_established`).
pub(crate) const FLOW_TIMEOUT: Nanos = Nanos::from_secs(432_000);

/// More nodes than this are refused.
const MOST_NODES: usize = 20_000;

/// A node with what the checks need to know of it.
pub(crate) struct Draft {
    pub(crate) node: Node,
    pub(crate) span: Span,
    /// One per interface.
    pub(crate) ports: Vec<PortFacts>,
    /// Whether it gets shortest-path routes.
    pub(crate) auto_routes: bool,
    /// A default gateway that was written, and where.
    pub(crate) gateway: Option<(IpAddr, Span)>,
    /// Whether the routes were written by hand (so that no default is added).
    pub(crate) own_routes: bool,
    /// The MTU for interfaces made later.
    pub(crate) mtu: Option<u16>,
    /// Networks that it is the way to, beside those of its interfaces.
    pub(crate) announced: Vec<IpNet>,
}

/// What is known of an interface beside the model.
#[derive(Clone, Default)]
pub(crate) struct PortFacts {
    pub(crate) address: Option<Span>,
    pub(crate) mac: Option<Span>,
    pub(crate) link: Option<usize>,
    /// Whether its MTU was written, so that the link's does not lower it.
    pub(crate) own_mtu: bool,
    /// The same address stands in other places too, on purpose.
    pub(crate) anycast: bool,
}

/// A link with the place of its ends.
pub(crate) struct LinkDraft {
    pub(crate) a: (NodeId, PortId),
    pub(crate) b: (NodeId, PortId),
    pub(crate) wire: Wire,
    pub(crate) span: Span,
    pub(crate) origin: Origin,
}

/// Properties of both directions.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) ab: Direction,
    pub(crate) ba: Direction,
    pub(crate) mtu: u16,
}

/// A line between a site's machine and the internet, made when all sites are known.
pub(crate) struct Attachment {
    pub(crate) at: (NodeId, PortId),
    pub(crate) network: IpNet,
    pub(crate) gateway: IpAddr,
    pub(crate) place: String,
    pub(crate) anycast: bool,
    pub(crate) by_isp: bool,
    /// Over a PPPoE session.
    pub(crate) pppoe: bool,
    /// `ab` is from the site to the internet.
    pub(crate) wire: Wire,
    pub(crate) span: Span,
}

/// A zone with the place that it was written at.
pub(crate) struct ZoneDraft {
    pub(crate) zone: Zone,
    pub(crate) span: Span,
}

/// A certificate with its name, if it has one.
pub(crate) struct CertDraft {
    pub(crate) name: String,
    pub(crate) certificate: Certificate,
}

/// Everything that is being built.
pub(crate) struct World<'p, 'a> {
    pub(crate) problems: &'p mut Problems<'a>,
    pub(crate) folders: &'p dyn PageFolders,
    pub(crate) epoch: u64,
    pub(crate) nodes: Vec<Draft>,
    pub(crate) index: BTreeMap<String, NodeId>,
    pub(crate) links: Vec<LinkDraft>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) zones: Vec<ZoneDraft>,
    pub(crate) certificates: Vec<CertDraft>,
    /// Backbone networks without a route, and loops, on purpose.
    pub(crate) faults: Faults,
    /// Groups that rules name, and where.
    pub(crate) groups_named: Vec<(String, Span)>,
    /// Authorities that browsers trust, and where.
    pub(crate) trusted: Vec<(String, Span)>,
    /// Upstreams that are written, and where.
    pub(crate) upstreams: Vec<UpstreamDraft>,
    /// Machines whose browsers have a proxy, and where it is written.
    pub(crate) browser_proxies: Vec<(NodeId, Span)>,
    infrastructure: u32,
    private: u32,
}

/// What is broken in the backbone on purpose.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) no_route: Vec<IpNet>,
    /// Network, the two routers that point at each other, and where it was written.
    pub(crate) loops: Vec<(IpNet, NodeId, NodeId, Span)>,
}

/// A direction when nothing is said: 1 Gbit/s, 5 us, 1000 packets.
pub(crate) fn plain_direction() -> Direction {
    Direction {
        rate_bps: 1_000_000_000,
        delay: Nanos::from_micros(5),
        jitter: Nanos::ZERO,
        loss_ppm: 0,
        loss_every: 0,
        reorder_ppm: 0,
        duplicate_ppm: 0,
        corrupt_ppm: 0,
        bit_errors: 0,
        queue: QueueLimit::Packets(1000),
    }
}

impl Wire {
    /// Both directions alike.
    pub(crate) fn both(rate_bps: u64, delay: Nanos) -> Wire {
        let one = Direction { rate_bps, delay, ..plain_direction() };
        Wire { ab: one.clone(), ba: one, mtu: 1500 }
    }

    /// What `value` says, over these. `up` and `down` name the keys for the two directions.
    pub(crate) fn read(mut self, value: Option<&Value>, (up, down): (&str, &str)) -> Wire {
        let Some(value) = value else { return self };
        read_direction(&mut self.ab, value);
        read_direction(&mut self.ba, value);
        if let Some(one) = value.get(up) {
            read_direction(&mut self.ab, one);
        }
        if let Some(one) = value.get(down) {
            read_direction(&mut self.ba, one);
        }
        self.mtu = mtu_at(value).unwrap_or(self.mtu);
        self
    }
}

fn read_direction(one: &mut Direction, value: &Value) {
    let share = |key: &str| units::share(value.str_at(key)?).ok();
    one.rate_bps = value.str_at("rate").and_then(|t| units::rate(t).ok()).unwrap_or(one.rate_bps);
    one.delay = value.duration_at("delay").unwrap_or(one.delay);
    one.jitter = value.duration_at("jitter").unwrap_or(one.jitter);
    if let Some(loss) = value.str_at("loss").and_then(|t| units::loss(t).ok()) {
        (one.loss_ppm, one.loss_every) = loss;
    }
    one.reorder_ppm = share("reorder").unwrap_or(one.reorder_ppm);
    one.duplicate_ppm = share("duplicate").unwrap_or(one.duplicate_ppm);
    one.bit_errors =
        value.str_at("bit-errors").and_then(|t| units::bit_errors(t).ok()).unwrap_or(one.bit_errors);
    one.corrupt_ppm = share("corrupt").unwrap_or(one.corrupt_ppm);
    one.queue = value.str_at("queue").and_then(|t| units::queue(t).ok()).unwrap_or(one.queue);
}

/// The MTU that `value` gives; its limits are checked by [`World::check_mtu`].
pub(crate) fn mtu_at(value: &Value) -> Option<u16> {
    let size = units::size(value.str_at("mtu")?).ok()?;
    Some(u16::try_from(size).unwrap_or(u16::MAX))
}

impl<'p, 'a> World<'p, 'a> {
    pub(crate) fn new(
        problems: &'p mut Problems<'a>,
        folders: &'p dyn PageFolders,
        epoch: u64,
    ) -> World<'p, 'a> {
        World {
            problems,
            folders,
            epoch,
            nodes: Vec::new(),
            index: BTreeMap::new(),
            links: Vec::new(),
            attachments: Vec::new(),
            domains: Vec::new(),
            zones: Vec::new(),
            certificates: Vec::new(),
            faults: Faults::default(),
            groups_named: Vec::new(),
            trusted: Vec::new(),
            upstreams: Vec::new(),
            browser_proxies: Vec::new(),
            infrastructure: 0,
            private: 0,
        }
    }

    /// The origin of something written at `span`.
    pub(crate) fn line(&self, span: Span) -> Origin {
        let source = self.problems.source;
        Origin::Line { file: source.file.to_owned(), line: source.line(span) }
    }

    /// The origin of what the thing at `span` does by default.
    pub(crate) fn default_of(&self, span: Span, what: &str) -> Origin {
        let source = self.problems.source;
        Origin::DefaultOf { file: source.file.to_owned(), line: source.line(span), what: what.to_owned() }
    }

    /// The draft of a node.
    pub(crate) fn node(&mut self, id: NodeId) -> &mut Draft {
        &mut self.nodes[id.index()]
    }

    /// Adds a node with default options. A second node of a name is reported and gets another id.
    pub(crate) fn add_node(&mut self, name: &str, kind: NodeKind, role: &str, span: Span) -> NodeId {
        let id =
            NodeId(u32::try_from(self.nodes.len()).expect("invariant: a file has fewer than 2^32 values"));
        if let Some(first) = self.index.get(name).map(|id| self.nodes[id.index()].span) {
            self.problems
                .add(Code::DuplicateNode, span, format!("two nodes are called `{name}`"), "second one")
                .related(first, "first one")
                .help("give one of them another name");
        } else {
            self.index.insert(name.to_owned(), id);
        }
        let origin = self.line(span);
        self.nodes.push(Draft {
            node: empty_node(name, kind, role, origin),
            span,
            ports: Vec::new(),
            auto_routes: false,
            announced: Vec::new(),
            gateway: None,
            own_routes: false,
            mtu: None,
        });
        id
    }

    /// Whether `more` nodes still fit; reported at `span` when not. A line of a file may stand for many nodes.
    pub(crate) fn room_for(&mut self, more: usize, span: Span) -> bool {
        if self.nodes.len() + more <= MOST_NODES {
            return true;
        }
        let message = format!("the scenario would have more than {MOST_NODES} nodes");
        self.problems
            .add(Code::TooLarge, span, message, "too many")
            .help("build larger worlds with the Rust library");
        false
    }

    /// Adds a node that belongs to a site.
    pub(crate) fn add_site_node(
        &mut self,
        site: &str,
        short: &str,
        kind: NodeKind,
        role: &str,
        span: Span,
    ) -> NodeId {
        let id = self.add_node(&format!("{site}.{short}"), kind, role, span);
        self.node(id).node.site = Some(site.to_owned());
        id
    }

    /// The interface of that name, if there is one.
    pub(crate) fn find_port(&self, id: NodeId, name: &str) -> Option<PortId> {
        let at = self.nodes[id.index()].node.interfaces.iter().position(|i| i.name == name)?;
        u16::try_from(at).ok().map(PortId)
    }

    /// Adds an interface; a taken name gets a number behind it. Its MAC follows from the names.
    pub(crate) fn add_port(&mut self, id: NodeId, wanted: &str, span: Span) -> PortId {
        let mut name = wanted.to_owned();
        let mut next = 2;
        while self.find_port(id, &name).is_some() {
            name = format!("{wanted}-{next}");
            next += 1;
        }
        let origin = self.line(span);
        let draft = self.node(id);
        let mac = made_mac(&draft.node.name, &name);
        let mtu = draft.mtu.unwrap_or(1500);
        draft.node.interfaces.push(Interface {
            name,
            mac,
            addresses: Vec::new(),
            mtu,
            kind: InterfaceKind::Ethernet,
            vlans: None,
            reverse_path: None,
            origin,
        });
        draft.ports.push(PortFacts::default());
        PortId(u16::try_from(draft.ports.len() - 1).unwrap_or(u16::MAX))
    }

    /// Gives an interface an address and the route to its network.
    pub(crate) fn set_address(&mut self, (id, port): (NodeId, PortId), address: IpNet, span: Span) {
        let origin = self.default_of(span, "the interface's own network");
        let draft = self.node(id);
        draft.node.interfaces[port.index()].addresses.push(address);
        draft.ports[port.index()].address = Some(span);
        let route = Route {
            prefix: address.trunc(),
            via: None,
            out: port,
            kind: RouteKind::Unicast,
            metric: 0,
            source: Some(address.addr()),
            origin,
        };
        draft.node.routes.push(route);
    }

    /// Adds a default route.
    pub(crate) fn set_gateway(&mut self, (id, port): (NodeId, PortId), via: IpAddr, origin: Origin) {
        let prefix = IpNet::from(ipnet::Ipv4Net::default());
        let route = Route {
            prefix,
            via: Some(via),
            out: port,
            kind: RouteKind::Unicast,
            metric: 0,
            source: None,
            origin,
        };
        self.node(id).node.routes.push(route);
    }

    /// Sets a MAC that was written.
    pub(crate) fn set_mac(&mut self, (id, port): (NodeId, PortId), mac: Option<MacAddr>, span: Option<Span>) {
        if let (Some(mac), Some(span)) = (mac, span) {
            let draft = self.node(id);
            draft.node.interfaces[port.index()].mac = mac;
            draft.ports[port.index()].mac = Some(span);
        }
    }

    /// Joins two interfaces.
    pub(crate) fn add_link(
        &mut self,
        a: (NodeId, PortId),
        b: (NodeId, PortId),
        wire: Wire,
        span: Span,
    ) -> usize {
        let origin = self.line(span);
        let index = self.links.len();
        for (id, port) in [a, b] {
            let draft = self.node(id);
            draft.ports[port.index()].link = Some(index);
            if draft.mtu.is_none() && !draft.ports[port.index()].own_mtu {
                let interface = &mut draft.node.interfaces[port.index()];
                interface.mtu = interface.mtu.min(wire.mtu);
            }
        }
        self.links.push(LinkDraft { a, b, wire, span, origin });
        index
    }

    /// The next /30 of 198.18.0.0/15 (RFC 2544) for a link between routers: its two addresses.
    pub(crate) fn next_infrastructure(&mut self) -> (IpNet, IpNet) {
        let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 4 * (self.infrastructure & 0x7fff);
        self.infrastructure += 1;
        let net = |n: u32| {
            let address = IpAddr::V4(Ipv4Addr::from(base + n));
            IpNet::new(address, 30).expect("invariant: 30 is a prefix length of IPv4")
        };
        (net(1), net(2))
    }

    /// The next private /24 for servers behind a balancer, from 10.1.0.0: its third and second numbers.
    pub(crate) fn next_private(&mut self) -> (u8, u8) {
        let n = self.private;
        self.private += 1;
        ((1 + n % 250) as u8, (n / 250 % 256) as u8)
    }

    /// Reports an MTU that IPv4 cannot live with (RFC 791: every link must carry 68 bytes).
    pub(crate) fn check_mtu(&mut self, value: &Value) {
        let Some(at) = value.get("mtu") else { return };
        let Some(size) = at.text().and_then(|t| units::size(t).ok()) else { return };
        if !(68..=65_535).contains(&size) {
            self.problems
                .add(Code::BadMtu, at.span, format!("an MTU of {size} cannot carry IPv4"), "not an MTU")
                .help("IPv4 needs at least 68 bytes (RFC 791) and at most 65535; Ethernet has 1500");
        }
    }
}

fn empty_node(name: &str, kind: NodeKind, role: &str, origin: Origin) -> Node {
    let micros = match kind {
        NodeKind::Host => 5,
        NodeKind::Router => 10,
        NodeKind::Switch => 2,
    };
    Node {
        name: name.to_owned(),
        kind,
        role: role.to_owned(),
        site: None,
        processing: Nanos::from_micros(micros),
        interfaces: Vec::new(),
        routes: Vec::new(),
        tables: Vec::new(),
        policies: Vec::new(),
        clamps: Vec::new(),
        ossified: Vec::new(),
        chains: Vec::new(),
        nat: Vec::new(),
        stack: plain_stack(),
        limits: LimitOrigins::default(),
        resolver: ResolverOptions {
            servers: Vec::new(),
            hosts: Vec::new(),
            timeout: Nanos::from_secs(5),
            attempts: 2,
            ids: None,
            balance: Vec::new(),
        },
        browser: plain_browser(),
        apps: Vec::new(),
        ssh: SshHome::default(),
        exec: Vec::new(),
        place: None,
        origin,
    }
}

/// A stack as Linux has it by default.
pub(crate) fn plain_stack() -> StackOptions {
    StackOptions {
        port_policy: PortPolicy::Random,
        ports_first: 32_768,
        ports_last: 60_999,
        ttl: 64,
        transparent: false,
        flow_timeout: FLOW_TIMEOUT,
        conntrack: rt_rules::ConntrackOptions::default(),
        tcp: TcpOptions::default(),
        listen_isns: Vec::new(),
    }
}

/// A browser as people have it.
pub(crate) fn plain_browser() -> BrowserOptions {
    BrowserOptions {
        user_agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
            .to_owned(),
        http2: true,
        connections: 6,
        cookies: Vec::new(),
        parse: Nanos::from_millis(5),
        render: Nanos::from_millis(14),
        timeout: Nanos::from_secs(300),
        like_chrome: false,
        language: String::new(),
        stays_open: None,
        notices_close: Vec::new(),
        connect_timeout: None,
        proxy: None,
        trusts: Vec::new(),
    }
}

/// A locally administered MAC (02:...) made from the names, so that it stays when other nodes come and go.
fn made_mac(node: &str, interface: &str) -> MacAddr {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in node.bytes().chain([0]).chain(interface.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let [a, b, c, d, e, ..] = (hash ^ (hash >> 29)).to_le_bytes();
    MacAddr([0x02, a, b, c, d, e])
}
