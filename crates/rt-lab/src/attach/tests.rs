//! A session without any privilege: a stack of ours, in an engine of its own, stands for the kernel and the program outside,
//! and dice stand for the clock on the wall.

use std::path::{Path, PathBuf};

use rt_apps::Runtime;
use rt_apps::browser::{Browser, BrowserOptions, StepPins};
use rt_apps::dns::ResolverConfig;
use rt_apps::tls::Authority;
use rt_base::{Nanos, NodeId, PortId, Rng, Signal, Time};
use rt_devices::{Host, Outward};
use rt_files::inputs::{Input, InputReader};
use rt_sim::{DirectionSpec, LinkSpec, Sim};
use rt_stack::{IfaceConfig, Stack, StackConfig};

use super::pace::Outside;
use super::session::{Document, Session};
use super::*;

/// The program and its kernel.
const CLIENT: NodeId = NodeId(0);
/// Their end of the cable between the worlds.
const CARD: NodeId = NodeId(1);

/// A world outside.
struct StandIn {
    sim: Sim,
    node: NodeId,
    clock: Time,
    dice: Rng,
    begun: bool,
    ended: Option<Time>,
}

impl StandIn {
    /// A browser that opens `url`, with what the machine `node` of the session has learnt.
    fn new(session: &mut Session, document: &Document, url: &str, dice: u64) -> StandIn {
        let node = document.given[0];
        let planned = guest::plan(session.world(), node, Vec::new(), AttachOptions::default()).unwrap();
        let interface = &planned.plan.interfaces[0];
        let (address, length) = interface.addresses[0];
        let config = IfaceConfig {
            name: "eth0".into(),
            mac: rt_wire::MacAddr(interface.mac),
            addresses: vec![format!("{address}/{length}").parse().unwrap()],
            mtu: u16::try_from(interface.mtu).unwrap(),
        };
        let mut stack =
            Stack::new(StackConfig { interfaces: vec![config], ..StackConfig::default() }, dice, "outside");
        let via = planned.plan.routes.iter().find(|r| r.to.is_none()).unwrap().via.unwrap();
        stack.learn_default_route(PortId(0), via, address, "the plan".into());
        let mut runtime = Runtime::new(stack, dice, "outside", document.model.epoch);
        let resolv = String::from_utf8(planned.plan.files[0].content.clone()).unwrap();
        let servers = resolv.lines().filter_map(|l| l.strip_prefix("nameserver ")?.parse().ok()).collect();
        runtime.net().set_resolver(ResolverConfig { servers, ..ResolverConfig::default() });
        let authority = Authority::new(document.seed, document.model.epoch).unwrap();
        let roots = [authority.root().clone()];
        let browser = Browser::new(&runtime.net(), BrowserOptions::default(), &roots).unwrap();
        runtime.set_step(0, "the program", browser.open_step(url, StepPins::default()));
        let mut sim = Sim::new(dice, false);
        sim.add_node("client", Box::new(Host::with_apps(runtime)), Nanos::from_micros(20));
        let mut card = Host::bare(Stack::new(StackConfig::default(), dice, "card"));
        card.give_away();
        sim.add_node("card", Box::new(card), Nanos::ZERO);
        let way = DirectionSpec { rate_bps: 0, ..DirectionSpec::default() };
        let (a, b) = ((CLIENT, PortId(0)), (CARD, PortId(0)));
        sim.add_link(LinkSpec { a, b, ab: way, ba: way, mtu: 1_500 });
        sim.boot();
        let clock = document.anchor;
        sim.command(clock, CLIENT, 0);
        StandIn { sim, node, clock, dice: Rng::stream(dice, "wall", "clock"), begun: false, ended: None }
    }
}

impl Outside for StandIn {
    fn now(&mut self) -> Result<Option<Time>, Refusal> {
        self.clock += Nanos(1 + self.dice.below(300_000));
        while self.sim.run_until(self.clock) == rt_sim::StopReason::Signals {
            let signals = self.sim.take_signals();
            if signals.iter().any(|(_, _, s)| matches!(s, Signal::StepDone { .. })) {
                self.ended = Some(self.clock);
            }
        }
        Ok(Some(self.clock))
    }

