//! What FreeBSD answers in each state: the table of `recv_bsd`, one set-up for each state and many segments.

use super::script::check;

const SETUP: &str = "config personality=freebsd";

/// The way into a state, and SND.NXT and RCV.NXT there; the peer's data would begin at RCV.NXT.
const STATES: [(&str, &str, u32, u32); 6] = [
    ("established", "", 101, 301),
    ("close-wait", "0.2 < F. 301:301(0) ack 101\n +0 > . 101:101(0) ack 302", 101, 302),
    ("fin-wait1", "0.2 shutdown\n +0 > F. 101:101(0) ack 301", 102, 301),
    ("fin-wait2", "0.2 shutdown\n +0 > F. 101:101(0) ack 301\n +0 < . 301:301(0) ack 102", 102, 301),
    (
        "closing",
        "0.2 shutdown\n +0 > F. 101:101(0) ack 301\n +0 < F. 301:301(0) ack 101\n +0 > F. 101:101(0) ack 302",
        102,
        302,
    ),
    (
        "last-ack",
        "0.2 < F. 301:301(0) ack 101\n +0 > . 101:101(0) ack 302\n +0 shutdown\n +0 > F. 101:101(0) ack 302",
        102,
        302,
    ),
];

/// The buffer is made for whole segments: 66 * 1000.
const WINDOW: u32 = 66_000;

#[track_caller]
fn in_every_state(config: &str, lines: impl Fn(&str, u32, u32) -> String) {
    for (state, way, snd, rcv) in STATES {
        check(&format!(
            "{SETUP} {config}\n established\n {way}\n 0.5 is {state}\n {}",
            lines(state, snd, rcv)
        ));
    }
}

//= rfc5961#3.2
//= type=test
#[test]
fn only_an_exact_reset_counts() {
    for flags in ["R", "R."] {
        in_every_state("", |_, _, rcv| format!("+0 < {flags} {rcv}:{rcv}(0) ack 101\n +0 is error Reset"));
        for far in [-1i64, i64::from(WINDOW)] {
            in_every_state("", |state, _, rcv| {
                let seq = i64::from(rcv) + far;
                format!("+0 < {flags} {seq}:{seq}(0) ack 101\n +0 is {state}")
            });
        }
        for near in [1, WINDOW - 1] {
            in_every_state("", |state, snd, rcv| {
                let seq = rcv + near;
                format!(
                    "+0 < {flags} {seq}:{seq}(0) ack 101
                     +0 > . {snd}:{snd}(0) ack {rcv} why challenge-ack\n +0 is {state}"
                )
            });
        }
    }
}

#[test]
fn an_insecure_reset_counts_anywhere_in_the_window() {
    in_every_state("insecure-rst=on", |_, _, rcv| {
        let seq = rcv + WINDOW - 1;
        format!("+0 < R {seq}:{seq}(0)\n +0 is error Reset")
    });
    in_every_state("insecure-rst=on", |state, _, rcv| {
        let seq = rcv + WINDOW;
        format!("+0 < R {seq}:{seq}(0)\n +0 is {state}")
    });
}

//= rfc5961#4.2
//= type=test
#[test]
fn every_syn_is_challenged() {
    for flags in ["S", "S.", "SF"] {
        for shift in [-1i64, 0, 5, i64::from(WINDOW) - 1, i64::from(WINDOW)] {
            in_every_state("", |state, snd, rcv| {
                let seq = i64::from(rcv) + shift;
                format!(
                    "+0 < {flags} {seq}:{seq}(0) ack 101
                     +0 > . {snd}:{snd}(0) ack {rcv} why challenge-ack\n +0 is {state}"
                )
            });
        }
    }
}

#[test]
fn an_insecure_syn_in_the_window_resets() {
    in_every_state("insecure-syn=on", |_, snd, rcv| {
        format!(
            "+0 < S {rcv}:{rcv}(0)
             +0 > R. {snd}:{snd}(0) ack {rcv}\n +0 is error Reset"
        )
    });
    in_every_state("insecure-syn=on", |state, snd, rcv| {
        let seq = rcv - 1;
        format!("+0 < S {seq}:{seq}(0)\n +0 > . {snd}:{snd}(0) ack {rcv}\n +0 is {state}")
    });
}

