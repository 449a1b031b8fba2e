//! The two ends joined: what every machine's frames say, which connection at one machine is which at another, and which
//! request of an application travelled where.
//!
//! Connections join by the SYN's frame id, which travels outside the bytes and stays the same through NAT. Requests join
//! to bytes by the addresses that the application names and the order on the connection. Main type: [`View`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use rt_base::{
    AppRecord, ConnId, DropReason, Event, FixedMap, FrameId, Nanos, NodeId, ReqId, ReqKind, Time, What,
};

use super::index::Index;
use super::relay::Relay;
use crate::read::{
    DnsExchange, HttpExchange, NodeExchanges, Secrets, SeenFrame, Side, TcpConversation, read_node,
};
use crate::streams::Passage;
use crate::{NodeClass, Trace};

/// Streams inside streams that a way is followed into.
const MOST_STREAMS: u8 = 4;

/// A trace with everything read and joined.
pub(crate) struct View<'t> {
    pub(crate) trace: &'t Trace,
    /// Machines on which an application spoke, and what their frames say.
    pub(crate) read: BTreeMap<NodeId, NodeExchanges>,
    /// Of machines that relay SSH: what their frames say to somebody who has only their own programs' secrets.
    pub(crate) own_eyes: BTreeMap<NodeId, NodeExchanges>,
    /// TCP connections with both their ends.
    pub(crate) conns: Vec<Conn>,
    /// Requests of all applications.
    pub(crate) requests: BTreeMap<(NodeId, ReqId), Req<'t>>,
    /// What proxies decided, by proxy, client and the request's ordinal on its connection.
    pub(crate) asked: Asked<'t>,
    /// Connections that a machine carried on over one of its own, by position in `conns`.
    pub(crate) relays: BTreeMap<usize, Relay<'t>>,
    /// What proxies asked of upstreams, and for whom.
    pub(crate) asking: BTreeMap<NodeId, Vec<Asking>>,
    addresses: BTreeMap<IpAddr, NodeId>,
    /// Forged segments by their source and destination: positions in `conns`.
    forged: BTreeMap<(SocketAddr, SocketAddr), Vec<usize>>,
    conn_of: FixedMap<FrameId, (usize, Side)>,
    /// What TCP recorded of each connection at its client and at its server: positions in the trace, in order.
    tcp_events: Vec<[Vec<u32>; 2]>,
    dns_frames: FixedMap<FrameId, ()>,
    /// What is looked up for each request.
    pub(crate) index: Index,
}

/// What was said of requests, by machine, client and the request's ordinal on its connection.
type Asked<'t> = BTreeMap<(NodeId, SocketAddr, u32), Vec<(&'t Event, &'t AppRecord)>>;

/// A proxy asks an upstream for a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// The client, as the proxy sees it.
    pub(crate) client: SocketAddr,
    pub(crate) upstream: SocketAddr,
    /// The proxy's end of the connection, if there was one.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) from: Time,
    pub(crate) to: Time,
}

/// A connection as seen at its ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conn {
    /// Where the SYN was sent.
    pub(crate) client: End,
    /// Where the SYN arrived, if it did.
    pub(crate) server: Option<End>,
    /// Its segments were sent in the name of an address that the sender does not have: no connection, but a forger's work.
    pub(crate) forged: bool,
}

/// One end's view: `read[node].tcp[index]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    pub(crate) index: usize,
}

/// A request as its application told it.
#[derive(Debug)]
pub(crate) struct Req<'t> {
    pub(crate) node: NodeId,
    pub(crate) id: ReqId,
    pub(crate) parent: ReqId,
    pub(crate) kind: ReqKind,
    pub(crate) method: &'t str,
    pub(crate) target: &'t str,
    pub(crate) begin: &'t Event,
    pub(crate) end: Option<ReqEnd<'t>>,
    /// Everything else said of it, in order.
    pub(crate) said: Vec<(&'t Event, &'t AppRecord)>,
}

