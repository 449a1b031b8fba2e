//! What runs on a machine: the model's apps and steps as tasks of its runtime.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use rt_apps::browser::{Browser, BrowserOptions, ClosePolicy, Habits, StepPins};
use rt_apps::dhcp::{DhcpClientConfig, DhcpServerConfig, dhcp_client, dhcp_server};
use rt_apps::dns::{
    self, AuthoritativeConfig, RecursiveConfig, ResolverConfig, Zone, authoritative_server,
    recursive_resolver,
};
use rt_apps::measure::{self, RouteOptions, SendOptions, StreamOptions};
use rt_apps::proxy::UpstreamTls;
use rt_apps::server::{self, PageSet, WebServer};
use rt_apps::small::{Small, small_service};
use rt_apps::tls::{Authority, CertificateDer, CertificateSpec, Identity, SignedBy};
use rt_apps::{ConnectOptions, Net, Runtime, StepFn, StepResult, probe, tcp_tunnel, wireguard};
use rt_base::{PortId, Rng};
use rt_scenario::model::{
    App, Certificate, ClientBalance, FastOpen, Issuer, Model, Node, Pages, PickPolicy, Repeat, Steering,
    Step, TraceBy, Transport, Verb, WireguardPeer,
};
use rt_stack::ProbeKind;

use crate::proxies::Stores;
use crate::{calls, forward, ssh};

/// What all machines of a world share: the CA and the certificates it signed.
pub(crate) struct Shared {
    seed: u64,
    authority: Option<Arc<Authority>>,
    identities: Vec<Option<Identity>>,
    /// Authorities of inspecting proxies.
    pub(crate) private: forward::Authorities,
    pub(crate) homes: ssh::Homes,
}

impl Shared {
    /// Makes the world's CA, which every browser trusts, and every certificate of the model.
    pub(crate) fn new(model: &Model, seed: u64) -> Shared {
        let authority = Authority::new(seed, model.epoch).ok();
        let issue = |c: &Certificate| authority.as_ref().and_then(|a| a.issue(&spec(c)).ok());
        let identities = model.certificates.iter().map(issue).collect();
        let homes = ssh::Homes::new(model, seed);
        let private = forward::Authorities::new(model, seed);
        Shared { seed, authority: authority.map(Arc::new), identities, private, homes }
    }

    /// The authority's certificate in PEM.
    pub(crate) fn root_pem(&self) -> Option<String> {
        self.authority.as_ref().map(|a| a.root_pem().to_owned())
    }

    /// TLS to servers that have certificates for `name`, by the CA that everybody trusts.
    pub(crate) fn upstream_tls(&self, name: &Option<String>) -> Option<UpstreamTls> {
        Some(UpstreamTls { name: name.clone()?, roots: self.roots() })
    }

    /// The root that everybody trusts.
    pub(crate) fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.authority.iter().map(|authority| authority.root().clone()).collect()
    }

    pub(crate) fn identity(&self, certificate: Option<usize>) -> Option<Identity> {
        certificate.and_then(|c| self.identities.get(c).cloned().flatten())
    }
}

