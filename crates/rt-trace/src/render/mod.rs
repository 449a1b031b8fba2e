//! The story as text: for a person who has never seen a packet, read from top to bottom, and with every number for one
//! who has. At most 100 columns, plain by itself; [`paint`] puts colour on top for those who want it.
//!
//! Nothing is decided here: every sentence comes from [`crate::story`], this is only layout.

mod chart;
mod glossary;
mod layout;
mod plots;
mod svg;
mod tables;

use std::collections::BTreeSet;

use rt_base::Nanos;

use crate::story::words::{bytes, count, exact_ms, ms, short_ms};
use crate::story::{
    BudgetStory, Chapter, ConnectionReport, ConnectionStory, Ends, Line, Saved, StateStory, StepStory, Story,
};
pub(crate) use layout::Page;
pub use plots::{PlotKind, flows as flows_text, plots};

/// Indent of a chapter's lines.
const INDENT: usize = 7;

/// Headings of two lists.
const WRONG: &str = "what went wrong on the way";
const WAITED: &str = "what TCP waited for";
/// Lines that refer to the one before, in a row, at most.
const LIKEWISE: usize = 2;
/// Connections of one step whose states are told.
const LIVES: usize = 2;

/// `story.txt`.
#[must_use]
pub fn text(story: &Story) -> String {
    let mut page = Page::new();
    let mut explained = BTreeSet::new();
    heading(story, &mut page);
    if !story.prologue.is_empty() {
        page.ruled("Before the first step", "");
        for chapter in &story.prologue {
            chapter_text(chapter, "", &mut explained, &mut page);
        }
    }
    for step in &story.steps {
        step_text(step, &mut explained, &mut page);
    }
    tables::nat(&story.nat, &mut page);
    page.finish()
}

/// One step only, as in [`text`].
#[must_use]
pub fn step(step: &StepStory) -> String {
    let mut page = Page::new();
    step_text(step, &mut BTreeSet::new(), &mut page);
    page.finish()
}

/// The chapters of a step and where its time went, without its heading.
pub(crate) fn chapters(step: &StepStory) -> String {
    let mut page = Page::new();
    let mut explained = BTreeSet::new();
    for (i, chapter) in step.chapters.iter().enumerate() {
        chapter_text(chapter, &(i + 1).to_string(), &mut explained, &mut page);
    }
    budget_text(&step.budget, step.duration_ns, &mut explained, &mut page);
    page.finish()
}

/// Colours a text made here: headings bold, what went wrong red, margins and explanations dim (ANSI SGR).
#[must_use]
pub fn paint(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in text.lines() {
        let (before, after) = match line.trim_start() {
            l if l.starts_with("━━") => ("\x1b[1m", "\x1b[0m"),
            l if l.starts_with("FAILED") || l.starts_with("BUG") || l.starts_with("why ") => {
                ("\x1b[31m", "\x1b[0m")
            }
            l if l.starts_with('│') => ("\x1b[2m", "\x1b[0m"),
            l if is_chapter(l) && line.starts_with("  ") && !line.starts_with("     ") => {
                ("\x1b[1m", "\x1b[0m")
            }
            _ => ("", ""),
        };
        out.push_str(before);
        out.push_str(line);
        out.push_str(after);
        out.push('\n');
    }
    out
}

fn is_chapter(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_digit() || c.is_ascii_lowercase())
}

fn heading(story: &Story, page: &mut Page) {
    page.split(&story.scenario, &format!("{} · seed {}", story.file, story.seed));
    if !story.about.is_empty() {
        page.prose(0, &story.about);
    }
    page.blank();
    page.prose(
        0,
        "How to read this: each numbered part is one thing that had to happen, with the time it took at the right. Inside \
         a part, times with a + count from the part's beginning. → goes away from the one who asks, ← comes back.",
    );
    if !story.complete {
        page.blank();
        page.prose(0, "NOTE: more happened than the store keeps; what came after it was full is not told.");
    }
    for line in &story.timeline {
        let at = line.at_ns.map_or(String::new(), |ns| ms(Nanos(ns)));
        page.entry(0, 12, &line.label, &line.text, &format!("at {at}"));
    }
}