/// The end of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReqEnd<'t> {
    pub(crate) event: &'t Event,
    pub(crate) status: u16,
    pub(crate) ok: bool,
    pub(crate) body_bytes: u64,
    pub(crate) note: &'t str,
}

/// The part of a request's way that its application told: which connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used<'t> {
    pub(crate) at: Time,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) reused: bool,
    pub(crate) protocol: &'t str,
}

/// One crossing of a link by a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg<'t> {
    pub(crate) event: &'t Event,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// Offered to the link.
    pub(crate) out: Time,
    pub(crate) arrive: Time,
}

impl Req<'_> {
    /// When it ended, if it did.
    pub(crate) fn end_at(&self) -> Option<Time> {
        self.end.map(|e| e.event.at)
    }

    /// The connections it used, in order.
    pub(crate) fn used(&self) -> impl Iterator<Item = Used<'_>> {
        self.said.iter().filter_map(|(event, record)| match record {
            AppRecord::UsesConnection { local, remote, reused, protocol, .. } => {
                Some(Used { at: event.at, local: *local, remote: *remote, reused: *reused, protocol })
            }
            _ => None,
        })
    }
}

impl<'t> View<'t> {
    /// Reads and joins everything.
    pub(crate) fn new(trace: &'t Trace) -> View<'t> {
        let secrets = Secrets::from_lines(trace.secrets.iter().map(|s| s.line.as_str()));
        // Hosts, and whatever else runs applications (a home router's DHCP server).
        let hosts = trace
            .frames
            .iter()
            .map(|c| c.node)
            .filter(|n| trace.map.nodes.get(n.index()).is_none_or(|f| f.class == NodeClass::Host));
        let speakers: BTreeSet<NodeId> = trace.said().map(|(event, _)| event.node()).chain(hosts).collect();
        let read_at = |node: NodeId, secrets: &Secrets| {
            let frames = trace.frames_at(node).map(|c| SeenFrame {
                at: c.at,
                port: c.port,
                way: c.way,
                frame: c.frame,
                bytes: &c.bytes,
            });
            read_node(frames, secrets)
        };
        let read: BTreeMap<NodeId, NodeExchanges> =
            speakers.iter().map(|&node| (node, read_at(node, &secrets))).collect();
        let relays: BTreeSet<NodeId> = trace
            .said()
            .filter(|(_, record)| matches!(record, AppRecord::Relayed { .. }))
            .map(|(event, _)| event.node())
            .collect();
        let alone = |node: NodeId| {
            let own = trace.secrets.iter().filter(|s| s.node == node).map(|s| s.line.as_str());
            (node, read_at(node, &Secrets::from_lines(own)))
        };
        let own_eyes = relays.into_iter().map(alone).collect();
        let mut view = View {
            trace,
            conns: super::join::join(trace, &read),
            read,
            own_eyes,
            requests: requests_of(trace),
            asked: asked_of(trace),
            relays: BTreeMap::new(),
            asking: BTreeMap::new(),
            addresses: addresses_of(trace),
            forged: BTreeMap::new(),
            conn_of: FixedMap::default(),
            tcp_events: Vec::new(),
            dns_frames: FixedMap::default(),
            index: Index::default(),
        };
        let own = own_addresses(trace);
        for conn in &mut view.conns {
            let source = view.read[&conn.client.node].tcp[conn.client.index].client.ip();
            let has = own.get(&conn.client.node);
            conn.forged = !source.is_loopback() && has.is_some_and(|has| !has.contains(&source));
        }
        // Forged ones last: a person counts connections, and a flood would bury them.
        view.conns.sort_by_key(|c| {
            let opened = view.read[&c.client.node].tcp[c.client.index].segments.first().map(|s| s.mark);
            (c.forged, opened, c.client)
        });
        for (number, conn) in view.conns.iter().enumerate().filter(|(_, c)| c.forged) {
            let tcp = &view.read[&conn.client.node].tcp[conn.client.index];
            view.forged.entry((tcp.client, tcp.server)).or_default().push(number);
        }
        view.index_frames();
        view.index_tcp_events();
        view.index = Index::new(&view);
        view.relays = super::relay::all(&view);
        view.asking = super::upstream::asking(&view);
        view
    }

    fn index_frames(&mut self) {
        for (number, conn) in self.conns.iter().enumerate() {
            for end in [Some(conn.client), conn.server].into_iter().flatten() {
                for segment in &self.read[&end.node].tcp[end.index].segments {
                    self.conn_of.entry(segment.mark.frame).or_insert((number, segment.from));
                }
            }
        }
        let datagrams = self.read.values().flat_map(|r| &r.udp).filter(|u| !u.dns.is_empty());
        for datagram in datagrams.flat_map(|u| &u.datagrams) {
            self.dns_frames.insert(datagram.mark.frame, ());
        }
    }

    /// Joins the connections of each machine's TCP to ours by the segments that they sent.
    fn index_tcp_events(&mut self) {
        let mut of: FixedMap<(NodeId, ConnId), (usize, Side)> = FixedMap::default();
        for event in &self.trace.events {
            let What::TcpSend(record) = &event.what else { continue };
            if let Some(found) = self.conn_of(event.frame).filter(|_| record.conn != ConnId(0)) {
                of.entry((event.node(), record.conn)).or_insert(found);
            }
        }
        self.tcp_events = vec![Default::default(); self.conns.len()];
        for (i, event) in self.trace.events.iter().enumerate() {
            let conn = match &event.what {
                What::TcpSend(record) => record.conn,
                What::TcpState { conn, .. }
                | What::TcpBlocked { conn, .. }
                | What::TcpCwnd { conn, .. }
                | What::TcpRtt { conn, .. }
                | What::TcpWrite { conn, .. }
                | What::TcpDecision { conn, .. } => *conn,
                _ => continue,
            };
            let (Some((number, side)), Ok(at)) = (of.get(&(event.node(), conn)), u32::try_from(i)) else {
                continue;
            };
            self.tcp_events[*number][side.index()].push(at);
        }
    }

    /// What TCP at one end recorded of a connection, in order: states, segments, why it waited, what it decided.
    pub(crate) fn tcp_events(&self, conn: usize, side: Side) -> impl DoubleEndedIterator<Item = &'t Event> {
        let trace = self.trace;
        self.tcp_events[conn][side.index()].iter().map(move |&i| &trace.events[i as usize])
    }

