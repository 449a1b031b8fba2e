//! The real Chromium behind a simulated reverse proxy: what its developer tools list is what the story tells, what the HAR file
//! has, and what the proxy and the servers wrote into their logs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::guest::{Place, run};

/// The shipped scenario, without what happens in it.
fn network() -> &'static str {
    include_str!("../../../../../scenarios/load-balancers.yaml").split("\nsteps:").next().unwrap()
}

const SITE: &str = "https://l7.shop.example/";

/// A request as each of them has it: method, URL, status, protocol, which server answered.
type Row = (String, String, u64, String, String);

fn read(place: &Place, file: &str) -> Value {
    let bytes = std::fs::read(place.path(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    serde_json::from_slice(&bytes).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.1.starts_with(SITE));
    rows.sort();
    rows
}

/// As Chromium's network panel has it.
fn of_chromium(place: &Place) -> Vec<Row> {
    let list = read(place, "list.json");
    let rows = list.as_array().unwrap().iter().map(|r| {
        let fields = r["fields"].as_object().unwrap();
        let served = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-served-by"));
        let served = served.map_or(String::new(), |(_, value)| text(value));
        (text(&r["method"]), text(&r["url"]), r["status"].as_u64().unwrap(), text(&r["protocol"]), served)
    });
    sorted(rows.collect())
}

/// As the story has it: who answered is the server that the proxy says it has chosen.
fn of_story(place: &Place) -> Vec<Row> {
    let story = read(place, "out/story.json");
    let steps = story["steps"].as_array().unwrap().iter();
    let requests = steps.flat_map(|step| step["requests"].as_array().unwrap());
    let rows = requests.filter(|r| r["protocol"] == "HTTP/2").map(|r| {
        assert_eq!(r["upstream"]["proxy"], "l7", "{r:#}");
        // Both hops have the same status: the proxy passes answers on as they are.
        assert_eq!(r["upstream"]["status"], r["status"]);
        let chosen = text(&r["upstream"]["chosen"]);
        (text(&r["method"]), text(&r["target"]), r["status"].as_u64().unwrap(), "h2".to_owned(), chosen)
    });
    sorted(rows.collect())
}

/// As the HAR file has it.
fn of_har(place: &Place) -> Vec<Row> {
    let har = read(place, "out/page.har");
    let rows = har["log"]["entries"].as_array().unwrap().iter().map(|entry| {
        let (request, response) = (&entry["request"], &entry["response"]);
        let fields = response["headers"].as_array().unwrap();
        let served =
            fields.iter().find(|f| f["name"] == "x-served-by").map_or(String::new(), |f| text(&f["value"]));
        let status = response["status"].as_u64().unwrap();
        let protocol = if response["httpVersion"] == "HTTP/2" { "h2" } else { "another" };
        (text(&request["method"]), text(&request["url"]), status, protocol.to_owned(), served)
    });
    sorted(rows.collect())
}

/// `GET /cup 200` of each line of a log, health checks left out.
fn of_log(place: &Place, node: &str) -> Vec<String> {
    let log = std::fs::read_to_string(place.path(&format!("out/web-access-{node}.log"))).unwrap_or_default();
    let asked = log.lines().filter(|line| !line.contains("roundtrip-health"));
    let short = |line: &str| {
        assert!(line.contains("HeadlessChrome"), "{line}");
        let (request, rest) = line.split_once("] \"").unwrap().1.split_once("\" ").unwrap();
        let (request, status) = (request.rsplit_once(' ').unwrap().0, rest.split(' ').next().unwrap());
        format!("{request} {status}")
    };
    let mut lines: Vec<String> = asked.map(short).collect();
    lines.sort();
    lines
}

fn in_logs<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<String> {
    let short = |row: &Row| format!("{} /{} {}", row.0, &row.1[SITE.len()..], row.2);
    let mut lines: Vec<String> = rows.map(short).collect();
    lines.sort();
    lines
}

#[test]
fn chromium_the_story_the_har_file_and_the_logs_agree_on_what_a_balancer_served() {
    let place = Place::new("browsed");
    let scenario = place.write("load-balancers.yaml", network());
    place.write("devtools.js", include_str!("../../clients/devtools.js"));
    let script = format!("node devtools.js {SITE} list.json page.png");
    let said = run(&mut place.exec_as("ann", &scenario, &script), Duration::from_secs(120));
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let theirs = of_chromium(&place);
    assert!(theirs.len() >= 5, "a page, what it names, an icon: {theirs:#?}");
    assert_eq!(of_story(&place), theirs);
    assert_eq!(of_har(&place), theirs);
    // The proxy's log has every request, each server's those that it answered; nobody's has more.
    assert_eq!(of_log(&place, "l7"), in_logs(theirs.iter()));
    let mut by_server: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in &theirs {
        by_server.entry(row.4.as_str()).or_default().push(row);
    }
    let servers: Vec<&str> = by_server.keys().copied().collect();
    assert_eq!(servers, ["web-1", "web-2", "web-3"], "in turn");
    for (server, rows) in by_server {
        assert_eq!(of_log(&place, server), in_logs(rows.into_iter()), "{server}");
    }
}
