//! Closing: every order of FINs, TIME-WAIT, and resets.

use super::script::check;

//= rfc9293#3.6
//= type=test
#[test]
fn normal_close_from_this_side() {
    check(
        "config time-wait=60000
         established
         0.2  close
         +0   > F. 101:101(0) ack 301 why fin
         +0   is fin-wait1
         0.3  < . 301:301(0) ack 102
         +0   is fin-wait2
         0.4  < F. 301:301(0) ack 102
         +0   > . 102:102(0) ack 302
         +0   is time-wait
         60.3 is time-wait
         60.5 is closed
         +0   is finished",
    );
}

#[test]
fn normal_close_from_the_other_side() {
    check(
        "accepted
         0.2  < F. 301:301(0) ack 101
         +0   > . 101:101(0) ack 302
         +0   is close-wait
         +0   read 10 = Ok(Eof)
         0.3  write 10
         +0   > P. 101:111(10) ack 302
         0.4  close
         +0   > F. 111:111(0) ack 302
         +0   is last-ack
         0.5  < . 302:302(0) ack 112
         +0   is closed
         +0   is outcome EnterClosed
         +0   is finished",
    );
}

//= rfc9293#3.6
//= type=test
#[test]
fn simultaneous_close_goes_through_closing() {
    check(
        "established
         0.2  close
         +0   > F. 101:101(0) ack 301
         0.25 < F. 301:301(0) ack 101
         +0   > . 102:102(0) ack 302
         +0   is closing
         0.3  < . 302:302(0) ack 102
         +0   is time-wait",
    );
}

#[test]
fn fin_and_its_ack_in_one_segment_skip_fin_wait_2() {
    check(
        "established
         0.2  close
         +0   > F. 101:101(0) ack 301
         0.3  < F. 301:301(0) ack 102
         +0   > . 102:102(0) ack 302
         +0   is time-wait",
    );
}

//= rfc9293#3.6
//= type=test
#[test]
fn a_half_close_still_receives() {
    check(
        "established
         0.2  shutdown
         +0   > F. 101:101(0) ack 301
         0.3  < . 301:301(0) ack 102
         0.4  < P. 301:1301(1000) ack 102
         +0   > . 102:102(0) ack 1301
         +0   read 1000
         0.5  < F. 1301:1301(0) ack 102
         +0   > . 102:102(0) ack 1302
         +0   is time-wait
         +0   read 10 = Ok(Eof)",
    );
}

#[test]
fn the_fin_follows_the_data_and_rides_on_the_last_of_it() {
    check(
        "established
         0.2  write 1500
         +0   > . 101:1101(1000) ack 301
         +0   > P. 1101:1601(500) ack 301
         0.2  close
         +0   > F. 1601:1601(0) ack 301
         0.3  < . 301:301(0) ack 1602
         +0   is fin-wait2",
    );
    check(
        "config nodelay=off
         established
         0.2  write 100
         +0   > P. 101:201(100) ack 301
         +0   write 100                    // Nagle holds it
         +0   close
         +0   > FP. 201:301(100) ack 301
         0.3  < . 301:301(0) ack 302
         +0   is fin-wait2",
    );
}

//= rfc6298#5.4
//= type=test
#[test]
fn a_lost_fin_is_repeated_in_every_closing_state() {
    // RTO = 100 ms + 4 * 50 ms.
    check(
        "config tlp=off
         established
         0.2  close
         +0   > F. 101:101(0) ack 301
         0.5  > F. 101:101(0) ack 301 why rto-retransmit
         1.1  > F. 101:101(0) ack 301
         1.2  < F. 301:301(0) ack 101
         +0   > . 102:102(0) ack 302
         +0   is closing
         2.3  > F. 101:101(0) ack 302
         2.4  < . 302:302(0) ack 102
         +0   is time-wait",
    );
    check(
        "config tlp=off
         accepted
         0.2  < F. 301:301(0) ack 101
         +0   > . 101:101(0) ack 302
         +0   close
         +0   > F. 101:101(0) ack 302
         0.5  > F. 101:101(0) ack 302
         0.6  < . 302:302(0) ack 102
         +0   is closed",
    );
}

//= rfc9293#3.10.7.4
//= type=test
#[test]
fn time_wait_answers_a_repeated_fin_and_starts_anew() {
    check(
        "config time-wait=1000
         established
         0.2  close
         +0   > F. 101:101(0) ack 301
         0.3  < F. 301:301(0) ack 102
         +0   > . 102:102(0) ack 302
         1.0  < F. 301:301(0) ack 102
         +0   > . 102:102(0) ack 302
         1.9  is time-wait
         2.1  is closed",
    );
}

