//! Every kind of rule that a machine's keys can say, end to end: a packet passes, and one dies with its reason and with the line
//! of the file that decided as the story tells it. What a VPC is made of is in `clouds`; what each condition means to a bare
//! stack in `rt-stack`.
//!
//! The deciding line of a file ends with `# HERE`.

use rt_base::{DropReason, What};
use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::story::Line;

/// One kind: what it is called, the keys of the router with which packets pass, those with which one dies, what is done, and
/// the reason of the death.
struct Kind {
    name: &'static str,
    passes: &'static [&'static str],
    dies: &'static [&'static str],
    steps: &'static str,
    reason: &'static str,
}

const fn kind(
    name: &'static str,
    passes: &'static [&'static str],
    dies: &'static [&'static str],
    steps: &'static str,
    reason: &'static str,
) -> Kind {
    Kind { name, passes, dies, steps, reason }
}

const FILTERED: &str = "drop.filtered";
const REJECTED: &str = "drop.rejected";
const OPENS: &str = "a opens http://10.0.2.2/";
const FROM_4000: &str = "{ do: a opens http://10.0.2.2/, source-port: 4000 }";
const PINGS: &str = "a pings 10.0.2.2";
const STREAMS: &str = "a streams 100kbit/s for 100ms to 10.0.2.2 over UDP";
const TWO: &str = "a sends 10kB to 10.0.2.2 over 2 TCP connections";
const CLOSED: &str = "a streams 100kbit/s for 100ms to 10.0.2.2:9 over UDP";
/// With a pause in which a router may forget.
const CALLS: &str = "{ do: a calls 10.0.2.2:7000 2 times, every: 2s }";

/// A list of the firewall's `forward:` lines.
macro_rules! forward {
    ($($line:literal),*) => { &["firewall:", "  forward:", $(concat!("    - ", $line)),*] };
}

/// What a rule of a filter can look at.
const CONDITIONS: &[Kind] = &[
    kind("protocol", forward!["deny udp"], forward!["deny tcp # HERE"], OPENS, FILTERED),
    kind(
        "protocol number",
        forward!["deny protocol 6"],
        forward!["deny protocol 17 # HERE"],
        STREAMS,
        FILTERED,
    ),
    kind("source", forward!["deny from 10.0.1.3"], forward!["deny from 10.0.1.2 # HERE"], OPENS, FILTERED),
    kind(
        "sources",
        forward!["deny from 10.0.1.128/25,10.0.4.0/24"],
        forward!["deny from 10.0.4.0/24,10.0.1.0/25 # HERE"],
        OPENS,
        FILTERED,
    ),
    kind(
        "destination",
        forward!["deny to 10.0.2.3"],
        forward!["deny to 10.0.2.0/29 # HERE"],
        OPENS,
        FILTERED,
    ),
    kind(
        "source group",
        forward!["deny new from group far"],
        forward!["deny from group near # HERE"],
        OPENS,
        FILTERED,
    ),
    kind(
        "destination group",
        forward!["deny new to group near"],
        forward!["deny to group far # HERE"],
        OPENS,
        FILTERED,
    ),
    kind("port", forward!["deny tcp port 81"], forward!["deny tcp port 80 # HERE"], OPENS, FILTERED),
    kind("ports", forward!["deny tcp port 81-90"], forward!["deny tcp port 70-80 # HERE"], OPENS, FILTERED),
    kind(
        "source port",
        forward!["deny tcp from-port 4001-"],
        forward!["deny tcp from-port 4000 # HERE"],
        FROM_4000,
        FILTERED,
    ),
    kind(
        "TCP flags",
        forward!["deny tcp flags syn,fin"],
        forward!["deny tcp flags syn,!ack # HERE"],
        OPENS,
        FILTERED,
    ),
    kind("ICMP type", forward!["deny icmp 13"], forward!["deny icmp echo-request # HERE"], PINGS, FILTERED),
    kind("ICMP code", forward!["deny icmp 8/1"], forward!["deny icmp echo-reply/0 # HERE"], PINGS, FILTERED),
    kind(
        "arriving interface",
        forward!["deny tcp port 80 in dmz"],
        forward!["deny in lan # HERE"],
        OPENS,
        FILTERED,
    ),
    kind(
        "leaving interface",
        forward!["deny tcp port 80 out lan"],
        forward!["deny out dmz # HERE"],
        OPENS,
        FILTERED,
    ),
    kind("new", forward!["deny new icmp"], forward!["allow icmp", "deny new # HERE"], OPENS, FILTERED),
    kind(
        "established",
        forward!["deny established udp"],
        forward!["deny established # HERE"],
        OPENS,
        FILTERED,
    ),
    kind("related", forward!["deny related tcp"], forward!["deny related # HERE"], CLOSED, FILTERED),
    kind(
        "invalid",
        forward!["deny invalid"],
        &["flow-timeout: 500ms", "firewall:", "  forward:", "    - deny invalid # HERE"],
        CALLS,
        FILTERED,
    ),
];

