//! Ports of this computer's loopback interface that are bridges into the world: a simulated server that real programs open
//! (`--publish`), and a real server that is a machine's service (`--serve`).
//!
//! A published connection enters the world at the nearest machine with applications that real programs do not play (a gateway
//! before a host), or at one that is named, so that it crosses simulated wires. What the world sees of a real program is recorded
//! with its time like any input: bytes, ends, and how much room there is.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use rt_apps::bridge::{self, Bridge};
use rt_base::{BRIDGE_PORT, Carried, NodeId, Time};
use rt_scenario::Model;
use rt_scenario::model::{App, NodeKind};
use serde::{Deserialize, Serialize};

use super::guest;
use super::session::Session;
use crate::{Refusal, World};

/// A bridge that is wished for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BridgeCall {
    /// Which way.
    pub kind: BridgeKind,
    /// The port on 127.0.0.1.
    pub outside: u16,
    /// The machine whose port it is.
    pub node: String,
    /// The port on that machine.
    pub port: u16,
    /// For a published port: the machine from which connections come; otherwise the nearest.
    pub from: Option<String>,
}

/// Which way connections go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BridgeKind {
    /// Real programs open a simulated server.
    Publish,
    /// Simulated programs open a real server.
    Serve,
}

impl BridgeCall {
    /// Reads `8443:web:443`, or for a published port `8443:web:443:laptop`.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(kind: BridgeKind, text: &str) -> Result<BridgeCall, String> {
        let words: Vec<&str> = text.split(':').collect();
        let (outside, node, port, from) = match (kind, &words[..]) {
            (_, [outside, node, port]) => (outside, node, port, None),
            (BridgeKind::Publish, [outside, node, port, from]) => {
                (outside, node, port, Some((*from).to_owned()))
            }
            _ => return Err("write PORT:MACHINE:PORT: the port on 127.0.0.1, the machine, its port".into()),
        };
        let number = |word: &str| match word.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("`{word}` is no port: write a number from 1 to 65535, as in 8443:web:443")),
        };
        let (outside, port) = (number(outside)?, number(port)?);
        Ok(BridgeCall { kind, outside, node: (*node).to_owned(), port, from })
    }
}

/// A bridge in a world that is running, as it is recorded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Built {
    pub(crate) kind: BridgeKind,
    pub(crate) outside: u16,
    /// The machine on which it ends.
    pub(crate) door: NodeId,
    /// Where it goes: the simulated server, or the port that listens.
    pub(crate) server: SocketAddr,
}

impl Built {
    /// Who is outside, for the story: a step of its own where programs outside open something.
    pub(crate) fn name(&self) -> String {
        match self.kind {
            BridgeKind::Publish => {
                format!("a program outside opens {} through 127.0.0.1:{}", self.server, self.outside)
            }
            BridgeKind::Serve => format!("the real server 127.0.0.1:{}", self.outside),
        }
    }
}

/// Finds out where a bridge ends in a world that has booted.
pub(crate) fn plan(world: &mut World, given: &[NodeId], call: &BridgeCall) -> Result<Built, Refusal> {
    let model = world.model().clone();
    let misuse = |why: String| Err(Refusal::Misuse { why });
    let node = guest::known(&model, &call.node)?;
    let Some(address) = address(world, node) else {
        return misuse(format!("{} has no IPv4 address that a bridge could use", call.node));
    };
    let server = SocketAddr::new(address, call.port);
    let door = match (call.kind, &call.from) {
        (BridgeKind::Serve, _) => node,
        (BridgeKind::Publish, Some(from)) => guest::known(&model, from)?,
        (BridgeKind::Publish, None) => match nearest(world, node, given, address) {
            Some(door) => door,
            None => return misuse(format!("no machine could carry connections to {}", call.node)),
        },
    };
    let name = model.nodes[door.index()].name.clone();
    if given.contains(&door) {
        return misuse(format!("{name} is played by a real program and cannot carry a bridge as well"));
    }
    if world.host(door).is_none_or(|h| h.runtime().is_none()) {
        return misuse(format!("{name} has no applications of ours, so it cannot carry a bridge"));
    }
    Ok(Built { kind: call.kind, outside: call.outside, door, server })
}

