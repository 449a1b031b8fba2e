//! The language: what scripts may say, where mistakes are, and that nothing makes the reader panic.

use proptest::prelude::*;

use super::ast::{Action, Body, Expr, TcpOption, When};
use super::code::Statement;
use super::{Script, parse};

fn good(text: &str) -> Script {
    parse(text, &[]).unwrap_or_else(|m| panic!("{}", m[0].show("script", text)))
}

#[track_caller]
fn bad(text: &str, say: &[&str]) {
    let mistakes = parse(text, &[]).expect_err("a mistake");
    let said: Vec<String> = mistakes.iter().map(|m| format!("{}: {m}", m.place)).collect();
    assert_eq!(said, say);
}

const LONG: &str = r#"// what the script is about
--tolerance_usecs=75000
--define=CC="reno"
`sysctl -q net.ipv4.tcp_sack=1`
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
+.1 < S 0:0(0) win 32792 <mss 1460,sackOK,nop,nop,nop,wscale 7>
* > S. 0:0(0) ack 1 <...>
0.2~0.3 > [ect0] PE. 1:1001(1000) ack 1 win 257 urg 3 <nop,nop,TS val 1 ecr 2>
+.1~+.2 > (ttl 64) F. 1:1(0) ack 1 <nop,nop,sack 1:2 3:4>
0.4...0.5 read(4, ..., 1000) = -1 EAGAIN (Resource temporarily unavailable)
+0 fcntl(4, F_GETFL) = 0x2 (flags O_RDWR|O_NONBLOCK)
+0 poll([{fd=3, events=POLLIN|POLLOUT, revents=POLLIN}], 1, 0) = 1
+0 connect(3, {sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr("192.0.2.1")}, 16) = 0
+0 sendmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 5}], msg_flags=0}, 0) = 5
+0 < icmp unreachable frag_needed mtu 1200 [1:1001(1000)]
+0 < 5000 > 6000 udp (20)
+0 < S.5 0:0(0) ack 1 win 5 <FO 0123456789abcdef,nop,nop>
+0 %{
assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd
print(tcpi_rtt)
assert (tcpi_options & TCPI_OPT_SACK) != 0 and 1 < 2 <= 2
for x in y: pass
}%
+0 setsockopt(4, SOL_TCP, TCP_CONGESTION, CC, 4) = 0
`true`
"#;

#[test]
fn everything_has_a_shape() {
    // The port line is written as the language has it: ports after the word `udp`.
    let text = LONG.replace("5000 > 6000 udp (20)", "udp 5000 > 6000 (20)");
    let script = good(&text);
    assert_eq!(script.options.len(), 2);
    assert!(script.init.is_some() && script.cleanup.is_some());
    assert_eq!(script.events.len(), 16);
    assert_eq!(script.events[2].when, When::After(100_000));
    assert_eq!(script.events[4].when, When::Between(200_000, 300_000));
    let Action::Packet(packet) = &script.events[4].action else { panic!() };
    let Body::Tcp(segment) = &packet.body else { panic!() };
    assert_eq!((segment.flags, segment.len, segment.urgent), (0x58, 1_000, 3));
    assert_eq!(segment.options.as_ref().map(|o| o[2].clone()), Some(TcpOption::Timestamps(1, 2)));
    let Action::Call(call) = &script.events[6].action else { panic!() };
    assert_eq!((call.end, call.errno.as_deref()), (Some(500_000), Some("EAGAIN")));
    let Action::Code(code) = &script.events[14].action else { panic!() };
    assert_eq!(code.statements.len(), 3);
    assert!(matches!(&code.statements[1], (_, Statement::Assert(..))));
    assert!(matches!(&code.statements[2], (_, Statement::Unknown(text)) if text == "for x in y: pass"));
    let Action::Call(call) = &script.events[15].action else { panic!() };
    assert_eq!(call.arguments[3], Expr::Text("reno".into()));
}

