//! Balancers of connections: the model's words for them as those of `rt-apps`.

use rt_apps::Net;
use rt_apps::l4::{Collect, Health, L4Balancer, Policy, Shift};
use rt_scenario::model::{self, Change, Model, Node, Spread};

/// Starts one on `node`, with what the timeline plans for it.
pub(crate) fn start(net: &Net, model: &Model, node: &Node, balancer: &model::L4Balancer) {
    let shifts = model.timeline.iter().filter_map(|happening| {
        let Change::Drain { node: of, server, drain } = &happening.change else { return None };
        let here = model.nodes.get(of.index()).is_some_and(|of| of.name == node.name);
        let server = balancer.upstreams.iter().position(|(name, _)| name == server).filter(|_| here)?;
        Some(Shift { at: happening.at, server, drain: *drain })
    });
    let config = L4Balancer {
        port: balancer.port,
        servers: balancer.upstreams.clone(),
        policy: match balancer.balance {
            Spread::RoundRobin => Policy::RoundRobin,
            Spread::LeastConnections => Policy::LeastConnections,
            Spread::SourceHash => Policy::SourceHash,
            Spread::Maglev => Policy::Maglev,
            Spread::RandomOfTwo => Policy::RandomOfTwo,
        },
        sticky: balancer.sticky,
        health: balancer.health.map(|h| Health {
            every: h.every,
            timeout: h.timeout,
            rise: h.rise,
            fall: h.fall,
        }),
        warm: balancer.warm,
        connect_timeout: balancer.connect_timeout,
        collect: balancer
            .collect
            .map(|(bytes, wait)| Collect { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), wait }),
        shifts: shifts.collect(),
    };
    net.serve("l4 balancer", config.run(net.clone()));
}
