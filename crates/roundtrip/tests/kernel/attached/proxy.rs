//! The real curl as judge of the forward proxies: plain requests, tunnels, refusals, and certificates made on the fly.

use std::time::Duration;

use super::guest::{Place, Said, run};

/// The shipped scenario, without what happens in it.
fn network() -> &'static str {
    include_str!("../../../../../scenarios/proxies.yaml").split("\nsteps:").next().unwrap()
}

#[track_caller]
fn lines(said: &Said) -> Vec<&str> {
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    said.out.lines().collect()
}

#[test]
fn the_real_curl_asks_through_a_simulated_proxy() {
    let place = Place::new("proxy-curl");
    let scenario = place.write("proxies.yaml", network());
    let script = "\
        export http_proxy=http://10.0.0.2:3128 https_proxy=http://10.0.0.2:3128
        curl -sS -D head -o page http://news.example/ -w '%{http_code} %{http_connect} %{remote_ip}\\n'
        curl -sS -D again -o page http://news.example/ -w '%{http_code}\\n'
        grep -i '^via:' head | tr -d '\\r'; grep -ic '^cache-status:.*hit' again
        curl -sS -o page https://shop.example/ -w '%{http_code} %{http_connect} %{http_version} %{ssl_verify_result}\\n'
        curl -sS -o page https://play.games.example/ 2>&1; echo status $?
        curl -sS -o page http://play.games.example/ -w '%{http_code}\\n'; grep -c 'blocked here' page
        curl -sS -o page https://shop.example:8443/ 2>&1; echo status $?
        curl -sS -o page -x http://10.0.0.3:3128 https://shop.example/ 2>/dev/null; echo status $?";
    let said = run(&mut place.exec_as("office.bob", &scenario, script), Duration::from_secs(120));
    assert_eq!(
        lines(&said),
        [
            "200 000 10.0.0.2",
            "200",
            "via: 1.1 office.squid",
            "1",
            "200 200 2 0",
            "curl: (56) CONNECT tunnel failed, response 403",
            "status 56",
            "403",
            "1",
            "curl: (56) CONNECT tunnel failed, response 403",
            "status 56",
            // CURLE_PEER_FAILED_VERIFICATION: bob does not trust the inspector's authority.
            "status 60",
        ],
        "{}",
        said.err
    );
    let log = std::fs::read_to_string(place.path("out/access-office.squid.log")).unwrap();
    let results: Vec<&str> = log.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    for result in ["TCP_MISS/200", "TCP_HIT/200", "TCP_TUNNEL/200", "TCP_DENIED/403"] {
        assert!(results.contains(&result), "no {result} in {log}");
    }
    // curl's own secrets open the tunnel for the story.
    let story = std::fs::read_to_string(place.path("out/story.txt")).unwrap();
    let story = story.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in
        ["what passes it cannot", "looks up shop.example itself", "play.games.example is blocked here"]
    {
        assert!(story.contains(told), "no `{told}` in {story}");
    }
}

#[test]
fn the_real_curl_trusts_an_inspecting_proxy_as_its_machine_does() {
    let place = Place::new("proxy-inspected");
    let scenario = place.write("proxies.yaml", network());
    let script = "\
        curl -sS -x http://10.0.0.3:3128 -o page https://shop.example/ -v -w '%{http_code} %{http_version} %{ssl_verify_result}\\n' 2> talk
        grep -o 'issuer: .*' talk | tail -1; grep -c '<html' page";
    let said = run(&mut place.exec_as("office.carol", &scenario, script), Duration::from_secs(120));
    assert_eq!(lines(&said), ["200 1.1 0", "issuer: CN=corp-ca", "1"], "{}", said.err);
}
