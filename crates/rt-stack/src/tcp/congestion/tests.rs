//! Windows over time, as tables.

use rt_base::{Nanos, Time};

use super::cubic::{UNIT, cube_root, units};
use super::{Acked, Algorithm, Controller, Window};
use crate::tcp::{CongestionKind, HystartKind};

const MSS: u32 = 1000;

/// Acknowledges one window per round trip of 100 ms, `rounds` times; the windows in segments.
fn rounds(control: &mut Controller, window: &mut Window, start_ms: u64, rounds: u64) -> Vec<u32> {
    (0..rounds)
        .map(|round| {
            let now = Time((start_ms + round * 100) * 1_000_000);
            for _ in 0..window.cwnd {
                control.on_ack(window, Acked { now, segments: 1, srtt: Nanos::from_millis(100) });
            }
            window.cwnd
        })
        .collect()
}

//= rfc9438#4.2
//= type=test
#[test]
fn the_cube_root_is_whole_and_exact() {
    for x in (0..2000).chain([u64::MAX, 1 << 60, (1 << 60) - 1, 999_999_999_999]) {
        let r = u128::from(cube_root(x));
        assert!(r * r * r <= u128::from(x) && u128::from(x) < (r + 1) * (r + 1) * (r + 1), "{x}: {r}");
    }
}

//= rfc5681#3.1
//= type=test
#[test]
fn reno_doubles_then_adds_one_segment_per_round_trip() {
    let mut control = Controller::new(CongestionKind::Reno, HystartKind::Off, 0);
    let mut window = Window { cwnd: 10, ssthresh: u32::MAX, mss: MSS, credit: 0 };
    assert_eq!(rounds(&mut control, &mut window, 0, 3), [20, 40, 80]);
    window.ssthresh = control.on_loss(&mut window);
    window.cwnd = window.ssthresh;
    assert_eq!(window.cwnd, 40);
    let grown = rounds(&mut control, &mut window, 300, 10);
    assert_eq!((grown[4], grown[9]), (45, 50));
}

//= rfc9438#4.2
//= rfc9438#4.6
//= type=test
#[test]
fn cubic_comes_back_to_its_plateau_after_k() {
    let mut control = Controller::new(CongestionKind::Cubic, HystartKind::Off, 0);
    let mut window = Window { cwnd: 1000, ssthresh: u32::MAX, mss: MSS, credit: 0 };
    window.ssthresh = control.on_loss(&mut window);
    window.cwnd = window.ssthresh;
    assert_eq!(window.cwnd, 700);
    // K = cbrt(300 / 0.4) = 9.086 s; at half of it W = 1000 - 0.4 * 4.543^3 = 962.
    let grown = rounds(&mut control, &mut window, 0, 150);
    assert!((955..=970).contains(&grown[45]), "{}", grown[45]);
    assert!((995..=1002).contains(&grown[91]), "{}", grown[91]);
    // 15 s: 1000 + 0.4 * 5.914^3 = 1083.
    assert!((1070..=1095).contains(&grown[149]), "{}", grown[149]);
}

//= rfc9438#4.3
//= type=test
#[test]
fn cubic_is_never_slower_than_reno_on_short_paths() {
    let mut control = Controller::new(CongestionKind::Cubic, HystartKind::Off, 0);
    let mut window = Window { cwnd: 20, ssthresh: u32::MAX, mss: MSS, credit: 0 };
    window.ssthresh = control.on_loss(&mut window);
    window.cwnd = window.ssthresh;
    // alpha = 9/17 of a segment per round trip from 14 until 20, then 1.
    let grown = rounds(&mut control, &mut window, 0, 20);
    assert!((18..=20).contains(&grown[9]), "{grown:?}");
    assert!((24..=30).contains(&grown[19]), "{grown:?}");
}

