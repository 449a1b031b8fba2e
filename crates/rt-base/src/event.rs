//! What happened: one [`Event`] per step of the walk, each with the input that caused it.
//!
//! The causal register (DESIGN section 6): all that a node does inside one `handle` is caused by that input. A frame's arrival is
//! caused by its [`What::Transmit`], a timer carries the event that armed it. From this alone `rt-trace` walks back to the start.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{
    AppRecord, ConnId, DropReason, EventId, FrameId, LinkId, ListenerStep, Multipath, NearMiss, NodeId,
    PolicyChoice, PortId, TcpDecision, Time,
};

/// One thing that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its id: the node that recorded it and that node's counter.
    pub id: EventId,
    /// The input in whose handling it happened: a [`What::Transmit`] (arrival), a timer, a command...; `NONE` from outside.
    pub because: EventId,
    /// When.
    pub at: Time,
    /// The frame it is about, or `NONE`.
    pub frame: FrameId,
    /// What it was.
    pub what: What,
}

impl Event {
    /// The node that recorded it.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.id.node()
    }
}

/// The closed list of things that are recorded. Hot ones are small and flat, rare ones boxed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum What {
    /// The node was switched on (input).
    Boot,
    /// A step of the scenario begins here (input).
    Command {
        /// Index of the step in the scenario.
        step: u32,
    },
    /// A timer fired (input). From `armed_at` to the event's time the node waited for it.
    TimerFired {
        /// Which timer.
        kind: TimerKind,
        /// The connection it belongs to, or 0.
        conn: ConnId,
        /// The input event in whose handling it was armed.
        armed_by: EventId,
        /// When it was armed.
        armed_at: Time,
    },
    /// A frame was given to a link by `port`, at the time of the node's `handle`; its arrival at the other end is caused by
    /// this. Contiguous: at, offered (processing done), start (left the queue), done (last bit sent), arrive.
    Transmit {
        /// The link.
        link: LinkId,
        /// The sending interface.
        port: PortId,
        /// Nanoseconds of processing in the node before the frame was offered to the link.
        processing: u32,
        /// When its first bit left.
        start: Time,
        /// When its last bit left.
        done: Time,
        /// When its last bit arrives at the other end.
        arrive: Time,
    },
    /// A frame ended here.
    Drop {
        /// Why.
        reason: DropReason,
        /// Where in the walk.
        place: Place,
        /// The interface concerned.
        port: PortId,
        /// The rule that decided, as an index into the node's table for `place`, or `u32::MAX`.
        rule: u32,
    },
    /// The stack looked up a route (forwarded or own packets).
    Route {
        /// Index of the route in the node's table.
        rule: u32,
        /// The interface it leads to.
        out: PortId,
        /// The neighbour it goes to (the destination itself when on the link).
        next_hop: IpAddr,
        /// TTL after the decrement; 0 when the packet starts here.
        ttl: u8,
    },
    /// Rules of policy routing had a say in which table the next [`What::Route`] is from.
    RoutePolicy(Box<PolicyChoice>),
    /// Several routes to the destination are equally good (ECMP); the flow's hash chose one, which the next
    /// [`What::Route`] names.
    Multipath(Box<Multipath>),
    /// A virtual interface wrapped a packet: from here on it is longer, and keeps its frame's id (one journey).
    Wrapped {
        /// The virtual interface.
        port: PortId,
        /// Bytes that were put around it.
        overhead: u16,
        /// Length of the IP packet inside.
        len: u16,
        /// The longest that the interface takes.
        mtu: u16,
    },
    /// A wrapped packet was unwrapped by a virtual interface of this machine, by which the packet inside arrives.
    Unwrapped {
        /// The virtual interface.
        port: PortId,
        /// Bytes that were around it.
        overhead: u16,
    },
    /// A packet was given to the program behind a tun interface (inward false), or came from it (inward true).
    Tun {
        /// The interface.
        port: PortId,
        /// From the program into the machine.
        inward: bool,
    },
    /// A middlebox took away what it does not know.
    Stripped {
        /// Index of the rule.
        rule: u32,
    },
    /// The MSS option of a SYN was lowered.
    MssClamped {
        /// Index of the rule.
        rule: u32,
        /// Before.
        from: u16,
        /// After.
        to: u16,
    },
    /// A filter chain judged a packet.
    Filter {
        /// Which chain.
        hook: HookPoint,
        /// Index of the rule in that chain, or `u32::MAX` for the policy.
        rule: u32,
        /// Whether it passes.
        accepted: bool,
    },
    /// A rule logs a packet.
    Logged {
        /// Which chain.
        hook: HookPoint,
        /// Index of the rule in that chain.
        rule: u32,
        /// Packets that this rule did not log since the last one, since there were too many.
        untold: u32,
    },
    /// Nothing in particular decided: this rule came nearest.
    NearMiss(Box<NearMiss>),
    /// An address or port was rewritten.
    Nat(Box<NatRecord>),
    /// Conntrack made an entry for a new flow.
    ConntrackNew {
        /// IP protocol number.
        protocol: u8,
        /// Source as seen.
        src: SocketAddr,
    },
    /// A carrier-grade NAT gave an inner address a block of ports, or took it back (RFC 6888, REQ-14: the line to log).
    NatBlock {
        /// Whose.
        inside: IpAddr,
        /// Ports of this address.
        outside: IpAddr,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
        /// Given, or taken back.
        taken: bool,
    },
    /// A packet waits until the neighbour's MAC is known.
    NeighborWait {
        /// Whose MAC.
        address: IpAddr,
    },
    /// A neighbour's MAC was learnt.
    NeighborLearned {
        /// Whose.
        address: IpAddr,
        /// The MAC.
        mac: [u8; 6],
    },
    /// A switch learnt where a MAC lives.
    SwitchLearned {
        /// The MAC.
        mac: [u8; 6],
        /// Its port.
        port: PortId,
    },
    /// A switch passed a frame on.
    SwitchForward {
        /// To this port; `u16::MAX` when flooded.
        out: PortId,
    },
    /// A packet reached a socket of this node.
    Deliver {
        /// IP protocol number.
        protocol: u8,
        /// The connection or socket, 0 for ICMP.
        conn: ConnId,
    },
    /// A socket was opened; fixes the addresses of `conn`.
    ConnOpen {
        /// The connection.
        conn: ConnId,
        /// IP protocol number (6 or 17).
        protocol: u8,
        /// Whether this side asked for it.
        active: bool,
        /// This end.
        local: SocketAddr,
        /// The other end (unspecified for an unconnected UDP socket).
        remote: SocketAddr,
    },
    /// TCP moved to another state (RFC 9293, 3.3.2).
    TcpState {
        /// The connection.
        conn: ConnId,
        /// Before.
        from: TcpPhase,
        /// After.
        to: TcpPhase,
    },
    /// The application wrote into the send buffer.
    TcpWrite {
        /// The connection.
        conn: ConnId,
        /// Stream offset of the first byte written (0 is the first byte after the SYN).
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// TCP built a segment.
    TcpSend(Box<TcpSendRecord>),
    /// TCP has data to send and may not: from now until the next send of this connection.
    TcpBlocked {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: Blocked,
    },
    /// Congestion state after a change worth showing.
    TcpCwnd {
        /// The connection.
        conn: ConnId,
        /// Congestion window, bytes.
        cwnd: u32,
        /// Slow start threshold, bytes (`u32::MAX` while unset).
        ssthresh: u32,
        /// Bytes in flight.
        in_flight: u32,
        /// Smoothed RTT, microseconds (0 while unknown).
        srtt_us: u32,
    },
    /// Loss recovery or congestion control decided something, for this reason.
    TcpDecision {
        /// The connection.
        conn: ConnId,
        /// What and why.
        decision: Box<TcpDecision>,
    },
    /// The application got bytes that had become readable in order.
    TcpRead {
        /// The connection.
        conn: ConnId,
        /// Stream offset of the first byte.
        offset: u64,
        /// How many.
        len: u32,
    },
    /// Bytes were received beyond a hole and wait for it.
    TcpHole {
        /// The connection.
        conn: ConnId,
        /// Stream offset of the first missing byte.
        missing: u64,
    },
    /// Something happened at a listener's queues.
    Listener {
        /// The listener.
        conn: ConnId,
        /// What.
        step: ListenerStep,
        /// Half-open connections now.
        syn_queue: u32,
        /// Connections that wait to be accepted now.
        accept_queue: u32,
    },
    /// The world changed by the timeline: a link was cut, healed or impaired.
    LinkChanged {
        /// The link.
        link: LinkId,
        /// Whether it carries frames now.
        up: bool,
        /// Loss in parts per million now.
        loss_ppm: u32,
    },
    /// An application said something.
    App(Box<AppRecord>),
    /// The round-trip time was measured and what TCP makes of it (RFC 6298) has changed enough to be worth telling.
    TcpRtt {
        /// The connection.
        conn: ConnId,
        /// The sample, microseconds.
        sample_us: u32,
        /// SRTT, microseconds.
        srtt_us: u32,
        /// RTO, microseconds.
        rto_us: u32,
    },
    /// A frame came from the real program that plays this node (input). What made the program send it is not known.
    FromOutside {
        /// The interface it came through.
        port: PortId,
    },
    /// A frame was handed to the real program that plays this node: here the simulation ends.
    ToOutside {
        /// The interface it went through.
        port: PortId,
    },
    /// The world changed by the timeline: this node has forgotten its NAT mappings.
    Rebound {
        /// So many.
        mappings: u32,
    },
    /// A tunnel's program carries a packet as these bytes of a TCP stream. After the run the two ends are joined by them.
    InStream {
        /// The connection, at this machine.
        conn: ConnId,
        /// Stream offset of the packet's first byte.
        offset: u64,
        /// Its length.
        len: u32,
        /// Whether it came out of the stream here.
        inward: bool,
    },
    /// An ICMP error about the packet was due, and the limit of errors (RFC 1812, 4.3.2.8) kept it back.
    IcmpWithheld {
        /// To whom it would have gone.
        to: IpAddr,
    },
}

