//! What the story looks up for each request, found once: with thousands of requests on one connection, a search through all
//! of it for each of them would make telling grow with their square.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use rt_base::{FixedMap, FrameId, NodeId, ReqId, Time};

use super::view::{End, View};
use crate::read::{HttpExchange, Segment, Side, Span, TcpConversation};

/// Positions of connections, children of requests, and what the streams of each end carry.
#[derive(Default)]
pub(crate) struct Index {
    /// By the machine that opened it, its address and the other's: positions in [`View::conns`], in order.
    between: BTreeMap<(NodeId, SocketAddr, SocketAddr), Vec<usize>>,
    opened_by: BTreeMap<NodeId, Vec<usize>>,
    children: BTreeMap<(NodeId, ReqId), Vec<ReqId>>,
    ends: BTreeMap<End, OnceCell<EndIndex>>,
}

impl Index {
    pub(crate) fn new(view: &View<'_>) -> Index {
        let mut index = Index::default();
        for (number, conn) in view.conns.iter().enumerate() {
            let tcp = view.tcp(conn.client);
            index.between.entry((conn.client.node, tcp.client, tcp.server)).or_default().push(number);
            index.opened_by.entry(conn.client.node).or_default().push(number);
            let ends = [Some(conn.client), conn.server].into_iter().flatten();
            index.ends.extend(ends.map(|end| (end, OnceCell::new())));
        }
        for req in view.requests.values() {
            index.children.entry((req.node, req.parent)).or_default().push(req.id);
        }
        index
    }

    /// Connections that a machine opened between these addresses.
    pub(crate) fn between(&self, node: NodeId, local: SocketAddr, remote: SocketAddr) -> &[usize] {
        self.between.get(&(node, local, remote)).map_or(&[], Vec::as_slice)
    }

    /// Connections that a machine opened.
    pub(crate) fn opened_by(&self, node: NodeId) -> &[usize] {
        self.opened_by.get(&node).map_or(&[], Vec::as_slice)
    }

    /// Requests made for this one, by number.
    pub(crate) fn children(&self, node: NodeId, parent: ReqId) -> &[ReqId] {
        self.children.get(&(node, parent)).map_or(&[], Vec::as_slice)
    }

    /// What one end of a connection saw.
    ///
    /// # Panics
    /// When the end is of no connection of this view.
    pub(crate) fn end(&self, view: &View<'_>, end: End) -> &EndIndex {
        let cell = self.ends.get(&end).expect("invariant: every end of a connection is known");
        cell.get_or_init(|| EndIndex::new(view, view.tcp(end)))
    }
}

/// One end of a connection.
pub(crate) struct EndIndex {
    /// When each segment was sent, in that order, and its position.
    sent: Vec<(Time, u32)>,
    segment: FixedMap<FrameId, u32>,
    exchanges: FixedMap<(u32, u32), usize>,
    /// When requests began, and their positions, in order of time; the earliest position from there on.
    begun: Vec<(Time, usize)>,
    tls: Spans,
    http: Spans,
    frames: Spans,
}

