//! What a proxy's cache does with real requests, as the bytes, their fields and the story tell it.

use std::fmt::Write as _;

use rt_base::{AppRecord, CacheVerdict};
use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::story::{RequestStory, StepStory};

fn run(scenario: &str) -> Run {
    Scenario::load(scenario).unwrap().run(RunOptions::new(1)).unwrap()
}

fn run_text(name: &str, text: &str) -> Run {
    let scenario = Scenario::of_text(&format!("{name}.yaml"), text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

/// The page of a step.
fn page(step: &StepStory) -> &RequestStory {
    step.requests.iter().find(|r| r.kind == "page").unwrap_or_else(|| panic!("{:?}", step.outcome))
}

fn field<'r>(request: &'r RequestStory, name: &str) -> &'r str {
    let found = request.response_headers.iter().find(|f| f.name.eq_ignore_ascii_case(name));
    found.map_or("", |f| f.value.as_str())
}

/// What the edge's cache decided, in words.
fn verdicts(request: &RequestStory) -> Vec<&str> {
    request.upstream.iter().flat_map(|up| &up.cache).map(|step| step.verdict.as_str()).collect()
}

/// Waiting for the answer and receiving it, microseconds.
fn answer_us(request: &RequestStory) -> u64 {
    (request.timings.send_ns + request.timings.wait_ns + request.timings.receive_ns) / 1_000
}

#[test]
fn the_numbers_of_the_cdn_are_those_of_the_links() {
    let run = run("cdn");
    let steps = &run.story().steps;
    let [cold_miss, cold_hit, miss, hit] = [1, 2, 3, 4].map(|step: usize| page(&steps[step]));
    // Warm: the user's round trip of 1 ms, and the origin's of 300 ms on a miss.
    assert!((301_000..302_000).contains(&answer_us(miss)), "{} us", answer_us(miss));
    assert!((1_000..1_400).contains(&answer_us(hit)), "{} us", answer_us(hit));
    // Cold: TCP and TLS to the origin cost two round trips more.
    assert!((901_000..904_000).contains(&answer_us(cold_miss)), "{} us", answer_us(cold_miss));
    assert!((1_000..1_400).contains(&answer_us(cold_hit)), "{} us", answer_us(cold_hit));
    assert_eq!(verdicts(miss), ["miss", "stored"]);
    assert_eq!(verdicts(hit), ["hit"]);
    let up = hit.upstream.as_ref().unwrap();
    assert_eq!((up.chosen.as_str(), up.sent_ns), ("", 0), "a hit asks nobody");
    assert_eq!(up.cache[0].key, "https://example.com/static/logo.png");
    for (request, status) in [(miss, "MISS"), (hit, "HIT")] {
        assert_eq!(field(request, "cf-cache-status"), status);
        let ray = field(request, "cf-ray");
        assert!(ray.len() == 20 && ray.ends_with("-NRT"), "{ray}");
        assert!(request.body_bytes > 5_000 && request.body_bytes < 10_000, "{}", request.body_bytes);
    }
    assert_eq!(field(hit, "cache-status"), "example.tokyo; hit; ttl=86398");
    // The origin hears who asks and from where.
    let added = &miss.upstream.as_ref().unwrap().added;
    let told =
        |name: &str| added.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value.as_str());
    assert_eq!(told("cf-ipcountry"), Some("JP"));
    assert!(told("cf-connecting-ip").is_some_and(|ip| ip.starts_with("203.0.113.")));
    let far = page(&steps[9]);
    assert!(field(far, "cf-ray").ends_with("-IAD"));
}

#[test]
fn stale_prices_are_served_at_once_and_renewed_aside() {
    let run = run("cdn");
    let steps = &run.story().steps;
    let [stale, fresh, account] = [6, 7, 8].map(|step: usize| page(&steps[step]));
    assert_eq!(verdicts(stale)[0], "updating");
    assert!(answer_us(stale) < 2_000, "{} us", answer_us(stale));
    assert_eq!(field(stale, "cf-cache-status"), "UPDATING");
    // The origin answered 304 meanwhile, so that the next one is fresh again.
    assert_eq!(field(fresh, "cf-cache-status"), "HIT");
    assert!(field(fresh, "age").parse::<u32>().unwrap() <= 1);
    assert_eq!(verdicts(account), ["miss", "not-stored"]);
    assert_eq!(field(account, "cf-cache-status"), "BYPASS");
}

#[test]
fn no_zone_knows_the_origin() {
    let scenario = Scenario::load("cdn").unwrap();
    let origin = "198.51.100.20";
    assert!(scenario.model().zones.iter().all(|zone| !zone.text.contains(origin)));
    let run = scenario.run(RunOptions::new(1)).unwrap();
    let lookups = run.story().steps.iter().flat_map(|step| &step.lookups);
    assert!(lookups.flat_map(|lookup| &lookup.answer).all(|answer| !answer.contains(origin)));
}

