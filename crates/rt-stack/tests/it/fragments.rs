//! Cutting up, putting together, and what is refused.

use rt_base::{DropReason, Nanos};
use rt_stack::SocketError;

use crate::fixture::*;

/// A world whose hosts' links carry so little that the datagram comes in five pieces, caught on their way.
fn pieces(text: &[u8]) -> Vec<Vec<u8>> {
    let mut w = pair_of(|config| config.interfaces[0].mtu = 300);
    let a = w.udp(0, 1000);
    w.say(0, a, "10.0.0.2:53", text);
    w.run();
    w.wire
        .into_iter()
        .filter(|seen| seen.from == 0 && seen.bytes[12..14] == [8, 0])
        .map(|seen| seen.bytes)
        .collect()
}

fn text() -> Vec<u8> {
    (0..1_200u32).map(|n| n as u8).collect()
}

#[test]
fn a_long_datagram_arrives_whole_through_a_narrow_link() {
    let mut w = routed(|router| router.interfaces[1].mtu = 576);
    let (a, b) = (w.udp(0, 0), w.udp(2, 53));
    w.say(0, a, "203.0.113.1:53", &[7; 5_000]);
    w.run();
    assert_eq!(w.hear(2, b).map(|(text, _)| text), Some(vec![7; 5_000]));
    assert_eq!(w.drops(), []);
    let longest = |from| w.wire.iter().filter(|s| s.from == from).map(|s| s.bytes.len()).max();
    assert_eq!((longest(0), longest(1)), (Some(1_514), Some(14 + 572)), "payloads are multiples of eight");
}

#[test]
fn fragments_may_come_in_any_order() {
    let pieces = pieces(&text());
    assert_eq!(pieces.len(), 5);
    let orders: [[usize; 5]; 4] = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [1, 4, 0, 3, 2]];
    for order in orders {
        let mut w = pair();
        let b = w.udp(1, 53);
        for index in order {
            assert_eq!(w.hear(1, b), None);
            w.inject(1, 0, pieces[index].clone());
        }
        assert_eq!(w.hear(1, b), Some((text(), "10.0.0.1:1000".into())), "{order:?}");
        assert_eq!(w.drops(), []);
    }
}

#[test]
fn a_repeated_fragment_is_dropped_alone() {
    let pieces = pieces(&text());
    let mut w = pair();
    let b = w.udp(1, 53);
    for index in [0, 1, 1, 2, 3, 0, 4] {
        w.inject(1, 0, pieces[index].clone());
    }
    assert!(w.hear(1, b).is_some());
    assert_eq!(w.drop_reasons(), [DropReason::ReassemblyRefused; 2]);
}

#[test]
fn an_overlap_ends_the_whole_datagram() {
    let pieces = pieces(&text());
    let mut forged = pieces[1].clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut w = pair();
    let b = w.udp(1, 53);
    for frame in [&pieces[0], &pieces[1], &forged, &pieces[2], &pieces[3], &pieces[4]] {
        w.inject(1, 0, frame.clone());
    }
    assert_eq!(w.hear(1, b), None);
    assert_eq!(w.drop_reasons(), [DropReason::ReassemblyRefused; 3]);
    w.run_for(Nanos::from_secs(31));
    assert_eq!(w.drop_reasons()[3..], [DropReason::ReassemblyTimeout; 3]);
}

#[test]
fn fragments_expire_after_thirty_seconds_and_the_sender_hears_of_it() {
    let pieces = pieces(&text());
    let mut w = pair();
    let a = w.udp(0, 1000);
    for index in [0, 1, 3] {
        w.inject(1, 0, pieces[index].clone());
    }
    w.run_for(Nanos::from_secs(29));
    assert_eq!(w.drops(), []);
    w.run_for(Nanos::from_secs(2));
    assert_eq!(w.drop_reasons(), [DropReason::ReassemblyTimeout; 3]);
    assert!(w.lines().iter().any(|l| l.contains("reassembly")), "{:?}", w.lines());
    assert_eq!(w.app(0, |s| s.take_error(a)), Some(SocketError::HostUnreachable));
}

#[test]
fn the_store_is_bounded() {
    let pieces = pieces(&text());
    let mut w = pair();
    for id in 0..100u16 {
        let mut frame = pieces[0].clone();
        frame[18..20].copy_from_slice(&id.to_be_bytes());
        frame[24..26].fill(0);
        let sum = rt_wire::checksum::of_sum(rt_wire::checksum::ones_sum(&frame[14..34]));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        w.inject(1, 0, frame);
    }
    assert_eq!(w.drop_reasons(), [DropReason::ReassemblyRefused; 36]);
}

#[test]
fn dont_fragment_is_answered_with_the_mtu_and_tcp_obeys() {
    let mut w = routed(|router| router.interfaces[1].mtu = 1_000);
    let listener = w.app(2, |s| s.tcp_listen(80, 5)).unwrap();
    let c = w.connect(0, "203.0.113.1:80");
    w.run();
    let s = w.app(2, |s| s.tcp_accept(listener)).unwrap();
    assert_eq!(w.app(0, |st| st.tcp_write(c, &[3; 4_000])), Ok(4_000));
    w.run();
    assert_eq!(w.read(2, s), vec![3; 4_000]);
    assert!(w.drop_reasons().iter().all(|r| *r == DropReason::FragmentationNeeded), "{:?}", w.drops());
    assert!(!w.drops().is_empty());
    // A later connection to the same host starts with the smaller MTU in mind; UDP is cut to it at the source.
    let u = w.udp(0, 0);
    let before = w.wire.len();
    w.say(0, u, "203.0.113.1:9", &[1; 1_400]);
    w.run();
    assert!(w.wire[before..].iter().all(|seen| seen.bytes.len() <= 1_014));
}

#[test]
fn new_connections_cut_their_segments_for_the_known_path() {
    //= rfc1191#6.4
    let mut w = routed(|router| router.interfaces[1].mtu = 1_000);
    let far = w.app(2, |s| s.tcp_listen(80, 5)).unwrap();
    let near = w.app(0, |s| s.tcp_listen(81, 5)).unwrap();
    let teacher = w.connect(0, "203.0.113.1:80");
    w.run();
    assert_eq!(w.app(0, |st| st.tcp_write(teacher, &[3; 4_000])), Ok(4_000));
    w.run();
    let (drops, before) = (w.drops().len(), w.wire.len());
    let (active, called) = (w.connect(0, "203.0.113.1:80"), w.connect(2, "192.168.1.10:81"));
    w.run();
    let passive = w.app(0, |s| s.tcp_accept(near)).unwrap();
    let _ = w.app(2, |s| s.tcp_accept(far)).unwrap();
    let heard = w.app(2, |s| s.tcp_accept(far)).unwrap();
    for (from, to) in [(active, heard), (passive, called)] {
        assert_eq!(w.app(0, |st| st.tcp_write(from, &[4; 4_000])), Ok(4_000));
        w.run();
        assert_eq!(w.read(2, to), vec![4; 4_000]);
        assert_eq!(w.app(0, |st| st.tcp_info(from)).unwrap().total_retrans, 0);
    }
    assert_eq!(w.drops().len(), drops);
    let lengths = |from| w.wire[before..].iter().filter(move |seen| seen.from == from).map(|s| s.bytes.len());
    assert_eq!(lengths(0).max(), Some(1_014), "full segments for the path");
    // The way back may be another: what is announced comes from the interface.
    let said: Vec<_> = w.lines().into_iter().filter(|l| l.contains("mss ")).collect();
    assert!(!said.is_empty() && said.iter().all(|l| l.contains("mss 1460")), "{said:?}");
}
