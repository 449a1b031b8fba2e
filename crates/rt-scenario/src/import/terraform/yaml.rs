//! Writes a cloud as a scenario file that a person can read: a head that says what is not in it, sites in the order of
//! the plan, one line for each thing, and a stranger outside to try it with.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::cloud::{Acl, Cloud, Endpoint, Group, Hub, Line, Machine, Peering, Public, Route, Table, Vpc};
use super::vpcs::overlap;
use super::{Note, What};

/// Longest line with a mapping in it.
const WIDTH: usize = 118;
/// At most so many ports of an instance are listened on.
const MOST_PORTS: usize = 8;
/// At most so many steps of each kind are suggested.
const MOST_STEPS: usize = 4;

/// Regions with the city that stands for each.
const REGIONS: &[(&str, &str)] = &[
    ("af-south-1", "capetown"),
    ("ap-east-1", "hongkong"),
    ("ap-northeast-1", "tokyo"),
    ("ap-northeast-2", "seoul"),
    ("ap-south-1", "mumbai"),
    ("ap-southeast-1", "singapore"),
    ("ap-southeast-2", "sydney"),
    ("ap-southeast-4", "melbourne"),
    ("ca-central-1", "montreal"),
    ("eu-central-1", "frankfurt"),
    ("eu-central-2", "zurich"),
    ("eu-north-1", "stockholm"),
    ("eu-south-1", "milan"),
    ("eu-south-2", "madrid"),
    ("eu-west-1", "dublin"),
    ("eu-west-2", "london"),
    ("eu-west-3", "paris"),
    ("il-central-1", "telaviv"),
    ("me-central-1", "dubai"),
    ("mx-central-1", "mexicocity"),
    ("sa-east-1", "saopaulo"),
    ("us-east-1", "ashburn"),
    ("us-west-2", "seattle"),
];

/// The scenario.
pub(super) fn write(cloud: &Cloud, notes: &[Note], name: &str, source: &str) -> String {
    let mut out = Text::default();
    head(&mut out, notes, source);
    let name = super::names::clean(name);
    let count: usize = cloud.vpcs.iter().map(|v| v.instances.len()).sum();
    out.line(0, &format!("name: {}", scalar(&name)));
    let about = format!("{} with {}.", many(cloud.vpcs.len(), "VPC"), many(count, "instance"));
    out.line(0, &format!("about: {about}"));
    out.blank();
    out.line(0, "sites:");
    let place = place(cloud);
    for vpc in &cloud.vpcs {
        write_vpc(&mut out, vpc, place);
    }
    for peering in &cloud.peerings {
        write_peering(&mut out, peering);
    }
    for hub in &cloud.hubs {
        write_hub(&mut out, hub, place);
    }
    write_outside(&mut out, cloud, place);
    write_steps(&mut out, cloud);
    out.0
}

/// The file's text so far.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, depth: usize, text: &str) {
        self.0.push_str(&"  ".repeat(depth));
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }

    fn comment(&mut self, depth: usize, text: &str) {
        let clean: String = text.chars().map(|c| if breaks(c) { '?' } else { c }).collect();
        self.line(depth, &format!("# {clean}"));
    }

    /// `key: { a: b, c: d }` on one line, or over several when that is too long.
    fn entry(&mut self, depth: usize, key: &str, pairs: &[(&str, String)]) {
        let inner: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        let line = format!("{key}: {{ {} }}", inner.join(", "));
        if pairs.is_empty() {
            self.line(depth, &format!("{key}: {{}}"));
        } else if line.len() + 2 * depth <= WIDTH {
            self.line(depth, &line);
        } else {
            self.line(depth, &format!("{key}:"));
            inner.iter().for_each(|pair| self.line(depth + 1, pair));
        }
    }
}

/// Characters that end a line for one YAML reader or another, or that no file should hold.
fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Text as a YAML scalar that means just this text, also within braces.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let word =
        text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(|c| plain(c) || c == ' ');
    let number =
        text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(plain) && text.contains('.');
    let special = ["yes", "no", "on", "off", "true", "false", "null", "y", "n"];
    if (word || number) && !text.ends_with(' ') && !special.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    if text.chars().any(breaks) {
        return serde_json::Value::from(text).to_string();
    }
    format!("'{}'", text.replace('\'', "''"))
}

fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|n| scalar(n)).collect::<Vec<_>>().join(", "))
}

fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn place(cloud: &Cloud) -> &'static str {
    let zone = || cloud.vpcs.iter().flat_map(|v| &v.subnets).find_map(|s| s.zone.clone());
    let known =
        |region: &str| REGIONS.iter().find(|(name, _)| region.starts_with(name)).map(|(_, city)| *city);
    let region = cloud.region.clone().or_else(zone);
    region.and_then(|r| known(&r)).unwrap_or("ashburn")
}

fn head(out: &mut Text, notes: &[Note], source: &str) {
    out.comment(0, &format!("Made from {source} by `roundtrip import terraform`. It is a scenario like any other: change it, keep it."));
    let told = [
        (What::LeftOut, "Not in this file, with the reason:"),
        (What::Assumed, "In this file, with something that Terraform does not say:"),
    ];
    for (what, title) in told {
        let mine: Vec<&Note> = notes.iter().filter(|n| n.what == what).collect();
        if mine.is_empty() {
            continue;
        }
        out.line(0, "#");
        out.comment(0, title);
        let width = mine.iter().map(|n| n.address.chars().count()).max().unwrap_or(0).min(50);
        for note in mine {
            out.comment(0, &format!("  {:width$}  {}", note.address, note.why));
        }
    }
    let beside: Vec<&str> =
        notes.iter().filter(|n| n.what == What::Beside).map(|n| n.address.as_str()).collect();
    if !beside.is_empty() {
        out.line(0, "#");
        out.comment(0, "Not in this file, because it sends no packets:");
        for row in beside.chunks(3) {
            out.comment(0, &format!("  {}", row.join(", ")));
        }
    }
}

fn write_vpc(out: &mut Text, vpc: &Vpc, place: &str) {
    out.line(1, &format!("{}:", vpc.name));
    out.line(2, "kind: vpc");
    out.line(2, &format!("place: {place}"));
    match &vpc.cidrs[..] {
        [one] => out.line(2, &format!("cidr: {one}")),
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            out.line(2, &format!("cidr: [{}]", several.join(", ")));
        }
    }
    out.line(2, &format!("resource: {}", scalar(&vpc.resource)));
    if let Some(gateway) = &vpc.gateway {
        out.entry(2, "internet-gateway", &[("resource", scalar(gateway))]);
    }
    if !vpc.dns {
        out.line(2, "dns: no");
    }
    write_subnets(out, vpc);
    write_tables(out, vpc);
    write_public(out, vpc);
    if !vpc.groups.is_empty() {
        out.line(2, "security-groups:");
        vpc.groups.iter().for_each(|group| write_group(out, group));
    }
    if !vpc.acls.is_empty() {
        out.line(2, "acls:");
        vpc.acls.iter().for_each(|acl| write_acl(out, acl));
    }
    if !vpc.lists.is_empty() {
        out.line(2, "prefix-lists:");
        for one in &vpc.lists {
            let cidrs: Vec<String> = one.cidrs.iter().map(ToString::to_string).collect();
            out.line(3, &format!("{}: [{}]", one.name, cidrs.join(", ")));
        }
    }
    if !vpc.endpoints.is_empty() {
        out.line(2, "endpoints:");
        vpc.endpoints.iter().for_each(|endpoint| write_endpoint(out, endpoint));
    }
    if !vpc.instances.is_empty() {
        out.line(2, "instances:");
        vpc.instances.iter().for_each(|machine| write_machine(out, vpc, machine));
    }
    out.blank();
}

fn write_subnets(out: &mut Text, vpc: &Vpc) {
    if vpc.subnets.is_empty() {
        return;
    }
    out.line(2, "subnets:");
    for subnet in &vpc.subnets {
        let mut pairs = vec![("cidr", subnet.cidr.to_string())];
        pairs.extend(subnet.zone.iter().map(|z| ("zone", scalar(z))));
        if subnet.public {
            pairs.push(("public", "yes".into()));
        }
        pairs.extend(subnet.table.map(|t| ("route-table", scalar(&vpc.tables[t].name))));
        pairs.extend(subnet.acl.map(|a| ("acl", scalar(&vpc.acls[a].name))));
        pairs.push(("resource", scalar(&subnet.resource)));
        out.entry(3, &subnet.name, &pairs);
    }
}

fn write_tables(out: &mut Text, vpc: &Vpc) {
    if let Some(main) = vpc.main.map(|m| &vpc.tables[m]).filter(|t| t.name != "main") {
        out.line(2, &format!("main-route-table: {}", scalar(&main.name)));
    }
    if vpc.tables.is_empty() {
        return;
    }
    out.line(2, "route-tables:");
    vpc.tables.iter().for_each(|table| write_table(out, 3, table));
}

