//! What the story must know of the world and events do not say: names, interfaces, links, the text and origin of every
//! rule.
//!
//! Plain facts, filled in by `rt-lab` from the model, so that this crate never depends on the scenario language and a
//! foreign capture can be explained with a map of its own. Not for behaviour: nothing here is simulated.
//! The main type is [`TraceMap`].

use std::net::IpAddr;

use rt_base::{DropReason, HookPoint, InterfaceKind, LinkId, MacAddr, Nanos, NodeId, PortId, RouteId};
use serde::{Deserialize, Serialize};

/// All facts about the world of one run. Indices are ids: `nodes[3]` is `NodeId(3)`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TraceMap {
    /// Short name of the scenario.
    pub scenario: String,
    /// One line about it.
    pub about: String,
    /// The file it came from, as the user named it.
    pub file: String,
    /// The run's seed.
    pub seed: u64,
    /// Civil time at virtual time zero, seconds since 1970.
    pub epoch: u64,
    /// All nodes.
    pub nodes: Vec<NodeFacts>,
    /// All links.
    pub links: Vec<LinkFacts>,
    /// The steps, in order.
    pub steps: Vec<StepFacts>,
}

/// What a node is, as far as the story cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeClass {
    /// A machine that does not forward.
    #[default]
    Host,
    /// A machine that forwards.
    Router,
    /// A learning switch.
    Switch,
}

/// One node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Full name, such as `home.laptop`.
    pub name: String,
    /// Its class.
    pub class: NodeClass,
    /// What it is in a person's words: `laptop`, `home router`, `recursive resolver`.
    pub role: String,
    /// The city or place, if told.
    pub place: Option<String>,
    /// Time it takes to process each frame it sends on.
    pub processing: Nanos,
    /// `interfaces[0]` is `PortId(0)`.
    pub interfaces: Vec<InterfaceFacts>,
    /// Routes of the main table, indices as in events.
    pub routes: Vec<RuleFacts>,
    /// Other tables of routes.
    pub tables: Vec<TableFacts>,
    /// Rules of policy routing, indices as in events.
    pub policies: Vec<RuleFacts>,
    /// Rules that lower the MSS, indices as in events.
    pub clamps: Vec<RuleFacts>,
    /// What it does not know as a middlebox, indices as in events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ossified: Vec<RuleFacts>,
    /// Filter chains.
    pub chains: Vec<ChainFacts>,
    /// NAT rules, indices as in events.
    pub nat: Vec<RuleFacts>,
    /// How many flows its connection table holds.
    #[serde(default)]
    pub limits: LimitFacts,
}

/// The limits of a connection table.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LimitFacts {
    /// Of all together.
    pub max: Option<RuleFacts>,
    /// Of those that one source began.
    pub per_source: Option<RuleFacts>,
}

impl NodeFacts {
    /// The route that an event names by its [`RouteId`].
    #[must_use]
    pub fn route(&self, id: u32) -> Option<&RuleFacts> {
        let id = RouteId(id);
        let routes = match id.table() {
            0 => &self.routes,
            n => &self.tables.get(n as usize - 1)?.routes,
        };
        routes.get(id.index() as usize)
    }

    /// What made it drop packets for this reason, where no rule of a table did: a limit, or that it translates addresses.
    #[must_use]
    pub fn behind(&self, reason: DropReason) -> Option<RuleFacts> {
        match reason {
            DropReason::ConntrackFull => self.limits.max.clone(),
            DropReason::ConntrackLimit => self.limits.per_source.clone(),
            DropReason::ConntrackInvalid => self.nat.first().map(|rule| {
                let written = rule.origin.split(" (by default").next().unwrap_or_default();
                let origin = format!("{written} (by default: NAT passes on only what belongs to a flow)");
                RuleFacts { origin, ..rule.clone() }
            }),
            _ => None,
        }
    }

