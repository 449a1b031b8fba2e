//! What the RFCs alone say, as a second opinion: one sender, one lost segment in every so many, and nothing else. Real
//! numbers, no bytes, no timers, no code of ours.
//!
//! The formulae let a cut take no time and windows be continuous. Here, as on a wire, a window is sent in whole segments,
//! a loss is heard of a round trip later, and repairing it takes another one at the smaller window, without growth.
//! All segments of a window leave at once; an ACK comes for each of them.

use std::collections::VecDeque;

/// C and beta of RFC 9438; Reno's beta is a half.
const C: f64 = 0.4;

/// Who grows how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Growth {
    /// RFC 5681, with the window after a cut in whole segments.
    Reno,
    /// RFC 9438.
    Cubic,
}

/// How long to look, in losses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cycles {
    pub(crate) before: u64,
    pub(crate) counted: u64,
}

struct InFlight {
    /// When its ACK comes, seconds.
    back: f64,
    number: u64,
    lost: bool,
}

/// RFC 9438 4.1.2.
#[derive(Clone, Copy, Default)]
struct Cubic {
    epoch: Option<f64>,
    w_max: f64,
    w_est: f64,
    k: f64,
    plateau: f64,
    prior: f64,
}

struct Sender {
    growth: Growth,
    rtt: f64,
    period: u64,
    now: f64,
    cwnd: f64,
    sent: u64,
    pipe: f64,
    flying: VecDeque<InFlight>,
    cubic: Cubic,
}

/// What arrives in a round-trip time in the long run, segments, when every `period`-th is lost. `rtt` in seconds.
pub(crate) fn delivered(growth: Growth, rtt: f64, period: u64, cycles: Cycles) -> f64 {
    let cwnd = (1.5 * period as f64).sqrt();
    let mut sender = Sender {
        growth,
        rtt,
        period,
        now: 0.0,
        cwnd,
        sent: 0,
        pipe: 0.0,
        flying: VecDeque::new(),
        cubic: Cubic::default(),
    };
    sender.fill();
    let mut begin = (0.0, 0);
    let mut arrived = 0;
    for cut in 0..cycles.before + cycles.counted {
        if cut == cycles.before {
            begin = (sender.now, arrived);
        }
        arrived += sender.until_loss();
        arrived += sender.recover();
    }
    (arrived - begin.1) as f64 * rtt / (sender.now - begin.0)
}

impl Sender {
    fn send(&mut self) {
        self.sent += 1;
        self.pipe += 1.0;
        let lost = self.sent.is_multiple_of(self.period);
        self.flying.push_back(InFlight { back: self.now + self.rtt, number: self.sent, lost });
    }

    /// Whole segments only.
    fn fill(&mut self) {
        while self.pipe + 1.0 <= self.cwnd {
            self.send();
        }
    }

    fn next(&mut self) -> InFlight {
        let segment = self.flying.pop_front().expect("the window is never empty");
        self.now = segment.back;
        segment
    }

    /// Congestion avoidance until an ACK tells of a loss. Returns what arrived.
    fn until_loss(&mut self) -> u64 {
        let mut arrived = 0;
        while !self.next().lost {
            arrived += 1;
            self.pipe -= 1.0;
            self.grow();
            self.fill();
        }
        // The segment after the lost one tells; it was sent with it, or with the next window.
        arrived
    }

    /// Proportional rate reduction (RFC 9937) until all that was in flight is acknowledged. Returns what arrived.
    fn recover(&mut self) -> u64 {
        let (before, end) = (self.cwnd, self.sent);
        let after = self.cut();
        let (mut arrived, mut out) = (0, 0.0);
        self.pipe -= 1.0;
        self.send();
        out += 1.0;
        loop {
            let segment = self.next();
            self.pipe -= 1.0;
            if segment.number > end {
                arrived += 1;
                break;
            }
            if segment.lost {
                self.send();
                out += 1.0;
                continue;
            }
            arrived += 1;
            let heard = arrived as f64;
            let room = if self.pipe > after {
                (heard * after / before).ceil() - out
            } else {
                (heard - out).max(1.0).min(after - self.pipe)
            };
            for _ in 0..room.max(0.0) as u64 {
                self.send();
                out += 1.0;
            }
        }
        self.cwnd = after;
        self.grow();
        self.fill();
        arrived
    }

    fn cut(&mut self) -> f64 {
        if self.growth == Growth::Reno {
            return (self.cwnd.floor() / 2.0).floor().max(2.0);
        }
        let c = &mut self.cubic;
        c.w_max = if self.cwnd < c.w_max { self.cwnd * 0.85 } else { self.cwnd };
        (c.prior, c.epoch) = (self.cwnd, None);
        (self.cwnd * 0.7).max(2.0)
    }

    fn grow(&mut self) {
        if self.growth == Growth::Reno {
            self.cwnd += 1.0 / self.cwnd.floor();
            return;
        }
        let (cwnd, c) = (self.cwnd, &mut self.cubic);
        let epoch = *c.epoch.get_or_insert_with(|| {
            c.w_est = cwnd;
            c.plateau = c.w_max.max(cwnd);
            c.k = cube_root((c.plateau - cwnd) / C);
            self.now
        });
        c.w_est += if c.w_est < c.prior { 9.0 / 17.0 } else { 1.0 } / cwnd;
        let curve = |t: f64| C * (t - c.k) * (t - c.k) * (t - c.k) + c.plateau;
        let t = self.now - epoch;
        if curve(t) < c.w_est {
            self.cwnd = cwnd.max(c.w_est);
        } else {
            self.cwnd += (curve(t + self.rtt).clamp(cwnd, 1.5 * cwnd) - cwnd) / cwnd;
        }
    }
}

/// Newton's, from above: the four operations are the same on every machine, a library's root is not.
fn cube_root(x: f64) -> f64 {
    let mut root = x.max(1.0);
    for _ in 0..100 {
        root -= (root - x / (root * root)) / 3.0;
    }
    root
}
