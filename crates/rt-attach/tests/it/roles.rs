//! Parts that this program plays for its own tests, in processes of their own: each is an ignored test, started by name.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rt_attach::{Interrupts, Plan, Poller, launch};

use crate::world::{laptop, serve};

/// The command line that plays a role inside a guest or beside us.
pub(crate) fn command(role: &str) -> Vec<std::ffi::OsString> {
    let program = std::env::current_exe().unwrap();
    let mut words = vec![program.into_os_string()];
    words.extend([format!("roles::{role}").as_str(), "--exact", "--ignored", "--nocapture"].map(Into::into));
    words
}

/// Plays a role in a new process; its standard output from the line `ready` on.
pub(crate) fn play(
    role: &str,
    environment: &[(&str, &str)],
) -> (Child, BufReader<std::process::ChildStdout>) {
    let words = command(role);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).envs(environment.iter().copied()).stdout(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.ends_with("ready\n") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the role {role} ended before it was ready");
    }
    (child, output)
}

fn ready() {
    println!("ready");
    std::io::stdout().flush().unwrap();
}

/// Holds a guest in which two programs sleep for `NAP` seconds, until it is killed itself.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn holder() {
    let nap = std::env::var("NAP").unwrap();
    let mut guest = launch(&laptop(&format!("sleep {nap} & setsid sleep {nap} & sleep {nap}"))).unwrap();
    ready();
    println!("{}", guest.pid());
    serve(&mut guest);
}

/// Starts and ends guests, one after the other and together, and counts what this process is left with.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn spender() {
    let left = || {
        let count = |path: &str| std::fs::read_dir(path).unwrap().count();
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
        (count("/proc/self/fd"), count("/proc/self/task"), children)
    };
    let before = left();
    for device in [rt_attach::DeviceChoice::Auto, rt_attach::DeviceChoice::Veth] {
        let mut plan = laptop("sleep 1000");
        plan.device = device;
        let guests: Vec<_> = (0..8).map(|_| launch(&plan).unwrap()).collect();
        drop(guests);
        plan.command = vec!["/no/such/program".into()];
        assert!(launch(&plan).is_err());
        let twice = plan.interfaces[0].addresses[0];
        plan.interfaces[0].addresses.push(twice);
        plan.interfaces.push(plan.interfaces[0].clone());
        plan.interfaces[1].name = "eth1".into();
        let error = launch(&plan).unwrap_err().to_string();
        assert!(error.contains("cannot give eth0 the address 10.0.0.7/24: File exists"), "{error}");
    }
    assert_eq!(left(), before);
    ready();
}

/// Runs a guest to its end in a process that ignores SIGCHLD, if it was started so.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn deaf() {
    let ignored = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = ignored.lines().find_map(|l| l.strip_prefix("SigIgn:\t")).unwrap();
    let child = 1u64 << (17 - 1);
    assert_ne!(u64::from_str_radix(ignored, 16).unwrap() & child, 0);
    assert_eq!(crate::world::run(&laptop("sh -c 'exit 3'; exit $(($? + 1))")).code, 4);
    println!("ready");
}

/// Starts a guest that says who it is; prints that.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn somebody() {
    let script = "id -u; id -g; touch $HOME/mine && stat -c %u $HOME/mine; grep CapEff /proc/self/status; \
                  ping -c 1 10.0.0.1 | grep -o '1 received'";
    // What a careful root has: nothing that is made for a guest must be closed to its user.
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let outcome = crate::world::run(&laptop(&format!("umask; {script}")));
    rustix::process::umask(umask);
    ready();
    println!("{}", outcome.said);
}

/// Says what survey and launch say about namespaces.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn applicant() {
    let finding = rt_attach::survey().remove(0);
    let launched =
        launch(&laptop("exit 0")).map(|mut guest| serve(&mut guest)).map_err(|error| error.to_string());
    ready();
    println!("{}\n{launched:?}\n{}", finding.found, finding.detail);
}

