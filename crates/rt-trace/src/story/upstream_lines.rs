//! What proxies did for a request, as lines of "ask and answer".

use rt_base::Time;

use super::model::Line;
use super::shared_cache::CacheStory;
use super::upstream::{CallerStory, ProxyStepStory, TryStory, UpstreamStory};
use super::{forward, over, shared_cache, words};

/// Lines of a proxy and of those behind it; `told` is what else is known of the first one.
pub(crate) fn lines(up: &UpstreamStory, told: forward::Told, start: Time) -> Vec<Line> {
    at_depth(up, told, start, 1)
}

fn at_depth(up: &UpstreamStory, told: forward::Told, start: Time, deep: u8) -> Vec<Line> {
    let mut lines = vec![
        line(up, "http.arrive", "has the whole request", (start, deep), Time(up.received_ns)),
        caller(&up.caller, Time(up.received_ns), deep),
    ];
    lines.extend(told.reads);
    let ends = |step: &&ProxyStepStory| matches!(step.code.as_str(), "carried" | "fails" | "silent");
    let (last, steps): (Vec<_>, Vec<_>) = up.steps.iter().partition(ends);
    let (before, after_answer): (Vec<_>, Vec<_>) =
        up.cache.iter().partition(|step| shared_cache::comes_first(step));
    let cache = |step: &CacheStory| (step.at_ns, vec![shared_cache::line(up, step, (start, deep))]);
    let mut parts: Vec<(u64, Vec<Line>)> = Vec::new();
    parts.extend(steps.into_iter().map(|step| (step.at_ns, vec![decided(up, step, (start, deep))])));
    parts.extend(before.into_iter().map(cache));
    parts.extend(told.lookup.map(|line| (line.at_ns.unwrap_or(0), vec![line])));
    parts.extend(up.failed.iter().map(|one| (one.at_ns, vec![in_vain(&up.proxy, one, (start, deep))])));
    let back = passed_back(up, (start, deep)).map(|line| (up.answered_ns, vec![line]));
    let way = (!up.chosen.is_empty()).then(|| way_up(up, told.session, (start, deep)));
    // Whom nobody waits for is told when the client has its answer.
    let way =
        way.map(|way| (if up.is_aside() { up.answered_ns.max(up.chosen_ns) } else { up.chosen_ns }, way));
    let (first, then) = if up.is_aside() { (back, way) } else { (way, back) };
    parts.extend(first);
    parts.extend(after_answer.into_iter().map(cache));
    parts.extend(then);
    // As it happened: what is done for one try may come after another one.
    parts.sort_by_key(|(at, _)| *at);
    lines.extend(parts.into_iter().flat_map(|(_, part)| part));
    // What a proxy does when the answer is through, or when there is none.
    lines.extend(last.into_iter().map(|step| decided(up, step, (start, deep))));
    lines
}

fn line(up: &UpstreamStory, code: &str, text: &str, (start, deep): (Time, u8), at: Time) -> Line {
    Line::new(code, up.proxy.clone(), text).deep(deep).at(at).margin(words::after(start, at))
}

/// That the client gets its answer now; a step says it, if it is the proxy's own because nobody gave one, or changes the protocol.
fn passed_back(up: &UpstreamStory, place: (Time, u8)) -> Option<Line> {
    if up.answered_ns == 0 || up.steps.iter().any(|step| matches!(step.code.as_str(), "fails" | "carries")) {
        return None;
    }
    let (code, text) = match up.chosen.is_empty() {
        true => ("balance.answer", "answers without asking anybody"),
        false if up.is_aside() => ("balance.answer", "answers without waiting for anybody"),
        false => ("balance.return", "passes it back"),
    };
    Some(line(up, code, text, place, Time(up.answered_ns)))
}

/// A try that came to nothing.
pub(crate) fn in_vain(proxy: &str, one: &TryStory, (start, deep): (Time, u8)) -> Line {
    let at = Time(one.at_ns);
    let took = match one.value.contains(" within ") {
        true => String::new(),
        false => format!(", after {}", words::between(at, Time(one.end_ns))),
    };
    let text = format!("asks {} ({}) in vain: {}{took}", one.name, one.address, one.value);
    Line::new("balance.retry", proxy, text)
        .deep(deep)
        .at(at)
        .margin(words::after(start, at))
        .with("chosen", &one.name)
        .with("end_ns", one.end_ns)
}

