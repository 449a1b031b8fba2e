//! The stranger: a host that is added to the internet for a probe, so that one can ask from outside, or whether the outside
//! can be reached.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rt_base::NodeId;
use rt_scenario::model::{App, Model, NodeKind};

use super::add;
use crate::Refusal;

/// Its name.
pub(super) const NAME: &str = "a stranger on the internet";

/// Addresses that it takes, the first whose network nobody uses: documentation (RFC 5737), then networks for examples.
pub(super) const ADDRESSES: [[u8; 4]; 5] =
    [[192, 0, 2, 77], [198, 51, 100, 77], [203, 0, 113, 77], [45, 33, 0, 77], [23, 92, 0, 77]];

/// Adds it, with this address or one of its own, at the first router of the backbone.
pub(super) fn add(model: &mut Model, wanted: Option<Ipv4Addr>) -> Result<NodeId, Refusal> {
    let Some(router) = add::backbone(model) else {
        let why = "there is no internet in this network, so there is no stranger on it: name two machines, or add a site \
                   `internet: { kind: internet, places: [frankfurt, london] }`";
        return Err(Refusal::Misuse { why: why.into() });
    };
    let own = match wanted {
        Some(address) => Some(address).filter(|a| add::is_free(model, network(*a))),
        None => ADDRESSES.iter().map(|a| Ipv4Addr::from(*a)).find(|a| add::is_free(model, network(*a))),
    };
    let Some(address) = own else {
        let why = match wanted {
            Some(address) => format!(
                "{address} is nobody's address, but it lies in a network of this scenario: no stranger can have it"
            ),
            None => "every address that a stranger could have lies in a network of this scenario".to_owned(),
        };
        return Err(Refusal::Misuse { why });
    };
    let resolvers =
        model.nodes.iter().filter(|n| n.apps.iter().any(|a| matches!(a, App::DnsResolver { .. })));
    let resolvers = resolvers.filter_map(|n| n.interfaces.first()?.addresses.first().map(ipnet::IpNet::addr));
    let resolvers: Vec<_> = resolvers.collect();
    let id = add::bare(model, NAME, (router, "stranger"));
    let node = &mut model.nodes[id.index()];
    node.kind = NodeKind::Host;
    node.resolver.servers = resolvers;
    add::join_internet(model, (id, "eth0"), (address, network(address)));
    Ok(id)
}

/// The small network between it and its router.
pub(super) fn network(address: Ipv4Addr) -> Ipv4Net {
    Ipv4Net::new(address, 29).map(|n| n.trunc()).unwrap_or_default()
}