/// A TCP segment as it was built, with why.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TcpSendRecord {
    /// The connection.
    pub conn: ConnId,
    /// Sequence number on the wire.
    pub seq: u32,
    /// Acknowledgement number on the wire.
    pub ack: u32,
    /// Payload bytes.
    pub len: u32,
    /// TCP flags byte.
    pub flags: u8,
    /// Stream offset of the first payload byte.
    pub offset: u64,
    /// Why it was sent.
    pub why: SendWhy,
    /// For new data: the event in which its last byte was written. For a copy: the `TcpSend` before it. Else `NONE`.
    pub origin: EventId,
    /// The time of `origin`.
    pub origin_at: Time,
    /// Congestion window, bytes.
    pub cwnd: u32,
    /// Bytes in flight after this segment.
    pub in_flight: u32,
}

/// Why a TCP segment was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SendWhy {
    /// SYN, SYN-ACK.
    Handshake,
    /// Data for the first time.
    NewData,
    /// FIN for the first time.
    Fin,
    /// An acknowledgement due now (second segment, disorder, window update).
    Ack,
    /// The delayed-ACK timer.
    DelayedAck,
    /// Three duplicate ACKs or SACKs: fast retransmit (RFC 5681 3.2).
    FastRetransmit,
    /// The retransmission timer (RFC 6298).
    RtoRetransmit,
    /// ICMP said that the path takes no packet of that length (RFC 1191).
    PathMtu,
    /// Tail loss probe (RFC 8985).
    TailLossProbe,
    /// Zero-window probe.
    WindowProbe,
    /// Keepalive.
    Keepalive,
    /// Reset.
    Reset,
    /// Challenge ACK (RFC 5961).
    ChallengeAck,
}

