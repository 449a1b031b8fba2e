//! Proxies that understand HTTP: routes, gates, retries, circuits, shares, chains; as fields, packets and the story tell it.

use std::fmt::Write as _;

use rt_base::AppRecord;
use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::story::{RequestStory, StepStory, UpstreamStory};

/// A client, a proxy and three servers on one link; `proxy` are the keys of its `edge`, `rest` what follows the topology.
fn world(proxy: &str, rest: &str) -> Run {
    let mut text = format!(
        "name: l7\nabout: A proxy.\ntopology:\n  defaults: {{ rate: 1Gbit/s, delay: 1ms }}\n  nodes:\n\
         \x20   client: {{ address: 10.0.0.2/24, browser: {{ stays-open: 1min }}, hosts: {{ shop.example: 10.0.0.1, other.example: 10.0.0.1 }} }}\n\
         \x20   proxy:\n      address: 10.0.0.1/24\n      run:\n        - edge: {proxy}\n"
    );
    for n in 1..=3 {
        let _ =
            writeln!(text, "    web-{n}: {{ address: 10.0.0.1{n}/24, run: [ http: {{ pages: httpbin }} ] }}");
    }
    text += "    lan: { kind: switch }\n  links:\n";
    for (port, node) in ["client", "proxy", "web-1", "web-2", "web-3"].iter().enumerate() {
        let _ = writeln!(text, "    - endpoints: [\"{node}:eth0\", \"lan:p{port}\"]");
    }
    text += rest;
    let scenario = Scenario::of_text("l7.yaml", &text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

const THREE: &str = "upstreams: { web-1: 10.0.0.11:80, web-2: 10.0.0.12:80, web-3: 10.0.0.13:80 }";

fn page(step: &StepStory) -> &RequestStory {
    step.requests.iter().find(|r| r.kind == "page").unwrap_or_else(|| panic!("{:?}", step.outcome))
}

fn pages(run: &Run) -> Vec<&RequestStory> {
    run.story().steps.iter().map(page).collect()
}

fn up(request: &RequestStory) -> &UpstreamStory {
    request.upstream.as_ref().expect("a proxy told what it did")
}

fn field<'r>(request: &'r RequestStory, name: &str) -> &'r str {
    let found = request.response_headers.iter().find(|f| f.name.eq_ignore_ascii_case(name));
    found.map_or("", |f| f.value.as_str())
}

/// Codes of what the proxy decided.
fn codes(request: &RequestStory) -> Vec<&str> {
    up(request).steps.iter().map(|step| step.code.as_str()).collect()
}

#[test]
fn a_route_decides_where_a_request_goes_and_as_what() {
    let routes = "routes: [ \
        { host: other.example, redirect: \"http://shop.example{path}{query}\", status: 301 }, \
        { exactly: /teapot, answer: short and stout, status: 418 }, \
        { path: /api, strip: /api, prefix: /anything, to: api, set: { X-Route: api }, reply-set: { X-Via: api } }, \
        { cookies: { beta: \"yes\" }, to: beta }, \
        { fields: { X-Debug: \"*\" }, to: beta }, \
        { path: /get } ]";
    let pools = "pools: { api: { upstreams: { web-2: 10.0.0.12:80 } }, beta: { upstreams: { web-3: 10.0.0.13:80 } } }";
    let run = world(
        &format!("{{ upstreams: {{ web-1: 10.0.0.11:80 }}, {pools}, {routes} }}"),
        "steps:\n\
         \x20 - client opens http://other.example/get?a=1\n\
         \x20 - client opens http://shop.example/teapot\n\
         \x20 - client opens http://shop.example/api/cups?b=2\n\
         \x20 - { do: client opens http://shop.example/get, fields: { Cookie: beta=yes } }\n\
         \x20 - { do: client opens http://shop.example/get, fields: { X-Debug: \"1\" } }\n\
         \x20 - client opens http://shop.example/nowhere\n",
    );
    let pages = pages(&run);
    let first = &run.story().steps[0].requests;
    let (redirected, followed) = (&first[0], &first[1]);
    assert_eq!((redirected.status, field(redirected, "location")), (301, "http://shop.example/get?a=1"));
    assert_eq!(codes(redirected), ["route", "redirect"]);
    assert!(up(redirected).chosen.is_empty(), "nobody upstream hears of it");
    assert_eq!((followed.status, up(followed).chosen.as_str()), (200, "web-1"));
    assert_eq!(pages[1].status, 418);
    assert_eq!(codes(pages[1]), ["route", "answer"]);
    let api = up(pages[2]);
    assert_eq!((pages[2].status, api.chosen.as_str(), field(pages[2], "x-via")), (200, "web-2", "api"));
    assert!(api.steps[1].text.contains("/anything/cups?b=2 instead of /api/cups?b=2"), "{:?}", api.steps);
    assert!(api.added.iter().any(|f| f.name == "x-route" && f.value == "api"), "{:?}", api.added);
    assert_eq!([3, 4].map(|step: usize| up(pages[step]).chosen.as_str()), ["web-3", "web-3"]);
    assert_eq!((pages[5].status, codes(pages[5])), (404, vec!["route"]));
    let missed = &up(pages[5]).steps[0].candidates;
    assert_eq!(missed.len(), 6, "each route says why it was not taken: {missed:?}");
}

