//! Curves of a small made-up connection: what they must say, to the byte and the nanosecond.

use super::curves::tests_support::{ack, in_flight_of, samples_of, sent};

#[test]
fn bytes_in_flight_are_those_between_the_oldest_unacknowledged_and_the_newest_less_sacked() {
    let sent = [sent(0, 10, (1, 1001)), sent(1, 11, (1001, 2001)), sent(2, 12, (2001, 3001))];
    let acks = [ack(3, 20, 1001, &[]), ack(4, 21, 1001, &[(2001, 3001)]), ack(5, 30, 3001, &[])];
    let curve = in_flight_of(&sent, &acks);
    assert_eq!(curve, [(10, 1000), (11, 2000), (12, 3000), (20, 2000), (21, 1000), (30, 0)]);
}

#[test]
fn a_repeated_segment_gives_no_round_trip_time() {
    let mut all = vec![sent(0, 10, (1, 1001)), sent(1, 11, (1001, 2001)), sent(3, 40, (1001, 2001))];
    all[2].why = super::SentWhy::Timeout;
    let acks = [ack(2, 30, 1001, &[]), ack(4, 60, 2001, &[])];
    assert_eq!(samples_of(&all, &acks), [(30, 20)]);
}

#[test]
fn an_acknowledgement_from_nowhere_hurts_nothing() {
    let acks = [
        ack(0, 5, u64::from(u32::MAX), &[(7, 3), (0, u64::MAX)]),
        ack(2, 30, 500, &[(400, 100_000), (900, 600)]),
    ];
    let curve = in_flight_of(&[sent(1, 10, (1, 1001))], &acks);
    assert_eq!(curve, [(5, 0), (10, 1000), (30, 501)]);
}
