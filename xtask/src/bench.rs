//! `cargo xtask bench`: ours beside the peers in one run, as ratios. Absolute times mean nothing on a shared machine; a
//! ratio of two programs run one after the other does.
//!
//! Ours is `crates/rt-lab/benches/peers.rs` (single thread, recording off, real checksums). The peer is ns-3, built from
//! the peer programs with the same topology, sizes and counts, when ns-3 can be had. The packaged ns-3 carries its logging
//! code, so a second ratio divides by what an optimised build gains (`LOGGING`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools::{self, root};

/// One comparison: our figure over the peer's.
struct Bench {
    name: &'static str,
    /// The figure compared, as both programs print it.
    figure: &'static str,
    /// True when more is better.
    more_is_better: bool,
    /// What the packaged ns-3 loses to its logging code (peers/BASELINES.md); `None` without a peer.
    logging: Option<f64>,
    /// The floor against an optimised ns-3, or the limit of our own figure when there is no peer.
    floor: f64,
}

/// Everything that is compared, with what the project asks of each.
const BENCHES: &[Bench] = &[
    Bench {
        name: "chain",
        figure: "packet_hops_per_s",
        more_is_better: true,
        logging: Some(1.8),
        floor: 15.0,
    },
    Bench { name: "bulk", figure: "mb_per_wall_s", more_is_better: true, logging: Some(1.6), floor: 15.0 },
    Bench {
        name: "dumbbell",
        figure: "packet_hops_per_s",
        more_is_better: true,
        logging: Some(1.8),
        floor: 25.0,
    },
    Bench { name: "scale", figure: "total_s", more_is_better: false, logging: Some(1.6), floor: 20.0 },
    Bench { name: "scale_memory", figure: "kib_per_host", more_is_better: false, logging: None, floor: 6.0 },
    Bench { name: "record", figure: "slowdown", more_is_better: false, logging: None, floor: 2.0 },
    Bench { name: "pcapng", figure: "mb_per_s", more_is_better: true, logging: None, floor: 500.0 },
    Bench { name: "startup", figure: "wall_s", more_is_better: false, logging: None, floor: 0.1 },
    Bench {
        name: "startup_memory",
        figure: "peak_rss_mib",
        more_is_better: false,
        logging: None,
        floor: 50.0,
    },
    Bench { name: "rules", figure: "new_flow_ratio", more_is_better: false, logging: None, floor: 2.0 },
    Bench {
        name: "rules_spread",
        figure: "one_firewall_ratio",
        more_is_better: true,
        logging: None,
        floor: 0.5,
    },
];

/// Repetitions of each program; the median counts.
const REPETITIONS: usize = 3;

type Figures = BTreeMap<String, f64>;

/// Runs the benches named in `args`, or all.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if args.iter().any(|a| a == "attach") {
        return crate::attach::run(&target());
    }
    if args.iter().any(|a| a == "l7") {
        return crate::bench_l7::run(&target());
    }
    if args.iter().any(|a| a == "users") {
        let many = args.iter().position(|a| a == "--users").and_then(|at| args.get(at + 1));
        return crate::bench_l7::users(many.map(String::as_str));
    }
    if args.iter().any(|a| a == "nat") {
        let folder = args.iter().position(|a| a == "--kernel").and_then(|at| args.get(at + 1));
        return crate::bench_nat::run(
            &folder.map_or_else(|| root().join("../shared/peers/kernel"), PathBuf::from),
        );
    }
    let mut names: Vec<&str> = Vec::new();
    let mut peers = root().join("../shared/peers/ns3");
    let mut json = false;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--peers" => peers = PathBuf::from(rest.next().ok_or("--peers wants a folder")?),
            "--format" => json = rest.next().is_some_and(|f| f == "json"),
            name => names.push(name),
        }
    }
    if let Some(unknown) = names.iter().find(|n| !BENCHES.iter().any(|b| b.name == **n)) {
        let known: Vec<&str> = BENCHES.iter().map(|b| b.name).collect();
        return Err(format!("no bench is called `{unknown}`; there are {}", known.join(", ")));
    }
    tools::run("cargo", &["build", "--release", "--package", "roundtrip", "--locked"])?;
    let ns3 = peer_runner(&peers);
    if !json {
        println!(
            "{:<15} {:>14} {:>14} {:>8} {:>10} {:>8}",
            "name", "ours", "peer", "ratio", "optimised", "floor"
        );
    }
    // `rules` means `rules_spread` as well.
    let named = |b: &Bench| {
        names
            .iter()
            .any(|n| b.name.strip_prefix(n).is_some_and(|more| more.is_empty() || more.starts_with('_')))
    };
    for bench in BENCHES.iter().filter(|b| names.is_empty() || named(b)) {
        let ours = median(bench.figure, || our_figures(bench.name))?;
        let peer = match (&ns3, bench.logging) {
            (Ok(runner), Some(_)) => Some(median(bench.figure, || peer_figures(runner, bench.name))?),
            (Err(why), Some(_)) => {
                eprintln!("{}: no peer: {why}", bench.name);
                None
            }
            _ => None,
        };
        print_line(bench, ours, peer, json);
    }
    Ok(())
}

