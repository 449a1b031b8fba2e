//! What a test of a network looks like: run a scenario and assert on its story.
//!
//! `cargo run -p rt-lab --example assert_on_the_story`

use rt_lab::{Refusal, RunOptions, Scenario};

fn main() -> Result<(), Refusal> {
    let run = Scenario::load("web-browsing")?.run(RunOptions::new(1))?;
    assert!(run.passed(), "{:#?}", run.checks());

    let [first, second] = &run.story().steps[..] else { panic!("two steps") };
    assert_eq!(first.lookups[0].answer, ["142.250.190.46"]);
    assert!(first.lookups[0].walk.len() >= 3, "root, .com and google.com were asked");
    assert!(!first.connections[0].tls_resumed && second.connections[0].tls_resumed);
    let cached = second.requests.iter().filter(|r| matches!(r.cache.as_str(), "hit" | "revalidated")).count();
    println!("first visit  {:>9} ns", first.duration_ns);
    println!("second visit {:>9} ns, {cached} files not sent again", second.duration_ns);
    assert!(second.duration_ns < first.duration_ns);
    Ok(())
}
