//! What one L7 hop costs: a client that keeps 100 HTTP/2 streams going over one TLS connection, to a server directly and
//! through a proxy, in turns. The difference in processor time is the proxy with its half of two more connections, the
//! second link, and whatever else becomes of the server when it talks to a proxy.

use std::net::{IpAddr, SocketAddr};

use rt_apps::measure::{LoadOptions, load};
use rt_apps::proxy::{Edge, Upstream, UpstreamTls};
use rt_apps::server::{PageSet, Resource, WebServer};
use rt_apps::tls::{Authority, CertificateSpec, Identity, SignedBy};
use rt_base::{Nanos, Signal, Time};
use rt_devices::Host;
use rt_sim::{QueueSpec, Sim, StopReason};

use crate::measure::{Cpu, Report};
use crate::net::{EPOCH, Net};
use crate::{end, v4};

const NAME: &str = "bench.example";
/// As the peer's.
const BODY_BYTES: usize = 1_000;
const AT_ONCE: u32 = 100;
const REQUESTS: u32 = 100_000;
const TURNS: usize = 5;

/// Where TLS ends and what stands behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    /// A proxy that asks over HTTP/1.1 in the clear, on as many connections as there are streams.
    OverH1,
    /// A proxy that asks over one HTTP/2 connection with TLS.
    OverH2,
}

/// Prints microseconds a request: direct, through the hop over HTTP/2 and over HTTP/1.1, and the differences in each turn (medians).
pub(crate) fn l7() {
    let requests = std::env::var("REQUESTS").ok().and_then(|n| n.parse().ok()).unwrap_or(REQUESTS);
    match std::env::var("ONLY").as_deref() {
        Ok("direct") => return println!("{:.3} us", once(Way::Direct, requests)),
        Ok("h1") => return println!("{:.3} us", once(Way::OverH1, requests)),
        Ok("h2") => return println!("{:.3} us", once(Way::OverH2, requests)),
        _ => {}
    }
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        turns.push([Way::Direct, Way::OverH2, Way::OverH1].map(|way| once(way, requests)));
    }
    let middle = |of: fn(&[f64; 3]) -> f64| median(turns.iter().map(of).collect());
    Report::new("l7")
        .put("direct_us", middle(|t| t[0]))
        .put("hop_us", middle(|t| t[1]))
        .put("added_us", middle(|t| t[1] - t[0]))
        .put("hop_h1_us", middle(|t| t[2]))
        .put("added_h1_us", middle(|t| t[2] - t[0]))
        .print();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One run; microseconds of processor time a request.
fn once(way: Way, requests: u32) -> f64 {
    let authority = Authority::new(1, EPOCH).expect("an authority");
    let spec = CertificateSpec {
        names: vec![NAME.into()],
        not_before: EPOCH - 86_400,
        not_after: EPOCH + 86_400,
        signed_by: SignedBy::PublicCa,
    };
    let identity = authority.issue(&spec).expect("a certificate");
    let (mut sim, server) = world(way, identity, &authority, requests);
    let cpu = Cpu::now();
    sim.boot();
    sim.command(Time::ZERO, end(0), 0);
    while sim.run_until(Time::MAX) == StopReason::Signals {
        let signals = sim.take_signals();
        if signals.iter().any(|(_, _, signal)| matches!(signal, Signal::StepDone { .. })) {
            break;
        }
    }
    let seconds = cpu.seconds();
    let result = sim.node_mut::<Host>(end(0)).and_then(|host| host.step_result(0)).expect("the load is over");
    assert!(result.ok, "{}", result.summary);
    let bytes = result.figures.iter().find(|figure| figure.name == "body-bytes").expect("its bytes").value;
    assert_eq!(bytes, u64::from(requests) * BODY_BYTES as u64, "every byte arrives");
    assert!(sim.node_mut::<Host>(end(server)).is_some());
    seconds * 1e6 / f64::from(requests)
}

/// Client, perhaps a proxy, server, in a row: links of 10 Gbit/s and 50 us. Returns also which node the server is.
fn world(way: Way, identity: Identity, authority: &Authority, requests: u32) -> (Sim, usize) {
    let mut net = Net::new(false);
    let server = if way == Way::Direct { 1 } else { 2 };
    for link in 0..server {
        let third = u8::try_from(link).expect("two links");
        net.link(link, link + 1, 10_000_000_000, Nanos::from_micros(50), QueueSpec::Packets(10_000));
        net.address(link, v4(10, 0, third, 1), 24);
        net.address(link + 1, v4(10, 0, third, 2), 24);
    }
    let at = |last: IpAddr, port: u16| SocketAddr::new(last, port);
    let options = LoadOptions {
        address: at(v4(10, 0, 0, 2), 443),
        url: format!("https://{NAME}/"),
        roots: vec![authority.root().clone()],
        requests,
        at_once: AT_ONCE,
    };
    net.apps(0, move |runtime| {
        runtime.set_step(0, "load", Box::new(|net| Box::pin(load(net, options))));
    });
    let page = Resource::new("application/octet-stream", vec![7; BODY_BYTES]);
    let web = |port: u16, identity: Option<Identity>| WebServer {
        identities: identity.into_iter().collect(),
        http2: true,
        ..WebServer::new(port, PageSet::new("bench", [("/".to_owned(), page)]))
    };
    let start = |server: WebServer| {
        move |runtime: &mut rt_apps::Runtime| {
            let net = runtime.net();
            drop(net.spawn(server.run(net.clone())));
        }
    };
    match way {
        Way::Direct => net.apps(1, start(web(443, Some(identity)))),
        Way::OverH1 | Way::OverH2 => {
            let h2 = way == Way::OverH2;
            let port = if h2 { 443 } else { 80 };
            let upstream = Upstream { name: "server".into(), address: at(v4(10, 0, 1, 2), port) };
            let mut edge = Edge { identities: vec![identity.clone()], ..Edge::new(443, vec![upstream]) };
            edge.pools[0].rules.http2 = h2;
            let roots = vec![authority.root().clone()];
            edge.pools[0].tls = h2.then(|| UpstreamTls { name: NAME.into(), roots });
            net.apps(1, move |runtime| {
                let net = runtime.net();
                drop(net.spawn(edge.run(net.clone())));
            });
            net.apps(2, start(web(port, h2.then_some(identity))));
        }
    }
    (net.build(), server)
}
