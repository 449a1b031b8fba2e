//! Plans with what AWS refuses or nobody could build: it is left out or replaced, with its reason, and the rest loads.

use serde_json::{Value, json};

use super::tests::{imported, notes, plan, refs, vpc};
use super::*;

type Resource = (&'static str, &'static str, Value, Value);

fn subnet() -> Resource {
    ("aws_subnet", "a", json!({ "cidr_block": "10.0.1.0/24" }), json!({ "vpc_id": refs("aws_vpc.main") }))
}

fn gateway() -> Resource {
    ("aws_internet_gateway", "gw", json!({}), json!({ "vpc_id": refs("aws_vpc.main") }))
}

fn instance(name: &'static str, address: &str) -> Resource {
    let values = json!({ "private_ip": address });
    ("aws_instance", name, values, json!({ "subnet_id": refs("aws_subnet.a") }))
}

fn other_vpc(name: &'static str, cidr: &str) -> Resource {
    ("aws_vpc", name, json!({ "cidr_block": cidr }), json!({}))
}

fn eip(name: &'static str, address: &str, instance: &str) -> Resource {
    ("aws_eip", name, json!({ "public_ip": address }), json!({ "instance": refs(instance) }))
}

/// Imports, loads, and finds `why` among the notes.
#[track_caller]
fn told(resources: &[Resource], what: What, why: &str) -> Import {
    let import = imported(&plan(resources));
    let said = notes(&import, what);
    assert!(said.iter().any(|n| n == why), "{why}\n{said:#?}\n{}", import.scenario);
    if let Err(problems) = crate::load("plan.yaml", &import.scenario) {
        panic!("{}\n{}", problems[0], import.scenario);
    }
    import
}

#[test]
fn networks_that_no_vpc_can_have_are_left_out() {
    for (cidr, why) in [
        ("10.0.0.0/8", "10.0.0.0/8 is no network of a VPC: they are /16 to /28"),
        ("10.1.0.0/29", "10.1.0.0/29 is no network of a VPC: they are /16 to /28"),
        ("224.0.0.0/16", "224.0.0.0/16 is no network of a VPC: these are multicast groups (224.0.0.0/4)"),
        ("10.1.0.0/x", "its cidr_block `10.1.0.0/x` is no network"),
        ("2001:db8::/56", "its cidr_block is 2001:db8::/56: clouds speak IPv4 here"),
    ] {
        told(&[vpc(), other_vpc("bad", cidr)], What::LeftOut, &format!("aws_vpc.bad: {why}"));
    }
    let open = ("aws_vpc", "bad", json!({}), json!({ "ipv4_ipam_pool_id": refs("aws_vpc_ipam_pool.p") }));
    told(&[vpc(), open], What::LeftOut, "aws_vpc.bad: its cidr_block is known only after apply");
    let more = |cidr: &str| {
        let values = json!({ "cidr_block": cidr });
        let main = json!({ "vpc_id": refs("aws_vpc.main") });
        ("aws_vpc_ipv4_cidr_block_association", "more", values, main)
    };
    for (cidr, why) in [
        ("10.0.128.0/17", "10.0.128.0/17 overlaps 10.0.0.0/16 of the same VPC"),
        ("11.0.0.0/8", "11.0.0.0/8 is no network of a VPC: they are /16 to /28"),
    ] {
        let why = format!("aws_vpc_ipv4_cidr_block_association.more: {why}");
        told(&[vpc(), more(cidr)], What::LeftOut, &why);
    }
    let six = (
        "aws_subnet",
        "six",
        json!({ "ipv6_cidr_block": "2001:db8::/64" }),
        json!({ "vpc_id": refs("aws_vpc.main") }),
    );
    told(&[vpc(), six], What::LeftOut, "aws_subnet.six: it has IPv6 only: clouds speak IPv4 here");
}

#[test]
fn peerings_and_attachments_that_aws_refuses_are_left_out() {
    let ends = json!({ "vpc_id": refs("aws_vpc.main"), "peer_vpc_id": refs("aws_vpc.two") });
    let peering = ("aws_vpc_peering_connection", "p", json!({ "auto_accept": true }), ends);
    let table = ("aws_route_table", "t", json!({}), json!({ "vpc_id": refs("aws_vpc.main") }));
    let by = json!({
        "route_table_id": refs("aws_route_table.t"),
        "vpc_peering_connection_id": refs("aws_vpc_peering_connection.p"),
    });
    let route = ("aws_route", "r", json!({ "destination_cidr_block": "10.9.0.0/16" }), by);
    let import = told(
        &[vpc(), other_vpc("two", "10.0.0.0/17"), peering, table, route],
        What::LeftOut,
        "aws_vpc_peering_connection.p: AWS refuses it: 10.0.0.0/16 of aws_vpc.main and 10.0.0.0/17 of aws_vpc.two overlap",
    );
    let gone = "aws_route.r: its route to 10.9.0.0/16: its target aws_vpc_peering_connection.p is left out";
    assert!(notes(&import, What::LeftOut).iter().any(|n| n == gone), "{:?}", import.notes);
    let attachment = |name| {
        let expressions = json!({
            "vpc_id": refs("aws_vpc.main"),
            "transit_gateway_id": refs("aws_ec2_transit_gateway.hub"),
            "subnet_ids": refs("aws_subnet.a"),
        });
        ("aws_ec2_transit_gateway_vpc_attachment", name, json!({}), expressions)
    };
    let hub = ("aws_ec2_transit_gateway", "hub", json!({}), json!({}));
    told(
        &[vpc(), subnet(), hub, attachment("a"), attachment("b")],
        What::LeftOut,
        "aws_ec2_transit_gateway_vpc_attachment.b: its VPC is attached to that transit gateway already: \
         aws_ec2_transit_gateway_vpc_attachment.a",
    );
}

