//! A network of hosts and routers written down as a list, for benchmarks: no names, no language, nothing recorded.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_apps::Runtime;
use rt_base::{MacAddr, Nanos, NodeId, PortId};
use rt_devices::{Host, Traffic};
use rt_rules::{Origin, Route, RouteKind};
use rt_sim::{DirectionSpec, LinkSpec, QueueSpec, Sim};
use rt_stack::tcp::TcpConfig;
use rt_stack::{IfaceConfig, Stack, StackConfig};

/// Civil time at the start: 21 November 2026.
pub(crate) const EPOCH: u64 = 1_795_219_200;

/// Starts what runs on a machine.
type Start = Box<dyn FnOnce(&mut Runtime)>;

#[derive(Default)]
struct Machine {
    interfaces: Vec<IfaceConfig>,
    routes: Vec<(IpNet, IpAddr)>,
    traffic: Vec<Traffic>,
    apps: Option<Start>,
}

/// The list.
pub(crate) struct Net {
    machines: Vec<Machine>,
    links: Vec<LinkSpec>,
    tcp: TcpConfig,
    recording: bool,
}

impl Net {
    pub(crate) fn new(recording: bool) -> Net {
        Net { machines: Vec::new(), links: Vec::new(), tcp: TcpConfig::default(), recording }
    }

    /// Send and receive buffers of all machines.
    pub(crate) fn buffers(&mut self, bytes: u32) {
        (self.tcp.send_buffer, self.tcp.recv_buffer) = (bytes, bytes);
    }

    /// A full-duplex link; each end gets a new interface, which [`Self::address`] then gives its address.
    pub(crate) fn link(&mut self, a: usize, b: usize, rate_bps: u64, delay: Nanos, queue: QueueSpec) {
        let spec = DirectionSpec { rate_bps, delay, queue, ..DirectionSpec::default() };
        let (a, b) = (self.interface(a), self.interface(b));
        self.links.push(LinkSpec { a, b, ab: spec, ba: spec, mtu: 1_500 });
    }

    fn interface(&mut self, node: usize) -> (NodeId, PortId) {
        while self.machines.len() <= node {
            self.machines.push(Machine::default());
        }
        let interfaces = &mut self.machines[node].interfaces;
        let port = u16::try_from(interfaces.len()).expect("few interfaces");
        let id = u32::try_from(node).expect("few nodes");
        let (n, p) = (id.to_be_bytes(), port.to_be_bytes());
        let mac = MacAddr([2, n[1], n[2], n[3], p[0], p[1]]);
        interfaces.push(IfaceConfig { name: format!("eth{port}"), mac, addresses: Vec::new(), mtu: 1_500 });
        (NodeId(id), PortId(port))
    }

    /// The address of the interface made last.
    pub(crate) fn address(&mut self, node: usize, address: IpAddr, prefix: u8) {
        let net = IpNet::new(address, prefix).expect("a prefix length");
        self.machines[node].interfaces.last_mut().expect("a link first").addresses.push(net);
    }

    pub(crate) fn route(&mut self, node: usize, to: IpAddr, prefix: u8, via: IpAddr) {
        self.machines[node].routes.push((IpNet::new(to, prefix).expect("a prefix length"), via));
    }

    pub(crate) fn default_route(&mut self, node: usize, via: IpAddr) {
        self.route(node, IpAddr::from([0, 0, 0, 0]), 0, via);
    }

    pub(crate) fn traffic(&mut self, node: usize, traffic: Traffic) {
        self.machines[node].traffic.push(traffic);
    }

    /// What runs on a machine, instead of plain traffic.
    pub(crate) fn apps(&mut self, node: usize, start: impl FnOnce(&mut Runtime) + 'static) {
        self.machines[node].apps = Some(Box::new(start));
    }

    /// Who is at the other end of each interface: the peers' point-to-point links have no ARP, so ours know it already.
    fn neighbors(&self) -> Vec<Vec<(PortId, IpAddr, MacAddr)>> {
        let mut known = vec![Vec::new(); self.machines.len()];
        let ends = self.links.iter().flat_map(|link| [(link.a, link.b), (link.b, link.a)]);
        for ((node, port), (peer, peer_port)) in ends {
            let iface = &self.machines[peer.index()].interfaces[peer_port.index()];
            known[node.index()].extend(iface.addresses.iter().map(|net| (port, net.addr(), iface.mac)));
        }
        known
    }

    /// The engine with all of it.
    pub(crate) fn build(self) -> Sim {
        let mut sim = Sim::new(1, self.recording);
        let neighbors = self.neighbors();
        for (index, machine) in self.machines.into_iter().enumerate() {
            let routes = machine
                .routes
                .iter()
                .map(|(prefix, via)| route(&machine.interfaces, *prefix, *via))
                .collect();
            let forwarding = machine.traffic.is_empty() && machine.apps.is_none();
            let config = StackConfig {
                interfaces: machine.interfaces,
                routes,
                forwarding,
                tcp: self.tcp.clone(),
                ..StackConfig::default()
            };
            let name = format!("n{index}");
            let mut stack = Stack::new(config, 1, &name);
            for &(port, address, mac) in &neighbors[index] {
                stack.add_neighbor(port, address, mac);
            }
            let host = match machine.apps {
                None => Host::with_traffic(stack, machine.traffic),
                Some(start) => {
                    let mut runtime = Runtime::new(stack, 1, &name, EPOCH);
                    start(&mut runtime);
                    Host::with_apps(runtime)
                }
            };
            sim.add_node(&name, Box::new(host), Nanos::ZERO);
        }
        for link in self.links {
            sim.add_link(link);
        }
        sim
    }
}

fn route(interfaces: &[IfaceConfig], prefix: IpNet, via: IpAddr) -> Route {
    let out =
        interfaces.iter().position(|i| i.addresses.iter().any(|a| a.contains(&via))).expect("a link to it");
    let out = PortId(u16::try_from(out).expect("few interfaces"));
    let origin = Origin::Resource { address: "bench".into() };
    Route { prefix, via: Some(via), out, kind: RouteKind::Unicast, metric: 0, source: None, origin }
}
