//! What TCP and its listeners decided, with the evidence: for the story.

use serde::{Deserialize, Serialize};

use crate::Time;

/// What happens at a listener's queues.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerStep {
    /// A SYN entered the SYN queue.
    SynQueued,
    /// A SYN was dropped: the SYN queue is full.
    SynQueueFull,
    /// A handshake ended: its connection entered the accept queue.
    AcceptQueued,
    /// A SYN or the last ACK of a handshake was dropped: the accept queue is full.
    AcceptQueueFull,
    /// The answer to a SYN is a cookie, and nothing is remembered (RFC 4987).
    CookieSent,
    /// An ACK brought a good cookie back.
    CookieAccepted,
    /// An ACK brought a cookie that is wrong or too old.
    CookieRefused,
    /// A bare ACK ended the handshake, but the listener waits for data.
    Deferred,
    /// Text of a SYN was taken at once (RFC 7413).
    FastOpenTaken,
    /// A SYN-ACK brings a Fast Open cookie.
    FastOpenOffered,
}

/// What TCP's loss recovery or congestion control decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpDecision {
    /// Segments are taken for lost.
    Lost {
        /// Stream offset of the first of them.
        first: u64,
        /// How many.
        segments: u32,
        /// What gave it away.
        by: LossEvidence,
    },
    /// Nothing came back in time: all in flight is taken for lost.
    Timeout {
        /// Which timeout in a row, from 1.
        number: u8,
        /// The next one will be this long, microseconds.
        next_rto_us: u64,
    },
    /// A tail loss probe repaired a loss that nothing else had shown: the window is cut once (RFC 8985 7.4).
    ProbeLoss,
    /// The loss was none: the window is what it was before.
    Undo {
        /// What showed it.
        by: UndoEvidence,
    },
    /// HyStart++ saw the round-trip time grow and lets the window grow more slowly, to see whether it was a whim (Conservative
    /// Slow Start, RFC 9406 4.2).
    SlowStartCautious {
        /// The smallest round-trip time of this round, microseconds.
        rtt_us: u64,
        /// The smallest of the round before, microseconds.
        base_us: u64,
    },
    /// The round-trip time fell again: slow start goes on as before (RFC 9406 4.2).
    SlowStartResumed {
        /// The smallest round-trip time of this round, microseconds.
        rtt_us: u64,
    },
    /// Slow start ends before a loss ends it.
    SlowStartEnd {
        /// What showed that the path is full.
        by: SlowStartEvidence,
    },
    /// The peer says that a router marked a packet (RFC 3168): the window is cut once per round trip.
    EcnCut,
}

/// What made TCP take segments for lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossEvidence {
    /// RACK (RFC 8985): a segment that was sent later has arrived, and the reordering window has passed.
    Later {
        /// Stream offset one past the end of the segment that arrived.
        end: u64,
        /// When that was sent.
        sent_at: Time,
        /// How long it took, microseconds.
        rtt_us: u64,
        /// The reordering window, microseconds.
        window_us: u64,
        /// Whether the timer for that window ran out (else an acknowledgement came).
        waited: bool,
    },
    /// Enough later segments were SACKed (RFC 6675).
    Sacks {
        /// SACKed segments in flight.
        sacked: u32,
    },
    /// Duplicate ACKs (RFC 5681 3.2).
    DuplicateAcks {
        /// How many.
        count: u32,
    },
    /// An ACK in recovery that does not cover everything (RFC 6582).
    PartialAck,
}

/// What showed that segments were repeated needlessly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UndoEvidence {
    /// The acknowledgement answers the first copy: its timestamp is older than the second (Eifel, RFC 3522).
    Timestamp,
    /// Nothing had been repeated yet when the data was acknowledged.
    NothingRepeated,
    /// Every repetition was reported as a duplicate (RFC 3708).
    Duplicates,
    /// After a timeout, data that was never repeated arrived (F-RTO, RFC 5682).
    ForwardProgress,
}

/// What ended slow start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlowStartEvidence {
    /// The round-trip time has grown (HyStart, RFC 9406).
    Delay {
        /// The smallest of this round, microseconds.
        rtt_us: u64,
        /// The smallest before, microseconds.
        base_us: u64,
    },
    /// Closely spaced ACKs came for longer than half a round trip (HyStart).
    AckTrain,
}