fn spec(certificate: &Certificate) -> CertificateSpec {
    CertificateSpec {
        names: certificate.names.clone(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        signed_by: match certificate.issuer {
            Issuer::PublicCa => SignedBy::PublicCa,
            Issuer::UnknownCa => SignedBy::UnknownCa,
        },
    }
}

/// Starts everything that runs on `node`; it begins at boot.
pub(crate) fn start(runtime: &Runtime, model: &Model, node: &Node, shared: &Shared) {
    let net = runtime.net();
    net.set_fast_open(matches!(node.stack.tcp.fast_open, Some(FastOpen::Client | FastOpen::Both)));
    net.set_resolver(ResolverConfig {
        servers: node.resolver.servers.clone(),
        hosts: node.resolver.hosts.clone(),
        timeout: node.resolver.timeout,
        attempts: node.resolver.attempts,
        ids: node.resolver.ids,
        balance: node.resolver.balance.iter().map(client_balance).collect(),
    });
    let stores = Stores::new(&net, model, node);
    for app in &node.apps {
        start_app(&net, model, node, (shared, &stores), app);
    }
}

/// The machine's browser; its caches, cookies and sessions live as long as it does.
pub(crate) fn browser(net: &Net, node: &Node, shared: &Shared) -> Option<Browser> {
    let options = &node.browser;
    let options = BrowserOptions {
        user_agent: options.user_agent.clone(),
        http2: options.http2,
        connections: options.connections,
        cookies: options.cookies.clone(),
        parse: options.parse,
        render: options.render,
        timeout: options.timeout,
        close: options.stays_open.map_or(ClosePolicy::AtStepEnd, ClosePolicy::AfterIdle),
        habits: Habits {
            like_chrome: options.like_chrome,
            language: options.language.clone(),
            notices_close: options.notices_close.clone(),
            connect_timeout: options.connect_timeout,
        },
        proxy: options.proxy.as_ref().map(forward::of_browser),
    };
    let mut roots = shared.roots();
    roots.extend(shared.private.trusted(node).map(|ca| ca.root().clone()));
    Browser::new(net, options, &roots).ok()
}

fn start_app(net: &Net, model: &Model, node: &Node, (shared, stores): (&Shared, &Stores), app: &App) {
    match app {
        App::DhcpClient { port } => start_dhcp_client(net, node, *port),
        App::DhcpServer { .. } => start_dhcp_server(net, node, app),
        App::DnsResolver { .. } | App::DnsServer { .. } => start_name_server(net, model, app),
        App::HttpServer { port, certificate, http2, pages, think, silent, idle_unused, idle, hosting } => {
            let site = |(name, pages): &(String, Pages)| server::Site {
                names: vec![name.clone()],
                pages: page_set(pages),
            };
            // Without the first one it speaks no TLS.
            let more = hosting.certificates.iter().filter(|_| certificate.is_some());
            let certificates = certificate.iter().chain(more);
            let server = WebServer {
                identities: certificates.filter_map(|c| shared.identity(Some(*c))).collect(),
                sites: hosting.sites.iter().map(site).collect(),
                strict: server::Strict { sni: hosting.refuses_sni, host: hosting.refuses_host },
                http2: *http2,
                think: *think,
                silent: *silent,
                idle: server::IdleLimits { unused: *idle_unused, used: *idle },
                doors: crate::websocket::doors(&hosting.sockets),
                ..WebServer::new(*port, page_set(pages))
            };
            drop(net.spawn(server.run(net.clone())));
        }
        App::Rpc { .. } => calls::serve(net, app),
        App::Grpc(server) => crate::grpc::serve(net, server, shared),
        App::Ssh { .. } => ssh::serve(net, node, &shared.homes, app),
        App::Wireguard { on, port, peers } => start_wireguard(net, node, shared.seed, (*on, *port, peers)),
        App::TcpTunnel { on, port, to } => {
            let end = to.map_or(tcp_tunnel::End::Listen(*port), tcp_tunnel::End::Connect);
            let name = node.interfaces[on.index()].name.clone();
            net.serve("tcp tunnel", tcp_tunnel::run(net.clone(), name, end));
        }
        App::Ntp => net.serve("ntp server", rt_apps::ntp::ntp_server(net.clone())),
        App::Sink { port } => net.serve("sink", measure::sink(net.clone(), *port)),
        App::Echo { port } => start_small(net, "echo", Small::Echo, *port),
        App::Discard { port } => start_small(net, "discard", Small::Discard, *port),
        App::Chargen { port } => start_small(net, "chargen", Small::Chargen, *port),
        App::SplitTcp { port } => drop(net.spawn(rt_apps::split::split_tcp(net.clone(), *port))),
        App::ForwardProxy(proxy) => forward::start(net, proxy, shared, stores.of(app)),
        App::L4Balancer(balancer) => crate::balancer::start(net, model, node, balancer),
        App::Edge { .. } => crate::proxies::start_edge(net, model, node, (shared, stores), app),
    }
}

fn start_name_server(net: &Net, model: &Model, app: &App) {
    match app {
        App::DnsResolver { roots, think, silent, own, fixed_order, client_subnet } => {
            let (roots, own) = (roots.clone(), own.clone());
            let (fixed_order, client_subnet) = (*fixed_order, *client_subnet);
            let (think, silent) = (*think, *silent);
            let config = RecursiveConfig { roots, own, think, silent, fixed_order, client_subnet };
            net.serve("dns resolver", recursive_resolver(net.clone(), config));
        }
        App::DnsServer { zones, think, silent, fixed_order, steering } => {
            let zones = zones.iter().filter_map(|z| model.zones.get(*z));
            let config = AuthoritativeConfig {
                zones: zones.filter_map(|z| Zone::parse(&z.apex, &z.text).ok()).collect(),
                think: *think,
                silent: *silent,
                fixed_order: *fixed_order,
                steering: steering.iter().map(steered).collect(),
            };
            net.serve("dns server", authoritative_server(net.clone(), config));
        }
        _ => {}
    }
}

fn client_balance(balance: &ClientBalance) -> dns::ClientBalance {
    dns::ClientBalance {
        name: balance.name.clone(),
        policy: match balance.policy {
            PickPolicy::RoundRobin => dns::PickPolicy::RoundRobin,
            PickPolicy::RandomOfTwo => dns::PickPolicy::RandomOfTwo,
            PickPolicy::LeastOutstanding => dns::PickPolicy::LeastOutstanding,
        },
        leave_out: balance.leave_out,
    }
}

fn steered(steering: &Steering) -> dns::Steering {
    let whereabouts = |(network, city, nearest): &(IpNet, String, usize)| dns::Whereabouts {
        network: *network,
        city: city.clone(),
        nearest: *nearest,
    };
    dns::Steering {
        name: steering.name.clone(),
        places: steering.places.iter().map(|(place, at)| (*at, place.clone())).collect(),
        networks: steering.networks.iter().map(whereabouts).collect(),
    }
}

fn start_wireguard(net: &Net, node: &Node, seed: u64, (on, port, peers): (PortId, u16, &[WireguardPeer])) {
    let peer = |peer: &WireguardPeer| wireguard::PeerConfig {
        name: peer.name.clone(),
        public: wireguard::public_key(&wireguard_key(seed, &peer.name)),
        psk: [0; 32],
        endpoint: peer.endpoint,
        allowed: peer.allowed.clone(),
        persistent_keepalive: peer.keepalive,
    };
    let interface = &node.interfaces[on.index()];
    let config = wireguard::Config {
        secret: wireguard_key(seed, &node.name),
        port,
        mtu: interface.mtu,
        peers: peers.iter().map(peer).collect(),
    };
    net.serve("wireguard", wireguard::run(net.clone(), interface.name.clone(), config));
}

/// A machine's private key.
fn wireguard_key(seed: u64, name: &str) -> [u8; 32] {
    let mut key = [0; 32];
    Rng::stream(seed, name, "wireguard key").fill(&mut key);
    key
}

fn start_small(net: &Net, name: &str, which: Small, port: u16) {
    net.serve(name, small_service(net.clone(), which, port));
}

fn page_set(pages: &Pages) -> PageSet {
    match pages {
        Pages::BuiltIn(name) => PageSet::built_in(name).unwrap_or_else(|| PageSet::from_files(&[])),
        Pages::Files(files) => {
            let file = |file: &rt_scenario::model::PageFile| server::PageFile {
                path: file.path.clone(),
                content_type: file.kind.clone(),
                bytes: file.bytes.clone(),
                redirect: file.redirect.clone(),
                cookies: file.cookies.clone(),
                cache_control: file.cache_control.clone(),
            };
            PageSet::from_files(&files.iter().map(file).collect::<Vec<_>>())
        }
    }
}

fn start_dhcp_client(net: &Net, node: &Node, port: PortId) {
    let Some(interface) = node.interfaces.get(port.index()) else { return };
    let hostname = node.name.rsplit('.').next().unwrap_or(&node.name).to_owned();
    let config = DhcpClientConfig { port, interface: interface.name.clone(), mac: interface.mac, hostname };
    net.serve("dhcp client", dhcp_client(net.clone(), config));
}

fn start_dhcp_server(net: &Net, node: &Node, app: &App) {
    let App::DhcpServer { port, first, last, reservations, gateway, resolvers, lease, silent } = app else {
        return;
    };
    let addresses = node.interfaces.get(port.index()).map_or(&[][..], |i| &i.addresses);
    let own = addresses.iter().find_map(|a| match a {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    });
    let (Some(address), Some(first), Some(last)) = (own, v4(first), v4(last)) else { return };
    let config = DhcpServerConfig {
        port: *port,
        address,
        first,
        last,
        reservations: reservations.iter().filter_map(|(mac, a)| Some((*mac, v4(a)?))).collect(),
        gateway: v4(gateway),
        resolvers: resolvers.iter().filter_map(v4).collect(),
        lease: *lease,
        silent: *silent,
    };
    net.serve("dhcp server", dhcp_server(net.clone(), config));
}

/// DHCPv4 speaks of IPv4 addresses only.
fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    }
}