    /// Whether a tunnel goes through a connection.
    pub(crate) fn carries_tunnel(&self, conn: usize) -> bool {
        [Side::Client, Side::Server].into_iter().any(|side| {
            let mut sent = self.tcp_events(conn, side).filter_map(|e| match &e.what {
                What::TcpSend(record) => Some((e.node(), record.conn)),
                _ => None,
            });
            sent.next().is_some_and(|end| self.trace.streams().carries(end))
        })
    }

    /// The connections whose streams carried packets of these.
    pub(crate) fn carriers(&self, conns: &[usize]) -> BTreeSet<usize> {
        let of_conn = |conn: &usize| {
            let frame = self.tcp(self.conns[*conn].client).syn_frame();
            let passages = self.trace.in_streams(frame).into_iter();
            let segments = passages.filter_map(|p| p.segments.first().map(|s| s.sent.frame));
            segments
                .filter_map(|frame| self.conn_of(frame))
                .map(|(carrier, _)| carrier)
                .collect::<Vec<usize>>()
        };
        conns.iter().flat_map(of_conn).collect()
    }

    /// The end of a connection on that side, if it was reached.
    pub(crate) fn end(&self, conn: usize, side: Side) -> Option<End> {
        match side {
            Side::Client => Some(self.conns[conn].client),
            Side::Server => self.conns[conn].server,
        }
    }

    /// What one end saw of a connection.
    pub(crate) fn tcp(&self, end: End) -> &TcpConversation {
        &self.read[&end.node].tcp[end.index]
    }

    /// The connection that a frame belongs to, and who sent it.
    pub(crate) fn conn_of(&self, frame: FrameId) -> Option<(usize, Side)> {
        self.conn_of.get(&frame).copied()
    }

