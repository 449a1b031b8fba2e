//! A network written in code, two machines and a lossy link: a page is fetched, and the story is asked what it cost.
//!
//! `cargo run -p rt-lab --example world_in_code`

use rt_lab::{Network, Refusal};

fn main() -> Result<(), Refusal> {
    let scenario = Network::new("two-machines")
        .host("a", "address: 10.0.0.1/24")
        .host("b", "address: 10.0.0.2/24, run: [ http: { port: 80, pages: shop } ]")
        .link("a", "b", "rate: 10Mbit/s, delay: 20ms, loss: 3%")
        .scenario()?;
    let mut world = scenario.world(7);
    assert!(world.ping("a", "10.0.0.2", 1).ok);
    let page = world.open("a", "http://10.0.0.2/");
    assert!(page.ok, "{}", page.summary);

    let run = world.finish();
    let step = &run.story().steps[1];
    let retransmissions: u32 = step.connections.iter().map(|c| c.retransmissions).sum();
    println!("{} in {} with {retransmissions} retransmissions", page.summary, page.end.since(page.begin));
    for total in &step.budget.totals {
        println!("  {:<32} {:>12} ns", total.say, total.time_ns);
    }
    assert_eq!(step.budget.totals.iter().map(|t| t.time_ns).sum::<u64>(), step.duration_ns);
    Ok(())
}