/// What a rule of a filter can do, and where it can stand.
const ACTIONS: &[Kind] = &[
    kind(
        "deny",
        forward!["allow tcp port 80", "deny tcp port 80-90"],
        forward!["deny tcp port 80 # HERE", "allow tcp"],
        OPENS,
        FILTERED,
    ),
    kind("reject", forward!["reject udp"], forward!["reject tcp # HERE"], OPENS, REJECTED),
    kind(
        "reject prohibited",
        forward!["reject prohibited udp"],
        forward!["reject prohibited tcp # HERE"],
        OPENS,
        REJECTED,
    ),
    kind(
        "reject unreachable",
        forward!["reject unreachable udp"],
        forward!["reject unreachable tcp # HERE"],
        OPENS,
        REJECTED,
    ),
    kind(
        "reject reset",
        forward!["reject reset tcp port 81"],
        forward!["reject reset tcp # HERE"],
        OPENS,
        REJECTED,
    ),
    kind(
        "otherwise deny",
        forward!["allow tcp", "otherwise deny"],
        forward!["allow udp", "otherwise deny # HERE"],
        OPENS,
        FILTERED,
    ),
    kind(
        "otherwise reject",
        forward!["allow tcp", "otherwise reject"],
        forward!["allow udp", "otherwise reject # HERE"],
        OPENS,
        REJECTED,
    ),
    kind(
        "otherwise allow",
        forward!["deny udp", "otherwise allow"],
        forward!["deny tcp # HERE", "otherwise allow"],
        OPENS,
        FILTERED,
    ),
    kind(
        "log and go on",
        forward!["log web tcp", "allow tcp", "deny all"],
        forward!["log web tcp", "deny all # HERE"],
        OPENS,
        FILTERED,
    ),
    kind("deny and log", forward!["deny udp as web"], forward!["deny tcp as web # HERE"], OPENS, FILTERED),
    kind(
        "limit",
        forward!["allow udp limit 100/s burst 50", "otherwise deny"],
        forward!["allow udp limit 1/minute burst 2", "otherwise deny # HERE"],
        STREAMS,
        FILTERED,
    ),
    kind(
        "in",
        &["firewall: { in: [ deny tcp ] }"],
        &["firewall: { in: [ deny icmp ] } # HERE"],
        "a pings 10.0.1.1",
        FILTERED,
    ),
    kind(
        "out",
        &["firewall: { out: [ deny tcp ] }"],
        &["firewall: { out: [ deny icmp ] } # HERE"],
        "a pings 10.0.1.1",
        FILTERED,
    ),
    kind(
        "access list in",
        &["acl:", "  lan:", "    in: { 100: allow tcp port 80, 200: deny tcp }"],
        &["acl:", "  lan:", "    in:", "      90: deny tcp port 80 # HERE", "      100: allow tcp"],
        OPENS,
        FILTERED,
    ),
    kind(
        "access list out",
        &["acl:", "  lan:", "    out: { 100: allow tcp port 1024-65535 }"],
        &["acl:", "  lan:", "    out: { 100: allow tcp port 80 } # HERE"],
        OPENS,
        FILTERED,
    ),
];

/// Checks and limits beside the filter.
const GUARDS: &[Kind] = &[
    kind(
        "strict reverse path",
        &["reverse-path: strict"],
        &[
            "reverse-path: strict # HERE",
            "routes: [ { to: 10.0.1.2/32, via: 10.0.2.2 }, { to: 10.0.1.0/24, out: lan }, { to: 10.0.2.0/24, out: dmz } ]",
        ],
        OPENS,
        "drop.reverse_path",
    ),
    kind(
        "loose reverse path",
        &[
            "reverse-path: loose",
            "routes: [ { to: 172.16.0.0/24, out: more }, { to: 10.0.1.0/24, out: lan }, { to: 10.0.2.0/24, out: dmz } ]",
        ],
        &["reverse-path: loose # HERE"],
        "a spoofs UDP from 172.16.0.1:5000 to 10.0.2.2:9",
        "drop.reverse_path",
    ),
    kind(
        "flows of all",
        &["conntrack: { max: 2 }", "firewall: { forward: [ deny udp ] }"],
        &["conntrack: { max: 1 } # HERE", "firewall: { forward: [ deny udp ] }"],
        TWO,
        "drop.conntrack_full",
    ),
    kind(
        "flows of one",
        &["conntrack: { per-source: 2 }", "firewall: { forward: [ deny udp ] }"],
        &["conntrack: { per-source: 1 } # HERE", "firewall: { forward: [ deny udp ] }"],
        TWO,
        "drop.conntrack_limit",
    ),
    kind(
        "what belongs to no flow",
        &["nat: [ masquerade out dmz ]"],
        &["flow-timeout: 500ms", "nat:", "  - masquerade out dmz # HERE"],
        CALLS,
        "drop.conntrack_invalid",
    ),
];

