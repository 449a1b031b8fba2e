//! HyStart: ends slow start when the round-trip time grows, before a queue overflows. Two kinds, as data: HyStart++
//! (RFC 9406), which goes on carefully for some rounds and comes back if the delay was a whim, and the older one that
//! Linux has, which ends slow start at once and also looks at trains of ACKs.
//!
//! Not here from RFC 9406: the limit L on what one ACK adds (Linux has none either), and no use after the first loss: a
//! known threshold ends slow start itself.

use rt_base::{Nanos, SlowStartEvidence, TcpDecision, Time};
use rt_wire::Seq;

use super::{RttSample, Window};
use crate::tcp::config::HystartKind;

/// HyStart's variables.
#[derive(Clone, Copy, Debug)]
pub struct Hystart {
    kind: HystartKind,
    /// The round ends when this is acknowledged (windowEnd).
    end: Option<Seq>,
    /// Smallest round-trip time of this round (currentRoundMinRTT), 0 while there is none.
    current: Nanos,
    /// Of the last round (lastRoundMinRTT); with the older kind the smallest ever. 0 while there is none.
    last: Nanos,
    samples: u8,
    /// Conservative Slow Start: the rounds left of it, and the delay that began it (cssBaselineMinRtt).
    css: Option<(u8, Nanos)>,
    /// The older kind: it has spoken.
    done: bool,
    round_began: Time,
    last_ack: Time,
}

/// RFC 9406 4.3: N_RTT_SAMPLE, MIN_RTT_THRESH, MAX_RTT_THRESH, MIN_RTT_DIVISOR, CSS_GROWTH_DIVISOR, CSS_ROUNDS.
const SAMPLES: u8 = 8;
const THRESHOLD: (Nanos, Nanos) = (Nanos::from_millis(4), Nanos::from_millis(16));
const RTT_DIVISOR: u64 = 8;
const GROWTH_DIVISOR: u64 = 4;
const CSS_ROUNDS: u8 = 5;
/// The older kind: not below this window, and ACKs closer than this are a train.
const LOW_WINDOW: u32 = 16;
const TRAIN: Nanos = Nanos::from_millis(2);
/// The older kind allows for ACKs held back by the receiver's machine.
const ACK_DELAY: Nanos = Nanos::from_millis(1);

impl Hystart {
    pub(super) fn new(kind: HystartKind) -> Hystart {
        Hystart {
            kind,
            end: None,
            current: Nanos::ZERO,
            last: Nanos::ZERO,
            samples: 0,
            css: None,
            done: false,
            round_began: Time::ZERO,
            last_ack: Time::ZERO,
        }
    }

    pub(super) fn restart(&mut self) {
        *self = Hystart::new(self.kind);
    }

    /// Grows the window in slow start, slower in Conservative Slow Start. Returns what is left for congestion avoidance.
    pub(super) fn slow_start(&self, window: &mut Window, segments: u32) -> u32 {
        if self.css.is_none() || window.cwnd >= window.ssthresh {
            return window.slow_start(segments);
        }
        //= rfc9406#4.2
        window.credit += u64::from(segments);
        let more = (window.credit / GROWTH_DIVISOR) as u32;
        window.credit %= GROWTH_DIVISOR;
        window.slow_start(more)
    }

    pub(super) fn on_rtt(&mut self, window: &mut Window, sample: RttSample) -> Option<TcpDecision> {
        if window.cwnd >= window.ssthresh {
            return None;
        }
        match self.kind {
            HystartKind::Off => None,
            HystartKind::PlusPlus => self.plus_plus(window, sample),
            HystartKind::Classic => self.classic(window, sample),
        }
    }

    fn plus_plus(&mut self, window: &mut Window, sample: RttSample) -> Option<TcpDecision> {
        //= rfc9406#4.2
        let over = self.end.is_none_or(|end| sample.una.ge(end));
        if over {
            self.end = Some(sample.nxt);
            self.last = self.current;
            (self.current, self.samples) = (Nanos::ZERO, 0);
            if let Some((rounds, base)) = &mut self.css {
                *rounds -= 1;
                if *rounds == 0 {
                    let (rtt_us, base_us) = (self.last.0 / 1000, base.0 / 1000);
                    self.css = None;
                    window.ssthresh = window.cwnd;
                    return Some(TcpDecision::SlowStartEnd {
                        by: SlowStartEvidence::Delay { rtt_us, base_us },
                    });
                }
            }
        }
        self.note(sample.rtt);
        if self.samples < SAMPLES || self.last == Nanos::ZERO {
            return None;
        }
        match self.css {
            None if self.has_grown(self.last) => {
                self.css = Some((CSS_ROUNDS, self.current));
                window.credit = 0;
                let (rtt_us, base_us) = (self.current.0 / 1000, self.last.0 / 1000);
                Some(TcpDecision::SlowStartCautious { rtt_us, base_us })
            }
            // The delay was a whim.
            Some((_, base)) if self.current < base => {
                self.css = None;
                Some(TcpDecision::SlowStartResumed { rtt_us: self.current.0 / 1000 })
            }
            _ => None,
        }
    }

    fn note(&mut self, rtt: Nanos) {
        self.current = if self.current == Nanos::ZERO { rtt } else { self.current.min(rtt) };
        self.samples = self.samples.saturating_add(1);
    }

    fn has_grown(&self, base: Nanos) -> bool {
        let threshold = Nanos(base.0 / RTT_DIVISOR).clamp(THRESHOLD.0, THRESHOLD.1);
        self.current >= base + threshold
    }

    fn classic(&mut self, window: &mut Window, sample: RttSample) -> Option<TcpDecision> {
        let rtt = sample.rtt;
        self.last = if self.last == Nanos::ZERO { rtt } else { self.last.min(rtt) };
        if self.done {
            return None;
        }
        if self.end.is_none_or(|end| sample.una.gt(end)) {
            self.end = Some(sample.nxt);
            (self.round_began, self.last_ack) = (sample.now, sample.now);
            (self.current, self.samples) = (Nanos::ZERO, 0);
        }
        if window.cwnd < LOW_WINDOW {
            return None;
        }
        let train = self.is_long_train(sample.now);
        let enough = self.samples >= SAMPLES;
        self.note(rtt);
        let delay = enough && self.has_grown(self.last);
        if !train && !delay {
            return None;
        }
        self.done = true;
        window.ssthresh = window.cwnd;
        let by = if train {
            SlowStartEvidence::AckTrain
        } else {
            SlowStartEvidence::Delay { rtt_us: self.current.0 / 1000, base_us: self.last.0 / 1000 }
        };
        Some(TcpDecision::SlowStartEnd { by })
    }

    /// Close ACKs since the round began for more than half of the smallest round-trip time: the path is full.
    fn is_long_train(&mut self, now: Time) -> bool {
        if now.since(self.last_ack) > TRAIN {
            return false;
        }
        self.last_ack = now;
        now.since(self.round_began).0 > (self.last.0 + ACK_DELAY.0) / 2
    }
}