/// Why TCP with data to send does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blocked {
    /// The handshake is not over.
    Handshake,
    /// The congestion window is full.
    Cwnd,
    /// The peer's window is full.
    PeerWindow,
    /// Nagle waits for an ACK or a full segment (RFC 896).
    Nagle,
    /// Pacing.
    Pacing,
    /// Corked by the application.
    Cork,
    /// All that was written has left, and the send buffer has no room for more until bytes are acknowledged.
    SendBuffer,
}

/// RFC 9293 3.3.2, as a plain name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpPhase {
    /// No connection.
    Closed,
    /// Waiting for a SYN.
    Listen,
    /// SYN sent.
    SynSent,
    /// SYN received.
    SynReceived,
    /// Open.
    Established,
    /// FIN sent.
    FinWait1,
    /// FIN acknowledged.
    FinWait2,
    /// FIN received first.
    CloseWait,
    /// Both sent FIN at once.
    Closing,
    /// FIN sent after the peer's.
    LastAck,
    /// Waiting for old segments to die.
    TimeWait,
}

/// An address rewrite.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NatRecord {
    /// Source or destination.
    pub side: NatSide,
    /// Index of the NAT rule in the node's table; `u32::MAX` when an existing entry (a reply) was used.
    pub rule: u32,
    /// Whether the entry was made by this packet.
    pub created: bool,
    /// IP protocol number.
    pub protocol: u8,
    /// Source before.
    pub src_before: SocketAddr,
    /// Destination before.
    pub dst_before: SocketAddr,
    /// Source after.
    pub src_after: SocketAddr,
    /// Destination after.
    pub dst_after: SocketAddr,
}

