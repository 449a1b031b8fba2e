//! A snapshot of a connection in the shape of Linux's `TCP_INFO`, for people, tests and whoever lays it out in bytes.

use rt_base::{Nanos, TcpPhase, Time, TimerKind};

use super::chrono::SendTimes;
use super::config::Family;
use super::connection::Connection;
use super::recovery::CongestionState;
use super::timers::Slot;

/// A snapshot. Counts of segments are Linux's `tcpi_unacked` and so on; windows are given in both units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// State.
    pub phase: TcpPhase,
    /// Where loss recovery stands (`tcpi_ca_state`).
    pub ca_state: CongestionState,
    /// Timeouts in a row without an answer (`tcpi_retransmits`).
    pub retransmits: u8,
    /// Unanswered window probes or keepalives (`tcpi_probes`).
    pub probes: u8,
    /// How often the RTO is doubled.
    pub backoff: u8,
    /// Timestamps are in use.
    pub timestamps: bool,
    /// SACK is in use.
    pub sack: bool,
    /// Window scaling is in use.
    pub window_scaling: bool,
    /// ECN is in use.
    pub ecn: bool,
    /// The peer sent ECN-capable segments.
    pub ecn_seen: bool,
    /// The text of the SYN was taken, by the peer or by us (RFC 7413).
    pub syn_data: bool,
    /// The peer's window shift.
    pub snd_wscale: u8,
    /// Ours.
    pub rcv_wscale: u8,
    /// Retransmission timeout as it stands.
    pub rto: Nanos,
    /// How long an ACK may wait (`tcpi_ato`); 0 before the first data.
    pub ato: Nanos,
    /// Payload of a full segment, bytes (`tcpi_snd_mss`).
    pub mss: u32,
    /// What TCP_MAXSEG tells, bytes: on Linux the payload of a full segment, on FreeBSD that with its options.
    pub maxseg: u32,
    /// The peer's segment size as seen (`tcpi_rcv_mss`), bytes.
    pub rcv_mss: u32,
    /// The MSS that was announced.
    pub advmss: u16,
    /// Congestion window, bytes.
    pub cwnd: u32,
    /// Slow start threshold, bytes; `u32::MAX` while unset.
    pub ssthresh: u32,
    /// Congestion window, segments (`tcpi_snd_cwnd`).
    pub cwnd_segments: u32,
    /// Slow start threshold, segments; `u32::MAX` while unset.
    pub ssthresh_segments: u32,
    /// Bytes thought to be in the network.
    pub in_flight: u32,
    /// Bytes sent and not acknowledged.
    pub unacked: u32,
    /// Segments sent and not acknowledged (`tcpi_unacked`).
    pub unacked_segments: u32,
    /// Of these selectively acknowledged, segments.
    pub sacked: u32,
    /// Of these taken for lost, segments.
    pub lost: u32,
    /// Of these sent again and still under way, segments (`tcpi_retrans`).
    pub retrans: u32,
    /// Segments sent again since the connection began.
    pub total_retrans: u32,
    /// Bytes written and not sent.
    pub unsent: u32,
    /// The peer's window, bytes.
    pub snd_wnd: u32,
    /// Our window as offered, bytes.
    pub rcv_wnd: u32,
    /// Smoothed round-trip time, 0 while unknown.
    pub srtt: Nanos,
    /// Its variation.
    pub rttvar: Nanos,
    /// Smallest round-trip time seen, 0 while unknown.
    pub min_rtt: Nanos,
    /// Segments by which the network reorders, as far as seen.
    pub reordering: u32,
    /// How often reordering was seen (`tcpi_reord_seen`).
    pub reordering_seen: u32,
    /// Duplicate segments that the peer reported (DSACK).
    pub dsack_dups: u32,
    /// When data was sent last.
    pub last_sent: Time,
    /// When data was received last, or the connection opened.
    pub last_received: Time,
    /// Stream bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Stream bytes received in order.
    pub bytes_received: u64,
    /// Bytes sent, repetitions among them.
    pub bytes_sent: u64,
    /// Bytes sent again.
    pub bytes_retrans: u64,
    /// Segments sent.
    pub segs_out: u32,
    /// Segments received.
    pub segs_in: u32,
    /// Segments with data sent.
    pub data_segs_out: u32,
    /// Segments with data received.
    pub data_segs_in: u32,
    /// Segments delivered to the peer.
    pub delivered: u32,
    /// Of these acknowledged with ECE.
    pub delivered_ce: u32,
    /// Pacing rate, bytes per second; `u64::MAX` without pacing.
    pub pacing_rate: u64,
    /// How fast the network delivered, bytes per second (`tcpi_delivery_rate`); 0 while nothing is known or no rates are kept
    /// ([`super::TcpConfig::delivery_rates`]).
    pub delivery_rate: u64,
    /// The application, not the network, was the limit of that.
    pub delivery_app_limited: bool,
    /// How long sending was busy, and what held it up.
    pub sending: SendTimes,
}

