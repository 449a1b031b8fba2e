//! How guests end, and that nothing is left.

use std::io::{BufRead, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use rt_attach::{AttachError, GuestStdio, JoinPlan, Plan, join, launch};
use rustix::process::{Pid, Signal, kill_process};

use crate::roles;
use crate::world::{laptop, processes, run, serve, start, until};

#[test]
fn exit_codes_and_signals_come_through() {
    let check = |script: &str, code: i32| assert_eq!(run(&laptop(script)).code, code, "{script}");
    check("exit 0", 0);
    check("exit 7", 7);
    check("exit 255", 255);
    check("kill -TERM $$", 143);
    check("kill -KILL $$", 137);
    // Whoever is left behind goes with the program.
    check("sleep 31337000 & exit 3", 3);
    until("the rest is gone", || processes("31337000").is_empty());
}

#[test]
fn programs_that_cannot_be_run_are_errors() {
    let check = |command: &str, code: i32| {
        let mut plan = laptop("");
        plan.command = vec![command.into()];
        let error = launch(&plan).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot run `{command}`: ")), "{error}");
        assert_eq!(error.exit_code(), code, "{error}");
    };
    check("no-such-program-here", 127);
    check("/no/such/program", 127);
    check("/etc/passwd", 126);
    check("/etc", 126);
}

#[test]
fn signals_reach_the_program() {
    let (mut guest, mut output) =
        start(&laptop("trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.05; done"));
    let mut ready = [0; 6];
    output.read_exact(&mut ready).unwrap();
    guest.signal(10).unwrap();
    assert_eq!(serve(&mut guest), 5);
    let (mut guest, _out) = start(&laptop("exec sleep 1000"));
    guest.signal(15).unwrap();
    assert_eq!(serve(&mut guest), 143);
    assert!(guest.signal(15).is_err(), "it has ended");
    assert_eq!(guest.try_wait().unwrap(), Some(143), "the answer stays");
}

#[test]
fn killing_and_dropping_leave_nothing() {
    let (mut guest, _out) = start(&laptop("sleep 31337001 & setsid sleep 31337001 & sleep 31337001"));
    until("they sleep", || processes("31337001").len() == 3);
    guest.kill().unwrap();
    assert_eq!(serve(&mut guest), 137);
    assert!(processes("31337001").is_empty());
    let (guest, _out) = start(&laptop("sleep 31337002 & setsid sleep 31337002 & sleep 31337002"));
    until("they sleep", || processes("31337002").len() == 3);
    let pid = guest.pid();
    drop(guest);
    assert!(processes("31337002").is_empty());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_guest_dies_with_a_parent_that_is_killed() {
    let (mut holder, mut output) = roles::play("holder", &[("NAP", "31337003")]);
    let mut pid = String::new();
    output.read_line(&mut pid).unwrap();
    until("they sleep", || processes("31337003").len() == 3);
    assert!(Path::new(&format!("/proc/{}", pid.trim())).exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
    until("all is gone", || {
        processes("31337003").is_empty() && !Path::new(&format!("/proc/{}", pid.trim())).exists()
    });
}

#[test]
fn a_guest_outlives_the_thread_that_launched_it() {
    let thread = std::thread::spawn(|| start(&laptop("sleep 0.3; exit 4")));
    let (mut guest, _out) = thread.join().unwrap();
    assert_eq!(serve(&mut guest), 4);
}

#[test]
fn a_second_guest_does_not_keep_the_first_alive() {
    // The second one is a copy of us at a time when we hold the first: it must not hold it too.
    let (first, _one) = start(&laptop("sleep 31337004"));
    let (mut second, _two) = start(&laptop("sleep 0.5; exit 6"));
    drop(first);
    assert!(processes("31337004").is_empty());
    assert_eq!(serve(&mut second), 6);
}

#[test]
fn open_descriptors_are_let_through() {
    let (mut output, input) = std::io::pipe().unwrap();
    let wanted = rustix::io::fcntl_dupfd_cloexec(&input, 70).unwrap();
    rustix::io::fcntl_setfd(&wanted, rustix::io::FdFlags::empty()).unwrap();
    // Dash knows descriptors of one digit only.
    let mut plan = laptop("");
    let script = format!("echo hello >&{}", wanted.as_raw_fd());
    plan.command = ["bash", "-c", script.as_str()].map(Into::into).to_vec();
    assert_eq!(run(&plan).code, 0);
    drop((input, wanted));
    let mut hello = [0; 6];
    output.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello\n");
}

#[test]
fn others_can_join() {
    let mut plan = laptop("");
    plan.command.clear();
    plan.hostname = "phone".into();
    plan.env.push(("COLOUR".into(), "green".into()));
    let mut guest = launch(&plan).unwrap();
    let joined = |script: &str| {
        let (mut output, input) = std::io::pipe().unwrap();
        let file = std::sync::Arc::new(std::fs::File::from(std::os::fd::OwnedFd::from(input)));
        let plan = JoinPlan {
            pid: guest.pid(),
            env: vec![("SHAPE".into(), "round".into())],
            command: ["sh", "-c", script].map(Into::into).to_vec(),
            user: rt_attach::GuestUser::Caller,
            stdio: [GuestStdio::Null, GuestStdio::File(file.clone()), GuestStdio::File(file)],
        };
        let mut joined = join(&plan).unwrap_or_else(|error| panic!("{error}"));
        drop(plan);
        let code = serve(&mut joined);
        let mut said = String::new();
        output.read_to_string(&mut said).unwrap();
        (code, said)
    };
    let (code, said) =
        joined("hostname; echo $COLOUR $SHAPE; ls /sys/class/net; cat /etc/resolv.conf; exit 9");
    assert_eq!((code, said.as_str()), (9, "phone\ngreen round\neth0\nlo\nnameserver 10.0.0.1\n"));
    let (_, said) = joined("grep CapEff /proc/self/status; cat /proc/1/comm; touch $HOME/left");
    assert!(!said.contains("0000000000000000"), "it has the capabilities of a guest: {said}");
    assert!(said.ends_with("rt-guest\n"), "{said}");
    assert_eq!(joined("ls $HOME").1, "left\n", "one and the same machine");
    assert_eq!(guest.try_wait().unwrap(), None);
}

#[test]
fn who_joined_goes_with_the_guest_and_with_its_holder() {
    let mut plan = laptop("");
    plan.command.clear();
    let guest = launch(&plan).unwrap();
    let mut nap = JoinPlan {
        pid: guest.pid(),
        env: Vec::new(),
        command: ["sleep", "31337005"].map(Into::into).to_vec(),
        user: rt_attach::GuestUser::Caller,
        stdio: Plan::new("", Vec::new()).stdio,
    };
    let one = join(&nap).unwrap();
    assert_eq!(processes("31337005").len(), 1);
    drop(one);
    until("it is gone", || processes("31337005").is_empty());
    let mut two = join(&nap).unwrap();
    drop(guest);
    assert_eq!(serve(&mut two), 137);
    nap.pid = std::process::id();
    match join(&nap) {
        Err(AttachError::Misuse { what }) => assert!(what.contains("is not a guest"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_exit_code_is_not_lost_where_children_are_ignored() {
    let mut command = std::process::Command::new("env");
    command.arg("--ignore-signal=CHLD").args(roles::command("deaf"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn guests_leave_no_descriptor_no_process_and_no_thread() {
    let (mut child, mut output) = roles::play("spender", &[]);
    output.read_to_string(&mut String::new()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn interrupts_can_be_waited_for() {
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15), (Signal::HUP, 1)] {
        let (mut child, mut output) = roles::play("interrupted", &[]);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("signal {number}\n"));
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None), "{rest}");
    }
}
