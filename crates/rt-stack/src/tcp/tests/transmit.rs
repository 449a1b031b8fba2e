//! The sending side: windows, Nagle, probes, keepalive, and every kind of loss.

use super::script::check;

#[test]
fn the_initial_window_is_ten_segments_and_slow_start_doubles_it() {
    check(
        "established
         0.2  write 60000
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
         0.3  < . 301:301(0) ack 2101
         +0   > . 10101:11101(1000) ack 301
         +0   > . 11101:12101(1000) ack 301
         +0   > . 12101:13101(1000) ack 301
         +0   > . 13101:14101(1000) ack 301
         +0   is cwnd 12000
         +0   is in-flight 12000
         +0   abort
         +0   > R. 14101:14101(0) ack 301",
    );
}

//= rfc9293#3.7.4
//= type=test
#[test]
fn nagle_lets_one_small_segment_be_on_its_way() {
    check(
        "established
         0.2  write 10
         +0   > P. 101:111(10) ack 301
         0.21 write 10
         0.22 write 10
         0.3  < . 301:301(0) ack 111
         +0   > P. 111:131(20) ack 301
         0.31 write 1100                          // a full segment goes, its rest waits
         +0   > . 131:1131(1000) ack 301
         0.4  < . 301:301(0) ack 1131
         +0   > P. 1131:1231(100) ack 301
         0.41 write 5
         +0   nodelay
         +0   > P. 1231:1236(5) ack 301
         0.5  < . 301:301(0) ack 1236",
    );
}

//= rfc9293#3.8.6.1
//= type=test
#[test]
fn a_closed_window_is_probed_with_doubling_for_as_long_as_answers_come() {
    check(
        "established
         0.2  < . 301:301(0) ack 101 win 0
         0.2  write 10
         0.5  > . 100:100(0) ack 301 why window-probe
         0.6  < . 301:301(0) ack 101 win 0
         1.2  > . 100:100(0) ack 301
         1.2  < . 301:301(0) ack 101 win 0
         2.4  > . 100:100(0) ack 301
         2.5  < . 301:301(0) ack 101 win 100
         +0   > P. 101:111(10) ack 301 why new-data
         2.6  < . 301:301(0) ack 111",
    );
}

#[test]
fn unanswered_probes_give_up() {
    check(
        "config retries=2
         established
         0.2  < . 301:301(0) ack 101 win 0
         0.2  write 10
         0.5  > . 100:100(0) ack 301 why window-probe
         1.1  > . 100:100(0) ack 301
         2.4  is error TimedOut",
    );
}

//= rfc9293#3.8.6.2.1
//= type=test
#[test]
fn a_silly_window_is_not_filled_until_the_timer_says_so() {
    check(
        "established
         0.2  < . 301:301(0) ack 101 win 300
         0.2  write 2000
         0.5  > . 101:401(300) ack 301
         0.6  < . 301:301(0) ack 401 win 5000
         +0   > . 401:1401(1000) ack 301
         +0   > P. 1401:2101(700) ack 301
         0.7  < . 301:301(0) ack 2101 win 5000",
    );
    // Half of the widest window ever offered is not silly.
    check(
        "0    connect
         0    > S 100:100(0)
         0.1  < S. 300:300(0) ack 101 win 800 <mss 1000>
         0.1  > . 101:101(0) ack 301
         0.2  write 2000
         +0   > . 101:901(800) ack 301
         0.3  < . 301:301(0) ack 901 win 800
         +0   > . 901:1701(800) ack 301
         0.4  < . 301:301(0) ack 1701 win 800
         +0   > P. 1701:2101(400) ack 301
         0.5  < . 301:301(0) ack 2101 win 800",
    );
}