//= rfc5961#5.2
//= type=test
#[test]
fn an_ack_of_another_life_is_challenged() {
    in_every_state("", |state, snd, rcv| {
        format!(
            "+0 < . {rcv}:{rcv}(0) ack 100
             +0 > . {snd}:{snd}(0) ack {rcv} why challenge-ack\n +0 is {state}"
        )
    });
}

#[test]
fn the_first_segment_waits_and_the_second_is_acknowledged() {
    check(&format!(
        "{SETUP}
         established
         0.2   < P. 301:311(10) ack 101
         +0.01 < P. 311:321(10) ack 101
         +0    > . 101:101(0) ack 321
         0.3   < P. 321:331(10) ack 101
         +0.04 > . 101:101(0) ack 331 why delayed-ack"
    ));
}

#[test]
fn close_says_fin_even_with_unread_data_and_later_data_is_reset() {
    check(&format!(
        "{SETUP}
         established
         0.2  < P. 301:311(10) ack 101
         +0   close
         +0   > F. 101:101(0) ack 311
         0.3  < . 311:311(0) ack 102
         +0   is fin-wait2
         +0   < P. 311:321(10) ack 102
         +0   > R 102:102(0)
         +0   is closed"
    ));
}

#[test]
fn time_wait_acknowledges_all_but_the_last_ack_again() {
    let way = "0.2 shutdown\n +0 > F. 101:101(0) ack 301\n +0 < F. 301:301(0) ack 102
               +0 > . 102:102(0) ack 302\n +0 is time-wait";
    let ack = "+0 > . 102:102(0) ack 302\n +0 is time-wait";
    let cases = [
        ("< . 302:302(0) ack 102", ""),
        ("< . 303:303(0) ack 102", ack),
        ("< . 301:301(0) ack 102", ack),
        ("< P. 302:305(3) ack 102", ack),
        ("< F. 301:301(0) ack 102", ack),
        ("< R 302:302(0)", ""),
        ("< R. 302:302(0) ack 102", ""),
        ("< F 302:302(0)", ""),
    ];
    for (segment, reply) in cases {
        check(&format!("{SETUP}\n established\n {way}\n 0.5 {segment}\n {reply}\n +0 is time-wait"));
    }
}

//= rfc9293#3.5
//= type=test
#[test]
fn a_simultaneous_open_keeps_the_text_of_the_syn() {
    check(&format!(
        "{SETUP}
         0    connect
         0    > S 100:100(0)
         0.1  < S 300:303(3) win 65535 <mss 1000>
         +0   > S. 100:100(0) ack 301
         +0   is readable 0
         0.2  < . 304:304(0) ack 101
         +0   is established
         +0   is readable 3"
    ));
}

#[test]
fn a_half_open_connection_answers_as_the_syn_cache() {
    let listen = "0 listen\n 0 < S 300:300(0) win 65535 <mss 1000>\n 0 > S. 100:100(0) ack 301";
    let cases = [
        // A RST without ACK, SYN, FIN at the right place ends it; elsewhere in the window it is challenged.
        ("< R 301:301(0)", "+0 is error Refused"),
        ("< R. 301:301(0) ack 101", "+0 is syn-received"),
        ("< R 300:300(0)", "+0 is syn-received"),
        ("< R 302:302(0)", "+0 > . 101:101(0) ack 301"),
        ("< R 65835:65835(0)", "+0 > . 101:101(0) ack 301"),
        ("< R 65836:65836(0)", "+0 is syn-received"),
        // Any SYN brings the SYN-ACK again.
        ("< S 300:300(0)", "+0 > S. 100:100(0) ack 301"),
        ("< S 400:400(0)", "+0 > S. 100:100(0) ack 301"),
        ("< S. 300:300(0) ack 101", "+0 > R 101:101(0)"),
        ("< . 301:301(0) ack 100", "+0 > R 100:100(0)"),
        ("< . 301:301(0) ack 102", "+0 > R 102:102(0)"),
        ("< . 300:300(0) ack 101", "+0 > . 101:101(0) ack 301"),
        ("< F 301:301(0)", "+0 is syn-received"),
        ("< . 301:301(0) ack 101", "+0 is established"),
        ("< F. 301:301(0) ack 101", "+0 > . 101:101(0) ack 302\n +0 is close-wait"),
    ];
    for (segment, reply) in cases {
        check(&format!("{SETUP}\n {listen}\n 0.1 {segment}\n {reply}"));
    }
}
