//! BBR version 1, as in Linux's `tcp_bbr.c`: a model of the path (bottleneck bandwidth, smallest round-trip time) says the
//! pacing rate and the window; loss does not.
//!
//! Not here: the detection of policers ("long-term bandwidth") and the allowance for aggregated ACKs; on paths with either
//! Linux's BBR is a little slower or faster. The phase in which bandwidth probing begins is not random but follows from the
//! initial sequence number.

use rt_base::{Nanos, Time};

use super::{Acked, Algorithm, Delivery, MAX_CWND, Window};
use crate::tcp::recovery::CongestionState;

/// Gains are in 1/256.
const UNIT: u64 = 256;
/// 2/ln 2: the smallest gain that doubles the rate each round trip.
const HIGH_GAIN: u64 = UNIT * 2885 / 1000 + 1;
const DRAIN_GAIN: u64 = UNIT * 1000 / 2885;
const CWND_GAIN: u64 = UNIT * 2;
/// One cycle of probing: up, down, six of cruising.
const CYCLE: [u64; 8] = [UNIT * 5 / 4, UNIT * 3 / 4, UNIT, UNIT, UNIT, UNIT, UNIT, UNIT];
/// Rounds in the bandwidth filter.
const BW_ROUNDS: usize = CYCLE.len() + 2;
/// The smallest round-trip time is believed for so long, then probed for.
const MIN_RTT_LIFE: Nanos = Nanos::from_secs(10);
const PROBE_RTT: Nanos = Nanos::from_millis(200);
const MIN_CWND: u32 = 4;
/// The pipe is full when three rounds bring less than a quarter more.
const FULL_ROUNDS: u8 = 3;
/// Pacing stays 1 % below the bandwidth, so that queues drain.
const MARGIN_PERCENT: u64 = 99;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Startup,
    Drain,
    ProbeBw,
    ProbeRtt,
}

/// The model and its state machine.
#[derive(Clone, Debug)]
pub struct Bbr {
    mode: Mode,
    /// The best bandwidth of each of the last rounds, bytes per second.
    bandwidths: [u64; BW_ROUNDS],
    round: usize,
    /// The round ends when more than this is delivered.
    round_end: u32,
    round_start: bool,
    min_rtt: Option<Nanos>,
    min_rtt_at: Time,
    probe_rtt_until: Option<Time>,
    probe_rtt_round_done: bool,
    full_bw: u64,
    full_rounds: u8,
    full: bool,
    pacing_gain: u64,
    cwnd_gain: u64,
    phase: usize,
    phase_began: Time,
    /// The window before loss or ProbeRTT.
    prior_cwnd: u32,
    conserving: bool,
    idle: bool,
    before: CongestionState,
    rate: u64,
    seed: u32,
}

impl Bbr {
    /// A new one; `seed` chooses the phase in which probing begins.
    #[must_use]
    pub fn new(seed: u32) -> Bbr {
        Bbr {
            mode: Mode::Startup,
            bandwidths: [0; BW_ROUNDS],
            round: 0,
            round_end: 0,
            round_start: false,
            min_rtt: None,
            min_rtt_at: Time::ZERO,
            probe_rtt_until: None,
            probe_rtt_round_done: false,
            full_bw: 0,
            full_rounds: 0,
            full: false,
            pacing_gain: HIGH_GAIN,
            cwnd_gain: HIGH_GAIN,
            phase: 0,
            phase_began: Time::ZERO,
            prior_cwnd: 0,
            conserving: false,
            idle: false,
            before: CongestionState::Open,
            rate: 0,
            seed,
        }
    }

    fn bandwidth(&self) -> u64 {
        self.bandwidths.iter().copied().max().unwrap_or(0)
    }

    fn save_cwnd(&mut self, cwnd: u32) {
        let whole = self.before < CongestionState::Recovery && self.mode != Mode::ProbeRtt;
        self.prior_cwnd = if whole { cwnd } else { self.prior_cwnd.max(cwnd) };
    }

