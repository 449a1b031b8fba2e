//! Before there is a connection: what a listening port and a closed port answer.

use rt_base::ConnId;
use rt_wire::{Seq, TcpFlags, TcpHeader, TcpOptions};

/// What the caller decides when it opens a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenParams {
    /// The connection's number, for records.
    pub conn: ConnId,
    /// Initial sequence number.
    pub isn: Seq,
    /// The MSS to announce: the interface's MTU minus 40 (IPv4 and TCP headers without options, RFC 6691).
    pub mss: u16,
    /// The MTU of the path, where a router has told it: no segment is longer (RFC 1191, 6.4). It is not announced, the way
    /// back may be another one.
    pub path_mtu: Option<u16>,
    /// Added to the millisecond clock in timestamps.
    pub ts_offset: u32,
    /// No Nagle.
    pub nodelay: bool,
}

/// What a listening port does with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum ListenOutcome {
    /// A SYN: make a connection with [`super::Connection::accept`].
    Open,
    /// Answer with this (ports filled in, swapped).
    SendReset(TcpHeader),
    /// Drop it.
    Ignore,
}

/// RFC 9293 3.10.7.2: a segment for a port in LISTEN.
pub fn on_listen(header: &TcpHeader, payload_len: u32) -> ListenOutcome {
    //= rfc9293#3.10.7.2
    if header.flags.has(TcpFlags::RST) {
        return ListenOutcome::Ignore;
    }
    if header.flags.has(TcpFlags::ACK) {
        return match reset_for(header, payload_len) {
            Some(reset) => ListenOutcome::SendReset(reset),
            None => ListenOutcome::Ignore,
        };
    }
    if header.flags.has(TcpFlags::SYN) { ListenOutcome::Open } else { ListenOutcome::Ignore }
}

/// RFC 9293 3.10.7.1: the RST that answers a segment for which there is no connection; none for a RST.
#[must_use]
pub fn reset_for(header: &TcpHeader, payload_len: u32) -> Option<TcpHeader> {
    //= rfc9293#3.10.7.1
    if header.flags.has(TcpFlags::RST) {
        return None;
    }
    let (seq, ack, flags) = if header.flags.has(TcpFlags::ACK) {
        (header.ack, Seq(0), TcpFlags::RST)
    } else {
        let len = payload_len
            + u32::from(header.flags.has(TcpFlags::SYN))
            + u32::from(header.flags.has(TcpFlags::FIN));
        (Seq(0), header.seq + len, TcpFlags::RST | TcpFlags::ACK)
    };
    Some(TcpHeader {
        src: header.dst,
        dst: header.src,
        seq,
        ack,
        flags,
        window: 0,
        urgent: 0,
        options: TcpOptions::default(),
    })
}
