//! `struct tcp_info` of Linux (`TCP_INFO`), byte for byte as a 64-bit little-endian or big-endian host lays it out.

use rt_base::{Nanos, TcpPhase, Time};
use rt_stack::tcp::Info;

use super::descriptor::Stream;
use super::{Errno, Fd, Machine};

/// Bytes of the structure that are filled in (up to `tcpi_snd_wnd`).
const LEN: usize = 232;

/// Writes fields one after the other.
struct Layout(Vec<u8>);

impl Layout {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }
}

fn micros(span: Nanos) -> u32 {
    u32::try_from(span.0 / 1_000).unwrap_or(u32::MAX)
}

/// Linux's numbers for the states (`TCP_ESTABLISHED` = 1).
fn state(phase: TcpPhase) -> u8 {
    match phase {
        TcpPhase::Established => 1,
        TcpPhase::SynSent => 2,
        TcpPhase::SynReceived => 3,
        TcpPhase::FinWait1 => 4,
        TcpPhase::FinWait2 => 5,
        TcpPhase::TimeWait => 6,
        TcpPhase::Closed => 7,
        TcpPhase::CloseWait => 8,
        TcpPhase::LastAck => 9,
        TcpPhase::Listen => 10,
        TcpPhase::Closing => 11,
    }
}

impl Machine {
    /// The bytes of `TCP_INFO`.
    pub(super) fn tcp_info(&self, fd: Fd) -> Result<Vec<u8>, Errno> {
        let stream = self.table.tcp(fd)?.stream;
        let mut layout = Layout(Vec::with_capacity(LEN));
        let id = match stream {
            Stream::Open(id) => id,
            Stream::Fresh | Stream::Listening(_) => {
                let listening = matches!(stream, Stream::Listening(_));
                layout.u8(state(if listening { TcpPhase::Listen } else { TcpPhase::Closed }));
                layout.0.resize(LEN, 0);
                return Ok(layout.0);
            }
        };
        let Some(info) = self.stack.tcp_info(id) else {
            layout.u8(state(TcpPhase::Closed));
            layout.0.resize(LEN, 0);
            return Ok(layout.0);
        };
        lay_out(&info, self.now(), &mut layout);
        Ok(layout.0)
    }
}

/// The fields in the order of `include/uapi/linux/tcp.h`.
fn lay_out(info: &Info, now: Time, layout: &mut Layout) {
    let options = [info.timestamps, info.sack, info.window_scaling, info.ecn, info.ecn_seen, info.syn_data];
    let bits = options.iter().enumerate().map(|(bit, on)| u8::from(*on) << bit).sum();
    for byte in [
        state(info.phase),
        info.ca_state as u8,
        info.retransmits,
        info.probes,
        info.backoff,
        bits,
        info.snd_wscale & 15 | info.rcv_wscale << 4,
        u8::from(info.delivery_app_limited),
    ] {
        layout.u8(byte);
    }
    let threshold = |segments: u32| if segments == u32::MAX { 0x7fff_ffff } else { segments };
    let quiet = |since: Time| (now.since(since).0 / 1_000_000) as u32;
    for word in [
        micros(info.rto),
        micros(info.ato),
        info.mss,
        info.rcv_mss,
        info.unacked_segments,
        info.sacked,
        info.lost,
        info.retrans,
        0, // fackets
        quiet(info.last_sent),
        0, // last_ack_sent, which Linux does not fill either
        quiet(info.last_received),
        0, // last_ack_recv
        u32::from(info.advmss) + 40,
        info.rcv_wnd,
        micros(info.srtt),
        micros(info.rttvar),
        threshold(info.ssthresh_segments),
        info.cwnd_segments,
        u32::from(info.advmss),
        info.reordering,
        0, // rcv_rtt
        info.rcv_wnd,
        info.total_retrans,
    ] {
        layout.u32(word);
    }
    lay_out_counts(info, now, layout);
}

/// From `tcpi_pacing_rate` on: what was added in the years after.
fn lay_out_counts(info: &Info, now: Time, layout: &mut Layout) {
    for long in [info.pacing_rate, u64::MAX, info.bytes_acked, info.bytes_received] {
        layout.u64(long);
    }
    for word in [
        info.segs_out,
        info.segs_in,
        info.unsent,
        micros(info.min_rtt),
        info.data_segs_in,
        info.data_segs_out,
    ] {
        layout.u32(word);
    }
    layout.u64(info.delivery_rate);
    let sending = info.sending;
    for time in [sending.busy(now), sending.peer_window(now), sending.send_buffer(now)] {
        layout.u64(time.0 / 1000);
    }
    layout.u32(info.delivered);
    layout.u32(info.delivered_ce);
    layout.u64(info.bytes_sent);
    layout.u64(info.bytes_retrans);
    layout.u32(info.dsack_dups);
    layout.u32(info.reordering_seen);
    layout.u32(0); // rcv_ooopack
    layout.u32(info.snd_wnd);
    layout.0.resize(LEN, 0);
}
