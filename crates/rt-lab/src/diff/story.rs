//! Two stories side by side: steps that say the same, and in each what was decided and where the time went.

use std::collections::BTreeMap;

use rt_trace::story::{Line, RequestStory, StepStory};

use super::hidden::Hidden;
use super::{RequestDiff, Side, StepDiff, TimeDiff, lines};

/// More steps than this are paired by their place alone.
const MOST_ALIGNED: usize = 1_000;

/// Steps whose story differs, in order.
pub(super) fn diff(a: &Side, b: &Side) -> Vec<StepDiff> {
    let (hidden, a, b) = ((&a.hidden, &b.hidden), &a.story, &b.story);
    let key = |step: &StepStory| format!("{} {}", step.node, step.text);
    let pairs = align(&a.steps, &b.steps, key);
    let mut out: Vec<StepDiff> = pairs.into_iter().filter_map(|(a, b)| step((a, b), hidden)).collect();
    let (gone, added): (Vec<String>, Vec<String>) =
        (a.timeline.iter().map(happened).collect(), b.timeline.iter().map(happened).collect());
    let timeline = lines(&gone, &added);
    if !timeline.is_empty() {
        let text = "what happened to the network meanwhile".to_owned();
        out.push(StepDiff { text, decisions: timeline, ..StepDiff::default() });
    }
    out
}

fn happened(line: &Line) -> String {
    format!("at {} ms: {}", line.at_ns.unwrap_or(0) / 1_000_000, line.text)
}

type Pair<'s, T> = (Option<&'s T>, Option<&'s T>);

