//! Model to nodes: the lowered model becomes stacks, applications and links of the engine. Nothing is decided here that
//! the model does not say.

use std::collections::BTreeMap;
use std::sync::Arc;

use rt_apps::Runtime;
use rt_apps::browser::Browser;
use rt_base::{InterfaceKind, NodeId, PortId};
use rt_devices::{Host, Switch};
use rt_rules::{ConntrackOptions, PortRange, ReversePath};
use rt_scenario::model::{Direction, Interface, Model, Node, NodeKind, PortPolicy, QueueLimit, Step};
use rt_sim::{DirectionSpec, LinkSpec, QueueSpec, Sim};
use rt_stack::{IfaceConfig, Stack, StackConfig};

use crate::apps::{self, Shared};

/// The engine with every node and link of a model, and what the laboratory keeps beside it.
pub(crate) struct Built {
    pub(crate) sim: Sim,
    /// The certificate authority that everybody trusts, in PEM.
    pub(crate) root_pem: Option<String>,
    /// Authorities that only some trust.
    pub(crate) private: crate::forward::Authorities,
    browsers: Vec<Option<Browser>>,
    shared: Arc<Shared>,
}

/// Each machine's steps with their numbers.
type Steps<'m> = BTreeMap<NodeId, Vec<(usize, &'m Step)>>;

/// Builds a model.
#[must_use]
pub(crate) fn build(model: &Model, seed: u64, recording: bool) -> Built {
    let shared = Arc::new(Shared::new(model, seed));
    let root_pem = shared.root_pem();
    let private = shared.private.clone();
    let mut steps = Steps::new();
    for (index, step) in model.steps.iter().enumerate() {
        steps.entry(step.node).or_default().push((index, step));
    }
    let mut built = Built { sim: Sim::new(seed, recording), root_pem, private, browsers: Vec::new(), shared };
    for (index, node) in model.nodes.iter().enumerate() {
        match node.kind {
            NodeKind::Switch => {
                built.browsers.push(None);
                built.sim.add_node(&node.name, Box::new(switch(node)), node.processing);
            }
            NodeKind::Host | NodeKind::Router => {
                let (host, browser) = host(model, index, &built.shared, &mut steps, seed);
                built.browsers.push(browser);
                built.sim.add_node(&node.name, Box::new(host), node.processing);
            }
        }
    }
    for link in &model.links {
        let (ab, ba) = (direction(&link.ab), direction(&link.ba));
        built.sim.add_link(LinkSpec { a: link.a, b: link.b, ab, ba, mtu: link.mtu });
    }
    built
}

impl Built {
    /// Adds a step to the machine that carries it out.
    pub(crate) fn install_step(&mut self, index: usize, machine: &str, step: &Step) {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let browser = self.browsers.get(step.node.index()).and_then(Option::as_ref);
        if let Some(runtime) = self.sim.node_mut::<Host>(step.node).and_then(Host::runtime) {
            runtime.set_step(number, step.text.clone(), apps::step_fn(step, machine, &self.shared, browser));
        }
    }
}

fn switch(node: &Node) -> Switch {
    let vlans = node.interfaces.iter().map(|i| i.vlans.clone()).collect();
    Switch::with_vlans(u16::try_from(node.interfaces.len()).unwrap_or(u16::MAX), vlans)
}

/// A machine with what runs on it. A router without apps and steps is its stack alone.
fn host(
    model: &Model,
    index: usize,
    shared: &Arc<Shared>,
    steps: &mut Steps<'_>,
    seed: u64,
) -> (Host, Option<Browser>) {
    let node = &model.nodes[index];
    let stack = Stack::new(stack_config(node), seed, &node.name);
    let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
    let steps = steps.remove(&id).unwrap_or_default();
    if node.apps.is_empty() && steps.is_empty() && node.kind == NodeKind::Router {
        return (Host::bare(stack), None);
    }
    let mut runtime = Runtime::new(stack, seed, &node.name, model.epoch);
    apps::start(&runtime, model, node, shared);
    let browser = apps::browser(&runtime.net(), node, shared);
    for (index, step) in steps {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        runtime.set_step(
            number,
            step.text.clone(),
            apps::step_fn(step, &node.name, shared, browser.as_ref()),
        );
    }
    (Host::with_apps(runtime), browser)
}

fn stack_config(node: &Node) -> StackConfig {
    let o = &node.stack;
    StackConfig {
        interfaces: node.interfaces.iter().map(interface).collect(),
        routes: node.routes.clone(),
        virtuals: virtuals(node),
        clamps: node.clamps.clone(),
        ossified: node.ossified.clone(),
        tables: node.tables.iter().map(|t| t.routes.clone()).collect(),
        policies: node.policies.clone(),
        chains: node.chains.clone(),
        reverse_path: node.interfaces.iter().map(reverse_path).collect(),
        nat: node.nat.clone(),
        forwarding: node.kind == NodeKind::Router,
        transparent: o.transparent,
        port_policy: match o.port_policy {
            PortPolicy::Sequential => rt_stack::PortPolicy::Sequential,
            PortPolicy::Random => rt_stack::PortPolicy::Random,
        },
        ports: PortRange { first: o.ports_first, last: o.ports_last },
        ttl: o.ttl,
        tcp: crate::tcp::config(&o.tcp),
        listen_isns: o.listen_isns.clone(),
        conntrack: ConntrackOptions { tcp_established: o.flow_timeout, ..o.conntrack },
        ..StackConfig::default()
    }
}

fn reverse_path(interface: &Interface) -> ReversePath {
    interface.reverse_path.as_ref().map_or(ReversePath::Off, |check| check.mode)
}

/// The interfaces that are no ports with a cable.
fn virtuals(node: &Node) -> Vec<(PortId, InterfaceKind)> {
    let all = (0..).map(PortId).zip(&node.interfaces);
    all.filter(|(_, i)| !i.kind.is_physical()).map(|(port, i)| (port, i.kind)).collect()
}

fn interface(interface: &Interface) -> IfaceConfig {
    IfaceConfig {
        name: interface.name.clone(),
        mac: interface.mac,
        addresses: interface.addresses.clone(),
        mtu: interface.mtu,
    }
}

fn direction(d: &Direction) -> DirectionSpec {
    DirectionSpec {
        rate_bps: d.rate_bps,
        delay: d.delay,
        jitter: d.jitter,
        loss_ppm: d.loss_ppm,
        loss_every: d.loss_every,
        reorder_ppm: d.reorder_ppm,
        duplicate_ppm: d.duplicate_ppm,
        corrupt_ppm: d.corrupt_ppm,
        bit_errors: d.bit_errors,
        queue: match d.queue {
            QueueLimit::Packets(n) => QueueSpec::Packets(n),
            QueueLimit::Bytes(n) => QueueSpec::Bytes(n),
        },
    }
}