/// Waits for a signal as something to read, and says which it was.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn interrupted() {
    let mut interrupts = Interrupts::catch().unwrap();
    assert!(Interrupts::catch().is_err(), "one at a time");
    ready();
    let mut poller = Poller::new();
    while poller.wait(&[interrupts.watch()], Some(Duration::from_secs(30))).unwrap() != [true] {}
    println!("signal {}", interrupts.take().unwrap());
    assert_eq!(interrupts.take(), None);
}

/// Runs `bash` in a guest on this process's terminal; exits with its code.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn terminal() {
    let mut plan = laptop("");
    plan.command = ["bash", "--norc", "--noprofile", "-i"].map(Into::into).to_vec();
    plan.env.push(("PS1".into(), "prompt> ".into()));
    plan.stdio = Plan::new("", Vec::new()).stdio;
    let mut guest = launch(&plan).unwrap();
    let code = serve(&mut guest);
    let foreground = rustix::termios::tcgetpgrp(rustix::stdio::stdin()).unwrap();
    assert_eq!(foreground, rustix::process::getpgrp(), "the terminal is ours again");
    std::process::exit(code);
}

/// Says whether a TCP connection to `TARGET` can be made, in at most a second.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn connect() {
    let target = std::env::var("TARGET").unwrap().parse().unwrap();
    match TcpStream::connect_timeout(&target, Duration::from_secs(1)) {
        Ok(_) => println!("connected"),
        Err(error) => println!("not connected: {error}"),
    }
}

/// Sends datagrams of many sizes to a port that sends them back, from a port that ordinary users may not have elsewhere.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn datagrams() {
    let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for size in [0usize, 1, 17, 18, 512, 1471, 1472] {
        let sent: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        socket.send_to(&sent, "10.0.0.1:7").unwrap();
        let mut got = [0; 2000];
        let (length, _) = socket.recv_from(&mut got).unwrap();
        assert_eq!(&got[..length], &sent[..]);
    }
    println!("all came back");
}

/// Takes `SIZE` bytes over TCP on port 7000, and says whether they are the right ones and what the kernel thinks of them.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn sink() {
    let size: usize = std::env::var("SIZE").unwrap().parse().unwrap();
    let listener = std::net::TcpListener::bind("0.0.0.0:7000").unwrap();
    ready();
    let (mut stream, _) = listener.accept().unwrap();
    let mut got = Vec::with_capacity(size);
    std::io::Read::read_to_end(&mut stream, &mut got).unwrap();
    assert_eq!(got.len(), size);
    assert!(got.chunks(4).enumerate().all(|(n, word)| word == &(n as u32).to_le_bytes()[..word.len()]));
    println!("received; {}", counters());
}

/// Sends `SIZE` bytes to port 7000 of 10.0.0.8 once somebody listens there.
#[test]
#[ignore = "played by other tests, in a process of its own"]
fn source() {
    let size: usize = std::env::var("SIZE").unwrap().parse().unwrap();
    let mut stream = loop {
        match TcpStream::connect("10.0.0.8:7000") {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let bytes: Vec<u8> = (0..size.div_ceil(4)).flat_map(|n| (n as u32).to_le_bytes()).take(size).collect();
    let start = std::time::Instant::now();
    stream.write_all(&bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    std::io::Read::read_to_end(&mut stream, &mut Vec::new()).unwrap();
    let rate = size as f64 * 8.0 / 1e6 / start.elapsed().as_secs_f64();
    println!("sent with {rate:.0} Mbit/s; {}", counters());
}

/// Checksum errors and retransmissions since the namespace was made.
fn counters() -> String {
    let text = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter(|l| l.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let value = |name: &str| {
        let at = names.split(' ').position(|n| n == name).unwrap();
        values.split(' ').nth(at).unwrap().to_owned()
    };
    format!(
        "InErrs {} InCsumErrors {} RetransSegs {}",
        value("InErrs"),
        value("InCsumErrors"),
        value("RetransSegs")
    )
}