#[test]
fn addresses_that_nobody_can_have_are_replaced() {
    let kept = "is one of the five that AWS keeps of 10.0.1.0/24; 10.0.1.10 was chosen";
    for address in ["10.0.1.0", "10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.255"] {
        let why = format!("aws_instance.x: its private address {address} {kept}");
        told(&[vpc(), subnet(), instance("x", address)], What::Assumed, &why);
    }
    for (address, why) in [
        ("10.0.2.9", "its private address 10.0.2.9 is not in 10.0.1.0/24; 10.0.1.10 was chosen"),
        ("10.0.1.300", "its private address `10.0.1.300` is no IPv4 address; 10.0.1.10 was chosen"),
    ] {
        told(&[vpc(), subnet(), instance("x", address)], What::Assumed, &format!("aws_instance.x: {why}"));
    }
    for (address, why) in [
        ("100.64.0.9", "100.64.0.9 cannot be public: it is for providers' own NAT (RFC 6598)"),
        ("240.0.0.9", "240.0.0.9 cannot be public: it is reserved (240.0.0.0/4)"),
        ("54.1.2.1", "54.1.2.1 is a router's of the internet here, or nobody's"),
        ("54.1.2.255", "54.1.2.255 is a router's of the internet here, or nobody's"),
        ("x", "`x` is no IPv4 address"),
    ] {
        let why = format!("aws_eip.e: its address {why}; 54.93.0.10 was chosen");
        let all =
            [vpc(), subnet(), gateway(), instance("x", "10.0.1.9"), eip("e", address, "aws_instance.x")];
        told(&all, What::Assumed, &why);
    }
    let twice = [
        vpc(),
        subnet(),
        gateway(),
        instance("x", "10.0.1.9"),
        instance("y", "10.0.1.8"),
        eip("e", "54.1.2.9", "aws_instance.x"),
        eip("f", "54.1.2.9", "aws_instance.y"),
    ];
    told(
        &twice,
        What::Assumed,
        "aws_eip.f: its address 54.1.2.9 is another's already; 54.93.0.10 was chosen",
    );
    // A VPC may have a public network: addresses that are chosen are not in it.
    let public = (
        "aws_subnet",
        "a",
        json!({ "cidr_block": "54.93.0.0/24" }),
        json!({ "vpc_id": refs("aws_vpc.main") }),
    );
    let all = [
        other_vpc("main", "54.93.0.0/16"),
        public,
        gateway(),
        instance("x", "54.93.0.9"),
        ("aws_eip", "e", json!({}), json!({ "instance": refs("aws_instance.x") })),
    ];
    told(&all, What::Assumed, "aws_eip.e: its address is known only after apply; 54.94.0.2 was chosen");
}

#[test]
fn routes_and_entries_that_cannot_be_are_left_out() {
    let table = ("aws_route_table", "t", json!({}), json!({ "vpc_id": refs("aws_vpc.main") }));
    let out =
        json!({ "route_table_id": refs("aws_route_table.t"), "gateway_id": refs("aws_internet_gateway.gw") });
    let own = ("aws_route", "r", json!({ "destination_cidr_block": "10.0.0.0/16" }), out.clone());
    let why =
        "aws_route.r: its route to 10.0.0.0/16: the VPC's own network stays local here, whatever leads to it";
    told(&[vpc(), subnet(), gateway(), table.clone(), own], What::LeftOut, why);
    let local = json!({ "destination_cidr_block": "10.7.0.0/16", "gateway_id": "local" });
    let local = ("aws_route", "r", local, json!({ "route_table_id": refs("aws_route_table.t") }));
    let why = "aws_route.r: its route to 10.7.0.0/16: only the VPC's own networks are local";
    told(&[vpc(), subnet(), gateway(), table.clone(), local], What::LeftOut, why);
    // In a prefix list the VPC's own network is no fault: the local route is there, and counts.
    let entries = json!({ "entry": [{ "cidr": "10.0.0.0/16" }, { "cidr": "10.5.0.0/16" }] });
    let list = ("aws_ec2_managed_prefix_list", "l", entries, json!({}));
    let mut to_list = out;
    to_list["destination_prefix_list_id"] = refs("aws_ec2_managed_prefix_list.l");
    let all = [vpc(), subnet(), gateway(), table, list, ("aws_route", "r", json!({}), to_list)];
    let import = imported(&plan(&all));
    assert!(import.scenario.contains("l-list: { target: internet-gateway"), "{}", import.scenario);
    crate::load("plan.yaml", &import.scenario).expect("loads");
    for number in [0, 32_767] {
        let entry =
            json!({ "rule_no": number, "action": "allow", "protocol": "-1", "cidr_block": "0.0.0.0/0" });
        let acl = (
            "aws_network_acl",
            "n",
            json!({ "ingress": [entry] }),
            json!({ "vpc_id": refs("aws_vpc.main") }),
        );
        let why = format!("aws_network_acl.n: ingress entry {number}: numbers go from 1 to 32766");
        told(&[vpc(), subnet(), acl], What::LeftOut, &why);
    }
}

