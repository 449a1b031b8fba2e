//! The real curl at a CDN's edge: the fields that it is told about the cache are, one by one, what the story says of the decisions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::guest::{Place, run};

/// The shipped scenario, without what happens in it.
fn network() -> &'static str {
    include_str!("../../../../../scenarios/cdn.yaml").split("\nsteps:").next().unwrap()
}

/// Each answer: `== URL`, its head, and an empty line.
const SCRIPT: &str = "
get() { echo \"== $1\"; curl -sS --max-time 20 -D head -o body \"$@\" || exit 1; tr -d '\\r' <head; }
site=https://example.com
get $site/static/logo.png
get $site/static/logo.png
get $site/api/prices
get $site/api/prices -d cup=13
sleep 2
get $site/static/logo.png
get $site/account
get $site/static/logo.png -H 'Cache-Control: no-cache' # an edge does not let clients decide
sleep 10
get $site/api/prices
sleep 1
get $site/api/prices
get $site/static/logo.png -H 'If-None-Match: \"unknown\"'
get $site/nothing.css";

/// What curl was told.
#[derive(Debug)]
struct Answer {
    url: String,
    status: u64,
    fields: BTreeMap<String, String>,
}

fn answers(said: &str) -> Vec<Answer> {
    let parts = said.split("== ").skip(1);
    let answer = |part: &str| {
        let mut lines = part.lines();
        let url = lines.next().unwrap().to_owned();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let fields = lines.filter_map(|line| line.split_once(": "));
        Answer { url, status, fields: fields.map(|(n, v)| (n.to_lowercase(), v.to_owned())).collect() }
    };
    parts.map(answer).collect()
}

/// The word for a request whose decisions were these, by Cloudflare's descriptions.
fn cloudflare(verdicts: &[&str], status: u64) -> &'static str {
    match verdicts {
        ["hit"] => "HIT",
        ["miss", "stored"] => "MISS",
        // What the origin's own fields keep out goes by the cache; an error page could have been kept.
        ["miss", "not-stored"] if status < 400 => "BYPASS",
        ["miss", "not-stored"] => "MISS",
        ["dynamic", ..] => "DYNAMIC",
        ["updating", ..] => "UPDATING",
        ["stale", "stored"] => "EXPIRED",
        [.., "revalidated"] => "REVALIDATED",
        other => panic!("no word for {other:?}"),
    }
}

/// One parameter of the edge's member of Cache-Status: `Some("")` for one without a value.
fn parameter<'a>(member: &'a str, name: &str) -> Option<&'a str> {
    let mut all = member.split("; ").skip(1).map(|p| p.split_once('=').unwrap_or((p, "")));
    all.find(|(n, _)| *n == name).map(|(_, value)| value)
}

fn seconds(nanos: &Value) -> Option<u64> {
    Some(nanos.as_u64()? / 1_000_000_000)
}

/// What curl heard against the decisions that the story tells of the same request.
fn compare(heard: &Answer, told: &Value) -> Vec<String> {
    let up = &told["upstream"];
    let steps = up["cache"].as_array().unwrap();
    let verdicts: Vec<&str> = steps.iter().map(|step| step["verdict"].as_str().unwrap()).collect();
    let field = |name: &str| heard.fields.get(name).map(String::as_str);
    let member = field("cache-status").unwrap_or_default();
    let from_store = matches!(verdicts[0], "hit" | "updating");
    // What is revalidated aside comes after the answer.
    let last = if from_store { &steps[0] } else { steps.last().unwrap() };
    let times = (last["age_ns"].as_u64(), last["fresh_for_ns"].as_u64());
    let kept = !matches!(verdicts[..], [.., "not-stored"]);
    let ttl = match times {
        (Some(age), Some(fresh)) if kept && fresh >= age => Some(((fresh - age) / 1_000_000_000).to_string()),
        (Some(age), Some(fresh)) if kept => Some(format!("-{}", (age - fresh).div_ceil(1_000_000_000))),
        _ => None,
    };
    // Age is of what was in the store; what comes fresh from the origin has none.
    let age = from_store.then(|| seconds(&steps[0]["age_ns"]).unwrap().to_string());
    let status = up["status"].as_u64().filter(|_| !from_store).map(|s| s.to_string());
    let pairs = [
        ("status", Some(heard.status.to_string()), told["status"].as_u64().map(|s| s.to_string())),
        (
            "cf-cache-status",
            field("cf-cache-status").map(str::to_owned),
            Some(cloudflare(&verdicts, heard.status).to_owned()),
        ),
        ("who", member.split("; ").next().map(str::to_owned), up["proxy"].as_str().map(str::to_owned)),
        ("hit", parameter(member, "hit").map(str::to_owned), from_store.then(String::new)),
        ("fwd-status", parameter(member, "fwd-status").map(str::to_owned), status),
        ("ttl", parameter(member, "ttl").map(str::to_owned), ttl),
        (
            "stored",
            parameter(member, "stored").map(str::to_owned),
            verdicts.contains(&"stored").then(String::new),
        ),
        ("age", field("age").map(str::to_owned), age),
    ];
    let differs = pairs.into_iter().filter(|(_, heard, told)| heard != told);
    differs
        .map(|(name, heard, told)| format!("{name}: curl heard {heard:?}, the story tells {told:?}"))
        .collect()
}

#[test]
fn the_real_curl_hears_what_the_edge_has_decided() {
    let place = Place::new("cdn-curl");
    let scenario = place.write("cdn.yaml", network());
    let said = run(&mut place.exec_as("tokyo-home.alice", &scenario, SCRIPT), Duration::from_secs(120));
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let heard = answers(&said.out);
    let words: Vec<&str> = heard.iter().map(|a| a.fields["cf-cache-status"].as_str()).collect();
    let expected =
        ["MISS", "HIT", "MISS", "DYNAMIC", "HIT", "BYPASS", "HIT", "UPDATING", "HIT", "HIT", "MISS"];
    assert_eq!(words, expected, "{}", said.out);
    let story: Value = serde_json::from_slice(&std::fs::read(place.path("out/story.json")).unwrap()).unwrap();
    let steps = story["steps"].as_array().unwrap();
    let mut told: Vec<&Value> = steps.iter().flat_map(|step| step["requests"].as_array().unwrap()).collect();
    told.retain(|request| {
        request["target"].as_str().is_some_and(|url| url.starts_with("https://example.com/"))
    });
    told.sort_by_key(|request| request["start_ns"].as_u64());
    assert_eq!(told.len(), heard.len());
    for (heard, told) in heard.iter().zip(told) {
        assert_eq!(told["target"].as_str(), Some(heard.url.as_str()));
        assert_eq!(compare(heard, told), Vec::<String>::new(), "{heard:#?}\n{:#}", told["upstream"]["cache"]);
        // Every field of the head, as the story has read it from the bytes.
        let fields = told["response_headers"].as_array().unwrap().iter();
        let fields: BTreeMap<String, String> = fields
            .map(|f| (f["name"].as_str().unwrap().to_lowercase(), f["value"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(fields, heard.fields);
    }
}