#[test]
fn what_must_hold_is_checked_before_anybody_upstream_hears_of_it() {
    let routes = "routes: [ \
        { path: /basic, auth: { basic: { ann: \"pass word\" } } }, \
        { path: /token, auth: { bearer: { secret: s3cret, audience: shop, scope: read } } }, \
        { path: /keyed, keys: { consumers: { k-1: acme } }, limit: { requests: 2, per: 1s, of: user } }, \
        { path: /read, only-methods: [GET] }, \
        { path: /small, largest-body: 10 }, \
        { path: /inside, from: [10.9.0.0/16] } ]";
    let token = |claims: serde_json::Value| rt_apps::proxy::sign_token(&claims, b"s3cret");
    let good = token(
        serde_json::json!({ "sub": "ann", "aud": "shop", "scope": "read write", "exp": 4_000_000_000_u64 }),
    );
    let narrow = token(serde_json::json!({ "sub": "ann", "aud": "shop", "scope": "write" }));
    let old = token(serde_json::json!({ "sub": "ann", "aud": "shop", "scope": "read", "exp": 1000 }));
    let open = |path: &str, name: &str, value: &str| {
        format!(
            "  - {{ do: 'client opens http://shop.example/{path}', fields: {{ {name}: \"{value}\" }} }}\n"
        )
    };
    let steps = [
        "steps:\n  - client opens http://shop.example/basic\n".to_owned(),
        open("basic", "Authorization", "Basic YW5uOnBhc3Mgd29yZA=="),
        open("basic", "Authorization", "Basic YW5uOndyb25n"),
        open("token", "Authorization", &format!("Bearer {good}")),
        open("token", "Authorization", &format!("Bearer {narrow}")),
        open("token", "Authorization", &format!("Bearer {old}")),
        open("keyed", "X-Api-Key", "k-1"),
        open("keyed", "X-Api-Key", "k-1"),
        open("keyed", "X-Api-Key", "k-1"),
        open("keyed", "X-Api-Key", "guessed"),
        "  - { do: 'client posts to http://shop.example/read', json: { a: 1 } }\n".to_owned(),
        "  - { do: 'client posts to http://shop.example/small', json: { abcdefgh: 123456789 } }\n".to_owned(),
        "  - client opens http://shop.example/inside\n".to_owned(),
    ];
    let run = world(&format!("{{ {THREE}, {routes} }}"), &steps.concat());
    let pages = pages(&run);
    let statuses: Vec<u16> = pages.iter().map(|page| page.status).collect();
    // The servers have none of these paths: 404 is an answer of theirs.
    assert_eq!(statuses, [401, 404, 401, 404, 403, 401, 404, 404, 429, 403, 405, 413, 403]);
    for (page, status) in pages.iter().zip(&statuses) {
        assert_eq!(up(page).chosen.is_empty(), *status != 404, "{status}: upstream hears of it or not");
    }
    assert_eq!(field(pages[0], "www-authenticate"), "Basic realm=\"proxy\", charset=\"UTF-8\"");
    assert!(field(pages[4], "www-authenticate").contains("insufficient_scope"));
    assert!(field(pages[5], "www-authenticate").contains("invalid_token"));
    assert_eq!(field(pages[8], "retry-after"), "1");
    assert_eq!(field(pages[10], "allow"), "GET");
    let told = |page: &RequestStory| {
        let caller = up(page).server_caller.clone().expect("the server's view");
        caller
            .told
            .into_iter()
            .find(|f| f.name.starts_with("x-auth") || f.name == "x-consumer")
            .map(|f| f.value)
    };
    assert_eq!((told(pages[3]), told(pages[6])), (Some("ann".into()), Some("acme".into())));
}