    fn update_bandwidth(&mut self, d: &Delivery) {
        self.round_start = false;
        let Some(sample) = d.sample else { return };
        if sample.prior_delivered.wrapping_sub(self.round_end) as i32 >= 0 {
            self.round_end = d.delivered_total;
            self.round = (self.round + 1) % BW_ROUNDS;
            self.bandwidths[self.round] = 0;
            self.round_start = true;
            self.conserving = false;
        }
        let bytes = u128::from(sample.delivered) * u128::from(d.mss) * 1_000_000_000;
        let bandwidth = (bytes / u128::from(sample.interval.0.max(1))) as u64;
        if !sample.app_limited || bandwidth >= self.bandwidth() {
            let best = &mut self.bandwidths[self.round];
            *best = (*best).max(bandwidth);
        }
    }

    fn update_cycle(&mut self, d: &Delivery) {
        if self.mode != Mode::ProbeBw {
            return;
        }
        let full_length = d.now.since(self.phase_began) > self.min_rtt.unwrap_or_default();
        let next = match self.pacing_gain {
            UNIT => full_length,
            gain if gain > UNIT => {
                full_length && (d.losses > 0 || d.prior_in_flight >= self.inflight(d.mss, gain))
            }
            _ => full_length || d.prior_in_flight <= self.inflight(d.mss, UNIT),
        };
        if next {
            self.set_phase((self.phase + 1) % CYCLE.len(), d.now);
        }
    }

    fn set_phase(&mut self, phase: usize, now: Time) {
        (self.phase, self.phase_began) = (phase, now);
        self.pacing_gain = CYCLE[phase];
    }

    fn check_full(&mut self, d: &Delivery) {
        let limited = d.sample.is_none_or(|s| s.app_limited);
        if self.full || !self.round_start || limited {
            return;
        }
        if self.bandwidth() >= self.full_bw * 5 / 4 {
            (self.full_bw, self.full_rounds) = (self.bandwidth(), 0);
            return;
        }
        self.full_rounds += 1;
        self.full = self.full_rounds >= FULL_ROUNDS;
    }

    fn check_drain(&mut self, window: &mut Window, d: &Delivery) {
        if self.mode == Mode::Startup && self.full {
            self.mode = Mode::Drain;
            (self.pacing_gain, self.cwnd_gain) = (DRAIN_GAIN, HIGH_GAIN);
            window.ssthresh = self.inflight(d.mss, UNIT);
        }
        if self.mode == Mode::Drain && d.in_flight <= self.inflight(d.mss, UNIT) {
            self.enter_probe_bw(d.now);
        }
    }

    fn enter_probe_bw(&mut self, now: Time) {
        self.mode = Mode::ProbeBw;
        self.cwnd_gain = CWND_GAIN;
        // Any phase but the draining one.
        let phase = self.seed as usize % (CYCLE.len() - 1);
        self.set_phase(if phase == 1 { CYCLE.len() - 1 } else { phase }, now);
    }

    fn update_min_rtt(&mut self, window: &mut Window, d: &Delivery) {
        let expired = d.now.since(self.min_rtt_at) > MIN_RTT_LIFE;
        if let Some(rtt) = d.rtt
            && (expired || self.min_rtt.is_none_or(|min| rtt <= min))
        {
            (self.min_rtt, self.min_rtt_at) = (Some(rtt), d.now);
        }
        if expired && !self.idle && self.mode != Mode::ProbeRtt {
            self.save_cwnd(window.cwnd);
            self.mode = Mode::ProbeRtt;
            (self.pacing_gain, self.cwnd_gain) = (UNIT, UNIT);
            self.probe_rtt_until = None;
        }
        if self.mode == Mode::ProbeRtt {
            self.probe_rtt(window, d);
        }
        self.idle &= d.delivered == 0;
    }

    fn probe_rtt(&mut self, window: &mut Window, d: &Delivery) {
        let Some(until) = self.probe_rtt_until else {
            if d.in_flight <= MIN_CWND {
                self.probe_rtt_until = Some(d.now + PROBE_RTT);
                self.probe_rtt_round_done = false;
                self.round_end = d.delivered_total;
            }
            return;
        };
        self.probe_rtt_round_done |= self.round_start;
        if self.probe_rtt_round_done && d.now > until {
            self.min_rtt_at = d.now;
            window.cwnd = window.cwnd.max(self.prior_cwnd);
            if self.full {
                self.enter_probe_bw(d.now);
            } else {
                self.mode = Mode::Startup;
                (self.pacing_gain, self.cwnd_gain) = (HIGH_GAIN, HIGH_GAIN);
            }
        }
    }

