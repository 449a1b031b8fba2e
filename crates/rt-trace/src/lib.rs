//! What happened in a run: the store of events and frames, exchanges read from bytes, the time budget, the story of a
//! request and `follow`.
//!
//! Not for: making anything happen (that is `rt-sim`, `rt-stack`, `rt-apps`), file formats of other tools (`rt-files`),
//! or knowing the scenario language: `rt-lab` hands over plain facts as a [`TraceMap`].
//!
//! The way through: [`TraceRecorder`] listens to the engine, [`Trace`] is what it kept, [`read`] turns the frames at one
//! node into exchanges, [`budget`] walks the critical path, [`story`] joins all of it into one telling, [`follow`]
//! answers questions about one packet, [`plot`] has a connection's curves over time.

pub mod budget;
pub mod follow;
mod map;
pub mod outside;
pub mod plot;
pub mod read;
pub mod render;
mod store;
pub mod story;
mod streams;

pub use map::{
    ChainFacts, DirectionFacts, InterfaceFacts, LimitFacts, LinkFacts, NodeClass, NodeFacts, ProgramFacts,
    RuleFacts, StepFacts, TableFacts, TraceMap,
};
pub use store::{Captured, Secret, StoreLimits, Trace, TraceRecorder};
