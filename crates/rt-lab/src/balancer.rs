//! Balancers of connections: the model's words for them as those of `rt-apps`.

use rt_apps::Net;
use std::net::SocketAddr;

use rt_apps::balance::Shift;
use rt_apps::l4::{Collect, L4Balancer};
use rt_scenario::model::{self, Change, Model, Node};

/// Starts one on `node`, with what the timeline plans for it.
pub(crate) fn start(net: &Net, model: &Model, node: &Node, balancer: &model::L4Balancer) {
    let config = L4Balancer {
        port: balancer.port,
        servers: balancer.upstreams.clone(),
        policy: balancer.balance,
        sticky: balancer.sticky,
        health: balancer.health,
        warm: balancer.warm,
        connect_timeout: balancer.connect_timeout,
        collect: balancer
            .collect
            .map(|(bytes, wait)| Collect { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), wait }),
        shifts: shifts(model, node, &balancer.upstreams),
    };
    net.serve("l4 balancer", config.run(net.clone()));
}

/// What the timeline plans for these servers of a balancer on `node`.
pub(crate) fn shifts(model: &Model, node: &Node, servers: &[(String, SocketAddr)]) -> Vec<Shift> {
    let planned = model.timeline.iter().filter_map(|happening| {
        let Change::Drain { node: of, server, drain } = &happening.change else { return None };
        let here = model.nodes.get(of.index()).is_some_and(|of| of.name == node.name);
        let server = servers.iter().position(|(name, _)| name == server).filter(|_| here)?;
        Some(Shift { at: happening.at, server, drain: *drain })
    });
    planned.collect()
}
