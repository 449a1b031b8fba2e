//! Every line that can be written is read back the same.

use rt_base::PortId;
use rt_rules::{Action, CtState, Filter, Origin};

use super::{FindPort, Line, firewall, show_filter};

const PORTS: [&str; 2] = ["lan", "wan"];

fn read(text: &str) -> Filter {
    let find: FindPort<'_> = &|name| PORTS.iter().position(|p| *p == name).map(|i| PortId(i as u16));
    match firewall(text, find) {
        Ok(Line::Rule(rule)) => rule.with_origin(Origin::Line { file: "t.yaml".into(), line: 1 }),
        Ok(Line::Otherwise(..)) => panic!("{text}: a policy"),
        Err(why) => panic!("{text}: {why}"),
    }
}

fn show(rule: &Filter) -> String {
    show_filter(rule, &|port| PORTS[port.index()].to_owned())
}

#[test]
fn lines_are_written_as_they_were_read() {
    for line in [
        "allow",
        "deny tcp",
        "allow icmp",
        "allow icmp echo-request",
        "deny icmp 13",
        "reject prohibited icmp unreachable/4",
        "allow protocol 47",
        "allow udp from 10.0.0.0/8,192.168.1.5/32 to 8.8.8.8/32 port 53",
        "allow tcp from group web=10.0.0.1/32,10.0.0.2/32 port 443",
        "deny from group nobody= to group all=0.0.0.0/0",
        "allow tcp port 1024-65535 from-port 80",
        "deny tcp flags syn,!ack",
        "deny tcp flags fin,syn,rst,psh,ack,urg,ece,cwr",
        "reject reset tcp port 22 in wan out lan new",
        "reject unreachable udp invalid",
        "allow established",
        "allow icmp limit 10/second",
        "allow tcp port 22 new limit 3/minute burst 1",
        "deny tcp port 23 as telnet",
        "deny limit 1/hour burst 100 as rare",
        "log ssh tcp port 22 new limit 5/day",
        "allow tcp from group web= port 443 of group app",
        "deny in wan of internet-gateway",
    ] {
        assert_eq!(show(&read(line)), line);
    }
}

#[test]
fn short_forms_mean_the_same() {
    for (short, long) in [
        ("allow from any to anywhere", "allow"),
        ("allow icmp 8/0", "allow icmp echo-request/0"),
        ("allow from 10.1.2.3/8", "allow from 10.0.0.0/8"),
        ("deny limit 10/s", "deny limit 10/second"),
        ("deny limit 10/m burst 5", "deny limit 10/minute"),
        ("reject tcp", "reject prohibited tcp"),
    ] {
        assert_eq!(show(&read(short)), long, "{short}");
    }
    let known = read("allow established").when.states;
    assert_eq!(known, [CtState::Established, CtState::Related]);
    assert_eq!(read("log all").action, Action::Continue);
}

#[test]
fn what_cannot_be_read_says_why() {
    let find: FindPort<'_> = &|_| None;
    for (line, why) in [
        ("deny flags syn", "needs `tcp`"),
        ("deny tcp flags sin", "`sin` is not one of fin"),
        ("deny tcp flags syn,", "`` is not one of"),
        ("allow limit 10", "not a rate"),
        ("allow limit 0/s", "not a rate"),
        ("allow limit 10/", "not a rate"),
        ("allow limit 10/year", "not a rate"),
        ("allow limit 10/s burst none", "not a number of packets"),
        ("allow icmp 300", "`300` is not a condition"),
        ("allow icmp echo-request/x", "`echo-request/x` is not a condition"),
        ("allow from 10.0.0.0/8,", "`` is not a network"),
        ("allow from group", "something must follow `group`"),
        ("allow from group web=x", "`x` is not a network"),
        ("log", "something must follow `log`"),
        ("log x as y", "`as` is not a condition"),
        ("otherwise log", "not `log`"),
        ("allow tcp udp", "one protocol"),
        ("allow protocol 47 icmp", "one protocol"),
        ("allow from 10.0.0.2 from 10.0.0.3", "`from` is said twice"),
        ("deny tcp port 1 port 2", "`port` is said twice"),
    ] {
        match firewall(line, find) {
            Ok(_) => panic!("{line} was read"),
            Err(said) => assert!(said.contains(why), "{line}: {said}"),
        }
    }
}