//= rfc9293#3.8.4
//= type=test
#[test]
fn keepalive_probes_an_idle_connection_and_gives_up() {
    check(
        "config keepalive=10000
         established
         10.1 > . 100:100(0) ack 301 why keepalive
         10.2 < . 301:301(0) ack 101
         20.2 > . 100:100(0) ack 301
         21.2 > . 100:100(0) ack 301
         22.2 > R. 101:101(0) ack 301
         +0   is error TimedOut",
    );
    check(
        "established
         9000 is established",
    );
}

//= rfc6298#5
//= rfc6298#3
//= type=test
#[test]
fn the_rto_doubles_until_something_is_measured() {
    check(
        "config tlp=off
         established
         +0   is rto 300
         0.2  write 10
         +0   > P. 101:111(10) ack 301 why new-data
         0.5  > P. 101:111(10) ack 301 why rto-retransmit
         1.1  > P. 101:111(10) ack 301
         2.3  > P. 101:111(10) ack 301
         +0   is cwnd 1000
         2.4  < . 301:301(0) ack 111
         +0   is srtt 100                     // Karn: nothing was measured
         +0   is rto 2400
         2.5  write 10
         +0   > P. 111:121(10) ack 301
         2.6  < . 301:301(0) ack 121
         +0   is rto 300",
    );
}

#[test]
fn data_without_answer_gives_up() {
    check(
        "config retries=3 tlp=off
         established
         0.2  write 10
         +0   > P. 101:111(10) ack 301
         0.5  > P. 101:111(10) ack 301
         1.1  > P. 101:111(10) ack 301
         2.3  > P. 101:111(10) ack 301
         4.8  is closed
         +0   is error TimedOut",
    );
}

//= rfc5681#3.2
//= rfc3042#2
//= rfc6582#3.2
//= type=test
#[test]
fn three_duplicate_acks_without_sack_and_a_partial_ack() {
    check(
        "config cc=reno sack=off iw=8 mss=1000
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
         0.3  < . 301:301(0) ack 101
         +0   > . 8101:9101(1000) ack 301          // limited transmit
         0.31 < . 301:301(0) ack 101
         +0   > . 9101:10101(1000) ack 301
         0.32 < . 301:301(0) ack 101
         +0   > . 101:1101(1000) ack 301 why fast-retransmit
         +0   is ssthresh 4000
         0.33 < . 301:301(0) ack 101
         0.34 < . 301:301(0) ack 101                // half of what is delivered may be sent
         +0   > . 10101:11101(1000) ack 301
         0.4  < . 301:301(0) ack 4101               // partial: 4101 is lost too
         0.41 < . 301:301(0) ack 4101
         +0   > . 4101:5101(1000) ack 301 why fast-retransmit
         +0   is ca recovery
         0.5  < . 301:301(0) ack 11101
         +0   is ca open
         +0   is cwnd 5000
         +0   > . 11101:12101(1000) ack 301
         +0   > . 12101:13101(1000) ack 301
         +0   > . 13101:14101(1000) ack 301
         +0   > . 14101:15101(1000) ack 301
         +0   > . 15101:16101(1000) ack 301
         +0   abort
         +0   > R. 16101:16101(0) ack 301",
    );
}

//= rfc6675#4
//= rfc6675#5
//= rfc9937#6.2
//= type=test
#[test]
fn sack_shows_what_is_lost_and_only_that_is_repeated() {
    check(
        "config cc=reno
         established
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
         // 101 and 3101 are lost.
         0.3  < . 301:301(0) ack 101 <sack 1101:2101>
         +0   < . 301:301(0) ack 101 <sack 1101:3101>
         +0   < . 301:301(0) ack 101 <sack 4101:5101 1101:3101>
         +0   > . 101:1101(1000) ack 301 why fast-retransmit
         +0   is ssthresh 5000
         +0   < . 301:301(0) ack 101 <sack 4101:6101 1101:3101>
         +0   < . 301:301(0) ack 101 <sack 4101:7101 1101:3101>
         +0   > . 3101:4101(1000) ack 301 why fast-retransmit
         0.4  < . 301:301(0) ack 3101 <sack 4101:10101>
         0.41 < . 301:301(0) ack 10101
         +0   is cwnd 5000
         +0   is in-flight 0",
    );
}

