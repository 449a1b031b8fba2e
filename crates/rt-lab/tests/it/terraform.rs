//! Plans of Terraform, imported and run: who reaches whom, and whose fault it is when not.

use std::path::Path;

use rt_lab::{Imported, RunOptions, Scenario, import_terraform};

use crate::verdicts::can;

fn imported(plan: &str) -> (Imported, Scenario) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/terraform").join(plan);
    let imported = import_terraform(&path).unwrap();
    assert!(imported.runs, "{}", imported.talk.join("\n"));
    let scenario = Scenario::of_text("plan.yaml", &imported.scenario).unwrap();
    (imported, scenario)
}

/// Every pair is asked by a probe; a refusal must name `origin`.
#[track_caller]
fn check(scenario: &Scenario, from: &str, to: &str, origin: Option<&str>) {
    let verdict = can(scenario, from, to, 1).unwrap();
    match origin {
        None => assert!(verdict.reachable, "{}", verdict.text()),
        Some(origin) => {
            assert!(!verdict.reachable, "{}", verdict.text());
            let named = verdict.blockers.iter().any(|b| b.origin.contains(origin));
            assert!(named, "no blocker names {origin}:\n{}", verdict.text());
        }
    }
}

#[test]
fn the_web_app_lets_pass_what_it_should() {
    for file in ["web-app/plan.json", "web-app/state.json"] {
        let (_, network) = imported(file);
        check(&network, "web-0", "app-0:8080", None);
        check(&network, "web-1", "app-1:8080", None);
        check(&network, "app-1", "database-0:5432", None);
        check(&network, "bastion", "app-0:22", None);
        check(&network, "app-0", "stranger:443", None);
        check(&network, "app-0", "s3.eu-central-1.amazonaws.com:80", None);
        check(
            &network,
            "web-0",
            "database-0:5432",
            Some("module.database.module.group.aws_security_group.this"),
        );
        check(
            &network,
            "database-0",
            "stranger:443",
            Some("module.database.module.group.aws_security_group.this"),
        );
        check(&network, "web-0", "bastion:22", Some("aws_security_group.bastion"));
    }
}

#[test]
fn each_reason_of_the_broken_shop_is_named_by_its_resource() {
    let (_, shop) = imported("broken-shop/plan.json");
    check(&shop, "stranger", "54.93.0.11:443", None);
    check(&shop, "stranger", "54.93.0.12:443", Some("aws_vpc.shop"));
    check(&shop, "front-a", "back-a:8080", None);
    check(&shop, "back-a", "stranger:443", Some("aws_security_group.back"));
    check(&shop, "back-a", "stranger:443", Some("aws_network_acl.back"));
    check(&shop, "back-b", "stranger:443", Some("aws_vpc.shop"));
    check(&shop, "back-a", "data:5432", Some("aws_security_group.data"));
}

#[test]
fn the_hub_keeps_production_and_development_apart() {
    let (_, hub) = imported("hub/plan.json");
    check(&hub, "dev.dev", "shared.shared:80", None);
    check(&hub, "shared.shared", "prod.prod:80", None);
    check(&hub, "prod.prod", "archive.archive:2049", None);
    check(&hub, "dev.dev", "prod.prod:80", Some("aws_ec2_transit_gateway_route.nowhere"));
    check(&hub, "dev.dev", "archive.archive:2049", Some("aws_ec2_transit_gateway_route.nowhere"));
    // No VPC of it has an internet gateway: both services are reached through endpoints.
    check(&hub, "dev.dev", "s3.us-east-1.amazonaws.com:80", None);
    check(&hub, "dev.dev", "ssm.us-east-1.amazonaws.com:443", None);
    check(
        &hub,
        "dev.dev",
        "ssm.us-east-1.amazonaws.com:80",
        Some("module.spoke[\"dev\"].aws_security_group.endpoints"),
    );
}

#[test]
fn imported_plans_run_and_say_what_they_left_out() {
    for plan in ["web-app/plan.json", "broken-shop/plan.json", "hub/plan.json"] {
        let (imported, scenario) = imported(plan);
        let run = scenario.run(RunOptions::new(1)).unwrap();
        assert!(run.story().steps.iter().any(|s| s.ok), "{plan}: no step succeeds");
        let carried = imported.json["carried"].as_array().unwrap().len();
        assert!(
            carried > 20 && imported.talk[0].contains(&carried.to_string()),
            "{plan}: {:?}",
            imported.talk
        );
    }
    let (imported, _) = imported("web-app/plan.json");
    let notes = imported.json["notes"].as_array().unwrap();
    assert!(
        notes
            .iter()
            .any(|n| n["address"] == "aws_lb.front" && n["what"] == "left-out" && n["type"] == "aws_lb")
    );
}