    /// The name of a table.
    #[must_use]
    pub fn table_name(&self, table: u32) -> &str {
        match table {
            0 => "main",
            n => self.tables.get(n as usize - 1).map_or("?", |t| t.name.as_str()),
        }
    }
}

/// A table of routes besides the main one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TableFacts {
    /// Its name.
    pub name: String,
    /// Its routes, indices as in events.
    pub routes: Vec<RuleFacts>,
}

/// One interface.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct InterfaceFacts {
    /// `eth0`, `wan`.
    pub name: String,
    /// Its MAC.
    pub mac: MacAddr,
    /// Static addresses with prefix lengths (those learnt by DHCP come as events).
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest IP packet.
    pub mtu: u16,
    /// Its reverse-path check, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_path: Option<RuleFacts>,
    /// What it is.
    pub kind: InterfaceKind,
    /// The program behind a tun interface, if one carries its packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramFacts>,
}

/// A program that carries a tun interface's packets.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ProgramFacts {
    /// What people call it: `WireGuard`.
    pub say: String,
    /// Bytes that it puts around a packet, padding left out, from the outer IP header on; in a stream, before it.
    pub overhead: u16,
    /// Whether packets go in a TCP stream, which no link's MTU limits.
    pub stream: bool,
}

/// One rule in words, and where it was written.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RuleFacts {
    /// `default via 203.0.113.49 dev wan`, `masquerade 192.168.1.0/24 out wan`.
    pub text: String,
    /// `web-browsing.yaml:9`.
    pub origin: String,
    /// What a cloud calls a refusal by it: `SUBNET_ACL_RESTRICTION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// One filter chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChainFacts {
    /// Which hook it stands at.
    pub hook: HookPoint,
    /// Its rules, indices as in events.
    pub rules: Vec<RuleFacts>,
    /// What holds when no rule matches.
    pub policy: RuleFacts,
}

/// One direction of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DirectionFacts {
    /// Bits per second.
    pub rate_bps: u64,
    /// Propagation delay.
    pub delay: Nanos,
    /// Loss in parts per million.
    pub loss_ppm: u32,
}

/// One link.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LinkFacts {
    /// One end.
    pub a: (NodeId, PortId),
    /// The other end.
    pub b: (NodeId, PortId),
    /// From a to b.
    pub ab: DirectionFacts,
    /// From b to a.
    pub ba: DirectionFacts,
    /// Longest IP packet it carries.
    pub mtu: u16,
    /// Where it was written.
    pub origin: String,
}

/// One step as written.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StepFacts {
    /// Who does it.
    pub node: NodeId,
    /// As written.
    pub text: String,
    /// Where it was written.
    pub origin: String,
}

impl TraceMap {
    /// A node's name; its number when the map does not know it.
    #[must_use]
    pub fn node_name(&self, node: NodeId) -> String {
        self.nodes.get(node.index()).map_or_else(|| format!("node {}", node.0), |n| n.name.clone())
    }

    /// An interface's name; its number when the map does not know it.
    #[must_use]
    pub fn port_name(&self, node: NodeId, port: PortId) -> String {
        let facts = self.nodes.get(node.index()).and_then(|n| n.interfaces.get(port.index()));
        match facts {
            Some(interface) => interface.name.clone(),
            // A machine's way to itself is none of its interfaces (`rt_stack::LOOPBACK`).
            None if port == PortId(u16::MAX) => "lo".to_owned(),
            None => format!("port {}", port.0),
        }
    }

    /// The longest IP packet that an interface takes.
    #[must_use]
    pub fn mtu_of(&self, node: NodeId, port: PortId) -> u16 {
        let facts = self.nodes.get(node.index()).and_then(|n| n.interfaces.get(port.index()));
        facts.map_or(u16::MAX, |i| i.mtu)
    }

    /// What an interface is.
    #[must_use]
    pub fn kind_of(&self, node: NodeId, port: PortId) -> InterfaceKind {
        let facts = self.nodes.get(node.index()).and_then(|n| n.interfaces.get(port.index()));
        facts.map_or(InterfaceKind::Ethernet, |i| i.kind)
    }

