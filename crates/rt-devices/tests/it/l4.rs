//! The balancer of connections over real frames: who serves, who notices a dead server, what a half close and a reset become.

use std::net::SocketAddr;

use rt_apps::l4::{Collect, HealthCheck, L4Balancer, Shift, Spread};
use rt_apps::{ConnectOptions, Net, StepResult};
use rt_base::{AppRecord, LinkId, Nanos, Time, What};
use rt_sim::LinkChange;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lan::{Lan, Machine, machine};

const LB: u32 = 1;

fn address(server: usize) -> SocketAddr {
    format!("10.0.0.{}:80", 11 + server).parse().unwrap()
}

/// Reads until the client has said all, then answers with its own name, who called and how many bytes came.
fn server(name: &'static str, address: &'static str) -> Machine {
    machine(name, address).app(move |runtime| {
        let net = runtime.net();
        let listener = net.tcp_listen(80).unwrap();
        let host = net.clone();
        net.serve("server", async move {
            loop {
                let (mut stream, peer) = listener.accept().await?;
                drop(host.spawn(async move {
                    let mut came = Vec::new();
                    stream.read_to_end(&mut came).await?;
                    if came == b"reset" {
                        stream.abort();
                        return Ok(());
                    }
                    if came.is_empty() {
                        return Ok(());
                    }
                    let text = format!("{name} {} {}", peer.ip(), came.len());
                    stream.write_all(text.as_bytes()).await?;
                    stream.shutdown().await
                }) as rt_apps::JoinHandle<std::io::Result<()>>);
            }
        });
    })
}

/// Asks through the balancer: sends, says that this is all, reads the answer.
async fn ask(net: &Net, text: &[u8]) -> std::io::Result<String> {
    let mut stream = net.tcp_connect("10.0.0.2:80".parse().unwrap(), ConnectOptions::default()).await?;
    stream.write_all(text).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn result(lines: Vec<String>) -> StepResult {
    StepResult { ok: true, lines, ..StepResult::default() }
}

/// So many times, one after the other, `pause` apart.
async fn ask_often(net: Net, times: usize, pause: Nanos) -> StepResult {
    let mut lines = Vec::new();
    for _ in 0..times {
        lines.push(ask(&net, b"hello").await.unwrap_or_else(|error| error.to_string()));
        net.sleep(pause, rt_base::Wait::Person).await;
    }
    result(lines)
}

fn world(change: impl FnOnce(L4Balancer) -> L4Balancer, client: Machine) -> Lan {
    let servers = (0..3).map(|i| (format!("web-{}", i + 1), address(i))).collect();
    let config = change(L4Balancer::new(80, servers));
    let balancer = machine("lb", "10.0.0.2/24").app(move |runtime| {
        let net = runtime.net();
        net.serve("l4 balancer", config.run(net.clone()));
    });
    let servers = [("web-1", "10.0.0.11/24"), ("web-2", "10.0.0.12/24"), ("web-3", "10.0.0.13/24")];
    let mut machines = vec![client, balancer];
    machines.extend(servers.map(|(name, address)| server(name, address)));
    Lan::new(7, machines)
}

fn notes(lan: &Lan) -> Vec<(f64, String, String)> {
    let log = lan.log.lock().unwrap();
    let of = |event: &rt_base::Event| match &event.what {
        What::App(record) => match &**record {
            AppRecord::Note { code, text, .. } => Some((event.at.as_secs_f64(), code.clone(), text.clone())),
            _ => None,
        },
        _ => None,
    };
    log.events.iter().filter(|e| e.node().0 == LB).filter_map(of).collect()
}

fn seconds(n: u64) -> Nanos {
    Nanos::from_secs(n)
}

#[test]
fn servers_take_turns_and_see_the_balancer_as_their_caller() {
    let client = machine("client", "10.0.0.1/24").step(|net| ask_often(net, 4, Nanos::ZERO));
    let mut lan = world(|config| config, client);
    let turn = |name: &str| format!("{name} 10.0.0.2 5");
    assert_eq!(lan.step(0, 0).lines, ["web-1", "web-2", "web-3", "web-1"].map(turn));
    let log = lan.log.lock().unwrap();
    let relayed: Vec<AppRecord> = log
        .events
        .iter()
        .filter_map(|e| match &e.what {
            What::App(record) if matches!(**record, AppRecord::Balanced { .. }) => Some((**record).clone()),
            _ => None,
        })
        .collect();
    assert_eq!(relayed.len(), 4);
    let AppRecord::Balanced { downstream, upstream, chosen, address, policy, candidates, warm } = &relayed[1]
    else {
        unreachable!()
    };
    assert_eq!(
        (downstream.ip().to_string(), upstream.unwrap().ip().to_string()),
        ("10.0.0.1".into(), "10.0.0.2".into())
    );
    assert_eq!(
        (chosen.as_str(), *address, policy.as_str(), *warm),
        ("web-2", self::address(1), "round-robin", false)
    );
    assert_eq!(candidates[1].note, "its turn");
    drop(log);
    lan.tshark("l4", &[]);
}

#[test]
fn a_reset_stays_a_reset_and_a_dead_port_leads_to_the_next_server() {
    let client = machine("client", "10.0.0.1/24")
        .step(|net| async move { result(vec![ask(&net, b"reset").await.unwrap_err().to_string()]) })
        .step(|net| ask_often(net, 2, Nanos::ZERO));
    let dead = |config: L4Balancer| {
        let mut servers = config.servers.clone();
        servers[1].1.set_port(81);
        L4Balancer { servers, ..config }
    };
    let mut lan = world(dead, client);
    assert!(lan.step(0, 0).lines[0].contains("reset"));
    assert_eq!(lan.step(0, 1).lines, ["web-3 10.0.0.2 5", "web-1 10.0.0.2 5"]);
    let notes = notes(&lan);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].1 == "balancer.failed" && notes[0].2.contains("web-2 (10.0.0.12:81)"), "{notes:?}");
}

