//! Everything that ends badly around a program: nothing hangs, nothing is left, and every end has a message.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cases::{CLEAN, Case};
use super::guest::{Place, Said, end, roundtrip, signal, until};
use super::left::{Before, names};

/// A place, the small network in it, and how the machine was before.
fn set_up(name: &str) -> (Place, PathBuf, Before) {
    let place = Place::new(name);
    let scenario = place.write("kernel.yaml", Case::new(CLEAN, 0).scenario());
    let before = Before::look(&place);
    (place, scenario, before)
}

/// The summary of the run's last step, as `run.json` has it.
fn summary(place: &Place) -> String {
    let told: Value = serde_json::from_slice(&std::fs::read(place.path("out/run.json")).unwrap()).unwrap();
    told["steps"].as_array().unwrap().last().unwrap()["summary"].as_str().unwrap().to_owned()
}

#[track_caller]
fn expect(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, Some(code), "{}{}", said.out, said.err);
    for word in words {
        assert!(said.err.contains(word), "no `{word}` in: {}", said.err);
    }
}

#[test]
fn a_program_that_is_killed_ends_the_run_with_its_signal() {
    let (place, scenario, before) = set_up("child");
    let said = before.run(&mut place.exec(&scenario, "sleep 1000 & kill -9 $$"), 60);
    expect(&said, 137, &[]);
    assert_eq!(summary(&place), "ended by signal 9");
}

/// From outside: whoever is root or ourselves may kill any process of the guest.
#[test]
fn a_guest_whose_first_process_is_killed_ends_the_run() {
    let (place, scenario, before) = set_up("first");
    let mut command = place.exec(&scenario, "setsid sleep 1000 & sleep 1000");
    before.mark(&mut command);
    let child = command.spawn().unwrap();
    let held = child.id();
    until("the sleepers sleep", || before.processes().len() >= 4);
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        after.split_whitespace().nth(1) == Some(&held.to_string())
    };
    let children: Vec<u32> = before.processes().into_iter().filter(is_child).collect();
    assert!(!children.is_empty());
    children.iter().for_each(|pid| signal(*pid, "KILL"));
    expect(&end(child, Duration::from_secs(60)), 137, &[]);
    before.nothing_is_left();
    assert_eq!(summary(&place), "ended by signal 9");
}

#[test]
fn a_run_that_is_killed_leaves_nothing_behind_and_can_be_made_again() {
    let (place, scenario, before) = set_up("parent");
    let script =
        "setsid sleep 1000 & curl -sS -o down http://10.0.1.2/bytes/100000; echo > ready; sleep 1000";
    let mut command = place.exec(&scenario, script);
    before.mark(&mut command);
    let child = command.spawn().unwrap();
    until("it is under way", || place.path("ready").exists());
    assert_eq!(before.namespaces().len(), 1);
    std::thread::sleep(Duration::from_secs(1));
    signal(child.id(), "KILL");
    assert_eq!(end(child, Duration::from_secs(60)).code, None);
    before.nothing_is_left();
    // What came until then is kept.
    let mut again = roundtrip();
    again.arg("replay").arg(place.path("out")).arg("--out").arg(place.path("again"));
    let said = Said::from(again.output().unwrap());
    expect(&said, 0, &[]);
    assert!(said.out.contains("/bytes/100000") && said.out.contains("200"), "{}", said.out);
}

#[test]
fn a_network_card_that_is_removed_is_told() {
    let (place, scenario, before) = set_up("card");
    let script = "curl -sS -m 30 -o down http://10.0.1.2/bytes/1000 && ip link del eth0; sleep 1; ip link show eth0; \
                  curl -sS -m 2 http://10.0.1.2/; exit 3";
    let said = before.run(&mut place.exec(&scenario, script), 60);
    expect(&said, 3, &["the network card eth0 of guest is gone"]);
    assert_eq!(std::fs::read(place.path("down")).unwrap().len(), 1_000);
    // Down and up again is no end.
    let script = "ip link set eth0 down; sleep 0.2; ip link set eth0 up; ip route replace default via 10.0.0.254; \
                  curl -sS -m 30 -o again http://10.0.1.2/bytes/1000";
    expect(&before.run(&mut place.exec(&scenario, script), 60), 0, &[]);
    assert_eq!(std::fs::read(place.path("again")).unwrap().len(), 1_000);
}

