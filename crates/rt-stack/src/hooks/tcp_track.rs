//! The state of a TCP connection as a machine in the middle sees it: the table of Linux's `nf_conntrack_proto_tcp.c`, which a
//! test plays against the kernel (`rt-attach`, `tests/rules`).
//!
//! Simplified: sequence and acknowledgement numbers are not looked at. So every reset is believed, and a SYN-ACK after a SYN that
//! was let through unbelieved is taken for its answer.

use rt_wire::TcpFlags;

use super::tuple::Direction;
use crate::tables::FlowState;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    SynSent,
    SynReceived,
    Established,
    /// One side has sent FIN.
    FinWait,
    /// Its FIN has been acknowledged.
    CloseWait,
    /// Both have sent FIN.
    LastAck,
    TimeWait,
    Closed,
    /// Both have sent SYN.
    BothSynSent,
}

/// What a segment is to the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TcpTrack {
    state: State,
    /// A FIN has begun the end.
    ending: bool,
    /// Both have sent SYN: then an ACK of either opens it.
    both: bool,
    /// The last segment that was looked at.
    last: (Direction, Kind),
}

/// What a segment does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// It is one of the connection's.
    Goes(TcpTrack),
    /// It passes and is not believed.
    Passes(TcpTrack),
    /// The connection is over, and this begins another.
    Begins,
    /// It cannot be one of the connection's.
    Invalid,
}

impl Kind {
    /// `None` for flags that no TCP sends together (Linux's `tcp_valid_flags`).
    fn of(flags: TcpFlags) -> Option<Kind> {
        const OTHERS: u8 = TcpFlags::ECE.0 | TcpFlags::CWR.0 | TcpFlags::PSH.0;
        const SYN: u8 = TcpFlags::SYN.0;
        const ACK: u8 = TcpFlags::ACK.0;
        const RST: u8 = TcpFlags::RST.0;
        const FIN_ACK: u8 = TcpFlags::FIN.0 | ACK;
        const SYN_ACK: u8 = SYN | ACK;
        const RST_ACK: u8 = RST | ACK;
        let urgent = flags.has(TcpFlags::URG);
        match flags.0 & !OTHERS & !TcpFlags::URG.0 {
            SYN => Some(Kind::Syn),
            SYN_ACK if !urgent => Some(Kind::SynAck),
            RST | RST_ACK if !urgent => Some(Kind::Rst),
            FIN_ACK => Some(Kind::Fin),
            ACK => Some(Kind::Ack),
            _ => None,
        }
    }
}

/// A cell of the table.
enum Cell {
    To(State),
    Ignore,
    Invalid,
}

/// Linux's `tcp_conntracks`.
fn cell(state: State, direction: Direction, kind: Kind) -> Cell {
    use Cell::{Ignore, Invalid, To};
    use State::{
        BothSynSent, CloseWait, Closed, Established, FinWait, LastAck, SynReceived, SynSent, TimeWait,
    };
    match (kind, direction, state) {
        (Kind::Rst, ..) => To(Closed),
        (Kind::Syn, Direction::Original, SynSent | TimeWait | Closed) => To(SynSent),
        (Kind::Syn, Direction::Original, BothSynSent) => To(BothSynSent),
        (Kind::Syn, Direction::Original, _) => Ignore,
        (Kind::Syn, Direction::Reply, SynSent | BothSynSent) => To(BothSynSent),
        (Kind::Syn, Direction::Reply, TimeWait) => To(SynSent),
        (Kind::Syn, Direction::Reply, _) => Invalid,
        (Kind::SynAck, Direction::Original, SynReceived | BothSynSent) => To(SynReceived),
        (Kind::SynAck, Direction::Original, _) => Invalid,
        (Kind::SynAck, Direction::Reply, SynSent | BothSynSent) => To(SynReceived),
        (Kind::SynAck, Direction::Reply, _) => Ignore,
        (Kind::Fin, _, SynSent | BothSynSent) => Invalid,
        (Kind::Fin, _, SynReceived | Established) => To(FinWait),
        (Kind::Fin, _, FinWait | CloseWait | LastAck) => To(LastAck),
        (Kind::Fin, _, same) => To(same),
        (Kind::Ack, Direction::Original, SynSent | BothSynSent) => Invalid,
        (Kind::Ack, Direction::Reply, SynSent | BothSynSent) => Ignore,
        (Kind::Ack, Direction::Original, SynReceived) => To(Established),
        (Kind::Ack, _, FinWait) => To(CloseWait),
        (Kind::Ack, _, LastAck) => To(TimeWait),
        (Kind::Ack, _, same) => To(same),
    }
}

impl TcpTrack {
    /// A connection that begins with these flags: with a SYN, or where that is allowed in its middle; `None` if it cannot.
    pub(crate) fn begin(flags: TcpFlags, loose: bool) -> Option<TcpTrack> {
        let kind = Kind::of(flags)?;
        let state = match kind {
            Kind::Syn => State::SynSent,
            Kind::Ack if loose => State::Established,
            Kind::Fin if loose => State::Established,
            _ => return None,
        };
        Some(TcpTrack { state, ending: false, both: false, last: (Direction::Original, kind) })
    }

    /// What a segment makes of it.
    pub(crate) fn step(self, direction: Direction, flags: TcpFlags) -> Step {
        let Some(kind) = Kind::of(flags) else { return Step::Invalid };
        let last = (direction, kind);
        let mut next = match cell(self.state, direction, kind) {
            Cell::Invalid => return Step::Invalid,
            Cell::To(State::SynSent) if matches!(self.state, State::TimeWait | State::Closed) => {
                // A SYN after the end that its own side made, or that both agreed on.
                if self.ending || self.last == (direction, Kind::Rst) {
                    return Step::Begins;
                }
                return Step::Passes(TcpTrack { last, ..self });
            }
            Cell::Ignore => {
                let answers = kind == Kind::SynAck && self.last.1 == Kind::Syn && self.last.0 != direction;
                if !answers {
                    return Step::Passes(TcpTrack { last, ..self });
                }
                State::SynReceived
            }
            Cell::To(state) => state,
        };
        let both = self.both || next == State::BothSynSent;
        if both && next == State::SynReceived && last == (Direction::Reply, Kind::Ack) {
            next = State::Established;
        }
        let ending = self.ending || (next == State::FinWait && self.state != State::FinWait);
        Step::Goes(TcpTrack { state: next, ending, both, last })
    }

    /// The same connection, ended by a filter that answered with a reset.
    pub(crate) fn closed(self) -> TcpTrack {
        TcpTrack { state: State::Closed, ..self }
    }

    /// Whether the last segment was a reset.
    pub(crate) fn was_reset(self) -> bool {
        self.last.1 == Kind::Rst
    }

    /// As tables show it.
    pub(crate) fn shown(self) -> FlowState {
        match self.state {
            State::SynSent | State::BothSynSent => FlowState::SynSent,
            State::SynReceived => FlowState::SynReceived,
            State::Established => FlowState::Established,
            State::FinWait | State::CloseWait => FlowState::FinWait,
            State::LastAck => FlowState::LastAck,
            State::TimeWait => FlowState::TimeWait,
            State::Closed => FlowState::Closed,
        }
    }
}
