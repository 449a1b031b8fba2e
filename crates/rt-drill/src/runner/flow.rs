//! One conversation of a script: its ends, and how the script's numbers map to the real ones.
//!
//! A script counts from 0 at each side's SYN; the machine chooses its real initial sequence number and timestamps.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::segment::{ACK, SYN, SeenSegment};
use crate::machine::Fd;

/// What a script can talk over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

/// How far a conversation has come, as the script's lines show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    New,
    Listening,
    Connecting,
    SynSent,
    Synchronising,
    Open,
}

/// A conversation.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) protocol: Protocol,
    pub(super) stage: Stage,
    /// The script's and the machine's descriptor.
    pub(super) fd: Option<(i64, Fd)>,
    pub(super) local: (Ipv4Addr, u16),
    pub(super) remote: (Ipv4Addr, u16),
    /// The machine's first sequence number in the script, and really.
    pub(super) script_isn: u32,
    pub(super) live_isn: u32,
    /// The peer's, which the script chooses.
    pub(super) remote_isn: u32,
    /// The peer's in a further SYN between the same ports; it holds once the machine answers that with a SYN-ACK.
    pub(super) next_remote_isn: Option<u32>,
    /// Timestamp values of the script and what the machine really sent for them.
    timestamps: BTreeMap<u32, u32>,
    first_timestamp: Option<(u32, u32)>,
    /// The last timestamp that the machine sent.
    pub(super) last_timestamp: Option<u32>,
    /// For messages: how far the machine has sent and the peer has acknowledged, in the script's numbers.
    pub(super) sent_to: u32,
    pub(super) acked_to: u32,
}

impl Flow {
    pub(super) fn new(protocol: Protocol, stage: Stage) -> Flow {
        let nobody = (Ipv4Addr::UNSPECIFIED, 0);
        Flow {
            protocol,
            stage,
            fd: None,
            local: nobody,
            remote: nobody,
            script_isn: 0,
            live_isn: 0,
            remote_isn: 0,
            next_remote_isn: None,
            timestamps: BTreeMap::new(),
            first_timestamp: None,
            last_timestamp: None,
            sent_to: 0,
            acked_to: 0,
        }
    }

    /// Script to real, of the machine's numbers.
    pub(super) fn local_offset(&self, syn: bool) -> u32 {
        if syn { self.live_isn.wrapping_sub(self.script_isn) } else { self.live_isn }
    }

    /// Script to real, of the peer's numbers. A SYN bears its absolute number.
    pub(super) fn remote_offset(&self, syn: bool) -> u32 {
        if syn { 0 } else { self.remote_isn }
    }

    /// Turns an inbound segment's numbers into real ones; `Err` is an echoed timestamp that was never sent.
    pub(super) fn to_live(&self, segment: &mut SeenSegment, scaled: bool, lenient: bool) -> Result<(), u32> {
        let syn = segment.flags & SYN != 0;
        segment.seq = segment.seq.wrapping_add(self.remote_offset(syn));
        let local = self.local_offset(syn);
        if segment.flags & ACK != 0 {
            segment.ack = segment.ack.wrapping_add(local);
        }
        shift_sack(segment, local);
        let Some((value, echo)) = segment.timestamps().filter(|_| segment.flags & ACK != 0) else {
            return Ok(());
        };
        let live = match (self.timestamps.get(&echo), self.first_timestamp) {
            (Some(live), _) => *live,
            (None, Some((script, live))) if scaled || lenient => echo.wrapping_sub(script).wrapping_add(live),
            (None, None) if lenient && self.last_timestamp.is_some() => self.last_timestamp.unwrap_or(0),
            _ => return Err(echo),
        };
        set_timestamps(segment, value, live);
        Ok(())
    }

    /// Turns an outbound segment's numbers into the script's.
    pub(super) fn to_script(&self, segment: &mut SeenSegment) {
        let syn = segment.flags & SYN != 0;
        segment.seq = segment.seq.wrapping_sub(self.local_offset(syn));
        let remote = self.remote_offset(syn);
        if segment.flags & ACK != 0 {
            segment.ack = segment.ack.wrapping_sub(remote);
        }
        shift_sack(segment, remote.wrapping_neg());
    }

    /// Remembers which real timestamp stands for `script`'s and writes the script's view of it into the segment.
    pub(super) fn learn_timestamp(&mut self, script: Option<u32>, segment: &mut SeenSegment) {
        let Some((live, echo)) = segment.timestamps() else { return };
        self.last_timestamp = Some(live);
        let Some(script) = script else { return };
        self.timestamps.insert(script, live);
        let (first_script, first_live) = *self.first_timestamp.get_or_insert((script, live));
        set_timestamps(segment, first_script.wrapping_add(live.wrapping_sub(first_live)), echo);
    }
}

fn set_timestamps(segment: &mut SeenSegment, value: u32, echo: u32) {
    if let Some((_, data)) = segment.options.iter_mut().find(|(kind, data)| *kind == 8 && data.len() == 8) {
        data[..4].copy_from_slice(&value.to_be_bytes());
        data[4..].copy_from_slice(&echo.to_be_bytes());
    }
}

fn shift_sack(segment: &mut SeenSegment, by: u32) {
    for (_, data) in segment.options.iter_mut().filter(|(kind, _)| *kind == 5) {
        for edge in data.chunks_exact_mut(4) {
            let moved = u32::from_be_bytes([edge[0], edge[1], edge[2], edge[3]]).wrapping_add(by);
            edge.copy_from_slice(&moved.to_be_bytes());
        }
    }
}