#[test]
fn nobody_alive_is_a_reset() {
    let client = machine("client", "10.0.0.1/24").step(|net| ask_often(net, 1, Nanos::ZERO));
    let none = |config: L4Balancer| {
        let servers = config.servers.iter().map(|(name, _)| (name.clone(), "10.0.0.99:80".parse().unwrap()));
        L4Balancer { servers: servers.collect(), ..config }
    };
    let mut lan = world(none, client);
    assert!(lan.step(0, 0).lines[0].contains("reset"));
    assert!(lan.said(LB).contains("upstream: None"), "{}", lan.said(LB));
}

#[test]
fn checks_take_a_dead_server_out_and_bring_it_back() {
    let client = machine("client", "10.0.0.1/24").step(|net| ask_often(net, 60, seconds(1)));
    let mut lan = world(|config| L4Balancer { health: Some(HealthCheck::default()), ..config }, client);
    let at = |seconds: u64| Time::ZERO + Nanos::from_secs(seconds);
    lan.sim.change_link(at(10), LinkId(3), LinkChange::Cut);
    lan.sim.change_link(at(30), LinkId(3), LinkChange::Heal);
    let lines = lan.step(0, 0).lines;
    assert!(lines.iter().all(|line| line.starts_with("web-")), "somebody noticed: {lines:?}");
    let notes = notes(&lan);
    let find = |code: &str| {
        notes.iter().find(|(_, c, _)| c == code).unwrap_or_else(|| panic!("{code} in {notes:?}"))
    };
    let (out, _, why) = find("balancer.ejected");
    // A check at 10 s, or one that was under way; three failures, two seconds apart, a second each.
    assert!((14.0..18.0).contains(out), "{out}");
    assert!(why.starts_with("web-2 (10.0.0.12:80) is out: 3 checks in a row failed"), "{why}");
    let (back, ..) = find("balancer.readmitted");
    assert!((31.0..37.0).contains(back), "{back}");
    assert_eq!(notes.iter().filter(|(_, code, _)| code == "balancer.ejected").count(), 1);
    let failed = notes.iter().filter(|(_, code, _)| code == "balancer.failed").count();
    assert!((1..=3).contains(&failed), "tried until it was out: {failed}");
}