impl EndIndex {
    fn new(view: &View<'_>, tcp: &TcpConversation) -> EndIndex {
        let mut segment: FixedMap<FrameId, u32> = FixedMap::default();
        let mut sent = Vec::with_capacity(tcp.segments.len());
        for (at, one) in (0..).zip(&tcp.segments) {
            segment.entry(one.mark.frame).or_insert(at);
            sent.push((view.trace.sightings(one.mark.frame).next().map_or(one.mark.at, |c| c.at), at));
        }
        sent.sort_unstable();
        let mut exchanges: FixedMap<(u32, u32), usize> = FixedMap::default();
        let mut http = Spans::default();
        for (at, exchange) in tcp.http.iter().enumerate() {
            exchanges.entry((exchange.ordinal, exchange.stream)).or_insert(at);
            http.add(Side::Client, Some(exchange.request.head), at);
            http.add(Side::Client, exchange.request.body.span, at);
            if let Some(response) = &exchange.response {
                http.add(Side::Server, Some(response.head), at);
                http.add(Side::Server, response.body.span, at);
            }
        }
        let mut begun: Vec<(Time, usize)> =
            tcp.http.iter().enumerate().map(|(at, e)| (e.request.head.first.at, at)).collect();
        begun.sort_unstable();
        let mut tls = Spans::default();
        for (at, message) in tcp.tls.iter().flat_map(|t| &t.messages).enumerate() {
            tls.add(message.from, Some(message.span), at);
        }
        let mut frames = Spans::default();
        for (at, frame) in tcp.http2.iter().flat_map(|h| &h.frames).enumerate() {
            frames.add(frame.from, Some(frame.span), at);
        }
        EndIndex {
            sent,
            segment,
            exchanges,
            begun,
            tls: tls.ready(),
            http: http.ready(),
            frames: frames.ready(),
        }
    }

    /// Positions of segments that were sent in this time, by either end.
    pub(crate) fn sent_within(&self, from: Time, to: Time) -> impl Iterator<Item = usize> {
        let first = self.sent.partition_point(|(at, _)| *at < from);
        self.sent[first..].iter().take_while(move |(at, _)| *at <= to).map(|(_, at)| *at as usize)
    }

    /// Where this frame's segment is.
    pub(crate) fn segment(&self, frame: FrameId) -> Option<usize> {
        self.segment.get(&frame).map(|at| *at as usize)
    }

    /// The same exchange as the other end saw it.
    pub(crate) fn exchange(&self, other: &HttpExchange) -> Option<usize> {
        self.exchanges.get(&(other.ordinal, other.stream)).copied()
    }

    /// Positions of the exchanges whose requests began in this time, in the order of the connection.
    pub(crate) fn begun_within(&self, from: Time, to: Time) -> Vec<usize> {
        let first = self.begun.partition_point(|(at, _)| *at < from);
        let within = self.begun[first..].iter().take_while(|(at, _)| *at <= to);
        let mut all: Vec<usize> = within.map(|(_, at)| *at).collect();
        all.sort_unstable();
        all
    }

    /// Positions of the TLS messages of which a segment carries something, in order.
    pub(crate) fn messages(&self, segment: &Segment) -> Vec<usize> {
        self.tls.touching(segment)
    }

    /// The same for exchanges.
    pub(crate) fn exchanges(&self, segment: &Segment) -> Vec<usize> {
        self.http.touching(segment)
    }

    /// The same for HTTP/2 frames.
    pub(crate) fn http2_frames(&self, segment: &Segment) -> Vec<usize> {
        self.frames.touching(segment)
    }
}

/// Pieces of both streams of a connection.
#[derive(Default)]
struct Spans([Vec<Piece>; 2]);

/// One of them.
#[derive(Clone, Copy)]
struct Piece {
    start: u64,
    end: u64,
    what: usize,
    /// The furthest that this one and those before it go.
    reach: u64,
}

impl Spans {
    fn add(&mut self, side: Side, span: Option<Span>, what: usize) {
        if let Some(Span { start, end, .. }) = span {
            self.0[side.index()].push(Piece { start, end, what, reach: 0 });
        }
    }

    fn ready(mut self) -> Spans {
        for side in &mut self.0 {
            side.sort_by_key(|piece| piece.start);
            let mut reach = 0;
            for piece in side {
                reach = piece.end.max(reach);
                piece.reach = reach;
            }
        }
        self
    }

    fn touching(&self, segment: &Segment) -> Vec<usize> {
        let (start, end) = (segment.offset, segment.offset + u64::from(segment.len));
        let side = &self.0[segment.from.index()];
        let before = &side[..side.partition_point(|piece| piece.start < end)];
        let near = before.iter().rev().take_while(|piece| piece.reach > start);
        let mut all: Vec<usize> = near.filter(|piece| piece.end > start).map(|piece| piece.what).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
