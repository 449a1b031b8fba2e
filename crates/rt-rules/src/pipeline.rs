//! The order in which a machine's tables run, as data. `rt-stack` executes these lists stage by stage and the prover
//! walks the same lists, so they cannot disagree.

use rt_base::HookPoint;
use serde::{Deserialize, Serialize};

/// One stage of the walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The stateless access lists: Prerouting, as the packet is on the wire, or Postrouting, as it will be.
    Acl(HookPoint),
    /// Find or make the flow's conntrack entry. A destination that the entry rewrites is rewritten here, so that
    /// routing and filters see the inner address in both directions, as in netfilter.
    Conntrack,
    /// Destination NAT rules (new flows only).
    Dnat,
    /// Route look-up: own addresses first, then the tables that policies choose in their order, then the main table
    /// ([`crate::Routes::lookup`]).
    Route,
    /// TTL check and decrement.
    Ttl,
    /// The filter chain of this hook.
    Filter(HookPoint),
    /// The MSS of SYNs is lowered ([`crate::MssClamp`]); what a middlebox does not know is dropped or taken away
    /// ([`crate::Ossified`]).
    Mss,
    /// Source NAT: the rules for new flows, the entry's rewrite for others. Whoever passes may leave the machine.
    Snat,
    /// To the socket.
    Deliver,
    /// Neighbour look-up and out.
    Transmit,
}

/// A packet that arrives and is for this machine.
pub const LOCAL_IN: &[Stage] = &[
    Stage::Acl(HookPoint::Prerouting),
    Stage::Conntrack,
    Stage::Dnat,
    Stage::Route,
    Stage::Filter(HookPoint::Input),
    Stage::Deliver,
];

/// A packet that arrives and is for another machine.
pub const FORWARDED: &[Stage] = &[
    Stage::Acl(HookPoint::Prerouting),
    Stage::Conntrack,
    Stage::Dnat,
    Stage::Route,
    Stage::Ttl,
    Stage::Filter(HookPoint::Forward),
    Stage::Mss,
    Stage::Snat,
    Stage::Acl(HookPoint::Postrouting),
    Stage::Transmit,
];

/// A packet of this machine's own.
pub const LOCAL_OUT: &[Stage] = &[
    Stage::Conntrack,
    Stage::Dnat,
    Stage::Route,
    Stage::Filter(HookPoint::Output),
    Stage::Mss,
    Stage::Snat,
    Stage::Acl(HookPoint::Postrouting),
    Stage::Transmit,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The stack walks an arriving packet along [`FORWARDED`] and turns into [`LOCAL_IN`] at the route: until there the
    /// two must agree.
    #[test]
    fn arriving_packets_share_their_way_up_to_the_route() {
        let to_route = |path: &'static [Stage]| {
            let at = path.iter().position(|s| *s == Stage::Route).expect("a route stage");
            &path[..=at]
        };
        assert_eq!(to_route(LOCAL_IN), to_route(FORWARDED));
    }

    #[test]
    fn nothing_is_transmitted_before_source_nat_and_the_access_list() {
        for path in [FORWARDED, LOCAL_OUT] {
            let at = |stage| path.iter().position(|s| *s == stage).expect("present");
            assert!(at(Stage::Snat) < at(Stage::Acl(HookPoint::Postrouting)));
            assert!(at(Stage::Acl(HookPoint::Postrouting)) < at(Stage::Transmit));
        }
    }
}
