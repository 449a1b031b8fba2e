//! `cargo xtask bench attach`: a real program behind a simulated network, beside the same program behind slirp4netns, in turns.
//!
//! Both sides are a kernel's TCP in a network namespace, a TAP, TCP in a user's process, and a server. What is compared: bytes
//! out of the namespace, bytes into it, round trips of one byte with everything on one CPU. Ours has one link without
//! delay (nor do the machines take time), MTU 1500, whose packets are all simulated; nothing is recorded. The server is a simulated
//! machine, and for round trips also a real one, as the peer has it (`--serve`).
//!
//! Wants root (slirp4netns' server gets a namespace of its own) and a quiet machine; a ratio is the median of those of pairs
//! run one after the other.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::end::PORTS;
use crate::tools;

/// One comparison: its name, the test of the client, the figure, the factor that the project asks for, and whether our server is
/// a real one too.
const TESTS: [(&str, &str, &str, f64, bool); 4] = [
    ("tcp_out", "out", "gbps", 2.0, false),
    ("tcp_in", "in", "gbps", 1.3, false),
    ("round_trips", "rr", "rr_per_s", 1.5, false),
    ("round_trips_served", "rr", "rr_per_s", 1.5, true),
];
const PAIRS: usize = 5;
const SECONDS: &str = "2";
/// What slirp4netns calls the machine that it runs on.
const SLIRP_HOST: &str = "10.0.2.2";
const OUR_SERVER: &str = "10.0.0.2";
/// Where our machine is served by the real server.
const SERVED: u16 = 7007;
const WORLD: &str = "\
name: one-hop
topology:
  nodes:
    a: { kind: host, processing: 0s, address: 10.0.0.1/24 }
    b: { kind: host, processing: 0s, address: 10.0.0.2/24, run: [ echo: {}, discard: {}, chargen: {} ] }
  links:
    - { endpoints: [\"a:eth0\", \"b:eth0\"], rate: 1Tbit/s, delay: 0s, mtu: 1500 }
";

/// Runs the comparisons and prints them; `target` is cargo's folder.
pub(crate) fn run(target: &Path) -> Result<(), String> {
    if !tools::output("id", &["-u"])?.starts_with("0\n") {
        return Err("bench attach makes network namespaces for slirp4netns: run it as root".into());
    }
    tools::need(&[("slirp4netns", "slirp4netns"), ("ip", "iproute2"), ("taskset", "util-linux")])?;
    tools::run("cargo", &["build", "--release", "--package", "roundtrip", "--locked"])?;
    let own = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let bench = Bench { own, binary: target.join("release/roundtrip"), folder: target.join("bench-attach") };
    std::fs::create_dir_all(&bench.folder).map_err(|e| format!("{}: {e}", bench.folder.display()))?;
    std::fs::write(bench.world(), WORLD).map_err(|e| format!("{}: {e}", bench.world().display()))?;
    println!("{:<22} {:>10} {:>12} {:>8} {:>6}", "name", "ours", "slirp4netns", "ratio", "floor");
    for (name, test, figure, floor, served) in TESTS {
        // Round trips between idle processors measure how long one takes to wake.
        let pin = test == "rr";
        let server = if served { Some(bench.server(pin)?) } else { None };
        for mtu in [1500, 65520] {
            let slirp = Slirp::start(&bench, mtu, pin)?;
            let mut pairs = Vec::new();
            for _ in 0..PAIRS {
                let theirs = bench.figure(slirp.command(&bench, test), figure, pin)?;
                let ours = bench.figure(bench.ours(test, server.is_some()), figure, pin)?;
                pairs.push((ours, theirs));
            }
            let name = if mtu == 1500 { name.to_owned() } else { format!("{name} ({mtu})") };
            let median = |of: &dyn Fn(&(f64, f64)) -> f64| median(pairs.iter().map(of).collect());
            let (ours, theirs, ratio) = (median(&|p| p.0), median(&|p| p.1), median(&|p| p.0 / p.1));
            println!("{name:<22} {ours:>10.2} {theirs:>12.2} {ratio:>7.2}x {floor:>6}  {figure}");
        }
        if server.is_some() {
            let bare = median(bench.bare()?);
            println!(
                "{name:<22} {:>10} {bare:>12.2}  {figure} with nothing between: no relay can have more",
                ""
            );
        }
        drop(server);
    }
    println!("left out: pasta, whose packaged version is no match");
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Bench {
    own: PathBuf,
    binary: PathBuf,
    folder: PathBuf,
}

impl Bench {
    fn world(&self) -> PathBuf {
        self.folder.join("one-hop.yaml")
    }

    /// A real server on this computer's loopback.
    fn server(&self, pin: bool) -> Result<Server, String> {
        Server::start(words(&[&self.own.display().to_string(), "bench-end", "serve"]).collect(), pin)
    }

    /// The client and the real server on one loopback interface: what a relay between them has at the most, since it makes
    /// two such exchanges of one.
    fn bare(&self) -> Result<Vec<f64>, String> {
        let own = self.own.display().to_string();
        let command = || words(&[&own, "bench-end", "rr", "127.0.0.1", SECONDS]).collect();
        (0..PAIRS).map(|_| self.figure(command(), "rr_per_s", true)).collect()
    }

    /// The client in our network; the machine that it asks is a simulated one, or `served` by a real server.
    fn ours(&self, test: &str, served: bool) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let out = self.folder.join("out");
        let (binary, world, out, own) =
            (text(&self.binary), text(&self.world()), text(&out), text(&self.own));
        let [echo, ..] = PORTS;
        // The port where nothing simulated listens is the real one's.
        let (bridge, to) = (format!("{echo}:b:{SERVED}"), format!("{OUR_SERVER}:{SERVED}"));
        let serve: &[&str] = if served { &["--serve", &bridge] } else { &[] };
        let to = if served { &to } else { OUR_SERVER };
        words(&[&binary, "exec", &world, "--as", "a", "--record", "none", "--out", &out])
            .chain(words(serve))
            .chain(words(&["--", &own, "bench-end", test, to, SECONDS]))
            .collect()
    }

    /// What a client prints.
    fn figure(&self, command: Vec<String>, figure: &str, pin: bool) -> Result<f64, String> {
        let out = start(&command, pin)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| format!("cannot start {}: {e}", command[0]))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let value =
            text.split_whitespace().find_map(|w| w.strip_prefix(figure)?.strip_prefix('=')?.parse().ok());
        value.ok_or_else(|| format!("{}: no {figure} in `{text}`", command.join(" ")))
    }
}

fn words<'w>(words: &'w [&'w str]) -> impl Iterator<Item = String> + 'w {
    words.iter().map(|w| (*w).to_owned())
}

/// A command, on one CPU if so wanted.
fn start(command: &[String], pin: bool) -> Command {
    let mut whole: Vec<&str> = if pin { vec!["taskset", "-c", "0"] } else { Vec::new() };
    whole.extend(command.iter().map(String::as_str));
    let mut start = Command::new(whole[0]);
    start.args(&whole[1..]);
    start
}

/// `bench-end serve`; it ends when this does.
struct Server(Child);

impl Server {
    fn start(command: Vec<String>, pin: bool) -> Result<Server, String> {
        let child = start(&command, pin).stdout(Stdio::piped()).spawn();
        let mut server = Server(child.map_err(|e| format!("cannot start the server: {e}"))?);
        let mut line = String::new();
        let said = server.0.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        if matches!(said, Some(Ok(1..))) { Ok(server) } else { Err("the server does not begin".into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A namespace for the program, one for the server, and slirp4netns between them. All of it goes when this goes.
struct Slirp {
    inner: String,
    outer: String,
    children: Vec<Child>,
    server: Option<Server>,
}

impl Slirp {
    fn start(bench: &Bench, mtu: u32, pin: bool) -> Result<Slirp, String> {
        let name = |role: &str| format!("rtb{}{role}", std::process::id());
        let mut slirp = Slirp { inner: name("i"), outer: name("o"), children: Vec::new(), server: None };
        for space in [&slirp.inner, &slirp.outer] {
            tools::run("ip", &["netns", "add", space])?;
            tools::run("ip", &["-n", space, "link", "set", "lo", "up"])?;
        }
        let own = bench.own.display().to_string();
        let outer: Vec<String> = words(&["ip", "netns", "exec", &slirp.outer]).collect();
        let mut server: Vec<String> = outer.clone();
        server.extend(words(&[&own, "bench-end", "serve"]));
        slirp.server = Some(Server::start(server, pin)?);
        let (path, mtu) = (format!("/run/netns/{}", slirp.inner), format!("--mtu={mtu}"));
        let mut command = outer;
        command.extend(words(&["slirp4netns", "--configure", &mtu, "--netns-type=path", &path, "tap0"]));
        let child = start(&command, pin)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start slirp4netns: {e}"))?;
        slirp.children.push(child);
        slirp.await_route()?;
        Ok(slirp)
    }

    fn await_route(&self) -> Result<(), String> {
        let start = Instant::now();
        while !tools::output("ip", &["-n", &self.inner, "route"])?.contains("default") {
            if start.elapsed() > Duration::from_secs(10) {
                return Err("slirp4netns does not bring its network up".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn command(&self, bench: &Bench, test: &str) -> Vec<String> {
        let own = bench.own.display().to_string();
        let client = [&own, "bench-end", test, SLIRP_HOST, SECONDS];
        words(&["ip", "netns", "exec", &self.inner]).chain(words(&client)).collect()
    }
}

impl Drop for Slirp {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        drop(self.server.take());
        for space in [&self.inner, &self.outer] {
            let _ = tools::run("ip", &["netns", "del", space]);
        }
    }
}
