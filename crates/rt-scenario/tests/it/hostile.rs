//! Hostile text: whatever comes in, `load` answers, soon, and without a panic.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use rt_scenario::{load, render_all, views};

use crate::shipped::{all, essence};

/// The same cases in every run.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]))
}

/// Loads, renders what is wrong, and holds the law of the plain level for what is right.
fn check(text: &str) -> TestCaseResult {
    match load("hostile.yaml", text) {
        Err(problems) => {
            assert!(!problems.is_empty());
            let shown = render_all(&problems);
            assert!(shown.len() < 1 << 20, "a report of {} bytes", shown.len());
        }
        Ok(loaded) => {
            let plain = views::plain_yaml(&loaded.model);
            let again =
                load("again.yaml", &plain).unwrap_or_else(|p| panic!("{text}\n{plain}\n{}", render_all(&p)));
            assert_eq!(essence(&loaded.model), essence(&again.model), "{text}\n{plain}");
        }
    }
    Ok(())
}

#[test]
fn arbitrary_text() {
    runner(400).run(&".{0,200}", |text| check(&text)).expect("no panic");
    let words = prop::sample::select(vec![
        "name: t",
        "sites:",
        "  home:",
        "    kind: home",
        "  i: { kind: internet, places: [paris] }",
        "topology:",
        "  nodes:",
        "    a:",
        "    b: { kind: switch }",
        "      address: 10.0.0.1/24",
        "  links:",
        "    - endpoints: [\"a:x\", \"b:y\"]",
        "steps:",
        "  - a pings 10.0.0.1",
        "expect:",
        "  - step 1: { fails: yes }",
        "names:",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "&a",
        "*a",
        "<<: *a",
        "|",
        ">",
        "\t",
        "'",
        "\"",
        "#",
        "---",
        "? x",
        "!!map",
        "null",
        "~",
    ]);
    let lines = prop::collection::vec(words, 0..24).prop_map(|lines| lines.join("\n"));
    runner(600).run(&lines, |text| check(&text)).expect("no panic");
}

#[test]
fn arbitrary_bytes() {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    runner(300).run(&bytes, |bytes| check(&String::from_utf8_lossy(&bytes))).expect("no panic");
}

/// One change of a shipped file: a piece taken out, doubled, moved, or replaced.
fn mutate(text: &str, at: usize, length: usize, how: u8, with: &str) -> String {
    let start = text.floor_char_boundary(at % (text.len() + 1));
    let end = text.floor_char_boundary((start + length).min(text.len()));
    let (before, piece, after) = (&text[..start], &text[start..end], &text[end..]);
    match how % 4 {
        0 => format!("{before}{after}"),
        1 => format!("{before}{piece}{piece}{after}"),
        2 => format!("{before}{after}{piece}"),
        _ => format!("{before}{with}{after}"),
    }
}

#[test]
fn mutated_scenarios() {
    let files = all();
    let change = (any::<usize>(), 0..40usize, any::<u8>(), "[-0-9a-z:{}\\[\\],/. \\n&*%]{0,8}");
    let cases = (0..files.len(), prop::collection::vec(change, 1..4));
    let run = runner(1500).run(&cases, |(file, changes)| {
        let mut text = files[file].1.clone();
        for (at, length, how, with) in changes {
            text = mutate(&text, at, length, how, &with);
        }
        check(&text)
    });
    run.expect("no panic");
}

/// Big on purpose: each is refused or loaded within seconds (debug build on a slow machine).
#[test]
fn large_inputs_stay_bounded() {
    let nodes: String = (0..4_000)
        .map(|i| format!("    n{i}: {{ kind: router, address: 10.{}.{}.1/24 }}\n", i / 256, i % 256))
        .collect();
    let chain: String =
        (0..3_999).map(|i| format!("    - endpoints: [\"n{i}:a\", \"n{}:b\"]\n", i + 1)).collect();
    let one_map: String = (0..40_000).map(|i| format!("k{i}: 1\n")).collect();
    let services: String = (0..2_000)
        .map(|i| {
            format!(
                "  s{i}: {{ kind: service, address: 100.{}.{}.1, names: [a{i}.example], edges: *e }}\n",
                i / 256,
                i % 256
            )
        })
        .collect();
    let routers: String = (0..500).map(|i| format!("    r{i}: {{ kind: router }}\n")).collect();
    let addresses: String = (0..30_000).map(|i| format!("10.{}.{}.1/24,", i / 256, i % 256)).collect();
    let zones: String = (0..30_000).map(|i| format!("    z{i}:\n")).collect();
    let hosts: String = (0..5_000)
        .map(|i| {
            format!("  h{i}: {{ kind: host, address: 100.{}.{}.1, names: [a.b{i}] }}\n", i / 256, i % 256)
        })
        .collect();
    let cases = [
        ("brackets", "[".repeat(500_000)),
        ("braces", "{a: ".repeat(200_000)),
        ("indent", (0..3_000).map(|i| format!("{}a:\n", " ".repeat(i))).collect()),
        ("quotes", "\"".repeat(300_000)),
        ("long line", format!("name: {}\n", "x".repeat(900_000))),
        ("too long", "#".repeat(2 << 20)),
        ("one map", one_map),
        ("routers", format!("name: t\ntopology:\n  nodes:\n{nodes}  links:\n{chain}")),
        (
            "bomb",
            (0..60)
                .map(|i| format!("a{i}: &a{i} [{}]\n", format!("*a{},", i.max(1) - 1).repeat(9)))
                .collect(),
        ),
        (
            "merge",
            (0..200)
                .map(|i| format!("m{i}: &m{i} {{ <<: [*m{0}, *m{0}], k{i}: 1 }}\n", i.max(1) - 1))
                .collect(),
        ),
        (
            "servers",
            format!(
                "name: t\nx: &e {{ paris: {{ servers: 200 }}, london: {{ servers: 200 }} }}\nsites:\n  n: {{ kind: internet, places: [paris, london] }}\n{services}"
            ),
        ),
        (
            "tables",
            format!(
                "name: t\ntopology:\n  nodes:\n{routers}    z: {{ kind: router, interfaces: {{ a: {{ addresses: [{addresses}] }} }} }}\n"
            ),
        ),
        (
            "zones",
            format!("name: t\nnames:\n  zones:\n{zones}steps: [{}]\n", "a opens http://x.y/,".repeat(900)),
        ),
        ("domains", format!("name: t\nsites:\n  n: {{ kind: internet, places: [paris] }}\n{hosts}")),
        ("pings", format!("name: t\nsteps: [{}]\n", "a pings b,".repeat(20_000))),
    ];
    for (name, text) in cases {
        let start = processor_seconds();
        let _ = load("large.yaml", &text).map_err(|problems| render_all(&problems).len());
        let spent = processor_seconds() - start;
        assert!(spent < 20.0, "{name} took {spent:.1} s");
    }
}

/// What this thread has had of a processor: a busy computer changes nothing about it.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says");
    let nanoseconds: f64 = text.split(' ').next().and_then(|n| n.parse().ok()).expect("the first is time");
    nanoseconds / 1e9
}
