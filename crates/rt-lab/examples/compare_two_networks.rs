//! Would a nearer server or a faster line help more? The same page over four access lines.
//!
//! `cargo run -p rt-lab --example compare_two_networks`

use rt_lab::{Network, Refusal};

fn main() -> Result<(), Refusal> {
    println!("{:>10} {:>8} {:>14}", "rate", "delay", "page");
    for (rate, delay) in
        [("10Mbit/s", "40ms"), ("100Mbit/s", "40ms"), ("10Mbit/s", "5ms"), ("100Mbit/s", "5ms")]
    {
        let scenario = Network::new("line")
            .host("reader", "address: 10.0.0.1/24")
            .host("site", "address: 10.0.0.2/24, run: [ http: { port: 80, pages: shop } ]")
            .link("reader", "site", &format!("rate: {rate}, delay: {delay}"))
            .scenario()?;
        let page = scenario.world(1).open("reader", "http://10.0.0.2/");
        assert!(page.ok, "{}", page.summary);
        println!("{rate:>10} {delay:>8} {:>14}", page.end.since(page.begin).to_string());
    }
    Ok(())
}
