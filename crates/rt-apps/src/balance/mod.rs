//! Who gets the next connection or request, and who is in service: what balancers of connections and of requests share.
//!
//! Not for: sockets, or what is done with the choice ([`crate::l4`], [`crate::proxy`]).

mod choose;
mod health;
#[cfg(test)]
mod tests;

use rt_base::Time;

pub(crate) use choose::{Asks, Choice, Chooser};
pub(crate) use health::{in_a_row, watch};

/// Clients that stickiness remembers at most.
pub const MOST_STUCK: usize = 65_536;

/// Somebody is taken out of service, or comes (back) into it, at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shift {
    /// When.
    pub at: Time,
    /// Which of the servers.
    pub server: usize,
    /// It takes nothing new from now on; what is open goes on.
    pub drain: bool,
}
