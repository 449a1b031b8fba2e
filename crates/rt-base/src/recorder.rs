//! Who listens to a run: the face between the engine, which calls it in total order, and those who keep what happened
//! (event store, captures).

use crate::{Event, EventId, Frame, NodeId, PortId, Time};

/// Which way a frame passed an interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Arriving.
    In,
    /// Leaving.
    Out,
}

/// Called by the engine for everything that happens, when recording is on.
///
/// Calls come in the engine's total order. Events of one `handle` come before the frames that it sent, so a TLS secret
/// ([`crate::AppRecord::Secret`]) always comes before the first frame that needs it.
pub trait Recorder: Send {
    /// Something happened.
    fn event(&mut self, event: &Event);

    /// A frame passed an interface: `Out` with the time at which it was offered to the link (processing done), which
    /// may be a little later than now, `In` with the time at which its last bit arrived (now). `event` is the
    /// [`crate::What::Transmit`] that carried it.
    #[allow(clippy::too_many_arguments, reason = "one sighting; a struct would be built for every frame")]
    fn frame(&mut self, at: Time, node: NodeId, port: PortId, way: Way, frame: &Frame, event: EventId);

    /// Whether `frame` is wanted at all; when false the engine does not call it.
    fn wants_frames(&self) -> bool {
        true
    }
}
