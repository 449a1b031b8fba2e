//! The connections of a run, numbered in the order in which they were opened.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Congestion, QueueCurve, RoundTrips, TimeSequence, curves, queue};
use crate::Trace;
use crate::read::Side;
use crate::story::view::View;
use crate::story::{ConnectionReport, ConnectionStory, Ends, StateStory, connection, report};

/// One connection in the list.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// Through the whole run, from 1, in the order of the first SYNs; forged ones behind the others.
    pub number: u32,
    /// The machine that opened it.
    pub client: String,
    /// The machine that answered; empty when none did.
    pub server: String,
    /// Addresses as the client sees them.
    pub ends: Ends,
    /// First segment.
    pub start_ns: u64,
    /// Last segment at either end.
    pub end_ns: u64,
    /// Segments from the client and from the server.
    pub segments: [u64; 2],
    /// Stream bytes from the client and from the server.
    pub bytes: [u64; 2],
    /// Segments that were sent again, at either end.
    pub retransmissions: u32,
    /// How it ended: `closed`, `reset`, `open`, `never opened`.
    pub ended: String,
    /// No connection, but segments that a forger sent in somebody else's name. They are numbered behind all connections.
    #[serde(default)]
    pub forged: bool,
}

/// A run's connections and their curves.
pub struct Flows<'t> {
    view: View<'t>,
}

impl<'t> Flows<'t> {
    /// Reads the run.
    #[must_use]
    pub fn of(trace: &'t Trace) -> Flows<'t> {
        Flows { view: View::new(trace) }
    }

    /// All connections.
    #[must_use]
    pub fn list(&self) -> Vec<Flow> {
        (0..self.view.conns.len()).map(|conn| self.flow(conn)).collect()
    }

    fn flow(&self, conn: usize) -> Flow {
        let forged = self.view.conns[conn].forged;
        let story = connection(&self.view, conn);
        let ConnectionStory { number, client, server, ends, segments, bytes, .. } = story;
        let ConnectionStory { retransmissions, ended, start_ns, end_ns, .. } = story;
        Flow {
            number,
            client,
            server,
            ends,
            start_ns,
            end_ns,
            segments,
            bytes,
            retransmissions,
            ended,
            forged,
        }
    }

    /// The connections that a person means: a number, `laptop:52431` (the machine's name or address, and its port), or part of
    /// the name or address of either end.
    #[must_use]
    pub fn find(&self, wanted: &str) -> Vec<Flow> {
        let all = self.list();
        if let Ok(number) = wanted.parse::<u32>() {
            return all.into_iter().filter(|f| f.number == number).collect();
        }
        let exact = |f: &Flow| {
            let port = |end: &str| end.rsplit(':').next().map(str::to_string);
            [(&f.client, &f.ends.from), (&f.server, &f.ends.to)].into_iter().any(|(name, end)| {
                let short = name.rsplit('.').next().unwrap_or(name);
                let port = port(end).unwrap_or_default();
                *wanted == **end || wanted == format!("{name}:{port}") || wanted == format!("{short}:{port}")
            })
        };
        // Forged ones are found by their number alone: a flood has thousands.
        let real = all.into_iter().filter(|f| !f.forged);
        let (found, others): (Vec<Flow>, Vec<Flow>) = real.partition(exact);
        if !found.is_empty() || wanted.is_empty() {
            return found;
        }
        let part =
            |f: &Flow| [&f.client, &f.server, &f.ends.from, &f.ends.to].iter().any(|n| n.contains(wanted));
        others.into_iter().filter(part).collect()
    }

    fn index(&self, flow: &Flow) -> Option<usize> {
        (flow.number as usize).checked_sub(1).filter(|i| *i < self.view.conns.len())
    }

    /// The side that sent more bytes, where both ends are known; the client else. What never arrived and what was sent again
    /// counts.
    #[must_use]
    pub fn main_sender(&self, flow: &Flow) -> Side {
        let Some(conn) = self.index(flow).filter(|c| self.view.conns[*c].server.is_some()) else {
            return Side::Client;
        };
        let sent = |side: Side| -> u64 {
            let Some(end) = self.view.end(conn, side) else { return 0 };
            let own = self.view.tcp(end).segments.iter().filter(|s| s.from == side);
            own.map(|s| u64::from(s.len)).sum()
        };
        if sent(Side::Server) >= sent(Side::Client) { Side::Server } else { Side::Client }
    }

    /// What one side sent over time, as its own interface saw it; `None` when that side is not a machine of the run.
    #[must_use]
    pub fn time_sequence(&self, flow: &Flow, from: Side) -> Option<TimeSequence> {
        curves::time_sequence(&self.view, self.index(flow)?, from)
    }

    /// One side's congestion window and bytes in flight.
    #[must_use]
    pub fn congestion(&self, flow: &Flow, from: Side) -> Option<Congestion> {
        curves::congestion(&self.view, self.index(flow)?, from)
    }

    /// Round-trip times as one side measures them.
    #[must_use]
    pub fn round_trips(&self, flow: &Flow, from: Side) -> Option<RoundTrips> {
        curves::round_trips(&self.view, self.index(flow)?, from)
    }

    /// The queues before the links that one side's segments crossed, in the order of the way.
    #[must_use]
    pub fn queues(&self, flow: &Flow, from: Side) -> Vec<QueueCurve> {
        self.index(flow).map_or_else(Vec::new, |conn| queue::on_the_way(&self.view, conn, from))
    }

    /// The connection by itself: its facts and states, what it waited for, what was sent again and why.
    #[must_use]
    pub fn report(&self, flow: &Flow) -> ConnectionReport {
        self.index(flow).map_or_else(ConnectionReport::default, |conn| report(&self.view, conn))
    }

    /// The states that both ends went through.
    #[must_use]
    pub fn states(&self, flow: &Flow) -> Vec<StateStory> {
        self.index(flow).map_or_else(Vec::new, |conn| connection(&self.view, conn).life)
    }
}
