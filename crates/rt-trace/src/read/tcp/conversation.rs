//! One connection while it is read: both directions, the facts of opening and closing, and the reader of its content.

use std::net::SocketAddr;

use super::reassembly::Reassembler;
use super::{Segment, SegmentKind, SynFacts, TcpApplication, TcpConversation, TcpDirection, TcpReset};
use crate::read::app::AppReader;
use crate::read::{Limits, Mark, Secrets, Side};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A segment as the headers tell it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpPacket<'a> {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) timestamps: bool,
    /// Bytes of the Fast Open cookie.
    pub(crate) fast_open: Option<u8>,
    pub(crate) payload: &'a [u8],
}

impl TcpPacket<'_> {
    /// Whether it opens a connection.
    pub(crate) fn is_syn(&self) -> bool {
        self.flags & (SYN | ACK | RST) == SYN
    }
}

/// A connection being read.
#[derive(Debug)]
pub(crate) struct Conversation<'s> {
    limits: Limits,
    facts: TcpConversation,
    streams: [Reassembler; 2],
    /// Sequence number just after each side's FIN.
    fin_next: [Option<u32>; 2],
    ended: [bool; 2],
    reader: AppReader<'s>,
    last: Mark,
}

impl<'s> Conversation<'s> {
    /// Starts with its first segment, which fixes who the client is.
    pub(crate) fn new(
        secrets: &'s Secrets,
        limits: Limits,
        first: &TcpPacket<'_>,
        outgoing: bool,
    ) -> Conversation<'s> {
        let from_client = match first.flags & (SYN | ACK) {
            SYN => true,
            f if f == SYN | ACK => false,
            _ => first.src.port() >= first.dst.port(),
        };
        let (client, server) = if from_client { (first.src, first.dst) } else { (first.dst, first.src) };
        let facts = TcpConversation {
            client,
            server,
            outgoing: outgoing == from_client,
            syn: None,
            syn_ack: None,
            established: None,
            from_client: TcpDirection::default(),
            from_server: TcpDirection::default(),
            reset: None,
            segments: Vec::new(),
            application: TcpApplication::Unknown,
            tls: None,
            ssh: None,
            http: Vec::new(),
            tunnel: Vec::new(),
            http2: None,
            websocket: None,
            dns: Vec::new(),
            problems: Vec::new(),
        };
        Conversation {
            limits,
            facts,
            streams: Default::default(),
            fin_next: [None; 2],
            ended: [false; 2],
            reader: AppReader::new(secrets, limits, server.port()),
            last: Mark::default(),
        }
    }

    /// Whether a SYN belongs to a new connection between the same addresses, not to this one.
    pub(crate) fn is_succeeded_by(&self, packet: &TcpPacket<'_>) -> bool {
        if !packet.is_syn() {
            return false;
        }
        // Pinned sequence numbers may come again on the same ports, but only after the end.
        let over = self.facts.reset.is_some() || self.fin_next.iter().all(Option::is_some);
        let again = self.facts.syn.as_ref().is_some_and(|s| s.isn == packet.seq);
        let simultaneous = packet.src == self.facts.server && self.facts.from_server.segments == 0;
        over || !(again || simultaneous)
    }

    /// The next segment.
    pub(crate) fn push(&mut self, packet: &TcpPacket<'_>, mark: Mark) {
        let from = if packet.src == self.facts.client { Side::Client } else { Side::Server };
        self.last = mark;
        let seq = if packet.flags & SYN != 0 { packet.seq.wrapping_add(1) } else { packet.seq };
        self.on_open(packet, from, mark);
        let (offset, kind) = self.on_payload(packet, seq, from, mark);
        self.on_close(packet, seq, from, mark);
        self.direction_mut(from).segments += 1;
        if self.facts.segments.len() < self.limits.items {
            self.facts.segments.push(Segment {
                mark,
                from,
                seq: packet.seq,
                ack: packet.ack,
                flags: packet.flags,
                window: packet.window,
                offset,
                len: packet.payload.len() as u32,
                kind,
            });
        }
    }

    fn on_open(&mut self, packet: &TcpPacket<'_>, from: Side, mark: Mark) {
        if packet.flags & SYN != 0 {
            self.streams[from.index()].on_syn(packet.seq);
            let slot = match packet.flags & ACK {
                0 => &mut self.facts.syn,
                _ => &mut self.facts.syn_ack,
            };
            match slot {
                Some(known) if known.again.len() < 64 => {
                    known.again.push(mark);
                    if known.fast_open.is_some() && packet.fast_open.is_none() {
                        known.fast_open_dropped.get_or_insert(mark);
                    }
                }
                Some(_) => {}
                None => *slot = Some(syn_facts(packet, mark)),
            }
        } else if from == Side::Client && packet.flags & (ACK | RST) == ACK {
            let answers = self.facts.syn_ack.as_ref().is_some_and(|s| {
                let ahead = packet.ack.wrapping_sub(s.isn.wrapping_add(1));
                ahead < 1 << 30
            });
            if answers && self.facts.established.is_none() {
                self.facts.established = Some(mark);
            }
        }
    }

    fn on_payload(&mut self, packet: &TcpPacket<'_>, seq: u32, from: Side, mark: Mark) -> (u64, SegmentKind) {
        let stream = &mut self.streams[from.index()];
        // A bare ACK before anything else (capture joined late) does not fix the start: its number is right, though.
        if packet.payload.is_empty() {
            let known = stream.synced();
            let offset = if known { stream.offset_of(seq).unwrap_or(0) } else { 0 };
            return (offset, SegmentKind::Control);
        }
        if packet.flags & RST != 0 {
            // Text in a reset is for people (RFC 9293 3.5.2), not of the stream.
            return (0, SegmentKind::Control);
        }
        let reader = &mut self.reader;
        let placed = stream.push(seq, packet.payload, mark, self.limits.out_of_order, &mut |bytes, span| {
            reader.feed(from, bytes, span);
        });
        let delivered = stream.delivered();
        let direction = self.direction_mut(from);
        direction.bytes = delivered;
        direction.repeated_bytes += placed.repeated;
        direction.conflicting_bytes += placed.conflicting;
        if !matches!(placed.kind, SegmentKind::Implausible | SegmentKind::Repeated) {
            direction.first_data.get_or_insert(mark);
            direction.last_data = Some(mark);
        }
        self.end_if_complete(from);
        (placed.offset, placed.kind)
    }

    fn on_close(&mut self, packet: &TcpPacket<'_>, seq: u32, from: Side, mark: Mark) {
        if packet.flags & ACK != 0
            && self.fin_next[from.other().index()].is_some_and(|fin| packet.ack.wrapping_sub(fin) < 1 << 30)
        {
            self.direction_mut(from.other()).fin_acked.get_or_insert(mark);
        }
        if packet.flags & RST != 0 {
            self.facts.reset.get_or_insert(TcpReset { from, mark });
            self.end_reader(Side::Client);
            self.end_reader(Side::Server);
        } else if packet.flags & FIN != 0 {
            let after = seq.wrapping_add(packet.payload.len() as u32);
            self.fin_next[from.index()].get_or_insert(after.wrapping_add(1));
            let stream = &mut self.streams[from.index()];
            if let Some(offset) = stream.offset_of(after) {
                stream.on_fin(offset);
            }
            self.direction_mut(from).fin.get_or_insert(mark);
            self.end_if_complete(from);
        }
    }

    fn end_if_complete(&mut self, side: Side) {
        if self.streams[side.index()].ended() {
            self.end_reader(side);
        }
    }

    fn end_reader(&mut self, side: Side) {
        if !std::mem::replace(&mut self.ended[side.index()], true) {
            self.reader.end(side);
        }
    }

    fn direction_mut(&mut self, from: Side) -> &mut TcpDirection {
        match from {
            Side::Client => &mut self.facts.from_client,
            Side::Server => &mut self.facts.from_server,
        }
    }

    /// What was read.
    pub(crate) fn finish(mut self) -> TcpConversation {
        for side in [Side::Client, Side::Server] {
            let held = self.streams[side.index()].beyond_hole();
            self.direction_mut(side).beyond_hole = held;
            if held > 0 {
                let who = if side == Side::Client { "client" } else { "server" };
                let at = self.streams[side.index()].delivered();
                self.facts.problems.push(format!(
                    "{held} bytes of the {who} lie beyond a hole at offset {at} that was never filled"
                ));
            }
        }
        if self.facts.syn.is_none() && self.facts.syn_ack.is_none() {
            self.facts.problems.push("the opening of the connection was not seen".to_owned());
        }
        if self.facts.segments.len() >= self.limits.items {
            self.facts.problems.push(format!("only the first {} segments are listed", self.limits.items));
        }
        self.reader.finish(&mut self.facts);
        self.facts
    }
}

fn syn_facts(packet: &TcpPacket<'_>, mark: Mark) -> SynFacts {
    SynFacts {
        mark,
        again: Vec::new(),
        isn: packet.seq,
        window: packet.window,
        mss: packet.mss,
        window_scale: packet.window_scale,
        sack_permitted: packet.sack_permitted,
        timestamps: packet.timestamps,
        fast_open: packet.fast_open,
        fast_open_dropped: None,
        flags: packet.flags,
        ack: packet.ack,
    }
}
