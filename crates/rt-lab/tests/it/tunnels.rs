//! A packet and what carries it are one journey: tunnels of the stack's own, WireGuard, and a TCP stream.

use rt_base::What;
use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::follow::{self, PacketPath};
use rt_trace::story::{Line, StepStory};

fn run_text(name: &str, text: &str) -> Run {
    let scenario = Scenario::of_text(&format!("{name}.yaml"), text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

/// A laptop and an office with both tunnels of programs; the line between loses what `link` says.
fn tunnels(link: &str, steps: &str) -> Run {
    let text = format!(
        r#"name: tunnels
about: Two tunnels.
topology:
  nodes:
    laptop:
      kind: host
      interfaces:
        eth0: 198.51.100.2/24
        wg0: {{ tun: yes, address: 10.8.0.2/24, mtu: 1420 }}
        tcp0: {{ tun: yes, address: 10.9.0.2/24, mtu: 1500 }}
      gateway: 198.51.100.1
      run:
        - wireguard: {{ on: wg0, peers: {{ office: {{ endpoint: "203.0.113.10:51820", allowed: [10.8.0.0/24] }} }} }}
        - tcp-tunnel: {{ on: tcp0, to: "203.0.113.10:11940" }}
    r: {{ kind: router, interfaces: {{ near: 198.51.100.1/24, far: 203.0.113.1/24 }} }}
    office:
      kind: host
      interfaces:
        eth0: 203.0.113.10/24
        wg0: {{ tun: yes, address: 10.8.0.1/24, mtu: 1420 }}
        tcp0: {{ tun: yes, address: 10.9.0.1/24, mtu: 1500 }}
      gateway: 203.0.113.1
      run:
        - sink
        - http
        - wireguard: {{ on: wg0, peers: {{ laptop: {{ allowed: [10.8.0.2/32] }} }} }}
        - tcp-tunnel: {{ on: tcp0 }}
  links:
    - {{ endpoints: ["laptop:eth0", "r:near"], rate: 20Mbit/s, delay: 20ms{link} }}
    - {{ endpoints: ["r:far", "office:eth0"], rate: 100Mbit/s, delay: 5ms }}
steps:
{steps}
"#
    );
    run_text("tunnels", &text)
}

fn lines(step: &StepStory) -> impl Iterator<Item = &Line> {
    step.chapters.iter().flat_map(|c| &c.lines)
}

fn codes(path: &PacketPath, node: &str) -> Vec<String> {
    let hops = path.hops.iter().filter(|h| h.node == node);
    hops.flat_map(|h| &h.walk).map(|l| l.code.clone()).collect()
}

fn walk<'p>(path: &'p PacketPath, code: &str) -> &'p Line {
    let mut all = path.hops.iter().flat_map(|h| &h.walk);
    all.find(|l| l.code == code).unwrap_or_else(|| panic!("no {code} in {path:#?}"))
}

fn budget(path: &PacketPath) -> Vec<(String, u16, u16)> {
    path.budget.iter().map(|r| (r.at.clone(), r.mtu, r.room)).collect()
}

