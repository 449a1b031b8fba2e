//! A frame on its way: Ethernet bytes without preamble and FCS, and the identity that travels outside them.

use crate::FrameId;

/// An Ethernet frame (header and payload; no preamble, no FCS).
///
/// A frame is never silently lost: it is forwarded, delivered or given to [`crate::Outbox::drop_frame`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frame {
    /// Who built it; unchanged by forwarding and NAT.
    pub id: FrameId,
    /// What it was derived from (the datagram of a fragment, the packet that an ICMP error quotes), or `NONE`.
    pub parent: FrameId,
    /// All bytes from the destination MAC on.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// Length in bytes, without preamble, FCS and inter-frame gap.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
