//! What stories and curves say of TCP, against what the wire and the algorithms had.

use rt_base::{TcpDecision, What};
use rt_lab::{Run, RunOptions, Scenario, Side};
use rt_trace::plot::{Flow, Flows};
use rt_trace::story::{Line, StepStory};

fn run(scenario: &str) -> Run {
    Scenario::load(scenario).unwrap().run(RunOptions::new(1)).unwrap()
}

fn run_text(name: &str, text: &str) -> Run {
    let scenario = Scenario::of_text(&format!("{name}.yaml"), text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

/// Two machines and a link.
fn pair(name: &str, tcp: &str, link: &str, step: &str) -> Run {
    let text = format!(
        "name: {name}\nabout: Two machines.\ntopology:\n  nodes:\n    a: {{ kind: host, address: 10.0.0.1/24, tcp: {{ {tcp} }} }}\n    \
         b: {{ kind: host, address: 10.0.0.2/24, tcp: {{ ecn: accept }}, run: [ sink ] }}\n  links:\n    - {{ endpoints: [\"a:eth0\", \"b:eth0\"], {link} }}\n\
         steps: [ {{ do: {step} }} ]\n"
    );
    run_text(name, &text)
}

fn lines(step: &StepStory) -> impl Iterator<Item = &Line> {
    step.chapters.iter().flat_map(|c| &c.lines)
}

fn line<'s>(step: &'s StepStory, code: &str) -> &'s Line {
    lines(step).find(|l| l.code == code).unwrap_or_else(|| panic!("no {code} in {:?}", step.text))
}

#[test]
fn a_syn_acks_numbers_are_those_of_the_wire_and_its_cookie_is_told() {
    let run = run("fast-open");
    let [_, calls, page] = &run.story().steps[..] else { panic!("three steps") };
    assert!(line(calls, "tcp.syn").text.contains("asks for a Fast Open cookie"));
    assert!(line(calls, "tcp.syn_ack").text.contains("gives a Fast Open cookie of 8 bytes"));
    let (syn, answer) = (line(page, "tcp.syn"), line(page, "tcp.syn_ack"));
    assert!(syn.text.contains("Fast Open cookie of 8 bytes"), "{}", syn.text);
    let number = |line: &Line, key: &str| line.data[key].parse::<u32>().unwrap();
    let taken = number(answer, "ack").wrapping_sub(number(syn, "seq")) - 1;
    assert!(taken > 0 && syn.text.contains(&format!("already {taken} bytes")), "{} {taken}", syn.text);
    assert!(answer.text.contains(&format!("ack {}", number(answer, "ack"))));
}

#[test]
fn ecn_is_told_where_it_is_asked_for_and_agreed() {
    for (asks, told) in [("ask", true), ("off", false)] {
        let run = pair("ecn", &format!("ecn: {asks}"), "delay: 1ms", "a sends 10kB to b over TCP");
        let step = &run.story().steps[0];
        assert_eq!(line(step, "tcp.syn").text.contains("ECN asked for"), told);
        assert_eq!(line(step, "tcp.syn_ack").text.contains("ECN agreed"), told);
    }
}

#[test]
fn a_machines_way_to_itself_is_called_lo() {
    let run = pair("lo", "ecn: off", "delay: 1ms", "a connects to 127.0.0.1:99");
    let json = serde_json::to_string(run.story()).unwrap();
    assert!(json.contains("\"interface\":\"lo\"") && !json.contains("port 65535"), "{}", run.story_text());
}

#[test]
fn a_plot_shows_the_side_that_sent_most_though_nothing_arrived() {
    let run = run("pmtu-black-hole");
    let flows = Flows::of(run.trace());
    let flow = flows.list().remove(0);
    assert!(flow.retransmissions >= 8, "{flow:?}");
    assert_eq!(flows.main_sender(&flow), Side::Server);
}

#[test]
fn the_window_before_a_cut_is_told_as_it_was() {
    let run = pair(
        "cut",
        "congestion: reno",
        "rate: 10Mbit/s, delay: 20ms, queue: 20 packets",
        "a sends 3MB to b over TCP",
    );
    let (mut heard, mut cuts, mut open) = (0, 0, None);
    for event in &run.trace().events {
        match &event.what {
            What::TcpCwnd { cwnd, ssthresh, .. } if event.node() == rt_base::NodeId(0) => {
                if let Some((because, before)) = open.take() {
                    // Reno: half of what it was (RFC 5681), in whole segments.
                    let segments: u32 = before / 1448;
                    if because == event.because && *ssthresh != 0 {
                        assert_eq!(*ssthresh, (segments / 2).max(2) * 1448, "from {before}");
                        cuts += 1;
                    }
                }
                heard = *cwnd;
            }
            What::TcpSend(record) if event.node() == rt_base::NodeId(0) => heard = record.cwnd,
            What::TcpDecision { decision, .. } => {
                if let TcpDecision::Lost { .. } = **decision
                    && open.is_none()
                {
                    open = Some((event.because, heard));
                }
            }
            _ => {}
        }
    }
    assert!(cuts > 0);
}

