//! `struct tcp_info` of Linux (`TCP_INFO`), byte for byte as a 64-bit little-endian or big-endian host lays it out.

use rt_base::{Nanos, TcpPhase};

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
        let mss = info.mss.max(1);
        let segments = |bytes: u32| bytes.div_ceil(mss);
        layout.u8(state(info.phase));
        layout.0.resize(8, 0);
        layout.u32(micros(info.rto));
        layout.u32(0);
        layout.u32(info.mss);
        layout.u32(info.mss);
        layout.u32(segments(info.unacked));
        layout.u32(segments(info.sacked));
        layout.u32(segments(info.lost));
        layout.0.resize(68, 0);
        layout.u32(micros(info.srtt));
        layout.u32(micros(info.rttvar));
        layout.u32(if info.ssthresh == u32::MAX { 0x7fff_ffff } else { info.ssthresh / mss });
        layout.u32(info.cwnd / mss);
        layout.0.resize(LEN, 0);
        let _ = Layout::u64;
        Ok(layout.0)
    }
}
