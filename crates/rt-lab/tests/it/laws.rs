//! Laws on random small networks: no frame vanishes between nodes, no packet vanishes inside one.

use rt_base::{Rng, Way, What};
use rt_lab::{Network, World};

/// A random tree of routers with hosts on them, links of random rate, delay and faults.
fn network(dice: &mut Rng) -> Network {
    let routers = 1 + dice.below(3) as usize;
    let mut network = Network::new("random");
    for r in 0..routers {
        let mut interfaces = format!("lan: {{ address: 10.0.{r}.1/24 }}");
        if r > 0 {
            interfaces += &format!(", up: {{ address: 10.1.{r}.2/30 }}");
        }
        for child in r + 1..routers {
            interfaces += &format!(", down{child}: {{ address: 10.1.{child}.1/30 }}");
        }
        // Every router hangs on the first one; only the first has ways down.
        if r > 0 {
            interfaces = interfaces.split(", down").next().unwrap_or_default().to_owned();
        }
        network = network.router(&format!("r{r}"), &format!("interfaces: {{ {interfaces} }}"));
    }
    for r in 1..routers {
        network = network.link(&format!("r0:down{r}"), &format!("r{r}:up"), &faults(dice));
    }
    for r in 0..routers {
        let host = format!(
            "address: 10.0.{r}.2/24, gateway: 10.0.{r}.1, run: [ http: {{ port: 80, pages: shop }} ]"
        );
        network = network.host(&format!("h{r}"), &host).link(
            &format!("h{r}:eth0"),
            &format!("r{r}:lan"),
            &faults(dice),
        );
    }
    network
}

fn faults(dice: &mut Rng) -> String {
    let rate = [1, 10, 100][dice.below(3) as usize];
    let percent = |dice: &mut Rng| dice.below(8);
    let (loss, reorder, duplicate) = (percent(dice), percent(dice), percent(dice));
    let (corrupt, delay, queue) = (dice.below(3), dice.below(20), 4 + dice.below(60));
    format!(
        "rate: {rate}Mbit/s, delay: {delay}ms, jitter: {delay}us, loss: {loss}%, reorder: {reorder}%, duplicate: \
         {duplicate}%, corrupt: {corrupt}%, queue: {queue} packets"
    )
}

#[test]
fn no_frame_vanishes_between_nodes_and_no_packet_inside_one() {
    let mut packets = 0;
    for case in 0..40 {
        let mut dice = Rng::stream(case, "laws", "network");
        let text = network(&mut dice);
        let scenario = text.scenario().unwrap_or_else(|e| panic!("{e}\n{}", text.yaml()));
        let mut world = scenario.world(case);
        let last = scenario.model().nodes.iter().filter(|n| n.name.starts_with('h')).count() - 1;
        world.ping("h0", &format!("10.0.{last}.2"), 2);
        world.open("h0", &format!("http://10.0.{last}.2/"));
        world.connect("h0", &format!("10.0.{last}.2"), 81);
        world.come_to_rest();
        assert!(world.conserves_frames(), "case {case}:\n{}", text.yaml());
        packets += every_packet_has_an_end(world, case);
    }
    assert!(packets > 500, "only {packets} packets: the test is blind");
}

/// Every IPv4 packet that came into a machine has an event there that says what became of it; returns how many.
fn every_packet_has_an_end(world: World, case: u64) -> usize {
    let trace = world.into_trace();
    let mut seen = 0;
    for frame in trace.frames.iter().filter(|f| f.way == Way::In) {
        let is_ipv4 = rt_wire::EthernetHeader::parse(&frame.bytes).is_ok_and(|(e, _)| e.ethertype == 0x0800);
        if !is_ipv4 {
            continue;
        }
        seen += 1;
        let ended = trace.events_of(frame.frame).any(|e| {
            e.node() == frame.node
                && matches!(e.what, What::Deliver { .. } | What::Route { .. } | What::Drop { .. })
        });
        let line = rt_wire::summary(&frame.bytes);
        assert!(ended, "case {case}: {line} came to {} and vanished", trace.map.node_name(frame.node));
    }
    seen
}
