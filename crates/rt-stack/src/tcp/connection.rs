//! One TCP connection: the face that the stack calls.

use std::sync::Arc;

use rt_base::{EventId, TcpPhase, Time, TimerKind, What};
use rt_wire::{Seq, TcpHeader};

use super::config::{KeepaliveConfig, TcpConfig};
use super::open::OpenParams;
use super::segment::{Cx, IcmpError, Outcome, Read, Segment, SegmentToken, TcpError};
use super::timers::ArmedTimer;

/// One TCP connection.
#[derive(Debug)]
pub struct Connection {
    config: Arc<TcpConfig>,
}

/// A snapshot of what the connection knows, for people and tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// Congestion window, bytes.
    pub cwnd: u32,
}
