//! A verdict for people.

use super::{Answers, Beyond, Blocker, Verdict};

impl Verdict {
    /// The verdict as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).map_or_else(|e| e.to_string(), |text| text + "\n")
    }

    /// What was asked: `10.0.2.50`, `web:443`, `dns:53/udp`.
    fn question(&self) -> String {
        let udp = if self.protocol == super::Protocol::Udp { "/udp" } else { "" };
        self.port.map_or_else(|| self.to.clone(), |port| format!("{}:{port}{udp}", self.to))
    }

    /// The verdict for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        let word = if self.reachable { "yes" } else { "no" };
        lines.push(format!(
            "{word}: {} to {}: {}; in all {}",
            self.from,
            self.question(),
            self.outcome,
            self.took
        ));
        if !self.path.is_empty() {
            lines.push(format!("  the probe passed  {}", short_path(&self.path)));
        }
        for (number, blocker) in self.blockers.iter().enumerate() {
            lines.extend(blocker.lines(number + 1));
        }
        lines.extend(self.ending());
        for (index, beyond) in self.behind.iter().enumerate() {
            let is_next = index > 0 && self.behind[index - 1].proxy == beyond.proxy;
            lines.extend(beyond.lines(is_next));
        }
        lines.extend(self.assumptions.iter().map(|a| format!("  assumed  {a}")));
        lines.join("\n") + "\n"
    }

    fn ending(&self) -> Option<String> {
        if self.reachable {
            return None;
        }
        let stuck = |b: &Blocker| b.code == super::name::OTHER_MACHINE && b.lifted.is_none();
        if self.blockers.last().is_some_and(stuck) {
            return Some("  two machines have this address: no packet can choose between them".into());
        }
        Some(match (self.blockers.len(), self.reachable_when_lifted) {
            (0, _) => "  no packet was dropped: the other end did not answer".into(),
            (1, true) => "  lifting this one thing is enough".into(),
            (n, true) => format!("  all {n} must be lifted, then the answer is yes"),
            (_, false) if !self.target_exists => "  no machine here has this address".into(),
            (_, false) => "  even then there is no answer".into(),
        })
    }
}

impl Beyond {
    /// What came of one server; the balancer is named before the first of its servers.
    fn lines(&self, is_next: bool) -> Vec<String> {
        let mut lines = Vec::new();
        if !is_next {
            lines.push(format!("  behind {}, asked from there:", self.proxy));
        }
        let word = if self.reachable { "yes" } else { "no" };
        lines.push(format!("    {word}: {}: {}", self.server, self.outcome));
        if !self.reachable && self.path.len() > 1 {
            lines.push(format!("      the probe passed  {}", short_path(&self.path)));
        }
        let blockers = self.blockers.iter().enumerate();
        let reasons = blockers.flat_map(|(number, blocker)| blocker.lines(number + 1));
        lines.extend(reasons.map(|line| format!("    {line}")));
        lines
    }
}

impl Blocker {
    fn lines(&self, number: usize) -> Vec<String> {
        let mut lines = vec![format!("  {number}  {}  [{}]", self.sentence, self.code)];
        if let Some(rule) = &self.rule {
            lines.push(format!("     rule     {rule}"));
        }
        lines.push(format!("     written  {}", self.origin));
        if let Some(nearest) = &self.nearest {
            lines.push(format!("     nearest  {nearest}"));
        }
        lines.extend(self.explanation.iter().map(|code| format!("     AWS      {code}")));
        match &self.lifted {
            Some(change) => lines.push(format!("     lifted   {change}")),
            None => lines.push("     lifted   nothing in the model lifts this".into()),
        }
        lines
    }
}

impl Answers {
    /// All verdicts for people: after each other, those of a group with a sum at the end.
    #[must_use]
    pub fn text(&self) -> String {
        let all: Vec<String> = self.verdicts.iter().map(Verdict::text).collect();
        if all.len() == 1 {
            return all.concat();
        }
        let yes = self.verdicts.iter().filter(|v| v.reachable).count();
        format!("{}{yes} of {} pairs: yes\n", all.concat(), all.len())
    }

    /// The verdicts as JSON: one object, or for groups `{ "yes": 1, "pairs": [...] }`.
    #[must_use]
    pub fn json(&self) -> String {
        if let [only] = self.verdicts.as_slice() {
            return only.json();
        }
        let yes = self.verdicts.iter().filter(|v| v.reachable).count();
        let value =
            serde_json::json!({ "yes": yes, "no": self.verdicts.len() - yes, "pairs": self.verdicts });
        format!("{value:#}\n")
    }
}

/// Machines joined by `>`; in a routing loop the same two come again and again, which is said once.
fn short_path(path: &[String]) -> String {
    let circle = (0..path.len()).find_map(|start| {
        let next = path[start + 1..].iter().position(|n| *n == path[start])? + 1;
        let times = path[start..].chunks(next).filter(|c| *c == &path[start..start + next]).count();
        // Behind a NAT gateway a packet passes its subnet twice; in a circle it goes until its TTL is used up.
        (times > 2).then_some((start, next, times))
    });
    match circle {
        Some((start, length, times)) => {
            let round = path[start..start + length].join(" > ");
            let before: String = path[..start].iter().map(|n| format!("{n} > ")).collect();
            format!("{before}{round} > {} ... ({times} times round)", path[start])
        }
        None => path.join(" > "),
    }
}
