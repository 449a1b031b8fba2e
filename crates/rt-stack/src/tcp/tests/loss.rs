//! Losses found by time, tail probes, and recoveries that turn out needless.

use super::script::check;

/// Ten segments of 1000 bytes, sent at 0.2 after a handshake of 100 ms.
const TEN: &str = "established
         0.2  write 10000
         +0   > . 101:1101(1000) ack 301
         +0   > . 1101:2101(1000) ack 301
         +0   > . 2101:3101(1000) ack 301
         +0   > . 3101:4101(1000) ack 301
         +0   > . 4101:5101(1000) ack 301
         +0   > . 5101:6101(1000) ack 301
         +0   > . 6101:7101(1000) ack 301
         +0   > . 7101:8101(1000) ack 301
         +0   > . 8101:9101(1000) ack 301
         +0   > P. 9101:10101(1000) ack 301
";

#[track_caller]
fn after_ten(config: &str, rest: &str) {
    check(&format!("{config}\n{TEN}{rest}"));
}

//= rfc8985#6.2
//= type=test
#[test]
fn less_than_three_sacked_segments_wait_a_quarter_of_a_round_trip() {
    after_ten(
        "config cc=reno",
        "0.3   < . 301:301(0) ack 101 <sack 1101:2101>
         +0    is ca disorder
         0.327 > . 101:1101(1000) ack 301 why fast-retransmit    // 25 ms and two ticks
         +0    is ca recovery
         +0    is ssthresh 5000
         0.4   < . 301:301(0) ack 10101
         +0    is ca open
         +0    is cwnd 6000",
    );
}

//= rfc8985#6.2
//= type=test
#[test]
fn three_sacked_segments_are_enough_while_no_reordering_was_seen() {
    after_ten(
        "config cc=reno",
        "0.3  < . 301:301(0) ack 101 <sack 1101:2101>
         +0   < . 301:301(0) ack 101 <sack 1101:3101>
         +0   < . 301:301(0) ack 101 <sack 1101:4101>
         +0   > . 101:1101(1000) ack 301 why fast-retransmit
         0.4  < . 301:301(0) ack 10101",
    );
}

//= rfc8985#6.2
//= type=test
#[test]
fn a_late_segment_is_reordering_and_makes_the_sender_patient() {
    after_ten(
        "config cc=reno",
        "0.3   < . 301:301(0) ack 101 <sack 1101:2101>
         0.31  < . 301:301(0) ack 2101
         +0    is ca open
         0.32  < . 301:301(0) ack 2101 <sack 3101:4101>
         +0    < . 301:301(0) ack 2101 <sack 3101:5101>
         +0    < . 301:301(0) ack 2101 <sack 3101:6101>         // three, but the network reorders
         0.347 > . 2101:3101(1000) ack 301 why fast-retransmit
         0.4   < . 301:301(0) ack 10101",
    );
}

//= rfc8985#6.2
//= type=test
#[test]
fn a_lost_retransmission_is_found_without_a_timeout() {
    after_ten(
        "config cc=reno",
        "0.3  < . 301:301(0) ack 101 <sack 1101:4101>
         +0   > . 101:1101(1000) ack 301 why fast-retransmit
         +0   write 3000
         +0   > . 10101:11101(1000) ack 301
         0.31 < . 301:301(0) ack 101 <sack 1101:9101>
         +0   > . 11101:12101(1000) ack 301
         +0   > P. 12101:13101(1000) ack 301
         // What was sent after the retransmission arrives, so that is lost too.
         0.41 < . 301:301(0) ack 101 <sack 1101:11101>
         +0   > . 101:1101(1000) ack 301 why fast-retransmit
         0.5  < . 301:301(0) ack 13101
         +0   is ca open
         +0   is cwnd 5000",
    );
}

//= rfc8985#7.3
//= type=test
#[test]
fn a_lost_tail_is_probed_after_two_round_trips() {
    after_ten(
        "config cc=reno",
        "0.3   < . 301:301(0) ack 8101
         0.502 > P. 9101:10101(1000) ack 301 why tail-loss-probe
         0.61  < . 301:301(0) ack 8101 <sack 9101:10101>
         +0    > . 8101:9101(1000) ack 301 why fast-retransmit
         0.7   < . 301:301(0) ack 10101
         +0    is ca open",
    );
}

//= rfc8985#7.3
//= type=test
#[test]
fn the_probe_is_new_data_where_there_is_some() {
    check(
        "config iw=2
         established
         0.2   write 3000
         +0    > . 101:1101(1000) ack 301
         +0    > . 1101:2101(1000) ack 301
         0.402 > P. 2101:3101(1000) ack 301 why tail-loss-probe
         0.5   < . 301:301(0) ack 3101
         +0    is in-flight 0",
    );
}

