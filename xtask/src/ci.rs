//! `cargo xtask ci`: what must pass before anything lands, in the order of quickest answer first.

use std::time::Instant;

use crate::{schema, tidy, tools};

/// A step; it is told whether real programs are attached.
type Step = (&'static str, fn(bool) -> Result<(), String>);

/// What attaching real programs needs besides: programs and their packages (docs/clients.md).
const CLIENTS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("certutil", "libnss3-tools"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("dhclient", "isc-dhcp-client"),
    ("dig", "bind9-dnsutils"),
    ("/usr/lib/python3/dist-packages/grpc/__init__.py", "python3-grpcio"),
    ("hping3", "hping3"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("mtr", "mtr-tiny"),
    ("nc", "netcat-openbsd"),
    ("nft", "nftables"),
    ("nmap", "nmap"),
    ("node", "nodejs"),
    ("ntpdig", "ntpsec-ntpdig"),
    ("openssl", "openssl"),
    ("ping", "iputils-ping"),
    ("python3", "python3"),
    ("sha256sum", "coreutils"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("tracepath", "iputils-tracepath"),
    ("traceroute", "traceroute"),
    ("unshare", "util-linux"),
    ("/usr/lib/python3/dist-packages/websockets/__init__.py", "python3-websockets"),
    ("wget", "wget"),
];

/// Every step, in order.
const STEPS: &[Step] = &[
    ("tools", |attach| {
        let clients = if attach { CLIENTS } else { &[] };
        let all = [("tshark", "tshark"), ("tcpdump", "tcpdump")];
        tools::need(&all.iter().chain(clients).copied().collect::<Vec<_>>())?;
        if attach { tools::need_namespaces() } else { Ok(()) }
    }),
    ("format", |_| tools::run("cargo", &["fmt", "--all", "--check"])),
    ("tidy", |_| tidy::run()),
    ("lints", |_| {
        tools::run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    }),
    ("docs", |_| {
        let args = &["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"];
        tools::run_with("cargo", args, &[("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")])
    }),
    // A fixed seed: a pass is a pass the next time too. Look further with PROPTEST_RNG_SEED and PROPTEST_CASES of your own.
    ("tests", |attach| {
        let mut env = vec![("INSTA_UPDATE", "no"), ("PROPTEST_RNG_SEED", "1")];
        let mut args = vec!["test", "--workspace", "--locked"];
        if !attach {
            env.push(("ROUNDTRIP_NO_ATTACH", "1"));
            args.extend(["--exclude", "rt-attach", "--", "--skip", "attached::"]);
        }
        tools::run_with("cargo", &args, &env)
    }),
    ("schemas", |_| schema::run(true)),
];

/// Runs every step and prints how long each took. Without `attach`, what needs namespaces is left out, and said so.
pub(crate) fn run(attach: bool) -> Result<(), String> {
    let mut times = Vec::new();
    for (name, step) in STEPS {
        eprintln!("== {name}");
        let start = Instant::now();
        step(attach).map_err(|e| format!("ci stopped at `{name}`: {e}"))?;
        times.push(format!("{name} {} s", start.elapsed().as_secs()));
    }
    println!("ci passed: {}", times.join(", "));
    if !attach {
        println!(
            "left out (--no-attach): all tests of rt-attach, those of `roundtrip exec` (attached::, docs/clients.md), and the pages that use it"
        );
    }
    Ok(())
}