/// "Who does the server think is calling?"
pub(crate) fn caller(caller: &CallerStory, at: Time, deep: u8) -> Line {
    let CallerStory { node, peer, peer_name, told, claimed, lost } = caller;
    let by = if peer_name == peer { peer.clone() } else { format!("{peer} ({peer_name})") };
    let mut text = format!("thinks that {by} is calling");
    if !told.is_empty() {
        let told: Vec<String> = told.iter().map(|f| format!("{}: {}", f.name, f.value)).collect();
        text += &format!("; it is told {}", told.join(" · "));
    }
    if !claimed.is_empty() {
        let own: Vec<String> = claimed.iter().map(|f| format!("{}: {}", f.name, f.value)).collect();
        text += &format!("; {} the client wrote itself, as anybody may", words::list(&own));
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
    said(&up.proxy, step, (start, deep))
}

/// What a proxy decided.
pub(crate) fn said(proxy: &str, step: &ProxyStepStory, (start, deep): (Time, u8)) -> Line {
    let at = Time(step.at_ns);
    let looked: Vec<String> = step.candidates.iter().map(|c| format!("{}: {}", c.name, c.value)).collect();
    let text = match (looked.is_empty(), step.code.as_str()) {
        (true, "pass" | "tunnel" | "inspect" | "refuse") => format!("a forward proxy, {}", step.text),
        (true, _) => step.text.clone(),
        (false, "route") => format!("{}; not {}", step.text, looked.join(", not ")),
        (false, _) => format!("{} ({})", step.text, looked.join(", ")),
    };
    Line::new(&format!("proxy.{}", step.code), proxy, text)
        .deep(deep)
        .at(at)
        .on(proxy.to_owned())
        .margin(words::after(start, at))
}

/// The upstream's part: who was chosen, how it was asked, how long it took.
fn way_up(up: &UpstreamStory, session: Option<Line>, (start, deep): (Time, u8)) -> Vec<Line> {
    let after = |ns: u64| words::after(start, Time(ns));
    let aside = if up.is_aside() { "aside " } else { "" };
    let mut lines = vec![
        line(up, "balance.choose", &choice(up), (start, deep), Time(up.chosen_ns))
            .with("policy", &up.policy)
            .with("chosen", &up.chosen)
            .with("address", &up.address),
    ];
    lines.extend(up.opening.iter().map(|step| decided(up, step, (start, deep))));
    if up.sent_ns > 0 {
        let added: Vec<String> = up.added.iter().map(|f| format!("{}: {}", f.name, f.value)).collect();
        let added = if added.is_empty() { String::new() } else { format!(", adding {}", added.join(" · ")) };
        let plain = if up.secure { "over TLS, in" } else { "in plain" };
        let over = up.over.as_ref().map_or(String::new(), over::say);
        let text = format!("asks {} {aside}{plain} {}{over}{added}", up.address, up.protocol);
        lines.push(
            Line::new("balance.forward", up.proxy.clone(), text)
                .deep(deep)
                .at(Time(up.sent_ns))
                .margin(after(up.sent_ns)),
        );
    }
    lines.extend(session);
    if let Some(next) = &up.next {
        lines.extend(at_depth(next, forward::Told::default(), start, deep.saturating_add(1)));
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
            Line::new("http.answer", up.server(), text)
                .deep(deep.saturating_add(1))
                .at(Time(up.server_answered_ns))
                .margin(after(up.server_answered_ns)),
        );
    }
    lines
}

/// Who is asked, and out of whom.
fn choice(up: &UpstreamStory) -> String {
    let with_note = |name: &str, note: &str| {
        if note.is_empty() { name.to_owned() } else { format!("{name} ({note})") }
    };
    let all: Vec<String> = up.candidates.iter().map(|c| with_note(&c.name, &c.value)).collect();
    match up.policy.as_str() {
        "forward" if all.len() < 2 => format!("goes to {} ({}) in its own name", up.chosen, up.address),
        "forward" => {
            format!("goes to {} ({}) in its own name, out of {}", up.chosen, up.address, words::list(&all))
        }
        _ if all.len() == 1 => format!("goes to {}, the only one behind it", up.chosen),
        policy => format!("chooses {} by {policy}, out of {}", up.chosen, words::list(&all)),
    }
}