/// Users on a switch with an edge in front of an origin that is 20 ms away; `cache` is the edge's.
fn shop(users: u32, cache: &str, steps: &str) -> String {
    let mut text = String::from(
        "name: shop\nabout: Users, an edge, an origin.\ntopology:\n  nodes:\n    s: { kind: switch }\n",
    );
    for user in 1..=users {
        let _ = writeln!(
            text,
            "    u{user}: {{ kind: host, address: 10.0.0.{}/24, browser: {{ stays-open: 10min }} }}",
            user + 10
        );
    }
    text.push_str(
        "    edge:\n      kind: host\n      interfaces: { in: 10.0.0.1/24, out: 10.0.1.1/24 }\n      run:\n",
    );
    let _ = writeln!(
        text,
        "        - edge: {{ upstreams: {{ origin: \"10.0.1.2:80\" }}, think: 0s, cache: {cache} }}"
    );
    text.push_str("    origin: { kind: host, address: 10.0.1.2/24, run: [ http: { pages: cdn, think: 0s } ] }\n  links:\n");
    for user in 1..=users {
        let _ = writeln!(text, "    - endpoints: [\"u{user}:eth0\", \"s:p{user}\"]");
    }
    let _ = write!(
        text,
        "    - endpoints: [\"edge:in\", \"s:p0\"]\n    - {{ endpoints: [\"edge:out\", \"origin:eth0\"], delay: 20ms }}\n\
         names: {{ hosts: {{ shop.example: 10.0.0.1 }} }}\nsteps:\n{steps}"
    );
    text
}

/// The decisions of a run with the ordinal of the request and its leader's port.
fn decisions(run: &Run) -> Vec<(CacheVerdict, Option<u16>)> {
    let said = run.trace().said().filter_map(|(_, record)| match record {
        AppRecord::SharedCache { leader, decision, .. } => {
            Some((decision.verdict, leader.map(|(peer, _)| peer.port())))
        }
        _ => None,
    });
    said.collect()
}

fn asked_upstream(run: &Run) -> usize {
    run.trace().said().filter(|(_, record)| matches!(record, AppRecord::ChoseUpstream { .. })).count()
}

#[test]
fn users_who_ask_for_the_same_at_once_cost_the_origin_one_request() {
    let steps: String = (1..=6)
        .map(|user| {
            format!("  - {{ do: u{user} opens http://shop.example/static/logo.png, background: yes }}\n")
        })
        .collect();
    for (cache, asked, collapsed) in [("yes", 1, 5), ("{ collapse: no }", 6, 0)] {
        let run = run_text("shop", &shop(6, cache, &steps));
        assert!(run.story().steps.iter().all(|step| step.ok), "{:?}", run.story().steps[0].outcome);
        assert_eq!(asked_upstream(&run), asked, "{cache}");
        let waited: Vec<_> =
            decisions(&run).into_iter().filter(|(verdict, _)| *verdict == CacheVerdict::Collapsed).collect();
        assert_eq!(waited.len(), collapsed, "{cache}");
        assert!(waited.iter().all(|(_, leader)| leader.is_some()));
        let bodies: Vec<_> = run.story().steps.iter().map(|step| page(step).body_bytes).collect();
        assert!(bodies.windows(2).all(|two| two[0] == two[1]) && bodies[0] > 0);
        if collapsed > 0 {
            let follower = page(&run.story().steps[3]);
            assert_eq!(verdicts(follower), ["collapsed", "hit"]);
            assert!(
                field(follower, "cache-status").contains("; collapsed"),
                "{}",
                field(follower, "cache-status")
            );
            assert!(follower.upstream.as_ref().unwrap().cache[0].leader.starts_with("u1 (request 1"));
        }
    }
}

#[test]
fn a_stale_page_is_validated_with_its_tag_and_a_dead_origin_is_told() {
    let steps = "  - u1 opens http://shop.example/\n  - u2 opens http://shop.example/ after 61s\n  - u3 opens http://shop.example/\n  \
                 - u1 opens http://shop.example/ after 100s\n  - u2 opens http://shop.example/api/prices\n";
    let text = shop(3, "yes", steps) + "timeline:\n  - { at: 150s, cut: \"origin:eth0\" }\n";
    let run = run_text("shop", &text);
    let pages: Vec<_> = run.story().steps.iter().map(page).collect();
    assert_eq!(verdicts(pages[1]), ["stale", "revalidated"]);
    assert_eq!(pages[1].upstream.as_ref().unwrap().status, 304);
    assert_eq!((pages[1].status, pages[1].body_bytes), (200, pages[0].body_bytes));
    assert!(field(pages[1], "cache-status").starts_with("edge; fwd=stale; fwd-status=304; ttl="));
    assert_eq!(verdicts(pages[2]), ["hit"]);
    // Nothing allows to use the page stale: 504 or 502, and the story says what the cache had.
    assert!(pages[3].status == 502 || pages[3].status == 504, "{}", pages[3].status);
    assert_eq!(verdicts(pages[3]), ["stale"]);
    assert_eq!(verdicts(pages[4]), ["miss"]);
}