fn states(flows: &Flows<'_>, flow: &Flow) -> String {
    flows.states(flow).iter().map(|s| format!("{} {} {}\n", s.side, s.state, s.by)).collect()
}

#[test]
fn a_connection_that_a_newer_syn_ends_says_so() {
    let run = run("time-wait");
    let flows = Flows::of(run.trace());
    let told = flows.list().iter().filter(|f| states(&flows, f).contains("(RFC 6191)")).count();
    // Ten ports, 25 calls whose server closes first: all but the first ten meet a TIME-WAIT.
    assert!(told >= 10, "{told}");
}

#[test]
fn a_connection_that_gave_up_was_never_opened_and_ended_when_it_gave_up() {
    let run = run("syn-flood");
    let flows = Flows::of(run.trace());
    let list = flows.list();
    let failed: Vec<&Flow> = list.iter().filter(|f| f.ended == "never opened").collect();
    assert!(!failed.is_empty());
    for flow in failed.iter().filter(|f| !f.forged) {
        let report = flows.report(flow);
        assert!(report.connection.established_ns.is_none());
        let closed =
            report.connection.life.iter().find(|s| s.side == "client" && s.state == "CLOSED").unwrap();
        let chapters = run.story().steps.iter().flat_map(|s| &s.chapters);
        let own = chapters.filter(|c| c.code == "connect" && c.remark == "no connection");
        let mut own = own.filter(|c| c.start_ns == flow.start_ns).peekable();
        assert!(own.all(|c| c.end_ns == closed.from_ns), "{flow:?}");
    }
}

#[test]
fn an_attackers_pace_is_no_person() {
    let run = run("syn-flood");
    let floods: Vec<_> = run.story().steps.iter().filter(|s| s.text.contains("floods")).collect();
    assert!(!floods.is_empty());
    for step in floods {
        let groups: Vec<&str> = step.budget.totals.iter().map(|t| t.group.as_str()).collect();
        assert!(groups.contains(&"attack") && !groups.contains(&"person"), "{groups:?}");
    }
}

#[test]
fn a_full_send_buffer_is_a_wait_with_a_name() {
    let waits = |system: &str| {
        let run = pair(
            "buffer",
            &format!("system: {system}"),
            "rate: 10Mbit/s, delay: 20ms",
            "a sends 100kB to b over TCP",
        );
        let waits = run.story().steps[0].waits.clone();
        waits.into_iter().find(|l| l.code == "tcp.wait.send_buffer")
    };
    let told = waits("constrained").expect("2,920 bytes are soon full");
    assert!(told.text.contains("the send buffer was full"), "{}", told.text);
    assert!(waits("linux").is_none());
}

#[test]
fn what_many_do_again_and_again_is_told_round_by_round() {
    let text = "name: crowd\nabout: A few people.\nsites:\n  internet:\n    kind: internet\n    places: [frankfurt, paris]\n    \
        resolvers: { resolver: { address: 8.8.8.8, place: frankfurt } }\n  \
        shop: { kind: service, edges: { paris: { servers: 1 } }, address: 198.51.100.20, names: [shop.example] }\n  \
        home: { kind: home, place: frankfurt, devices: { user: { count: 3 } } }\nsteps:\n  \
        - home.user* opens https://shop.example/ every 10s for 25s\n  - home.user2 connects to shop.example:443\nexpect:\n  \
        - step 1: { succeeds: yes, rounds: 3 }\n  - step 3: { succeeds: yes, rounds: 3, failed-rounds: 0, latency-max: ..2s }\n";
    let run = run_text("crowd", text);
    assert!(run.passed(), "{:?}", run.checks());
    let steps = &run.story().steps;
    assert_eq!(steps.len(), 4);
    for step in &steps[..3] {
        let pages: Vec<_> = step.requests.iter().filter(|r| r.kind == "page").collect();
        assert_eq!(pages.len(), 3, "{}", step.text);
        let gap = pages[2].start_ns - pages[1].start_ns;
        assert_eq!(gap, 10_000_000_000, "{}", step.text);
    }
}