    fn take(&mut self, into: &mut Vec<Input>) -> Result<(), Refusal> {
        let node = self.node;
        if !std::mem::replace(&mut self.begun, true) {
            into.push(Input::Begin { node, program: 0, text: "laptop runs a stand-in".into() });
        }
        let mut out = Vec::new();
        self.sim.node_mut::<Host>(CARD).unwrap().take_outward(&mut out);
        into.extend(out.into_iter().map(|o| Input::Frame { node, port: o.port, bytes: o.bytes }));
        let late = Lateness { frames: 7, p50: 1_000, p99: 2_000, max: 3_000 };
        match self.ended {
            Some(at) if at == self.clock => into.push(Input::End { program: 0, code: 0, late }),
            Some(at) if self.clock.since(at) > Nanos::from_millis(200) => into.push(Input::Stop),
            _ => {}
        }
        Ok(())
    }

    fn send(&mut self, node: NodeId, outward: &Outward) -> Result<(), Refusal> {
        assert_eq!(node, self.node);
        assert!(outward.at <= self.clock, "a frame left the world before its time");
        self.sim.inject(self.clock, CARD, PortId(0), outward.bytes.clone());
        Ok(())
    }

    fn wait(&mut self, next: Option<Time>) -> Result<(), Refusal> {
        let own = self.sim.next_time();
        let next = next.into_iter().chain(own).min().unwrap_or(self.clock + Nanos::from_millis(50));
        self.clock = self.clock.max(next.min(self.clock + Nanos::from_millis(50)));
        Ok(())
    }
}

