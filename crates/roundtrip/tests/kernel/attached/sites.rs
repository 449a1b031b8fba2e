//! The real curl and dig at an address of many sites: which certificate, which page, and in which order the addresses come.

use std::time::Duration;

use super::guest::{Place, run};

/// The shipped scenario, without what happens in it.
fn network() -> &'static str {
    include_str!("../../../../../scenarios/clicking-a-link.yaml").split("\nsteps:").next().unwrap()
}

const SCRIPT: &str = "
get() { curl -s --max-time 20 -w ' %{http_code} HTTP/%{http_version}' \"$@\" | tr '\\n' ' '; echo; }
at='--resolve bakery.example:443:35.247.66.204 --resolve nobody.example:443:35.247.66.204'
get -o /dev/null https://backend.husseinnasser.com/
get -H 'Host: bakery.example' https://backend.husseinnasser.com/
get $at https://bakery.example/
get $at https://nobody.example/
get -k $at https://nobody.example/
get -H 'Host: nobody.example' http://35.247.66.204/
get -L -o /dev/null -w '%{num_redirects} %{url_effective}' http://husseinnasser.com/course
get -o /dev/null -c jar https://www.udemy.com/course/fundamentals-of-backend-communications-and-protocols/
cut -f 6- jar | tail -n 1
for i in 1 2 3; do dig +short zen-mccarthy-34c0bb.netlify.app | tr '\\n' ' '; echo; done
dig +noall +answer backend.husseinnasser.com | awk '{ print $4 }' | tr '\\n' ' '";

#[test]
fn the_real_curl_gets_the_site_that_it_asks_for() {
    let place = Place::new("sites");
    let scenario = place.write("click.yaml", network());
    let said = run(&mut place.exec_as("laptop", &scenario, SCRIPT), Duration::from_secs(120));
    let lines: Vec<&str> = said.out.lines().map(str::trim).collect();
    let [first, second] = ["35.247.66.204 104.198.14.52", "104.198.14.52 35.247.66.204"];
    let course = "https://www.udemy.com/course/fundamentals-of-backend-communications-and-protocols/?couponCode=BACKEND10V2";
    assert_eq!(
        lines[..8],
        [
            "200 HTTP/2",
            // SNI and certificate are of one site, the page of the other.
            "<h1>The bakery next door</h1> 200 HTTP/2",
            "<h1>The bakery next door</h1> 200 HTTP/2",
            // Nobody's name: the first certificate, which curl refuses, and behind it the default site.
            "000 HTTP/0",
            "<h1>Not Found</h1> 200 HTTP/2",
            "<h1>Not Found</h1> 200 HTTP/1.1",
            &format!("2 {course}"),
            "200 HTTP/2",
        ],
        "{}{}",
        said.out,
        said.err
    );
    assert_eq!(lines[8], "ud_visit\t31d4d96e407aad42");
    // The resolver has turned the answer for curl's own questions before.
    let orders = &lines[9..12];
    assert!(orders.iter().all(|order| [first, second].contains(order)), "{orders:?}");
    assert!(orders[0] != orders[1] && orders[1] != orders[2], "{orders:?}");
    assert_eq!(lines[12], "CNAME A A");
    let story = std::fs::read_to_string(place.path("out/story.txt")).unwrap();
    for told in
        ["bakery.example chooses the page: one of 3 sites", "has no site nobody.example: the default one"]
    {
        assert!(story.contains(told), "no `{told}` in the story");
    }
}