/// A CUBIC that has just lost something at a window of `cwnd`, and its window after recovery.
fn cut_at(cwnd: u32) -> (Controller, Window) {
    let mut control = Controller::new(CongestionKind::Cubic, HystartKind::Off, 0);
    let mut window = Window { cwnd, ssthresh: u32::MAX, mss: MSS, credit: 0 };
    cut(&mut control, &mut window);
    (control, window)
}

fn cut(control: &mut Controller, window: &mut Window) {
    window.ssthresh = control.on_loss(window);
    window.cwnd = window.ssthresh;
}

/// A window is acknowledged evenly in each round trip, `each` segments at a time; the window with its fraction at the end
/// of each.
fn smooth(control: &mut Controller, window: &mut Window, rtt: Nanos, rounds: u64, each: u32) -> Vec<f64> {
    let round = |round: u64| {
        let acks = u64::from((window.cwnd / each).max(1));
        for ack in 1..=acks {
            let now = Time(round * rtt.0 + rtt.0 * ack / acks);
            control.on_ack(window, Acked { now, segments: each, srtt: rtt });
        }
        units(window) as f64 / UNIT as f64
    };
    (0..rounds).map(round).collect()
}

//= rfc9438#4.2
//= rfc9438#4.4
//= rfc9438#4.5
//= type=test
#[test]
fn cubic_stays_on_its_curve_and_does_not_run_ahead_on_the_plateau() {
    for cwnd in [213, 600, 2_000] {
        let (mut control, mut window) = cut_at(cwnd);
        let k = (f64::from(cwnd) * 0.3 / 0.4).cbrt();
        let grown = smooth(&mut control, &mut window, Nanos::from_millis(100), 180, 1);
        for (round, ours) in grown.iter().enumerate() {
            let since_k = (round + 1) as f64 * 0.1 - k;
            let curve = 0.4 * since_k.powi(3) + f64::from(cwnd);
            assert!((ours - curve).abs() < 0.3, "{cwnd}, round {round}: {ours} beside {curve}");
        }
    }
}

//= rfc9438#4.3
//= type=test
#[test]
fn the_reno_friendly_window_grows_by_alpha_however_large_it_is() {
    // So short are the round trips that the curve has hardly moved, but W_est has, by 9/17 in each.
    for cwnd in [40, 400, 40_000] {
        let (mut control, mut window) = cut_at(cwnd);
        let begin = f64::from(window.cwnd);
        let rounds = u64::from(cwnd.min(100) / 4);
        let each = if cwnd > 1_000 { 10 } else { 1 };
        let ours = *smooth(&mut control, &mut window, Nanos::from_micros(100), rounds, each).last().unwrap();
        let expected = begin + rounds as f64 * 9.0 / 17.0;
        // An ACK's growth is a share of the window at that ACK, so a round adds a little less than alpha.
        assert!((expected - 0.2..=expected + 0.01).contains(&ours), "{cwnd}: {ours} beside {expected}");
    }
}

//= rfc9438#4.6
//= type=test
#[test]
fn a_cut_keeps_the_fraction() {
    // 15 * 0.7 = 10.5: ten may be sent, and half of the next one is there already.
    let (mut control, mut window) = cut_at(15);
    assert_eq!((window.cwnd, units(&window)), (10, 10 * UNIT + UNIT / 2));
    let grown = smooth(&mut control, &mut window, Nanos::from_millis(1), 1, 1);
    assert!((11.0..11.05).contains(&grown[0]), "{grown:?}");
    assert_eq!(window.cwnd, 11);
}

//= rfc9438#4.7
//= type=test
#[test]
fn fast_convergence_lowers_the_plateau() {
    let (mut control, mut window) = cut_at(1_000);
    window.cwnd = 900;
    cut(&mut control, &mut window);
    // W_max = 900 * (1 + 0.7) / 2 = 765, cwnd_epoch = 630, K = cbrt(135 / 0.4) = 6.96 s.
    let grown = smooth(&mut control, &mut window, Nanos::from_millis(100), 70, 1);
    assert!((grown[69] - 765.0).abs() < 0.3, "{}", grown[69]);
}
