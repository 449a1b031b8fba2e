//! A machine that nobody sees: a cloud's implicit router. It leaves TTLs alone, answers no ping and says nothing of what it
//! does not pass on, but for what is too long (without that, no path MTU would be found) and what a rule rejects.
//!
//! Leaving TTLs alone it would let a packet circle for ever when two such machines point at each other. So it remembers which
//! frames it passed lately and how often.
//!
//! Simplified: the memory has 256 places, so that of very many circling packets some live longer.

use rt_base::{DropReason, FrameId};

use crate::icmp::Complaint;
use crate::stack::Stop;

const PLACES: usize = 256;
/// A packet comes by so often at most: the usual TTL.
const MOST_PASSES: u8 = 64;

/// The frames passed lately.
#[derive(Debug)]
pub(crate) struct Unseen {
    places: Vec<(FrameId, u8)>,
}

impl Default for Unseen {
    fn default() -> Unseen {
        Unseen { places: vec![(FrameId::NONE, 0); PLACES] }
    }
}

/// What such a machine says of a packet's end: hardly anything.
pub(crate) fn silenced(stop: Stop) -> Stop {
    let says = matches!(stop.complaint, Some(Complaint::TooBig { .. }))
        || matches!(stop.reason, DropReason::Rejected | DropReason::NatExhausted);
    if says { stop } else { Stop { complaint: None, reset: false, ..stop } }
}

impl Unseen {
    /// Notes a frame; whether it has come by too often.
    pub(crate) fn circles(&mut self, frame: FrameId) -> bool {
        let hash = frame.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let place = &mut self.places[hash as usize % PLACES];
        if place.0 != frame {
            *place = (frame, 0);
        }
        place.1 = place.1.saturating_add(1);
        place.1 > MOST_PASSES
    }
}
