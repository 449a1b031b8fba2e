//! TCP through whole stacks: handshake, data, closing, listeners, errors.

use rt_base::{DropReason, TcpPhase, What};
use rt_stack::tcp::{FastOpenConfig, SocketOptions, SynCookies};
use rt_stack::{ConnectOptions, SocketError, SocketId, TcpRead};

use crate::fixture::*;

#[test]
fn a_connection_opens_talks_and_closes() {
    let mut w = pair_of(|config| config.listen_isns = vec![300]);
    let listener = w.app(1, |s| s.tcp_listen(443, 5)).unwrap();
    let options = ConnectOptions { isn: Some(100), ..ConnectOptions::default() };
    let c = w.app(0, |s| s.tcp_connect("10.0.0.2:443".parse().unwrap(), options)).unwrap();
    w.run();
    assert_eq!(w.stacks[0].tcp_phase(c), TcpPhase::Established);
    let s = w.app(1, |s| s.tcp_accept(listener)).unwrap();
    assert_eq!(w.stacks[1].remote_addr(s).unwrap().to_string(), "10.0.0.1:52431");
    assert_eq!(w.app(0, |st| st.tcp_write(c, b"GET /")), Ok(5));
    w.run();
    assert_eq!(w.read(1, s), b"GET /");
    assert_eq!(w.app(1, |st| st.tcp_write(s, b"hello")), Ok(5));
    w.app(1, |st| st.tcp_shutdown(s));
    w.run();
    assert_eq!(w.read(0, c), b"hello");
    assert_eq!(w.app(0, |st| st.tcp_read(c, &mut [0; 8])), Ok(TcpRead::Eof));
    w.app(0, |st| st.tcp_close(c));
    w.app(1, |st| st.tcp_close(s));
    w.run();
    let handshake: Vec<String> = w.lines().into_iter().filter(|l| l.contains("443")).take(3).collect();
    insta::assert_snapshot!(handshake.join("\n"), @r"
    0: IP 10.0.0.1.52431 > 10.0.0.2.443: Flags [S], seq 100, win 64240, options [mss 1460,sackOK,TS val 721713727 ecr 0,nop,wscale 7], length 0
    1: IP 10.0.0.2.443 > 10.0.0.1.52431: Flags [S.], seq 300, ack 101, win 65160, options [mss 1460,sackOK,TS val 2683149832 ecr 721713727,nop,wscale 7], length 0
    0: IP 10.0.0.1.52431 > 10.0.0.2.443: Flags [.], ack 301, win 502, options [nop,nop,TS val 721713731 ecr 2683149832], length 0
    ");
    assert_eq!(w.drops(), []);
    assert_eq!(w.stacks[0].tcp_phase(c), TcpPhase::Closed);
    w.run_for(rt_base::Nanos::from_secs(120));
    assert_eq!(w.stacks[1].tcp_phase(s), TcpPhase::Closed);
    let opens = |e: &What| matches!(e, What::ConnOpen { .. });
    assert_eq!((w.count(0, opens), w.count(1, opens)), (1, 1));
}

#[test]
fn megabytes_arrive_whole() {
    let mut w = pair();
    let listener = w.app(1, |s| s.tcp_listen(80, 5)).unwrap();
    let c = w.connect(0, "10.0.0.2:80");
    w.run();
    let s = w.app(1, |s| s.tcp_accept(listener)).unwrap();
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let (mut at, mut got) = (0, Vec::new());
    while got.len() < sent.len() {
        at += w.app(0, |st| st.tcp_write(c, &sent[at..])).unwrap();
        w.run_for(rt_base::Nanos::from_millis(2));
        got.append(&mut w.read(1, s));
    }
    assert!(got == sent);
    assert_eq!(w.drops(), []);
}

#[test]
fn a_lost_segment_is_repeated() {
    let mut w = pair();
    let listener = w.app(1, |s| s.tcp_listen(80, 5)).unwrap();
    let c = w.connect(0, "10.0.0.2:80");
    w.run();
    let s = w.app(1, |s| s.tcp_accept(listener)).unwrap();
    let mut seen = 0;
    w.tamper = Some(Box::new(move |frame| {
        seen += usize::from(frame.bytes.len() > 1_000);
        seen % 14 != 7
    }));
    let sent = vec![5; 60_000];
    assert_eq!(w.app(0, |st| st.tcp_write(c, &sent)), Ok(60_000));
    let mut got = Vec::new();
    for _ in 0..100 {
        w.run_for(rt_base::Nanos::from_millis(50));
        got.append(&mut w.read(1, s));
    }
    assert!(got == sent, "{} of {}", got.len(), sent.len());
}

#[test]
fn a_closed_port_refuses() {
    let mut w = pair();
    let c = w.connect(0, "10.0.0.2:81");
    w.run();
    assert_eq!(w.stacks[0].tcp_phase(c), TcpPhase::Closed);
    assert_eq!(w.app(0, |s| s.take_error(c)), Some(SocketError::Refused));
    assert_eq!(w.drop_reasons(), [DropReason::NoSocket]);
}

#[test]
fn an_attempt_hears_what_the_network_says() {
    let mut w = routed(|_| {});
    let far = w.connect(0, "8.8.8.8:80");
    let dead = w.connect(0, "203.0.113.77:80");
    let near = w.connect(0, "192.168.1.77:80");
    w.run();
    assert_eq!(w.app(0, |s| s.take_error(far)), Some(SocketError::NetUnreachable));
    assert_eq!(w.app(0, |s| s.take_error(dead)), Some(SocketError::HostUnreachable));
    assert_eq!(w.app(0, |s| s.take_error(near)), Some(SocketError::HostUnreachable));
}

#[test]
fn a_silent_host_times_out() {
    let mut w = pair();
    w.udp(0, 9);
    w.tamper = Some(Box::new(|frame| frame.bytes[12..14] == [8, 6]));
    let c = w.connect(0, "10.0.0.2:80");
    w.run_for(rt_base::Nanos::from_secs(300));
    assert_eq!(w.app(0, |s| s.take_error(c)), Some(SocketError::TimedOut));
}

#[test]
fn a_full_listener_drops_the_syn_and_takes_the_repeated_one() {
    let mut w = pair();
    let listener = w.app(1, |s| s.tcp_listen(80, 1)).unwrap();
    let clients: Vec<_> = (0..2).map(|_| w.connect(0, "10.0.0.2:80")).collect();
    w.run_for(rt_base::Nanos::from_millis(100));
    let queues = w.stacks[1].listener_queues(listener).unwrap();
    assert_eq!((queues.syn_queue.len(), queues.accept_queue.len(), queues.accept_limit), (0, 2, 2));
    let late = w.connect(0, "10.0.0.2:80");
    w.run_for(rt_base::Nanos::from_millis(100));
    assert_eq!(w.stacks[0].tcp_phase(late), TcpPhase::SynSent);
    assert_eq!(w.drop_reasons(), [DropReason::AcceptQueueFull]);
    for _ in &clients {
        assert!(w.app(1, |s| s.tcp_accept(listener)).is_some());
    }
    w.run();
    assert_eq!(w.stacks[0].tcp_phase(late), TcpPhase::Established);
}

/// The server's SYN-ACKs are lost, so handshakes stay half open.
fn flooded(cookies: SynCookies) -> (World, SocketId, Vec<SocketId>) {
    let mut w = pair_of(|config| config.tcp.syn_cookies = cookies);
    let listener = w.app(1, |s| s.tcp_listen(80, 1)).unwrap();
    w.udp(0, 9);
    w.tamper = Some(Box::new(|frame| frame.bytes[12..14] == [8, 6] || frame.bytes[47] & 0x10 == 0));
    let clients = (0..3).map(|_| w.connect(0, "10.0.0.2:80")).collect();
    w.run_for(rt_base::Nanos::from_millis(100));
    (w, listener, clients)
}

#[test]
fn a_full_syn_queue_drops_the_syn_without_cookies() {
    let (w, listener, _) = flooded(SynCookies::Off);
    assert_eq!(w.drop_reasons(), [DropReason::SynQueueFull]);
    let queues = w.stacks[1].listener_queues(listener).unwrap();
    assert_eq!((queues.syn_queue.len(), queues.syn_limit), (2, 2));
}

//= rfc4987#3.6
//= type=test
#[test]
fn a_full_syn_queue_answers_with_cookies_that_open_connections() {
    let (mut w, listener, clients) = flooded(SynCookies::WhenFull);
    assert_eq!(w.drop_reasons(), []);
    assert_eq!(w.stacks[1].listener_queues(listener).unwrap().syn_queue.len(), 2);
    // The repeated SYN of the third client meets a queue that is still full: its cookie gets through.
    w.tamper = None;
    w.run_for(rt_base::Nanos::from_millis(1_200));
    assert!(clients.iter().all(|c| w.stacks[0].tcp_phase(*c) == TcpPhase::Established));
    let server = w.app(1, |s| s.tcp_accept(listener)).unwrap();
    assert_eq!(w.app(0, |s| s.tcp_write(clients[2], b"hello")), Ok(5));
    w.run_for(rt_base::Nanos::from_millis(100));
    assert_eq!(w.stacks[1].tcp_phase(server), TcpPhase::Established);
    assert!(w.events.iter().any(|e| matches!(
        e.what,
        rt_base::What::Listener { step: rt_base::ListenerStep::CookieAccepted, .. }
    )));
}

#[test]
fn a_listener_may_wait_for_data() {
    let mut w = pair();
    let options = SocketOptions { defer_accept: rt_base::Nanos::from_secs(3), ..SocketOptions::default() };
    let listener = w.app(1, |s| s.tcp_listen_with(80, 5, options)).unwrap();
    let client = w.connect(0, "10.0.0.2:80");
    w.run_for(rt_base::Nanos::from_millis(100));
    assert_eq!(w.drop_reasons(), [DropReason::AcceptDeferred]);
    assert_eq!(w.app(1, |s| s.tcp_accept(listener)), None);
    assert_eq!(w.app(0, |s| s.tcp_write(client, b"hello")), Ok(5));
    w.run_for(rt_base::Nanos::from_millis(100));
    let server = w.app(1, |s| s.tcp_accept(listener)).unwrap();
    let mut buf = [0; 9];
    assert_eq!(w.app(1, |s| s.tcp_read(server, &mut buf)), Ok(TcpRead::Data(5)));
}

//= rfc7413#4
//= type=test
#[test]
fn the_second_connection_opens_fast() {
    let mut w = pair_of(|config| config.tcp.fast_open = FastOpenConfig::from_bits(0x3));
    let options = SocketOptions { fast_open_queue: 5, ..SocketOptions::default() };
    let listener = w.app(1, |s| s.tcp_listen_with(80, 5, options)).unwrap();
    let to = "10.0.0.2:80".parse().unwrap();
    let open = |w: &mut World, text: &'static [u8]| {
        w.app(0, |s| s.tcp_fast_open(to, ConnectOptions::default(), SocketOptions::default(), text)).unwrap()
    };
    // The first SYN asks for a cookie.
    let (first, sent) = open(&mut w, b"one");
    assert_eq!(sent, 0);
    w.run_for(rt_base::Nanos::from_millis(100));
    assert_eq!(w.stacks[0].tcp_phase(first), TcpPhase::Established);
    assert!(w.app(1, |s| s.tcp_accept(listener)).is_some());
    // The second brings it back, with text that is there before the handshake is over.
    let (second, sent) = open(&mut w, b"two");
    assert_eq!(sent, 3);
    w.run_for(rt_base::Nanos::from_micros(1_500));
    let server = w.app(1, |s| s.tcp_accept(listener)).unwrap();
    assert!(w.stacks[1].tcp_is_fast_open(server));
    assert_eq!(w.stacks[1].listener_queues(listener).unwrap().fast_open, 1);
    let mut buf = [0; 9];
    assert_eq!(w.app(1, |s| s.tcp_read(server, &mut buf)), Ok(TcpRead::Data(3)));
    w.run_for(rt_base::Nanos::from_millis(100));
    assert_eq!(w.stacks[1].tcp_phase(server), TcpPhase::Established);
    assert_eq!(w.stacks[1].listener_queues(listener).unwrap().fast_open, 0);
    assert!(w.stacks[0].tcp_info(second).unwrap().syn_data);
}