#[test]
fn a_packet_in_wireguard_is_one_journey_with_its_datagram() {
    let run = tunnels("", "  - laptop pings 10.8.0.1\n  - laptop opens http://10.8.0.1/");
    let request = run.story().steps[0].requests[0].number;
    let path = follow::packet(run.trace(), request, 1).unwrap();
    assert_eq!((path.end.as_str(), path.carries.as_str(), path.len), ("delivered", "ping 1", 84));
    assert!(path.summary.starts_with("IP 10.8.0.2 > 10.8.0.1: ICMP echo request"), "{}", path.summary);
    let way: Vec<&str> = path.hops.iter().map(|h| h.node.as_str()).collect();
    assert_eq!(way, ["laptop", "r", "office"]);
    let (first, last) = (codes(&path, "laptop"), codes(&path, "office"));
    let place =
        |all: &[String], code: &str| all.iter().position(|c| c == code).unwrap_or_else(|| panic!("{all:?}"));
    assert!(place(&first, "tun.out") < place(&first, "tunnel.in"), "{first:?}");
    assert!(place(&last, "tunnel.out") < place(&last, "tun.in"), "{last:?}");
    // 84 bytes are padded to 96; the transport header and the tag, UDP and IPv4 come on top.
    let wrapped = walk(&path, "tunnel.in");
    assert_eq!((wrapped.data["overhead"].as_str(), wrapped.data["kind"].as_str()), ("72", "WireGuard"));
    assert_eq!(walk(&path, "tunnel.out").data["overhead"], "72");
    let rooms = budget(&path);
    assert_eq!(rooms, [("laptop:eth0".to_owned(), 1_500, 1_420), ("r:far".to_owned(), 1_500, 1_420)]);
    assert_eq!(path.budget[0].around, [("WireGuard".to_owned(), 60)]);

    let page = &run.story().steps[1];
    assert!(page.ok, "{}", page.summary);
    let told: Vec<&str> =
        lines(page).filter(|l| l.code.starts_with("mtu.")).map(|l| l.text.as_str()).collect();
    assert!(
        told.iter().any(|t| t.contains("1500 - 60 WireGuard = 1440, and the tunnel takes 1420")),
        "{told:?}"
    );
    let hop = lines(page).find(|l| l.code == "path.hop" && l.node == "laptop").unwrap();
    assert!(hop.text.contains("into WireGuard (+64 bytes)"), "a SYN of 60 bytes, padded: {}", hop.text);
    assert_eq!(page.connections.len(), 1, "the tunnel's own is none of the step's");
    let carried: Vec<&str> = page.requests[0].packets.iter().map(|p| p.carries.as_str()).collect();
    assert_eq!(carried[..4], ["SYN", "SYN-ACK", "ACK", "GET /"], "{carried:?}");
}

#[test]
fn a_packet_in_a_stream_is_told_with_the_segments_that_carried_it() {
    let run = tunnels("", "  - laptop opens http://10.9.0.1/\n  - laptop sends 300kB to 10.9.0.1 over TCP");
    let request = run.story().steps[0].requests[0].number;
    let path = follow::packet(run.trace(), request, 1).unwrap();
    assert_eq!((path.end.as_str(), path.carries.as_str(), path.len), ("delivered", "SYN", 60));
    let way: Vec<&str> = path.hops.iter().map(|h| h.node.as_str()).collect();
    assert_eq!(way, ["laptop", "r", "office"]);
    let (went, came) = (walk(&path, "stream.in"), walk(&path, "stream.out"));
    assert_eq!((went.data["segments"].as_str(), went.data["offset"].as_str()), ("1", "2"));
    assert_eq!((came.data["waited_ns"].as_str(), came.data["offset"].as_str()), ("0", "2"));
    assert!(path.budget.iter().all(|r| r.stream && r.room == 1_500), "{:?}", path.budget);

    // A packet of 1500 bytes and its length do not fit into one segment of 1448.
    let upload = run.story().steps[1].requests[0].number;
    let count = run.story().steps[1].requests[0].packets.len() as u32;
    let segments = |n: u32| {
        let path = follow::packet(run.trace(), upload, n).unwrap();
        let line = path.hops.iter().flat_map(|h| &h.walk).find(|l| l.code == "stream.in");
        line.map_or(0, |l| l.data["segments"].parse::<u32>().unwrap())
    };
    let all: Vec<u32> = (1..=count).map(segments).collect();
    assert!(all.contains(&1) && all.contains(&2), "{all:?}");
    // What came out is what went in: there is no packet that begins in the office's tunnel and nowhere else.
    let inward = run.trace().events.iter().filter(|e| matches!(e.what, What::InStream { inward: true, .. }));
    let joined = inward
        .map(|e| run.trace().events_of(e.frame).filter(|o| matches!(o.what, What::InStream { .. })).count());
    let joined: Vec<usize> = joined.collect();
    assert!(joined.len() > 200 && joined.iter().all(|n| *n == 2), "{} {joined:?}", joined.len());
}

#[test]
fn a_packet_behind_a_hole_says_how_long_it_waited() {
    let run = tunnels(", loss: 2%", "  - laptop sends 300kB to 10.9.0.1 over TCP");
    let upload = &run.story().steps[0].requests[0];
    let waited = (1..=upload.packets.len() as u32).filter_map(|n| {
        let path = follow::packet(run.trace(), upload.number, n).unwrap();
        let line = path.hops.iter().flat_map(|h| &h.walk).find(|l| l.code == "stream.out").cloned()?;
        (line.data["waited_ns"] != "0").then_some((line, path))
    });
    let waited: Vec<_> = waited.collect();
    assert!(!waited.is_empty(), "some packet was whole and had to wait for a lost segment before it");
    for (line, path) in &waited {
        assert!(line.text.contains("head-of-line blocking"), "{}", line.text);
        assert_eq!(path.end, "delivered", "nothing is lost inside");
    }
}