    /// The program behind an interface.
    #[must_use]
    pub fn program_of(&self, node: NodeId, port: PortId) -> Option<&ProgramFacts> {
        self.nodes.get(node.index())?.interfaces.get(port.index())?.program.as_ref()
    }

    /// What people call what an interface does to packets: `VXLAN`, `WireGuard`.
    #[must_use]
    pub fn wrapping(&self, node: NodeId, port: PortId) -> &str {
        self.program_of(node, port).map_or_else(|| self.kind_of(node, port).say(), |p| p.say.as_str())
    }

    /// `home.router:wan`.
    #[must_use]
    pub fn end_name(&self, (node, port): (NodeId, PortId)) -> String {
        format!("{}:{}", self.node_name(node), self.port_name(node, port))
    }

    /// `home.router - isp.core`, named by its ends; its number when the map does not know it.
    #[must_use]
    pub fn link_name(&self, link: LinkId) -> String {
        match self.links.get(link.index()) {
            Some(l) => format!("{} - {}", self.node_name(l.a.0), self.node_name(l.b.0)),
            None => format!("link {}", link.0),
        }
    }

    /// The end of `link` that is not `node`.
    #[must_use]
    pub fn other_end(&self, link: LinkId, node: NodeId) -> Option<(NodeId, PortId)> {
        let l = self.links.get(link.index())?;
        Some(if l.a.0 == node { l.b } else { l.a })
    }

    /// The link at an interface.
    #[must_use]
    pub fn link_at(&self, node: NodeId, port: PortId) -> Option<LinkId> {
        let at = self.links.iter().position(|l| l.a == (node, port) || l.b == (node, port))?;
        u32::try_from(at).ok().map(LinkId)
    }

    /// The node with this name; the part after the last dot is enough when it is unique.
    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        let number = |i: usize| u32::try_from(i).ok().map(NodeId);
        if let Some(i) = self.nodes.iter().position(|n| n.name == name) {
            return number(i);
        }
        let mut short = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, n)| n.name.rsplit('.').next() == Some(name))
            .map(|(i, _)| i);
        match (short.next(), short.next()) {
            (Some(i), None) => number(i),
            _ => None,
        }
    }

    /// The nodes that bear this address on an interface (more than one: anycast).
    #[must_use]
    pub fn nodes_with(&self, address: IpAddr) -> Vec<NodeId> {
        let bears =
            |n: &NodeFacts| n.interfaces.iter().any(|i| i.addresses.iter().any(|(a, _)| *a == address));
        let all = self.nodes.iter().enumerate().filter(|(_, n)| bears(n));
        all.filter_map(|(i, _)| u32::try_from(i).ok().map(NodeId)).collect()
    }

    /// The smallest sum of propagation delays from `from` to every node (Dijkstra), `None` where no path leads.
    #[must_use]
    pub fn distances(&self, from: NodeId) -> Vec<Option<Nanos>> {
        let mut best: Vec<Option<Nanos>> = vec![None; self.nodes.len()];
        let mut edges: Vec<Vec<(NodeId, Nanos)>> = vec![Vec::new(); self.nodes.len()];
        for link in &self.links {
            for (x, y, delay) in [(link.a.0, link.b.0, link.ab.delay), (link.b.0, link.a.0, link.ba.delay)] {
                if let Some(list) = edges.get_mut(x.index()) {
                    list.push((y, delay));
                }
            }
        }
        let mut open = std::collections::BTreeSet::from([(Nanos::ZERO, from)]);
        while let Some((so_far, node)) = open.pop_first() {
            let Some(slot) = best.get_mut(node.index()) else { continue };
            if slot.is_some() {
                continue;
            }
            *slot = Some(so_far);
            open.extend(edges[node.index()].iter().map(|(next, delay)| (so_far + *delay, *next)));
        }
        best
    }
}
