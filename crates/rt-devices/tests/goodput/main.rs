//! How much each congestion control gets through, as a committed page (`docs/goodput.md`), and the classical formulae.
//!
//! `cargo xtask goodput` writes the page or compares all of it; the other tests here hold a part that is quick in a debug
//! build. All of it is virtual time with fixed seeds: the figures are the same on every machine.

mod model;
mod path;

use std::fmt::Write as _;
use std::path::{Path as File, PathBuf};

use model::{Cycles, Growth};
use path::{Path, Seen};
use rt_base::Nanos;
use rt_sim::QueueSpec;
use rt_stack::tcp::CongestionKind;

use CongestionKind::{Bbr, Cubic, Reno};

/// Of the narrow link, bit/s.
const RATE: u64 = 20_000_000;
/// Parts per million.
const LOSSES: [u32; 4] = [0, 100, 1_000, 10_000];
/// Milliseconds.
const RTTS: [u64; 3] = [10, 50, 100];
/// Percent of the bandwidth-delay product.
const BUFFERS: [u64; 3] = [50, 100, 200];

fn name(kind: CongestionKind) -> &'static str {
    match kind {
        Cubic => "cubic",
        Reno => "reno",
        Bbr => "bbr",
    }
}

fn cell(congestion: CongestionKind, loss_ppm: u32, rtt_ms: u64, percent: u64) -> String {
    let bytes = RATE / 8 * rtt_ms / 1_000 * percent / 100;
    let path = Path {
        congestion,
        rate_bps: RATE,
        rtt: Nanos::from_millis(rtt_ms),
        queue: QueueSpec::Bytes(bytes.max(3 * 1_514)),
        loss_ppm,
        loss_every: 0,
        ack_every: false,
        warm_up: Nanos::from_secs(10),
        counted: Nanos::from_secs(40),
    };
    let bps = path.run().bps;
    format!(" {}.{:02} |", bps / 1_000_000, bps % 1_000_000 / 10_000)
}

fn row_name(kind: CongestionKind, loss: u32) -> String {
    format!("| {} | {}.{:02} % |", name(kind), loss / 10_000, loss % 10_000 / 100)
}

fn row(kind: CongestionKind, loss: u32) -> String {
    let mut out = row_name(kind, loss);
    for rtt in RTTS {
        for percent in BUFFERS {
            out.push_str(&cell(kind, loss, rtt, percent));
        }
    }
    out
}

/// A case of the formulae: a long path without any limit but loss, which takes every `period`-th frame.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: CongestionKind,
    rtt_ms: u64,
    period: u64,
    /// The average window of RFC 9438's tables, segments.
    table: f64,
}

/// Tables 1 and 2 of RFC 9438 5.1 (RFC 8312 5.1 had the same), losses of one in a hundred to one in a hundred thousand.
const TABLES: [(CongestionKind, u64, [f64; 4]); 3] = [
    (Reno, 100, [12.0, 38.0, 120.0, 379.0]),
    (Cubic, 100, [12.0, 38.0, 187.0, 1_054.0]),
    (Cubic, 10, [12.0, 38.0, 120.0, 379.0]),
];
const PERIODS: [u64; 4] = [100, 1_000, 10_000, 100_000];

fn cases() -> impl Iterator<Item = Case> {
    TABLES.into_iter().flat_map(|(kind, rtt_ms, table)| {
        let of = move |(period, table)| Case { kind, rtt_ms, period, table };
        PERIODS.into_iter().zip(table).map(of)
    })
}

/// Ours and the model's.
struct Outcome {
    ours: Seen,
    model: f64,
}

impl Case {
    /// Slow start overshoots far where loss is rare, and CUBIC goes round its plateau for tens of losses.
    fn cycles(&self) -> Cycles {
        let (before, counted) = match self.period {
            1_000 => (40, 60),
            100_000 => (40, 40),
            _ => (100, 200),
        };
        Cycles { before, counted }
    }

    fn run(&self) -> Outcome {
        let cycles = self.cycles();
        let sawtooth_ms = self.period as f64 / self.table * self.rtt_ms as f64;
        let lasting = |times: u64| Nanos::from_millis((sawtooth_ms * times as f64) as u64);
        let path = Path {
            congestion: self.kind,
            rate_bps: 10_000_000_000,
            rtt: Nanos::from_millis(self.rtt_ms),
            queue: QueueSpec::Packets(100_000),
            loss_ppm: 0,
            loss_every: self.period,
            ack_every: true,
            warm_up: lasting(cycles.before) + Nanos::from_secs(5),
            counted: lasting(cycles.counted),
        };
        let growth = if self.kind == Reno { Growth::Reno } else { Growth::Cubic };
        let model = model::delivered(growth, self.rtt_ms as f64 / 1_000.0, self.period, cycles);
        Outcome { ours: path.run(), model }
    }

