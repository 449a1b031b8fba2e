//! `cargo xtask ci`: what must pass before anything lands, in the order of quickest answer first.

use std::time::Instant;

use crate::{schema, tidy, tools};

type Step = (&'static str, fn() -> Result<(), String>);

/// Every step, in order.
const STEPS: &[Step] = &[
    ("tools", || {
        let attach =
            [("ping", "iputils-ping"), ("ip", "iproute2"), ("certutil", "libnss3-tools"), ("bash", "bash")];
        tools::need(
            &[("tshark", "tshark"), ("tcpdump", "tcpdump")].into_iter().chain(attach).collect::<Vec<_>>(),
        )
    }),
    ("format", || tools::run("cargo", &["fmt", "--all", "--check"])),
    ("tidy", tidy::run),
    ("lints", || {
        tools::run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    }),
    ("docs", || {
        let args = &["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"];
        tools::run_with("cargo", args, &[("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")])
    }),
    // A fixed seed: a pass is a pass the next time too. Look further with PROPTEST_RNG_SEED and PROPTEST_CASES of your own.
    ("tests", || {
        let env = &[("INSTA_UPDATE", "no"), ("PROPTEST_RNG_SEED", "1")];
        tools::run_with("cargo", &["test", "--workspace", "--locked"], env)
    }),
    ("schemas", || schema::run(true)),
];

/// Runs every step and prints how long each took.
pub(crate) fn run() -> Result<(), String> {
    let mut times = Vec::new();
    for (name, step) in STEPS {
        eprintln!("== {name}");
        let start = Instant::now();
        step().map_err(|e| format!("ci stopped at `{name}`: {e}"))?;
        times.push(format!("{name} {} s", start.elapsed().as_secs()));
    }
    println!("ci passed: {}", times.join(", "));
    Ok(())
}