#[test]
fn what_fails_is_tried_elsewhere_within_a_budget_and_then_left_alone() {
    // Nobody listens on web-1's port 81: a reset at once.
    let run = world(
        "{ upstreams: { web-1: 10.0.0.11:81, web-2: 10.0.0.12:80 }, circuit: { failures: 2, open-for: 1s }, \
           routes: [ { path: /status/503, retry: { times: 2, on: [503, connect], backoff: 0ms } }, { retry: 1 } ] }",
        "steps:\n\
         \x20 - client opens http://shop.example/get?1\n\
         \x20 - client opens http://shop.example/get?2\n\
         \x20 - client opens http://shop.example/get?3\n\
         \x20 - client opens http://shop.example/get?4\n\
         \x20 - client opens http://shop.example/get?5 after 2s\n\
         \x20 - client opens http://shop.example/status/503\n",
    );
    let pages = pages(&run);
    assert_eq!(pages.iter().map(|page| page.status).collect::<Vec<_>>(), [200, 200, 200, 200, 200, 502]);
    let in_vain: Vec<usize> = pages.iter().map(|page| up(page).failed.len()).collect();
    assert_eq!(
        in_vain[..5].iter().sum::<usize>(),
        3,
        "two failures open it, one trial after a second: {in_vain:?}"
    );
    let notes: Vec<&str> = run
        .trace()
        .said()
        .filter_map(|(_, record)| match record {
            AppRecord::Note { code, .. } if code.starts_with("balancer.circuit") => Some(code.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(notes[..2], ["balancer.circuit_open", "balancer.circuit_open"]);
    assert!(in_vain[5] >= 1, "the status is a reason to try again: {in_vain:?}");
    for (step, page) in run.story().steps.iter().zip(&pages) {
        told_in_order(step, page);
    }
}

/// Each try with its moment and its reason, before the one that came after it.
#[track_caller]
fn told_in_order(step: &StepStory, page: &RequestStory) {
    let lines = step.chapters.iter().flat_map(|chapter| &chapter.lines);
    let own = lines.filter(|l| l.label == "proxy" && l.depth == 1 && l.code != "proxy.caller");
    let told: Vec<(u64, &str)> = own.map(|l| (l.at_ns.expect("a moment"), l.code.as_str())).collect();
    assert!(told.is_sorted_by_key(|(at, _)| *at), "{told:?}");
    let up = up(page);
    let tried: Vec<u64> =
        told.iter().filter(|(_, code)| *code == "balance.retry").map(|(at, _)| *at).collect();
    assert_eq!(tried, up.failed.iter().map(|one| one.at_ns).collect::<Vec<_>>());
    for (one, next) in up.failed.iter().zip(tried.iter().skip(1).chain([&up.chosen_ns])) {
        assert!(one.at_ns < one.end_ns && one.end_ns <= *next && !one.value.is_empty(), "{one:?}");
    }
}

#[test]
fn a_purge_is_told_as_any_request_whoever_decides_about_it() {
    let run = world(
        &format!(
            "{{ {THREE}, cache: {{ purge-from: [10.0.0.9/32] }}, routes: [ {{ path: /read, only-methods: [GET] }}, {{ path: / }} ] }}"
        ),
        "steps:\n  - client purges http://shop.example/get\n  - client purges http://shop.example/read\n",
    );
    let wanted = [
        (
            403,
            "proxy does not forget http://shop.example/get: 10.0.0.2 may not ask for that",
            "shared_cache.purge_refused",
        ),
        (405, "proxy refuses with 405: PURGE is not let in, only GET", "proxy.method"),
    ];
    for (step, (status, why, code)) in run.story().steps.iter().zip(wanted) {
        assert_eq!((step.requests[0].method.as_str(), step.requests[0].status), ("PURGE", status));
        assert_eq!(step.outcome[0].text, why);
        let chapter = step.chapters.iter().find(|c| c.subject.starts_with("PURGE ")).expect("a chapter");
        assert!(chapter.lines.iter().any(|line| line.code == code), "{chapter:?}");
    }
}

#[test]
fn three_proxies_in_a_row_are_one_tree_with_who_each_thinks_is_calling() {
    let edge = |name: &str, own: u8, next: &str, more: &str| {
        format!(
            "    {name}: {{ address: 10.0.0.{own}/24, run: [ edge: {{ upstreams: {{ {next} }}{more} }} ] }}\n"
        )
    };
    let nodes = ["client", "a", "b", "c", "web"];
    let mut text =
        "name: chain\nabout: A chain.\ntopology:\n  defaults: { rate: 1Gbit/s, delay: 1ms }\n  nodes:\n"
            .to_owned();
    text += "    client: { address: 10.0.0.2/24 }\n    lan: { kind: switch }\n";
    text += &edge("a", 3, "b: 10.0.0.4:80", "");
    text += &edge("b", 4, "c: 10.0.0.5:80", ", forwarded: both");
    text += &edge(
        "c",
        5,
        "web: 10.0.0.6:80",
        ", forwarded: nothing, routes: [ { remove: [x-forwarded-for, forwarded] } ]",
    );
    text += "    web: { address: 10.0.0.6/24, run: [ http: { pages: hello } ] }\n  links:\n";
    for (port, node) in nodes.iter().enumerate() {
        let _ = writeln!(text, "    - endpoints: [\"{node}:eth0\", \"lan:p{port}\"]");
    }
    text += "steps:\n  - client opens http://10.0.0.3/\n";
    let scenario = Scenario::of_text("chain.yaml", &text).unwrap_or_else(|why| panic!("{why}"));
    let run = scenario.run(RunOptions::new(1)).unwrap();
    let a = up(page(&run.story().steps[0])).clone();
    let b = a.next.as_deref().expect("b is a proxy as well");
    let c = b.next.as_deref().expect("and c");
    assert_eq!((&*a.proxy, &*b.proxy, &*c.proxy, &*c.chosen), ("a", "b", "c", "web"));
    let seen = |caller: &rt_trace::story::CallerStory| (caller.peer_name.clone(), caller.lost.clone());
    assert_eq!(seen(&a.caller), ("client".into(), None));
    assert_eq!(seen(&b.caller), ("a".into(), None), "X-Forwarded-For tells");
    assert_eq!(seen(&c.caller), ("b".into(), None));
    assert!(
        c.caller.told.iter().any(|f| f.name == "forwarded" && f.value.starts_with("for=10.0.0.3")),
        "{:?}",
        c.caller
    );
    let web = c.server_caller.as_ref().expect("web is a server");
    assert_eq!(seen(web), ("c".into(), Some("10.0.0.2".into())), "lost at c, which takes the fields away");
    assert!(c.next.is_none() && a.server_caller.is_none());
    // Lines are broken where they are too long for a screen.
    let story = run.story_text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(story.contains("the client's address, 10.0.0.2, is lost"), "{story}");
}

#[test]
fn a_circle_ends_and_what_the_proxy_answers_itself_is_told_as_its_own() {
    let circle =
        world("{ upstreams: { proxy: 10.0.0.1:80 } }", "steps: [ client opens http://shop.example/ ]\n");
    assert_eq!(pages(&circle)[0].status, 508, "Via names it too often");

    let keys = "{ upstreams: { dead: 10.0.0.11:81 }, routes: [ { path: /a, auth: { basic: { ann: x } }, to: upstreams }, { to: upstreams } ] }";
    let run = world(
        keys,
        "steps:\n  - client opens http://shop.example/a\n\
         \x20 - { do: client opens http://shop.example/b, fields: { X-Authenticated-User: root } }\n",
    );
    let why = |step: usize| run.story().steps[step].outcome[0].text.clone();
    assert_eq!(why(0), "proxy refuses with 401: no name and password");
    assert_eq!(why(1), "proxy answers 502 itself: no upstream took the request (dead: connection refused)");
    let told = run.story().steps[1].chapters.iter().flat_map(|chapter| &chapter.lines);
    let codes: Vec<&str> = told.map(|line| line.code.as_str()).collect();
    assert!(codes.contains(&"proxy.fails") && !codes.contains(&"balance.return"), "{codes:?}");
}

/// nginx's `proxy_read_timeout`: the time-out is for the head, and then for each part of the body.
#[test]
fn a_server_that_falls_silent_within_a_body_is_given_up() {
    let run = world(
        "{ upstreams: { web-1: 10.0.0.11:80 }, timeout: 1s }",
        "steps:\n  - client opens http://shop.example/bytes/20000000 after 1s\n\
         timeline: [ { at: 1030ms, cut: \"web-1:eth0\" } ]\n",
    );
    let step = &run.story().steps[0];
    let page = page(step);
    let silent = up(page).steps.iter().find(|s| s.code == "silent").expect("it is told");
    assert_eq!(silent.text, "breaks the response off: nothing came from web-1 for 1.000 s");
    assert!(!page.ok, "{page:?}");
    let took = step.duration_ns;
    assert!((1_000_000_000..1_200_000_000).contains(&took), "{took}");
    let why: Vec<&str> = step.outcome.iter().map(|line| line.text.as_str()).collect();
    assert!(why.iter().any(|text| text.contains("nothing came from web-1 for 1.000 s")), "{why:?}");
}

/// A time-out is one however many were tried, and whoever is not asked again says why.
#[test]
fn what_was_late_to_the_last_is_a_504() {
    let run = world(
        "{ upstreams: { web-1: 10.0.0.11:80 }, timeout: 200ms, circuit: { failures: 2, open-for: 2s }, \
           routes: [ { retry: { times: 3, on: [timeout] } } ] }",
        "steps:\n  - client opens http://shop.example/delay/5\n",
    );
    let page = pages(&run)[0];
    assert_eq!(page.status, 504);
    let nobody = up(page).steps.iter().find(|s| s.code == "nobody").expect("it is told");
    assert_eq!(nobody.text, "has nobody else in upstreams to send it to");
    assert!(nobody.candidates.iter().any(|c| c.value.contains("circuit open for")), "{nobody:?}");
}

/// Servers that were chosen during a step.
fn chosen(run: &Run, step: &StepStory) -> Vec<String> {
    let within = |at: u64| (step.start_ns..=step.end_ns).contains(&at);
    let said = run.trace().said().filter(|(event, _)| within(event.at.0));
    said.filter_map(|(_, record)| match record {
        AppRecord::ChoseUpstream { chosen, .. } => Some(chosen.clone()),
        _ => None,
    })
    .collect()
}

#[test]
fn a_client_stays_on_its_side_of_a_share_by_a_hash_or_a_cookie() {
    let route = |path: &str, more: &str| {
        format!("{{ path: {path}, strip: {path}, to: {{ upstreams: 50%, new: 50% }}{more} }}")
    };
    let proxy = format!(
        "{{ upstreams: {{ web-1: 10.0.0.11:80 }}, pools: {{ new: {{ upstreams: {{ web-2: 10.0.0.12:80 }} }} }}, \
           routes: [ {}, {}, {} ] }}",
        route("/hash", ", shares-by: field x-user"),
        route("/cookie", ", sticky: side"),
        route("/dice", "")
    );
    let mut steps = String::from("steps:\n");
    for round in 0..2 {
        for user in 0..16 {
            let after = if round + user == 0 { "" } else { " after 20ms" };
            let _ = writeln!(
                steps,
                "  - {{ do: client opens http://shop.example/hash/get{after}, fields: {{ X-User: u{user} }} }}"
            );
        }
    }
    for path in ["cookie", "dice"] {
        let _ = writeln!(steps, "  - client reloads http://shop.example/{path}/get every 20ms for 400ms");
    }
    let run = world(&proxy, &steps);
    let sides: Vec<Vec<String>> = run.story().steps.iter().map(|step| chosen(&run, step)).collect();
    assert_eq!(sides[..16], sides[16..32]);
    let new = sides[..16].iter().filter(|side| side[0] == "web-2").count();
    assert!((3..=13).contains(&new), "{new} of 16 go to the new version");
    let (cookie, dice) = (&sides[32], &sides[33]);
    assert!(cookie.len() > 15 && cookie.iter().all(|side| side == &cookie[0]), "{cookie:?}");
    assert!(dice.iter().any(|side| side != &dice[0]), "{dice:?}");
    let told =
        |step: usize| up(page(&run.story().steps[step])).steps.iter().find(|s| s.code == "canary").unwrap();
    assert!(told(0).text.starts_with("goes by a hash of x-user u0: it goes to"), "{:?}", told(0));
    let first = &run.story().steps[32].requests.iter().filter(|r| r.kind == "page").collect::<Vec<_>>();
    let set = field(first[0], "set-cookie");
    assert!(set.starts_with("side="), "{set}");
    let kept = up(first[1]).steps.iter().find(|s| s.code == "canary").unwrap();
    assert!(kept.text.starts_with("keeps the client at"), "{kept:?}");
}

/// What let a request in is no reason for what the server answered.
#[test]
fn a_gate_that_was_passed_explains_no_failure() {
    let run = world(
        "{ upstreams: { web-1: 10.0.0.11:80 }, routes: [ { auth: { basic: { ann: pw } }, limit: { requests: 10, per: 1s } } ] }",
        "steps:\n  - { do: client opens http://shop.example/status/404, fields: { Authorization: Basic YW5uOnB3 } }\n",
    );
    let step = &run.story().steps[0];
    assert_eq!(codes(page(step)), ["route", "believes", "counts"]);
    let why: Vec<&str> = step.outcome.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(why, ["web-1 answers 404"]);
}
