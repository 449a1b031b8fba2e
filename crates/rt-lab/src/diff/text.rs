//! A difference for people: short, by request, `-` for what was and `+` for what is.

use std::fmt::Write as _;

use rt_base::Nanos;

use super::{Difference, Lines, MachineDiff, ReachDiff, StepDiff};

/// So many lines of one list are printed; all are in the JSON.
const MOST: usize = 12;
/// So many causes of a change of time are printed.
const CAUSES: usize = 4;

/// The whole.
pub(super) fn text(diff: &Difference) -> String {
    let unasked = diff.not_asked.as_ref().map(|why| format!("who can reach whom was not asked: {why}\n"));
    if diff.same {
        return match unasked {
            Some(unasked) => format!("the same: stories and tables\n{unasked}"),
            None => format!(
                "the same: stories, tables, and who reaches whom ({})\n",
                rt_base::count(diff.pairs as u64, "pair")
            ),
        };
    }
    let mut out = unasked.unwrap_or_default();
    if !diff.steps.is_empty() {
        out.push_str("stories\n");
        diff.steps.iter().for_each(|step| step_text(&mut out, step));
    }
    if !diff.reach.is_empty() {
        out.push_str("who can reach whom\n");
        diff.reach.iter().for_each(|pair| reach_text(&mut out, pair));
    }
    if !diff.machines.is_empty() {
        out.push_str("tables\n");
        diff.machines.iter().for_each(|machine| machine_text(&mut out, machine));
    }
    if !diff.links.is_empty() {
        out.push_str("links\n");
        lines_text(&mut out, 2, &diff.links);
    }
    out
}

fn step_text(out: &mut String, step: &StepDiff) {
    match step.number {
        (Some(_), None) => return line(out, 2, &format!("- {}  ({})", step.text, step.outcome.0)),
        (None, Some(_)) => return line(out, 2, &format!("+ {}  ({})", step.text, step.outcome.1)),
        (Some(a), Some(b)) if a != b => line(out, 2, &format!("step {a}, now {b}: {}", step.text)),
        (Some(a), _) => line(out, 2, &format!("step {a}: {}", step.text)),
        (None, None) => line(out, 2, &step.text),
    }
    if step.outcome.0 != step.outcome.1 {
        line(out, 4, &format!("- {}", step.outcome.0));
        line(out, 4, &format!("+ {}", step.outcome.1));
    }
    if step.duration_ns.0 != step.duration_ns.1 {
        line(out, 4, &change(step.duration_ns));
    }
    for time in step.times.iter().take(CAUSES) {
        line(out, 6, &format!("{:<28} {}", time.say, change((time.before_ns, time.after_ns))));
    }
    lines_text(out, 4, &step.decisions);
    for request in step.requests.iter().take(MOST) {
        line(out, 4, &request.request);
        if request.outcome.0 != request.outcome.1 {
            let said = |mark: &str, text: &str| {
                if text.is_empty() { format!("{mark} not asked") } else { format!("{mark} {text}") }
            };
            line(out, 6, &said("-", &request.outcome.0));
            line(out, 6, &said("+", &request.outcome.1));
        } else {
            line(out, 6, &change(request.duration_ns));
        }
    }
    more(out, 4, step.requests.len(), "request");
}

/// `was 41.2 ms, is 52.3 ms (+11.1 ms)`.
fn change((before, after): (u64, u64)) -> String {
    let sign = if after >= before { "+" } else { "-" };
    format!("was {}, is {} ({sign}{})", Nanos(before), Nanos(after), Nanos(before.abs_diff(after)))
}

fn reach_text(out: &mut String, pair: &ReachDiff) {
    let word = |answer: Option<bool>| match answer {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not there",
    };
    let (was, is) = pair.reachable;
    line(out, 2, &format!("{} to {}, {}: was {}, is {}", pair.from, pair.to, pair.what, word(was), word(is)));
    if !pair.why.is_empty() {
        let when = if was == Some(false) { "before: " } else { "" };
        line(out, 4, &format!("{when}{}", pair.why));
    }
}

fn machine_text(out: &mut String, machine: &MachineDiff) {
    match machine.only {
        Some("gone") => return line(out, 2, &format!("- {}", machine.machine)),
        Some(_) => return line(out, 2, &format!("+ {}", machine.machine)),
        None => line(out, 2, &machine.machine),
    }
    for (table, lines) in &machine.tables {
        line(out, 4, table);
        lines_text(out, 6, lines);
    }
}

fn lines_text(out: &mut String, indent: usize, lines: &Lines) {
    for (mark, list) in [("-", &lines.gone), ("+", &lines.added)] {
        list.iter().take(MOST).for_each(|text| line(out, indent, &format!("{mark} {text}")));
        more(out, indent, list.len(), "line");
    }
}

fn more(out: &mut String, indent: usize, all: usize, what: &str) {
    if all > MOST {
        let left = (all - MOST) as u64;
        line(out, indent, &format!("... and {} more", rt_base::count(left, what)));
    }
}

fn line(out: &mut String, indent: usize, text: &str) {
    let _ = writeln!(out, "{:indent$}{text}", "");
}