fn address(world: &mut World, node: NodeId) -> Option<IpAddr> {
    let interfaces = world.model().nodes[node.index()].interfaces.len();
    world.host(node)?.with_stack(|stack| {
        let ports = (0..interfaces).filter_map(|p| u16::try_from(p).ok()).map(rt_base::PortId);
        let mut all = ports.flat_map(|p| stack.addresses_of(p).to_vec()).map(|net| net.addr());
        all.find(|a| a.is_ipv4() && !a.is_loopback())
    })?
}

/// The machine with applications that is fewest links away and has a route to `to`; of several a gateway. The machine itself when
/// there is no other.
fn nearest(world: &mut World, node: NodeId, given: &[NodeId], to: IpAddr) -> Option<NodeId> {
    let model = world.model().clone();
    let mut seen = vec![node];
    let mut ring = VecDeque::from([node]);
    while !ring.is_empty() {
        let mut next = Vec::new();
        for at in ring.drain(..) {
            for link in &model.links {
                let ends = [(link.a.0, link.b.0), (link.b.0, link.a.0)];
                let far =
                    ends.iter().filter(|(near, far)| *near == at && !seen.contains(far)).map(|(_, far)| *far);
                next.extend(far.clone());
                seen.extend(far.collect::<Vec<_>>());
            }
        }
        next.sort_by_key(|n| (model.nodes[n.index()].kind == NodeKind::Host, *n));
        let mut fits = |n: NodeId| {
            let runtime = world.host(n).and_then(|h| h.runtime());
            !given.contains(&n)
                && runtime.is_some_and(|r| r.net().source_for(to).is_some_and(|own| own != to))
        };
        let found = next.iter().copied().find(|n| fits(*n));
        if found.is_some() {
            return found;
        }
        ring.extend(next);
    }
    (!given.contains(&node)).then_some(node)
}

/// The bridges of a session, by number.
#[derive(Default)]
pub(crate) struct Bridges {
    built: Vec<(NodeId, Bridge)>,
}

impl Bridges {
    /// Builds them on machines that have not been given away. The steps of those that are published have numbers from `step` on.
    pub(crate) fn build(world: &mut World, all: &[Built], mut step: u32) -> Result<Bridges, Refusal> {
        let mut bridges = Bridges::default();
        for one in all {
            let refused = |why| Refusal::Misuse { why };
            let Some(runtime) = world.host(one.door).and_then(|h| h.runtime()) else {
                return Err(refused("a bridge ends at a machine without applications".into()));
            };
            let (net, bridge, name) = (runtime.net(), Bridge::default(), one.name());
            match one.kind {
                BridgeKind::Publish => {
                    drop(net.spawn(bridge::publish(net.clone(), bridge.clone(), one.server, (step, name))));
                    step += 1;
                }
                BridgeKind::Serve => {
                    let port = one.server.port();
                    let listener = net.tcp_listen(port).map_err(|error| {
                        refused(format!(
                            "port {port} of {} cannot be served from outside: {error}",
                            net.name()
                        ))
                    })?;
                    drop(net.spawn(bridge::serve(net.clone(), bridge.clone(), listener, name)));
                }
            }
            bridges.built.push((one.door, bridge));
        }
        Ok(bridges)
    }

    /// Lets the machines begin with it at `at`.
    pub(crate) fn begin(&self, world: &mut World, at: Time) {
        for (door, _) in &self.built {
            world.sim().inject(at, *door, BRIDGE_PORT, Vec::new());
        }
    }

    /// Whether a bridge ends at this machine: then nobody else can play it.
    pub(crate) fn need(&self, node: NodeId) -> bool {
        self.built.iter().any(|(door, _)| *door == node)
    }

    /// Brings in what came.
    pub(crate) fn push(
        &self,
        world: &mut World,
        at: Time,
        (number, connection, carried): (u16, u32, Carried),
    ) -> Result<(), String> {
        let Some((door, bridge)) = self.built.get(usize::from(number)) else {
            return Err(format!("there is no bridge {number}"));
        };
        bridge.push(connection, carried);
        world.sim().inject(at, *door, BRIDGE_PORT, Vec::new());
        Ok(())
    }

