//! Executor, sockets and clock above a real stack.

use rt_apps::{Net, StepResult};
use rt_base::{AppRecord, Nanos, ReqId, Signal, TimerKind, Wait, What};
use rt_stack::ConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lan::{Lan, Machine, machine};

fn echo_server(address: &'static str) -> Machine {
    machine("server", address).app(|runtime| {
        let net = runtime.net();
        let listener = net.tcp_listen(7).unwrap();
        runtime.net().serve("echo", async move {
            loop {
                let (stream, _) = listener.accept().await?;
                net.spawn(async move {
                    let (mut from, mut to) = tokio::io::split(stream);
                    let copied = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.shutdown().await;
                    copied
                });
            }
        });
    })
}

/// Sends `bytes` bytes and reads them back, both at once.
async fn echo(net: Net, to: &str, bytes: usize) -> StepResult {
    let stream = net.tcp_connect(to.parse().unwrap(), ConnectOptions::default()).await.unwrap();
    let data: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
    let sent = data.clone();
    let (mut from, mut to) = tokio::io::split(stream);
    let writer = net.spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    from.read_to_end(&mut got).await.unwrap();
    writer.await;
    StepResult {
        ok: got == data,
        summary: format!("{} bytes", got.len()),
        lines: Vec::new(),
        figures: Vec::new(),
    }
}

fn echo_world() -> Lan {
    let client = machine("client", "10.0.0.1/24").step(|net| echo(net, "10.0.0.2:7", 1_000_000));
    Lan::new(5, vec![client, echo_server("10.0.0.2/24")])
}

#[test]
fn a_megabyte_goes_there_and_back() {
    let mut lan = echo_world();
    let result = lan.step(0, 0);
    assert_eq!((result.ok, result.summary.as_str()), (true, "1000000 bytes"));
    lan.run_until(lan.sim.now().as_millis() / 1000 + 2);
    assert_eq!((lan.host(0).open_connections(), lan.host(1).open_connections()), (0, 0));
}

#[test]
fn the_same_run_twice() {
    let run = || {
        let mut lan = echo_world();
        lan.step(0, 0);
        lan.digest()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_machine_can_talk_to_itself() {
    let both = echo_server("10.0.0.1/24")
        .step(|net| echo(net, "127.0.0.1:7", 100_000))
        .step(|net| echo(net, "10.0.0.1:7", 100_000));
    let mut lan = Lan::new(5, vec![both]);
    assert!(lan.step(0, 0).ok);
    assert!(lan.step(0, 1).ok);
    assert!(lan.log.lock().unwrap().frames.is_empty());
}

#[test]
fn errors_have_the_kinds_that_programs_know() {
    let connect = |to: &'static str| {
        move |net: Net| async move {
            let result = net.tcp_connect(to.parse().unwrap(), ConnectOptions::default()).await;
            StepResult::ok(format!("{:?}", result.err().map(|e| e.kind())))
        }
    };
    let client = machine("client", "10.0.0.1/24")
        .step(connect("10.0.0.2:7"))
        .step(connect("10.0.0.77:7"))
        .step(connect("192.0.2.1:7"))
        .step(|net| async move {
            let socket = net.udp_bind(None, 0, None).unwrap();
            socket.send_to(b"anybody there?", "10.0.0.2:9".parse().unwrap()).unwrap();
            StepResult::ok(format!("{:?}", socket.recv_from().await.err().map(|e| e.kind())))
        });
    let mut lan = Lan::new(5, vec![client, machine("deaf", "10.0.0.2/24")]);
    let kinds: Vec<String> = (0..4).map(|step| lan.step(0, step).summary).collect();
    assert_eq!(
        kinds,
        [
            "Some(ConnectionRefused)",
            "Some(HostUnreachable)",
            "Some(NetworkUnreachable)",
            "Some(ConnectionRefused)"
        ]
    );
}

#[test]
fn each_wait_is_a_timer_of_its_own() {
    let sleeper = machine("sleeper", "10.0.0.1/24").step(|net| async move {
        let say = |text: &str| AppRecord::Note { req: ReqId(0), code: "t".into(), text: text.into() };
        let (one, other) = (net.clone(), net.clone());
        let first = net.spawn(async move {
            one.sleep(Nanos::from_millis(5), Wait::ServerThink).await;
            one.say(say("first"));
        });
        let second = net.spawn(async move {
            other.sleep(Nanos::from_millis(5), Wait::Person).await;
            other.say(say("second"));
        });
        first.await;
        second.await;
        let late = net
            .timeout(Nanos::from_millis(1), Wait::Timeout, net.sleep(Nanos::from_millis(2), Wait::Dhcp))
            .await;
        StepResult::ok(format!("{late:?}"))
    });
    let mut lan = Lan::new(5, vec![sleeper]);
    assert_eq!(lan.step(0, 0).summary, "Err(Elapsed)");
    let log = lan.log.lock().unwrap();
    let fired: Vec<_> = log.events.iter().filter(|e| matches!(e.what, What::TimerFired { .. })).collect();
    let notes: Vec<_> = log
        .events
        .iter()
        .filter(|e| matches!(&e.what, What::App(r) if matches!(**r, AppRecord::Note { .. })))
        .collect();
    assert_eq!(notes[0].because, fired[0].id);
    assert_eq!(notes[1].because, fired[1].id);
    let kinds: Vec<_> = fired
        .iter()
        .map(|e| {
            if let What::TimerFired { kind, armed_at, .. } = e.what {
                (kind, armed_at.0)
            } else {
                unreachable!()
            }
        })
        .collect();
    let (think, person) = (TimerKind::App(Wait::ServerThink), TimerKind::App(Wait::Person));
    assert_eq!(kinds, [(think, 0), (person, 0), (TimerKind::App(Wait::Timeout), 5_000_000)]);
}

#[test]
fn a_task_that_never_rests_is_noted() {
    let restless = machine("restless", "10.0.0.1/24").step(|net| async move {
        loop {
            net.spawn(async {}).await;
        }
    });
    let mut lan = Lan::new(5, vec![restless]);
    let node = rt_base::NodeId(0);
    lan.sim.command(rt_base::Time::ZERO, node, 0);
    lan.sim.run_until(rt_base::Time::ZERO);
    assert!(lan.said(0).contains("runtime.livelock"));
}

#[test]
fn ready_and_step_done_are_signalled() {
    let mut lan = Lan::new(5, vec![machine("a", "10.0.0.1/24").step(|_| async { StepResult::ok("fine") })]);
    let ready = lan.sim.take_signals();
    assert_eq!(ready.iter().map(|(_, _, s)| s.clone()).collect::<Vec<_>>(), [Signal::Ready]);
    lan.sim.command(rt_base::Time::ZERO, rt_base::NodeId(0), 0);
    lan.sim.run_until(rt_base::Time::ZERO);
    let done = Signal::StepDone { step: 0, ok: true, summary: "fine".into() };
    assert_eq!(lan.sim.take_signals()[0].2, done);
}
