//! A step that asks for the same again and again: the first rounds are told one by one, and what failed; the others are summed
//! up, since nobody reads four hundred of them.

use std::collections::{BTreeMap, BTreeSet};

use rt_base::ReqId;

use super::model::{Chapter, Line, RequestStory, StepStory};
use super::relay;
use super::tell::Step;
use super::upstream::UpstreamStory;
use super::view::Req;
use super::words;

/// Pages of a step with the same address that are told one by one, and as many more that failed. What a real program asks for is
/// one step: its requests for other things are no rounds.
const MOST: u32 = 10;

const EXPLAIN: &str =
    "One request may be luck. Many of them show what a rule that throws dice, or takes turns, comes to.";

/// Which pages are told.
#[derive(Default)]
pub(super) struct Rounds {
    told: BTreeSet<ReqId>,
    whole: BTreeMap<(String, String), u32>,
    failed: u32,
}

impl Rounds {
    /// Whether this page is told; where a click led is told with the click.
    pub(super) fn tells(&mut self, page: &Req<'_>) -> bool {
        let failed = page.end.is_some_and(|end| !end.ok);
        let told = if page.parent != ReqId(0) {
            self.told.contains(&page.parent)
        } else if self.begins(page) {
            true
        } else if failed && self.failed < MOST {
            self.failed += 1;
            true
        } else {
            false
        };
        if told {
            self.told.insert(page.id);
        }
        told
    }

    /// Whether this is one of the first rounds.
    fn begins(&mut self, page: &Req<'_>) -> bool {
        let rounds = self.whole.entry((page.method.to_string(), page.target.to_string())).or_default();
        *rounds += 1;
        *rounds <= MOST
    }
}

/// The chapter of those that are not told one by one, if there are any; it sums up all.
pub(super) fn rest(
    step: &Step<'_, '_>,
    conns: &[usize],
    stories: &[RequestStory],
    summed: &[Chapter],
) -> Option<Chapter> {
    let left = summed.iter().filter(|chapter| chapter.code == "url").count();
    if left == 0 {
        return None;
    }
    let start = summed.iter().map(|chapter| chapter.start_ns).min()?;
    let pages: Vec<&RequestStory> =
        stories.iter().filter(|story| story.kind == "page" && story.parent.is_none()).collect();
    let mut statuses: BTreeMap<String, u64> = BTreeMap::new();
    for page in &pages {
        let status = if page.status == 0 { page.note.clone() } else { page.status.to_string() };
        *statuses.entry(status).or_default() += 1;
    }
    let numbers = pages.iter().map(|page| page.number);
    let (first, last) = (numbers.clone().min().unwrap_or(0), numbers.max().unwrap_or(0));
    let text = format!("`roundtrip follow` tells each: they are the requests {first} to {last} of the run");
    let mut lines = vec![Line::new("rounds.more", "not told here", text).with("left", left)];
    let ended: Vec<String> = statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    lines.push(Line::new("rounds.status", "ended with", words::list(&ended)));
    let end = |&conn: &usize| relay::story(step.view, conn).map(|relay| relay.server);
    let answered = counted(stories, &conns.iter().map(end).collect::<Vec<_>>());
    if !answered.is_empty() {
        let all: u64 = answered.iter().map(|(_, count)| count).sum();
        let part = |(name, count): &(String, u64)| {
            let tenths = (count * 1_000 + all / 2) / all;
            format!("{name}: {count} ({}.{} %)", tenths / 10, tenths % 10)
        };
        let parts: Vec<String> = answered.iter().map(part).collect();
        lines.push(Line::new("rounds.answered", "answered by", words::list(&parts)));
    }
    Some(Chapter {
        code: "rounds".into(),
        title: "and so on".into(),
        subject: format!("{}, {left} of them like those above", words::count(pages.len() as u64, "request")),
        start_ns: start,
        end_ns: step.last.0,
        remark: String::new(),
        explain: EXPLAIN.into(),
        lines,
    })
}

/// How many of a step's requests each server behind a proxy or a balancer of connections answered, by name: the last one of a
/// chain. Where a step has no requests that are read, its connections count.
#[must_use]
pub fn answered_by(step: &StepStory) -> Vec<(String, u64)> {
    let ends: Vec<Option<String>> =
        step.connections.iter().map(|c| c.relay.as_ref().map(|relay| relay.server.clone())).collect();
    counted(&step.requests, &ends)
}

/// `ends`: for each connection the server behind the balancers that it passed, if it passed any.
fn counted(requests: &[RequestStory], ends: &[Option<String>]) -> Vec<(String, u64)> {
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    let mut count = |server: &String| {
        if !server.is_empty() {
            *all.entry(server.clone()).or_default() += 1;
        }
    };
    let mut read = false;
    for request in requests {
        let chain =
            std::iter::successors(request.upstream.as_ref(), |at: &&UpstreamStory| at.next.as_deref());
        let end = request.connection.and_then(|at| ends.get(at as usize)?.as_ref());
        read |= request.connection.is_some();
        if let Some(server) = chain.map(|at| &at.chosen).filter(|chosen| !chosen.is_empty()).last() {
            count(server);
        } else if let Some(server) = end.filter(|_| request.upstream.is_none()) {
            count(server);
        }
    }
    if !read {
        ends.iter().flatten().for_each(count);
    }
    all.into_iter().collect()
}
