//! The order in which a machine's tables run, as data. `rt-stack` executes these lists stage by stage and the prover
//! walks the same lists, so they cannot disagree.

use rt_base::HookPoint;
use serde::{Deserialize, Serialize};

/// One stage of the walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Find or make the flow's conntrack entry; existing rewrites are applied here.
    Conntrack,
    /// Destination NAT rules (new flows only).
    Dnat,
    /// Route look-up.
    Route,
    /// TTL check and decrement.
    Ttl,
    /// The filter chain of this hook.
    Filter(HookPoint),
    /// Source NAT rules (new flows only).
    Snat,
    /// To the socket.
    Deliver,
    /// Neighbour look-up and out.
    Transmit,
}

/// A packet that arrives and is for this machine.
pub const LOCAL_IN: &[Stage] =
    &[Stage::Conntrack, Stage::Dnat, Stage::Route, Stage::Filter(HookPoint::Input), Stage::Deliver];

/// A packet that arrives and is for another machine.
pub const FORWARDED: &[Stage] = &[
    Stage::Conntrack,
    Stage::Dnat,
    Stage::Route,
    Stage::Ttl,
    Stage::Filter(HookPoint::Forward),
    Stage::Snat,
    Stage::Transmit,
];

/// A packet of this machine's own.
pub const LOCAL_OUT: &[Stage] = &[
    Stage::Conntrack,
    Stage::Dnat,
    Stage::Route,
    Stage::Filter(HookPoint::Output),
    Stage::Snat,
    Stage::Transmit,
];