/// Pairs what has the same key, in the longest way that keeps both orders; the rest stands alone.
fn align<'s, T>(a: &'s [T], b: &'s [T], key: impl Fn(&T) -> String) -> Vec<Pair<'s, T>> {
    let (ka, kb): (Vec<String>, Vec<String>) = (a.iter().map(&key).collect(), b.iter().map(&key).collect());
    if ka == kb || a.len().max(b.len()) > MOST_ALIGNED {
        return (0..a.len().max(b.len())).map(|i| (a.get(i), b.get(i))).collect();
    }
    // The classic table of longest common subsequences, from the end.
    let mut best = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            best[i][j] = match ka[i] == kb[j] {
                true => best[i + 1][j + 1] + 1,
                false => best[i + 1][j].max(best[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && ka[i] == kb[j] {
            out.push((Some(&a[i]), Some(&b[j])));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && best[i + 1][j] >= best[i][j + 1]) {
            out.push((Some(&a[i]), None));
            i += 1;
        } else {
            out.push((None, Some(&b[j])));
            j += 1;
        }
    }
    out
}

fn step((a, b): Pair<'_, StepStory>, (named_a, named_b): (&Hidden, &Hidden)) -> Option<StepDiff> {
    let either = a.or(b)?;
    let outcome = |step: Option<&StepStory>| step.map_or_else(String::new, said);
    let duration = |step: Option<&StepStory>| step.map_or(0, |s| s.duration_ns);
    let facts = |step: Option<&StepStory>, hidden: &Hidden| -> Vec<String> {
        step.map_or_else(Vec::new, decisions).iter().map(|line| hidden.name(line)).collect()
    };
    let empty = Vec::new();
    let requests = |step: Option<&'_ StepStory>| step.map_or(&empty, |s| &s.requests).clone();
    let (ra, rb) = (requests(a), requests(b));
    let both = a.is_some() && b.is_some();
    let diff = StepDiff {
        text: either.text.clone(),
        number: (a.map(|s| s.number), b.map(|s| s.number)),
        outcome: (outcome(a), outcome(b)),
        duration_ns: (duration(a), duration(b)),
        times: if both { times(a, b) } else { Vec::new() },
        decisions: if both { lines(&facts(a, named_a), &facts(b, named_b)) } else { super::Lines::default() },
        requests: if both { request_diffs(&ra, &rb) } else { Vec::new() },
    };
    let same = both
        && diff.outcome.0 == diff.outcome.1
        && diff.duration_ns.0 == diff.duration_ns.1
        && diff.times.is_empty()
        && diff.decisions.is_empty()
        && diff.requests.is_empty();
    (!same).then_some(diff)
}

fn said(step: &StepStory) -> String {
    let word = match (step.ended, step.ok) {
        (false, _) => "not over: ",
        (true, true) => "",
        (true, false) => "FAILED: ",
    };
    format!("{word}{}", step.summary)
}

/// Where the time went, by group; only what differs, the largest difference first.
fn times(a: Option<&StepStory>, b: Option<&StepStory>) -> Vec<TimeDiff> {
    let mut groups: BTreeMap<&str, TimeDiff> = BTreeMap::new();
    for (step, after) in [(a, false), (b, true)] {
        for total in step.into_iter().flat_map(|s| &s.budget.totals) {
            let entry = groups.entry(&total.group).or_insert_with(|| TimeDiff {
                group: total.group.clone(),
                say: total.say.clone(),
                ..TimeDiff::default()
            });
            *(if after { &mut entry.after_ns } else { &mut entry.before_ns }) += total.time_ns;
        }
    }
    let mut out: Vec<TimeDiff> = groups.into_values().filter(|t| t.before_ns != t.after_ns).collect();
    out.sort_by_key(|t| std::cmp::Reverse(t.before_ns.abs_diff(t.after_ns)));
    out
}

/// What was done and decided: which parts there were, by which way, what was rewritten or refused by which rule, and what went
/// wrong. Without times, which are compared apart.
fn decisions(step: &StepStory) -> Vec<String> {
    let mut out = Vec::new();
    for chapter in &step.chapters {
        out.push(format!("{}: {}", chapter.title, chapter.subject).trim_end_matches(": ").to_owned());
        let hops: Vec<&str> =
            chapter.lines.iter().filter(|l| l.code == "path.hop").map(|l| l.label.as_str()).collect();
        if !hops.is_empty() {
            out.push(format!("way: {}", hops.join(" > ")));
        }
        out.extend(chapter.lines.iter().filter(|l| decides(&l.code)).map(decision));
    }
    let mut troubles: BTreeMap<String, u32> = BTreeMap::new();
    for line in &step.trouble {
        *troubles.entry(format!("{} at {}", line.code, line.label)).or_default() += 1;
    }
    out.extend(troubles.into_iter().map(|(what, times)| format!("trouble: {what}, {times} times")));
    out.extend(step.outcome.iter().map(why));
    out
}

/// Why a step failed, without the packet, the line of the file and the times.
fn why(line: &Line) -> String {
    if !line.code.starts_with("drop.") {
        return format!("{}: {}", line.label, line.code);
    }
    let text = line.text.split(" It was: ").next().unwrap_or_default();
    format!("{}: {}", line.label, text.replace(&format!(" ({})", line.margin), ""))
}

fn decides(code: &str) -> bool {
    ["nat.", "filter.", "route.", "cache.", "dns.referral", "dns.result", "balance", "proxy"]
        .iter()
        .any(|prefix| code.starts_with(prefix))
}

fn decision(line: &Line) -> String {
    let rule = line.data.get("rule").map_or_else(String::new, |rule| format!(" (by `{rule}`)"));
    format!("{}: {}{rule}", line.label, line.text)
}

fn request_diffs(a: &[RequestStory], b: &[RequestStory]) -> Vec<RequestDiff> {
    let key = |r: &RequestStory| format!("{} {}", r.method, r.target);
    let outcome = |r: Option<&RequestStory>| {
        r.map_or_else(String::new, |r| {
            let reused = if r.reused { ", connection from before" } else { "" };
            let cache = if r.cache.is_empty() { String::new() } else { format!(", cache {}", r.cache) };
            format!("{} {} {}, {} bytes{reused}{cache}", r.status, r.protocol, r.note, r.body_bytes)
        })
    };
    let took = |r: Option<&RequestStory>| r.map_or(0, |r| r.end_ns.saturating_sub(r.start_ns));
    let pairs = align(a, b, key).into_iter().filter_map(|(a, b)| {
        let diff = RequestDiff {
            request: a.or(b).map(key)?,
            outcome: (outcome(a), outcome(b)),
            duration_ns: (took(a), took(b)),
        };
        let same = diff.outcome.0 == diff.outcome.1 && diff.duration_ns.0 == diff.duration_ns.1;
        (!same).then_some(diff)
    });
    pairs.collect()
}