    /// Whether the frame carries DNS over UDP.
    pub(crate) fn is_dns(&self, frame: FrameId) -> bool {
        self.dns_frames.contains_key(&frame)
    }

    /// Connections that are a forger's segments with these addresses.
    pub(crate) fn forged_as(&self, src: SocketAddr, dst: SocketAddr) -> &[usize] {
        self.forged.get(&(src, dst)).map_or(&[], Vec::as_slice)
    }

    /// A machine's name.
    pub(crate) fn name(&self, node: NodeId) -> String {
        self.trace.map.node_name(node)
    }

    /// The machine that bears this address (the first, when several do).
    pub(crate) fn bearer(&self, address: IpAddr) -> Option<NodeId> {
        self.addresses.get(&address).copied()
    }

    /// The machine's name, or the address when nobody bears it.
    pub(crate) fn bearer_name(&self, address: IpAddr) -> String {
        self.bearer(address).map_or_else(|| address.to_string(), |n| self.name(n))
    }

    /// The connection that a request used at its machine: addresses as told, the latest opened by then.
    pub(crate) fn conn_used(&self, node: NodeId, used: &Used<'_>) -> Option<usize> {
        let opened =
            |i: &usize| self.tcp(self.conns[*i].client).syn.as_ref().map_or(Time::ZERO, |s| s.mark.at);
        let all = self.index.between(node, used.local, used.remote).iter().copied();
        let (before, after): (Vec<usize>, Vec<usize>) = all.partition(|i| opened(i) <= used.at);
        before.into_iter().max_by_key(opened).or_else(|| after.into_iter().min_by_key(opened))
    }

    /// The connection whose server end is this one.
    pub(crate) fn exchange_at_server(
        &self,
        conn: usize,
        exchange: &HttpExchange,
    ) -> Option<(End, &HttpExchange)> {
        let end = self.conns[conn].server?;
        let at = self.index.end(self, end).exchange(exchange)?;
        Some((end, &self.tcp(end).http[at]))
    }

    /// The DNS exchanges, over UDP or TCP, of a request at its machine.
    pub(crate) fn dns_used(&self, node: NodeId, used: &Used<'_>) -> Vec<&DnsExchange> {
        let Some(read) = self.read.get(&node) else { return Vec::new() };
        let is_its = |client: SocketAddr, server: SocketAddr| {
            let asks = client.port() == used.local.port() && server == used.remote;
            let answers = server.port() == used.local.port() && client == used.remote;
            asks || answers
        };
        let udp = read.udp.iter().filter(|u| is_its(u.client, u.server)).flat_map(|u| &u.dns);
        udp.chain(read.tcp.iter().filter(|t| is_its(t.client, t.server)).flat_map(|t| &t.dns)).collect()
    }

