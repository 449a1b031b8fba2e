//! Routes, filters and NAT rules, what they match, and the order in which they run. One definition (law 3): the scenario
//! lowers to these, the stack executes them, the prover walks them, the story and `show` print from them.
//!
//! Not for: keeping state (conntrack entries live in `rt-stack`), or YAML (`rt-scenario`).

mod classify;
mod conntrack;
mod filter;
pub mod http;
mod middlebox;
mod mss;
mod nat;
mod origin;
mod pipeline;
mod policy;
mod route;
mod spread;

pub use classify::CompiledChain;
pub use conntrack::ConntrackOptions;
pub use filter::{
    Action, Chain, Construct, CtState, Filter, FlagsMatch, Flow, IcmpMatch, Limit, Match, Miss, Policy,
    PortRange, RejectWith,
};
pub use middlebox::{Newer, Ossified};
pub use mss::{MssClamp, MssTarget};
pub use nat::{NatAction, NatBehaviour, NatDepends, NatExhausted, NatPorts, NatRule, spread_table};
pub use origin::Origin;
pub use pipeline::{FORWARDED, LOCAL_IN, LOCAL_OUT, Stage};
pub use policy::{RouteChoice, RoutePolicy, Routes};
pub use route::{ReversePath, Route, RouteKind, RouteTable, SourceCheck};
pub use spread::{Maglev, Spread, hash_address, hash_text};
