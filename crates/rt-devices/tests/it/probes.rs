//! What a person types to see whether something is there.

use rt_apps::probe;
use rt_stack::ConnectOptions;

use crate::lan::{Lan, machine};

fn world() -> Lan {
    let a = machine("a", "10.0.0.1/24")
        .step(|net| probe::ping(net, "10.0.0.2".into(), 3))
        .step(|net| probe::ping(net, "10.0.0.9".into(), 2))
        .step(|net| probe::ping(net, "10.9.9.9".into(), 1))
        .step(|net| probe::tcp_probe(net, "10.0.0.2".into(), 80, ConnectOptions::default()))
        .step(|net| probe::tcp_probe(net, "10.0.0.2".into(), 81, ConnectOptions::default()))
        .step(|net| probe::tcp_probe(net, "10.0.0.9".into(), 80, ConnectOptions::default()))
        .step(|net| probe::ping(net, "10.0.0.1".into(), 1));
    let b = machine("b", "10.0.0.2/24").app(|runtime| {
        let net = runtime.net();
        let listener = net.tcp_listen(80).unwrap();
        net.serve("accept", async move {
            loop {
                drop(listener.accept().await?);
            }
        });
    });
    Lan::new(3, vec![a, b])
}

#[test]
fn probes_say_what_they_found() {
    let mut lan = world();
    let mut out = String::new();
    for step in 0..7 {
        let result = lan.step(0, step);
        out += &format!("{} {}\n", result.ok, result.summary);
        for line in result.lines {
            out += &format!("    {line}\n");
        }
    }
    insta::assert_snapshot!(out);
    lan.tshark("probes", &[]);
}