#[test]
fn times_are_exact() {
    for (text, micros) in [("0.29", 290_000), (".000001", 1), ("12.3456789", 12_345_678), ("7", 7_000_000)] {
        let script = good(&format!("0 close(3) = 0\n{text} close(3) = 0"));
        assert_eq!(script.events[1].when, When::At(micros));
    }
}

#[test]
fn mistakes_have_places_and_do_not_hide_the_next() {
    bad(
        "0 socket(..., SOCK_STREAM, IPPROTO_TCP = 3\n+0 < S 0:0(1) win 5\n+0 < . 1:1(0) ack 1 win 70000\n+0 close(3) = 0\n",
        &[
            "1:40: expected ')', found '='",
            "2:8: expected start + length = end, found 0:0(1)",
            "3:25: expected a window of at most 65535, found '70000'",
        ],
    );
    bad(
        "",
        &[
            "1:1: expected an event, such as '0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3', found the end of the script",
        ],
    );
    bad(
        "0 < S 0:0(0) win 5 <mss 1460,sackOK>",
        &["1:21: expected options of a multiple of 4 bytes (add nop or eol: 2 short), found 6"],
    );
    bad(
        "0 < S 0:0(0) win 5 <...>",
        &["1:20: expected the options of an inbound packet ('<...>' is for outbound ones), found '<...>'"],
    );
    bad("+1 close(3) = 0", &["1:1: expected the first event at time 0, found another time"]);
    bad(
        "0 close(3) = 0\n0~1 close(3) = 0",
        &["2:1: expected a fixed time (ranges and '*' are for outbound packets), found a range or '*'"],
    );
    bad(
        "0 %{ assert 1",
        &[
            "1:3: expected '}%' to end this block, found the end of the script",
            "1:14: expected '<' or '>' and a packet, a system call, a `shell line` or %{ code }%, found the end of the script",
        ],
    );
}

#[test]
fn depth_is_bounded() {
    let deep = format!("0 poll({}", "[".repeat(100_000));
    assert!(parse(&deep, &[]).is_err());
    let deep = format!("0 %{{ assert {}1 }}%", "(".repeat(100_000));
    assert!(parse(&deep, &[]).is_ok());
    let deep = format!("0 %{{ assert {}1 }}%", "not ".repeat(100_000));
    assert!(parse(&deep, &[]).is_ok());
    let long = format!("0 %{{ assert {}1 }}%", "1 + ".repeat(100_000));
    assert!(parse(&long, &[]).is_ok());
}

/// Each of these took time with the square of its length: hours.
#[test]
fn endless_constructs_end() {
    for text in [
        "\\\"\n".repeat(400_000),
        format!("0 %{{ assert (\n{}", "a\n".repeat(1_000_000)),
        format!("0 %{{ {} }}%", "\\\n".repeat(1_000_000)),
        format!("0 %{{ (\n{} }}%", "a\n".repeat(1_000_000)),
        format!("{}0 {}(3) = 0", "--define=a=b\n".repeat(100_000), "b ".repeat(100_000)),
        format!("{}\n", "9".repeat(70)).repeat(50_000),
        "`\n".repeat(500_001),
    ] {
        let _ = parse(&text, &[]);
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_script() {
    good("\u{feff}0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = parse(&text, &[]);
    }

    #[test]
    fn no_mutation_makes_it_panic(cuts in prop::collection::vec((0..LONG.len(), 0..40usize, any::<u8>()), 1..12)) {
        let mut bytes = LONG.as_bytes().to_vec();
        for (at, len, with) in cuts {
            let at = at.min(bytes.len());
            let end = (at + len).min(bytes.len());
            bytes.splice(at..end, (with % 3 > 0).then_some(with & 0x7f));
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Err(mistakes) = parse(&text, &[]) {
            for mistake in mistakes {
                let _ = mistake.show("x", &text);
            }
        }
    }
}
