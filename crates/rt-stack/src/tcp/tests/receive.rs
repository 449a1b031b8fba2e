//! The receiving side: ACK policy, reassembly, SACK, window.

use super::script::check;

//= rfc5681#4.2
//= type=test
#[test]
fn every_second_full_segment_is_acknowledged_at_once_and_a_single_one_after_40_ms() {
    check(
        "config quick=0
         established
         0.2  < . 301:1301(1000) ack 101
         0.21 < . 1301:2301(1000) ack 101
         +0   > . 101:101(0) ack 2301 why ack
         0.3  < . 2301:3301(1000) ack 101
         0.34 > . 101:101(0) ack 3301 why delayed-ack",
    );
}

#[test]
fn the_first_segments_are_acknowledged_at_once() {
    check(
        "config quick=2
         established
         0.2  < P. 301:311(10) ack 101
         +0   > . 101:101(0) ack 311
         0.3  < P. 311:321(10) ack 101
         +0   > . 101:101(0) ack 321
         0.4  < P. 321:331(10) ack 101
         0.44 > . 101:101(0) ack 331 why delayed-ack",
    );
}

#[test]
fn a_dialogue_puts_the_ack_on_the_answer() {
    check(
        "established
         0.2  < P. 301:311(10) ack 101
         +0   > . 101:101(0) ack 311
         0.21 write 10
         +0   > P. 101:111(10) ack 311
         0.3  < P. 311:321(10) ack 111
         0.32 write 10
         +0   > P. 111:121(10) ack 321
         0.4  < P. 321:331(10) ack 121
         0.44 > . 121:121(0) ack 331 why delayed-ack",
    );
}

//= rfc2018#4
//= type=test
#[test]
fn sack_blocks_come_newest_first() {
    check(
        "established
         0.2  < . 1301:2301(1000) ack 101
         +0   > . 101:101(0) ack 301 <sack 1301:2301>
         0.3  < . 3301:4301(1000) ack 101
         +0   > . 101:101(0) ack 301 <sack 3301:4301 1301:2301>
         0.4  < . 5301:6301(1000) ack 101
         +0   > . 101:101(0) ack 301 <sack 5301:6301 3301:4301 1301:2301>
         0.5  < . 2301:2801(500) ack 101
         +0   > . 101:101(0) ack 301 <sack 1301:2801 5301:6301 3301:4301>
         0.6  < . 301:1301(1000) ack 101
         +0   > . 101:101(0) ack 2801 <sack 5301:6301 3301:4301>
         +0   is readable 2500
         0.7  < . 2801:3301(500) ack 101
         +0   > . 101:101(0) ack 4301 <sack 5301:6301>
         0.8  < . 4301:5301(1000) ack 101
         +0   > . 101:101(0) ack 6301 <>
         +0   read 6000",
    );
}

#[test]
fn three_blocks_with_timestamps() {
    check(
        "config ts=on
         0    connect
         0    > S 100:100(0)
         0.1  < S. 300:300(0) ack 101 <mss 1000,sackOK,TS 1 ecr 0>
         0.1  > . 101:101(0) ack 301
         0.2  < . 1301:1401(100) ack 101 <TS 2 ecr 0>
         +0   > . 101:101(0) ack 301 <TS 200 ecr 1,sack 1301:1401>
         +0   < . 1501:1601(100) ack 101 <TS 2 ecr 0>
         +0   > . 101:101(0) ack 301
         +0   < . 1701:1801(100) ack 101 <TS 2 ecr 0>
         +0   > . 101:101(0) ack 301
         +0   < . 1901:2001(100) ack 101 <TS 2 ecr 0>
         +0   > . 101:101(0) ack 301 <TS 200 ecr 1,sack 1901:2001 1701:1801 1501:1601>",
    );
}

//= rfc2883#4
//= type=test
#[test]
fn duplicates_are_reported_first() {
    check(
        "established
         0.2  < . 301:1301(1000) ack 101
         +0   > . 101:101(0) ack 1301
         0.3  < . 301:1301(1000) ack 101
         +0   > . 101:101(0) ack 1301 <sack 301:1301>
         0.4  < . 2301:3301(1000) ack 101
         +0   > . 101:101(0) ack 1301 <sack 2301:3301>
         0.5  < . 2301:3301(1000) ack 101
         +0   > . 101:101(0) ack 1301 <sack 2301:3301 2301:3301>
         0.6  < . 801:1801(1000) ack 101
         +0   > . 101:101(0) ack 1801 <sack 801:1301 2301:3301>",
    );
}

#[test]
fn any_order_and_overlap_is_put_together() {
    check(
        "established
         0.2  < . 701:1001(300) ack 101
         +0   > . 101:101(0) ack 301
         0.2  < . 601:801(200) ack 101
         +0   > . 101:101(0) ack 301
         0.2  < . 501:1101(600) ack 101
         +0   > . 101:101(0) ack 301
         0.2  < . 301:551(250) ack 101
         +0   > . 101:101(0) ack 1101
         +0   read 800",
    );
}

