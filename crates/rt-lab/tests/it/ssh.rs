//! SSH through a bastion: what the story claims.

use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::story::{Line, StepStory};

fn bastion() -> Run {
    Scenario::load("bastion").unwrap().run(RunOptions::new(1)).unwrap()
}

fn lines<'s>(step: &'s StepStory, code: &str) -> Vec<&'s Line> {
    step.chapters.iter().flat_map(|c| &c.lines).filter(|l| l.code == code).collect()
}

#[test]
fn a_bastion_that_relays_cannot_read_what_it_relays() {
    let run = bastion();
    let steps = &run.story().steps;
    for step in &steps[1..3] {
        let sealed = lines(step, "relay.sealed");
        assert_eq!(sealed.len(), 1, "{}", step.text);
        assert!(lines(step, "relay.opens").is_empty());
        assert!(sealed[0].text.contains("(aws.db and laptop have it)"), "{}", sealed[0].text);
        assert!(sealed[0].data["up"].parse::<u64>().unwrap() > 500, "{:?}", sealed[0].data);
        // The laptop's connection and the bastion's own are both of the step.
        assert_eq!(
            step.connections.iter().map(|c| c.client.as_str()).collect::<Vec<_>>(),
            ["laptop", "aws.bastion"]
        );
        // Who may do what is told of both: the outer login and the inner one.
        assert_eq!(lines(step, "ssh.userauth_success").len(), 2);
    }
    // In two steps nothing is relayed: the bastion itself is the client.
    assert!(lines(&steps[0], "relay.sealed").is_empty());
    assert_eq!(lines(&steps[0], "ssh.userauth_success").len(), 2);
    assert_eq!(steps[0].connections.len(), 2);
}

#[test]
fn the_configuration_file_says_where_each_option_came_from() {
    let run = bastion();
    let options = lines(&run.story().steps[2], "ssh.option");
    let of = |host: &str, option: &str| {
        options
            .iter()
            .find(|l| l.label == host && l.data["option"] == option)
            .map(|l| l.data["from"].as_str())
    };
    assert_eq!(of("db", "ProxyJump"), Some("Host db, line 5"));
    assert_eq!(of("db", "User"), Some("Host bastion db 10.0.2.* !10.0.2.1, line 7"));
    assert_eq!(of("bastion", "HostName"), Some("Host bastion, line 2"));
}