    /// Segments that a rate of `gain` times the bandwidth keeps in flight.
    fn inflight(&self, mss: u32, gain: u64) -> u32 {
        let Some(rtt) = self.min_rtt else {
            return 10;
        };
        let bytes = u128::from(self.bandwidth()) * u128::from(rtt.0) / 1_000_000_000;
        let segments = (bytes * u128::from(gain)).div_ceil(u128::from(UNIT) * u128::from(mss.max(1)));
        (segments.min(u128::from(MAX_CWND))) as u32
    }

    fn set_window(&mut self, window: &mut Window, d: &Delivery) {
        if d.delivered > 0 && !self.recovers(window, d) {
            // Room for bursts at both ends, and for one more in the probing phase.
            let mut target = self.inflight(d.mss, self.cwnd_gain) + 3 * d.burst;
            target += target % 2;
            if self.mode == Mode::ProbeBw && self.phase == 0 {
                target += 2;
            }
            if self.full {
                window.cwnd = (window.cwnd + d.delivered).min(target);
            } else if window.cwnd < target || d.delivered_total < d.initial_cwnd {
                window.cwnd = (window.cwnd + d.delivered).min(MAX_CWND);
            }
            window.cwnd = window.cwnd.max(MIN_CWND);
        }
        if self.mode == Mode::ProbeRtt {
            window.cwnd = window.cwnd.min(MIN_CWND);
        }
    }

    /// In the first round of recovery as much is sent as is delivered; afterwards the window comes back. Whether that
    /// decided it.
    fn recovers(&mut self, window: &mut Window, d: &Delivery) -> bool {
        if d.losses > 0 {
            window.cwnd = window.cwnd.saturating_sub(d.losses).max(1);
        }
        let (before, now) = (self.before, d.state);
        if now == CongestionState::Recovery && before != CongestionState::Recovery {
            self.conserving = true;
            self.round_end = d.delivered_total;
            window.cwnd = d.in_flight + d.delivered;
        } else if before >= CongestionState::Recovery && now < CongestionState::Recovery {
            window.cwnd = window.cwnd.max(self.prior_cwnd);
            self.conserving = false;
        }
        self.before = now;
        if self.conserving {
            window.cwnd = window.cwnd.max(d.in_flight + d.delivered);
        }
        self.conserving
    }

    fn set_rate(&mut self, d: &Delivery) {
        let mut rate = self.bandwidth();
        if rate == 0 {
            let srtt = if d.srtt == Nanos::ZERO { Nanos::from_millis(1) } else { d.srtt };
            rate = u64::from(d.initial_cwnd) * u64::from(d.mss) * 1_000_000_000 / srtt.0;
        }
        let rate = (u128::from(rate) * u128::from(self.pacing_gain * MARGIN_PERCENT) / u128::from(UNIT * 100))
            as u64;
        if self.full || rate > self.rate {
            self.rate = rate.max(1);
        }
    }
}

impl Algorithm for Bbr {
    fn on_ack(&mut self, _window: &mut Window, _acked: Acked) {}

    fn on_loss(&mut self, window: &mut Window) -> u32 {
        window.credit = 0;
        self.save_cwnd(window.cwnd);
        window.ssthresh
    }

    fn on_idle(&mut self, _idle: Nanos) {
        self.idle = true;
        // Begin at the bandwidth, not above it.
        if self.mode == Mode::ProbeBw {
            self.pacing_gain = UNIT;
        }
    }

    fn on_timeout(&mut self) {
        self.before = CongestionState::Loss;
        self.full_bw = 0;
        self.round_start = true;
    }

    fn on_delivery(&mut self, window: &mut Window, delivery: &Delivery) {
        self.update_bandwidth(delivery);
        self.update_cycle(delivery);
        self.check_full(delivery);
        self.check_drain(window, delivery);
        self.update_min_rtt(window, delivery);
        self.set_rate(delivery);
        self.set_window(window, delivery);
    }

    fn undone(&mut self, window: &Window, _before: u32) -> u32 {
        (self.full_bw, self.full_rounds) = (0, 0);
        window.cwnd.max(self.prior_cwnd)
    }

    fn rate(&self) -> Option<u64> {
        Some(if self.rate == 0 { u64::MAX } else { self.rate })
    }

    fn owns_window(&self) -> bool {
        true
    }
}
