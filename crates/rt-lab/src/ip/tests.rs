//! The calculator against figures worked out by hand, and against itself.

use serde_json::{Value, json};

use super::*;

fn ask(what: &[&str], change: impl FnOnce(&mut IpQuery)) -> Result<IpAnswer, String> {
    let mut query = IpQuery { what: what.iter().map(|s| (*s).to_owned()).collect(), ..IpQuery::default() };
    change(&mut query);
    answer(&query)
}

fn json_of(what: &str) -> Value {
    ask(&[what], |_| ()).unwrap().json
}

#[test]
fn usable_hosts_are_right_down_to_one() {
    let cases = [(8, 16_777_214_u64), (16, 65_534), (24, 254), (28, 14), (29, 6), (30, 2), (31, 2), (32, 1)];
    for (length, hosts) in cases {
        let answer = json_of(&format!("10.0.0.0/{length}"));
        assert_eq!(answer["hosts"]["count"], json!(hosts), "/{length}");
    }
    assert_eq!(json_of("0.0.0.0/0")["hosts"]["count"], json!(4_294_967_294_u64));
    assert_eq!(json_of("2001:db8::/64")["hosts"]["count"], json!("18446744073709551616"));
    assert_eq!(json_of("2001:db8::/65")["hosts"]["count"], json!(1_u64 << 63));
    assert_eq!(json_of("::/0")["addresses"], json!("340282366920938463463374607431768211456"));
    assert_eq!(json_of("::/1")["addresses"], json!("170141183460469231731687303715884105728"));
}

#[test]
fn a_prefix_has_mask_wildcard_and_ends() {
    let home = json_of("192.168.1.77/24");
    assert_eq!(home["prefix"], "192.168.1.0/24");
    assert_eq!(home["host"], "192.168.1.77");
    assert_eq!((&home["mask"], &home["wildcard"]), (&json!("255.255.255.0"), &json!("0.0.0.255")));
    assert_eq!(
        (&home["hosts"]["first"], &home["hosts"]["last"]),
        (&json!("192.168.1.1"), &json!("192.168.1.254"))
    );
    assert_eq!(home["broadcast"], "192.168.1.255");
    for same in ["192.168.1.77/255.255.255.0", "192.168.1.77/0.0.0.255"] {
        assert_eq!(json_of(same), home, "{same}");
    }
    assert_eq!(json_of("10.0.0.4/31")["broadcast"], Value::Null);
}

#[test]
fn aws_keeps_five_of_each_subnet() {
    assert_eq!(json_of("10.0.1.0/24")["aws"], json!({ "subnet": true, "addresses": 251 }));
    assert_eq!(json_of("10.0.1.0/28")["aws"]["addresses"], 11);
    assert_eq!(json_of("10.0.1.0/29")["aws"]["subnet"], false);
    assert_eq!(json_of("10.0.0.0/15")["aws"]["subnet"], false);
    let text = ask(&["10.0.1.0/24"], |_| ()).unwrap().text;
    assert!(text.contains("10.0.1.2 (DNS)"), "{text}");
}

#[test]
fn every_entry_of_the_registry_is_a_prefix_and_is_found() {
    for special in special::TABLE {
        let net: ipnet::IpNet = special.prefix.parse().unwrap();
        assert_eq!(net, net.trunc(), "{}", special.prefix);
        assert_eq!(special::of(net).unwrap().prefix, special.prefix);
    }
}

