//! What proxies did for a request, as lines of "ask and answer".

use rt_base::Time;

use super::model::Line;
use super::upstream::{CallerStory, ProxyStepStory, UpstreamStory};
use super::{shared_cache, words};

/// Lines of a proxy and of those behind it.
pub(crate) fn lines(up: &UpstreamStory, start: Time) -> Vec<Line> {
    at_depth(up, start, 1)
}

fn at_depth(up: &UpstreamStory, start: Time, deep: u8) -> Vec<Line> {
    let mut lines = vec![
        Line::new("http.arrive", up.proxy.clone(), "has the whole request")
            .deep(deep)
            .at(Time(up.received_ns))
            .margin(words::after(start, Time(up.received_ns))),
        caller(&up.caller, Time(up.received_ns), deep),
    ];
    let carrying =
        |step: &&ProxyStepStory| matches!(step.code.as_str(), "carries" | "carried" | "fails" | "silent");
    let (behind, steps): (Vec<_>, Vec<_>) = up.steps.iter().partition(carrying);
    lines.extend(steps.into_iter().map(|step| decided(up, step, (start, deep))));
    let (before, after_answer): (Vec<_>, Vec<_>) =
        up.cache.iter().partition(|step| shared_cache::comes_first(step));
    lines.extend(before.into_iter().map(|step| shared_cache::line(up, step, (start, deep))));
    let aside = up.cache.iter().any(|step| step.verdict == "updating");
    if !up.chosen.is_empty() {
        lines.extend(way_up(up, (start, deep), if aside { "aside " } else { "" }));
    }
    lines.extend(after_answer.into_iter().map(|step| shared_cache::line(up, step, (start, deep))));
    let fails = up.steps.iter().any(|step| step.code == "fails");
    if fails {
        // The step says it, below.
    } else if up.answered_ns > 0 && !up.chosen.is_empty() {
        lines.push(
            Line::new("balance.return", up.proxy.clone(), "passes it back")
                .deep(deep)
                .at(Time(up.answered_ns))
                .margin(words::after(start, Time(up.answered_ns))),
        );
    } else if up.answered_ns > 0 {
        lines.push(
            Line::new("balance.answer", up.proxy.clone(), "answers without asking anybody")
                .deep(deep)
                .at(Time(up.answered_ns))
                .margin(words::after(start, Time(up.answered_ns))),
        );
    }
    // What a proxy does when the answer is through, or when there is none.
    lines.extend(behind.into_iter().map(|step| decided(up, step, (start, deep))));
    lines
}

/// "Who does the server think is calling?"
fn caller(caller: &CallerStory, at: Time, deep: u8) -> Line {
    let CallerStory { node, peer, peer_name, told, lost } = caller;
    let by = if peer_name == peer { peer.clone() } else { format!("{peer} ({peer_name})") };
    let mut text = format!("thinks that {by} is calling");
    if !told.is_empty() {
        let told: Vec<String> = told.iter().map(|f| format!("{}: {}", f.name, f.value)).collect();
        text += &format!("; it is told {}", told.join(" · "));
    }
    if let Some(client) = lost {
        text += &format!("; the client's address, {client}, is lost: nothing that arrives here has it");
    }
    let line = Line::new("proxy.caller", node.clone(), text).deep(deep).at(at).with("peer", peer);
    match lost {
        Some(lost) => line.with("lost", lost),
        None => line,
    }
}

fn decided(up: &UpstreamStory, step: &ProxyStepStory, (start, deep): (Time, u8)) -> Line {
    let at = Time(step.at_ns);
    let looked: Vec<String> = step.candidates.iter().map(|c| format!("{}: {}", c.name, c.value)).collect();
    let text = match (looked.is_empty(), step.code.as_str()) {
        (true, _) => step.text.clone(),
        (false, "route") => format!("{}; not {}", step.text, looked.join(", not ")),
        (false, _) => format!("{} ({})", step.text, looked.join(", ")),
    };
    Line::new(&format!("proxy.{}", step.code), up.proxy.clone(), text)
        .deep(deep)
        .at(at)
        .margin(words::after(start, at))
}

/// The upstream's part: who was chosen, how it was asked, how long it took.
fn way_up(up: &UpstreamStory, (start, deep): (Time, u8), aside: &str) -> Vec<Line> {
    let after = |ns: u64| words::after(start, Time(ns));
    let others: Vec<String> = up
        .candidates
        .iter()
        .map(|c| if c.value.is_empty() { c.name.clone() } else { format!("{} ({})", c.name, c.value) })
        .collect();
    let mut lines = Vec::new();
    for failed in &up.failed {
        let text = format!("asked {} in vain: {}", failed.name, failed.value);
        lines.push(Line::new("balance.retry", up.proxy.clone(), text).deep(deep).at(Time(up.received_ns)));
    }
    let text = match up.policy.as_str() {
        "forward" if others.is_empty() => format!("goes to {} ({}) in its own name", up.chosen, up.address),
        "forward" => format!("goes to {} in its own name: {}", up.chosen, words::list(&others)),
        policy => format!("chooses {} by {policy}, out of {}", up.chosen, words::list(&others)),
    };
    lines.push(
        Line::new("balance.choose", up.proxy.clone(), text)
            .deep(deep)
            .at(Time(up.sent_ns))
            .with("policy", &up.policy)
            .with("chosen", &up.chosen)
            .with("address", &up.address),
    );
    if up.sent_ns > 0 {
        let added: Vec<String> = up.added.iter().map(|f| format!("{}: {}", f.name, f.value)).collect();
        let added = if added.is_empty() { String::new() } else { format!(", adding {}", added.join(" · ")) };
        let plain = if up.secure { "over TLS, in" } else { "in plain" };
        let text = format!("asks {} {aside}{plain} {}{added}", up.address, up.protocol);
        lines.push(
            Line::new("balance.forward", up.proxy.clone(), text)
                .deep(deep)
                .at(Time(up.sent_ns))
                .margin(after(up.sent_ns)),
        );
    }
    if let Some(next) = &up.next {
        lines.extend(at_depth(next, start, deep.saturating_add(1)));
        return lines;
    }
    if let Some(server) = &up.server_caller {
        lines.push(caller(server, Time(up.server_got_ns), deep.saturating_add(1)));
    }
    if up.server_got_ns > 0 && up.server_answered_ns >= up.server_got_ns {
        let think = words::between(Time(up.server_got_ns), Time(up.server_answered_ns));
        let late = aside.is_empty() && up.answered_ns > 0 && up.server_answered_ns > up.answered_ns;
        let late = if late { ": too late, nobody waits for it any more" } else { "" };
        let text = format!("makes the answer ({}) in {think}{late}", up.status);
        lines.push(
            Line::new("http.answer", up.chosen.clone(), text)
                .deep(deep.saturating_add(1))
                .at(Time(up.server_answered_ns))
                .margin(after(up.server_answered_ns)),
        );
    }
    lines
}
