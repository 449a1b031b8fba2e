//! The same page again: what did not have to be done this time, and the time saved.

use rt_base::Nanos;

use super::model::{Line, RequestStory, Saved, StepStory};
use super::words;

/// Compares a step with the latest earlier one that did the same: the same kind of action, the same method and target.
pub(crate) fn tell(earlier: &[StepStory], step: &StepStory) -> Option<Saved> {
    let asked = step.requests.iter().find(|r| r.parent.is_none())?;
    let same = |r: &RequestStory| {
        r.parent.is_none() && (&r.kind, &r.method, &r.target) == (&asked.kind, &asked.method, &asked.target)
    };
    let before = earlier.iter().rev().find(|s| s.ok && s.node == step.node && s.requests.iter().any(same))?;
    if !step.ok {
        return None;
    }
    let mut lines = Vec::new();
    lines.extend(names(before, step));
    lines.extend(connections(before, step));
    lines.extend(files(before, step));
    Some(Saved { step: before.number, before_ns: before.duration_ns, now_ns: step.duration_ns, lines })
}

/// `was 61.214 ms, now 0.000 ms`.
fn was_now(before: u64, now: u64) -> String {
    format!("{} then, {} now", words::ms(Nanos(before)), words::ms(Nanos(now)))
}

fn chapter_time(step: &StepStory, code: &str) -> u64 {
    step.chapters.iter().filter(|c| c.code == code).map(|c| c.end_ns.saturating_sub(c.start_ns)).sum()
}

fn names(before: &StepStory, step: &StepStory) -> Option<Line> {
    let asked = |s: &StepStory| s.lookups.iter().any(|l| l.question.is_some());
    if !asked(before) || asked(step) {
        return None;
    }
    let from = step.lookups.iter().flat_map(|l| &l.caches).find(|c| c.value.starts_with("has it"));
    let from = from.map_or("a cache", |c| c.name.as_str());
    let text = format!("the address was still in the {from}: no question to a resolver");
    Some(
        Line::new("saved.dns", "name", text)
            .margin(was_now(chapter_time(before, "dns"), chapter_time(step, "dns"))),
    )
}

fn connections(before: &StepStory, step: &StepStory) -> Vec<Line> {
    let mut lines = Vec::new();
    let opened = |s: &StepStory| s.chapters.iter().filter(|c| c.code == "connect").count();
    if opened(before) > 0 && opened(step) == 0 && !step.connections.is_empty() {
        let text = "the connection was still open: no handshake at all";
        lines.push(
            Line::new("saved.connection", "connection", text)
                .margin(was_now(chapter_time(before, "connect") + chapter_time(before, "tls"), 0)),
        );
    }
    let resumed = |s: &StepStory| s.connections.iter().any(|c| c.tls_resumed);
    if resumed(step) && !resumed(before) {
        let text =
            "the secret from last time was used again (TLS resumption): no certificates sent, none checked";
        lines.push(
            Line::new("saved.tls", "TLS", text)
                .margin(was_now(chapter_time(before, "tls"), chapter_time(step, "tls"))),
        );
    }
    lines
}

fn files(before: &StepStory, step: &StepStory) -> Vec<Line> {
    let mut lines = Vec::new();
    for (word, code, say) in [
        ("hit", "saved.cache", "came from the browser's cache without a single packet"),
        (
            "revalidated",
            "saved.revalidated",
            "had not changed (304), so only the question and a short answer travelled",
        ),
    ] {
        let files: Vec<_> = step.requests.iter().filter(|r| r.cache == word).collect();
        if files.is_empty() {
            continue;
        }
        let bytes: u64 = files
            .iter()
            .filter_map(|f| before.requests.iter().find(|b| b.target == f.target))
            .map(|b| b.transferred_bytes)
            .sum();
        let text = format!(
            "{} {say} ({} not sent again)",
            words::count(files.len() as u64, "file"),
            words::bytes(bytes)
        );
        lines.push(Line::new(code, "files", text).with("files", files.len()).with("bytes", bytes));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{RequestStory, StepStory, tell};

    fn step(number: u32, method: &str, target: &str) -> StepStory {
        let (method, target) = (method.to_owned(), target.to_owned());
        let request = RequestStory { method, target, ..RequestStory::default() };
        StepStory { number, ok: true, requests: vec![request], ..StepStory::default() }
    }

    #[test]
    fn only_a_step_that_did_the_same_is_compared_with() {
        let earlier = [step(1, "GET", "b"), step(2, "GET", "c"), step(3, "ping", "b")];
        assert_eq!(tell(&earlier, &step(4, "GET", "b")).map(|saved| saved.step), Some(1));
        assert_eq!(tell(&earlier, &step(4, "ping", "b")).map(|saved| saved.step), Some(3));
        assert_eq!(tell(&earlier, &step(4, "call", "b")), None);
    }
}
