//! Tasks of the house: `cargo xtask ci | tidy | bench | goodput | interop | schema`. Standard library only, so that it builds at once.

mod attach;
mod bench;
mod bench_l7;
mod bench_nat;
mod ci;
mod end;
mod goodput;
mod interop;
mod schema;
mod tidy;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask TASK

  ci              everything that must pass: tools, format, lints, docs, tidy, tests, determinism, schemas
                  (installs tshark and tcpdump when it may, else says what to type)
                  --no-attach  leaves out what runs real programs in namespaces
  tidy            the house rules that a compiler does not check: arrows, sizes, headers, the map
  bench [NAME..]  chain bulk dumbbell scale record pcapng startup; runs the ns-3 peers beside ours when ns-3 can be had
                  --peers DIR  where the peer programs are   --format json   one JSON object a line
  bench attach    real programs in a simulated network beside slirp4netns (as root)
  bench nat       what NAT adds to a packet, and the kernel's figure (as root)
                  --kernel DIR  where the kernel's runner is
  bench l7        what an L7 hop costs a request, beside nginx as a reverse proxy on loopback
  bench users     10,000 people before a CDN of 20 edges, for five minutes: faster than real time?
                  --users N  fewer
  goodput         writes docs/goodput.md: what each congestion control gets through, and the formulae (some minutes)
                  --check      fails when a figure differs instead
  interop         the kernel's TCP against ours through real namespaces: 315 cases, 100 MB both ways (hours)
                  --only WORDS  cases whose names have them all (loss kernel SACK)   --bytes N  in each direction
  schema          writes the JSON Schemas of the scenario file and of story.json to docs/schema/
                  --check      fails when they differ instead
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let result = match args.first().map(String::as_str) {
        Some("ci") => ci::run(!rest.iter().any(|a| a == "--no-attach")),
        Some("tidy") => tidy::run(),
        Some("bench-end") => end::run(rest),
        Some("bench") => bench::run(rest),
        Some("goodput") => goodput::run(rest.iter().any(|a| a == "--check")),
        Some("interop") => interop::run(rest),
        Some("schema") => schema::run(rest.iter().any(|a| a == "--check")),
        _ => {
            print!("{HELP}");
            return if args.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