    /// Breaks every connection.
    pub(crate) fn end(&self, world: &mut World, at: Time) {
        for (door, bridge) in &self.built {
            bridge.end();
            world.sim().inject(at, *door, BRIDGE_PORT, Vec::new());
        }
    }

    /// Takes what goes outside: bridge, connection, what.
    pub(crate) fn take(&self, mut each: impl FnMut(u16, u32, Carried)) {
        let mut out = Vec::new();
        for (number, (_, bridge)) in (0..).zip(&self.built) {
            bridge.take(&mut out);
            out.drain(..).for_each(|(connection, carried)| each(number, connection, carried));
        }
    }
}

/// Opens the ports on this computer for bridges, in their order.
pub(crate) fn open(calls: &[BridgeCall]) -> Result<Option<rt_attach::Loopback>, Refusal> {
    if calls.is_empty() {
        return Ok(None);
    }
    let io = |error| Refusal::Io { doing: "open ports on 127.0.0.1".into(), error };
    let mut loopback = rt_attach::Loopback::new().map_err(io)?;
    for call in calls {
        match call.kind {
            BridgeKind::Publish => {
                loopback.listen(call.outside).map_err(|error| Refusal::Io {
                    doing: format!("listen on 127.0.0.1:{} for {}", call.outside, call.node),
                    error,
                })?;
            }
            BridgeKind::Serve => drop(loopback.connect_to(call.outside)),
        }
    }
    Ok(Some(loopback))
}

/// What to say about bridges once they are there.
pub(crate) fn lines(world: &World, (calls, built): (&[BridgeCall], &[Built]), out: &Path) -> Vec<String> {
    let model = world.model();
    let mut lines = Vec::new();
    for (call, one) in calls.iter().zip(built) {
        let door = &model.nodes[one.door.index()].name;
        match one.kind {
            BridgeKind::Publish => {
                lines.push(format!("127.0.0.1:{} is {}, reached from {door}", one.outside, one.server));
                let node = crate::facts::node_named(model, &call.node);
                let Some((name, secure)) = node.and_then(|n| web_name(model, n, one.server.port())) else {
                    continue;
                };
                let (scheme, trust) = match secure {
                    true => ("https", format!(" --cacert {}", out.join(CA_FILE).display())),
                    false => ("http", String::new()),
                };
                lines.push(format!(
                    "  curl{trust} --connect-to ::127.0.0.1:{} {scheme}://{name}/",
                    one.outside
                ));
            }
            BridgeKind::Serve => {
                lines.push(format!("{door}, {}, is the server at 127.0.0.1:{}", one.server, one.outside));
            }
        }
    }
    lines
}

/// Writes down whom programs outside have to trust.
pub(crate) fn keep_authority(session: &mut Session, out: &Path) -> Result<(), Refusal> {
    let Some(pem) = session.world().root_certificate() else { return Ok(()) };
    let path = out.join(CA_FILE);
    std::fs::write(&path, pem).map_err(|e| Refusal::io("write", &path, e))
}

/// What a web server is called in a URL, and whether it speaks TLS; `None` when no web server is there.
fn web_name(model: &Model, node: NodeId, port: u16) -> Option<(String, bool)> {
    let node = &model.nodes[node.index()];
    let certificate = node.apps.iter().find_map(|app| match app {
        App::HttpServer { port: own, certificate, .. } | App::Edge { port: own, certificate, .. } => {
            (*own == port).then_some(*certificate)
        }
        _ => None,
    })?;
    let named = certificate.and_then(|index| model.certificates.get(index)?.names.first().cloned());
    let short = node.name.rsplit('.').next().unwrap_or(&node.name).to_owned();
    Some((named.unwrap_or(short), certificate.is_some()))
}

/// The certificate of the simulated authority in a run's folder: for programs outside, and no part of the run.
pub(crate) const CA_FILE: &str = "ca.pem";

#[cfg(test)]
mod tests;