fn write_table(out: &mut Text, depth: usize, table: &Table) {
    if table.routes.is_empty() && table.resource.is_none() {
        out.line(depth, &format!("{}: {{}}", table.name));
        return;
    }
    out.line(depth, &format!("{}:", table.name));
    if let Some(resource) = &table.resource {
        out.line(depth + 1, &format!("resource: {}", scalar(resource)));
    }
    for Route { destination, target, resource } in &table.routes {
        if Some(resource) == table.resource.as_ref() {
            out.line(depth + 1, &format!("{destination}: {}", scalar(target)));
        } else {
            out.entry(depth + 1, destination, &[("target", scalar(target)), ("resource", scalar(resource))]);
        }
    }
}

fn write_public(out: &mut Text, vpc: &Vpc) {
    if !vpc.eips.is_empty() {
        out.line(2, "elastic-ips:");
        for eip in &vpc.eips {
            out.entry(
                3,
                &eip.name,
                &[("address", eip.address.to_string()), ("resource", scalar(&eip.resource))],
            );
        }
    }
    if !vpc.nats.is_empty() {
        out.line(2, "nat-gateways:");
        for nat in &vpc.nats {
            let mut pairs = vec![("subnet", scalar(&nat.subnet)), ("address", nat.address.to_string())];
            pairs.extend(nat.public.iter().map(|p| ("public", scalar(p))));
            pairs.push(("resource", scalar(&nat.resource)));
            out.entry(3, &nat.name, &pairs);
        }
    }
}

fn write_group(out: &mut Text, group: &Group) {
    out.line(3, &format!("{}:", group.name));
    if let Some(about) = &group.about {
        out.line(4, &format!("about: {}", scalar(about)));
    }
    if let Some(resource) = &group.resource {
        out.line(4, &format!("resource: {}", scalar(resource)));
    }
    let own = group.resource.as_deref().unwrap_or_default();
    write_lines(out, ("in", own), &group.ins);
    write_lines(out, ("out", own), &group.outs);
}

/// Lines; those of the group's own blocks need no address beside the group's.
fn write_lines(out: &mut Text, (key, own): (&str, &str), lines: &[Line]) {
    if lines.is_empty() {
        out.line(4, &format!("{key}: []"));
        return;
    }
    out.line(4, &format!("{key}:"));
    for line in lines {
        if line.resource.is_empty() || line.resource == own {
            out.line(5, &format!("- {}", scalar(&line.text)));
        } else {
            out.line(
                5,
                &format!("- {{ rule: {}, resource: {} }}", scalar(&line.text), scalar(&line.resource)),
            );
        }
    }
}

fn write_acl(out: &mut Text, acl: &Acl) {
    out.line(3, &format!("{}:", acl.name));
    out.line(4, &format!("resource: {}", scalar(&acl.resource)));
    for (key, entries) in [("in", &acl.ins), ("out", &acl.outs)] {
        if entries.is_empty() {
            out.line(4, &format!("{key}: {{}}"));
            continue;
        }
        out.line(4, &format!("{key}:"));
        for (number, line) in entries {
            if line.resource == acl.resource {
                out.line(5, &format!("{number}: {}", scalar(&line.text)));
            } else {
                let pairs = [("rule", scalar(&line.text)), ("resource", scalar(&line.resource))];
                out.entry(5, &number.to_string(), &pairs);
            }
        }
    }
}

fn write_endpoint(out: &mut Text, endpoint: &Endpoint) {
    let kind = if endpoint.gateway { "gateway" } else { "interface" };
    let mut pairs = vec![("type", kind.to_owned()), ("service", scalar(&endpoint.service))];
    if endpoint.gateway {
        pairs.push(("route-tables", list(&endpoint.tables)));
    } else {
        let names: Vec<String> = endpoint.subnets.iter().map(|(name, _)| name.clone()).collect();
        pairs.push(("subnets", list(&names)));
        let addresses: Vec<String> =
            endpoint.subnets.iter().map(|(name, address)| format!("{}: {address}", scalar(name))).collect();
        pairs.push(("addresses", format!("{{ {} }}", addresses.join(", "))));
        pairs.push(("groups", list(&endpoint.groups)));
        pairs.push(("private-dns", if endpoint.private_dns { "yes" } else { "no" }.to_owned()));
    }
    pairs.push(("resource", scalar(&endpoint.resource)));
    out.entry(3, &endpoint.name, &pairs);
}

