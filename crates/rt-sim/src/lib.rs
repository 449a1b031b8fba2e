//! The engine: virtual time, a totally ordered event queue, links; it sees nodes only by [`Node`].
//!
//! Not for: what a machine does with a frame (`rt-stack`, `rt-devices`), what is remembered of a run (`rt-trace`, behind
//! [`rt_base::Recorder`]), files and threads (`rt-lab`).
//!
//! The type to read first is [`Sim`]: add nodes and links, `boot`, then `run_until`. Time is whole nanoseconds. Events are
//! ordered by (time, class, node, that node's counter); the key of a frame is made by the node that sends it, so a run
//! cut into partitions would order its events in the same way.
//!
//! Deliberate simplifications, and how to notice them: a node handles any number of frames at once, its processing delay
//! only shifts what it sends (no CPU queue); a link's bit errors flip one bit and the frame still arrives (a real
//! receiver's FCS would drop it silently); a cut loses what is queued and in flight at once, in both directions.

mod engine;
mod event_queue;
mod flight;
mod link;
mod node;
mod qdisc;
mod stats;
mod wheel;

pub use engine::{Sim, StopReason};
pub use link::{DirectionSpec, LinkChange, LinkSpec};
pub use node::Node;
pub use qdisc::QueueSpec;
pub use stats::Stats;
