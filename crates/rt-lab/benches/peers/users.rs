//! Thousands of people before a CDN: each a machine of its own with a browser, opens a page with four objects every 10 s over TLS,
//! for five minutes of virtual time. Written in the scenario language, with nothing that a user could not write; only its
//! text is put together here. `USERS=500` for a smaller world.
//!
//! Twenty places, in each a network with a twentieth of the people and an edge. The page and its objects are fresh for five seconds in
//! browsers and for a day at edges (`max-age=5, s-maxage=86400`), so each visit asks an edge for the page and all four, and
//! an edge asks the origin once. They have no validators: each answer is a whole one. Browsers stay open and keep their connections.

use std::fmt::Write as _;

use rt_lab::{Scenario, World};

use crate::measure::{Cpu, Report};

const PLACES: [&str; 20] = [
    "tokyo",
    "ashburn",
    "frankfurt",
    "paris",
    "london",
    "singapore",
    "sydney",
    "mumbai",
    "johannesburg",
    "toronto",
    "chicago",
    "dallas",
    "seattle",
    "miami",
    "madrid",
    "stockholm",
    "warsaw",
    "dublin",
    "seoul",
    "amsterdam",
];
const USERS: usize = 10_000;

fn text(users: usize) -> String {
    let places = PLACES.join(", ");
    let mut text = format!(
        "name: users\nabout: Many people before a CDN.\nsites:\n  internet:\n    kind: internet\n    places: [{places}]\n    \
         resolvers: {{ resolver: {{ address: 8.8.8.8, place: frankfurt }} }}\n  shop:\n    kind: cdn\n    \
         address: 104.16.123.45\n    names: [shop.example]\n    edges: {{ {}: }}\n    \
         origin: {{ place: ashburn, address: 198.51.100.20, pages: news, think: 0s }}\n",
        PLACES.join(": , ")
    );
    for (index, place) in PLACES.iter().enumerate() {
        let count = users / PLACES.len() + usize::from(index < users % PLACES.len());
        let _ = write!(
            text,
            "  in-{place}:\n    kind: home\n    place: {place}\n    lan: 10.{net}.0.0/16\n    access: {{ rate: 100Gbit/s }}\n    \
             cables: {{ rate: 1Gbit/s }}\n    devices:\n      user: {{ count: {count}, dhcp: no, address: 10.{net}.1.0, \
             browser: {{ stays-open: 10min, parse: 0s, render: 0s }} }}\n",
            net = index + 1
        );
    }
    text.push_str("steps:\n");
    for (index, place) in PLACES.iter().enumerate() {
        let background = if index + 1 < PLACES.len() { ", background: yes" } else { "" };
        let _ = writeln!(
            text,
            "  - {{ do: in-{place}.user* opens https://shop.example/ every 10s for 5min{background} }}"
        );
    }
    text
}

/// Prints processor seconds for the set-up and for the whole run, which has 300 s of virtual time and what comes before and after.
pub(crate) fn users() {
    let users = std::env::var("USERS").ok().and_then(|n| n.parse().ok()).unwrap_or(USERS);
    let cpu = Cpu::now();
    let scenario = Scenario::of_text("users.yaml", &text(users)).unwrap_or_else(|why| panic!("{why}"));
    let parsed = cpu.seconds();
    let mut world = World::unrecorded(scenario.model(), 1);
    world.boot();
    let setup = cpu.seconds();
    let outcomes = world.run_all_steps();
    let seconds = cpu.seconds();
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.ok).collect();
    if let Some(first) = failed.first() {
        eprintln!("{} of {} users failed; the first: {}", failed.len(), outcomes.len(), first.summary);
    }
    eprintln!("{}", outcomes[0].summary);
    assert!(failed.is_empty() && outcomes.len() == users, "every page comes to everybody");
    Report::new("users")
        .put("users", users as f64)
        .put("load_s", parsed)
        .put("setup_s", setup)
        .put("run_s", seconds - setup)
        .put("virtual_s", world.now().as_secs_f64())
        .print();
}
