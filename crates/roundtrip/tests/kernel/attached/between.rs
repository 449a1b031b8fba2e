//! What stands between a real program and the others: the security groups of the instance that it plays, and a tunnel whose
//! other end is ours.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::guest::{Place, Said, roundtrip, run};

/// Several programs at once, each on a machine of its own.
fn together(place: &Place, scenario: &Path, programs: &[(&str, &str)]) -> Said {
    let mut command: Command = roundtrip();
    command.arg("exec").arg(scenario).arg("--out").arg(place.path("out"));
    for (machine, script) in programs {
        command.args(["--as", machine, "--", "sh", "-c", script]);
    }
    command.current_dir(place.path("")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    run(&mut command, Duration::from_secs(120))
}

/// The lines of the story that say `code`, with the machine before them.
fn told(place: &Place, code: &str) -> Vec<String> {
    fn lines(value: &serde_json::Value, code: &str, out: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                if map.get("code").and_then(|c| c.as_str()) == Some(code) {
                    let word = |key| map.get(key).and_then(|t| t.as_str()).unwrap_or_default();
                    out.push(format!("{}: {} {}", word("label"), word("text"), word("margin")));
                }
                map.values().for_each(|inner| lines(inner, code, out));
            }
            serde_json::Value::Array(list) => list.iter().for_each(|inner| lines(inner, code, out)),
            _ => {}
        }
    }
    let story = std::fs::read(place.path("out/story.json")).unwrap();
    let mut out = Vec::new();
    lines(&serde_json::from_slice(&story).unwrap(), code, &mut out);
    out
}

const INSTANCE: &str = "name: instance
sites:
  internet: { kind: internet, places: [paris] }
  user: { kind: host, place: paris, address: 198.51.100.7 }
  far: { kind: host, place: paris, address: 203.0.113.9, run: [ echo: { port: 9001 }, echo: { port: 9002 } ] }
  aws:
    kind: vpc
    cidr: 10.0.0.0/16
    internet-gateway: yes
    subnets: { a: { cidr: 10.0.1.0/24, routes: { 0.0.0.0/0: internet-gateway } } }
    security-groups: { web: { in: [ tcp port 8080 from any ], out: [ tcp port 9001 to any ] } }
    instances: { web: { subnet: a, groups: [web], public: 54.20.30.40 } }
";

/// The instance is a real program's, and its groups hold all the same: they stand before it, as in a cloud.
#[test]
fn security_groups_hold_on_an_instance_that_a_program_plays() {
    let place = Place::new("instance");
    let scenario = place.write("instance.yaml", INSTANCE);
    place.write(
        "serve.py",
        "\
import socket, sys
listeners = [socket.create_server(('', port)) for port in (8080, 8081)]
open('ready', 'w').close()
there, _ = listeners[0].accept()
assert there.recv(2) == b'in'
there.sendall(b'allowed')
def out(port, patience):
    try:
        with socket.create_connection(('203.0.113.9', port), timeout=patience) as far:
            far.sendall(b'out')
            return far.recv(3) == b'out'
    except TimeoutError:
        return 'silence'
print('out:', out(9001, 30), out(9002, 3))
there.recv(4)
listeners[1].settimeout(0.1)
try:
    listeners[1].accept()
    print('8081 was reached')
except TimeoutError:
    print('8081 was not reached')
",
    );
    place.write(
        "ask.py",
        "\
import os, socket, time
while not os.path.exists('ready'):
    time.sleep(0.05)
web = socket.create_connection(('54.20.30.40', 8080), timeout=30)
web.sendall(b'in')
assert web.recv(7) == b'allowed'
try:
    socket.create_connection(('54.20.30.40', 8081), timeout=3)
    print('in: both')
except TimeoutError:
    print('in: allowed, then silence')
web.sendall(b'done')
",
    );
    let said =
        together(&place, &scenario, &[("aws.web", "exec python3 serve.py"), ("user", "exec python3 ask.py")]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for line in ["in: allowed, then silence", "out: True silence", "8081 was not reached"] {
        assert!(said.out.lines().any(|l| l == line), "{line}: {}{}", said.out, said.err);
    }
    let drops = told(&place, "drop.filtered");
    assert!(drops.iter().any(|d| d.starts_with("aws.web") && d.contains("instance.yaml:11")), "{drops:?}");
}

const TUNNEL: &str = "name: tunnel
topology:
  nodes:
    guest: { address: 10.0.0.1/24 }
    middle: { kind: router, interfaces: { eth0: 10.0.0.254/24, eth1: 10.0.1.254/24 } }
    far:
      interfaces:
        eth0: 10.0.1.2/24
        vx0: { address: 172.16.0.2/24, vxlan: { vni: 42, to: 10.0.0.1, from: 10.0.1.2 } }
      run: [ chargen: { port: 1900 } ]
  links:
    - { endpoints: [\"guest:eth0\", \"middle:eth0\"], delay: 1ms }
    - { endpoints: [\"middle:eth1\", \"far:eth0\"], delay: 1ms }
";

/// The kernel's VXLAN and ours understand each other: the network inside is one link for ARP, pings and TCP.
#[test]
fn the_kernels_vxlan_and_ours_are_the_ends_of_one_tunnel() {
    let place = Place::new("vxlan");
    let scenario = place.write("tunnel.yaml", TUNNEL);
    place.write(
        "take.py",
        "\
import socket
lines = socket.create_connection(('172.16.0.2', 1900), timeout=30).makefile('rb')
for n in range(2000):
    line = lines.readline()
    assert line == bytes(32 + (n + i) % 95 for i in range(72)) + b'\\r\\n', (n, line)
print('all as it should be')
",
    );
    let script = "\
ip link add vx0 type vxlan id 42 local 10.0.0.1 remote 10.0.1.2 dstport 4789 dev eth0 &&
ip address add 172.16.0.1/24 dev vx0 && ip link set vx0 up && cat /sys/class/net/vx0/mtu &&
ping -q -c 2 -W 5 172.16.0.2 >ping; grep -c ' 0% packet loss' ping; python3 take.py";
    let mut command = roundtrip();
    command.arg("exec").arg(&scenario).args(["--as", "guest", "--root", "--out"]).arg(place.path("out"));
    command.args(["--", "sh", "-c", script]).current_dir(place.path(""));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = run(&mut command, Duration::from_secs(120));
    assert_eq!(said.out, "1450\n1\nall as it should be\n", "{}", said.err);
    assert_eq!(said.code, Some(0), "{}", said.err);
    // Both ends wrapped: what crossed the line was UDP to port 4789 and nothing of the network inside by itself.
    let fields = ["-T", "fields", "-e", "udp.dstport", "-e", "vxlan.vni"];
    let capture = place.path("out/captures/middle-eth1.pcapng");
    let read = |filter: &str| {
        let output =
            Command::new("tshark").arg("-r").arg(&capture).args(["-Y", filter]).args(fields).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let wrapped = read("ip.src == 10.0.0.1 && udp");
    assert!(wrapped.len() > 20 && wrapped.iter().all(|l| l == "4789\t42"), "{wrapped:?}");
    let answers = read("ip.src == 10.0.1.2 && udp");
    assert!(answers.len() > 20 && answers.iter().all(|l| l == "4789\t42"), "{answers:?}");
    assert_eq!(read("!udp && ip.addr == 172.16.0.0/24"), Vec::<String>::new());
}