//= rfc9111#section-4
#[test]
fn a_hundred_users_cost_what_the_hit_ratio_says() {
    const USERS: u32 = 100;
    let mut steps = String::from("  - u1 opens http://shop.example/\n");
    for user in 1..=USERS {
        // Once to have a connection, once to be measured.
        let _ = writeln!(steps, "  - u{user} opens http://shop.example/");
        let _ = writeln!(steps, "  - u{user} opens http://shop.example/static/logo.png");
    }
    let run = run_text("shop", &shop(USERS, "yes", &steps));
    let logos: Vec<_> =
        run.story().steps.iter().map(page).filter(|r| r.target.ends_with("logo.png")).collect();
    assert_eq!(logos.len(), USERS as usize);
    let hits = logos.iter().filter(|r| verdicts(r) == ["hit"]).count() as f64;
    let h = hits / f64::from(USERS);
    assert!((h - 0.99).abs() < 1e-9, "{h}");
    let mean = logos.iter().map(|r| answer_us(r) as f64).sum::<f64>() / f64::from(USERS);
    // mean = h T_edge + (1 - h)(T_edge + T_origin), with a hit's time and the round trip to the origin from the link.
    let t_edge = answer_us(logos[50]) as f64;
    let t_origin = 40_000.0;
    let said = h * t_edge + (1.0 - h) * (t_edge + t_origin);
    assert!((mean - said).abs() / said < 0.02, "{mean} us here, {said} us by the formula");
    // Origin load = (1 - h) of the requests: one logo and one page.
    assert_eq!(asked_upstream(&run), 2);
}

/// The shop, also at port 443.
fn both_ports(users: u32, cache: &str, steps: &str) -> String {
    let plain = shop(users, cache, steps);
    let edge = plain.lines().find(|line| line.contains("- edge: {")).unwrap();
    let secure = edge.replace("edge: {", "edge: { certificate: c,");
    plain
        .replace(edge, &format!("{edge}\n{secure}"))
        .replace("names: {", "names: { certificates: { c: { names: [shop.example] } },")
}

fn timeline<'r>(run: &'r Run, code: &str) -> Vec<&'r str> {
    let lines = run.story().timeline.iter().filter(|line| line.code == code);
    lines.map(|line| line.text.as_str()).collect()
}

#[test]
fn both_ports_of_an_edge_have_one_store_and_keys_of_their_own() {
    let steps = "  - u1 opens http://shop.example/static/logo.png\n  - u2 opens https://shop.example/static/logo.png\n  \
                 - u3 opens http://shop.example/static/logo.png\n  - u4 opens https://shop.example/static/logo.png\n  \
                 - u5 opens https://shop.example/static/logo.png after 60s\n";
    let purge = "timeline: [ { at: 30s, purge: edge, path: /static/logo.png } ]\n";
    let roomy = run_text("shop", &(both_ports(5, "yes", steps) + purge));
    let decided = |run: &Run| -> Vec<String> {
        run.story().steps.iter().map(|step| verdicts(page(step))[0].to_owned()).collect()
    };
    assert_eq!(decided(&roomy), ["miss", "miss", "hit", "hit", "miss"]);
    // One store: what is told to forget forgets both.
    assert_eq!(
        timeline(&roomy, "cache.purged"),
        ["edge is told to forget /static/logo.png: 2 stored responses"]
    );
    // Room for one picture: each takes the other's place.
    let size = page(&roomy.story().steps[0]).body_bytes + 2_000;
    let narrow = run_text("shop", &both_ports(5, &format!("{{ size: {size} }}"), steps));
    assert_eq!(decided(&narrow), ["miss", "miss", "miss", "miss", "hit"]);
}