#[test]
fn draining_lets_open_connections_end() {
    let client = machine("client", "10.0.0.1/24").step(|net| async move {
        let mut long =
            net.tcp_connect("10.0.0.2:80".parse().unwrap(), ConnectOptions::default()).await.unwrap();
        long.write_all(b"long").await.unwrap();
        net.sleep(seconds(3), rt_base::Wait::Person).await;
        let mut lines = ask_often(net.clone(), 3, Nanos::ZERO).await.lines;
        net.sleep(seconds(3), rt_base::Wait::Person).await;
        long.shutdown().await.unwrap();
        let mut answer = String::new();
        long.read_to_string(&mut answer).await.unwrap();
        lines.push(answer);
        net.sleep(seconds(5), rt_base::Wait::Person).await;
        lines.extend(ask_often(net.clone(), 3, Nanos::ZERO).await.lines);
        result(lines)
    });
    let at = |n: u64| Time::ZERO + seconds(n);
    let shifts =
        vec![Shift { at: at(1), server: 0, drain: true }, Shift { at: at(10), server: 0, drain: false }];
    let mut lan = world(|config| L4Balancer { shifts, ..config }, client);
    let lines = lan.step(0, 0).lines;
    let names: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names[..4], ["web-2", "web-3", "web-2", "web-1"], "the long one goes on");
    assert!(names[4..].contains(&"web-1"), "{names:?}");
    let codes: Vec<String> = notes(&lan).into_iter().map(|(_, code, _)| code).collect();
    assert_eq!(codes, ["balancer.draining", "balancer.drained", "balancer.admitted"]);
}

#[test]
fn connections_that_stand_ready_save_a_handshake() {
    let took = |warm: u32| {
        let client = machine("client", "10.0.0.1/24").step(|net| async move {
            net.sleep(seconds(2), rt_base::Wait::Person).await;
            // The addresses are known after the first.
            ask(&net, b"hello").await.unwrap();
            let begin = net.now();
            ask(&net, b"hello").await.unwrap();
            result(vec![net.now().since(begin).0.to_string()])
        });
        let mut lan = world(|config| L4Balancer { warm, policy: Spread::SourceHash, ..config }, client);
        lan.step(0, 0).lines[0].parse::<u64>().unwrap()
    };
    let (cold, warm) = (took(0), took(2));
    // The way to the server is two cables of a millisecond each, there and back.
    assert!((4_000_000..6_000_000).contains(&(cold - warm)), "{cold} {warm}");
}

#[test]
fn small_pieces_are_collected() {
    let segments = |collect: Option<Collect>| {
        let client = machine("client", "10.0.0.1/24").step(|net| async move {
            let mut stream =
                net.tcp_connect("10.0.0.2:80".parse().unwrap(), ConnectOptions::default()).await.unwrap();
            stream.set_nodelay(true);
            for _ in 0..10 {
                stream.write_all(&[7; 100]).await.unwrap();
                net.sleep(Nanos::from_millis(20), rt_base::Wait::Person).await;
            }
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            result(vec![answer])
        });
        let mut lan = world(|config| L4Balancer { collect, ..config }, client);
        assert_eq!(lan.step(0, 0).lines, ["web-1 10.0.0.2 1000"]);
        let fields = lan.tshark("l4-collect", &["ip.src", "ip.dst", "tcp.len"]);
        fields.lines().filter(|line| line.starts_with("10.0.0.2 10.0.0.11 ") && !line.ends_with(" 0")).count()
    };
    assert_eq!(segments(None), 10);
    assert_eq!(segments(Some(Collect { bytes: 65_536, wait: Nanos::from_millis(500) })), 1);
    assert_eq!(segments(Some(Collect { bytes: 300, wait: Nanos::from_millis(500) })), 4);
}