//= rfc1337#3
//= rfc6191#2
//= type=test
#[test]
fn time_wait_ignores_resets_and_yields_to_a_newer_syn() {
    check(
        "established
         0.2  close
         +0   > F. 101:101(0) ack 301
         0.3  < F. 301:301(0) ack 102
         +0   > . 102:102(0) ack 302
         0.4  < R 302:302(0)
         +0   is time-wait
         +0   is outcome Dropped(ResetInTimeWait)
         1.0  < S 200:200(0)            // old
         +0   > . 102:102(0) ack 302 why challenge-ack
         2.0  < S 5000:5000(0)
         +0   is outcome Reopen",
    );
}

//= rfc9293#3.6.1
//= type=test
#[test]
fn closing_with_unread_data_resets() {
    check(
        "established
         0.2  < P. 301:311(10) ack 101
         +0   > . 101:101(0) ack 311
         0.3  close
         +0   > R. 101:101(0) ack 311 why reset
         +0   is closed
         +0   is finished",
    );
}

//= rfc9293#3.6.1
//= type=test
#[test]
fn data_for_a_closed_socket_is_reset() {
    check(
        "established
         0.2  close
         +0   > F. 101:101(0) ack 301
         0.3  < P. 301:311(10) ack 102
         +0   > R 102:102(0)
         +0   is closed
         0.4  < P. 301:311(10) ack 102     // and whatever comes later
         +0   > R 102:102(0)",
    );
}

#[test]
fn fin_wait_2_without_a_socket_ends_by_itself() {
    check(
        "config fin-wait2=2000
         established
         0.2  close
         +0   > F. 101:101(0) ack 301
         0.3  < . 301:301(0) ack 102
         2.2  is fin-wait2
         2.4  is closed",
    );
    check(
        "config fin-wait2=2000
         established
         0.2  shutdown
         +0   > F. 101:101(0) ack 301
         0.3  < . 301:301(0) ack 102
         9    is fin-wait2
         9    close
         10.9 is fin-wait2
         11.1 is closed",
    );
}

//= rfc9293#3.10.5
//= type=test
#[test]
fn abort_sends_a_reset() {
    check(
        "established
         0.2  write 10
         +0   > P. 101:111(10) ack 301
         0.3  abort
         +0   > R. 111:111(0) ack 301
         +0   is finished",
    );
}

//= rfc5961#3.2
//= type=test
#[test]
fn only_an_exact_reset_resets() {
    check(
        "established
         0.2  < R 300:300(0)              // before the window: silence
         0.2  < R 70000:70000(0)          // beyond it
         +0   is established
         0.3  < R 302:302(0)              // inside
         +0   > . 101:101(0) ack 301 why challenge-ack
         0.4  < R 303:303(0)              // too soon after the last challenge
         0.9  < R 303:303(0)
         +0   > . 101:101(0) ack 301 why challenge-ack
         1.0  < R 301:301(0)
         +0   is closed
         +0   is error Reset
         +0   read 10 = Err(Reset)",
    );
}

#[test]
fn data_that_came_before_a_reset_is_still_read() {
    check(
        "established
         0.2  < P. 301:311(10) ack 101
         +0   > . 101:101(0) ack 311
         0.3  < R. 311:311(0) ack 101
         +0   read 10
         +0   read 10 = Err(Reset)",
    );
}

//= rfc5961#4.2
//= type=test
#[test]
fn a_syn_in_an_open_connection_is_challenged() {
    check(
        "established
         0.2  < S 301:301(0)
         +0   > . 101:101(0) ack 301 why challenge-ack
         +0   is established
         0.9  < S. 300:300(0) ack 101     // the SYN-ACK again: our ACK was lost
         +0   > . 101:101(0) ack 301 why challenge-ack",
    );
}

//= rfc5961#5.2
//= type=test
#[test]
fn the_ack_must_be_in_its_window() {
    check(
        "established
         0.2  < P. 301:311(10) ack 102           // never sent: Linux does not even answer
         +0   is readable 0
         0.3  write 2000
         +0   > . 101:1101(1000) ack 301
         +0   > P. 1101:2101(1000) ack 301
         0.4  < . 301:301(0) ack 2101
         0.5  < P. 301:311(10) ack 1101         // old, but its data counts
         +0   > . 2101:2101(0) ack 311
         +0   is readable 10
         0.6  < P. 311:321(10) ack 4294901000   // ancient
         +0   > . 2101:2101(0) ack 311
         +0   is readable 10",
    );
}
