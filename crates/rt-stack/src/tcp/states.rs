//! The states of RFC 9293 3.3.2, a struct each. A struct holds what only its state knows; its methods consume it and
//! return the next state's struct, so the compiler refuses an order of states that the RFC does not have.
//!
//! What all synchronised states share (sequence variables, buffers, timers) is the connection's, not the state's.

use rt_base::TcpPhase;
use rt_wire::Seq;

/// The state of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// See [`Closed`].
    Closed(Closed),
    /// See [`SynSent`].
    SynSent(SynSent),
    /// See [`SynReceived`].
    SynReceived(SynReceived),
    /// See [`Established`].
    Established(Established),
    /// See [`FinWait1`].
    FinWait1(FinWait1),
    /// See [`FinWait2`].
    FinWait2(FinWait2),
    /// See [`CloseWait`].
    CloseWait(CloseWait),
    /// See [`Closing`].
    Closing(Closing),
    /// See [`LastAck`].
    LastAck(LastAck),
    /// See [`TimeWait`].
    TimeWait(TimeWait),
}

/// No connection any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed;

/// A SYN was sent by an active open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SynSent;

/// A SYN was received and a SYN-ACK sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SynReceived {
    /// By which road it came here.
    pub road: Road,
}

/// The roads to SYN-RECEIVED.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Road {
    /// LISTEN met a SYN.
    Passive,
    /// SYN-SENT met a SYN: simultaneous open.
    Simultaneous,
    /// LISTEN met a SYN whose text was taken at once (RFC 7413): data flows already.
    FastOpen,
}

/// Open in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Established;

/// Our FIN is queued or sent, not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FinWait1 {
    /// Sequence number of our FIN.
    pub fin: Seq,
}

/// Our FIN is acknowledged; the peer may still send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FinWait2;

/// The peer's FIN came first; we may still send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseWait;

/// Both FINs crossed; ours is not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closing {
    /// Sequence number of our FIN.
    pub fin: Seq,
}

/// The peer's FIN came first, ours is not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastAck {
    /// Sequence number of our FIN.
    pub fin: Seq,
}

/// Waiting for old segments to die.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeWait;

impl SynSent {
    /// The peer accepts: its SYN-ACK covers our SYN.
    pub fn syn_ack(self) -> Established {
        Established
    }

    /// The peer opens too.
    pub fn syn(self) -> SynReceived {
        SynReceived { road: Road::Simultaneous }
    }
}

impl SynReceived {
    /// Our SYN is acknowledged.
    pub fn acked(self) -> Established {
        Established
    }
}

impl Established {
    /// The application has no more to send; our FIN will stand at `fin`.
    pub fn shutdown(self, fin: Seq) -> FinWait1 {
        FinWait1 { fin }
    }

    /// The peer's FIN.
    pub fn fin(self) -> CloseWait {
        CloseWait
    }
}

impl FinWait1 {
    /// Our FIN is acknowledged.
    pub fn acked(self) -> FinWait2 {
        FinWait2
    }

    /// The peer's FIN, before the ACK of ours.
    pub fn fin(self) -> Closing {
        Closing { fin: self.fin }
    }
}

impl FinWait2 {
    /// The peer's FIN.
    pub fn fin(self) -> TimeWait {
        TimeWait
    }
}

impl CloseWait {
    /// The application has no more to send; our FIN will stand at `fin`.
    pub fn shutdown(self, fin: Seq) -> LastAck {
        LastAck { fin }
    }
}

impl Closing {
    /// Our FIN is acknowledged.
    pub fn acked(self) -> TimeWait {
        TimeWait
    }
}

impl LastAck {
    /// Our FIN is acknowledged.
    pub fn acked(self) -> Closed {
        Closed
    }
}

impl Closing {
    /// RFC 9293 3.10.7.4, second step: both sides are done, so a reset is no error.
    pub fn reset(self) -> Closed {
        Closed
    }
}

impl LastAck {
    /// RFC 9293 3.10.7.4, second step: both sides are done, so a reset is no error.
    pub fn reset(self) -> Closed {
        Closed
    }
}

impl TimeWait {
    /// 2 MSL are over.
    pub fn expired(self) -> Closed {
        Closed
    }
}

impl State {
    /// Its name.
    #[must_use]
    pub fn phase(&self) -> TcpPhase {
        match self {
            State::Closed(_) => TcpPhase::Closed,
            State::SynSent(_) => TcpPhase::SynSent,
            State::SynReceived(_) => TcpPhase::SynReceived,
            State::Established(_) => TcpPhase::Established,
            State::FinWait1(_) => TcpPhase::FinWait1,
            State::FinWait2(_) => TcpPhase::FinWait2,
            State::CloseWait(_) => TcpPhase::CloseWait,
            State::Closing(_) => TcpPhase::Closing,
            State::LastAck(_) => TcpPhase::LastAck,
            State::TimeWait(_) => TcpPhase::TimeWait,
        }
    }

    /// What the acknowledgement of our FIN makes of it, if `una` covers the FIN. RFC 9293 3.10.7.4, fifth step.
    #[must_use]
    pub fn fin_acked(self, una: Seq) -> Option<State> {
        match self {
            State::FinWait1(s) if una.gt(s.fin) => Some(s.acked().into()),
            State::Closing(s) if una.gt(s.fin) => Some(s.acked().into()),
            State::LastAck(s) if una.gt(s.fin) => Some(s.acked().into()),
            _ => None,
        }
    }

    /// What the peer's FIN makes of it. RFC 9293 3.10.7.4, eighth step.
    #[must_use]
    pub fn fin_received(self) -> Option<State> {
        match self {
            State::Established(s) => Some(s.fin().into()),
            State::FinWait1(s) => Some(s.fin().into()),
            State::FinWait2(s) => Some(s.fin().into()),
            _ => None,
        }
    }

    /// What the application's shutdown makes of it.
    #[must_use]
    pub fn shutdown(self, fin: Seq) -> Option<State> {
        match self {
            State::Established(s) => Some(s.shutdown(fin).into()),
            State::CloseWait(s) => Some(s.shutdown(fin).into()),
            _ => None,
        }
    }

    /// Whether the peer may still send us data.
    #[must_use]
    pub fn may_receive(&self) -> bool {
        matches!(
            self,
            State::Established(_)
                | State::FinWait1(_)
                | State::FinWait2(_)
                | State::SynReceived(SynReceived { road: Road::FastOpen })
        )
    }

    /// Whether data or a FIN of ours may have to be sent or repeated.
    #[must_use]
    pub fn may_send(&self) -> bool {
        matches!(
            self,
            State::Established(_)
                | State::CloseWait(_)
                | State::FinWait1(_)
                | State::Closing(_)
                | State::LastAck(_)
                | State::SynReceived(SynReceived { road: Road::FastOpen })
        )
    }
}

macro_rules! into_state {
    ($($name:ident)*) => {
        $(impl From<$name> for State {
            fn from(state: $name) -> State { State::$name(state) }
        })*
    };
}

into_state!(Closed SynSent SynReceived Established FinWait1 FinWait2 CloseWait Closing LastAck TimeWait);
