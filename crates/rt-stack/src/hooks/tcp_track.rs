//! The state of a TCP connection as a machine in the middle sees it (Linux `nf_conntrack_proto_tcp.c`, without windows).

use rt_wire::TcpFlags;

use super::tuple::Direction;
use crate::tables::FlowState;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TcpTrack {
    SynSent,
    SynReceived,
    Established,
    /// One side has sent FIN.
    FinWait(Direction),
    /// Both have.
    LastAck,
    TimeWait,
    Closed,
}

impl TcpTrack {
    /// What a segment makes of it.
    pub(crate) fn after(self, direction: Direction, flags: TcpFlags) -> TcpTrack {
        let has = |flag| flags.has(flag);
        if has(TcpFlags::RST) {
            return TcpTrack::Closed;
        }
        match self {
            TcpTrack::SynSent if direction == Direction::Reply && has(TcpFlags::SYN) => TcpTrack::SynReceived,
            TcpTrack::SynReceived if direction == Direction::Original && has(TcpFlags::ACK) => {
                TcpTrack::Established
            }
            TcpTrack::SynReceived | TcpTrack::Established if has(TcpFlags::FIN) => {
                TcpTrack::FinWait(direction)
            }
            TcpTrack::FinWait(first) if first != direction && has(TcpFlags::FIN) => TcpTrack::LastAck,
            TcpTrack::LastAck if !has(TcpFlags::FIN) => TcpTrack::TimeWait,
            same => same,
        }
    }

    /// Whether a new SYN may begin a new connection.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, TcpTrack::TimeWait | TcpTrack::Closed | TcpTrack::LastAck)
    }

    /// As tables show it.
    pub(crate) fn shown(self) -> FlowState {
        match self {
            TcpTrack::SynSent => FlowState::SynSent,
            TcpTrack::SynReceived => FlowState::SynReceived,
            TcpTrack::Established => FlowState::Established,
            TcpTrack::FinWait(_) => FlowState::FinWait,
            TcpTrack::LastAck => FlowState::LastAck,
            TcpTrack::TimeWait => FlowState::TimeWait,
            TcpTrack::Closed => FlowState::Closed,
        }
    }
}