//= rfc8985#7.2
//= type=test
#[test]
fn a_single_segment_waits_for_a_delayed_acknowledgement() {
    // 2 * 100 ms + 200 ms, but never later than the RTO of 300 ms.
    check(
        "established
         0.2  write 1000
         +0   > P. 101:1101(1000) ack 301
         0.5  > P. 101:1101(1000) ack 301 why tail-loss-probe
         0.8  > P. 101:1101(1000) ack 301 why rto-retransmit
         0.9  < . 301:301(0) ack 1101",
    );
}

//= rfc8985#7.4.2
//= type=test
#[test]
fn a_probe_that_repaired_a_loss_cuts_the_window() {
    after_ten(
        "config cc=reno",
        "0.3   < . 301:301(0) ack 9101
         +0    is cwnd 19000
         0.6   > P. 9101:10101(1000) ack 301 why tail-loss-probe
         0.65  write 1000
         +0    > P. 10101:11101(1000) ack 301
         0.7   < . 301:301(0) ack 11101
         +0    is ca open
         +0    is cwnd 9000",
    );
    // Both copies arrived: nothing was lost.
    after_ten(
        "config cc=reno",
        "0.3   < . 301:301(0) ack 9101
         0.6   > P. 9101:10101(1000) ack 301 why tail-loss-probe
         0.65  < . 301:301(0) ack 10101
         0.7   < . 301:301(0) ack 10101 <sack 9101:10101>
         0.75  write 1000
         +0    > P. 10101:11101(1000) ack 301
         0.85  < . 301:301(0) ack 11101
         +0    is ssthresh 4294967295",
    );
}

//= rfc4015#3.2
//= rfc3522#3.2
//= type=test
#[test]
fn timestamps_show_that_the_first_copy_arrived() {
    check(
        "config cc=reno ts=on mss=1012
         0    connect
         0    > S 100:100(0)
         0.1  < S. 300:300(0) ack 101 win 65535 <mss 1012,sackOK,TS 1 ecr 0>
         0.1  > . 101:101(0) ack 301
         0.2  write 4000
         +0   > . 101:1101(1000) ack 301
         +0   > . 1101:2101(1000) ack 301
         +0   > . 2101:3101(1000) ack 301
         +0   > P. 3101:4101(1000) ack 301
         0.3  < . 301:301(0) ack 101 <sack 1101:4101,TS 2 ecr 200>
         +0   > . 101:1101(1000) ack 301 why fast-retransmit
         +0   is ca recovery
         +0   is ssthresh 5000
         0.31 < . 301:301(0) ack 4101 <TS 3 ecr 200>
         +0   is ca open
         +0   is ssthresh 4294967295
         +0   is cwnd 10000",
    );
}

//= rfc3708#3
//= type=test
#[test]
fn duplicate_sacks_show_that_all_was_repeated_needlessly() {
    after_ten(
        "config cc=reno",
        "0.3  < . 301:301(0) ack 101 <sack 1101:4101>
         +0   > . 101:1101(1000) ack 301 why fast-retransmit
         +0   is ssthresh 5000
         0.31 < . 301:301(0) ack 4101
         0.41 < . 301:301(0) ack 4101 <sack 101:1101>
         +0   is ca open
         +0   is ssthresh 4294967295
         0.42 < . 301:301(0) ack 10101",
    );
}

//= rfc5682#3.1
//= type=test
#[test]
fn a_spurious_timeout_is_taken_back() {
    check(
        "config cc=reno tlp=off iw=4
         established
         0.2  write 8000
         +0   > . 101:1101(1000) ack 301
         +0   > . 1101:2101(1000) ack 301
         +0   > . 2101:3101(1000) ack 301
         +0   > . 3101:4101(1000) ack 301
         0.5  > . 101:1101(1000) ack 301 why rto-retransmit
         +0   is ca loss
         // The delayed acknowledgements of the first copies.
         0.55 < . 301:301(0) ack 1101
         +0   > . 4101:5101(1000) ack 301 why new-data
         +0   > . 5101:6101(1000) ack 301 why new-data
         0.56 < . 301:301(0) ack 2101
         +0   is ca open
         +0   is ssthresh 4294967295
         +0   > . 6101:7101(1000) ack 301 why new-data
         +0   abort
         +0   > R. 7101:7101(0) ack 301",
    );
}

//= rfc5682#3.1
//= type=test
#[test]
fn a_real_timeout_repeats_the_rest() {
    check(
        "config cc=reno tlp=off iw=4
         established
         0.2  write 8000
         +0   > . 101:1101(1000) ack 301
         +0   > . 1101:2101(1000) ack 301
         +0   > . 2101:3101(1000) ack 301
         +0   > . 3101:4101(1000) ack 301
         0.5  > . 101:1101(1000) ack 301 why rto-retransmit
         0.6  < . 301:301(0) ack 1101
         +0   > . 4101:5101(1000) ack 301 why new-data
         +0   > . 5101:6101(1000) ack 301 why new-data
         0.7  < . 301:301(0) ack 1101 <sack 4101:5101>
         +0   is ca loss
         +0   > . 1101:2101(1000) ack 301 why rto-retransmit
         0.71 < . 301:301(0) ack 1101 <sack 4101:6101>
         +0   > . 2101:3101(1000) ack 301 why rto-retransmit
         0.8  < . 301:301(0) ack 2101 <sack 4101:6101>
         +0   > . 3101:4101(1000) ack 301 why rto-retransmit
         0.81 < . 301:301(0) ack 3101 <sack 4101:6101>
         +0   > . 6101:7101(1000) ack 301
         +0   > P. 7101:8101(1000) ack 301
         0.91 < . 301:301(0) ack 8101
         +0   is ca open",
    );
}

