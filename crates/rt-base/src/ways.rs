//! What a machine chose for a packet, and what not: among tables of routes, among equally good routes.

use serde::{Deserialize, Serialize};

/// A choice among tables of routes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyChoice {
    /// The rule that decided; `None`: the table of no rule that matched has a route, so the main table decided.
    pub rule: Option<u32>,
    /// Its table: 0 is the main one.
    pub table: u32,
    /// Rules that matched before it, whose tables have no route for the packet.
    pub passed: Vec<u32>,
    /// Where the packet would have gone otherwise: the routes of the rules behind it that match and of the main table, as
    /// [`crate::RouteId`]; only those that lead elsewhere.
    pub rejected: Vec<u32>,
}

/// A choice among equally good routes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Multipath {
    /// The route that was taken, as [`crate::RouteId`].
    pub chosen: u32,
    /// The others.
    pub rejected: Vec<u32>,
    /// The flow's hash; the route at the place `hash mod count` is taken.
    pub hash: u32,
}
