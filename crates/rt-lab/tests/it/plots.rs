//! Curves against tshark's own, and plots that are whole, bounded and the same each time.

use std::collections::BTreeMap;

use rt_lab::{Network, PlotKind, RunOptions, Side};
use rt_trace::plot::{Flow, Flows, SentWhy, TimeSequence};
use rt_trace::render;
use rt_trace::story::Ends;

use crate::support::{Folder, run_in, tshark};

/// Sequence number, length, bytes in flight, RTT of the ACK for each segment of a connection, as tshark has them, and whether
/// it is the sender's. `ends` as the capturing machine sees them.
fn as_tshark_has_it(capture: &std::path::Path, ends: &Ends, from: Side) -> Vec<(bool, Vec<String>)> {
    let (sender, receiver) =
        if from == Side::Client { (&ends.from, &ends.to) } else { (&ends.to, &ends.from) };
    let (address, port) = sender.rsplit_once(':').unwrap();
    let other = receiver.rsplit_once(':').unwrap().1;
    let filter = format!("ip.addr == {address} && tcp.port == {port} && tcp.port == {other}");
    let fields = ["ip.src", "tcp.seq", "tcp.len", "tcp.analysis.bytes_in_flight", "tcp.analysis.ack_rtt"];
    let mut args = vec!["-Y", filter.as_str(), "-T", "fields", "-E", "separator=|"];
    args.extend(fields.iter().flat_map(|f| ["-e", f]));
    let line = |l: &str| {
        let mut fields: Vec<String> = l.split('|').map(str::to_string).collect();
        let own = fields.remove(0) == address;
        (own, fields)
    };
    tshark(capture, &args).lines().map(line).collect()
}

/// The sequence, bytes in flight and samples of one side, held against tshark's.
fn compare(run: &rt_lab::Run, folder: &Folder, number: u32, (side, capture): (Side, &str)) -> (usize, usize) {
    let flows = Flows::of(run.trace());
    let flow = flows.list().into_iter().find(|f| f.number == number).unwrap();
    let sequence = flows.time_sequence(&flow, side).unwrap();
    let seen = flows.report(&flow).connection.seen_by_server;
    let ends = if side == Side::Client { flow.ends.clone() } else { seen.unwrap() };
    let theirs = as_tshark_has_it(&folder.0.join("captures").join(capture), &ends, side);
    assert_eq!(sequence.sent.len() + sequence.acks.len(), theirs.len(), "{capture}");
    each_segment_stands_once(&sequence);
    let in_flight = flows.congestion(&flow, side).unwrap().in_flight;
    assert_eq!(in_flight.len(), theirs.len());
    let mut compared = 0;
    let sent: BTreeMap<u32, _> = sequence.sent.iter().map(|s| (s.number, s)).collect();
    for (i, (own, fields)) in theirs.iter().enumerate() {
        let ours = sent.get(&(i as u32));
        assert_eq!(ours.is_some(), *own, "segment {i} of {capture}");
        let Some(ours) = ours else { continue };
        assert_eq!(
            (fields[0].as_str(), fields[1].as_str()),
            (&*ours.seq.to_string(), &*ours.len.to_string())
        );
        // tshark does not count a FIN that comes with data.
        let fin = ours.flags & 1 == 1;
        if !fields[2].is_empty() && !fin {
            assert_eq!(fields[2], in_flight[i].1.to_string(), "in flight after segment {i} of {capture}");
            compared += 1;
        }
    }
    (compared, compare_samples(&flows, &flow, side, &theirs))
}

/// tshark also has times for segments that were sent again, which Karn's rule forbids: those it has more.
fn compare_samples(flows: &Flows<'_>, flow: &Flow, side: Side, theirs: &[(bool, Vec<String>)]) -> usize {
    let ns = |text: &String| {
        let (whole, part) = text.split_once('.').unwrap();
        whole.parse::<u64>().unwrap() * 1_000_000_000 + format!("{part:0<9}").parse::<u64>().unwrap()
    };
    let told = theirs.iter().filter(|(own, f)| !own && !f[3].is_empty());
    let mut told: Vec<u64> = told.map(|(_, f)| ns(&f[3])).collect();
    let ours = flows.round_trips(flow, side).unwrap().samples;
    for (at, sample) in &ours {
        let found = told.iter().position(|t| t == sample);
        told.remove(found.unwrap_or_else(|| panic!("tshark has no sample of {sample} ns at {at}")));
    }
    let again = flows.time_sequence(flow, side).unwrap().sent;
    let again = again.iter().filter(|s| s.why != SentWhy::First).count();
    assert!(told.len() <= again, "{} samples of tshark's are not ours: {told:?}", told.len());
    ours.len()
}

