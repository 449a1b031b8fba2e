//! DHCP on the wire.

use std::net::Ipv4Addr;

use rt_apps::dhcp::{DhcpClientConfig, DhcpServerConfig, dhcp_client, dhcp_server};
use rt_base::{Nanos, PortId};

use crate::lan::{Lan, Machine, mac, machine};

fn server(silent: bool, first: u8, lease: u64) -> Machine {
    machine("server", "192.168.1.1/24").app(move |runtime| {
        let config = DhcpServerConfig {
            port: PortId(0),
            address: "192.168.1.1/24".parse().unwrap(),
            first: Ipv4Addr::new(192, 168, 1, first),
            last: Ipv4Addr::new(192, 168, 1, 101),
            reservations: vec![(mac(1), Ipv4Addr::new(192, 168, 1, 10))],
            gateway: Some(Ipv4Addr::new(192, 168, 1, 1)),
            resolvers: vec![Ipv4Addr::new(8, 8, 8, 8)],
            lease: Nanos::from_secs(lease),
            silent,
        };
        runtime.net().serve("dhcp", dhcp_server(runtime.net(), config));
    })
}

fn client(name: &str, index: usize) -> Machine {
    let hostname = name.to_string();
    machine(name, None).app(move |runtime| {
        let config =
            DhcpClientConfig { port: PortId(0), interface: "eth0".into(), mac: mac(index), hostname };
        runtime.net().serve("dhcp", dhcp_client(runtime.net(), config));
    })
}

/// Message type, client address, your address, requested address, destination.
const FIELDS: &[&str] =
    &["dhcp.option.dhcp", "dhcp.ip.client", "dhcp.ip.your", "dhcp.option.requested_ip_address", "ip.dst"];

#[test]
fn a_reservation_and_a_pool_address() {
    let mut lan = Lan::new(1, vec![server(false, 100, 3600), client("laptop", 1), client("phone", 2)]);
    lan.run_until(2);
    insta::assert_snapshot!(lan.said(1) + &lan.said(2));
    insta::assert_snapshot!(lan.tshark("dhcp", FIELDS));
}

#[test]
fn renewal_is_unicast_and_keeps_the_address() {
    let mut lan = Lan::new(1, vec![server(false, 100, 600), client("laptop", 1)]);
    lan.run_until(700);
    insta::assert_snapshot!(lan.tshark("renewal", FIELDS));
    assert_eq!(lan.said(1).matches("dhcp 192.168.1.10/24").count(), 3);
}

#[test]
fn a_silent_server_means_link_local() {
    let mut lan = Lan::new(1, vec![server(true, 100, 3600), client("laptop", 1)]);
    lan.run_until(90);
    let said = lan.said(1);
    assert!(said.contains("link-local 169.254."), "{said}");
    let wire = lan.tshark(
        "silent",
        &["frame.time_relative", "dhcp.option.dhcp", "arp.src.proto_ipv4", "arp.dst.proto_ipv4"],
    );
    insta::assert_snapshot!(wire);
}

#[test]
fn a_link_local_address_in_use_is_left_alone() {
    let mut lan = Lan::new(1, vec![server(true, 100, 3600), client("laptop", 1)]);
    lan.run_until(90);
    let first = link_local(&lan, 1);
    // The same run again, but somebody is there already.
    let taken: &'static str = Box::leak(format!("{first}/16").into_boxed_str());
    let mut lan =
        Lan::new(1, vec![server(true, 100, 3600), client("laptop", 1), machine("there first", taken)]);
    lan.run_until(90);
    assert_ne!(link_local(&lan, 1), first);
}

fn link_local(lan: &Lan, node: u32) -> String {
    let said = lan.said(node);
    let (_, from) = said.split_once("link-local ").expect(&said);
    from.split_once('/').unwrap().0.to_string()
}

#[test]
fn a_lost_server_means_a_lost_address() {
    let mut lan = Lan::new(1, vec![server(false, 100, 600), client("laptop", 1)]);
    lan.run_until(2);
    let cut = rt_base::LinkId(0);
    lan.sim.change_link(lan.sim.now(), cut, rt_sim::LinkChange::Cut);
    lan.run_until(590);
    assert_eq!(
        lan.host(1).with_stack(|s| s.address_of(PortId(0))).flatten(),
        Some("192.168.1.10".parse().unwrap())
    );
    lan.run_until(700);
    let said = lan.said(1);
    assert!(said.contains("link-local"), "{said}");
    lan.sim.change_link(lan.sim.now(), cut, rt_sim::LinkChange::Heal);
    lan.run_until(1100);
    assert!(
        lan.said(1).ends_with("until Some(1564.000000000)\n")
            || lan.said(1).matches(" dhcp 192").count() == 2
    );
    assert_eq!(
        lan.host(1).with_stack(|s| s.address_of(PortId(0))).flatten(),
        Some("192.168.1.10".parse().unwrap())
    );
}

#[test]
fn an_empty_pool_is_silence() {
    let mut lan = Lan::new(1, vec![server(false, 101, 3600), client("a", 2), client("b", 3)]);
    lan.run_until(80);
    let both = lan.said(1) + &lan.said(2);
    assert_eq!(
        (both.matches("dhcp 192.168.1.101/24").count(), both.matches("link-local").count()),
        (1, 1),
        "{both}"
    );
}
