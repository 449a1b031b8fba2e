//! What stories say of causes: the sentence must name what a network engineer would name.

use rt_lab::{PlotKind, PlotQuery, Refusal, Run, RunOptions, Scenario, Side};
use rt_trace::plot::Flows;
use rt_trace::render;
use rt_trace::story::StepStory;

fn run(scenario: &str) -> Run {
    Scenario::load(scenario).unwrap().run(RunOptions::new(1)).unwrap()
}

fn run_text(name: &str, text: &str) -> Run {
    let scenario = Scenario::of_text(&format!("{name}.yaml"), text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

fn step(run: &Run, number: u32) -> &StepStory {
    run.story().steps.iter().find(|s| s.number == number).unwrap()
}

/// The "why" of a step in one text.
fn why(step: &StepStory) -> String {
    step.outcome.iter().map(|l| l.text.as_str()).collect::<Vec<_>>().join("\n")
}

/// Every word must be there.
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

#[test]
fn ports_used_up_are_named_with_who_holds_them() {
    let run = run("time-wait");
    let why = why(step(&run, 2));
    says(
        &why,
        &["no port left", "10 connections", "40000 to 40009", "all in TIME-WAIT", "free again at +60.006 s"],
    );
    assert!(step(&run, 1).outcome.is_empty() && step(&run, 3).outcome.is_empty());
}

#[test]
fn a_full_syn_queue_is_the_cause_once() {
    let run = run("syn-flood");
    let step = step(&run, 2);
    assert_eq!(step.outcome.len(), 1, "{}", why(step));
    says(&why(step), &["5 connections", "10 SYNs", "bare", "SYN queue of port 7000 was full", "half-open"]);
}

#[test]
fn the_forged_segment_that_hit_is_named_and_those_that_did_not() {
    let run = run("spoofed-reset");
    let told = step(&run, 1);
    says(&why(told), &["mallory", "seq 5000201", "RCV.NXT", "dropped 101", "turned 2 away", "challenge ACK"]);
    let of = |code: &str| told.trouble.iter().filter(|l| l.code == code).count();
    assert_eq!((of("tcp.forged.challenged"), of("tcp.forged.hit"), of("tcp.forged.late")), (2, 1, 1));
    assert_eq!(of("drop.tcp_unacceptable"), 0, "an answered segment is no drop");
}

#[test]
fn forged_segments_are_no_connections_of_the_list() {
    for (scenario, real) in [("spoofed-reset", 2), ("syn-flood", 10)] {
        let run = run(scenario);
        let list = Flows::of(run.trace()).list();
        assert_eq!(list.iter().filter(|f| !f.forged).count(), real);
        assert!(list[..real].iter().all(|f| !f.forged && !f.client.is_empty() && !f.server.is_empty()));
        let text = render::flows_text(&list);
        assert_eq!(text.lines().count(), 1 + real + 1, "{text}");
        says(
            &text,
            &["a forger sent in somebody else's name", &format!("numbers {} to {}", real + 1, list.len())],
        );
    }
}

#[test]
fn probes_that_were_answered_are_no_trouble_and_silence_is() {
    let run = run("keepalive");
    let careful = step(&run, 2);
    says(
        &why(careful),
        &["4 keepalive probes", "the link is down", "gave the connection up", "keepalives stay"],
    );
    assert!(careful.trouble.iter().all(|l| l.code != "drop.tcp_unacceptable"));
    says(
        &why(step(&run, 1)),
        &["nothing that trusting sent from +300.060 s on reached server", "link is down"],
    );
}

#[test]
fn nat_forgets_a_silent_connection_and_keeps_one_with_keepalive() {
    let run = run("keepalive");
    let silent = step(&run, 3);
    says(&why(silent), &["nothing that silent sent", "reached far", "ended at home", "no known connection"]);
    let patient = step(&run, 4);
    assert!(patient.ok && patient.trouble.is_empty(), "{:?}", patient.trouble);
}

#[test]
fn a_plot_of_keepalives_reaches_the_last_one_and_crosses_only_the_lost() {
    let run = run("keepalive");
    let flows = Flows::of(run.trace());
    let flow = flows.list().into_iter().find(|f| f.client == "careful").unwrap();
    let sequence = flows.time_sequence(&flow, Side::Client).unwrap();
    let probes: Vec<_> = sequence.sent.iter().filter(|s| s.why == rt_trace::plot::SentWhy::Probe).collect();
    let lost: Vec<bool> = probes.iter().map(|s| s.lost.is_some()).collect();
    assert_eq!(lost, [false, false, false, true, true, true, true]);
    let svg = render::plots(&flows, &flow, PlotKind::TimeSequence, Some(Side::Client));
    says(&svg, &["window probe or keepalive", "never arrived", ">140<"]);
    assert!(!svg.contains("not drawn"), "the axis goes to the end");
}

/// Two machines, a short queue at the sender, nothing else.
const NARROW: &str = "
name: narrow
about: A queue that overflows at the sender itself.
topology:
  nodes:
    a: { kind: host, address: 10.0.0.1/24 }
    b: { kind: host, address: 10.0.0.2/24, run: [ sink ] }
  links:
    - { endpoints: [\"a:eth0\", \"b:eth0\"], rate: 2Mbit/s, delay: 20ms, queue: 8 packets }
steps:
  - { do: a sends 300kB to b over TCP }
expect:
  - step 1: { retransmissions: 1.., refused: 0, syn-cookies: 0 }
";

#[test]
fn what_the_senders_own_queue_dropped_is_the_connections_and_has_a_cross() {
    let run = run_text("narrow", NARROW);
    assert!(run.passed(), "{:?}", run.verdict_lines());
    let flows = Flows::of(run.trace());
    let flow = flows.list().remove(0);
    let queues = flows.queues(&flow, Side::Client);
    let drops: Vec<_> = queues.iter().flat_map(|q| &q.overflows).collect();
    assert!(!drops.is_empty() && drops.iter().all(|d| d.own), "{drops:?}");
    let unsent = flows.time_sequence(&flow, Side::Client).unwrap().unsent;
    assert_eq!(unsent.len(), drops.len());
    let svg = render::plots(&flows, &flow, PlotKind::All, None);
    says(&svg, &["never arrived: the queue was full", "this connection's frame dropped"]);
    assert!(!svg.contains("another connection's"));
}

#[test]
fn a_look_at_a_transfer_changes_nothing_of_it() {
    let watched = NARROW.replace("to b over TCP }", "to b over TCP, every: 700ms }");
    let (plain, watched) = (run_text("narrow", NARROW), run_text("narrow", &watched));
    let of = |run: &Run| (run.outcomes()[0].end, run.outcomes()[0].summary.clone());
    assert_eq!(of(&plain), of(&watched));
    let looks = |run: &Run| run.story_text().matches(" acknowledged, window").count();
    assert!(looks(&plain) == 0 && looks(&watched) > 0);
}

#[test]
fn goodput_is_never_above_the_speed_of_the_link() {
    for bytes in ["1kB", "2kB", "20kB", "300kB"] {
        let text = NARROW.replace("sends 300kB", &format!("sends {bytes}"));
        let text =
            text.replace("retransmissions: 1.., refused: 0, syn-cookies: 0", "goodput: 1kbit/s..1.95Mbit/s");
        let run = run_text("narrow", &text);
        assert!(run.passed(), "{bytes}: {:?}", run.verdict_lines());
    }
}

#[test]
fn what_arrives_of_a_stream_is_what_was_sent_and_no_heads() {
    for over in ["UDP", "TCP"] {
        let step = format!("a streams 400kbit/s for 2s to b over {over}");
        let text = NARROW.replace("a sends 300kB to b over TCP", &step);
        let text = text.replace("retransmissions: 1.., refused: 0, syn-cookies: 0", "frames-lost: 0");
        says(&run_text("narrow", &text).story_text(), &["100.0 kB arrived"]);
    }
}

#[test]
fn retransmissions_are_a_figure_with_two_ends() {
    for (range, holds) in [("0", false), ("1..", true), ("..100000", true), ("100000..", false)] {
        let run =
            run_text("narrow", &NARROW.replace("retransmissions: 1..", &format!("retransmissions: {range}")));
        assert_eq!(run.passed(), holds, "{range}: {:?}", run.verdict_lines());
    }
    let text = NARROW.replace("refused: 0, ", "").replace("syn-cookies: 0", "syn-cookies: 1..");
    assert!(!run_text("narrow", &text).passed());
}

#[test]
fn listeners_figures_can_be_expected() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/syn-flood.yaml"));
    let text =
        text.unwrap().replace("expect:\n", "expect:\n  - step 2: { refused: 1000.., syn-cookies: 0 }\n");
    let text = text.replace("  - step 4: {", "  - step 4: { refused: 0, syn-cookies: 500..,");
    let run = run_text("syn-flood", &text);
    assert!(run.passed(), "{:?}", run.verdict_lines());
}

#[test]
fn a_split_proxy_is_named_with_both_distances() {
    let run = run("example-com");
    let lines = step(&run, 2).chapters.iter().flat_map(|c| &c.lines).filter(|l| l.code == "tcp.split");
    let told: Vec<&str> = lines.map(|l| l.text.as_str()).collect();
    assert_eq!(told.len(), 2);
    let words =
        ["accelerator", "split-TCP proxy", "in the name of 93.184.215.14", "within 13.", "example", "is 19"];
    told.iter().for_each(|text| says(text, &words));
}

#[test]
fn a_connection_has_one_duration_everywhere() {
    for scenario in ["cable-cut", "example-com", "fast-open", "time-wait"] {
        let run = run(scenario);
        let flows = Flows::of(run.trace());
        for flow in flows.list() {
            let report = flows.report(&flow);
            assert_eq!((report.connection.start_ns, report.connection.end_ns), (flow.start_ns, flow.end_ns));
            let head = render::connection(&report).lines().next().unwrap_or_default().to_string();
            let list = render::flows_text(std::slice::from_ref(&flow));
            let took = head.rsplit_once("━ ").unwrap().1;
            assert!(list.contains(took), "{took} in {list}");
        }
    }
}

#[test]
fn an_undo_says_what_was_not_lost() {
    let run = run("cable-cut");
    let lines = run.story().steps.iter().flat_map(|s| &s.trouble);
    let undo = lines.filter(|l| l.code == "tcp.undo").map(|l| l.text.as_str()).collect::<Vec<_>>();
    assert!(!undo.is_empty());
    undo.iter()
        .for_each(|text| says(text, &["what was sent again had not been lost", "the cut is taken back"]));
}

#[test]
fn hystart_is_told_when_it_slows_down_and_when_it_ends_slow_start() {
    let run = run("slow-start");
    let codes = |n: u32| -> Vec<&str> { step(&run, n).waits.iter().map(|l| l.code.as_str()).collect() };
    assert!(codes(3).contains(&"tcp.slow_start_cautious"), "{:?}", codes(3));
    assert!(!codes(4).iter().any(|c| c.starts_with("tcp.slow_start")), "{:?}", codes(4));
}

#[test]
fn a_run_without_connections_has_nothing_to_plot() {
    let query = PlotQuery { flow: None, what: PlotKind::All, from: None };
    let folder = crate::support::Folder::new("nothing-to-plot");
    let _ = crate::support::run_in(&folder.0, "pravin-dev", 1);
    match rt_lab::plot(&folder.0.display().to_string(), &query) {
        Err(Refusal::Misuse { why }) => {
            says(&why, &["no TCP connection", "nothing to plot", "help:", "follow"])
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_plots_of_the_page_are_those_of_plot() {
    let folder = crate::support::Folder::new("page-plots");
    let _ = crate::support::run_in(&folder.0, "lossy", 1);
    let page = std::fs::read_to_string(folder.0.join("story.html")).unwrap();
    let source = folder.0.display().to_string();
    let mut found = 0;
    for number in 1..=3 {
        let query = PlotQuery { flow: Some(number.to_string()), what: PlotKind::All, from: None };
        let Ok(drawn) = rt_lab::plot(&source, &query) else { break };
        // As JSON inside the page, with `<` escaped.
        let inside = serde_json::to_string(&drawn.text).unwrap().replace('<', "\\u003c");
        found += usize::from(page.contains(&inside));
    }
    assert!(found > 0, "the page has no plot that `plot` draws");
}

#[test]
fn a_firewall_behind_a_traced_route_is_named() {
    let run = run_text(
        "walled",
        "
name: walled
about: A route is traced into a firewall.
topology:
  nodes:
    a: { kind: host, address: 10.0.1.1/24, gateway: 10.0.1.254 }
    r: { kind: router, interfaces: { x: 10.0.1.254/24, y: 10.0.2.254/24 }, routes: [ { to: 10.0.3.0/24, via: 10.0.2.253 } ] }
    wall:
      kind: router
      interfaces: { x: 10.0.2.253/24, y: 10.0.3.254/24 }
      routes: [ { to: 10.0.1.0/24, via: 10.0.2.254 } ]
      firewall: { forward: [ deny udp ] }
    b: { kind: host, address: 10.0.3.1/24, gateway: 10.0.3.254 }
  links:
    - endpoints: [\"a:eth0\", \"r:x\"]
    - endpoints: [\"r:y\", \"wall:x\"]
    - endpoints: [\"wall:y\", \"b:eth0\"]
steps:
  - do: a traces the route to 10.0.3.1
expect:
  - step 1: { fails: was not reached }
",
    );
    assert!(run.passed(), "{:?}", run.verdict_lines());
    let why = why(step(&run, 1));
    says(&why, &["the last probes brought no answer", "wall drops it by the rule \"deny udp\""]);
    assert!(!why.contains("TTL"), "{why}");
}

#[test]
fn parallel_connections_are_measured_over_the_whole_time() {
    let text = NARROW.replace("over TCP", "over 3 TCP connections").replace("narrow", "three");
    let run = run_text("three", &text.replace("retransmissions: 1.., ", ""));
    let step = step(&run, 1);
    let all = step.chapters.iter().flat_map(|c| &c.lines).find(|l| l.code == "send.all").unwrap();
    says(&all.text, &["from the beginning of the first connection to the end of the last"]);
    let number = |name: &str| all.data[name].parse::<u128>().unwrap();
    assert_eq!(number("bits_per_s"), number("bytes") * 8_000_000_000 / number("span_ns"));
    // Each span is shorter than all together; and what arrived cannot be more than the link carries.
    let spans = step.chapters.iter().flat_map(|c| &c.lines).filter(|l| l.code == "send.flow");
    let longest = spans.map(|l| l.data["span_ns"].parse::<u128>().unwrap()).max().unwrap();
    assert!(number("span_ns") >= longest && number("bits_per_s") <= 2_000_000);
}