/// What a machine does when its step begins.
pub(crate) fn step_fn(step: &Step, machine: &str, shared: &Arc<Shared>, browser: Option<&Browser>) -> StepFn {
    let Some(Repeat { every, lasts }) = step.repeat else { return once(step, machine, shared, browser) };
    let (mut step, machine, shared, browser) =
        (step.clone(), machine.to_owned(), Arc::clone(shared), browser.cloned());
    let round = move || {
        let work = once(&step, &machine, &shared, browser.as_ref());
        // Only the first connection is pinned.
        (step.source_port, step.isn) = (None, None);
        work
    };
    Box::new(move |net| Box::pin(rt_apps::repeat(net, every, lasts, round)))
}

fn once(step: &Step, machine: &str, shared: &Shared, browser: Option<&Browser>) -> StepFn {
    let pins =
        StepPins { source_port: step.source_port, isn: step.isn, ecn: step.ecn, fields: step.fields.clone() };
    match (step.verb.clone(), browser) {
        (Verb::Open { url }, Some(browser)) => browser.open_step(&url, pins),
        (Verb::Reload { url }, Some(browser)) => browser.reload_step(&url, pins),
        (Verb::Post { url, json }, Some(browser)) => browser.post_step(&url, &json, pins),
        (Verb::Purge { url }, Some(browser)) => browser.purge_step(&url, pins),
        (Verb::Open { .. } | Verb::Reload { .. } | Verb::Purge { .. } | Verb::Post { .. }, None) => {
            Box::new(|_| Box::pin(async { StepResult::failed("this machine has no browser") }))
        }
        (verb @ (Verb::Call { .. } | Verb::Flood { .. } | Verb::Spoof { .. }), _) => calls::step(step, verb),
        (Verb::Grpc(calls), _) => crate::grpc::step(step, calls, shared),
        (Verb::WebSocket(talk), browser) => crate::websocket::step(step, talk, shared, browser),
        (Verb::Ssh { arguments, types }, _) => ssh::step(step, machine, &shared.homes, &arguments, &types),
        (Verb::Ping { target, count }, _) => Box::new(move |net| Box::pin(probe::ping(net, target, count))),
        (Verb::Trace { .. } | Verb::PathMtu { .. } | Verb::Send { .. } | Verb::Stream { .. }, _) => {
            measurement(step)
        }
        (Verb::Lookup { name, rtype }, _) => Box::new(move |net| Box::pin(probe::lookup(net, name, rtype))),
        (Verb::Probe { target, port }, _) => {
            let options =
                ConnectOptions { local_port: step.source_port, isn: step.isn, ..ConnectOptions::default() };
            Box::new(move |net| Box::pin(probe::tcp_probe(net, target, port, options)))
        }
    }
}