fn step_text(step: &StepStory, explained: &mut BTreeSet<String>, page: &mut Page) {
    page.ruled(&format!("Step {}  {}", step.number, step.text), &ms(Nanos(step.duration_ns)));
    let verdict = if step.ok { step.summary.clone() } else { format!("FAILED  {}", step.summary) };
    page.prose(2, &verdict);
    for figure in &step.figures {
        page.entry(4, 18, &figure.name, &figure.text, "");
    }
    if !step.outcome.is_empty() {
        page.blank();
        lines_text(2, &step.outcome, explained, page);
    }
    let mut number = 0;
    for chapter in &step.chapters {
        number += 1;
        chapter_text(chapter, &number.to_string(), explained, page);
    }
    if !step.trouble.is_empty() {
        page.blank();
        page.plain(2, WRONG);
        lines_text(INDENT, &likewise(&step.trouble), explained, page);
    }
    if !step.waits.is_empty() {
        page.blank();
        page.plain(2, WAITED);
        lines_text(INDENT, &step.waits, explained, page);
    }
    let opened = |c: &&ConnectionStory| c.start_ns >= step.start_ns && !c.life.is_empty();
    for connection in step.connections.iter().filter(opened).take(LIVES) {
        life_text(connection, page);
    }
    let more = step.connections.iter().filter(opened).count().saturating_sub(LIVES);
    if more > 0 {
        let text =
            format!("and {}: roundtrip follow RUN --connection N", count(more as u64, "more connection"));
        page.prose(2, &text);
    }
    budget_text(&step.budget, step.duration_ns, explained, page);
    if let Some(saved) = &step.saved {
        saved_text(saved, page);
    }
}

fn chapter_text(chapter: &Chapter, number: &str, explained: &mut BTreeSet<String>, page: &mut Page) {
    page.blank();
    let took = Nanos(chapter.end_ns.saturating_sub(chapter.start_ns));
    let title = if chapter.subject.is_empty() {
        chapter.title.clone()
    } else {
        format!("{:<18}  {}", chapter.title, chapter.subject)
    };
    let title = if number.is_empty() { format!("  {title}") } else { format!("  {number:<2} {title}") };
    page.titled(&title, &chapter.remark, &ms(took));
    if !chapter.explain.is_empty() && explained.insert(chapter.code.clone()) {
        page.aside(5, &chapter.explain);
    }
    lines_text(INDENT, &chapter.lines, explained, page);
}

/// Lines of one list: labels of the same depth stand in a column of their own.
fn lines_text(indent: usize, lines: &[Line], explained: &mut BTreeSet<String>, page: &mut Page) {
    let column = |depth: u8| {
        let of_depth = lines.iter().filter(|l| l.depth == depth).map(|l| l.label.chars().count());
        of_depth.max().unwrap_or(0).clamp(8, 22)
    };
    for line in lines {
        let indent = indent + 2 * usize::from(line.depth);
        page.entry(indent, column(line.depth), &line.label, &line.text, &line.margin);
        if let Some(meaning) = glossary::meaning(&line.code).filter(|_| explained.insert(line.code.clone())) {
            page.aside(indent + column(line.depth) + 2, meaning);
        }
    }
}

/// Retransmissions after one loss are told in full once; those that follow it refer to it, and many are counted.
fn likewise(lines: &[Line]) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    let mut before = None;
    let mut same = 0;
    for line in lines {
        let of = |name: &str| line.data.get(name).cloned().unwrap_or_default();
        let about = (line.node.clone(), line.code.clone(), of("connection"), of("fate"));
        let again = line.code.starts_with("tcp.retransmit") && before.as_ref() == Some(&about);
        same = if again { same + 1 } else { 0 };
        before = Some(about);
        match same {
            0 => out.push(line.clone()),
            1..=LIKEWISE => {
                let cost = of("cost_ns").parse::<u64>().ok().filter(|ns| *ns > 0);
                let cost =
                    cost.map_or(String::new(), |ns| format!(". The step waited {} for it", ms(Nanos(ns))));
                out.push(Line { text: format!("{}; likewise{cost}", of("short")), ..line.clone() });
            }
            n => {
                if n > LIKEWISE + 1 {
                    out.pop();
                }
                let text = format!("and {} more, likewise; the last {}", n - LIKEWISE, of("short"));
                out.push(Line { text, ..line.clone() });
            }
        }
    }
    out
}

