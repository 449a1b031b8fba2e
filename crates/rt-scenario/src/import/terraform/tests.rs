//! Imports of plans and states: the shipped ones, small ones with one difficulty each, spoilt ones.

use rt_base::Rng;
use serde_json::{Value, json};

use super::*;

const PLANS: &[(&str, &[u8])] = &[
    ("web-app", include_bytes!("../../../../../examples/terraform/web-app/plan.json")),
    ("broken-shop", include_bytes!("../../../../../examples/terraform/broken-shop/plan.json")),
    ("hub", include_bytes!("../../../../../examples/terraform/hub/plan.json")),
];

pub(super) fn imported(bytes: &[u8]) -> Import {
    import(bytes, "test", "plan.json").expect("an import")
}

/// A plan of these resources in the root module: type, name, values, expressions.
pub(super) fn plan(resources: &[(&str, &str, Value, Value)]) -> Vec<u8> {
    let values: Vec<Value> = resources
        .iter()
        .map(|(kind, name, values, _)| {
            json!({ "address": format!("{kind}.{name}"), "mode": "managed", "type": kind, "name": name, "values": values })
        })
        .collect();
    let blocks: Vec<Value> = resources
        .iter()
        .map(|(kind, name, _, expressions)| {
            json!({ "mode": "managed", "type": kind, "name": name, "expressions": expressions })
        })
        .collect();
    let plan = json!({
        "format_version": "1.2",
        "planned_values": { "root_module": { "resources": values } },
        "configuration": { "root_module": { "resources": blocks } },
    });
    serde_json::to_vec(&plan).expect("JSON")
}

pub(super) fn refs(to: &str) -> Value {
    json!({ "references": [format!("{to}.id"), to] })
}

pub(super) fn vpc() -> (&'static str, &'static str, Value, Value) {
    ("aws_vpc", "main", json!({ "cidr_block": "10.0.0.0/16" }), json!({}))
}

pub(super) fn notes(import: &Import, what: What) -> Vec<String> {
    import.notes.iter().filter(|n| n.what == what).map(|n| format!("{}: {}", n.address, n.why)).collect()
}

/// All addresses of a document's module tree.
fn addresses(module: &Value, out: &mut Vec<String>) {
    for resource in module["resources"].as_array().into_iter().flatten() {
        out.extend(resource["address"].as_str().map(str::to_owned));
    }
    for child in module["child_modules"].as_array().into_iter().flatten() {
        addresses(child, out);
    }
}

#[test]
fn the_shipped_plans_give_scenarios_that_load() {
    for (name, bytes) in PLANS {
        let import = imported(bytes);
        if let Err(problems) = crate::load("plan.yaml", &import.scenario) {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{name}: {}\n{}", problems.join("\n"), import.scenario);
        }
    }
}

/// The state is what applying the plan gave against a mock of the EC2 API.
#[test]
fn a_plan_and_the_state_that_it_gives_mean_the_same_network() {
    let state = imported(include_bytes!("../../../../../examples/terraform/web-app/state.json"));
    let plan = imported(PLANS[0].1);
    assert_eq!(state.carried, plan.carried);
    assert_eq!(notes(&state, What::LeftOut), notes(&plan, What::LeftOut));
    crate::load("state.yaml", &state.scenario).expect("loads");
    // But for addresses, and for what the state knows of them, the two files are the same.
    let shape = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|l| !l.starts_with('#') && !l.trim_start().starts_with("- stranger connects"));
        lines
            .map(|l| {
                l.split("address: ")
                    .next()
                    .unwrap_or(l)
                    .split("public: 54")
                    .next()
                    .unwrap_or(l)
                    .trim()
                    .to_owned()
            })
            .collect()
    };
    assert_eq!(shape(&state.scenario), shape(&plan.scenario));
}