    /// Mathis, Semke, Mahdavi and Ott (1997): sqrt(3/2) / sqrt(p).
    fn mathis(&self) -> f64 {
        (1.5 * self.period as f64).sqrt()
    }

    fn row(&self, outcome: &Outcome) -> String {
        let Outcome { ours, model } = outcome;
        let mut out = format!("| {} | {} ms | 1 in {} |", name(self.kind), self.rtt_ms, self.period);
        let mathis = if self.kind == Reno { format!("{:.1}", self.mathis()) } else { String::new() };
        let _ = write!(out, " {mathis} | {:.0} |", self.table);
        for window in [ours.cwnd, ours.delivered] {
            let _ = write!(out, " {window:.1} | {:+.1} % |", percent(window, self.table));
        }
        let _ = write!(out, " {model:.1} | {:+.1} % |", percent(ours.delivered, *model));
        out
    }

    /// The bounds of the page. Only a loss of one in a hundred has wider ones than 10 %, and the page says why.
    #[track_caller]
    fn hold(&self, outcome: &Outcome) {
        let Outcome { ours, model } = outcome;
        let near = |what: &str, window: f64, expected: f64, most: f64| {
            let far = percent(window, expected);
            assert!(far.abs() <= most, "{self:?}: {what} {window:.2} instead of {expected:.2}: {far:+.1} %");
        };
        let often = self.kind == Reno && self.period == 100;
        near("window", ours.cwnd, self.table, 10.0);
        near("delivered", ours.delivered, self.table, if often { 11.0 } else { 10.0 });
        if self.kind == Reno {
            near("window (Mathis)", ours.cwnd, self.mathis(), if often { 11.0 } else { 10.0 });
            near("delivered (Mathis)", ours.delivered, self.mathis(), if often { 13.0 } else { 10.0 });
        }
        // Around its plateau CUBIC is in no hurry, and two that begin differently take long to agree.
        let on_the_curve = self.table > self.mathis();
        near("delivered (model)", ours.delivered, *model, if on_the_curve { 4.0 } else { 1.0 });
    }
}

fn percent(ours: f64, expected: f64) -> f64 {
    (ours / expected - 1.0) * 100.0
}

fn page_file() -> PathBuf {
    File::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/goodput.md")
}

#[expect(clippy::disallowed_methods, reason = "a test that compares a page")]
fn page() -> String {
    std::fs::read_to_string(page_file()).expect("docs/goodput.md")
}

//= rfc5681#3.1
//= rfc9438#4.3
//= rfc9438#5.1
//= type=test
#[test]
fn the_windows_are_those_of_the_formulae() {
    let page = page();
    let quick = |case: &Case| case.period == 100 || (case.period == 1_000 && case.rtt_ms == 100);
    for case in cases().filter(quick) {
        let outcome = case.run();
        case.hold(&outcome);
        let row = case.row(&outcome);
        assert!(page.lines().any(|line| line == row), "not in docs/goodput.md (cargo xtask goodput): {row}");
    }
}

/// The cells that are quick: loss keeps goodput low.
#[test]
fn the_page_says_what_gets_through() {
    let page = page();
    for kind in [Cubic, Reno] {
        let name = row_name(kind, 10_000);
        let row = page.lines().find(|line| line.starts_with(&name)).expect("a row of the page");
        let kept: Vec<&str> = row[name.len()..].split_inclusive('|').collect();
        for (at, rtt) in RTTS.into_iter().enumerate().skip(1) {
            let ours = cell(kind, 10_000, rtt, BUFFERS[0]);
            assert_eq!(ours, kept[at * BUFFERS.len()], "{name} {rtt} ms: cargo xtask goodput");
        }
    }
}

/// What stands in the page before, between and after the rows of its two tables.
const TEXT: [&str; 3] = [include_str!("head.md"), include_str!("formulae.md"), include_str!("tail.md")];

fn whole_page() -> String {
    let mut page = TEXT[0].to_owned();
    let mut add = |row: String| {
        eprintln!("{row}");
        let _ = writeln!(page, "{row}");
    };
    for kind in [Cubic, Reno, Bbr] {
        for loss in LOSSES {
            add(row(kind, loss));
        }
    }
    page.push_str(TEXT[1]);
    for case in cases() {
        let outcome = case.run();
        let row = case.row(&outcome);
        eprintln!("{row}");
        case.hold(&outcome);
        let _ = writeln!(page, "{row}");
    }
    page + TEXT[2]
}

#[test]
#[ignore = "minutes in a debug build: cargo xtask goodput"]
#[expect(clippy::disallowed_methods, reason = "a test that writes a page when it is asked to")]
fn the_whole_page() {
    let made = whole_page();
    if std::env::var_os("UPDATE_GOODPUT").is_some() {
        std::fs::write(page_file(), made).expect("docs/goodput.md can be written");
    } else {
        assert!(page() == made, "docs/goodput.md is not up to date: run `cargo xtask goodput`");
    }
}