/// Counters that nothing else needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) bytes_sent: u64,
    pub(super) bytes_retrans: u64,
    pub(super) segs_out: u32,
    pub(super) segs_in: u32,
    pub(super) data_segs_out: u32,
    pub(super) data_segs_in: u32,
}

impl Totals {
    /// A segment leaves.
    pub(super) fn sent(&mut self, len: u32, again: bool) {
        self.segs_out = self.segs_out.wrapping_add(1);
        if len > 0 {
            self.data_segs_out = self.data_segs_out.wrapping_add(1);
            self.bytes_sent += u64::from(len);
            self.bytes_retrans += if again { u64::from(len) } else { 0 };
        }
    }

    /// A segment came.
    pub(super) fn received(&mut self, len: usize) {
        self.segs_in = self.segs_in.wrapping_add(1);
        self.data_segs_in = self.data_segs_in.wrapping_add(u32::from(len > 0));
    }
}

impl Connection {
    /// A snapshot.
    #[must_use]
    pub fn info(&self) -> Info {
        let r = &self.recovery;
        let (flight, window) = (&self.snd.flight, &r.window);
        let (cwnd, ssthresh) = window.bytes();
        let rate = flight.rates.as_ref().and_then(|rates| rates.shown());
        let probing = self.timers.is(Slot::Retransmit, TimerKind::Persist) || flight.is_empty();
        Info {
            phase: self.phase(),
            ca_state: r.state,
            retransmits: if probing { 0 } else { self.retries },
            probes: if probing { self.retries } else { 0 },
            backoff: self.rtt.backoff(),
            timestamps: self.ts.on,
            sack: self.rcv.sack,
            window_scaling: self.snd.shift > 0 || self.rcv.shift > 0,
            ecn: self.ecn.ok,
            ecn_seen: self.ecn.seen,
            syn_data: self.syn_text_taken(),
            snd_wscale: self.snd.shift,
            rcv_wscale: self.rcv.shift,
            rto: self.rtt.rto(&self.config),
            ato: self.ack.ato(),
            mss: self.snd.mss,
            maxseg: match self.config.family {
                Family::Linux => self.snd.mss,
                Family::Bsd => self.agreed_mss(),
            },
            rcv_mss: self.ack.segment(),
            advmss: self.rcv.mss,
            cwnd,
            ssthresh,
            cwnd_segments: window.cwnd,
            ssthresh_segments: window.ssthresh,
            in_flight: self.pipe(),
            unacked: self.snd.nxt - self.snd.una,
            unacked_segments: flight.segments(),
            sacked: flight.sacked(),
            lost: flight.lost(),
            retrans: flight.repeated(),
            total_retrans: r.counts.repeated,
            unsent: self.snd.unsent(),
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.wnd(),
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min(),
            reordering: r.reordering,
            reordering_seen: r.reordering_seen,
            dsack_dups: r.counts.duplicates,
            last_sent: self.snd.last_sent,
            last_received: self.ack.last_received(),
            bytes_acked: self.snd.buf.base(),
            bytes_received: self.rcv.buf.next(),
            bytes_sent: self.totals.bytes_sent,
            bytes_retrans: self.totals.bytes_retrans,
            segs_out: self.totals.segs_out,
            segs_in: self.totals.segs_in,
            data_segs_out: self.totals.data_segs_out,
            data_segs_in: self.totals.data_segs_in,
            delivered: r.counts.delivered,
            delivered_ce: r.counts.delivered_ce,
            pacing_rate: self.pacing_rate(),
            delivery_rate: rate.map_or(0, |sample| sample.bytes_per_second(self.snd.mss)),
            delivery_app_limited: rate.is_none_or(|sample| sample.app_limited),
            sending: flight.rates.as_ref().map_or_else(SendTimes::default, |rates| rates.sending),
        }
    }
}