//= rfc3168#6.1.2
//= type=test
#[test]
fn an_echoed_mark_cuts_the_window_once_a_round_trip() {
    check(
        "config cc=reno
         established
         0.2  ecn
         0.2  write 4000
         +0   > [ect0] . 101:1101(1000) ack 301
         +0   > [ect0] . 1101:2101(1000) ack 301
         +0   > [ect0] . 2101:3101(1000) ack 301
         +0   > [ect0] P. 3101:4101(1000) ack 301
         0.3  < .E 301:301(0) ack 1101
         +0   is ca cwr
         +0   is ssthresh 5000
         0.3  < .E 301:301(0) ack 4101
         +0   is ssthresh 5000
         0.31 write 2000
         +0   > [ect0] .W 4101:5101(1000) ack 301
         +0   > [ect0] P. 5101:6101(1000) ack 301
         0.41 < . 301:301(0) ack 6101
         +0   is ca open
         +0   is cwnd 5000",
    );
}

//= rfc3042#2
//= type=test
#[test]
fn each_of_the_first_two_sacks_lets_a_new_segment_out() {
    check(
        "config cc=reno iw=4
         established
         0.2  write 9000
         +0   > . 101:1101(1000) ack 301
         +0   > . 1101:2101(1000) ack 301
         +0   > . 2101:3101(1000) ack 301
         +0   > . 3101:4101(1000) ack 301
         0.3  < . 301:301(0) ack 101 <sack 1101:2101>
         +0   > . 4101:5101(1000) ack 301 why new-data
         0.301 < . 301:301(0) ack 101 <sack 1101:3101>
         +0   > . 5101:6101(1000) ack 301 why new-data
         0.302 < . 301:301(0) ack 101 <sack 1101:4101>
         +0   > . 101:1101(1000) ack 301 why fast-retransmit
         +0   is ssthresh 2000
         0.35 abort
         +0   > R. 6101:6101(0) ack 301",
    );
}

#[test]
fn bursts_end_with_push() {
    check(
        "config push=on iw=5
         established
         0.2  write 7500
         +0   > . 101:1101(1000) ack 301
         +0   > P. 1101:2101(1000) ack 301
         +0   > . 2101:3101(1000) ack 301
         +0   > P. 3101:4101(1000) ack 301
         +0   > . 4101:5101(1000) ack 301
         0.3  < . 301:301(0) ack 5101
         +0   > . 5101:6101(1000) ack 301
         +0   > P. 6101:7101(1000) ack 301
         +0   > P. 7101:7601(500) ack 301
         0.4  < . 301:301(0) ack 7601",
    );
}

#[test]
fn pacing_spreads_a_window_over_the_round_trip() {
    // After the first ten segments: 20 * 1000 bytes * 2 in 100 ms, so 2132 bytes take 5.33 ms.
    check(
        "config pacing=on iw=10
         established
         0.2  write 20000
         +0   > . 101:1101(1000) ack 301
         +0   > . 1101:2101(1000) ack 301
         +0   > . 2101:3101(1000) ack 301
         +0   > . 3101:4101(1000) ack 301
         +0   > . 4101:5101(1000) ack 301
         +0   > . 5101:6101(1000) ack 301
         +0   > . 6101:7101(1000) ack 301
         +0   > . 7101:8101(1000) ack 301
         +0   > . 8101:9101(1000) ack 301
         +0   > . 9101:10101(1000) ack 301
         0.3  < . 301:301(0) ack 10101
         +0   is cwnd 20000
         +0   > . 10101:11101(1000) ack 301
         +0   > . 11101:12101(1000) ack 301
         0.30533 > . 12101:13101(1000) ack 301
         +0   > . 13101:14101(1000) ack 301
         0.31066 > . 14101:15101(1000) ack 301
         +0   > . 15101:16101(1000) ack 301
         +0   abort
         +0   > R. 16101:16101(0) ack 301",
    );
}

#[test]
fn the_algorithm_can_be_changed_while_data_is_in_flight() {
    check(
        "config iw=4
         established
         0.2  write 6000
         +0   > . 101:1101(1000) ack 301
         +0   > . 1101:2101(1000) ack 301
         +0   > . 2101:3101(1000) ack 301
         +0   > . 3101:4101(1000) ack 301
         0.25 congestion bbr
         0.3  < . 301:301(0) ack 4101
         +0   > . 4101:5101(1000) ack 301
         +0   > P. 5101:6101(1000) ack 301
         0.4  < . 301:301(0) ack 6101",
    );
}
