//! Too much and nonsense from a program: bounded memory, no hang, and whoever behaves is still served.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::capture;
use super::cases::{CLEAN, Case};
use super::guest::{Place, Said, end};
use super::left::Before;

/// Runs `script` on the guest; what came of it, and the most memory that the simulator had, in MiB.
fn run(place: &Place, scenario: &Path, script: &str, limit: u64) -> (Said, u64) {
    let before = Before::look(place);
    let mut command: Command = place.exec(scenario, script);
    before.mark(&mut command);
    let child = command.spawn().unwrap();
    let (pid, over, most) = (child.id(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watcher = std::thread::spawn({
        let (over, most) = (over.clone(), most.clone());
        move || {
            while !over.load(Ordering::Relaxed) {
                let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
                let kib = line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0);
                most.fetch_max(kib, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let said = end(child, Duration::from_secs(limit));
    over.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    before.nothing_is_left();
    (said, most.load(Ordering::Relaxed) / 1_024)
}

fn set_up(name: &str) -> (Place, std::path::PathBuf) {
    let place = Place::new(name);
    let scenario = place.write("kernel.yaml", Case::new(CLEAN, 0).scenario());
    (place, scenario)
}

/// A good request afterwards.
const STILL_THERE: &str = "curl -sS -m 20 -o down http://10.0.1.2/bytes/1000 && test $(wc -c < down) = 1000";

/// Frames of every length with anything in them, and frames that begin well and end badly.
const NONSENSE: &str = r#"
import random, socket, struct
dice = random.Random(4)
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
card.bind(("eth0", 0))
own = card.getsockname()[4]
neighbour = next(l.split()[3] for l in open("/proc/net/arp") if l.startswith("10.0.0.254"))
router = bytes.fromhex(neighbour.replace(":", ""))
def sum16(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return 0xffff - total
def ip(protocol, payload, flags=0, options=b"", to=b"\x0a\0\1\2"):
    head = struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, 20 + len(options) + len(payload),
                       dice.getrandbits(16), flags, 64, protocol, 0, b"\x0a\0\0\1", to) + options
    return head[:10] + struct.pack("!H", sum16(head)) + head[12:] + payload
def tcp():
    length = dice.choice([0, 0, 4, 12, 40])
    offset = dice.choice([5 + length // 4, dice.randrange(16)])
    return struct.pack("!HHIIBBHHH", dice.randrange(65536), dice.choice([80, 80, 81]), dice.getrandbits(32),
                       dice.getrandbits(32), offset << 4, dice.getrandbits(8), dice.getrandbits(16), 0, 0) \
        + dice.randbytes(length) + dice.randbytes(dice.randrange(40))
def frame():
    kind = dice.randrange(8)
    if kind == 0:
        return dice.randbytes(dice.randrange(14, 1514))
    if kind == 1:
        return router + own + dice.randbytes(dice.randrange(2, 1500))
    if kind == 2:
        return b"\xff" * 6 + own + b"\x08\x06" + dice.randbytes(dice.randrange(0, 60))
    body = dice.choice([
        lambda: ip(6, tcp()),
        lambda: ip(17, dice.randbytes(dice.randrange(0, 60))),
        lambda: ip(1, dice.randbytes(dice.randrange(0, 60))),
        lambda: ip(dice.randrange(256), dice.randbytes(dice.randrange(0, 600)), dice.getrandbits(16)),
        lambda: ip(6, tcp(), options=dice.randbytes(4 * dice.randrange(0, 11))),
        lambda: ip(17, dice.randbytes(20), to=dice.randbytes(4)),
        lambda: ip(17, dice.randbytes(8 * dice.randrange(1, 100)), 0x2000 | dice.randrange(8191)),
    ])()
    body = bytearray(body)
    for _ in range(dice.choice([0, 0, 1, 3])):
        body[dice.randrange(len(body))] = dice.getrandbits(8)
    return router + own + b"\x08\0" + bytes(body[:dice.randrange(1, len(body) + 1)] if kind == 3 else body)
for _ in range(20000):
    try:
        card.send(frame())
    except OSError:
        pass
"#;

#[test]
fn nonsense_from_inside_harms_nobody() {
    let (place, scenario) = set_up("nonsense");
    place.write("nonsense.py", NONSENSE);
    let script = format!("{STILL_THERE} && python3 nonsense.py && {STILL_THERE}");
    let (said, memory) = run(&place, &scenario, &script, 180);
    println!("nonsense: {memory} MiB");
    assert!(
        std::fs::metadata(place.path("out/captures/guest-eth0.pcapng")).unwrap().len() > 4_000_000,
        "a flood"
    );
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(memory < 400, "{memory} MiB");
}

/// As many SYNs, datagrams and echo requests as the kernel can send in a second, one kind after the other.
#[test]
fn floods_from_inside_are_survived() {
    let (place, scenario) = set_up("flood");
    let script = format!(
        "for kind in '-S -p 80' '-A -p 80' '-2 -p 9' '-1' '-S -p 80 -d 1400 -f'; do \
         timeout -s INT 1 hping3 -q --flood $kind 10.0.1.2 > /dev/null 2>&1; done; sleep 1; {STILL_THERE}"
    );
    let (said, memory) = run(&place, &scenario, &script, 300);
    let segments = capture::read(&place.path("out/captures/guest-eth0.pcapng"), [10, 0, 0, 1]);
    let sent = segments.iter().filter(|s| s.of_guest).count();
    println!("floods: {memory} MiB, {sent} segments among them");
    assert!(sent > 10_000, "{sent} segments are no flood");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(memory < 2_000, "{memory} MiB");
}

#[test]
fn two_thousand_requests_at_once() {
    let (place, scenario) = set_up("requests");
    // curl does three hundred at a time at most.
    let script = "ulimit -n 4096; for n in 1 2 3 4 5 6 7 8; do \
                  curl -sS --no-progress-meter -m 120 --parallel --parallel-immediate --parallel-max 250 -o /dev/null -w '%{http_code} %{size_download}\\n' \
                  \"http://10.0.1.2/bytes/1000?[1-250]\" & done; wait";
    let (said, memory) = run(&place, &scenario, script, 300);
    println!("requests: {memory} MiB, {}", said.err.trim());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let good = said.out.lines().filter(|l| *l == "200 1000").count();
    assert_eq!((good, said.out.lines().count()), (2_000, 2_000), "{}", said.err);
    assert!(memory < 1_000, "{memory} MiB");
}

#[test]
fn a_client_that_never_reads_costs_one_window() {
    let (place, scenario) = set_up("reads");
    let client = place.write(
        "client.py",
        "import socket, time\n\
         them = []\n\
         for _ in range(20):\n\
         \x20   s = socket.create_connection(('10.0.1.2', 80))\n\
         \x20   s.sendall(b'GET /bytes/1000000000 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n\
         \x20   them.append(s)\n\
         time.sleep(5)\n",
    );
    let script = format!("python3 {} && {STILL_THERE}", client.display());
    let (said, memory) = run(&place, &scenario, &script, 120);
    println!("never read: {memory} MiB");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(memory < 800, "{memory} MiB");
}
