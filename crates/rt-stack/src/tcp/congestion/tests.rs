//! Windows over time, as tables.

use rt_base::{Nanos, Time};

use super::cubic::cube_root;
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
    window.ssthresh = control.on_loss(&window);
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
    window.ssthresh = control.on_loss(&window);
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
    window.ssthresh = control.on_loss(&window);
    window.cwnd = window.ssthresh;
    // alpha = 9/17 of a segment per round trip from 14 until 20, then 1.
    let grown = rounds(&mut control, &mut window, 0, 20);
    assert!((18..=20).contains(&grown[9]), "{grown:?}");
    assert!((24..=30).contains(&grown[19]), "{grown:?}");
}
