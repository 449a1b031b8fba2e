//! Flows: new, answered, related, expired, reopened, refused.

use super::*;

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const FIN: TcpFlags = TcpFlags::FIN;
const RST: TcpFlags = TcpFlags::RST;

fn tuple(protocol: u8, sport: u16, dport: u16) -> Tuple {
    let (src, dst) = (Ipv4Addr::new(192, 168, 1, 10), Ipv4Addr::new(8, 8, 8, 8));
    Tuple { protocol, src, dst, sport, dport }
}

fn seconds(n: u64) -> Time {
    Time::ZERO + Nanos::from_secs(n)
}

/// A table for so many flows that forgets idle TCP flows after as long as Linux does.
fn table_of(max: u32) -> Conntrack {
    Conntrack::new(ConntrackOptions { max, ..ConntrackOptions::default() })
}

fn open(table: &mut Conntrack, now: Time, tuple: Tuple, flags: Option<TcpFlags>) {
    let Track::New(draft) = table.track(now, Sight::Packet(tuple, flags), 100) else { panic!("not new") };
    table.confirm(now, *draft).expect("room");
}

#[track_caller]
fn check(table: &mut Conntrack, now: Time, tuple: Tuple, flags: Option<TcpFlags>, expected: CtState) {
    assert_eq!(table.track(now, Sight::Packet(tuple, flags), 100).state(), expected);
}

#[test]
fn a_flow_is_new_until_answered() {
    let mut table = table_of(10);
    let query = tuple(protocol::UDP, 5000, 53);
    open(&mut table, seconds(0), query, None);
    check(&mut table, seconds(1), query, None, CtState::New);
    check(&mut table, seconds(1), query.reversed(), None, CtState::Established);
    check(&mut table, seconds(1), query, None, CtState::Established);
}

#[test]
fn flows_expire_by_their_state() {
    let mut table = table_of(10);
    let (lonely, answered) = (tuple(protocol::UDP, 1, 53), tuple(protocol::UDP, 2, 53));
    open(&mut table, seconds(0), lonely, None);
    open(&mut table, seconds(0), answered, None);
    check(&mut table, seconds(1), answered.reversed(), None, CtState::Established);
    assert!(matches!(table.track(seconds(30), Sight::Packet(lonely, None), 100), Track::New(_)));
    check(&mut table, seconds(120), answered, None, CtState::Established);
    assert!(matches!(table.track(seconds(240), Sight::Packet(answered, None), 100), Track::New(_)));
}

#[test]
fn tcp_must_begin_with_a_syn() {
    let mut table = table_of(10);
    let flow = tuple(protocol::TCP, 5000, 443);
    for flags in [ACK, FIN | ACK, RST, SYN | ACK, SYN | RST] {
        check(&mut table, seconds(0), flow, Some(flags), CtState::Invalid);
    }
    open(&mut table, seconds(0), flow, Some(SYN));
    check(&mut table, seconds(0), flow.reversed(), Some(SYN | ACK), CtState::Established);
}

#[test]
fn a_tcp_flow_lives_five_days_open_and_two_minutes_after_its_end() {
    let mut table = table_of(10);
    let (there, back) = (tuple(protocol::TCP, 5000, 443), tuple(protocol::TCP, 5000, 443).reversed());
    open(&mut table, seconds(0), there, Some(SYN));
    for (who, flags) in [(back, SYN | ACK), (there, ACK)] {
        check(&mut table, seconds(0), who, Some(flags), CtState::Established);
    }
    check(&mut table, seconds(400_000), there, Some(FIN | ACK), CtState::Established);
    check(&mut table, seconds(400_001), back, Some(FIN | ACK), CtState::Established);
    check(&mut table, seconds(400_002), there, Some(ACK), CtState::Established);
    check(&mut table, seconds(400_100), back, Some(ACK), CtState::Established);
    check(&mut table, seconds(400_221), back, Some(ACK), CtState::Invalid);
}

#[test]
fn a_new_syn_reopens_a_flow_that_is_over() {
    let mut table = table_of(10);
    let flow = tuple(protocol::TCP, 5000, 443);
    open(&mut table, seconds(0), flow, Some(SYN));
    check(&mut table, seconds(0), flow.reversed(), Some(RST | ACK), CtState::Established);
    open(&mut table, seconds(1), flow, Some(SYN));
    assert_eq!(table.len(), 1);
}

#[test]
fn an_error_is_related_to_the_flow_it_quotes() {
    let mut table = table_of(10);
    let query = tuple(protocol::UDP, 5000, 53);
    assert_eq!(table.track(seconds(0), Sight::Error(query), 100), Track::Invalid);
    open(&mut table, seconds(0), query, None);
    let track = table.track(seconds(0), Sight::Error(query), 100);
    assert!(
        matches!(track, Track::Known { direction: Direction::Reply, state: CtState::Related, .. }),
        "{track:?}"
    );
}