#[test]
fn a_full_disk_is_said_and_ends_the_run() {
    let (place, scenario, before) = set_up("full");
    std::fs::create_dir_all(place.path("out")).unwrap();
    // A file system of our own in a mount namespace of our own; an ordinary user needs a user namespace for that.
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let program = env!("CARGO_BIN_EXE_roundtrip");
    // Full at the beginning, under way, in the capture, and when the story is written.
    for size in ["40k", "3m", "19m", "21m"] {
        let inner = format!(
            "mount -t tmpfs -o size={size} none out && exec \"$0\" exec \"$1\" --as guest --out out -- \
             curl -sS -m 60 -o down http://10.0.1.2/bytes/2000000"
        );
        let mut command = Command::new("unshare");
        command.args(if root { &["-m"][..] } else { &["-r", "-m"] });
        command.args(["sh", "-c", &inner, program]).arg(&scenario).current_dir(place.path(""));
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let begin = Instant::now();
        let said = before.run(&mut command, 120);
        println!("{size}: full after {:?}: {}", begin.elapsed(), said.err.trim());
        expect(&said, 2, &["No space left on device"]);
    }
}

#[test]
fn interrupts_are_handed_on_and_a_program_that_is_deaf_to_them_ends_too() {
    let (place, scenario, before) = set_up("interrupt");
    let start = |script: &str| {
        let mut command = place.exec(&scenario, script);
        before.mark(&mut command);
        let _ = std::fs::remove_file(place.path("ready"));
        let child = command.spawn().unwrap();
        until("it is under way", || place.path("ready").exists());
        child
    };
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let child = start("echo > ready; exec sleep 1000");
        signal(child.id(), name);
        expect(&end(child, Duration::from_secs(60)), code, &[]);
        before.nothing_is_left();
        assert_eq!(summary(&place), format!("ended by signal {}", code - 128));
    }
    // Its own answer counts.
    let child = start("trap 'exit 9' INT; echo > ready; while :; do sleep 0.1; done");
    signal(child.id(), "INT");
    expect(&end(child, Duration::from_secs(60)), 9, &[]);
    let child = start("trap '' INT TERM HUP; echo > ready; while :; do sleep 0.1; done");
    for _ in 0..3 {
        signal(child.id(), "TERM");
        std::thread::sleep(Duration::from_millis(300));
    }
    expect(&end(child, Duration::from_secs(60)), 137, &[]);
    before.nothing_is_left();
}

/// As from a keyboard: the terminal gives the signal to both.
#[test]
fn control_c_at_a_terminal_ends_both() {
    let (place, scenario, before) = set_up("terminal");
    let program = r#"
import os, pty, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
text = b""
while b"under way" not in text:
    text += os.read(terminal, 1000)
time.sleep(0.3)
os.write(terminal, b"\x03")
try:
    while os.read(terminal, 1000):
        pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
    let mut command = Command::new("python3");
    command.args(["-c", program, env!("CARGO_BIN_EXE_roundtrip"), "exec"]).arg(&scenario);
    command.args(["--as", "guest", "--out"]).arg(place.path("out"));
    command.args(["--", "sh", "-c", "echo under way; exec sleep 1000"]);
    expect(&before.run(&mut command, 60), 130, &[]);
    assert_eq!(summary(&place), "ended by signal 2");
}