/// NAT that refuses.
const NAT: &[Kind] = &[
    kind(
        "sequential ports",
        &["nat: [ masquerade out dmz using 40000-40001 ]"],
        &["nat:", "  - masquerade out dmz using 40000-40000 # HERE"],
        TWO,
        "drop.nat_exhausted",
    ),
    kind(
        "random ports",
        &["nat: [ snat to 10.0.2.1 out dmz using 40000-40001 random ]"],
        &["nat:", "  - snat to 10.0.2.1 out dmz using 40000-40000 random # HERE"],
        TWO,
        "drop.nat_exhausted",
    ),
    kind(
        "preserved ports",
        &["nat: [ snat to 10.0.2.1 from 10.0.0.0/8 out dmz using 4000-4001 preserve ]"],
        &["nat:", "  - snat to 10.0.2.1 from 10.0.0.0/8 out dmz using 4000-4000 preserve # HERE"],
        "{ do: a opens http://10.0.2.2/, source-port: 4000 }, { do: c opens http://10.0.2.2/, source-port: 4000 }",
        "drop.nat_exhausted",
    ),
    kind(
        "overloaded ports",
        &[
            "nat:",
            "  - snat to 10.0.2.1 out dmz using 4000-4000 overload mapping address-and-port-dependent filtering address-and-port-dependent",
        ],
        &["nat:", "  - snat to 10.0.2.1 out dmz using 4000-4000 mapping address-and-port-dependent # HERE"],
        "a opens http://10.0.2.2/, a opens http://10.0.2.2:81/",
        "drop.nat_exhausted",
    ),
    kind(
        "blocks of ports",
        &["nat: [ snat to 203.0.113.0/32 out dmz using 40000-40003 blocks of 1 most 2 exclusive ]"],
        &["nat:", "  - snat to 203.0.113.0/32 out dmz using 40000-40003 blocks of 1 most 1 exclusive # HERE"],
        TWO,
        "drop.nat_exhausted",
    ),
    kind(
        "an address of its own",
        &["nat: [ snat to 203.0.113.0/30 out dmz exclusive, static 10.0.1.2 to 203.0.113.1 ]"],
        &["nat:", "  - snat to 203.0.113.0/30 out dmz exclusive # HERE"],
        "b connects to 203.0.113.1:7",
        "drop.nat_no_mapping",
    ),
    kind(
        "filtering by address and port",
        &["nat: [ snat to 203.0.113.1 out dmz exclusive filtering endpoint-independent ]"],
        &["nat:", "  - snat to 203.0.113.1 out dmz exclusive # HERE"],
        "{ do: a opens http://10.0.2.2/, source-port: 4000 }, { do: b connects to 203.0.113.1:4000, after: 1s }",
        "drop.nat_filtered",
    ),
    kind(
        "filtering by address",
        &["nat: [ snat to 203.0.113.1 out dmz exclusive filtering address-dependent ]"],
        &["nat:", "  - snat to 203.0.113.1 out dmz exclusive filtering address-and-port-dependent # HERE"],
        "{ do: a opens http://10.0.2.2/, source-port: 4000 }, { do: b connects to 203.0.113.1:4000, after: 1s }",
        "drop.nat_filtered",
    ),
];

