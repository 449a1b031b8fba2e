//! The values that go in and out of a connection: context, segments, outcomes, errors.

use rt_base::{ConnId, EventId, SendWhy, TcpSendRecord, Time, What};
use rt_wire::TcpHeader;

/// What every call brings along: the time, and for the story the input event in whose handling it happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cx {
    /// Virtual time.
    pub now: Time,
    /// The input event being handled (`Outbox::cause`).
    pub cause: EventId,
    /// Whether records are wanted at all.
    pub recording: bool,
}

impl Cx {
    /// A context without a story, for tests and benchmarks.
    #[must_use]
    pub fn quiet(now: Time) -> Cx {
        Cx { now, cause: EventId::NONE, recording: false }
    }
}

/// The ECN field of an IP header (RFC 3168 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ecn {
    /// The transport knows nothing of ECN, or this packet must not be marked.
    #[default]
    NotEct,
    /// ECN-capable, codepoint ECT(1).
    Ect1,
    /// ECN-capable, codepoint ECT(0).
    Ect0,
    /// Congestion experienced: a router marked it.
    Ce,
}

impl Ecn {
    /// From the byte that holds DSCP and ECN.
    #[must_use]
    pub fn from_byte(dscp_ecn: u8) -> Ecn {
        //= rfc3168#5
        [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce][usize::from(dscp_ecn & 3)]
    }

    /// The two low bits of that byte.
    #[must_use]
    pub fn bits(self) -> u8 {
        self as u8
    }
}

/// A segment to be sent. The payload stays in the connection: [`super::Connection::payload`].
#[derive(Clone, Debug)]
pub struct Segment {
    /// The header; `src` and `dst` are 0 and filled in by the caller.
    pub header: TcpHeader,
    /// Payload bytes.
    pub len: u32,
    /// Stream offset of the first payload byte (0 is the first byte after the SYN).
    pub offset: u64,
    /// Why it is sent.
    pub why: SendWhy,
    /// For new data the event in whose handling its last byte was written; for a retransmission (of a SYN too) the
    /// `TcpSend` before it; else `NONE`.
    pub origin: EventId,
    /// The time of `origin`.
    pub origin_at: Time,
    /// Congestion window, bytes.
    pub cwnd: u32,
    /// Bytes in flight after this segment.
    pub in_flight: u32,
    /// For the IP header.
    pub ecn: Ecn,
    /// To be handed back with the id of the recorded event.
    pub token: SegmentToken,
}

impl Segment {
    /// The event that tells the story of this segment.
    #[must_use]
    pub fn record(&self, conn: ConnId) -> What {
        What::TcpSend(Box::new(TcpSendRecord {
            conn,
            seq: self.header.seq.0,
            ack: self.header.ack.0,
            len: self.len,
            flags: self.header.flags.0,
            offset: self.offset,
            why: self.why,
            origin: self.origin,
            origin_at: self.origin_at,
            cwnd: self.cwnd,
            in_flight: self.in_flight,
        }))
    }
}

/// Names a segment between [`super::Connection::next_segment`] and [`super::Connection::segment_recorded`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentToken(pub(super) Option<u32>);

/// What a received segment did. Replies are not in here: ask [`super::Connection::next_segment`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Outcome {
    /// Acceptable and taken: ACK, window, data or FIN as far as they were new.
    Accepted,
    /// SYN-SENT met a SYN without ACK: simultaneous open.
    EnterSynReceived,
    /// The handshake is over; a listener may put the connection into its accept queue.
    EnterEstablished,
    /// The connection is closed in good order (LAST-ACK's ACK).
    EnterClosed,
    /// The peer reset the connection, or refused it.
    ClosedByReset,
    /// We reset the connection; the RST is what `next_segment` gives.
    SendReset,
    /// Not acceptable; a reply (ACK, challenge ACK or RST) may be due, the connection stays as it was.
    Dropped(Ignored),
    /// TIME-WAIT met a newer SYN (RFC 9293 3.6.1, RFC 6191): forget this connection and give the segment to the
    /// listener.
    Reopen,
}

/// Why a segment was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ignored {
    /// The connection is closed.
    Closed,
    /// Sequence numbers outside the receive window.
    OutsideWindow,
    /// All of it had been received before.
    Duplicate,
    /// An old timestamp (PAWS, RFC 7323 5.3).
    Paws,
    /// No timestamp where timestamps were agreed (RFC 7323 3.2).
    NoTimestamp,
    /// An ACK for something not sent, or too old (RFC 5961 5.2).
    BadAck,
    /// No ACK bit where one is needed.
    NoAck,
    /// A SYN in a synchronised state (RFC 5961 4.2).
    UnexpectedSyn,
    /// A RST that does not hit RCV.NXT exactly (RFC 5961 3.2), or has the wrong ACK in SYN-SENT.
    BlindReset,
    /// A RST in TIME-WAIT (RFC 1337).
    ResetInTimeWait,
    /// Neither SYN nor RST in SYN-SENT.
    NothingForSynSent,
    /// The receive buffer's store for data beyond a hole is exhausted.
    TooManyHoles,
}

/// What an application gets to see when a connection fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TcpError {
    /// RST in answer to our SYN.
    Refused,
    /// RST on an open connection, or an abort by this side.
    Reset,
    /// No answer.
    TimedOut,
    /// ICMP says that the host cannot be reached.
    HostUnreachable,
    /// ICMP says that the network cannot be reached.
    NetUnreachable,
    /// RST after the peer's FIN: it will read nothing more (what Linux says then).
    BrokenPipe,
    /// Writing after `shutdown`, or to a connection that is closed.
    NotConnected,
}

/// What `read` found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// So many bytes were copied (at least one).
    Data(usize),
    /// Nothing yet.
    WouldBlock,
    /// The peer has sent its FIN and everything before it was read.
    Eof,
}

/// An ICMP error about a segment of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpError {
    /// Host unreachable: soft (RFC 5461), but ends a connection attempt.
    HostUnreachable,
    /// Network unreachable: as above.
    NetUnreachable,
    /// Port or protocol unreachable, prohibited: refuses a connection attempt.
    Refused,
    /// The TTL ran out on the way.
    TtlExceeded,
    /// Fragmentation needed: the next hop's MTU (RFC 1191).
    TooBig {
        /// That MTU in bytes, IP header included.
        mtu: u16,
    },
}