//= rfc5681#3.1
//= rfc2018#8
//= type=test
#[test]
fn after_a_timeout_all_is_lost_but_what_was_sacked() {
    check(
        "config cc=reno rack=off tlp=off
         established
         0.2  write 4000
         +0   > . 101:1101(1000) ack 301
         +0   > . 1101:2101(1000) ack 301
         +0   > . 2101:3101(1000) ack 301
         +0   > P. 3101:4101(1000) ack 301
         0.3  < . 301:301(0) ack 101 <sack 1101:2101>
         0.5  > . 101:1101(1000) ack 301 why rto-retransmit
         +0   is cwnd 1000
         +0   is ssthresh 5000
         0.6  < . 301:301(0) ack 2101
         +0   > . 2101:3101(1000) ack 301 why rto-retransmit
         +0   > P. 3101:4101(1000) ack 301 why rto-retransmit
         0.7  < . 301:301(0) ack 4101
         +0   is in-flight 0",
    );
    // The receiver took back what it had reported: then nothing is believed.
    check(
        "config cc=reno rack=off tlp=off
         established
         0.2  write 3000
         +0   > . 101:1101(1000) ack 301
         +0   > . 1101:2101(1000) ack 301
         +0   > P. 2101:3101(1000) ack 301
         0.3  < . 301:301(0) ack 101 <sack 1101:2101>
         0.4  < . 301:301(0) ack 1101
         0.45625 > . 1101:2101(1000) ack 301 why rto-retransmit   // half a round trip of patience
         0.8  < . 301:301(0) ack 3101",
    );
}

//= rfc5681#4.1
//= type=test
#[test]
fn an_idle_connection_starts_slowly_again() {
    check(
        "config iw=2
         established
         0.2  write 6000
         +0   > . 101:1101(1000) ack 301
         +0   > . 1101:2101(1000) ack 301
         0.3  < . 301:301(0) ack 2101
         +0   is cwnd 4000
         +0   > . 2101:3101(1000) ack 301
         +0   > . 3101:4101(1000) ack 301
         +0   > . 4101:5101(1000) ack 301
         +0   > P. 5101:6101(1000) ack 301
         0.4  < . 301:301(0) ack 6101
         +0   is cwnd 8000
         9    write 1000
         +0   > P. 6101:7101(1000) ack 301
         +0   is cwnd 2000
         9.1  < . 301:301(0) ack 7101",
    );
}

//= rfc1191#3
//= rfc5927#4.1
//= type=test
#[test]
fn a_smaller_path_mtu_cuts_what_was_too_long() {
    check(
        "established
         0.2  write 1500
         +0   > . 101:1101(1000) ack 301
         +0   > P. 1101:1601(500) ack 301
         0.25 icmp 640 seq 5000                     // not ours
         0.25 icmp 640 seq 101
         +0   is mss 600
         +0   > . 101:701(600) ack 301 why path-mtu
         +0   > . 701:1101(400) ack 301
         0.4  < . 301:301(0) ack 1601",
    );
}

#[test]
fn an_application_that_writes_little_does_not_grow_the_window() {
    check(
        "config iw=4
         established
         0.2  write 1000
         +0   > P. 101:1101(1000) ack 301
         0.3  < . 301:301(0) ack 1101
         0.3  write 1000
         +0   > P. 1101:2101(1000) ack 301
         0.4  < . 301:301(0) ack 2101
         +0   is cwnd 4000",
    );
}

#[test]
fn writing_after_shutdown_is_an_error_and_a_full_buffer_says_so() {
    check(
        "0    connect
         0    > S 100:100(0)
         0    write 70000 = 65536
         0    write 1 = 0
         0    abort
         0    is finished",
    );
}