#[test]
fn nothing_is_dropped_in_silence() {
    for (name, bytes) in PLANS {
        let import = imported(bytes);
        let document: Value = serde_json::from_slice(bytes).expect("JSON");
        let mut all = Vec::new();
        addresses(&document["planned_values"]["root_module"], &mut all);
        for address in all {
            let told = import.notes.iter().any(|n| n.address == address);
            assert!(
                import.carried.contains(&address) || told,
                "{name}: {address} is neither carried nor noted"
            );
            assert!(
                import.scenario.contains(address.as_str()) || import.carried.contains(&address),
                "{name}: {address}"
            );
        }
    }
}

#[test]
fn what_is_left_out_of_the_shipped_plans_is_known() {
    let left = |index: usize| notes(&imported(PLANS[index].1), What::LeftOut);
    assert_eq!(left(0), ["aws_lb.front: load balancers"]);
    assert_eq!(left(1), Vec::<String>::new());
    assert_eq!(left(2), Vec::<String>::new());
}

#[test]
fn rules_of_both_styles_name_groups_through_modules() {
    let web_app = imported(PLANS[0].1).scenario;
    for line in [
        "rule: tcp port 8080 from group web, resource: 'module.app.module.group.aws_vpc_security_group_ingress_rule.group[\"app web\"]'",
        "rule: tcp port 5432 from group app,",
        "rule: tcp port 22 from group bastion, resource: aws_vpc_security_group_ingress_rule.app_ssh",
        "0.0.0.0/0: { target: nat nat, resource: module.network.aws_route.private_out }",
    ] {
        assert!(web_app.contains(line), "{line}\n{web_app}");
    }
    let shop = imported(PLANS[1].1).scenario;
    for line in [
        "- tcp port 8080 from group front",
        "0.0.0.0/0: nat shop",
        "100: allow tcp port 8080 from 10.30.0.0/16",
    ] {
        assert!(shop.contains(line), "{line}\n{shop}");
    }
}

#[test]
fn several_answers_are_no_answer() {
    let two = json!({ "references": ["aws_security_group.a.id", "aws_security_group.a", "aws_security_group.b.id", "aws_security_group.b"] });
    let item = |port: u16| json!({ "from_port": port, "to_port": port, "protocol": "tcp", "cidr_blocks": [], "self": false });
    let group = |name| ("aws_security_group", name, json!({}), json!({ "vpc_id": refs("aws_vpc.main") }));
    let both = (
        "aws_security_group",
        "both",
        json!({ "ingress": [item(1), item(2)] }),
        json!({ "vpc_id": refs("aws_vpc.main"), "ingress": two }),
    );
    let import = imported(&plan(&[vpc(), group("a"), group("b"), both]));
    assert!(!import.scenario.contains("tcp port 1 from"), "{}", import.scenario);
    assert!(
        notes(&import, What::LeftOut).iter().any(|n| n.contains("does not say which")),
        "{:?}",
        import.notes
    );
}

#[test]
fn an_address_that_a_rule_means_is_the_one_that_was_chosen() {
    let rule = (
        "aws_vpc_security_group_ingress_rule",
        "nat",
        json!({ "ip_protocol": "tcp", "from_port": 443, "to_port": 443 }),
        json!({
            "security_group_id": refs("aws_security_group.a"),
            "cidr_ipv4": { "references": ["aws_eip.nat.public_ip", "aws_eip.nat"] },
        }),
    );
    let group = ("aws_security_group", "a", json!({}), json!({ "vpc_id": refs("aws_vpc.main") }));
    let import = imported(&plan(&[vpc(), group, ("aws_eip", "nat", json!({}), json!({})), rule]));
    assert!(import.scenario.contains("tcp port 443 from 54.93.0.10/32"), "{}", import.scenario);
}