    /// The way of a frame: from the machine that built it to where it ended (delivered, dropped or last seen). Where a tunnel
    /// carries it in a stream, its way is that of the segment that brought the last of its bytes.
    pub(crate) fn way(&self, frame: FrameId) -> Vec<Leg<'t>> {
        self.way_within(frame, 0)
    }

    fn way_within(&self, frame: FrameId, depth: u8) -> Vec<Leg<'t>> {
        let trace = self.trace;
        let passages = if depth < MOST_STREAMS { trace.in_streams(frame) } else { Vec::new() };
        let dropped = || trace.events_of(frame).filter(|e| matches!(e.what, What::Drop { .. })).last();
        let ended = self.delivered(frame).or_else(dropped);
        let legs: Vec<Leg<'t>> = trace.events_of(frame).filter_map(|e| self.leg(e)).collect();
        let (mut node, mut at) = match (ended, legs.last()) {
            (Some(event), _) => (event.node(), event.at),
            (None, Some(leg)) => (leg.to, leg.arrive),
            (None, None) => return Vec::new(),
        };
        let mut way = Vec::new();
        for _ in 0..=legs.len() + passages.len() {
            let leg = legs.iter().rev().find(|l| l.to == node && l.arrive <= at);
            let came = |p: &&Passage<'t>| p.left.is_some_and(|e| e.node() == node && e.at <= at);
            let passage = passages.iter().rev().find(came);
            let later = |p: &&Passage<'t>| leg.is_none_or(|l| p.left.is_some_and(|e| e.at >= l.arrive));
            if let Some((passage, last)) = passage.filter(later).and_then(|p| p.last().map(|last| (p, last)))
            {
                way.extend(self.way_within(last.sent.frame, depth + 1).into_iter().rev());
                (node, at) = (passage.entered.node(), passage.entered.at);
            } else if let Some(leg) = leg {
                way.push(*leg);
                (node, at) = (leg.from, leg.event.at);
            } else {
                break;
            }
        }
        way.reverse();
        way
    }

    /// The events of a frame and of those that carried it on these legs, in order.
    pub(crate) fn events_along(&self, frame: FrameId, way: &[Leg<'t>]) -> Vec<&'t Event> {
        let trace = self.trace;
        let mut all: Vec<&Event> = trace.events_of(frame).collect();
        let carriers: BTreeSet<FrameId> =
            way.iter().map(|leg| leg.event.frame).filter(|f| *f != frame).collect();
        if !carriers.is_empty() {
            all.extend(carriers.into_iter().flat_map(|carrier| trace.events_of(carrier)));
            all.sort_by_key(|e| trace.position(e.id));
        }
        all
    }

    /// When a packet that a tunnel's program was given at its first machine began there: before it was sent on, it waited for
    /// the program.
    pub(crate) fn began(&self, frame: FrameId, node: NodeId) -> Option<Time> {
        let of_node = || self.trace.events_of(frame).filter(|e| e.node() == node);
        of_node().any(|e| matches!(e.what, What::Tun { inward: false, .. })).then_some(())?;
        of_node().next().map(|e| e.at)
    }

    /// When a packet was done with at its last machine, if a stream brought it there.
    pub(crate) fn done(&self, frame: FrameId, node: NodeId) -> Option<Time> {
        let streamed = self.trace.in_streams(frame).iter().any(|p| p.left.is_some_and(|e| e.node() == node));
        let last = self.trace.events_of(frame).filter(|e| e.node() == node).map(|e| e.at).max();
        last.filter(|_| streamed)
    }

    /// Where a frame reached a socket or left the simulation. The end of a tunnel is not the end of the journey: what is
    /// unwrapped there goes on.
    pub(crate) fn delivered(&self, frame: FrameId) -> Option<&'t Event> {
        let all = || self.trace.events_of(frame);
        let goes_on = |end: &Event| {
            // Or the tunnel's program did not take what came.
            let refused = DropReason::TunnelRefused;
            let unwrapped = |e: &Event| {
                (matches!(e.what, What::Unwrapped { .. })
                    || matches!(e.what, What::Drop { reason, .. } if reason == refused))
                    && e.node() == end.node()
                    && e.at == end.at
                    && e.id > end.id
            };
            all().any(unwrapped)
        };
        let ends = all().filter(|e| matches!(e.what, What::Deliver { .. } | What::ToOutside { .. }));
        ends.filter(|e| !goes_on(e)).last()
    }

    fn leg(&self, event: &'t Event) -> Option<Leg<'t>> {
        let What::Transmit { link, processing, arrive, .. } = event.what else { return None };
        let (to, _) = self.trace.map.other_end(link, event.node())?;
        let out = event.at + Nanos(u64::from(processing));
        Some(Leg { event, from: event.node(), to, out, arrive })
    }

    /// Requests of one machine whose parent is this one, in order of their beginning.
    pub(crate) fn children(&self, node: NodeId, parent: ReqId) -> Vec<&Req<'t>> {
        let of = self.index.children(node, parent).iter();
        let mut all: Vec<&Req<'t>> = of.filter_map(|id| self.requests.get(&(node, *id))).collect();
        all.sort_by_key(|r| self.trace.position(r.begin.id));
        all
    }
}