/// A step that measures.
fn measurement(step: &Step) -> StepFn {
    let connect = ConnectOptions { local_port: step.source_port, isn: step.isn, ..ConnectOptions::default() };
    match step.verb.clone() {
        Verb::Trace { target, by, port } => {
            let kind = match by {
                TraceBy::Udp => ProbeKind::Udp,
                TraceBy::Icmp => ProbeKind::Icmp,
                TraceBy::Tcp => ProbeKind::Tcp,
            };
            Box::new(move |net| Box::pin(measure::trace_route(net, target, RouteOptions { kind, port })))
        }
        Verb::PathMtu { target } => Box::new(move |net| Box::pin(measure::path_mtu(net, target))),
        Verb::Send { target, port, bytes, connections, every } => {
            let options = SendOptions { port, bytes, connections, every, connect };
            Box::new(move |net| Box::pin(measure::send(net, target, options)))
        }
        Verb::Stream { target, port, over, rate_bps, lasts, frame, playout } => {
            let udp = over == Transport::Udp;
            let options = StreamOptions { port, udp, rate_bps, lasts, frame, playout, connect };
            Box::new(move |net| Box::pin(measure::stream(net, target, options)))
        }
        _ => Box::new(|_| Box::pin(async { StepResult::failed("this step measures nothing") })),
    }
}