//= rfc9293#3.10.7.4
//= type=test
#[test]
fn a_fin_beyond_a_hole_waits_for_it() {
    check(
        "established
         0.2  < F. 1301:2301(1000) ack 101
         +0   > . 101:101(0) ack 301 <sack 1301:2302>
         +0   is established
         0.3  < . 301:1301(1000) ack 101
         +0   > . 101:101(0) ack 2302
         +0   is close-wait
         +0   read 2000
         +0   read 10 = Ok(Eof)",
    );
}

//= rfc9293#3.8.6.2.2
//= type=test
#[test]
fn the_window_closes_and_opens_by_a_worthwhile_step() {
    check(
        "config recv=3000 window=3000 quick=0
         established
         0.2  < . 301:1301(1000) ack 101
         0.2  < . 1301:2301(1000) ack 101
         +0   > . 101:101(0) ack 2301 win 1000
         0.3  < . 2301:3301(1000) ack 101
         0.34 > . 101:101(0) ack 3301 win 0
         0.4  < . 3300:3300(0) ack 101          // a probe
         +0   > . 101:101(0) ack 3301 win 0
         0.5  read 500                          // too little to tell
         0.6  < . 3301:3302(1) ack 101          // a probe with a byte that has no room
         +0   > . 101:101(0) ack 3301 win 0
         0.7  read 700
         +0   > . 101:101(0) ack 3301 win 1200 why ack
         0.8  < . 3301:4301(1000) ack 101
         0.84 > . 101:101(0) ack 4301 win 200
         0.9  read 5000 = Ok(Data(2800))
         +0   > . 101:101(0) ack 4301 win 3000",
    );
}

//= rfc7323#2.3
//= type=test
#[test]
fn the_window_widens_with_what_arrives_up_to_the_limit() {
    check(
        "config ws=on recv=131072 window=10000 quick=0
         0    connect
         0    > S 100:100(0) win 10000 <mss 1000,sackOK,wscale 2>
         0.1  < S. 300:300(0) ack 101 <mss 1000,wscale 0>
         0.1  > . 101:101(0) ack 301 win 2500
         0.2  < . 301:1301(1000) ack 101
         0.2  read 1000
         0.2  < . 1301:2301(1000) ack 101
         +0   > . 101:101(0) ack 2301 win 3250
         +0   read 1000",
    );
}

//= rfc9293#3.10.7.4
//= type=test
#[test]
fn data_outside_the_window_is_always_answered() {
    check(
        "config recv=3000 window=3000
         established
         0.2  < . 3301:3311(10) ack 101
         +0   > . 101:101(0) ack 301
         0.2  < . 3301:3311(10) ack 101
         +0   > . 101:101(0) ack 301
         +0   is readable 0",
    );
}

//= rfc7323#5.3
//= rfc7323#4.3
//= type=test
#[test]
fn old_timestamps_are_refused_and_ts_recent_moves_only_at_the_edge() {
    check(
        "config ts=on quick=9
         0    connect
         0    > S 100:100(0) <mss 1000,sackOK,TS 0 ecr 0>
         0.1  < S. 300:300(0) ack 101 <mss 1000,sackOK,TS 1000 ecr 0>
         0.1  > . 101:101(0) ack 301 <TS 100 ecr 1000>
         0.2  < P. 301:311(10) ack 101 <TS 1100 ecr 100>
         +0   > . 101:101(0) ack 311 <TS 200 ecr 1100>
         0.3  < P. 311:321(10) ack 101 <TS 1099 ecr 100>
         +0   > . 101:101(0) ack 311
         +0   is outcome Dropped(Paws)
         0.4  < P. 321:331(10) ack 101 <TS 1200 ecr 100>      // beyond a hole
         +0   > . 101:101(0) ack 311 <TS 400 ecr 1100,sack 321:331>
         0.5  < P. 311:321(10) ack 101                        // without the option: taken
         +0   > . 101:101(0) ack 331 <TS 500 ecr 1100>
         +0   read 30",
    );
}

#[test]
fn timestamps_cost_twelve_bytes_of_every_segment() {
    check(
        "config ts=on mss=1460
         0    connect
         0    > S 100:100(0)
         0.1  < S. 300:300(0) ack 101 <mss 1460,TS 1 ecr 0>
         0.1  > . 101:101(0) ack 301
         0.2  write 3000
         +0   > . 101:1549(1448) ack 301
         +0   > . 1549:2997(1448) ack 301
         +0   > P. 2997:3101(104) ack 301
         0.3  < . 301:301(0) ack 3101 <TS 2 ecr 200>",
    );
}