#[test]
fn a_tunnel_that_leads_into_itself_dies_in_its_own_step() {
    let run = run_text(
        "loop",
        r#"name: loop
about: A tunnel routed into itself.
topology:
  nodes:
    a:
      kind: router
      interfaces:
        eth0: 198.51.100.2/24
        gre1: { address: 10.0.0.1/30, gre: { to: 203.0.113.2, from: 198.51.100.2 } }
      routes: [ { to: 203.0.113.0/24, out: gre1 } ]
    r: { kind: router, interfaces: { near: 198.51.100.1/24, far: 203.0.113.1/24 } }
    b:
      kind: router
      interfaces:
        eth0: 203.0.113.2/24
        gre1: { address: 10.0.0.2/30, gre: { to: 198.51.100.2, from: 203.0.113.2 } }
      routes: [ { to: 0.0.0.0/0, via: 203.0.113.1 } ]
  links:
    - { endpoints: ["a:eth0", "r:near"], delay: 2ms }
    - { endpoints: ["r:far", "b:eth0"], delay: 2ms }
steps: [ a pings 10.0.0.2, a pings 198.51.100.1 ]
expect: [ step 1: { fails: yes } ]
"#,
    );
    let [first, second] = &run.story().steps[..] else { panic!("two steps") };
    let died = |step: &StepStory| {
        let drops = step.trouble.iter().filter(|l| l.code == "drop.tunnel_loop");
        drops.map(|l| l.text.clone()).collect::<Vec<String>>()
    };
    assert_eq!(
        died(first).len(),
        1,
        "the drop is told where the packet was sent, though it died in the same instant"
    );
    assert!(died(first)[0].contains("IP 10.0.0.1 > 10.0.0.2: ICMP echo request"), "{:?}", died(first));
    assert!(second.ok && died(second).is_empty());
}

#[test]
fn wireguard_that_is_routed_into_itself_says_so() {
    let run = run_text(
        "wgloop",
        r#"name: wgloop
about: WireGuard routed into itself.
topology:
  nodes:
    a:
      interfaces:
        eth0: 198.51.100.2/24
        wg0: { tun: yes, address: 10.8.0.2/24, mtu: 1420 }
      routes: [ { to: 0.0.0.0/0, out: wg0 } ]
      run:
        - wireguard: { on: wg0, peers: { b: { endpoint: "203.0.113.10:51820", allowed: [0.0.0.0/0] } } }
    r: { kind: router, interfaces: { near: 198.51.100.1/24, far: 203.0.113.1/24 } }
    b:
      interfaces:
        eth0: 203.0.113.10/24
        wg0: { tun: yes, address: 10.8.0.1/24, mtu: 1420 }
      gateway: 203.0.113.1
      run:
        - wireguard: { on: wg0, peers: { a: { allowed: [10.8.0.2/32] } } }
  links:
    - { endpoints: ["a:eth0", "r:near"], delay: 2ms }
    - { endpoints: ["r:far", "b:eth0"], delay: 2ms }
steps: [ a pings 10.8.0.1 ]
expect: [ step 1: { fails: yes } ]
"#,
    );
    let step = &run.story().steps[0];
    assert!(!step.ok && step.trouble.iter().any(|l| l.code == "drop.tunnel_loop"), "{:?}", step.trouble);
}

#[test]
fn requests_of_overlapping_steps_belong_to_one_of_them() {
    let steps = "  - { do: laptop sends 300kB to 10.8.0.1 over TCP, background: yes }\n  - { do: laptop pings 10.8.0.1, after: 50ms }";
    let run = tunnels("", steps);
    let [upload, ping] = &run.story().steps[..] else { panic!("two steps") };
    assert!(upload.end_ns > ping.start_ns, "they overlap");
    assert_eq!((upload.requests.len(), ping.requests.len()), (1, 1));
    assert_eq!(ping.chapters.iter().filter(|c| c.code == "echo").count(), 1);
    assert!(upload.chapters.iter().all(|c| c.code != "echo"));
    assert!(ping.saved.is_none(), "an upload is no earlier ping");
}
