//! Options of sockets: user timeout, buffers, windows.

use super::script::check;

//= rfc5482#3
//= type=test
#[test]
fn a_user_timeout_ends_a_stall_by_time() {
    check(
        "config user-timeout=1000
         established
         0.2  write 10
         +0   > P. 101:111(10) ack 301
         0.5  > P. 101:111(10) ack 301 why tail-loss-probe
         0.8  > P. 101:111(10) ack 301
         1.4  > P. 101:111(10) ack 301
         1.49 is established
         1.51 is error TimedOut",
    );
}

#[test]
fn a_user_timeout_spares_what_is_acknowledged_and_idle() {
    check(
        "config user-timeout=1000
         established
         0.2  write 10
         +0   > P. 101:111(10) ack 301
         0.5  > P. 101:111(10) ack 301
         0.6  < . 301:301(0) ack 111
         60   is established",
    );
}

#[test]
fn a_user_timeout_ends_an_attempt_to_connect() {
    check(
        "config user-timeout=2500
         0    connect
         0    > S 100:100(0)
         1    > S 100:100(0)
         2.4  is syn-sent
         2.51 is error TimedOut",
    );
}

#[test]
fn a_user_timeout_shortens_keepalive() {
    check(
        "config keepalive=10000 user-timeout=11500
         established
         10.1 > . 100:100(0) ack 301 why keepalive
         11.1 > . 100:100(0) ack 301 why keepalive
         12.1 > R. 101:101(0) ack 301
         +0   is error TimedOut",
    );
}

#[test]
fn a_fixed_buffer_and_a_clamp_bound_the_window() {
    check("config rcvbuf=20000\n 0 connect\n 0 > S 100:100(0) win 10000");
    check("config window-clamp=5000\n 0 connect\n 0 > S 100:100(0) win 5000");
}

#[test]
fn without_rfc_1337_an_exact_reset_ends_time_wait() {
    let way = "established\n 0.2 close\n +0 > F. 101:101(0) ack 301\n 0.3 < F. 301:301(0) ack 102
               +0 > . 102:102(0) ack 302\n +0 is time-wait";
    check(&format!("config rfc1337=on\n {way}\n 0.4 < R 302:302(0)\n +0 is time-wait"));
    check(&format!("config rfc1337=off\n {way}\n 0.4 < R 303:303(0)\n +0 is time-wait"));
    check(&format!("config rfc1337=off\n {way}\n 0.4 < R 302:302(0)\n +0 is closed"));
}
