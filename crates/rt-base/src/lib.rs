//! The words that every part of roundtrip shares: time, ids, frames, events, reasons, the outbox and seeded dice.
//!
//! Not for behaviour: what a machine does with a packet is `rt-stack`, when it arrives is `rt-sim`, what a rule
//! means is `rt-rules`. Nothing here awaits, reads a clock, or knows a protocol beyond the names of its states.
//!
//! The two types to read first are [`Outbox`] (everything a node may do in response to one [`Input`]) and
//! [`Event`] (everything that is remembered of it, with the event that caused it).

mod app_record;
mod carried;
mod conditions;
mod drop_reason;
mod event;
mod frame;
mod id;
mod interface;
mod map;
mod outbox;
mod recorder;
mod rng;
mod shared_cache;
mod tcp_event;
pub mod text;
mod time;
mod ways;
mod words;
mod work;

pub use app_record::{AppRecord, CacheKind, CacheOutcome, Candidate, Figure, FigureUnit, ReqKind};
pub use carried::{BRIDGE_PORT, BRIDGE_WINDOW, Carried, OPENED_OUTSIDE};
pub use conditions::{Condition, Conditions, CtState, NearMiss};
pub use drop_reason::DropReason;
pub use event::{
    Blocked, Event, HookPoint, NatRecord, NatSide, Place, SendWhy, TcpPhase, TcpSendRecord, TimerKind, Wait,
    What,
};
pub use frame::Frame;
pub use id::{ConnId, EventId, FrameId, LinkId, NodeId, PortId, ReqId, RouteId};
pub use interface::{InterfaceKind, SwitchPort};
pub use map::{FixedHasher, FixedMap};
pub use outbox::{Input, Outbox, Signal};
pub use recorder::{Inside, Recorder, Way};
pub use rng::Rng;
pub use rt_wire::MacAddr;
pub use shared_cache::{CacheDecision, CacheVerdict};
pub use tcp_event::{ListenerStep, LossEvidence, SlowStartEvidence, TcpDecision, UndoEvidence};
pub use time::{Nanos, Time};
pub use ways::{Multipath, PolicyChoice};
pub use words::{NO_FREE_PORT, count, plural};
pub use work::{WorkStep, WorkStop, grpc_status, grpc_timeout};
