//! The variables that all states of a connection share, by their RFC names.

use rt_base::{EventId, Nanos, Time};
use rt_wire::{Seq, TcpHeader, TcpOptions};

use super::config::{Family, TcpConfig};
use super::cork::Cork;
use super::flight::Flight;
use super::recv_buffer::{Early, RecvBuffer};
use super::send_buffer::SendBuffer;

/// The send sequence variables of RFC 9293 3.3.1 and what goes with them.
#[derive(Debug)]
pub(super) struct SendHalf {
    /// ISS.
    pub(super) iss: Seq,
    /// SND.UNA.
    pub(super) una: Seq,
    /// SND.NXT.
    pub(super) nxt: Seq,
    /// SND.WND in bytes.
    pub(super) wnd: u32,
    /// SND.WL1.
    pub(super) wl1: Seq,
    /// SND.WL2.
    pub(super) wl2: Seq,
    /// The widest window the peer ever offered (MAX.SND.WND).
    pub(super) max_wnd: u32,
    /// The peer's window shift.
    pub(super) shift: u8,
    /// Payload of a full segment: MSS minus the options of every segment (RFC 6691).
    pub(super) mss: u32,
    /// The longest segment that the path takes, its options included, as far as routers told.
    pub(super) path_mss: u16,
    pub(super) buf: SendBuffer,
    pub(super) flight: Flight,
    /// The application will write no more; the FIN stands after the buffer.
    pub(super) fin_queued: bool,
    pub(super) fin_sent: bool,
    /// End of the last small segment sent (Minshall's form of Nagle).
    pub(super) small: Seq,
    /// When data was sent last.
    pub(super) last_sent: Time,
    /// A write was cut short: say when there is room again.
    pub(super) wants_room: bool,
    pub(super) cork: Cork,
}

/// The receive sequence variables of RFC 9293 3.3.1 and what goes with them.
#[derive(Debug, Default)]
pub(super) struct RecvHalf {
    /// IRS.
    pub(super) irs: Seq,
    /// RCV.NXT.
    pub(super) nxt: Seq,
    /// The right edge of the window as offered: RCV.NXT + RCV.WND. Never goes back.
    pub(super) adv: Seq,
    /// How wide the window may be now; grows towards the configured limit while the application keeps up.
    pub(super) limit: u32,
    /// Our window shift.
    pub(super) shift: u8,
    /// Both ends sent the option, were it with a shift of 0.
    pub(super) shift_agreed: bool,
    /// The MSS that we announce.
    pub(super) mss: u16,
    pub(super) buf: RecvBuffer,
    pub(super) early: Option<Box<Early>>,
    /// Stream offset of the peer's FIN, once seen.
    pub(super) fin: Option<u64>,
    pub(super) fin_received: bool,
    pub(super) sack: bool,
    /// A duplicate to be reported with the next ACK (RFC 2883).
    pub(super) dsack: Option<(Seq, Seq)>,
    /// Where the last `TcpHole` stood.
    pub(super) hole_told: Option<u64>,
}

/// RFC 7323's variables.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timestamps {
    /// Snd.TS.OK.
    pub(super) on: bool,
    pub(super) offset: u32,
    /// TS.Recent.
    pub(super) recent: u32,
    /// When TS.Recent was taken.
    pub(super) recent_at: Time,
}

/// Things to send that are neither data nor a plain ACK.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    /// The SYN-ACK waits for the application ([`super::Connection::hold`]).
    pub(super) held: bool,
    /// A SYN or SYN-ACK, for the first time or again.
    pub(super) syn: bool,
    /// A reset: sequence number, and acknowledgement if any.
    pub(super) reset: Option<(Seq, Option<Seq>)>,
    /// The window that a reset of our own accord carries; such a reset also has timestamps.
    pub(super) reset_window: Option<u16>,
    pub(super) challenge: bool,
    pub(super) window_probe: bool,
    pub(super) keepalive: bool,
    /// The handshake's last ACK has come, and the listener waits for data until so many repetitions of the SYN-ACK.
    pub(super) deferred: u8,
    /// When the last challenge ACK was granted.
    pub(super) challenged_at: Option<Time>,
    /// When the SYN or SYN-ACK was first sent.
    pub(super) syn_sent_at: Time,
    /// The last sending of the SYN or SYN-ACK: its event and its time.
    pub(super) syn_origin: (EventId, Time),
}

