//! The Rust of README.md and docs/, so that it compiles and holds. `docs.rs` compares the pages with this file.

use rt_lab::{Network, Refusal, RunOptions, Scenario};

#[test]
fn the_second_visit_asks_no_resolver() -> Result<(), Refusal> {
    let run = Scenario::load("web-browsing")?.run(RunOptions::new(1))?;
    assert!(run.passed(), "{:#?}", run.checks());

    let [first, second] = &run.story().steps[..] else { panic!("two steps") };
    assert_eq!(first.lookups[0].answer, ["142.250.190.46"]);
    assert!(second.lookups[0].walk.is_empty() && second.connections[0].tls_resumed);
    assert!(second.duration_ns < first.duration_ns);
    Ok(())
}

#[test]
fn the_page_comes_in_a_tenth_of_a_second_on_every_line() -> Result<(), Refusal> {
    for rate in ["10Mbit/s", "100Mbit/s", "1Gbit/s"] {
        let scenario = Network::new("office")
            .host("desk", "address: 10.0.0.1/24")
            .host("printer", "address: 10.0.0.2/24, run: [ http: { port: 80, pages: shop } ]")
            .link("desk", "printer", &format!("rate: {rate}, delay: 2ms"))
            .scenario()?;
        let page = scenario.world(1).open("desk", "http://10.0.0.2/");
        assert!(page.ok && page.end.since(page.begin).as_millis() < 100, "{rate}: {}", page.summary);
    }
    Ok(())
}