/// Routes and what chooses them.
const ROUTES: &[Kind] = &[
    kind(
        "blackhole",
        &["routes: [ { to: 10.0.2.0/24, out: dmz } ]"],
        &["routes:", "  - { to: 10.0.2.2/32, kind: blackhole } # HERE"],
        OPENS,
        "drop.blackhole",
    ),
    kind(
        "unreachable",
        &["routes: [ { to: 10.0.2.2/32, out: dmz }, { to: 10.0.2.0/25, kind: unreachable } ]"],
        &["routes:", "  - { to: 10.0.2.2/32, kind: unreachable } # HERE"],
        OPENS,
        "drop.route_unreachable",
    ),
    kind(
        "policy by port",
        &["tables: { hole: [ { to: 0.0.0.0/0, kind: blackhole } ] }", "rules: [ tcp port 81 table hole ]"],
        &[
            "tables:",
            "  hole:",
            "    - { to: 0.0.0.0/0, kind: blackhole } # HERE",
            "rules: [ tcp port 80 table hole ]",
        ],
        OPENS,
        "drop.blackhole",
    ),
    kind(
        "policy by interface",
        &["tables: { hole: [ { to: 0.0.0.0/0, kind: unreachable } ] }", "rules: [ in more table hole ]"],
        &[
            "tables:",
            "  hole:",
            "    - { to: 0.0.0.0/0, kind: unreachable } # HERE",
            "rules: [ in lan table hole ]",
        ],
        OPENS,
        "drop.route_unreachable",
    ),
];

