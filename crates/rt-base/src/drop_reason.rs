//! Why a frame ends without being delivered: one enum for the simulator, the story and the prover (law 4).

use serde::{Deserialize, Serialize};

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $say:literal;)*) => {
        /// The reason a frame was dropped.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in the order of declaration.
            pub const ALL: &[DropReason] = &[$(DropReason::$name),*];

            /// The stable machine code, such as `drop.no_route`.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(DropReason::$name => concat!("drop.", $code),)* }
            }

            /// One short phrase for people.
            #[must_use]
            pub fn say(self) -> &'static str {
                match self { $(DropReason::$name => $say,)* }
            }
        }
    };
}

drop_reasons! {
    /// The link's queue had no room.
    QueueFull = "queue_full", "the queue was full";
    /// The link lost it by its loss rate.
    LinkLoss = "link_loss", "lost on the link";
    /// The link was cut or the port has no link.
    LinkDown = "link_down", "the link is down";
    /// Longer than the link's MTU.
    TooLongForLink = "too_long_for_link", "longer than the link's MTU";
    /// Addressed to another station.
    NotForThisStation = "not_for_this_station", "addressed to another station";
    /// A link-layer type that nobody here speaks.
    UnknownEtherType = "unknown_ethertype", "unknown EtherType";
    /// Too short, bad version, bad length: see the header checks of the layer.
    Malformed = "malformed", "malformed header";
    /// A checksum did not match.
    BadChecksum = "bad_checksum", "bad checksum";
    /// A switch met the frame on the port it would send it to.
    SamePort = "same_port", "the destination is on the port it came from";
    /// A switch saw the same frame circling.
    BridgeLoop = "bridge_loop", "it circles in a layer-2 loop";
    /// The TTL reached zero.
    TtlExceeded = "ttl_exceeded", "its TTL ran out";
    /// No route matched.
    NoRoute = "no_route", "no route to the destination";
    /// A blackhole route matched.
    Blackhole = "blackhole", "a blackhole route matched";
    /// An unreachable or prohibit route matched.
    RouteUnreachable = "route_unreachable", "an unreachable route matched";
    /// Not addressed to this machine, which does not forward.
    NotARouter = "not_a_router", "this machine does not forward";
    /// No answer from the neighbour (ARP).
    NeighborUnreachable = "neighbor_unreachable", "the neighbour does not answer ARP";
    /// Too many packets waited for the neighbour.
    NeighborQueueFull = "neighbor_queue_full", "too many packets waited for the neighbour";
    /// A filter rule or policy said drop.
    Filtered = "filtered", "a filter rule dropped it";
    /// A middlebox does not know what is in it.
    Ossified = "ossified", "a middlebox does not know what is in it";
    /// A filter rule said reject.
    Rejected = "rejected", "a filter rule rejected it";
    /// Conntrack calls it invalid.
    ConntrackInvalid = "conntrack_invalid", "it belongs to no known connection";
    /// The connection table is full.
    ConntrackFull = "conntrack_full", "the connection table was full";
    /// Its source has as many flows as one may have.
    ConntrackLimit = "conntrack_limit", "its source had too many connections";
    /// It came for a NAT's external address and belongs to no mapping.
    NatNoMapping = "nat_no_mapping", "no NAT mapping is for it";
    /// It came for a NAT mapping that does not let its sender in.
    NatFiltered = "nat_filtered", "the NAT mapping does not let its sender in";
    /// No external port left.
    NatExhausted = "nat_exhausted", "no NAT port was free";
    /// DF set and longer than the next link's MTU.
    FragmentationNeeded = "fragmentation_needed", "too long to pass and marked not to be fragmented";
    /// Fragments never completed.
    ReassemblyTimeout = "reassembly_timeout", "its other fragments did not come in time";
    /// Fragments overlap or the store is full.
    ReassemblyRefused = "reassembly_refused", "its fragments overlap or there are too many";
    /// An IP protocol nobody here speaks.
    UnknownProtocol = "unknown_protocol", "no such protocol here";
    /// No UDP or TCP socket on that port.
    NoSocket = "no_socket", "nobody listens on that port";
    /// The socket's receive buffer is full.
    SocketBufferFull = "socket_buffer_full", "the socket's buffer was full";
    /// The accept queue of the listener is full.
    AcceptQueueFull = "accept_queue_full", "the listener's accept queue was full";
    /// The SYN queue of the listener is full.
    SynQueueFull = "syn_queue_full", "the listener's SYN queue was full";
    /// The listener waits for data before it takes the connection (TCP_DEFER_ACCEPT).
    AcceptDeferred = "accept_deferred", "the listener waits for data";
    /// TCP judged the segment not acceptable.
    TcpUnacceptable = "tcp_unacceptable", "TCP does not accept the segment";
    /// A source address that cannot be (martian, own, broadcast).
    BadSource = "bad_source", "its source address is not possible here";
    /// The reverse-path check of the interface: answers to its source would leave elsewhere, or not at all (RFC 3704).
    ReversePath = "reverse_path", "the way back to its source does not lead through here";
    /// An interface without an address, or switched off.
    NoAddress = "no_address", "the interface has no address";
    /// A bit flipped on the link, and the receiver's frame check sequence found it.
    FrameCheck = "frame_check", "a bit flipped on the link";
    /// A tunnel's own packets are routed into the tunnel.
    TunnelLoop = "tunnel_loop", "its tunnel leads through itself";
    /// Wrapped for a tunnel, VLAN or session that this machine does not have.
    NoTunnel = "no_tunnel", "no tunnel or VLAN here is for it";
    /// Congestion was marked on the outside and the packet inside cannot say so (RFC 6040).
    CongestionUnsayable = "congestion_unsayable", "it met congestion in a tunnel and does not speak ECN";
    /// The program behind a tunnel interface threw it away: no peer is for it, or it must not come from that peer.
    TunnelRefused = "tunnel_refused", "the tunnel's program does not take it";
    /// The interface has no connection to its other side (PPPoE without a session, a tun without a program).
    InterfaceDown = "interface_down", "the interface is not connected";
    /// A ping for a machine that passes packets on unseen and answers nobody.
    AnswersNobody = "answers_nobody", "this machine passes packets on and answers nobody";
    /// The run ended with the frame on its way.
    RunEnded = "run_ended", "the run ended first";
}