#[test]
fn a_state_is_read_by_its_ids() {
    let one = |kind: &str, name: &str, values: Value| json!({ "address": format!("{kind}.{name}"), "mode": "managed", "type": kind, "name": name, "values": values });
    let state = json!({ "format_version": "1.0", "values": { "root_module": { "resources": [
        one("aws_vpc", "main", json!({ "id": "vpc-1", "cidr_block": "10.0.0.0/16", "main_route_table_id": "rtb-main", "default_security_group_id": "sg-d" })),
        one("aws_subnet", "a", json!({ "id": "subnet-1", "vpc_id": "vpc-1", "cidr_block": "10.0.1.0/24" })),
        one("aws_internet_gateway", "gw", json!({ "id": "igw-1", "vpc_id": "vpc-1" })),
        one("aws_route", "out", json!({ "route_table_id": "rtb-main", "destination_cidr_block": "0.0.0.0/0", "gateway_id": "igw-1" })),
        one("aws_eip", "app", json!({ "id": "eipalloc-1", "public_ip": "198.51.100.99", "instance": "i-1" })),
        one("aws_instance", "app", json!({
            "id": "i-1", "subnet_id": "subnet-1", "private_ip": "10.0.1.77", "public_ip": "198.51.100.99", "vpc_security_group_ids": ["sg-d"]
        })),
        one("aws_instance", "lost", json!({ "id": "i-2", "subnet_id": "subnet-9" })),
    ] } } });
    let import = imported(&serde_json::to_vec(&state).expect("JSON"));
    for line in [
        "0.0.0.0/0: { target: internet-gateway, resource: aws_route.out }",
        "app: { subnet: a, address: 10.0.1.77, public: app, groups: [default], resource: aws_instance.app }",
        "app: { address: 198.51.100.99, resource: aws_eip.app }",
    ] {
        assert!(import.scenario.contains(line), "{line}\n{}", import.scenario);
    }
    assert!(notes(&import, What::LeftOut)[0].contains("subnet-9, which is not in this file"));
    crate::load("state.yaml", &import.scenario).expect("loads");
}