/// Which side NAT rewrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatSide {
    /// Source NAT (also the reply of a DNAT).
    Source,
    /// Destination NAT (also the reply of an SNAT).
    Destination,
}

/// The hooks of the pipeline, named as in netfilter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookPoint {
    /// On arrival, before routing.
    Prerouting,
    /// For this machine.
    Input,
    /// Through this machine.
    Forward,
    /// From this machine.
    Output,
    /// Before leaving.
    Postrouting,
}

/// Where in the walk something happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Interface, Ethernet, header checks.
    Ingress,
    /// A filter hook.
    Hook(HookPoint),
    /// NAT or conntrack.
    Nat,
    /// Route look-up.
    Route,
    /// Neighbour resolution.
    Neighbor,
    /// Reassembly.
    Reassembly,
    /// ICMP, UDP or TCP of this machine.
    Socket,
    /// The link's queue.
    Queue,
    /// The link itself.
    Link,
    /// A switch.
    Switch,
}

/// Which timer fired.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimerKind {
    /// Retransmission timeout (RFC 6298).
    Rto,
    /// Tail loss probe (RFC 8985 section 7).
    Tlp,
    /// RACK waits for reordered segments (RFC 8985 6.2).
    Reorder,
    /// Delayed ACK.
    DelayedAck,
    /// Zero-window probe.
    Persist,
    /// Keepalive.
    Keepalive,
    /// TIME-WAIT's 2 MSL.
    TimeWait,
    /// FIN-WAIT-2 timeout.
    FinWait2,
    /// Pacing.
    Pacing,
    /// ARP asks again.
    Neighbor,
    /// Fragments expire.
    Reassembly,
    /// A PPPoE session is asked for again.
    Session,
    /// An application waited, for this reason.
    App(Wait),
}

/// What an application waited for when it used its clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// A server works on a request.
    ServerThink,
    /// A name server works on a query.
    DnsThink,
    /// A proxy works on a request.
    ProxyThink,
    /// A proxy collects bytes before it passes them on.
    Collect,
    /// The browser parses, runs scripts, lays out.
    PageWork,
    /// A person waits before the next step.
    Person,
    /// No answer: the request's timeout.
    Timeout,
    /// Back-off before the next try.
    Backoff,
    /// DHCP waits for offers or answers.
    Dhcp,
    /// The library's own housekeeping.
    Housekeeping,
    /// A stream is sent at its own pace.
    Pace,
    /// A forger sends its packets at the rate that was asked for.
    Attack,
}