#[test]
fn addresses_mean_what_the_registry_says() {
    let cases = [
        ("10.0.2.50", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.5", "private"),
        ("100.64.0.1", "shared address space"),
        ("100.127.255.255", "shared address space"),
        ("127.0.0.1", "loopback"),
        ("169.254.7.7", "link-local"),
        ("169.254.169.254", "instance metadata"),
        ("192.0.2.1", "documentation (TEST-NET-1)"),
        ("198.51.100.20", "documentation (TEST-NET-2)"),
        ("203.0.113.50", "documentation (TEST-NET-3)"),
        ("198.19.0.1", "benchmarking"),
        ("224.0.0.1", "multicast on the local network"),
        ("239.1.2.3", "multicast of one organisation"),
        ("255.255.255.255", "limited broadcast"),
        ("240.0.0.1", "reserved (class E)"),
        ("::1", "loopback"),
        ("fd12:3456:789a::1", "unique local (ULA), locally assigned"),
        ("fe80::1", "link-local"),
        ("2001:db8::1", "documentation"),
        ("2002:c000:204::1", "6to4"),
        ("2a00:1450::1", "global unicast"),
        ("ff02::1", "all nodes on the link"),
    ];
    for (address, name) in cases {
        assert_eq!(json_of(address)["special"]["name"], name, "{address}");
    }
    for public in ["8.8.8.8", "172.32.0.0", "100.128.0.0", "11.0.0.0", "91.189.88.152"] {
        assert_eq!(json_of(public)["special"], Value::Null, "{public}");
        assert_eq!(json_of(public)["global"], true, "{public}");
    }
    assert_eq!(json_of("4000::1")["global"], false);
}

#[test]
fn what_an_address_carries_is_read() {
    let cases = [
        ("2002:c000:204::1", "the site's IPv4 address 192.0.2.4"),
        ("64:ff9b::808:808", "the IPv4 address 8.8.8.8"),
        ("::ffff:10.0.0.1", "the IPv4 address 10.0.0.1"),
        // RFC 4380's own example: server 65.54.227.120, client 192.0.2.45:40000.
        (
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "the Teredo server 65.54.227.120, the client 192.0.2.45:40000 as its NAT shows it",
        ),
        ("fe80::21a:2bff:fe3c:4d5e", "the MAC address 00:1a:2b:3c:4d:5e (EUI-64)"),
        ("224.128.0.251", "on Ethernet sent to 01:00:5e:00:00:fb"),
        ("ff05::2", "site-local scope"),
    ];
    for (address, carries) in cases {
        assert_eq!(json_of(address)["carries"], carries, "{address}");
    }
}

#[test]
fn ports_have_parts_and_users() {
    assert_eq!(json_of(":443")["parts"][0]["name"], "well known");
    assert_eq!(json_of("1024")["parts"][0]["name"], "registered");
    assert_eq!(json_of("49151/tcp")["parts"][0]["name"], "registered");
    assert_eq!(json_of("udp/49152")["parts"][0]["name"], "ephemeral");
    let all = json_of(":0-65535");
    assert_eq!(all["count"], 65536);
    assert_eq!(all["parts"].as_array().unwrap().len(), 3);
    let linux = ask(&["32768-60999"], |_| ()).unwrap().text;
    assert!(linux.contains("28232"), "{linux}");
    assert!(linux.contains("exactly the range of Linux"), "{linux}");
}

#[test]
fn overlaps_are_found_and_said() {
    let apart = ask(&["10.0.0.0/16", "10.1.0.0/16", "fd00::/8"], |_| ()).unwrap();
    assert!(!apart.no);
    assert_eq!(apart.json["summary"], json!(["10.0.0.0/15", "fd00::/8"]));
    let shared = ask(&["10.0.0.0/16", "10.0.128.0/20", "192.168.0.0/24", "192.168.0.7"], |_| ()).unwrap();
    assert!(shared.no);
    assert_eq!(shared.json["overlaps"].as_array().unwrap().len(), 2);
    assert_eq!(shared.json["overlaps"][0]["shared"], "10.0.128.0/20");
}

#[test]
fn a_prefix_is_cut_into_equal_parts_or_by_hosts() {
    let split = ask(&["192.168.1.0/24"], |q| q.split = Some("/26".into())).unwrap();
    let parts: Vec<_> =
        split.json["subnets"].as_array().unwrap().iter().map(|p| p["prefix"].clone()).collect();
    assert_eq!(parts, ["192.168.1.0/26", "192.168.1.64/26", "192.168.1.128/26", "192.168.1.192/26"]);
    let five = ask(&["10.0.0.0/16"], |q| q.into = Some(5)).unwrap();
    assert_eq!((&five.json["length"], five.json["subnets"].as_array().unwrap().len()), (&json!(19), 8));
    assert!(five.text.contains("5 asked for and 3 spare"), "{}", five.text);
    let hosts = ask(&["10.0.0.0/24"], |q| q.hosts = vec![20, 100, 2]).unwrap();
    let parts: Vec<_> =
        hosts.json["subnets"].as_array().unwrap().iter().map(|p| p["prefix"].clone()).collect();
    assert_eq!(parts, ["10.0.0.0/25", "10.0.0.128/27", "10.0.0.160/30"]);
    assert_eq!(
        hosts.json["left"],
        json!(["10.0.0.164/30", "10.0.0.168/29", "10.0.0.176/28", "10.0.0.192/26"])
    );
    assert!(ask(&["10.0.0.0/24"], |q| q.hosts = vec![200, 100]).is_err());
    assert!(ask(&["10.0.0.0/8"], |q| q.split = Some("30".into())).is_err(), "four million lines");
    assert!(ask(&["::/0"], |q| q.split = Some("128".into())).is_err());
    assert!(ask(&["10.0.0.0/30"], |q| q.into = Some(5)).is_err());
    assert!(ask(&["10.0.0.0/30"], |q| q.into = Some(u32::MAX)).is_err());
    assert!(ask(&["10.0.0.0/30"], |q| q.into = Some(0)).is_err());
}

#[test]
fn inside_and_except_agree() {
    let inside = |a: &str, b: &str| !ask(&[a], |q| q.within = Some(b.into())).unwrap().no;
    assert!(inside("10.0.2.50", "10.0.0.0/16"));
    assert!(inside("10.0.0.0/16", "10.0.0.0/16"));
    assert!(!inside("10.0.0.0/8", "10.0.0.0/16"));
    assert!(!inside("::1", "0.0.0.0/0"));
    let left = ask(&["0.0.0.0/0"], |q| q.except = vec!["10.0.0.0/8".into(), "192.168.1.5".into()]).unwrap();
    let left: Vec<ipnet::IpNet> = serde_json::from_value(left.json["left"].clone()).unwrap();
    let hosts: u64 = left.iter().map(|n| 1_u64 << facts::bits(*n)).sum();
    assert_eq!(hosts, (1 << 32) - (1 << 24) - 1);
    assert!(left.iter().all(|n| !n.contains(&"10.1.2.3".parse::<std::net::IpAddr>().unwrap())));
    let none = ask(&["10.0.0.0/24"], |q| q.except = vec!["10.0.0.0/8".into()]).unwrap();
    assert_eq!(none.text, "nothing is left\n");
}

#[test]
fn ranges_become_prefixes_and_prefixes_are_summarised() {
    assert_eq!(
        json_of("10.0.0.5-10.0.0.9")["prefixes"],
        json!(["10.0.0.5/32", "10.0.0.6/31", "10.0.0.8/31"])
    );
    assert_eq!(json_of("0.0.0.0-255.255.255.255")["prefixes"], json!(["0.0.0.0/0"]));
    assert_eq!(json_of("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")["addresses"], "2^128");
    let sum = ask(&["10.0.0.0/24", "10.0.1.0/24", "10.0.3.0/24"], |q| q.summarise = true).unwrap();
    assert_eq!(sum.json["summary"], json!(["10.0.0.0/23", "10.0.3.0/24"]));
    assert_eq!(sum.json["covering"], "10.0.0.0/22");
}

#[test]
fn mistakes_are_explained() {
    let cases = [
        ("10.0.0", "four numbers, this has 3"),
        ("10.0.0.256", "ends at 255"),
        ("192.168.01.1", "without the zero"),
        ("10.0.0.0/33", "ends at /32"),
        ("::1/129", "ends at /128"),
        ("10.0.0.0/255.0.255.0", "a mask is ones, then zeros"),
        ("10.0.0.9-10.0.0.5", "write 10.0.0.5-10.0.0.9"),
        ("10.0.0.9-::1", "one family"),
        ("70000", "0 to 65535"),
        ("9-5", "write 5-9"),
        ("fe80::1%eth0", "leave the zone"),
        ("example.com", "a name has its address in a zone"),
        ("/129", "between /0 and /32"),
        ("", "write one such as"),
        ("/", "between /0"),
        (":", "write one such as"),
        ("10.0.0.0/", "after the slash"),
    ];
    for (text, help) in cases {
        let error = ask(&[text], |_| ()).unwrap_err();
        assert!(error.contains(help), "{text}: {error}");
    }
    assert!(ask(&[], |_| ()).is_err());
    assert!(ask(&["/24", "10.0.0.0/8"], |_| ()).unwrap_err().contains("10.0.0.0/24"));
    assert!(ask(&[":80", "10.0.0.0/8"], |_| ()).is_err());
    assert!(ask(&["é".repeat(100_000).as_str()], |_| ()).unwrap_err().len() < 400);
}

#[test]
fn a_length_and_a_mask_are_read_alone() {
    assert_eq!(json_of("/28")["ipv4"]["hosts"], 14);
    assert_eq!(json_of("/64")["ipv6"]["addresses"], "18446744073709551616");
    assert_eq!(json_of("255.255.255.240")["mask_length"], 28);
    assert_eq!(json_of("0.0.0.15")["mask_length"], 28);
    assert_eq!(json_of("10.0.0.1")["mask_length"], Value::Null);
}

#[test]
fn no_machine_has_a_group_a_loopback_or_a_reserved_address() {
    for prefix in [
        "224.0.0.0/24",
        "239.1.0.0/16",
        "127.0.0.0/8",
        "127.0.0.0/24",
        "0.0.0.0/24",
        "240.0.0.0/20",
        "ff02::/16",
        "::1/128",
    ] {
        let answer = json_of(prefix);
        assert_eq!(answer["hosts"]["count"], 0, "{prefix}");
        assert!(answer["hosts"]["first"].is_null() && answer["broadcast"].is_null(), "{prefix}");
        assert_eq!(answer["aws"]["subnet"], false, "{prefix}");
        let text = ask(&[prefix], |_| ()).unwrap().text;
        assert!(text.contains("hosts    none: ") && text.contains("no network of a VPC"), "{text}");
        assert!(ask(&[prefix], |q| q.hosts = vec![2]).is_err(), "{prefix}");
    }
    let text = ask(&["224.0.0.0/24"], |q| q.split = Some("26".into())).unwrap().text;
    assert!(text.contains("224.0.0.0/24 into 4 of /26, none of them for machines"), "{text}");
    assert!(text.contains("224.0.0.0 to 224.0.0.63"), "{text}");
    // Link-local addresses are machines' own, but no VPC's.
    assert_eq!(json_of("169.254.1.0/24")["hosts"]["count"], 254);
    assert_eq!(json_of("169.254.1.0/24")["aws"]["subnet"], false);
    // What a length alone comes to does not depend on where it is.
    assert_eq!(json_of("/24")["ipv4"]["hosts"], 254);
    assert_eq!(json_of("/24")["ipv4"]["aws"]["addresses"], 251);
}

#[test]
fn one_is_one_and_none_is_refused() {
    for (what, line) in [
        ("10.0.0.1/32", "10.0.0.1 to 10.0.0.1: 1 address\n"),
        ("/32", "1 address, 1 usable"),
        ("/128", "1 address\n"),
        ("10.0.0.1-10.0.0.1", "10.0.0.1 to 10.0.0.1: 1 address, 1 prefix"),
    ] {
        let text = ask(&[what], |_| ()).unwrap().text;
        assert!(text.contains(line), "{text}");
    }
    let overlap = ask(&["10.0.0.0/24", "10.0.0.9"], |_| ()).unwrap().text;
    assert!(overlap.contains("the one address of the second is in the first"), "{overlap}");
    let one = ask(&["10.0.0.0/30"], |q| q.hosts = vec![1]).unwrap().text;
    assert!(one.contains(": 1 subnet\n") && one.contains("for 1 host, "), "{one}");
    let none = ask(&["10.0.0.0/30"], |q| q.hosts = vec![0]).unwrap_err().to_string();
    assert!(none.contains("a subnet for 0 hosts is none"), "{none}");
}
