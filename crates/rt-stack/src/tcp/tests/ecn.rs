//! Explicit congestion notification after the handshake: who may be marked, the echo, and its end.

use super::script::check;

//= rfc3168#6.1.2
//= rfc3168#6.1.3
//= rfc3168#6.1.4
//= type=test
#[test]
fn a_mark_is_echoed_until_the_peer_says_that_it_heard() {
    check(
        "established
         0.2  ecn
         0.2  write 1000
         +0   > [ect0] P. 101:1101(1000) ack 301
         0.3  < [ect0] . 301:1301(1000) ack 1101
         +0   > [noecn] . 1101:1101(0) ack 1301
         0.4  < [ce] . 1301:2301(1000) ack 1101
         +0   > [noecn] .E 1101:1101(0) ack 2301
         0.5  < [ect0] . 2301:3301(1000) ack 1101
         +0   > [noecn] .E 1101:1101(0) ack 3301
         0.6  < [ect0] W. 3301:4301(1000) ack 1101
         +0   > [noecn] . 1101:1101(0) ack 4301",
    );
}

//= rfc3168#6.1.5
//= type=test
#[test]
fn a_retransmission_may_not_be_marked() {
    check(
        "config tlp=off
         established
         0.2  ecn
         0.2  write 1000
         +0   > [ect0] P. 101:1101(1000) ack 301
         0.5  > [noecn] P. 101:1101(1000) ack 301 why rto-retransmit
         0.6  < . 301:301(0) ack 1101",
    );
}

#[test]
fn nothing_is_echoed_in_time_wait() {
    for (personality, first) in [("freebsd", "."), ("linux", ".E")] {
        check(&format!(
            "config personality={personality}
             established
             0.2  ecn
             0.2  shutdown
             +0   > F. 101:101(0) ack 301
             0.3  < [ce] F. 301:1301(1000) ack 102
             +0   > {first} 102:102(0) ack 1302
             +0   is time-wait
             // Two ends in TIME-WAIT do not go on answering.
             0.6  < . 1302:1302(0) ack 102
             0.7  < F. 1301:1301(0) ack 102
             +0   > . 102:102(0) ack 1302"
        ));
    }
}
