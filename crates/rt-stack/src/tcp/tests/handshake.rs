//! Opening a connection: both roads, both at once, and everything that may go wrong.

use super::script::check;

//= rfc9293#3.10.1
//= rfc7323#2.2
//= type=test
#[test]
fn the_textbook_handshake_with_pinned_numbers() {
    check(
        "config ts=on ws=on mss=1460
         0    connect
         0    > S 100:100(0) win 64240 <mss 1460,sackOK,TS 0 ecr 0,nop,wscale 7>
         0.01 < S. 300:300(0) ack 101 win 65160 <mss 1460,sackOK,TS 5000 ecr 0,nop,wscale 7>
         +0   > . 101:101(0) ack 301 win 502 <TS 10 ecr 5000>
         +0   is established
         +0   is mss 1448",
    );
}

//= rfc9293#3.10.7.2
//= type=test
#[test]
fn a_listener_answers_with_what_was_offered() {
    check(
        "config ts=on ws=on mss=1460
         0    listen
         0    < S 300:300(0) win 64240 <mss 1460,sackOK,TS 7000 ecr 0,nop,wscale 7>
         0    > S. 100:100(0) ack 301 win 65160 <mss 1460,sackOK,TS 0 ecr 7000,nop,wscale 7>
         +0   is syn-received
         0.01 < . 301:301(0) ack 101 win 502 <TS 7010 ecr 0>
         +0   is established
         +0   is outcome EnterEstablished",
    );
    check(
        "config ts=on ws=on mss=1460
         0    listen
         0    < S 300:300(0) win 8000 <mss 700>
         0    > S. 100:100(0) ack 301 win 64240 <mss 1460>
         0.01 < . 301:301(0) ack 101 win 8000
         +0   is mss 700",
    );
}

//= rfc9293#3.7.1
//= type=test
#[test]
fn without_the_option_the_mss_is_536() {
    check(
        "0    connect
         0    > S 100:100(0)
         0.1  < S. 300:300(0) ack 101 win 65535
         +0   > . 101:101(0) ack 301
         +0   is mss 536",
    );
}

//= rfc9293#3.5
//= type=test
#[test]
fn simultaneous_open() {
    check(
        "0    connect
         0    > S 100:100(0)
         0.01 < S 300:300(0) win 65535 <mss 1000>
         +0   > S. 100:100(0) ack 301 <mss 1000>
         +0   is syn-received
         0.02 < S. 300:300(0) ack 101 win 65535 <mss 1000>
         +0   is established",
    );
    // The other side's SYN-ACK may be lost and its data come first.
    check(
        "config quick=0
         0    connect
         0    > S 100:100(0)
         0.01 < S 300:300(0) win 65535 <mss 1000>
         +0   > S. 100:100(0) ack 301
         0.02 < P. 301:311(10) ack 101
         +0   is established
         +0   is readable 10
         +0.04 > . 101:101(0) ack 311",
    );
}

//= rfc9293#3.10.7.3
//= type=test
#[test]
fn syn_sent_believes_only_answers_to_its_syn() {
    check(
        "0    connect
         0    > S 100:100(0)
         0.1  < . 300:300(0) ack 100
         +0   > R 100:100(0)
         0.2  < . 300:300(0) ack 102
         +0   > R 102:102(0)
         0.3  < R. 300:300(0) ack 100    // a RST with a wrong ACK
         0.3  < R 300:300(0)             // and one without
         0.3  < . 300:300(0) ack 101     // neither SYN nor RST
         +0   is syn-sent",
    );
}

//= rfc9293#3.10.7.3
//= type=test
#[test]
fn a_reset_of_the_syn_is_a_refusal() {
    check(
        "0    connect
         0    > S 100:100(0)
         0.1  < R. 0:0(0) ack 101
         +0   is closed
         +0   is error Refused
         +0   is outcome ClosedByReset",
    );
}

//= rfc9293#3.8.3
//= rfc6298#5.5
//= type=test
#[test]
fn the_syn_is_repeated_with_doubling_until_it_gives_up() {
    check(
        "config syn-retries=6
         0    connect
         0    > S 100:100(0)
         1    > S 100:100(0) why handshake
         3    > S 100:100(0)
         7    > S 100:100(0)
         15   > S 100:100(0)
         31   > S 100:100(0)
         63   > S 100:100(0)
         126.9 is syn-sent
         128  is closed
         +0   is error TimedOut",
    );
}

#[test]
fn the_syn_ack_is_repeated_too() {
    check(
        "config synack-retries=2
         0    < S 300:300(0) win 65535 <mss 1000>
         0    > S. 100:100(0) ack 301
         0.5  < S 300:300(0) win 65535 <mss 1000>    // the client asks again
         0.5  > S. 100:100(0) ack 301
         1.5  > S. 100:100(0) ack 301
         3.5  > S. 100:100(0) ack 301
         7.6  is closed",
    );
}

//= rfc9293#3.10.7.4
//= type=test
#[test]
fn a_wrong_ack_in_syn_received_is_reset_and_the_state_stays() {
    check(
        "0    < S 300:300(0) win 65535 <mss 1000>
         0    > S. 100:100(0) ack 301
         0.1  < . 301:301(0) ack 105
         +0   > R 105:105(0)
         +0   is syn-received
         0.2  < . 301:301(0) ack 101
         +0   is established",
    );
}

//= rfc9293#3.10.7.2
//= type=test
#[test]
fn a_listener_resets_what_belongs_to_nobody() {
    check(
        "0    listen
         0    < . 301:301(0) ack 77
         0    > R 77:77(0)
         0    < R 301:301(0)
         0    < F 301:301(0)",
    );
}

//= rfc5461#4.1
//= type=test
#[test]
fn icmp_ends_an_attempt_to_connect_but_not_a_connection() {
    check(
        "0    connect
         0    > S 100:100(0)
         0.1  icmp host seq 500     // not in flight: RFC 5927
         +0   is syn-sent
         0.1  icmp host seq 100
         +0   is error HostUnreachable",
    );
    check(
        "established
         0.2  write 10
         +0   > P. 101:111(10) ack 301
         0.3  icmp host seq 101
         +0   is established
         0.4  < . 301:301(0) ack 111",
    );
}

#[test]
fn data_written_before_the_handshake_follows_it() {
    check(
        "0    connect
         0    > S 100:100(0)
         0    write 1500
         0.1  < S. 300:300(0) ack 101 win 65535 <mss 1000>
         +0   > . 101:1101(1000) ack 301
         +0   > P. 1101:1601(500) ack 301
         0.2  < . 301:301(0) ack 1601",
    );
}

#[test]
fn data_and_fin_may_ride_on_the_third_segment() {
    check(
        "0    < S 300:300(0) win 65535 <mss 1000>
         0    > S. 100:100(0) ack 301
         0.1  < F. 301:311(10) ack 101
         +0   > . 101:101(0) ack 312
         +0   is close-wait
         +0   read 10
         +0   read 10 = Ok(Eof)",
    );
}
