//! TCP (RFC 9293 and family) as a sans-IO state machine: one [`Connection`] per socket.
//!
//! Not here: ports, listening queues, demultiplexing, IP, events' ids. The stack's spine owns these; it calls a
//! connection, gets a value back and decides.
//!
//! # How the spine drives a connection
//!
//! 1. A segment for a known connection: [`Connection::on_segment`], then [`Connection::next_segment`] until `None`
//!    (the ACK that is due now, a reset, data that the window now allows), before the application runs.
//! 2. A segment for a listening port: [`on_listen`]; when it says [`ListenOutcome::Open`], [`Connection::accept`].
//!    A segment for nobody: [`reset_for`].
//! 3. The application's calls: [`Connection::write`], `read`, `shutdown`, `close`, `abort`; in the stack's `send`,
//!    `next_segment` until `None`.
//! 4. Time: keep a wish for [`Connection::deadline`] (asking earlier than needed is harmless: the deadline moves later
//!    with every ACK, so a queue is best re-armed lazily, when the old wish fires). When it comes:
//!    `while let Some(timer) = conn.due(now) { record TimerFired(timer); conn.on_timer(cx, timer.kind); send }`.
//! 5. After each of these: [`Connection::take_woken`] says whether the application should look again,
//!    [`Connection::take_records`] gives the events for the story (only when [`Cx::recording`]), and
//!    [`Connection::finished`] whether the connection may be forgotten.
//!
//! For each [`Segment`] the spine fills in the ports, asks [`Connection::payload`] for the bytes, builds the packet,
//! records [`Segment::record`] with the packet's frame id and, when recording, hands the event's id back with
//! [`Connection::segment_recorded`], so that a retransmission can name what it repeats.
//!
//! # Shape
//!
//! [`states`] has a struct per state whose methods consume it, so that an order of states which RFC 9293 does not
//! have cannot be written. `recv` holds the steps of RFC 9293 3.10.7 in their order, `send` decides what goes out next,
//! `acks` reads the ACK field, `flight` keeps what is in flight, `rack` and `recovery` find losses and say what they mean,
//! `undo` takes that back, `probe` has the timers of it, `cwnd` spends the window and `congestion` sizes it (a small trait
//! with Reno and CUBIC behind it), `chrono` counts what holds sending up, `ecn` is explicit congestion notification, `ack_policy` when an ACK is due, `fast_open`
//! text in SYNs, `recv_bsd` the order in which FreeBSD asks, `transitions` what entering a state means, `expiry` what a
//! timer does. What differs between operating systems is data:
//! [`TcpConfig`].
//!
//! # Simplifications, and how a user could notice
//!
//! - No urgent data (the pointer is ignored, the bytes are delivered in line).

mod ack_policy;
mod acks;
mod chrono;
mod config;
pub mod congestion;
mod connection;
mod cork;
mod cwnd;
mod ecn;
mod expiry;
mod fast_open;
mod flight;
mod info;
mod open;
mod options;
mod pacing;
mod personalities;
mod probe;
mod rack;
mod rate;
mod recovery;
mod recv;
mod recv_bsd;
mod recv_buffer;
mod rtt;
mod segment;
mod send;
mod send_buffer;
mod send_syn;
pub mod states;
mod timers;
mod transitions;
mod undo;
mod variables;

pub use chrono::SendTimes;
pub use config::{
    Blackhole, CongestionKind, EcnMode, Family, FastOpenConfig, HystartKind, Insecure, KeepaliveConfig,
    RecoveryKind, SynCookies, SynHabits, TcpConfig, WindowOffer,
};
pub use connection::Connection;
pub use fast_open::{FastOpenLesson, FastOpenStart};
pub use info::Info;
pub use open::{ListenOutcome, OpenParams, on_listen, reset_for};
pub use options::{MtuDiscovery, SocketOptions};
pub use recovery::CongestionState;
pub use segment::{Cx, Ecn, IcmpError, Ignored, Outcome, Read, Segment, SegmentToken, TcpError};
pub use send_buffer::Text;
pub use timers::ArmedTimer;

#[cfg(test)]
mod tests;
