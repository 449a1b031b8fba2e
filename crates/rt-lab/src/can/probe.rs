//! Sending probes: one world, in which questions are asked one after the other as if each were the first.
//!
//! Between two questions every machine forgets its flows and NAT mappings. What stays is what does not decide whether a
//! packet arrives: neighbours' MACs, caches of names, the count of random ports.
//!
//! Nothing else goes on meanwhile: there are no steps, and the timeline stands still. What it has at time zero is so from the
//! beginning; what it has done since, up to the moment that is asked about ([`at`]), is done when every machine is ready.

use std::fmt;
use std::net::IpAddr;

use rt_apps::{ConnectOptions, StepFn, probe};
use rt_base::{Nanos, NodeId, PortId, Time, What};
use rt_scenario::model::{App, FastOpen, Happening, Model, Verb};
use rt_trace::Trace;
use serde::Serialize;

use super::find;
use crate::World;
use crate::world::step_at;

/// By what a question is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A connection is opened and closed.
    Tcp,
    /// A datagram is sent.
    Udp,
    /// An echo request.
    Icmp,
}

impl Protocol {
    /// Its number in the IP header.
    pub(super) fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Icmp => 1,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
        })
    }
}

/// One question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    /// Who asks.
    pub(super) from: NodeId,
    /// Name or address.
    pub(super) target: String,
    pub(super) protocol: Protocol,
    /// `None` for ICMP.
    pub(super) port: Option<u16>,
}

impl Question {
    /// Asks nothing: for changes that are tried for their own sake.
    pub(super) fn nothing() -> Question {
        Question { from: NodeId(0), target: String::new(), protocol: Protocol::Icmp, port: None }
    }

    /// The address asked for; `None` for a name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.target.parse().ok()
    }

    fn work(&self) -> StepFn {
        let (target, port) = (self.target.clone(), self.port.unwrap_or(0));
        match self.protocol {
            Protocol::Icmp => Box::new(move |net| Box::pin(probe::ping(net, target, 1))),
            Protocol::Udp => Box::new(move |net| Box::pin(probe::udp_probe(net, target, port))),
            Protocol::Tcp => {
                Box::new(move |net| Box::pin(probe::tcp_probe(net, target, port, ConnectOptions::default())))
            }
        }
    }
}

/// What one probe came to.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) ok: bool,
    pub(super) summary: String,
    pub(super) took: Nanos,
    pub(super) begun: Time,
    pub(super) path: Vec<NodeId>,
    pub(super) trace: Trace,
}

/// The model as it is at a moment of its run: what the timeline does later never happens.
pub(super) fn at(model: &mut Model, moment: Time) {
    model.timeline.retain(|happening| happening.at <= moment);
    model.timeline.sort_by_key(|happening| happening.at);
}

/// A booted world that takes questions.
pub(super) struct Prober {
    world: World,
    fresh: bool,
}

impl Prober {
    /// Boots a world of `model` in which `askers` can ask.
    pub(super) fn new(model: &Model, askers: &[NodeId], seed: u64) -> Prober {
        let mut model = model.clone();
        model.expect.clear();
        // A machine without applications gets what carries them by having a step.
        let nothing = || Verb::Ping { target: String::new(), count: 0 };
        model.steps = askers.iter().map(|node| step_at(*node, "can".to_owned(), nothing(), "can")).collect();
        plain(&mut model);
        let (begun, since) =
            std::mem::take(&mut model.timeline).into_iter().partition(|h| h.at == Time::ZERO);
        model.timeline = begun;
        let mut world = World::of_model(&model, seed);
        world.boot();
        let since: Vec<Happening> = since;
        since.iter().for_each(|happening| world.happen_now(&happening.change));
        Prober { world, fresh: true }
    }

    /// The first address of a machine now, learnt ones too.
    pub(super) fn address(&mut self, node: NodeId) -> Option<IpAddr> {
        let ports = self.world.model().nodes[node.index()].interfaces.len();
        let host = self.world.host(node)?;
        let first = |stack: &mut rt_stack::Stack| {
            let ports = (0..ports).filter_map(|p| u16::try_from(p).ok().map(PortId));
            ports.into_iter().find_map(|port| stack.address_of(port))
        };
        host.with_stack(first).flatten()
    }

    /// Asks.
    pub(super) fn ask(&mut self, question: &Question) -> Probe {
        if !std::mem::take(&mut self.fresh) {
            self.world.forget_flows();
        }
        drop(self.world.take_trace());
        let outcome = self.world.carry_out(question.from, "can", question.work());
        let trace = self.world.take_trace();
        let begun = outcome.begin;
        let (mut ok, mut summary) = (outcome.ok, outcome.summary);
        if question.protocol == Protocol::Udp && !ok && taken(&trace, question, begun) {
            ok = true;
            summary = format!("{}:{} took the datagram", question.target, question.port.unwrap_or(0));
        }
        let path = find::path(&trace, question, begun);
        Probe { ok, summary, took: outcome.end.since(begun), begun, path, trace }
    }
}

/// Certificates take longer to make than a probe takes, and no probe looks at one. A client of TCP Fast Open that has a cookie
/// takes a connection for open before its SYN is sent (RFC 7413, 4.2.1): a probe would be answered by nobody. What balancers ask
/// of themselves (health checks, connections in advance) would pass for what they are asked to ask.
fn plain(model: &mut Model) {
    for node in &mut model.nodes {
        node.stack.tcp.fast_open = Some(FastOpen::Off);
    }
    for app in model.nodes.iter_mut().flat_map(|n| &mut n.apps) {
        match app {
            App::HttpServer { certificate, .. } => *certificate = None,
            App::Edge { certificate, options, .. } => {
                *certificate = None;
                let pools = options.pools.iter_mut().map(|pool| &mut pool.rules);
                for rules in pools.chain([&mut options.rules]) {
                    (rules.health, rules.warm) = (None, 0);
                }
            }
            App::L4Balancer(balancer) => (balancer.health, balancer.warm) = (None, 0),
            _ => {}
        }
    }
    model.certificates.clear();
}

/// Whether a datagram of the asker reached a program that says nothing.
fn taken(trace: &Trace, question: &Question, begun: Time) -> bool {
    let delivered = trace.events.iter().filter(|e| e.at >= begun && e.node() != question.from);
    let mut delivered = delivered.filter(|e| matches!(e.what, What::Deliver { protocol: 17, .. }));
    delivered.any(|e| {
        find::packet(trace, e.frame).is_some_and(|p| {
            let asked = find::root(trace, e.frame).node() == question.from;
            asked && Some(p.dst.port()) == question.port
        })
    })
}