#[test]
fn an_echo_reply_answers_its_request_only() {
    let mut table = table_of(10);
    let ping = tuple(protocol::ICMP, 7, ECHO_REQUEST);
    check(&mut table, seconds(0), ping.reversed(), None, CtState::Invalid);
    open(&mut table, seconds(0), ping, None);
    check(&mut table, seconds(0), ping.reversed(), None, CtState::Established);
    check(&mut table, seconds(0), Tuple { sport: 8, ..ping.reversed() }, None, CtState::Invalid);
}

/// A home router may forget an idle connection long before Linux would.
#[test]
fn an_idle_tcp_flow_is_forgotten_when_the_table_says() {
    let mut table = Conntrack::new(ConntrackOptions {
        max: 10,
        tcp_established: Nanos::from_secs(60),
        ..ConntrackOptions::default()
    });
    let flow = tuple(protocol::TCP, 5000, 80);
    open(&mut table, seconds(0), flow, Some(SYN));
    check(&mut table, seconds(0), flow.reversed(), Some(SYN | ACK), CtState::Established);
    check(&mut table, seconds(0), flow, Some(ACK), CtState::Established);
    check(&mut table, seconds(59), flow.reversed(), Some(ACK), CtState::Established);
    let later = table.track(seconds(119), Sight::Packet(flow, Some(SYN)), 100);
    assert_eq!(later.state(), CtState::New);
}

#[test]
fn a_full_table_refuses_until_something_expires() {
    let mut table = table_of(2);
    for port in 1..=2 {
        open(&mut table, seconds(0), tuple(protocol::UDP, port, 53), None);
    }
    let Track::New(draft) = table.track(seconds(1), Sight::Packet(tuple(protocol::UDP, 3, 53), None), 100)
    else {
        panic!("not new");
    };
    assert_eq!(table.confirm(seconds(1), *draft), Err(Refusal::Full));
    assert!(table.confirm(seconds(31), *draft).is_ok());
    assert_eq!(table.len(), 1, "the sweep took both");
}

/// Two flows whose answers look alike: the first one's stay its own, and are nobody's when it is gone.
#[test]
fn what_belongs_to_a_flow_goes_on_belonging_to_it() {
    let mut table = table_of(10);
    let (inner, own) = (tuple(protocol::UDP, 5000, 53), tuple(protocol::UDP, 7, 53));
    let own = Tuple { src: Ipv4Addr::new(203, 0, 113, 5), ..own };
    let Track::New(mut draft) = table.track(seconds(0), Sight::Packet(inner, None), 100) else {
        panic!("not new")
    };
    draft.reply = own.reversed();
    let first = table.confirm(seconds(0), *draft).expect("room");
    open(&mut table, seconds(0), own, None);
    let whose = |table: &mut Conntrack, now, tuple| match table.track(now, Sight::Packet(tuple, None), 100) {
        Track::Known { entry, direction, .. } => Some((entry, direction)),
        _ => None,
    };
    assert_eq!(whose(&mut table, seconds(1), own.reversed()), Some((first, Direction::Reply)));
    assert_eq!(whose(&mut table, seconds(1), inner), Some((first, Direction::Original)));
    // Its reply is another's, and answers to the inner end itself have never been anybody's.
    let second = whose(&mut table, seconds(20), own).expect("the other flow");
    assert_eq!((second.0 == first, second.1), (false, Direction::Original));
    assert_eq!(whose(&mut table, seconds(20), inner.reversed()), None);
    let mut now = 20;
    while table.knows(&inner) {
        now += 20;
        assert_eq!(whose(&mut table, seconds(now), own), Some(second));
        table.expire(seconds(now));
    }
    assert_eq!(whose(&mut table, seconds(now), own.reversed()), None);
    assert_eq!((whose(&mut table, seconds(now), own), table.len()), (Some(second), 1));
}

/// More than the counters of a line have room for.
#[test]
fn packets_and_bytes_are_counted_beyond_four_gigabytes() {
    let mut table = table_of(10);
    let flow = tuple(protocol::UDP, 5000, 53);
    open(&mut table, seconds(0), flow, None);
    for _ in 0..70_000 {
        let _ = table.track(seconds(1), Sight::Packet(flow, None), u16::MAX);
    }
    let (shown, _) = table.shown(seconds(1)).next().expect("the flow");
    assert_eq!((shown.packets, shown.bytes), ([70_001, 0], [70_000 * 65_535 + 100, 0]));
}