fn each_segment_stands_once(sequence: &TimeSequence) {
    let sent = sequence.sent.iter().map(|s| s.number);
    let mut all: Vec<u32> = sent.chain(sequence.acks.iter().map(|a| a.number)).collect();
    all.sort_unstable();
    assert!(all.iter().enumerate().all(|(i, n)| i == *n as usize));
}

#[test]
fn curves_of_a_lossy_run_are_those_of_tshark() {
    let (mut compared, mut samples) = (0, 0);
    for seed in [1, 3, 7] {
        let folder = Folder::new(&format!("curves-{seed}"));
        let run = run_in(&folder.0, "lossy", seed);
        let server = (Side::Server, "shop.frankfurt-wan.pcapng");
        for ends in [(Side::Client, "cabin.laptop-eth0.pcapng"), server] {
            let (c, s) = compare(&run, &folder, 1, ends);
            (compared, samples) = (compared + c, samples + s);
        }
    }
    assert!(compared > 20 && samples > 10, "{compared} {samples}");
}

/// A sender, a full queue, a lossy link: every kind of mark on one picture.
fn bulk() -> rt_lab::Run {
    let scenario = Network::new("bulk")
        .host("a", "address: 10.0.0.1/24")
        .host("b", "address: 10.0.0.2/24, run: [ http: { port: 80, pages: shop } ]")
        .link("a", "b", "rate: 2Mbit/s, delay: 10ms, queue: 5 packets, loss: 1%")
        .scenario()
        .unwrap();
    let mut world = scenario.world(3);
    for _ in 0..3 {
        world.open("a", "http://10.0.0.2/");
    }
    world.finish()
}

#[test]
fn plots_are_whole_and_the_same_each_time() {
    let run = bulk();
    let flows = Flows::of(run.trace());
    let flow = flows.list().remove(0);
    let svg = render::plots(&flows, &flow, PlotKind::All, None);
    assert_eq!(svg, render::plots(&Flows::of(bulk().trace()), &flow, PlotKind::All, None));
    for words in [
        "Time-sequence: b 10.0.0.2:80",
        "Congestion window",
        "Round-trip time",
        "Queue of b:eth0",
        "ESTABLISHED",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    for kind in PlotKind::EACH {
        for side in [Side::Client, Side::Server] {
            let one = render::plots(&flows, &flow, kind, Some(side));
            assert!(one.len() < 400_000 && one.ends_with("</svg>\n"), "{kind:?}");
        }
    }
}

#[test]
fn a_flow_is_found_by_number_port_and_name() {
    let run = rt_lab::Scenario::load("lossy").unwrap().run(RunOptions::new(1)).unwrap();
    let flows = Flows::of(run.trace());
    let all = flows.list();
    let first = &all[0];
    let port = first.ends.from.rsplit_once(':').unwrap().1;
    assert_eq!(flows.find("1"), std::slice::from_ref(first));
    assert_eq!(flows.find(&format!("laptop:{port}")), std::slice::from_ref(first));
    assert_eq!(flows.find(&first.ends.from), std::slice::from_ref(first));
    assert!(flows.find("laptop").contains(first));
    assert!(flows.find("0").is_empty() && flows.find("nobody").is_empty() && flows.find("99999").is_empty());
    assert!(all.windows(2).all(|w| w[0].start_ns <= w[1].start_ns));
}

#[test]
fn every_retransmission_has_its_reason_and_every_state_its_cause() {
    let (mut again, mut states) = (0, 0);
    for seed in [1, 3, 7] {
        let run = rt_lab::Scenario::load("lossy").unwrap().run(RunOptions::new(seed)).unwrap();
        let flows = Flows::of(run.trace());
        for flow in flows.list() {
            let report = flows.report(&flow);
            let told = report.trouble.iter().filter(|l| l.code.starts_with("tcp.retransmit"));
            assert_eq!(told.clone().count(), flow.retransmissions as usize, "{flow:?}");
            for line in told {
                again += 1;
                let reasons =
                    ["RFC 8985", "RFC 6675", "RFC 5681", "(RTO)", "the SYN came again", "timer of the SYN"];
                assert!(reasons.iter().any(|r| line.text.contains(r)), "{}", line.text);
            }
            for side in ["client", "server"] {
                let life: Vec<_> = report.connection.life.iter().filter(|s| s.side == side).collect();
                assert!(life.windows(2).all(|w| w[0].to_ns == Some(w[1].from_ns)), "{life:?}");
                assert!(life.iter().all(|s| !s.by.is_empty()), "{life:?}");
                states += life.len();
            }
        }
    }
    assert!(again >= 2 && states > 50, "{again} {states}");
}