#[test]
fn more_than_aws_takes_is_left_out() {
    let cidrs: Vec<String> =
        (0..60_000_u32).map(|n| format!("{}.{}.{}.0/24", 11 + (n >> 16), n >> 8 & 255, n & 255)).collect();
    let item =
        json!({ "from_port": 443, "to_port": 443, "protocol": "tcp", "cidr_blocks": cidrs, "self": false });
    let values = json!({ "ingress": [item] });
    let main = json!({ "vpc_id": refs("aws_vpc.main") });
    let wide = ("aws_security_group", "wide", values, main.clone());
    told(
        &[vpc(), wide],
        What::LeftOut,
        "aws_security_group.wide: 59000 more ingress rules: AWS takes 1000 of a group at most",
    );
    let names: Vec<String> = (0..20).map(|n| format!("g{n:02}")).collect();
    let names: &'static [String] = Vec::leak(names);
    let rules: Vec<Value> = (1..=900)
        .map(|port| json!({ "from_port": port, "to_port": port, "protocol": "tcp", "cidr_blocks": ["0.0.0.0/0"], "self": false }))
        .collect();
    let values = json!({ "ingress": rules });
    let group = |name: &'static String| ("aws_security_group", name.as_str(), values.clone(), main.clone());
    let worn: Vec<String> = names
        .iter()
        .flat_map(|n| [format!("aws_security_group.{n}.id"), format!("aws_security_group.{n}")])
        .collect();
    let worn = json!({ "subnet_id": refs("aws_subnet.a"), "vpc_security_group_ids": { "references": worn } });
    let mut all = vec![vpc(), subnet(), ("aws_instance", "x", json!({ "private_ip": "10.0.1.9" }), worn)];
    all.extend(names.iter().map(group));
    let import = told(
        &all,
        What::LeftOut,
        "aws_instance.x: of its vpc_security_group_ids all but 16, as AWS takes no more: g16, g17, g18, g19",
    );
    let said = notes(&import, What::LeftOut).join("\n");
    assert!(said.contains("AWS takes 1000 rules of them together") && said.contains("g01"), "{said}");
}

#[test]
fn names_are_numbered_in_their_order_and_two_lists_of_one_name_stay_apart() {
    let mut taken = std::collections::BTreeSet::new();
    let given: Vec<String> = (0..200).map(|_| names::free("web".to_owned(), &mut taken)).collect();
    let wanted: Vec<String> =
        (1..=200).map(|n| if n == 1 { "web".to_owned() } else { format!("web-{n}") }).collect();
    assert_eq!(given, wanted);
    let list = |name, cidr: &str| {
        ("aws_ec2_managed_prefix_list", name, json!({ "entry": [{ "cidr": cidr }] }), json!({}))
    };
    let rule = |name, port: u16, list: &str| {
        let values = json!({ "ip_protocol": "tcp", "from_port": port, "to_port": port });
        let of = json!({ "security_group_id": refs("aws_security_group.g"), "prefix_list_id": refs(list) });
        ("aws_vpc_security_group_ingress_rule", name, values, of)
    };
    let group = ("aws_security_group", "g", json!({}), json!({ "vpc_id": refs("aws_vpc.main") }));
    let both = [
        vpc(),
        group,
        list("a_b", "10.5.0.0/16"),
        list("a-b", "10.6.0.0/16"),
        rule("r", 80, "aws_ec2_managed_prefix_list.a_b"),
        rule("s", 81, "aws_ec2_managed_prefix_list.a-b"),
    ];
    let scenario = imported(&plan(&both)).scenario;
    for line in
        ["a-b-list: [10.5.0.0/16]", "a-b-list-2: [10.6.0.0/16]", "tcp port 81 from prefix-list a-b-list-2"]
    {
        assert!(scenario.contains(line), "{line}\n{scenario}");
    }
}
