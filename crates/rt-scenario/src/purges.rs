//! Steps that purge where nothing is kept.
//!
//! Only what is written is looked at: who bears the address that is asked, and whom its proxies ask. Whether the one who asks may
//! purge is not (a scenario may well show that it may not).

use std::net::IpAddr;

use rt_base::NodeId;

use crate::check::listens;
use crate::diag::Code;
use crate::model::{App, Node, Verb};
use crate::proxy::keeps;
use crate::steps::StepDraft;
use crate::world::World;

fn bears(node: &Node, address: IpAddr) -> bool {
    node.interfaces.iter().flat_map(|i| &i.addresses).any(|net| net.addr() == address)
}

/// The port of a URL.
fn port_of(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    match authority.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => Some(if scheme == "https" { 443 } else { 80 }),
    }
}

/// Whether the machine, or one of those that it passes requests on to, may have something to forget.
fn may_keep(world: &World<'_, '_>, first: NodeId) -> bool {
    let mut behind = vec![first];
    let mut looked = 0;
    while let Some(id) = behind.get(looked).copied() {
        looked += 1;
        let node = &world.nodes[id.index()].node;
        // What real programs do, and where NAT leads, is not known.
        if node.apps.iter().any(keeps) || !node.exec.is_empty() || !node.nat.is_empty() {
            return true;
        }
        for app in &node.apps {
            let App::Edge { upstreams, options, .. } = app else { continue };
            let all = upstreams.iter().chain(options.pools.iter().flat_map(|pool| &pool.upstreams));
            for (_, at) in all {
                let there = world.nodes.iter().position(|draft| bears(&draft.node, at.ip()));
                let there = there.and_then(|index| u32::try_from(index).ok()).map(NodeId);
                behind.extend(there.filter(|id| !behind.contains(id)));
            }
        }
    }
    false
}

/// Warns of a purge where neither the machine that is asked nor those behind it keep anything.
pub(crate) fn nobody_forgets(world: &mut World<'_, '_>, draft: &StepDraft, (end, target): (NodeId, IpAddr)) {
    let Verb::Purge { url } = &draft.step.verb else { return };
    if crate::forward::asked(world, draft) != draft.target || may_keep(world, end) {
        return;
    }
    let node = &world.nodes[end.index()].node;
    let Some(port) = port_of(url) else { return };
    let there = node.apps.iter().find(|app| listens(app) == Some((6, u32::from(port))));
    let knows = matches!(there, Some(App::Edge { .. } | App::HttpServer { .. }));
    if !bears(node, target) || !knows {
        return;
    }
    let message = format!("`purges` has no effect: `{}` keeps nothing that it could forget", node.name);
    world
        .problems
        .add(Code::NoEffect, draft.target_span, message, "no cache")
        .help("a proxy with `cache: { purge-from: [ 10.0.0.0/8 ] }` keeps things, and says who may purge");
}