fn print_line(bench: &Bench, ours: f64, peer: Option<f64>, json: bool) {
    let ratio = peer.map(|p| if bench.more_is_better { ours / p } else { p / ours });
    let optimised = ratio.zip(bench.logging).map(|(r, logging)| r / logging);
    if json {
        let field = |v: Option<f64>| v.map_or("null".to_owned(), |v| format!("{v:.4}"));
        println!(
            "{{\"name\":\"{}\",\"figure\":\"{}\",\"ours\":{ours:.4},\"peer\":{},\"ratio\":{},\"ratio_optimised\":{},\"floor\":{}}}",
            bench.name,
            bench.figure,
            field(peer),
            field(ratio),
            field(optimised),
            bench.floor
        );
        return;
    }
    let cell = |v: Option<f64>, unit: &str| v.map_or("-".to_owned(), |v| format!("{v:.2}{unit}"));
    println!(
        "{:<15} {:>14.2} {:>14} {:>8} {:>10} {:>8}  {}",
        bench.name,
        ours,
        cell(peer, ""),
        cell(ratio, "x"),
        cell(optimised, "x"),
        bench.floor,
        bench.figure
    );
}

/// The median of `figure` over the repetitions.
fn median(figure: &str, mut once: impl FnMut() -> Result<Figures, String>) -> Result<f64, String> {
    let mut values = Vec::new();
    for _ in 0..REPETITIONS {
        let figures = once()?;
        values.push(
            *figures.get(figure).ok_or_else(|| format!("the program did not print {figure}: {figures:?}"))?,
        );
    }
    values.sort_by(f64::total_cmp);
    Ok(values[values.len() / 2])
}

/// Ours: the bench program, or the released binary itself for `startup`.
fn our_figures(name: &str) -> Result<Figures, String> {
    if name.starts_with("startup") {
        return startup();
    }
    let bench = name.split('_').next().unwrap_or(name);
    let text = tools::output(
        "cargo",
        &["bench", "--quiet", "--package", "rt-lab", "--bench", "peers", "--", bench],
    )?;
    Ok(key_values(&text))
}

/// Wall time and peak memory of `roundtrip run web-browsing`, by GNU time.
fn startup() -> Result<Figures, String> {
    let (out, binary) = (target().join("bench-out"), target().join("release/roundtrip"));
    tools::need(&[("/usr/bin/time", "time")])?;
    let result = Command::new("/usr/bin/time")
        .args(["-f", "wall_s=%e rss_kib=%M"])
        .arg(binary)
        .args(["run", "web-browsing", "--out"])
        .arg(out)
        .output()
        .map_err(|e| format!("cannot start /usr/bin/time: {e}"))?;
    let mut figures = key_values(&String::from_utf8_lossy(&result.stderr));
    let rss = figures.get("rss_kib").copied().unwrap_or_default();
    figures.insert("peak_rss_mib".into(), rss / 1024.0);
    Ok(figures)
}

/// Cargo's folder for what it builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where the peer's script is, if ns-3 can be had.
fn peer_runner(folder: &Path) -> Result<PathBuf, String> {
    let script = folder.join("run.sh");
    if !script.exists() {
        return Err(format!("{} is not there (give --peers DIR)", script.display()));
    }
    if !Path::new("/usr/include/ns3.37").exists() && !Path::new("/usr/include/ns3").exists() {
        tools::need(&[("ns3-headers", "libns3-dev"), ("g++", "g++")])?;
    }
    Ok(script)
}

fn peer_figures(script: &Path, name: &str) -> Result<Figures, String> {
    let tmp = target().join("peers");
    let out = Command::new("bash")
        .arg(script)
        .arg(name)
        .env("REPS", "1")
        .env("BENCH_TMP", tmp)
        .output()
        .map_err(|e| format!("cannot start the peer: {e}"))?;
    if !out.status.success() {
        return Err(format!("the peer failed: {}", String::from_utf8_lossy(&out.stderr)));
    }
    let mut figures = key_values(&String::from_utf8_lossy(&out.stdout));
    let total = figures.get("setup_s").unwrap_or(&0.0) + figures.get("wall_s").unwrap_or(&0.0);
    figures.insert("total_s".into(), total);
    Ok(figures)
}

/// `key=value` words; later ones win, words that are not numbers are left out.
pub(crate) fn key_values(text: &str) -> Figures {
    text.split_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
        .collect()
}