#[test]
fn a_closed_listener_resets_those_that_nobody_accepted() {
    let mut w = pair();
    let listener = w.app(1, |s| s.tcp_listen(80, 5)).unwrap();
    let c = w.connect(0, "10.0.0.2:80");
    w.run();
    w.app(1, |s| s.close(listener));
    w.run();
    assert_eq!(w.stacks[0].tcp_phase(c), TcpPhase::Closed);
    assert_eq!(w.app(0, |s| s.take_error(c)), Some(SocketError::Reset));
    w.app(1, |s| s.tcp_listen(80, 5)).unwrap();
}

#[test]
fn a_machine_can_talk_to_itself() {
    let mut w = pair();
    let listener = w.app(0, |s| s.tcp_listen(80, 5)).unwrap();
    let c = w.connect(0, "127.0.0.1:80");
    assert_eq!(w.stacks[0].tcp_phase(c), TcpPhase::Established, "within one send");
    let s = w.app(0, |s| s.tcp_accept(listener)).unwrap();
    w.app(0, |st| st.tcp_write(c, &[1; 200_000])).unwrap();
    let mut got = Vec::new();
    for _ in 0..20 {
        got.append(&mut w.read(0, s));
        w.run_for(rt_base::Nanos::from_millis(50));
    }
    assert_eq!(got.len(), 200_000);
    w.app(0, |st| st.tcp_close(c));
    w.app(0, |st| st.tcp_close(s));
    w.run_for(rt_base::Nanos::from_secs(120));
    assert!(w.wire.is_empty());
    assert_eq!(w.drops(), []);
}

