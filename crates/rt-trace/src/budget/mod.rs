//! Where the time went: the critical path of a step or request, as contiguous slices of integer nanoseconds.
//!
//! The walk starts at the end and goes back along `because`: a frame's arrival gives propagation, serialisation, queue
//! and processing and leads to what made its sender send it; a timer gives the time it ran and leads to what armed it; a
//! TCP segment that had to wait gives the reasons for which it waited and leads to the moment its bytes were written; a
//! retransmission gives the time until the loss was noticed and leads to the transmission before it. So slices touch
//! each other and their sum is the duration, by construction.
//!
//! Not for: judging (what could be faster) or reading bytes. The main entry is [`walk()`], the result a [`Budget`].
//! Deliberate simplification: when a frame waits for two things at once, the path goes through the one that the causal
//! register names, the input in whose handling it was sent.

mod cause;
#[cfg(test)]
mod tests;
mod walk;

use rt_base::{ConnId, EventId, FrameId, LinkId, Nanos, NodeId, PortId, Time};
use serde::{Deserialize, Serialize};

pub use cause::{Cause, Group};
pub use walk::walk;

/// The critical path between two instants.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Budget {
    /// Where it starts.
    pub start: Time,
    /// Where it ends.
    pub end: Time,
    /// The first starts at `start`, each starts where the one before ends, the last ends at `end`.
    pub slices: Vec<Slice>,
    /// Every crossing of a link on the path, in order of time.
    pub crossings: Vec<Crossing>,
    /// What could not be named. Empty unless there is a bug or the trace was cut short.
    pub problems: Vec<Problem>,
}

/// One stretch of time with one cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Slice {
    /// From.
    pub start: Time,
    /// To.
    pub end: Time,
    /// What it was spent on.
    pub cause: Cause,
    /// The machine concerned; for a link the sending end.
    pub node: NodeId,
    /// The link, for what happens on links.
    pub link: Option<LinkId>,
    /// The frame that moved or waited, or `NONE`.
    pub frame: FrameId,
    /// The connection (of `node`), or 0.
    pub conn: ConnId,
    /// The event that ended it.
    pub ended_by: EventId,
}

impl Slice {
    /// Its length.
    #[must_use]
    pub fn len(&self) -> Nanos {
        self.end.since(self.start)
    }

    /// Whether it has no length (never, in a budget).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// One crossing of a link on the critical path: what a capture at both ends must show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Crossing {
    /// The [`rt_base::What::Transmit`].
    pub event: EventId,
    /// The frame.
    pub frame: FrameId,
    /// The link.
    pub link: LinkId,
    /// The sending node.
    pub node: NodeId,
    /// The sending interface.
    pub port: PortId,
    /// When it was offered to the link: the capture stamp of the sender.
    pub out: Time,
    /// When its last bit arrived: the capture stamp of the receiver.
    pub arrive: Time,
}

/// Something the walk could not name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// The event at which it happened.
    pub at: EventId,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The event is not in the store (cut short, or never recorded).
    NotKept,
    /// The event names no cause.
    NoCause,
    /// What caused it ended at another time than it began.
    Gap,
    /// The event is no input, so it cannot cause anything.
    NotAnInput,
    /// A segment waited, and TCP did not say for what.
    NoReason,
    /// The chain of causes does not end.
    Endless,
}

impl ProblemKind {
    /// One sentence.
    #[must_use]
    pub fn say(self) -> &'static str {
        match self {
            ProblemKind::NotKept => "an event of the chain is not in the store",
            ProblemKind::NoCause => "an event names no cause",
            ProblemKind::Gap => "an event and its cause do not touch in time",
            ProblemKind::NotAnInput => "an event is given as a cause that is no input",
            ProblemKind::NoReason => "TCP held data back without saying why",
            ProblemKind::Endless => "the chain of causes does not end",
        }
    }
}

/// One line of the aggregate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Total {
    /// What is added up.
    pub group: Group,
    /// The sum.
    pub time: Nanos,
    /// Number of slices.
    pub slices: u32,
}

impl Budget {
    /// From start to end.
    #[must_use]
    pub fn duration(&self) -> Nanos {
        self.end.since(self.start)
    }

    /// Sums by group, in the order of [`Group::ALL`], without the empty ones. Their sum is [`Budget::duration`].
    #[must_use]
    pub fn totals(&self) -> Vec<Total> {
        let total = |group: &Group| {
            let of_group = self.slices.iter().filter(|s| s.cause.group() == *group);
            let (mut time, mut slices) = (Nanos::ZERO, 0);
            for slice in of_group {
                time += slice.len();
                slices += 1;
            }
            Total { group: *group, time, slices }
        };
        Group::ALL.iter().map(total).filter(|t| t.slices > 0).collect()
    }

    /// Whether the slices touch each other and fill the whole time. True by construction; tests ask.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let mut at = self.start;
        for slice in &self.slices {
            if slice.start != at || slice.is_empty() || slice.end < slice.start {
                return false;
            }
            at = slice.end;
        }
        at == self.end
    }
}
