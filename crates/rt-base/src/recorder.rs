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

/// A packet as it passed a virtual interface of a machine: what is inside a tunnel, before it is wrapped or after it was
/// unwrapped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inside {
    /// When.
    pub at: Time,
    /// The machine.
    pub node: NodeId,
    /// The interface.
    pub port: PortId,
    /// Into the interface (`Out`), or out of it into the machine (`In`).
    pub way: Way,
    /// Without a link layer of its own the MACs are zeros.
    pub frame: Frame,
    /// What tells of it: [`crate::What::Wrapped`], [`crate::What::Unwrapped`] or [`crate::What::Tun`].
    pub event: EventId,
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

    /// A packet passed a virtual interface. It is seen again, wrapped, on the cable below, so captures leave it out.
    fn inside(&mut self, _seen: &Inside) {}

    /// Whether `frame` and `inside` are wanted at all; when false the engine does not call them.
    fn wants_frames(&self) -> bool {
        true
    }
}
