//! The face of a node as the engine sees it.

use std::any::Any;

use rt_base::{Input, Outbox, Time};

/// A machine or switch: frames, timers and commands in; frames, wishes and events out. It owns all its state and never
/// sees another node.
pub trait Node: Send {
    /// Reacts to one input at `now`; everything it does goes into `out`.
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox);

    /// For the laboratory, which knows the concrete types it built.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}