impl SendHalf {
    pub(super) fn new(iss: Seq, mss: u32, path_mss: u16) -> SendHalf {
        SendHalf {
            iss,
            una: iss,
            nxt: iss,
            wnd: 0,
            wl1: Seq(0),
            wl2: Seq(0),
            max_wnd: 0,
            shift: 0,
            mss: mss.min(path_mss.into()),
            path_mss,
            buf: SendBuffer::default(),
            flight: Flight::default(),
            fin_queued: false,
            fin_sent: false,
            small: iss,
            last_sent: Time::ZERO,
            wants_room: false,
            cork: Cork::default(),
        }
    }

    /// Stream offset of `seq`, which lies in the buffer.
    pub(super) fn offset(&self, seq: Seq) -> u64 {
        self.buf.base() + u64::from(seq - self.first())
    }

    /// The first byte in the buffer: SND.UNA, or after an unacknowledged SYN.
    pub(super) fn first(&self) -> Seq {
        if self.una == self.iss && self.buf.base() == 0 { self.iss + 1 } else { self.una }
    }

    /// Bytes written and not sent yet.
    pub(super) fn unsent(&self) -> u32 {
        let first = self.first().min(self.nxt);
        let sent = (self.nxt - first).saturating_sub(u32::from(self.fin_sent));
        (self.buf.len() as u32).saturating_sub(sent)
    }

    /// Bytes that the peer's window still takes.
    pub(super) fn usable(&self) -> u32 {
        self.wnd.saturating_sub(self.nxt - self.una)
    }
}

impl RecvHalf {
    pub(super) fn with_limit(mut self, config: &TcpConfig, full: u32) -> RecvHalf {
        self.set_limit(config, full);
        self
    }

    /// The first window: full segments only (Linux: 44 * 1460 = 64240, or 45 * 1448 = 65160 with timestamps; FreeBSD
    /// makes room for the last one too: 45 * 1460 = 65700).
    pub(super) fn set_limit(&mut self, config: &TcpConfig, full: u32) {
        // Linux keeps half of a buffer for what it stores beside the bytes.
        let fixed = config.recv_buffer_fixed.map(|bytes| match config.family {
            Family::Linux => bytes / 2,
            Family::Bsd => bytes,
        });
        let most = fixed.unwrap_or(config.initial_window.min(config.recv_buffer));
        let most = most.min(config.window_clamp.unwrap_or(u32::MAX));
        if config.family == Family::Bsd {
            self.limit = most.next_multiple_of(full.max(1));
            return;
        }
        // The order is Linux's: a large buffer gives 65,535, which is no multiple.
        let whole = if most > full { most - most % full } else { most };
        self.limit = whole.min(MAX_UNSCALED);
    }

    /// RCV.WND.
    pub(super) fn wnd(&self) -> u32 {
        self.adv - self.nxt
    }

    /// Stream offset of `seq`, at or after RCV.NXT.
    pub(super) fn offset(&self, seq: Seq) -> u64 {
        self.buf.next() + u64::from(seq - self.nxt)
    }
}

impl Timestamps {
    /// TSval now: a millisecond clock (RFC 7323 5.4).
    pub(super) fn value(&self, now: Time) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.offset)
    }

    /// The option for a segment leaving now.
    pub(super) fn option(&self, now: Time, options: &mut TcpOptions) {
        if self.on {
            options.timestamps = Some((self.value(now), self.recent));
        }
    }

    /// Round-trip time by the echoed timestamp (RFC 7323 4.1), at least a millisecond.
    pub(super) fn echoed(&self, now: Time, header: &TcpHeader) -> Option<Nanos> {
        let (_, echo) = header.options.timestamps.filter(|t| t.1 != 0)?;
        self.age(now, echo)
    }

    /// How long ago the timestamp `echo` was ours, at least a millisecond.
    pub(super) fn age(&self, now: Time, echo: u32) -> Option<Nanos> {
        if !self.on {
            return None;
        }
        let age = self.value(now).wrapping_sub(echo);
        (age < MAX_AGE_MS).then(|| Nanos::from_millis(u64::from(age.max(1))))
    }
}

/// Timestamps with their two NOPs.
pub(super) const TIMESTAMPS_LEN: u32 = 12;
/// The widest window without scaling.
pub(super) const MAX_UNSCALED: u32 = 65_535;
/// An echo older than this is not an echo of ours.
const MAX_AGE_MS: u32 = 1 << 24;
