//! Real programs on simulated machines, by the program itself. Nothing is skipped: where namespaces are refused, these tests
//! fail with the line that says so. `cargo xtask ci --no-attach` leaves this module out.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A fresh folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("roundtrip-attached-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn run(&self) -> PathBuf {
        self.0.join("run")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn roundtrip(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roundtrip"));
    command.current_dir(&folder.0).args(args).stdin(Stdio::null());
    command
}

/// `roundtrip exec SCENARIO --as laptop --out run -- COMMAND`.
fn exec(folder: &Folder, scenario: &str, words: &[&str]) -> Command {
    let mut command = roundtrip(folder, &["exec", scenario, "--as", "laptop", "--out", "run", "--"]);
    command.args(words);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it to its end; what it said on stdout.
#[track_caller]
fn answer(mut command: Command, code: i32) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!(status.code(), Some(code), "{}{}", text(&stdout), text(&stderr));
    text(&stdout)
}

fn story(folder: &Folder) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.run().join("story.json")).unwrap()).unwrap()
}

const SMALL: &str = "
name: small
topology:
  nodes:
    laptop: { kind: host, address: 10.0.0.1/24 }
    server: { kind: host, address: 10.0.0.2/24, run: [ echo: {}, discard: {}, chargen: { port: 1900 } ] }
  links:
    - { endpoints: [\"laptop:eth0\", \"server:eth0\"], rate: 1Gbit/s, delay: 0s }
";
const TALK: &str = "
import socket
def tcp(port):
    return socket.create_connection(('10.0.0.2', port))
echo, text = tcp(7), bytes(range(256)) * 400
echo.sendall(text)
echo.shutdown(socket.SHUT_WR)
assert echo.makefile('rb').read() == text
discard = tcp(9)
discard.sendall(text)
discard.shutdown(socket.SHUT_WR)
assert discard.recv(1) == b''
lines = tcp(1900).makefile('rb')
for n in range(2000):
    line = lines.readline()
    assert line == bytes(32 + (n + i) % 95 for i in range(72)) + b'\\r\\n', (n, line)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.sendto(b'there', ('10.0.0.2', 7))
assert datagrams.recv(100) == b'there'
print('all as it should be')
";

#[test]
fn small_services_answer_and_inputs_alone_are_enough() {
    let folder = Folder::new("small");
    std::fs::write(folder.0.join("small.yaml"), SMALL).unwrap();
    let exec = |record: &str, out: &str| {
        let words =
            ["exec", "small.yaml", "--as", "laptop", "--record", record, "--out", out, "--", "python3", "-c"];
        let mut command = roundtrip(&folder, &words);
        command.arg(TALK);
        command
    };
    assert_eq!(answer(exec("inputs", "run"), 0), "all as it should be\n");
    let files = |out: &str| std::fs::read_dir(folder.0.join(out)).unwrap().count();
    assert_eq!(files("run"), 1);
    answer(roundtrip(&folder, &["replay", "run", "--quiet"]), 0);
    answer(roundtrip(&folder, &["replay", "run-replay", "--quiet"]), 0);
    assert!(folder.0.join("run-replay/captures/laptop-eth0.pcapng").exists());
    assert_eq!(answer(exec("none", "nothing"), 0), "all as it should be\n");
    assert_eq!(files("nothing"), 0);
}

#[test]
fn the_real_curl_is_followed_and_replayed() {
    let folder = Folder::new("curl");
    let said = answer(
        exec(
            &folder,
            "web-browsing",
            &[
                "curl",
                "-sS",
                "-o",
                "page",
                "-w",
                "%{http_code} %{http_version} %{ssl_verify_result}",
                "https://google.com/",
            ],
        ),
        0,
    );
    assert_eq!(said, "200 2 0");
    assert!(std::fs::read_to_string(folder.0.join("page")).unwrap().contains("<title>Google</title>"));

    let told = story(&folder);
    let step = &told["steps"][0];
    assert_eq!((step["ok"].as_bool(), step["summary"].as_str()), (Some(true), Some("exit code 0")));
    let requests = step["requests"].as_array().unwrap();
    let page = requests.iter().find(|r| r["kind"] == "page").unwrap();
    assert_eq!((page["target"].as_str(), page["status"].as_u64()), (Some("https://google.com/"), Some(200)));
    assert_eq!(page["protocol"], "HTTP/2");
    let agent =
        page["request_headers"].as_array().unwrap().iter().find(|h| h["name"] == "user-agent").unwrap();
    assert!(agent["value"].as_str().unwrap().starts_with("curl/"), "{agent}");
    let slices = step["budget"]["slices"].as_array().unwrap();
    let sum: u64 =
        slices.iter().map(|s| s["end_ns"].as_u64().unwrap() - s["start_ns"].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), step["duration_ns"].as_u64());
    assert_eq!(step["budget"]["problems"].as_array().map(Vec::len), Some(0));
    assert!(slices.iter().any(|s| s["cause"] == "outside.program"));

    let followed = answer(roundtrip(&folder, &["follow", "run"]), 0);
    assert!(followed.contains("laptop runs curl") && followed.contains("the real program"), "{followed}");
    // Byte for byte, and once more from the copy.
    answer(roundtrip(&folder, &["replay", "run", "--quiet"]), 0);
    answer(roundtrip(&folder, &["replay", "run-replay", "--quiet"]), 0);
    let bytes = |run: &str, name: &str| std::fs::read(folder.0.join(run).join(name)).unwrap();
    for name in ["story.json", "events.bin", "captures/world.pcapng", "captures/home.laptop-eth0.pcapng"] {
        assert!(bytes("run", name) == bytes("run-replay-replay", name), "{name} differs");
    }
    // Nothing is left beside the run's own files.
    let hidden = |e: &std::fs::DirEntry| e.file_name().to_string_lossy().starts_with('.');
    assert!(!std::fs::read_dir(folder.run()).unwrap().any(|e| hidden(&e.unwrap())));
}

#[test]
fn names_that_nobody_knows_and_types_that_no_name_has() {
    let folder = Folder::new("names");
    let script = "dig +noall +comments nosuch.example.org; dig +noall +comments google.com TYPE65; \
                  dig +short google.com; curl -sS http://nosuch.example.org/";
    let Output { status, stdout, stderr } =
        exec(&folder, "web-browsing", &["sh", "-c", script]).output().unwrap();
    let (said, error) = (text(&stdout), text(&stderr));
    assert!(said.contains("status: NXDOMAIN") && said.contains("status: NOERROR"), "{said}{error}");
    assert!(said.contains("142.250.190.46"), "{said}");
    assert!(status.code() == Some(6) && error.contains("Could not resolve host"), "{status} {error}");
    let told = story(&folder);
    let notes: Vec<&str> =
        told["steps"][0]["requests"].as_array().unwrap().iter().filter_map(|r| r["note"].as_str()).collect();
    assert!(notes.contains(&"there is no such name"), "{notes:?}");
    assert!(notes.contains(&"the name has no record of that type"), "{notes:?}");
}

#[test]
fn exit_codes_are_the_programs() {
    let folder = Folder::new("codes");
    answer(exec(&folder, "web-browsing", &["sh", "-c", "exit 7"]), 7);
    answer(exec(&folder, "web-browsing", &["sh", "-c", "kill -TERM $$"]), 143);
    answer(exec(&folder, "web-browsing", &["no-such-program-anywhere"]), 127);
    answer(roundtrip(&folder, &["exec", "web-browsing", "--as", "nobody", "--", "true"]), 2);
    answer(roundtrip(&folder, &["replay", "nowhere"]), 2);
}

#[test]
fn two_programs_speak_with_each_other() {
    let folder = Folder::new("two");
    let serve =
        "printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhello from a shell\\n' | timeout 20 nc -l -p 8000 -q 1 > asked";
    let ask = "for i in 1 2 3 4 5 6 7 8; do curl -sS --max-time 5 http://192.168.1.11:8000/ && exit 0; sleep 0.3; done; exit 1";
    let args = ["exec", "playground", "--as", "phone", "--out", "run", "--", "sh", "-c", serve];
    let mut command = roundtrip(&folder, &args);
    command.args(["--as", "laptop", "--", "sh", "-c", ask]);
    assert_eq!(answer(command, 0), "hello from a shell\n");
    let told = story(&folder);
    assert_eq!(told["steps"].as_array().map(Vec::len), Some(2));
    answer(roundtrip(&folder, &["replay", "run", "--quiet"]), 0);
}

/// The line that `up` says when it is up, and the child.
fn up(folder: &Folder) -> Child {
    let mut child =
        roundtrip(folder, &["up", "playground", "--out", "run"]).stderr(Stdio::piped()).spawn().unwrap();
    until(&mut child, &folder.run().join("door"));
    child
}

/// Waits until a file is there; `child` goes on meanwhile.
fn until(child: &mut Child, file: &Path) {
    let begun = Instant::now();
    while !file.exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {}", file.display());
        assert_eq!(child.try_wait().unwrap(), None, "ended before {}", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn join(folder: &Folder, machine: &str, words: &[&str]) -> Command {
    let mut command = roundtrip(folder, &["exec", "--join", "run", "--as", machine, "--"]);
    command.args(words);
    command
}

#[test]
fn programs_join_a_world_that_is_up_and_end_with_it() {
    let folder = Folder::new("up");
    let mut world = up(&folder);
    // Let the laptop's own browser begin its step first.
    std::thread::sleep(Duration::from_millis(600));
    let fetch = ["curl", "-sS", "-o", "page", "-w", "%{http_code}", "https://google.com/"];
    assert_eq!(answer(join(&folder, "laptop", &fetch), 0), "200");
    answer(join(&folder, "phone", &["sh", "-c", "ping -q -c 1 192.168.1.10 && exit 5"]), 5);
    assert_eq!(answer(join(&folder, "laptop", &["dig", "+short", "httpbin.org"]), 0), "54.158.10.20\n");
    answer(join(&folder, "nobody", &["true"]), 2);
    answer(join(&folder, "laptop", &["no-such-program-anywhere"]), 127);
    let mut sleeper = join(&folder, "phone", &["sh", "-c", "echo > joined; exec sleep 60"]).spawn().unwrap();
    until(&mut world, &folder.0.join("joined"));
    signal(&world, "-INT");
    assert_eq!(wait(&mut world), Some(0));
    assert_eq!(wait(&mut sleeper), Some(137), "a program outlived its world");
    assert!(!folder.run().join("door").exists());
    answer(join(&folder, "laptop", &["true"]), 2);

    let told = story(&folder);
    let steps = told["steps"].as_array().unwrap();
    let step = |text: &str| steps.iter().find(|s| s["text"].as_str().unwrap().contains(text)).unwrap();
    let own = step("laptop opens https://httpbin.org/");
    let lookups = own["requests"].as_array().unwrap().iter().filter(|r| r["kind"] == "page").count();
    assert_eq!(lookups, 1, "what the machine did itself is told as before");
    let page = step("laptop runs curl")["requests"].as_array().unwrap().iter().find(|r| r["kind"] == "page");
    assert_eq!(page.unwrap()["status"], 200);
    assert_eq!(step("laptop runs dig")["requests"][0]["target"], "httpbin.org");
    answer(roundtrip(&folder, &["replay", "run", "--quiet"]), 0);
}

#[test]
fn a_program_named_in_the_file_runs_when_it_may() {
    let folder = Folder::new("named");
    let text = "name: named\ntopology:\n  nodes:\n    a: { address: 10.0.0.1/24 }\n    b: { address: 10.0.0.2/24, exec: \
                [python3, -m, http.server, \"8000\"] }\n  links: [ { endpoints: [\"a:eth0\", \"b:eth0\"] } ]\n";
    std::fs::write(folder.0.join("named.yaml"), text).unwrap();
    std::fs::write(folder.0.join("hello"), "hello from python\n").unwrap();
    let ask = "for i in 1 2 3 4 5 6 7 8 9; do curl -sS --max-time 5 http://10.0.0.2:8000/hello && exit 0; sleep 0.3; done; exit 1";
    let call = |more: &[&str]| {
        let mut command = roundtrip(&folder, &["exec", "named.yaml", "--as", "a", "--out", "run"]);
        command.args(more).args(["--", "sh", "-c", ask]);
        command
    };
    answer(call(&[]), 2);
    assert!(answer(call(&["--allow-exec"]), 0).ends_with("hello from python\n"));
    answer(roundtrip(&folder, &["replay", "run", "--quiet"]), 0);
}

/// Starts a ping without end and waits for its first answer.
fn endless_ping(folder: &Folder) -> Child {
    let mut child = exec(folder, "web-browsing", &["ping", "-i", "0.2", "8.8.8.8"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = String::new();
    let out = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    while !seen.contains("icmp_seq=2") && out.read(&mut byte).unwrap() == 1 {
        seen.push(char::from(byte[0]));
    }
    assert!(seen.contains("icmp_seq=2"), "{seen}");
    child
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

fn wait(child: &mut Child) -> Option<i32> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("it does not end");
}

#[test]
fn an_interrupt_ends_the_program_and_the_run_is_whole() {
    let folder = Folder::new("interrupt");
    let mut child = endless_ping(&folder);
    signal(&child, "-INT");
    // ping answers an interrupt with its summary and success.
    assert_eq!(wait(&mut child), Some(0));
    assert!(folder.run().join("run.json").exists());
    answer(roundtrip(&folder, &["replay", "run", "--quiet"]), 0);
}

#[test]
fn a_run_in_the_background_of_a_script_hears_an_interrupt_and_keeps_its_folder() {
    let folder = Folder::new("background");
    let words = ["exec", "web-browsing", "--as", "laptop", "--out", "run", "--", "sleep", "60"];
    let mut shell = Command::new("sh");
    // What a shell without job control does to what it starts with `&`.
    shell.args(["-c", "trap '' INT QUIT; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_roundtrip")]).args(words);
    let mut child = shell.current_dir(&folder.0).stdin(Stdio::null()).spawn().unwrap();
    until(&mut child, &folder.run().join("inputs.bin"));
    for scenario in ["web-browsing", "two-hosts"] {
        let args = ["run", scenario, "--out", "run"];
        let second = roundtrip(&folder, &args).output().unwrap();
        let why = text(&second.stderr);
        assert!(second.status.code() == Some(2) && why.contains(&format!("process {}", child.id())), "{why}");
    }
    signal(&child, "-INT");
    assert_eq!(wait(&mut child), Some(130));
    answer(roundtrip(&folder, &["replay", "run", "--quiet"]), 0);
}

#[test]
fn a_killed_run_leaves_no_program_and_replays_up_to_there() {
    let folder = Folder::new("killed");
    let mut child = endless_ping(&folder);
    signal(&child, "-KILL");
    assert_eq!(wait(&mut child), None);
    let begun = Instant::now();
    while is_pinging(&folder.0) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the program outlived us");
        std::thread::sleep(Duration::from_millis(20));
    }
    let out = roundtrip(&folder, &["replay", "run", "--format", "json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("nothing to compare with"), "{}", text(&out.stderr));
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let ping = &told["steps"][0]["requests"][0];
    assert_eq!((ping["method"].as_str(), ping["target"].as_str()), (Some("ping"), Some("8.8.8.8")));
}

/// Whether a ping of ours is there: one whose working directory is this test's.
fn is_pinging(folder: &Path) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let here = std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder);
        here && std::fs::read_to_string(process.path().join("comm")).is_ok_and(|name| name.trim() == "ping")
    })
}

const BRIDGED: &str = "
name: bridged
topology:
  nodes:
    laptop: { kind: host, address: 10.0.0.1/24 }
    gateway: { kind: host, address: 10.0.0.3/24 }
    web: { kind: host, address: 10.0.0.2/24, run: [ http ] }
    back: { kind: host, address: 10.0.0.4/24 }
    lan: { kind: switch }
  links:
    - { endpoints: [\"laptop:eth0\", \"lan:1\"] }
    - { endpoints: [\"gateway:eth0\", \"lan:2\"] }
    - { endpoints: [\"web:eth0\", \"lan:3\"] }
    - { endpoints: [\"back:eth0\", \"lan:4\"] }
";

/// A port of this computer that nobody has.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A real server: one answer, and what was asked.
fn serve_once(listener: std::net::TcpListener) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 1000];
        let n = stream.read(&mut asked).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nreal\n").unwrap();
        text(&asked[..n])
    })
}

#[test]
fn a_program_outside_opens_a_simulated_server_and_one_inside_a_real_one() {
    let folder = Folder::new("bridged");
    std::fs::write(folder.0.join("bridged.yaml"), BRIDGED).unwrap();
    let real = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, behind) = (free_port(), real.local_addr().unwrap().port());
    let server = serve_once(real);
    let (publish, serve) = (format!("{port}:web:80:gateway"), format!("{behind}:back:8080"));
    let words =
        ["exec", "bridged.yaml", "--as", "laptop", "--out", "run", "--publish", &publish, "--serve", &serve];
    let mut command = roundtrip(&folder, &words);
    let script = "curl -sS http://10.0.0.4:8080/inside && until test -e asked; do sleep 0.05; done";
    command.args(["--", "sh", "-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let begun = Instant::now();
    let mut outside = loop {
        match std::net::TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    outside.write_all(b"GET /outside HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = Vec::new();
    outside.read_to_end(&mut page).unwrap();
    assert!(text(&page).starts_with("HTTP/1.1 "), "{}", text(&page));
    std::fs::write(folder.0.join("asked"), "").unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert_eq!((status.code(), &*text(&stdout)), (Some(0), "real\n"), "{}", text(&stderr));
    assert!(
        text(&stderr).contains(&format!("--connect-to ::127.0.0.1:{port} http://web/")),
        "{}",
        text(&stderr)
    );
    assert!(server.join().unwrap().starts_with("GET /inside HTTP/1.1\r\n"));
    assert!(folder.run().join("ca.pem").exists());
    // Both are told, and both are made again without the programs.
    let targets: Vec<String> = story(&folder)["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            format!("{}: {}", step["text"].as_str().unwrap(), step["requests"][0]["target"].as_str().unwrap())
        })
        .collect();
    assert_eq!(targets.len(), 2, "{targets:?}");
    let step = format!("a program outside opens 10.0.0.2:80 through 127.0.0.1:{port}: http://web/outside");
    assert!(targets.contains(&step), "{targets:?}");
    answer(roundtrip(&folder, &["replay", "run", "--quiet"]), 0);
}
