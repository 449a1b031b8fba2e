//! What happens to links and machines meanwhile.

use rt_base::{Nanos, NodeId, Time};
use rt_rules::Origin;
use serde::{Deserialize, Serialize};

use super::Forget;

/// What happens to the network at a time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Happening {
    /// When.
    pub at: Time,
    /// What.
    pub change: Change,
    /// Where it was written.
    pub origin: Origin,
}

/// A change of a link (an index into [`super::Model::links`]) or of a machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// No frame passes, those under way are lost.
    Cut {
        /// Which.
        link: usize,
    },
    /// As before.
    Heal {
        /// Which.
        link: usize,
    },
    /// Other properties from now on.
    Impair {
        /// Of which.
        link: usize,
        /// Loss, ppm.
        loss_ppm: Option<u32>,
        /// Delay.
        delay: Option<Nanos>,
        /// Rate.
        rate_bps: Option<u64>,
    },
    /// A machine forgets its NAT mappings, as a router that was switched off and on.
    Rebind {
        /// Which.
        node: NodeId,
        /// Flows may get the external port back that they had.
        keep_ports: bool,
    },
    /// A server of a balancer of connections takes no new ones, or does so again.
    Drain {
        /// The balancer's machine.
        node: NodeId,
        /// Which of its servers.
        server: String,
        /// It takes no new ones.
        drain: bool,
    },
    /// The caches of a machine's proxies forget something.
    Purge {
        /// Which machine.
        node: NodeId,
        /// What.
        what: Forget,
    },
}

impl Change {
    /// The link that it is about.
    #[must_use]
    pub fn link(&self) -> Option<usize> {
        match *self {
            Change::Cut { link } | Change::Heal { link } | Change::Impair { link, .. } => Some(link),
            Change::Rebind { .. } | Change::Drain { .. } | Change::Purge { .. } => None,
        }
    }

    /// The machine that it is about.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        match *self {
            Change::Rebind { node, .. } | Change::Drain { node, .. } | Change::Purge { node, .. } => {
                Some(node)
            }
            _ => None,
        }
    }
}