/// The clock on the wall leaps an hour forth and back again while a program runs: for us and for the program.
#[test]
fn a_wall_clock_that_is_set_moves_nothing() {
    let (place, scenario, before) = set_up("clock");
    let shim = place.write(
        "shim.c",
        "#include <time.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n\
         static struct timespec start;\n\
         __attribute__((constructor)) static void begin(void) { syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &start); }\n\
         int clock_gettime(clockid_t id, struct timespec *now) {\n\
           long result = syscall(SYS_clock_gettime, id, now);\n\
           if (id == CLOCK_REALTIME) {\n\
             struct timespec m; syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &m);\n\
             long since = m.tv_sec - start.tv_sec;\n\
             if (since >= 1) now->tv_sec += since % 2 ? 3600 : -3600;\n\
           }\n\
           return result;\n\
         }\n",
    );
    let library = place.path("shim.so");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &shim]).status().unwrap();
    assert!(built.success());
    // The kernel's own time first: a program that is slow to begin sees the clock leap before its first look.
    let script = "env -u LD_PRELOAD date +%s; \
                  python3 -c 'import time; time.sleep(1.3); print(int(time.clock_gettime(time.CLOCK_REALTIME)))'; \
                  for i in 1 2 3 4; do sleep 0.5; curl -sS -m 30 -o down http://10.0.1.2/bytes/100000 || exit 1; done";
    let mut command = place.exec(&scenario, script);
    command.env("LD_PRELOAD", &library);
    let said = before.run(&mut command, 60);
    expect(&said, 0, &[]);
    let seen: Vec<i64> = said.out.lines().map(|l| l.parse().unwrap()).collect();
    assert!((seen[1] - seen[0]).abs() > 3_000, "the clock does not leap: {seen:?}");
    let told: Value = serde_json::from_slice(&std::fs::read(place.path("out/run.json")).unwrap()).unwrap();
    let program = &told["attached"]["programs"][0];
    let span = program["end_ns"].as_u64().unwrap() - program["begin_ns"].as_u64().unwrap();
    assert!((2_000_000_000..40_000_000_000).contains(&span), "{span} ns");
    let late = told["attached"]["late_ns"]["max"].as_u64().unwrap();
    assert!(late < 5_000_000_000, "{late} ns late");
}

/// The steps of the others are over long before the program is; a cable that is cut meanwhile is no end either.
#[test]
fn a_scenario_that_ends_while_a_program_runs_goes_on() {
    let (place, _, before) = set_up("ends");
    let text = Case::new(CLEAN, 0).scenario();
    let scenario = place.write(
        "ends.yaml",
        format!(
            "{text}steps:\n  - server pings 10.0.0.254\ntimeline:\n  - {{ at: 30s, cut: middle:eth1 }}\n"
        ),
    );
    let script = "sleep 2; curl -sS -m 30 -o down http://10.0.1.2/bytes/1000";
    expect(&before.run(&mut place.exec(&scenario, script), 60), 0, &[]);
    assert_eq!(std::fs::read(place.path("down")).unwrap().len(), 1_000);
}

/// What cannot begin says why, and leaves no more than what ends.
#[test]
fn what_cannot_begin_leaves_nothing() {
    let (place, scenario, before) = set_up("begin");
    let mut command = place.exec(&scenario, "true");
    let said = before.run(command.env("PATH", "/nowhere"), 60);
    expect(&said, 127, &["cannot run `sh`"]);
    let file = place.write("file", "");
    let mut command = roundtrip();
    command
        .arg("exec")
        .arg(&scenario)
        .args(["--as", "guest", "--out"])
        .arg(file.join("out"))
        .args(["--", "true"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let said = before.run(&mut command, 60);
    expect(&said, 2, &["Not a directory"]);
}

/// A whole internet with nobody who wants anything costs nothing.
#[test]
fn idle_costs_less_than_a_hundredth_of_a_core() {
    let (place, _, before) = set_up("idle");
    let mut command = place.exec_as("laptop", Path::new("playground"), "echo > ready; sleep 13");
    before.mark(&mut command);
    let child = command.spawn().unwrap();
    let pid = child.id();
    until("it is under way", || place.path("ready").exists());
    std::thread::sleep(Duration::from_secs(1));
    let (begin, first) = (Instant::now(), ticks(pid));
    std::thread::sleep(Duration::from_secs(10));
    let (spent, span) = (ticks(pid) - first, begin.elapsed());
    expect(&end(child, Duration::from_secs(60)), 0, &[]);
    before.nothing_is_left();
    // A tick is a hundredth of a second.
    let share = spent as f64 / 100.0 / span.as_secs_f64();
    println!("idle: {:.2} % of a core", share * 100.0);
    assert!(share < 0.01, "{:.2} % of a core", share * 100.0);
    assert!(
        !names(&place.path("out")).iter().any(|n| n.starts_with(".keys")),
        "{:?}",
        names(&place.path("out"))
    );
}

/// Time that a process has spent in itself and in the kernel.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let words: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
}
