//! Names for things, small and ordered. An id never depends on what happens elsewhere in the network: frames and
//! events are numbered by the node that makes them, so a partitioned run gives the same ids.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Bits of a [`FrameId`] or [`EventId`] that hold the node's own counter; the node stands above them.
const COUNTER_BITS: u32 = 40;

macro_rules! small_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl $name {
            /// As an index into a table.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

small_id! {
    /// A node, by its place in the model (at most 2^24 - 1 of them).
    NodeId(u32)
}
small_id! {
    /// A network interface of a node, by its place in the node's list.
    PortId(u16)
}
small_id! {
    /// A full-duplex link, by its place in the model.
    LinkId(u32)
}
small_id! {
    /// A TCP connection (or UDP socket) of one node, numbered as they are made, from 1; 0 is none.
    ConnId(u32)
}
small_id! {
    /// A request as an application of one node sees it, numbered from 1; 0 is none.
    ReqId(u32)
}

macro_rules! node_counter_id {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// No such thing.
            pub const NONE: $name = $name(0);

            /// The `counter`-th (from 1) of `node`.
            #[must_use]
            pub fn new(node: NodeId, counter: u64) -> $name {
                $name((u64::from(node.0) << COUNTER_BITS) | counter)
            }

            /// The node that made it.
            #[must_use]
            pub fn node(self) -> NodeId {
                NodeId((self.0 >> COUNTER_BITS) as u32)
            }

            /// Its number among those of its node.
            #[must_use]
            pub fn counter(self) -> u64 {
                self.0 & ((1 << COUNTER_BITS) - 1)
            }

            /// Whether this is [`Self::NONE`].
            #[must_use]
            pub fn is_none(self) -> bool {
                self.counter() == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}.{}", $letter, self.node().0, self.counter())
            }
        }
    };
}

node_counter_id! {
    /// A frame: (node that built it, that node's counter). It stays the same when the frame is forwarded or
    /// rewritten by NAT, so the two ends of a connection can be joined outside the bytes.
    FrameId, "f"
}
node_counter_id! {
    /// An event: (node that recorded it, that node's counter).
    EventId, "e"
}

/// A route of a machine, as events and rules name it: which of the machine's tables, and the index in it. The main table
/// is 0, so that its routes are named by their indices alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RouteId(pub u32);

impl RouteId {
    /// No route was asked.
    pub const NONE: RouteId = RouteId(u32::MAX);
    /// Tables of a machine besides the main one, at most.
    pub const MOST_TABLES: u32 = 254;

    /// The route at `index` of `table`. An index beyond 2^24 - 2 names the last one that can be named.
    #[must_use]
    pub fn new(table: u32, index: u32) -> RouteId {
        RouteId(table.min(RouteId::MOST_TABLES) << 24 | index.min(0x00ff_fffe))
    }

    /// The table: 0 is the main one.
    #[must_use]
    pub fn table(self) -> u32 {
        self.0 >> 24
    }

    /// The index in the table.
    #[must_use]
    pub fn index(self) -> u32 {
        self.0 & 0x00ff_ffff
    }
}