fn addresses_of(trace: &Trace) -> BTreeMap<IpAddr, NodeId> {
    let mut all = BTreeMap::new();
    for (number, node) in trace.map.nodes.iter().enumerate() {
        let Ok(number) = u32::try_from(number) else { break };
        for (address, _) in node.interfaces.iter().flat_map(|i| &i.addresses) {
            all.entry(*address).or_insert(NodeId(number));
        }
    }
    for (event, record) in trace.said() {
        if let AppRecord::AddressAssigned { address, .. } = record {
            all.entry(*address).or_insert(event.node());
        }
    }
    all
}

/// The addresses that each machine has, or was given, at any time of the run.
fn own_addresses(trace: &Trace) -> BTreeMap<NodeId, BTreeSet<IpAddr>> {
    let mut all: BTreeMap<NodeId, BTreeSet<IpAddr>> = BTreeMap::new();
    for (number, node) in (0..).zip(&trace.map.nodes) {
        let addresses = node.interfaces.iter().flat_map(|i| &i.addresses).map(|(address, _)| *address);
        all.entry(NodeId(number)).or_default().extend(addresses);
    }
    for (event, record) in trace.said() {
        if let AppRecord::AddressAssigned { address, .. } = record {
            all.entry(event.node()).or_default().insert(*address);
        }
    }
    all.retain(|_, has| !has.is_empty());
    all
}

fn asked_of(trace: &Trace) -> Asked<'_> {
    let mut all = Asked::new();
    for (event, record) in trace.said() {
        if let AppRecord::SharedCache { downstream, downstream_ordinal, .. }
        | AppRecord::ChoseSite { downstream, downstream_ordinal, .. }
        | AppRecord::Forward { downstream, downstream_ordinal, .. }
        | AppRecord::ChoseUpstream { downstream, downstream_ordinal, .. }
        | AppRecord::ProxyStep { downstream, downstream_ordinal, .. } = record
        {
            let place = (event.node(), *downstream, *downstream_ordinal);
            all.entry(place).or_default().push((event, record));
        }
    }
    all
}

fn requests_of(trace: &Trace) -> BTreeMap<(NodeId, ReqId), Req<'_>> {
    let mut all: BTreeMap<(NodeId, ReqId), Req<'_>> = BTreeMap::new();
    for (event, record) in trace.said() {
        let node = event.node();
        match record {
            AppRecord::RequestBegin { req, parent, kind, method, target } => {
                let (id, parent, kind) = (*req, *parent, *kind);
                let begun =
                    Req { node, id, parent, kind, method, target, begin: event, end: None, said: Vec::new() };
                all.insert((node, id), begun);
            }
            AppRecord::RequestEnd { req, status, ok, body_bytes, note } => {
                if let Some(r) = all.get_mut(&(node, *req)) {
                    let (status, ok, body_bytes) = (*status, *ok, *body_bytes);
                    r.end = Some(ReqEnd { event, status, ok, body_bytes, note });
                }
            }
            AppRecord::Cache { req, .. }
            | AppRecord::SharedCache { req, .. }
            | AppRecord::UsesConnection { req, .. }
            | AppRecord::ChoseUpstream { req, .. }
            | AppRecord::Retry { req, .. }
            | AppRecord::CertificateChecked { req, .. }
            | AppRecord::Rendered { req, .. }
            | AppRecord::Measured { req, .. }
            | AppRecord::Note { req, .. } => {
                if let Some(r) = all.get_mut(&(node, *req)) {
                    r.said.push((event, record));
                }
            }
            AppRecord::StepBegin { .. }
            | AppRecord::StepEnd { .. }
            | AppRecord::StepFigures { .. }
            | AppRecord::Secret { .. }
            | AppRecord::Relayed { .. }
            | AppRecord::Balanced { .. }
            | AppRecord::ChoseSite { .. }
            | AppRecord::Steered { .. }
            | AppRecord::ProxyStep { .. }
            | AppRecord::Forward { .. }
            | AppRecord::Work { .. }
            | AppRecord::AddressAssigned { .. } => {}
        }
    }
    all
}