//= rfc9111#section-4.4
#[test]
fn what_is_under_way_when_it_is_purged_reaches_its_client_and_is_not_kept() {
    let steps = "  - u1 opens http://shop.example/static/logo.png\n  - u2 opens http://shop.example/static/logo.png after 10s\n";
    let undisturbed = run_text("shop", &shop(2, "yes", steps));
    let asked_at = undisturbed.trace().said().find_map(|(event, record)| match record {
        AppRecord::SharedCache { decision, .. } if decision.verdict == CacheVerdict::Miss => Some(event.at),
        _ => None,
    });
    // The origin is 20 ms away: half a way later its answer has not come.
    let at = asked_at.unwrap().0 / 1_000 + 10_000;
    for (cache, what, second, told) in [
        ("yes", "", "miss", "edge is told to forget all that it keeps: nothing of it was stored"),
        (
            "{ collapse: no }",
            "",
            "miss",
            "edge is told to forget all that it keeps: nothing of it was stored",
        ),
        (
            "yes",
            ", path: \"/static/*\"",
            "miss",
            "edge is told to forget /static/*: nothing of it was stored",
        ),
        ("yes", ", path: /static", "hit", "edge is told to forget /static: nothing of it was stored"),
    ] {
        let purge = format!("timeline: [ {{ at: {at}us, purge: edge{what} }} ]\n");
        let run = run_text("shop", &(shop(2, cache, steps) + &purge));
        let pages: Vec<_> = run.story().steps.iter().map(page).collect();
        assert_eq!((pages[0].status, verdicts(pages[1])[0]), (200, second), "{cache}{what}");
        assert_eq!(timeline(&run, "cache.purged"), [told]);
    }
}

/// One URI is another thing at another pool, and what a route makes of a path is not what the client asked for.
#[test]
fn what_one_pool_gave_is_not_given_for_another() {
    let text = "
name: pools
topology:
  nodes:
    ann: { address: 10.0.0.2/24, hosts: &known { shop.example: 10.0.0.7 } }
    bob: { address: 10.0.0.3/24, hosts: *known }
    cat: { address: 10.0.0.4/24, hosts: *known }
    dan: { address: 10.0.0.5/24, hosts: *known }
    lan: { kind: switch }
    gw:
      address: 10.0.0.7/24
      run:
        - edge:
            cache: yes
            upstreams: { old: 10.0.0.11:80 }
            pools: { new: { upstreams: { new: 10.0.0.12:80 } } }
            routes:
              - { path: /v2, strip: /v2, to: new }
              - { cookies: { version: new }, to: new }
              - { to: upstreams }
    old: { address: 10.0.0.11/24, run: [ http: { pages: { /a.txt: { text: old, cache-control: max-age=100 } } } ] }
    new: { address: 10.0.0.12/24, run: [ http: { pages: { /a.txt: { text: newer, cache-control: max-age=100 } } } ] }
  links:
    - endpoints: [\"ann:eth0\", \"lan:p0\"]
    - endpoints: [\"gw:eth0\", \"lan:p1\"]
    - endpoints: [\"old:eth0\", \"lan:p2\"]
    - endpoints: [\"new:eth0\", \"lan:p3\"]
    - endpoints: [\"bob:eth0\", \"lan:p4\"]
    - endpoints: [\"cat:eth0\", \"lan:p5\"]
    - endpoints: [\"dan:eth0\", \"lan:p6\"]
steps:
  - ann opens http://shop.example/v2/a.txt
  - ann opens http://shop.example/a.txt after 1s
  - { do: bob opens http://shop.example/a.txt after 1s, fields: { Cookie: version=new } }
  - cat opens http://shop.example/a.txt after 1s
  - { do: dan opens http://shop.example/a.txt after 1s, fields: { Cookie: version=new } }
  - bob opens http://shop.example/v2/a.txt after 1s
";
    let run = run_text("pools", text);
    let seen: Vec<(String, Vec<&str>)> = run
        .story()
        .steps
        .iter()
        .map(page)
        .map(|page| (field(page, "content-length").to_owned(), verdicts(page)))
        .collect();
    let expected = [
        ("5", vec!["miss", "stored"]),
        ("3", vec!["miss", "stored"]),
        ("5", vec!["miss", "stored"]),
        ("3", vec!["hit"]),
        ("5", vec!["hit"]),
        ("5", vec!["hit"]),
    ];
    assert_eq!(seen, expected.map(|(length, verdicts)| (length.to_owned(), verdicts)));
}

/// Routes with one pool that make different things of one URI do not share what came of it.
#[test]
fn what_a_route_made_of_a_uri_is_not_given_for_another_route() {
    let cache = "yes, routes: [ { fields: { X-Tenant: b }, prefix: /static }, { to: upstreams } ]";
    let steps = "  - { do: u1 opens http://shop.example/logo.png, fields: { X-Tenant: b } }\n  \
                 - u2 opens http://shop.example/logo.png after 1s\n";
    let run = run_text("tenants", &shop(2, cache, steps));
    let pages: Vec<&RequestStory> = run.story().steps.iter().map(page).collect();
    assert_eq!((pages[0].status, pages[1].status), (200, 404), "{:?}", verdicts(pages[1]));
    assert_eq!(verdicts(pages[0]), ["miss", "stored"]);
    assert_eq!(verdicts(pages[1])[0], "miss");
}