fn write_machine(out: &mut Text, vpc: &Vpc, machine: &Machine) {
    let mut pairs = vec![("subnet", scalar(&machine.subnet)), ("address", machine.address.to_string())];
    match &machine.public {
        Public::No => {
            // Said only where the subnet says otherwise.
            if vpc.subnets.iter().any(|s| s.name == machine.subnet && s.public) {
                pairs.push(("public", "no".into()));
            }
        }
        Public::Yes => pairs.push(("public", "yes".into())),
        Public::Address(address) => pairs.push(("public", address.to_string())),
        Public::Elastic(name) => pairs.push(("public", scalar(name))),
    }
    pairs.push(("groups", list(&machine.groups)));
    if !machine.check {
        pairs.push(("source-dest-check", "no".into()));
    }
    let ports = open_ports(vpc, machine);
    if !ports.is_empty() {
        let apps: Vec<String> = ports.iter().map(|p| app(*p)).collect();
        pairs.push(("run", format!("[{}]", apps.join(", "))));
    }
    pairs.push(("resource", scalar(&machine.resource)));
    out.entry(3, &machine.name, &pairs);
}

/// The TCP ports that its security groups open one by one: something listens there.
fn open_ports(vpc: &Vpc, machine: &Machine) -> Vec<u16> {
    let mine = vpc.groups.iter().filter(|g| machine.groups.contains(&g.name));
    let ports: BTreeSet<u16> = mine.flat_map(|g| g.ins.iter().filter_map(|l| l.port)).collect();
    ports.into_iter().take(MOST_PORTS).collect()
}

/// A web server where people have one; elsewhere something that sends back what comes.
fn app(port: u16) -> String {
    match port {
        80 => "http".into(),
        3000 | 5000 | 8000..=8999 => format!("http: {{ port: {port} }}"),
        _ => format!("echo: {{ port: {port} }}"),
    }
}

fn write_peering(out: &mut Text, peering: &Peering) {
    let mut pairs = vec![("kind", "peering".to_owned()), ("between", list(&peering.between))];
    if !peering.accepted {
        pairs.push(("accepted", "no".into()));
    }
    pairs.push(("resource", scalar(&peering.resource)));
    out.entry(1, &peering.name, &pairs);
    out.blank();
}

fn write_hub(out: &mut Text, hub: &Hub, place: &str) {
    out.line(1, &format!("{}:", hub.name));
    out.line(2, "kind: transit-gateway");
    out.line(2, &format!("place: {place}"));
    out.line(2, &format!("resource: {}", scalar(&hub.resource)));
    if hub.attachments.is_empty() {
        out.line(2, "attachments: {}");
    } else {
        out.line(2, "attachments:");
    }
    let written = hub.tables.iter().any(|t| t.name == "default");
    for one in &hub.attachments {
        let mut pairs = vec![("vpc", scalar(&one.vpc)), ("subnets", list(&one.subnets))];
        pairs.extend(one.table.iter().map(|t| ("route-table", scalar(t))));
        match &one.learnt_by {
            Some(tables) => pairs.push(("propagates-to", list(tables))),
            // A default table that is written learns nothing by itself.
            None if written => pairs.push(("propagates-to", "[default]".into())),
            None => {}
        }
        pairs.push(("resource", scalar(&one.resource)));
        out.entry(3, &one.name, &pairs);
    }
    if !hub.tables.is_empty() {
        out.line(2, "route-tables:");
        hub.tables.iter().for_each(|table| write_table(out, 3, table));
    }
    out.blank();
}

fn write_outside(out: &mut Text, cloud: &Cloud, place: &str) {
    let far = if place == "london" { "paris" } else { "london" };
    out.line(1, &format!("internet: {{ kind: internet, places: [{place}, {far}] }}"));
    out.blank();
    if !cloud.services.is_empty() {
        out.comment(1, "Services of AWS, as far as packets see them: an address with a name.");
    }
    for service in &cloud.services {
        let pairs = [
            ("kind", "host".to_owned()),
            ("place", place.to_owned()),
            ("address", service.address.to_string()),
            ("names", format!("[{}]", service.host)),
            ("run", "[http, echo: { port: 443 }]".to_owned()),
        ];
        out.entry(1, &service.name, &pairs);
    }
    if !cloud.services.is_empty() {
        out.blank();
    }
    out.comment(1, "Somebody outside: to try what the world can reach, and for instances to reach out to.");
    let pairs = [
        ("kind", "host".to_owned()),
        ("place", far.to_owned()),
        ("address", stranger(cloud).to_string()),
        ("names", "[stranger.example]".to_owned()),
        ("run", "[http, echo: { port: 443 }]".to_owned()),
    ];
    out.entry(1, "stranger", &pairs);
}