#[test]
fn faulty_input_is_refused_with_its_place() {
    let refused = |bytes: &[u8]| import(bytes, "x", "x").expect_err("refused").to_string();
    assert!(refused(b"").contains("line 1"));
    assert!(refused(b"{\n  \"format_version\": }").contains("line 2, column 21"));
    assert!(refused(b"{\"format_version\":\"1.0\",\"format_version\":\"1.0\"}").contains("duplicate field"));
    assert!(refused(b"PK\x03\x04").contains("terraform show -json"));
    assert!(refused(&[0x7b, 0xc3, 0x28]).contains("byte 1"));
    assert!(refused(b"{\"format_version\":\"2.0\",\"values\":{}}").contains("format_version is 2.0"));
    assert!(refused(b"{\"format_version\":\"1.0\"}").contains("neither a plan nor a state"));
    assert!(refused(b"{\"a\":1}").contains("neither"));
    assert!(refused(b"{\"format_version\":\"1.0\",\"values\":{}}").contains("no VPC"));
    let deep = format!("{{\"format_version\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refused(deep.as_bytes()).contains("line 1"));
    assert!(refused(&vec![b' '; json::MOST_BYTES + 1]).contains("64 megabytes"));
}

#[test]
fn utf_16_is_read() {
    let text = String::from_utf8(plan(&[vpc()])).expect("UTF-8");
    let mut wide = vec![0xff, 0xfe];
    wide.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(imported(&wide).scenario, imported(text.as_bytes()).scenario);
}

#[test]
fn names_and_texts_of_the_file_cannot_break_the_yaml() {
    let evil = "a'\"\n: {x}\u{2028}#";
    let mut document: Value = serde_json::from_slice(&plan(&[vpc()])).expect("JSON");
    let resource = &mut document["planned_values"]["root_module"]["resources"][0];
    resource["address"] = json!(evil);
    resource["name"] = json!(evil);
    let import = imported(&serde_json::to_vec(&document).expect("JSON"));
    let model = crate::load("evil.yaml", &import.scenario).expect("loads").model;
    let origins: Vec<String> = model.nodes.iter().map(|n| n.origin.to_string()).collect();
    assert!(origins.iter().any(|o| o == evil), "{origins:?}\n{}", import.scenario);
}

#[test]
fn modules_that_pass_things_round_in_circles_end() {
    let around = |name: &str| json!({ "references": [format!("module.a.{name}"), "module.a"] });
    let document = json!({
        "format_version": "1.2",
        "planned_values": { "root_module": {
            "resources": [{ "address": "aws_vpc.main", "mode": "managed", "type": "aws_vpc", "name": "main", "values": { "cidr_block": "10.0.0.0/16" } }],
            "child_modules": [{ "address": "module.a", "resources": [
                { "address": "module.a.aws_subnet.x", "mode": "managed", "type": "aws_subnet", "name": "x", "values": { "cidr_block": "10.0.1.0/24" } }
            ] }]
        } },
        "configuration": { "root_module": { "module_calls": { "a": {
            "expressions": { "p": around("p"), "q": around("q") },
            "module": {
                "outputs": {
                    "p": { "expression": { "references": ["var.p", "var.q", "aws_subnet.x.vpc_id"] } },
                    "q": { "expression": { "references": ["var.q", "var.p", "aws_subnet.x.vpc_id"] } }
                },
                "resources": [{ "mode": "managed", "type": "aws_subnet", "name": "x",
                    "expressions": { "vpc_id": { "references": ["var.p", "var.q", "aws_subnet.x.vpc_id"] } } }]
            }
        } } } }
    });
    let import = imported(&serde_json::to_vec(&document).expect("JSON"));
    assert_eq!(
        notes(&import, What::LeftOut),
        ["module.a.aws_subnet.x: what its vpc_id refers to is not in this file"]
    );
}

/// One random change somewhere in a document, mostly in what resources and expressions say.
fn spoil(value: &mut Value, inside: bool, rng: &mut Rng) {
    let deeper = rng.below(if inside { 12 } else { 200 }) > 0;
    match value {
        Value::Object(map) if !map.is_empty() && deeper => {
            let at = rng.below(map.len() as u64) as usize;
            let Some((key, inner)) = map.iter_mut().nth(at) else { return };
            let inside = inside || matches!(key.as_str(), "values" | "expressions");
            spoil(inner, inside, rng);
        }
        Value::Array(list) if !list.is_empty() && deeper => {
            let at = rng.below(list.len() as u64) as usize;
            if rng.below(12) == 0 {
                let copy = list[at].clone();
                list.push(copy);
            } else {
                spoil(&mut list[at], inside, rng);
            }
        }
        other if inside || rng.below(40) == 0 => {
            let strange = [
                Value::Null,
                json!(-1),
                json!(1e300),
                json!(""),
                json!("10.0.0.0/8"),
                json!("300.1.2.3/99"),
                json!({}),
                json!([]),
                json!(["x", null, 5]),
                json!(true),
                json!("each.value"),
            ];
            *other = strange[rng.below(strange.len() as u64) as usize].clone();
        }
        _ => {}
    }
}

#[test]
fn spoilt_plans_give_scenarios_that_load_or_errors() {
    let mut rng = Rng::stream(5, "test", "spoil");
    let mut good = 0;
    for (_, bytes) in PLANS {
        let whole: Value = serde_json::from_slice(bytes).expect("JSON");
        for _ in 0..40 {
            let mut document = json!({
                "format_version": "1.2",
                "planned_values": whole["planned_values"],
                "configuration": whole["configuration"],
            });
            for _ in 0..rng.below(30) {
                spoil(&mut document, false, &mut rng);
            }
            let text = serde_json::to_vec(&document).expect("JSON");
            if let Ok(import) = import(&text, "x", "x") {
                good += 1;
                if let Err(problems) = crate::load("x.yaml", &import.scenario) {
                    panic!("{}\n{}", problems[0], import.scenario);
                }
            }
        }
    }
    assert!(good > 60, "{good}");
}
