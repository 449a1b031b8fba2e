//! The interpreter: what passes, what fails, and what is said then.

use super::{Options, Outcome, Verdict, run};

const HANDSHAKE: &str = "\
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <...>
+.1 < . 1:1(0) ack 1 win 257
+0 accept(3, ..., ...) = 4
";

fn play(more: &str) -> Outcome {
    run(&format!("{HANDSHAKE}{more}"), &Options::default())
}

#[track_caller]
fn passes(more: &str) {
    let outcome = play(more);
    if let Verdict::Failed(failure) = &outcome.verdict {
        panic!("{}", failure.show("script", &format!("{HANDSHAKE}{more}")));
    }
    assert!(matches!(outcome.verdict, Verdict::Passed), "{:?}", outcome.verdict);
}

#[track_caller]
fn fails(more: &str) -> String {
    let text = format!("{HANDSHAKE}{more}");
    match play(more).verdict {
        Verdict::Failed(failure) => failure.show("script", &text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_leaves_and_is_acknowledged() {
    passes("+0 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1\n+.1 < . 1:1(0) ack 1001 win 257\n");
}

#[test]
fn the_strict_end_sees_what_no_line_mentions() {
    let said = fails("+0 write(4, ..., 1000) = 1000\n");
    assert!(said.contains("a packet was sent that no line mentions"), "{said}");
    assert!(said.contains("> P. 1:1001(1000) ack 1"), "{said}");
}

#[test]
fn both_packets_stand_side_by_side() {
    let said = fails("+0 write(4, ..., 1000) = 1000\n+0 > . 1:1001(1000) ack 2\n");
    assert!(said.contains("the packet differs in flags, ack"), "{said}");
}

#[test]
fn a_microsecond_late_is_late() {
    let said = fails("+0 write(4, ..., 1000) = 1000\n+0.000001 > P. 1:1001(1000) ack 1\n");
    assert!(said.contains("0.000001 s early"), "{said}");
}

#[test]
fn segments_add_up_to_a_line() {
    passes("+0 write(4, ..., 2000) = 2000\n+0 > P. 1:2001(2000) ack 1\n+.1 < . 1:1(0) ack 2001 win 257\n");
}

#[test]
fn a_blocking_read_returns_when_data_comes() {
    passes("0.2...0.3 read(4, ..., 1000) = 10\n0.3 < P. 1:11(10) ack 1 win 257\n* > . 1:1(0) ack 11\n");
    let said =
        fails("0.2...0.4 read(4, ..., 1000) = 10\n0.3 < P. 1:11(10) ack 1 win 257\n* > . 1:1(0) ack 11\n");
    assert!(said.contains("read returned 0.100000 s early"), "{said}");
    let said = fails("0.2...0.3 read(4, ..., 1000) = 10\n");
    assert!(said.contains("has not"), "{said}");
}

#[test]
fn assertions_read_tcp_info() {
    passes("+0 %{ assert tcpi_state == TCP_ESTABLISHED, tcpi_state }%\n");
    let said = fails("+0 %{ assert tcpi_state == TCP_CLOSE }%\n");
    assert!(said.contains("tcpi_state = 1"), "{said}");
    let outcome = play("+0 %{ import os; for x in y: pass }%\n");
    assert!(matches!(outcome.verdict, Verdict::Unsupported { line: 9, .. }), "{:?}", outcome.verdict);
}

#[test]
fn ports_choose_among_several_peers() {
    passes(
        "+0 < 6000 > 8080 S 500:500(0) win 1000 <mss 1000>\n\
         +0 > 8080 > 6000 S. 0:0(0) ack 501 <...>\n\
         +0 < 6000 > 8080 R 1:1(0) win 0\n\
         +0 < P. 1:11(10) ack 1 win 257\n* > . 1:1(0) ack 11\n",
    );
}

#[test]
fn shell_lines_set_sysctls_and_others_are_noted() {
    let outcome = run("0 `ip link show; sysctl -q net.ipv4.tcp_sack=0`\n", &Options::default());
    assert!(matches!(outcome.verdict, Verdict::Passed));
    assert_eq!(outcome.notes, [(1, "skipped, it needs a real host: `ip link show`".to_owned())]);
}

/// As with the original ("timing error"), also behind a relative time or a `*`.
#[test]
fn a_time_that_is_over_is_a_failure() {
    let said = fails("+.5 write(4, ..., 1) = 1\n0.2 close(4) = 0\n");
    assert!(said.contains("was to happen at 0.200000, and it is 0.600000 already"), "{said}");
    let text = format!("{HANDSHAKE}0.0999 < . 1:1(0) ack 1 win 257\n");
    let slack = Options { tolerance: rt_base::Nanos::from_micros(100), ..Options::default() };
    assert!(matches!(run(&text, &slack).verdict, Verdict::Passed));
    assert!(matches!(run(&text, &Options::default()).verdict, Verdict::Failed(_)));
}

#[test]
fn nothing_divides_by_zero() {
    let said = fails("+0 %{ assert 1 / 0 == 1 }%\n");
    assert!(said.contains("divides by zero"), "{said}");
}

#[test]
fn messages_are_short_and_ring_no_bell() {
    let long = "x".repeat(100_000);
    let said = fails(&format!("+0 write(4, \"\u{1b}[2J\u{7}{long}\", 5) = 4\n"));
    assert!(said.len() < 4_000 && !said.contains(['\u{1b}', '\u{7}']), "{}", said.len());
    for wrong in [format!("+0 {long} = 3\n"), "+0 \u{1b}[2J(3) = 3\n".to_owned(), format!("+0 f({long}\n")] {
        let text = format!("{HANDSHAKE}{wrong}");
        let Verdict::Unreadable(mistakes) = run(&text, &Options::default()).verdict else {
            panic!("{wrong}")
        };
        let said: String = mistakes.iter().map(|m| m.show("\u{1b}.pkt", &text)).collect();
        assert!(said.len() < 2_000 && !said.contains(['\u{1b}', '\u{7}']), "{said}");
    }
}

/// Work that grows with the square of the script takes minutes here.
#[test]
fn many_peers_are_no_trouble() {
    let syns: String =
        (0..60_000).map(|n| format!("+0 < {} > 8080 S {n}:{n}(0) win 9 <mss 1000>\n", 1_024 + n)).collect();
    let text = format!("{HANDSHAKE}{syns}").replace("listen(3, 1)", "listen(3, 70000)");
    let _ = run(&text, &Options { lenient_end: true, ..Options::default() });
}

#[test]
fn numbers_at_the_edge() {
    for more in [
        "+31999999999 write(4, ..., 1) = 1\n",
        "+20000000000...0 read(4, ..., 1) = 1\n",
        "+0 write(4, ..., 99999999999) = -1\n",
        "+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [-9223372036854775807], 4) = 0\n",
        "+0 %{ assert -9223372036854775807 - 9 < 9223372036854775807 * 9 // -1 }%\n",
        "+0 %{ assert 1 << 99999 == 0 }%\n",
    ] {
        let _ = play(more);
    }
}

/// What scripts for FreeBSD name.
#[test]
fn names_of_freebsd_are_known() {
    passes("+0 %{ assert tcpi_state == TCPI_ESTABLISHED and TCPI_SYN_RECEIVED != TCPI_CLOSED }%\n");
    passes("+0 setsockopt(4, IPPROTO_TCP, TCP_NOOPT, [1], 4) = 0\n");
}

/// The script believes to have set it: whatever it says afterwards is about another machine.
#[test]
fn a_sysctl_with_a_senseless_value_leaves_nothing_to_judge() {
    for line in ["`sysctl -q net.ipv4.tcp_sack=maybe`", "`sysctl -q net.ipv4.tcp_rmem=\"1 2\"`"] {
        let text = format!("0 {line}\n+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n");
        let verdict = run(&text, &Options::default()).verdict;
        assert!(matches!(verdict, Verdict::Unsupported { line: 1, .. }), "{line}: {verdict:?}");
    }
}