fn scenario(keys: &[&str], steps: &str, more: &str) -> (String, Scenario) {
    let usual = "interfaces: { lan: 10.0.1.1/24, dmz: 10.0.2.1/24, more: 10.0.3.1/24 }";
    let usual = (!keys.iter().any(|key| key.starts_with("interfaces:"))).then_some(&usual);
    let keys: String = usual.into_iter().chain(keys).map(|key| format!("      {key}\n")).collect();
    let text = format!(
        "name: kinds
groups: {{ near: [ 10.0.1.0/28 ], far: [ 10.0.2.2 ] }}
topology:
  nodes:
    a: {{ address: 10.0.1.2/24, gateway: 10.0.1.1, run: [ http ] }}
    c: {{ address: 10.0.3.2/24, gateway: 10.0.3.1 }}
    b: {{ address: 10.0.2.2/24, gateway: 10.0.2.1, run: [ http, http: {{ port: 81 }}, sink, rpc ] }}
    r:
      kind: router
{keys}  links:
    - endpoints: [\"a:eth0\", \"r:lan\"]
    - endpoints: [\"b:eth0\", \"r:dmz\"]
    - endpoints: [\"c:eth0\", \"r:more\"]
steps: [ {steps} ]
{more}"
    );
    let read = Scenario::of_text("kinds.yaml", &text);
    let scenario = read.unwrap_or_else(|refusal| panic!("{refusal}\n{text}"));
    (text, scenario)
}

fn run(scenario: &Scenario) -> Run {
    scenario.run(RunOptions::new(1)).unwrap()
}

/// What the router's drops are called, and where the story says that they come from. (Of many alike only the first are told.)
fn drops(run: &Run) -> Vec<(&str, &str)> {
    let of_router =
        |line: &&Line| line.node == "r" && line.code.starts_with("drop.") && line.code != "drop.more";
    let lines = run.story().steps.iter().flat_map(|step| &step.trouble).filter(of_router);
    lines.map(|line| (line.code.as_str(), line.margin.as_str())).collect()
}

/// The line of the file that ends with `# HERE`.
fn here(text: &str) -> String {
    let line = text.lines().position(|line| line.ends_with("# HERE")).expect("one line decides");
    format!("kinds.yaml:{}", line + 1)
}

fn judge(kinds: &[Kind]) {
    let wrong: Vec<String> = kinds.iter().filter_map(|kind| verdict(kind).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn verdict(Kind { name, passes, dies, steps, reason }: &Kind) -> Result<(), String> {
    let may_fail = "expect: [ step 1: { fails: yes } ]\n";
    let (_, open) = scenario(passes, steps, "");
    let passed = run(&open);
    if !drops(&passed).is_empty() {
        return Err(format!("{name} does not pass: {:?}", drops(&passed)));
    }
    let (text, shut) = scenario(dies, steps, may_fail);
    let died = run(&shut);
    let told = drops(&died);
    let by_line = |(code, origin): &(&str, &str)| code == reason && is_at(origin, &here(&text));
    match !told.is_empty() && told.iter().all(by_line) {
        true => Ok(()),
        false => Err(format!("{name} does not die at {}: {told:?}", here(&text))),
    }
}

/// Whether an origin is this line, or what it does by default.
fn is_at(origin: &str, line: &str) -> bool {
    origin.strip_prefix(line).is_some_and(|more| more.is_empty() || more.starts_with(" (by default"))
}

#[test]
fn every_condition_of_a_filter_passes_and_kills() {
    judge(CONDITIONS);
}

#[test]
fn every_action_of_a_filter_passes_and_kills() {
    judge(ACTIONS);
}

#[test]
fn every_check_and_limit_passes_and_kills() {
    judge(GUARDS);
}

#[test]
fn every_refusal_of_a_nat_passes_and_kills() {
    judge(NAT);
}

#[test]
fn every_choice_of_a_route_passes_and_kills() {
    judge(ROUTES);
}

/// A rewriting rule, what is done, what the rewriting is called, and whether the step needs it.
const TRANSLATIONS: &[(&str, &str, &str, bool)] = &[
    ("masquerade out dmz", OPENS, "nat.snat", false),
    ("snat to 10.0.2.1 from 10.0.1.0/24 out dmz using 40000-", OPENS, "nat.snat", false),
    (
        "snat to 203.0.113.0/30 out dmz using 1024-65535 blocks of 64 most 2 exclusive",
        OPENS,
        "nat.snat",
        false,
    ),
    ("static 10.0.1.2 to 203.0.113.9", OPENS, "nat.snat", false),
    ("static 10.0.2.2 to 203.0.113.9", "a opens http://203.0.113.9/", "nat.dnat", true),
    ("dnat to 10.0.2.2 tcp port 80 in lan", "a opens http://10.0.1.1/", "nat.dnat", true),
    ("dnat to 10.0.2.2:80 tcp port 8080 in lan", "a opens http://10.0.1.1:8080/", "nat.dnat", true),
    ("dnat to 10.0.2.2:80-81 tcp port 8080-8081 in lan", "a opens http://10.0.1.1:8081/", "nat.dnat", true),
    ("dnat to 10.0.1.2:80 tcp port 8080 in dmz hairpin", "c opens http://10.0.2.1:8080/", "nat.dnat", true),
];

#[test]
fn every_translation_is_told_with_its_line() {
    for (rule, steps, code, needed) in TRANSLATIONS {
        let told = |run: &Run| -> Vec<String> {
            let lines = run.story().steps.iter().flat_map(|s| &s.chapters).flat_map(|c| &c.lines);
            lines.filter(|line| line.code == *code).map(|line| line.margin.clone()).collect()
        };
        let (text, with) = scenario(&["nat:", &format!("  - {rule} # HERE")], steps, "");
        let with = run(&with);
        assert!(with.story().steps[0].ok, "{rule}\n{}", with.story_text());
        assert_eq!(told(&with), [here(&text)], "{rule}\n{}", with.story_text());
        // A rule before it that leaves everything alone is the same as no rule.
        let may_fail = "expect: [ step 1: { fails: yes } ]\n";
        for keys in [vec!["nat: []"], vec!["nat:", "  - keep", &format!("  - {rule}")]] {
            let without = run(&scenario(&keys, steps, may_fail).1);
            assert_eq!(told(&without), [""; 0], "{keys:?}");
            assert_eq!(without.story().steps[0].ok, !needed, "{keys:?}\n{}", without.story_text());
        }
    }
}

#[test]
fn a_clamp_keeps_segments_from_dying_at_a_narrow_line() {
    let narrow =
        "interfaces: { lan: 10.0.1.1/24, dmz: { address: 10.0.2.1/24, mtu: 1200 }, more: 10.0.3.1/24 }";
    let sends = "a sends 10kB to 10.0.2.2 over TCP";
    let (text, clamped) = scenario(&[narrow, "clamp-mss:", "  - in dmz # HERE"], sends, "");
    let clamped = run(&clamped);
    assert_eq!(drops(&clamped), []);
    let trace = clamped.trace();
    let clamps = trace.events.iter().filter_map(|event| match event.what {
        What::MssClamped { rule, from, to } => Some((event.node(), rule, from, to)),
        _ => None,
    });
    let [(node, rule, from, to)] = clamps.collect::<Vec<_>>()[..] else { panic!("one SYN-ACK is clamped") };
    assert_eq!((from, to), (1_460, 1_160));
    assert_eq!(trace.map.nodes[node.index()].clamps[rule as usize].origin, here(&text));
    let plain = run(&scenario(&[narrow], sends, "").1);
    // What dies for its length is told with the segment that goes again in its place.
    let too_long = |what: &What| matches!(what, What::Drop { reason: DropReason::FragmentationNeeded, .. });
    assert!(plain.trace().events.iter().any(|event| event.node() == node && too_long(&event.what)));
    assert!(plain.story_text().contains("too long to pass"), "{}", plain.story_text());
}