#[test]
fn data_to_an_application_that_is_gone_is_reset() {
    let mut w = pair();
    let listener = w.app(1, |s| s.tcp_listen(80, 5)).unwrap();
    let c = w.connect(0, "10.0.0.2:80");
    w.run();
    let s = w.app(1, |s| s.tcp_accept(listener)).unwrap();
    w.app(0, |st| st.tcp_write(c, b"unread")).unwrap();
    w.run();
    w.app(1, |st| st.tcp_close(s));
    w.run();
    assert_eq!(w.app(0, |s| s.take_error(c)), Some(SocketError::Reset));
}

/// RFC 6191: a newer SYN takes over the ends of a connection in TIME-WAIT.
#[test]
fn a_connection_in_time_wait_makes_room_for_a_newer_one() {
    let mut w = pair();
    let listener = w.app(1, |s| s.tcp_listen(80, 5)).unwrap();
    let options = ConnectOptions { local_port: Some(4_000), ..ConnectOptions::default() };
    let to = "10.0.0.2:80".parse().unwrap();
    let mut ended = Vec::new();
    for round in 0..3 {
        let c = w.app(0, |s| s.tcp_connect(to, options)).expect("the client's end is free again");
        w.run_for(rt_base::Nanos::from_millis(1_500));
        assert_eq!(w.stacks[0].tcp_phase(c), TcpPhase::Established, "round {round}");
        let s = w.app(1, |s| s.tcp_accept(listener)).expect("accepted");
        w.app(1, |st| st.tcp_close(s));
        w.run_for(rt_base::Nanos::from_millis(10));
        w.app(0, |st| st.tcp_close(c));
        w.run_for(rt_base::Nanos::from_millis(1_500));
        assert_eq!(w.stacks[1].tcp_phase(s), TcpPhase::TimeWait);
        ended.push(s);
    }
    assert_eq!(w.stacks[1].tcp_phase(ended[0]), TcpPhase::Closed);
    w.run_for(rt_base::Nanos::from_secs(120));
    assert_eq!(w.stacks[1].tcp_phase(ended[2]), TcpPhase::Closed);
    assert_eq!(w.stacks[1].next_deadline(), rt_base::Time::MAX);
}
