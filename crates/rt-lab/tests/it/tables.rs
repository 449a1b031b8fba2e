//! What machines remember at a moment of a run: the numbers that the pages name.

use rt_lab::{Refusal, Scenario, TableKind, TablesQuery, Time, tables};
use serde_json::Value;

fn ask(source: &str, at: &[&str], kinds: &[TableKind], millis: u64) -> Value {
    let at = at.iter().map(|s| (*s).to_owned()).collect();
    let time = Some(Time(millis * 1_000_000));
    tables(source, &TablesQuery { at, tables: kinds.to_vec(), time }).unwrap().json
}

fn outsides(table: &Value) -> Vec<&str> {
    table.as_array().unwrap().iter().map(|row| row["outside"].as_str().unwrap()).collect()
}

#[test]
fn three_machines_share_one_address_and_the_entries_die() {
    let at = ["home.router"];
    let json = ask("home-nat", &at, &[TableKind::Nat, TableKind::Conntrack], 200);
    let router = &json["machines"][0];
    let mut outside = outsides(&router["nat"]);
    outside.sort_unstable();
    let expected: Vec<String> = (10_001..=10_005).map(|port| format!("203.0.113.50:{port}")).collect();
    assert_eq!(outside, expected);
    let insides = |ip: &str| {
        let rows = router["nat"].as_array().unwrap().iter();
        rows.filter(|row| row["inside"].as_str().unwrap().starts_with(ip)).count()
    };
    assert_eq!((insides("192.168.1.5:"), insides("192.168.1.6:"), insides("192.168.1.7:")), (2, 2, 1));
    let flows = router["conntrack"].as_array().unwrap();
    let stream = flows.iter().find(|f| f["original"]["from"] == "192.168.1.7:50000").unwrap();
    assert_eq!(stream["state"], "UNREPLIED");
    assert!(stream["packets"]["original"].as_u64().unwrap() > 50);
    let left = stream["expires_in_ns"].as_u64().unwrap();
    assert!((29_000_000_000..=30_000_000_000).contains(&left), "{left}");
    let none = ask("home-nat", &at, &[TableKind::Nat], 240_000);
    assert!(none["machines"][0]["nat"].as_array().unwrap().is_empty());
    let before = ask("home-nat", &at, &[TableKind::Nat], 0);
    assert!(before["machines"][0]["nat"].as_array().unwrap().is_empty());
}

#[test]
fn the_same_private_address_has_two_public_ones() {
    let json = ask("same-private-ip", &["berlin.router", "tokyo.router"], &[TableKind::Nat], 100);
    let tables: Vec<_> = json["machines"].as_array().unwrap().iter().map(|m| &m["nat"]).collect();
    assert_eq!(
        (outsides(tables[0]), outsides(tables[1])),
        (vec!["203.0.113.10:10001"], vec!["198.51.100.20:20001"])
    );
    assert!(tables.iter().all(|t| t[0]["inside"] == "192.168.1.5:50000"));
    let run = Scenario::load("same-private-ip").unwrap().run(rt_lab::RunOptions::new(1)).unwrap();
    let story = run.story();
    assert_eq!(story.nat.len(), 2);
    assert!(run.story_text().contains("203.0.113.10:10001      192.168.1.5:50000      198.51.100.20:20001"));
}

#[test]
fn every_table_of_a_router_has_its_origins_and_counters() {
    let json = ask("home-nat", &["home.router"], &TableKind::ALL, 40_000);
    let router = &json["machines"][0];
    let rules = &router["rules"];
    let input = &rules["chains"][0];
    assert_eq!(
        (&input["policy"]["text"], &input["policy"]["packets"]),
        (&"otherwise deny".into(), &5.into())
    );
    assert_eq!(rules["nat"][0]["flows"], 5);
    assert_eq!(rules["nat"][0]["origin"], "home-nat.yaml:10");
    let routes = router["routes"].as_array().unwrap();
    assert!(routes.iter().any(|r| r["text"].as_str().unwrap().starts_with("default via")));
    assert!(routes.iter().all(|r| !r["origin"].as_str().unwrap().is_empty()));
    let neighbors = router["neighbors"].as_array().unwrap();
    assert!(
        neighbors.iter().any(|n| n["address"] == "192.168.1.7" && n["state"] == "known"),
        "{neighbors:?}"
    );
}

#[test]
fn who_has_no_tables_says_so() {
    let ask = |at: &str| {
        let query = TablesQuery { at: vec![at.to_owned()], ..TablesQuery::default() };
        tables("home-nat", &query).unwrap_err()
    };
    assert!(matches!(ask("nobody"), Refusal::Unknown { .. }));
    assert!(ask("home.switch").to_string().contains("is a switch"));
}
