//! The life of a connection: the states (RFC 9293 3.3.2) that each end went through, when, and by which segment, call or
//! timer.

use rt_base::{Event, TcpPhase, TimerKind, What};

use super::model::StateStory;
use super::view::View;
use crate::read::Side;

/// The states of both ends, the client's first.
pub(crate) fn tell(view: &View<'_>, conn: usize) -> Vec<StateStory> {
    let mut life = Vec::new();
    for side in [Side::Client, Side::Server] {
        let start = life.len();
        for event in view.tcp_events(conn, side) {
            let What::TcpState { from, to, .. } = event.what else { continue };
            if let Some(before) = life[start..].last_mut() {
                let before: &mut StateStory = before;
                before.to_ns = Some(event.at.0);
            }
            life.push(StateStory {
                side: if side == Side::Client { "client" } else { "server" }.into(),
                node: view.name(event.node()),
                state: name(to).into(),
                from_ns: event.at.0,
                to_ns: None,
                by: by(view, event, (from, to)),
            });
        }
    }
    life
}

/// RFC 9293's name.
pub(crate) fn name(phase: TcpPhase) -> &'static str {
    match phase {
        TcpPhase::Closed => "CLOSED",
        TcpPhase::Listen => "LISTEN",
        TcpPhase::SynSent => "SYN-SENT",
        TcpPhase::SynReceived => "SYN-RECEIVED",
        TcpPhase::Established => "ESTABLISHED",
        TcpPhase::FinWait1 => "FIN-WAIT-1",
        TcpPhase::FinWait2 => "FIN-WAIT-2",
        TcpPhase::CloseWait => "CLOSE-WAIT",
        TcpPhase::Closing => "CLOSING",
        TcpPhase::LastAck => "LAST-ACK",
        TcpPhase::TimeWait => "TIME-WAIT",
    }
}

/// What moved it.
fn by(view: &View<'_>, event: &Event, (from, to): (TcpPhase, TcpPhase)) -> String {
    use TcpPhase::{CloseWait, Closed, Established, FinWait1, LastAck, SynReceived, SynSent};
    match (from, to) {
        (Closed, SynSent) => return "connect(), SYN sent".into(),
        (Established | SynReceived, FinWait1) | (CloseWait, LastAck) => {
            return "close(), FIN sent".into();
        }
        _ => {}
    }
    match view.trace.event(event.because).map(|e| (e, &e.what)) {
        Some((_, What::TimerFired { kind, armed_at, .. })) => {
            let after = super::words::about(event.at.since(*armed_at));
            match timer(*kind) {
                Some(name) => format!("{name}, after {after}"),
                None => "the program gives up".into(),
            }
        }
        Some((cause, What::Transmit { .. })) => {
            let flags = super::trouble::flags_of(view, cause.frame);
            match flags {
                Some(flags) if (from, to) == (TcpPhase::TimeWait, Closed) && flags & 0b1_0110 == 2 => {
                    "a newer SYN for the same addresses and ports came, and a new connection takes its place (RFC 6191)".into()
                }
                // What ended it was not for this connection, or the program's own doing.
                Some(flags) if to != Closed || flags & 4 == 4 || from == LastAck => {
                    format!("{} came", words(flags))
                }
                _ if to == Closed => "abort".into(),
                _ => String::new(),
            }
        }
        _ if to == Closed => "abort".into(),
        _ => String::new(),
    }
}

fn words(flags: u8) -> String {
    match flags & 0b1_0111 {
        0b1_0010 => "SYN-ACK".into(),
        0b1_0001 => "FIN".into(),
        0b1_0100 => "RST".into(),
        0b1_0000 => "ACK".into(),
        other => super::words::flags(other),
    }
}

fn timer(kind: TimerKind) -> Option<&'static str> {
    Some(match kind {
        TimerKind::TimeWait => "2 MSL are over",
        TimerKind::FinWait2 => "the FIN-WAIT-2 timeout",
        TimerKind::Keepalive => "keepalives stay unanswered",
        TimerKind::Rto | TimerKind::Tlp | TimerKind::Reorder => "the last timeout (RTO)",
        TimerKind::Persist => "window probes stay unanswered",
        _ => return None,
    })
}