/// The states of both ends, side by side.
fn life_text(connection: &ConnectionStory, page: &mut Page) {
    let Ends { from, to } = &connection.ends;
    page.blank();
    let ends = format!("{} {from} and {} {to}", connection.client, connection.server);
    page.prose(2, &format!("the states of connection {}: {ends}", connection.number));
    let mut rows: Vec<&StateStory> = connection.life.iter().collect();
    rows.sort_by_key(|s| s.from_ns);
    for state in rows {
        let at = format!("+{}", ms(Nanos(state.from_ns.saturating_sub(connection.start_ns))));
        if state.side == "client" {
            page.row(INDENT, &[(-14, &at), (12, &state.state)], &state.by);
        } else {
            page.row(INDENT, &[(-14, &at), (36, ""), (12, &state.state)], &state.by);
        }
    }
}

/// One connection by itself.
#[must_use]
pub fn connection(report: &ConnectionReport) -> String {
    let mut page = Page::new();
    let c = &report.connection;
    let title = format!("Connection {}  {} {} → {} {}", c.number, c.client, c.ends.from, c.server, c.ends.to);
    page.ruled(&title, &ms(Nanos(c.end_ns.saturating_sub(c.start_ns))));
    let sent = format!("{} → / {} ←", bytes(c.bytes[0]), bytes(c.bytes[1]));
    let segments = format!("{} → / {} ← segments", c.segments[0], c.segments[1]);
    let again = count(u64::from(c.retransmissions), "retransmission");
    page.prose(2, &format!("{sent} · {segments} · {again} · {}", c.ended));
    life_text(c, &mut page);
    let mut explained = BTreeSet::new();
    for (title, lines) in [(WAITED, report.waits.clone()), (WRONG, likewise(&report.trouble))] {
        if !lines.is_empty() {
            page.blank();
            page.plain(2, title);
            lines_text(INDENT, &lines, &mut explained, &mut page);
        }
    }
    page.blank();
    page.prose(2, "Times count from its first segment; the time at its head ends with its last one. Its curves: roundtrip plot.");
    page.finish()
}

fn budget_text(budget: &BudgetStory, duration: u64, explained: &mut BTreeSet<String>, page: &mut Page) {
    if budget.totals.is_empty() && budget.problems.is_empty() {
        return;
    }
    page.blank();
    page.plain(2, "where the time went");
    if explained.insert("budget".into()) {
        page.aside(
            5,
            "Going back from the end, every nanosecond is something on its way or somebody waiting for one named thing. \
             What was done meanwhile, without making anybody wait, is not counted.",
        );
    }
    for total in &budget.totals {
        let explain =
            if explained.insert(format!("group {}", total.group)) { total.explain.as_str() } else { "" };
        page.row(INDENT, &[(28, &total.say), (-16, &exact_ms(Nanos(total.time_ns)))], explain);
        for cause in budget.causes.iter().filter(|c| c.group == total.group) {
            page.row(INDENT + 2, &[(26, "of this"), (-16, &exact_ms(Nanos(cause.time_ns)))], &cause.say);
        }
    }
    let sum: u64 = budget.totals.iter().map(|t| t.time_ns).sum();
    let exact =
        if sum == duration { "exactly the whole time, nothing left over" } else { "BUG: not the whole time" };
    page.row(INDENT, &[(28, "together"), (-16, &exact_ms(Nanos(sum)))], exact);
    if budget.phases.len() > 1 {
        page.blank();
        page.plain(5, "part by part");
        for phase in &budget.phases {
            let parts: Vec<String> = phase
                .totals
                .iter()
                .map(|t| format!("{} {}", t.group.replace('-', " "), short_ms(Nanos(t.time_ns))))
                .collect();
            page.row(INDENT, &[(28, &phase.say), (-16, &exact_ms(Nanos(phase.time_ns)))], &parts.join(" · "));
        }
    }
    for problem in &budget.problems {
        page.prose(INDENT, &format!("BUG: {problem}"));
    }
}

fn saved_text(saved: &Saved, page: &mut Page) {
    page.blank();
    page.plain(2, &format!("compared with step {}", saved.step));
    lines_text(INDENT, &saved.lines, &mut BTreeSet::new(), page);
    let (before, now) = (Nanos(saved.before_ns), Nanos(saved.now_ns));
    let text = if saved.now_ns <= saved.before_ns {
        format!("{} instead of {}: {} saved", ms(now), ms(before), ms(before - now))
    } else {
        format!("{} instead of {}: {} longer", ms(now), ms(before), ms(now - before))
    };
    page.entry(INDENT, 8, "in all", &text, "");
}