/// An address of a documentation network (RFC 5737) that none of the cloud's own is in.
fn stranger(cloud: &Cloud) -> Ipv4Addr {
    let networks = [[198, 51, 100], [192, 0, 2], [203, 0, 113], [198, 18, 200]];
    let taken = |net: &[u8; 3]| {
        let own = Ipv4Net::new_assert(Ipv4Addr::new(net[0], net[1], net[2], 0), 24);
        public_addresses(cloud).any(|a| own.contains(&a))
            || cloud.vpcs.iter().flat_map(|vpc| &vpc.cidrs).any(|cidr| overlap(*cidr, own))
    };
    let [a, b, c] = networks.into_iter().find(|net| !taken(net)).unwrap_or(networks[0]);
    Ipv4Addr::new(a, b, c, 7)
}

fn public_addresses(cloud: &Cloud) -> impl Iterator<Item = Ipv4Addr> {
    cloud.vpcs.iter().flat_map(|vpc| {
        let own = vpc.instances.iter().filter_map(|m| match m.public {
            Public::Address(address) => Some(address),
            _ => None,
        });
        own.chain(vpc.eips.iter().map(|e| e.address))
    })
}

/// What can be tried first: each public address from outside, and the way out of each subnet.
fn write_steps(out: &mut Text, cloud: &Cloud) {
    let mut steps = Vec::new();
    for vpc in &cloud.vpcs {
        for machine in &vpc.instances {
            let address = match &machine.public {
                Public::Address(address) => Some(*address),
                Public::Elastic(name) => vpc.eips.iter().find(|e| e.name == *name).map(|e| e.address),
                _ => None,
            };
            if let (Some(address), Some(port)) = (address, open_ports(vpc, machine).first()) {
                steps.push(format!("stranger connects to {address}:{port}"));
            }
        }
    }
    steps.truncate(MOST_STEPS);
    let mut tried = BTreeSet::new();
    let mut ways = Vec::new();
    for vpc in &cloud.vpcs {
        for machine in vpc.instances.iter().filter(|m| tried.insert((vpc.name.clone(), m.subnet.clone()))) {
            let target = if vpc.gateway.is_some() {
                Some(format!("{}:443", stranger(cloud)))
            } else {
                elsewhere(cloud, vpc)
            };
            ways.extend(target.map(|to| format!("{}.{} connects to {to}", vpc.name, machine.name)));
        }
    }
    ways.truncate(MOST_STEPS);
    steps.extend(ways);
    if steps.is_empty() {
        return;
    }
    out.blank();
    out.line(0, "steps:");
    steps.iter().for_each(|step| out.line(1, &format!("- {step}")));
}

/// The same file with the steps that `load` says cannot work as comments: a broken network is read too.
pub(super) fn without_hopeless_steps(text: String) -> String {
    let Err(problems) = crate::load("import.yaml", &text) else { return text };
    let wrong: BTreeSet<usize> = problems.iter().filter_map(|p| usize::try_from(p.at.line).ok()).collect();
    let Some(steps) = text.lines().position(|line| line == "steps:") else { return text };
    let kept = text.lines().count() - steps - 1 > wrong.iter().filter(|line| **line > steps + 1).count();
    let mut out = Text::default();
    for (index, line) in text.lines().enumerate() {
        match line.strip_prefix("  - ").filter(|_| index > steps && wrong.contains(&(index + 1))) {
            Some(step) => {
                out.line(1, &format!("# - {step}      # no way there or back: `roundtrip can` says why"))
            }
            None if index == steps && !kept => out.line(0, "# steps:"),
            None => out.line(0, line),
        }
    }
    out.0
}

/// Something that listens in another VPC, the first one behind this one.
fn elsewhere(cloud: &Cloud, vpc: &Vpc) -> Option<String> {
    let here = cloud.vpcs.iter().position(|v| v.name == vpc.name)?;
    let others = cloud.vpcs[here + 1..].iter().chain(&cloud.vpcs[..here]);
    let mut machines = others.flat_map(|v| v.instances.iter().map(move |m| (v, m)));
    machines.find_map(|(v, m)| Some(format!("{}:{}", m.address, open_ports(v, m).first()?)))
}