/// A fresh folder that is removed when dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Temporary {
        let path = std::env::temp_dir().join(format!("roundtrip-attach-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options(out: &Path) -> ExecOptions {
    let programs = vec![ProgramCall { node: "laptop".into(), command: vec!["stand-in".into()] }];
    let attach = AttachOptions::default();
    ExecOptions {
        seed: 1,
        out: out.to_path_buf(),
        programs,
        allow_exec: false,
        bridges: Vec::new(),
        attach,
        comments: Comments::Key,
        record: Record::All,
        ready: |_| {},
    }
}

fn document_of_run(out: &Path) -> Document {
    let scenario = Scenario::load("web-browsing").unwrap();
    document(scenario.model(), 1, &options(out).programs).unwrap()
}

fn surf(document: Document, session: &mut Session, dice: u64, out: &Path) {
    let document = Document { anchor: session.at() + Nanos::from_millis(321), ..document };
    let mut outside = StandIn::new(session, &document, "https://google.com/", dice);
    pace(&document, session, &mut outside, Some(out)).unwrap();
}

/// The stand-in opens google.com from the laptop; everything is written to `out`.
fn run(out: &Path, dice: u64) -> Run {
    let document = document_of_run(out);
    let folder = Folder::open(out, &document.model).unwrap();
    let mut session = Session::new(&document, vec![folder.recorder()]);
    surf(document, &mut session, dice, out);
    conclude(session.finish(), folder, out, (Comments::Key, None)).unwrap()
}

fn again(folder: &Path, out: &Path) -> Replayed {
    replay(folder, &ReplayOptions { out: out.to_path_buf(), scenario: None, comments: Comments::Key })
        .unwrap()
}

#[test]
fn what_was_not_recorded_is_made_by_a_replay() {
    let (all, inputs, made) = (Temporary::new("all"), Temporary::new("inputs"), Temporary::new("made"));
    run(&all.0, 7);
    drop(output::clear(&inputs.0).unwrap());
    // Civil time would differ from one run to the next.
    let (document, _) = super::replay::open(&all.0).unwrap();
    let mut session = Session::unrecorded(&document);
    surf(document, &mut session, 7, &inputs.0);
    assert!(session.finish().trace.events.is_empty());
    let kept = |name: &str| [&all, &inputs].map(|f| std::fs::read(f.0.join(name)).ok());
    let [first, second] = kept("inputs.bin");
    assert!(first.is_some() && first == second, "the same world, recorded or not");
    assert_eq!(std::fs::read_dir(&inputs.0).unwrap().count(), 1);
    assert_eq!(again(&inputs.0, &made.0).same, None);
    for name in ["captures/world.pcapng", "story.json"] {
        assert!(std::fs::read(all.0.join(name)).unwrap() == std::fs::read(made.0.join(name)).unwrap());
    }
}

#[test]
fn what_a_program_outside_does_is_told_and_replays_to_the_byte() {
    let (first, second) = (Temporary::new("first"), Temporary::new("second"));
    let run = run(&first.0, 5);
    let story = run.story();
    assert_eq!(story.steps.len(), 1, "the laptop's own steps are not carried out");
    let step = &story.steps[0];
    assert_eq!((step.text.as_str(), step.ok), ("laptop runs a stand-in", true));
    let page = &step.requests[0];
    assert_eq!((page.target.as_str(), page.status, page.ok), ("https://google.com/", 200, true));
    assert!(page.timings.dns_ns.is_some_and(|ns| ns > 1_000_000), "{:?}", page.timings);
    assert!(step.requests.iter().filter(|r| r.status == 200).count() > 3, "the files of the page");
    // Exact to the nanosecond, and nothing is unnamed.
    assert!(step.budget.problems.is_empty(), "{:?}", step.budget.problems);
    assert_eq!(step.budget.slices.iter().map(|s| s.end_ns - s.start_ns).sum::<u64>(), step.duration_ns);
    let outside = step.budget.totals.iter().find(|t| t.group == "programs").unwrap();
    assert!(outside.time_ns > 0 && outside.time_ns < step.duration_ns);
    assert!(step.figures.iter().any(|f| f.name == "late, 99 % within" && f.value == 2_000));

    let replayed = again(&first.0, &second.0);
    assert_eq!((replayed.same, replayed.differ), (Some(true), Vec::new()));
    assert_eq!(replayed.run.story_json(), run.story_json());
    for name in ["captures/world.pcapng", "captures/home.laptop-eth0.pcapng", "events.bin", "story.txt"] {
        assert!(std::fs::read(first.0.join(name)).unwrap() == std::fs::read(second.0.join(name)).unwrap());
    }
    // `follow` makes the run again in memory.
    let followed = crate::follow(&first.0.display().to_string(), &crate::FollowQuery::default()).unwrap();
    assert_eq!(followed.json, run.story_json());
}

#[test]
fn a_few_late_frames_are_not_worth_a_warning() {
    let late = Lateness { frames: 40, p50: 1_000, p99: 11_000_000, max: 12_000_000 };
    assert!(warnings(late, 19).is_empty());
    assert!(warnings(late, 20)[0].contains("20 of 40 frames"));
    assert!(warnings(Lateness { p99: 1_000, ..late }, 20).is_empty());
}

#[test]
fn a_folder_that_follow_cannot_read_says_why() {
    let folder = Temporary::new("damaged");
    run(&folder.0, 3);
    let why = || {
        crate::follow(&folder.0.display().to_string(), &crate::FollowQuery::default())
            .unwrap_err()
            .to_string()
    };
    let path = folder.0.join("run.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["digests"]["events.bin"] = "00".into();
    std::fs::write(&path, value.to_string()).unwrap();
    assert!(why().contains("damaged or not of this run"), "{}", why());
    value["program"] = "roundtrip 0.0.0".into();
    std::fs::write(&path, value.to_string()).unwrap();
    assert!(why().contains("written by roundtrip 0.0.0"), "{}", why());
    std::fs::remove_file(&path).unwrap();
    assert!(why().contains("roundtrip replay"), "{}", why());
}

#[test]
fn another_clock_gives_another_run_and_each_replays() {
    let digest = |dice: u64| {
        let (first, second) = (Temporary::new(&format!("a{dice}")), Temporary::new(&format!("b{dice}")));
        run(&first.0, dice);
        assert_eq!(again(&first.0, &second.0).same, Some(true), "dice {dice}");
        std::fs::read(first.0.join("events.bin")).unwrap()
    };
    assert!(digest(1) != digest(2));
}

#[test]
fn an_interrupted_recording_replays_up_to_there_and_a_damaged_one_is_refused() {
    let (first, cut, out) = (Temporary::new("whole"), Temporary::new("cut"), Temporary::new("out"));
    run(&first.0, 3);
    let whole = std::fs::read(first.0.join(INPUTS_FILE)).unwrap();
    let document = InputReader::new(&whole[..]).unwrap().document().len();
    let middle = (document + whole.len()) / 2;
    std::fs::create_dir_all(&cut.0).unwrap();
    std::fs::write(cut.0.join(INPUTS_FILE), &whole[..middle]).unwrap();
    let replayed = again(&cut.0, &out.0);
    assert_eq!(replayed.same, None, "an interrupted run has no run.json to compare with");
    assert!(replayed.talk.iter().any(|t| t.contains("ends in the middle")), "{:?}", replayed.talk);
    let steps = &replayed.run.story().steps;
    assert_eq!((steps.len(), steps[0].ended, steps[0].ok), (1, false, false));

    let mut damaged = whole.clone();
    damaged[middle] ^= 1;
    std::fs::write(cut.0.join(INPUTS_FILE), &damaged).unwrap();
    let options = ReplayOptions { out: out.0.clone(), scenario: None, comments: Comments::Key };
    let refusal = replay(&cut.0, &options).err().unwrap().to_string();
    assert!(refusal.contains("is damaged") || refusal.contains("a record of"), "{refusal}");
    // The folder itself is not overwritten.
    let options = ReplayOptions { out: first.0.clone(), scenario: None, comments: Comments::Key };
    assert!(replay(&first.0, &options).err().unwrap().to_string().contains("choose another with --out"));
}

#[test]
fn what_if_the_world_had_been_another() {
    let (first, out) = (Temporary::new("was"), Temporary::new("if"));
    run(&first.0, 4);
    let text = crate::shipped().iter().find(|s| s.name == "web-browsing").unwrap().text;
    let other = Scenario::of_text("other.yaml", &text.replace("web-browsing", "another")).unwrap();
    let options = ReplayOptions { out: out.0.clone(), scenario: Some(other), comments: Comments::Key };
    let replayed = replay(&first.0, &options).unwrap();
    assert_eq!(replayed.same, None);
    assert!(replayed.talk[0].contains("another world"), "{:?}", replayed.talk);
    let elsewhere = Scenario::load("two-hosts").unwrap();
    let options = ReplayOptions { out: out.0.clone(), scenario: Some(elsewhere), comments: Comments::Key };
    assert!(replay(&first.0, &options).err().unwrap().to_string().contains("home.laptop"));
}

#[test]
fn a_machine_is_played_once_and_must_be_a_host() {
    let scenario = Scenario::load("web-browsing").unwrap();
    let refused = |names: &[&str]| {
        let call = |name: &&str| ProgramCall { node: (*name).into(), command: vec!["true".into()] };
        let programs: Vec<ProgramCall> = names.iter().map(call).collect();
        document(scenario.model(), 1, &programs).err().unwrap().to_string()
    };
    assert!(refused(&["laptop", "home.laptop"]).contains("played by one program"));
    assert!(refused(&["home.router"]).contains("passes other machines' packets on"));
    assert!(refused(&["nobody"]).contains("there is no machine called `nobody`; there are: home.laptop"));
}

#[test]
fn a_file_starts_no_program_by_itself() {
    let text = "
name: named
topology:
  nodes:
    a: { address: 10.0.0.1/24 }
    b: { address: 10.0.0.2/24, exec: [python3, -m, http.server, \"80\"] }
  links: [ { endpoints: [\"a:eth0\", \"b:eth0\"] } ]
";
    let scenario = Scenario::of_text("named.yaml", text).unwrap();
    assert_eq!(
        scenario.programs().iter().map(ProgramCall::text).collect::<Vec<_>>(),
        ["b runs python3 -m http.server 80"]
    );
    let refused = scenario.allowed_programs(&[], false).unwrap_err().to_string();
    assert!(refused.contains("--allow-exec:\n  b runs python3 -m http.server 80"), "{refused}");
    assert_eq!(scenario.allowed_programs(&[], true).unwrap().len(), 1);
    // Whoever says what runs there needs no leave.
    let other = ProgramCall { node: "b".into(), command: vec!["true".into()] };
    assert!(scenario.allowed_programs(&[other], false).unwrap().is_empty());
    // The plain level says it too.
    assert!(scenario.show(crate::ShowFormat::Text, true).contains("exec: ["));
}

/// Inputs that no run of this world makes are refused in words, not by a panic.
#[test]
fn inputs_of_another_world_are_refused() {
    let scenario = Scenario::load("web-browsing").unwrap();
    let document = document(scenario.model(), 1, &options(Path::new("nowhere")).programs).unwrap();
    let mut session = Session::new(&document, Vec::new());
    session.join_clocks(&document).unwrap();
    let (at, laptop) = (session.at(), document.given[0]);
    let late = Lateness::default();
    for input in [
        Input::Frame { node: NodeId(9_999), port: PortId(0), bytes: vec![0; 60] },
        Input::Frame { node: NodeId(laptop.0 + 1), port: PortId(0), bytes: vec![0; 60] },
        Input::Begin { node: laptop, program: 7, text: String::new() },
        Input::End { program: 0, code: 0, late },
        Input::Secret { node: NodeId(9_999), line: String::new() },
        Input::Give { node: NodeId(9_999) },
    ] {
        let refused = session.apply(rt_files::inputs::Stamped { at, input: input.clone() });
        assert!(refused.is_err(), "{input:?}");
    }
    // What is broken inside a frame is the world's to judge.
    for bytes in [Vec::new(), vec![0xff; 13], vec![0xff; 60_000]] {
        let input = Input::Frame { node: laptop, port: PortId(40_000), bytes };
        session.apply(rt_files::inputs::Stamped { at, input }).unwrap();
    }
    session.pass(at + Nanos::from_secs(1));
    session.finish();
    assert!(InputReader::new(&b"RTIN"[..]).is_err());
}
