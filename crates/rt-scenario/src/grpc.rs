//! gRPC in a scenario: `run: [grpc: ...]` (a server) and steps `WHO calls https://HOST:PORT/SERVICE/METHOD N times`.
//!
//! Not for what a method does (`rt-apps`): a path that nobody serves is a call too, and the server says what it thinks of it.

use rt_base::Nanos;

use crate::diag::Code;
use crate::model::{App, GrpcCalls, GrpcServer, Verb};
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// The port of a server unless it says otherwise.
pub(crate) const PORT: u16 = 50_051;
/// Its workers.
pub(crate) const WORKERS: u32 = 2;
/// Time for one unit of work.
pub(crate) const UNIT: Nanos = Nanos::from_millis(1);
/// Calls that may wait.
pub(crate) const QUEUE: u32 = 100;
/// Length of a job's input unless it is said.
pub(crate) const INPUT: u32 = 100;
/// The longest input.
pub(crate) const MOST_INPUT: u64 = 1_000_000;
/// The largest job, units.
pub(crate) const MOST_WORK: u64 = 100_000;
/// Jobs that a step may name.
pub(crate) const MOST_JOBS: usize = 1_000;
/// Calls of one step: each is a request of the story.
const MOST_CALLS: u32 = 10_000;

const FORM: &str = "calls of gRPC look like `thin calls https://worker:50051/work.Worker/Compute 8 times`; `http://` is without TLS";

fn whole(value: &Value, key: &str) -> Option<u32> {
    value.str_at(key)?.parse().ok()
}

/// Reads `grpc:` under `run:`.
pub(crate) fn read_server(value: &Value, certificate: Option<usize>) -> App {
    App::Grpc(GrpcServer {
        port: value.str_at("port").and_then(|t| units::port(t).ok()).unwrap_or(PORT),
        certificate,
        workers: whole(value, "workers").unwrap_or(WORKERS),
        unit: value.duration_at("unit").unwrap_or(UNIT),
        queue: whole(value, "queue").unwrap_or(QUEUE),
        stops: value.flag_at("stops").unwrap_or(true),
    })
}

/// Host, port and path of a URL that was found good.
pub(crate) fn parts(text: &str) -> (bool, &str, u16, &str) {
    let secure = text.starts_with("https://");
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let usual = if secure { 443 } else { 80 };
    match authority.rsplit_once(':') {
        Some((host, port)) => (secure, host, units::port(port).unwrap_or(usual), path),
        None => (secure, authority, usual, path),
    }
}

impl World<'_, '_> {
    /// Verb and target of `calls URL`.
    pub(crate) fn call_grpc(
        &mut self,
        sentence: &Value,
        words: &[&str],
        item: &Value,
    ) -> Option<(Verb, String)> {
        let (text, count) = match *words {
            ["calls", text] | ["calls", text, "once"] => (text, "1"),
            ["calls", text, count, "times"] => (text, count),
            _ => {
                self.problems
                    .add(Code::BadStep, sentence.span, "this call is not understood", "not understood")
                    .help(FORM);
                return None;
            }
        };
        let host = self.check_url(sentence, text)?;
        let (secure, _, port, path) = parts(text);
        let method = path.strip_prefix('/').and_then(|p| p.split_once('/'));
        let plain = |name: &str| !name.is_empty() && !name.contains(['/', '?', '#']);
        if !method.is_some_and(|(service, method)| plain(service) && plain(method)) {
            let at = self.part(sentence, text);
            let message = format!("`{text}` names no service and method");
            self.problems.add(Code::BadUrl, at, message, "no method").help(FORM);
            return None;
        }
        let count = self.how_often(sentence, count)?;
        let calls = GrpcCalls {
            secure,
            target: host.clone(),
            port,
            path: path.to_owned(),
            count,
            at_once: whole(item, "at-once").unwrap_or(1),
            jobs: self.jobs(item)?,
            request: item.str_at("request").and_then(|t| units::size(t).ok()).map_or(INPUT, narrow),
            every: item.duration_at("every").unwrap_or(Nanos::ZERO),
            deadline: item.duration_at("deadline"),
            cancel_after: item.duration_at("cancel-after"),
        };
        self.doubtful(item, &calls);
        Some((Verb::Grpc(calls), host))
    }

    fn how_often(&mut self, sentence: &Value, count: &str) -> Option<u32> {
        let number = count.parse::<u32>().ok().filter(|n| (1..=MOST_CALLS).contains(n));
        if number.is_none() {
            let at = self.part(sentence, count);
            let message = format!("`{count}` is not from 1 to {MOST_CALLS}");
            self.problems.add(Code::BadNumber, at, message, "out of its limits");
        }
        number
    }

    fn jobs(&mut self, item: &Value) -> Option<Vec<u32>> {
        let Some(list) = item.get("jobs") else { return Some(vec![1]) };
        let jobs: Vec<u32> = list.items().iter().filter_map(|j| j.text()?.parse().ok()).collect();
        if jobs.is_empty() || jobs.len() > MOST_JOBS {
            let message = format!("a step has from 1 to {MOST_JOBS} jobs, not {}", jobs.len());
            self.problems.add(Code::BadNumber, list.span, message, "out of its limits").help(
                "with more calls than jobs they begin again: `jobs: [5, 5, 300]` and `calls ... 12 times`",
            );
            return None;
        }
        Some(jobs)
    }

    /// Keys of which another one takes the effect.
    fn doubtful(&mut self, item: &Value, calls: &GrpcCalls) {
        let gathers = ["/work.Worker/Gather", "/work.Worker/Converse"].contains(&calls.path.as_str());
        let left = (calls.jobs.len() as u64).saturating_sub(u64::from(calls.count));
        if let Some((name, _)) = item.entry("jobs").filter(|_| !gathers && left > 0) {
            let message = format!("{} of the jobs have no call", left);
            self.problems
                .add(Code::NoEffect, name.span, message, "no effect")
                .help(format!("write `{} times`", calls.jobs.len()));
        }
        if let Some((name, _)) = item.entry("at-once").filter(|_| calls.at_once > calls.count) {
            let message = format!("`at-once: {}` with {} calls", calls.at_once, calls.count);
            self.problems
                .add(Code::NoEffect, name.span, message, "no effect")
                .help(format!("write `{} times`", calls.at_once));
        }
        let first = calls.cancel_after.zip(calls.deadline).is_some_and(|(cancel, end)| cancel >= end);
        if let Some((name, _)) = item.entry("cancel-after").filter(|_| first) {
            self.problems
                .add(Code::NoEffect, name.span, "by then the deadline has passed", "no effect")
                .help("write a shorter one, or a later `deadline:`");
        }
        let size = item.get("request").filter(|_| u64::from(calls.request) > MOST_INPUT);
        if let Some(at) = size {
            let message = format!("a job's input has at most {MOST_INPUT} bytes");
            self.problems.add(Code::BadNumber, at.span, message, "too much").help("write `1MB` at most");
        }
    }
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn urls_come_apart() {
        assert_eq!(parts("https://a.example/s.S/M"), (true, "a.example", 443, "/s.S/M"));
        assert_eq!(parts("http://10.0.0.2:50051/s.S/M"), (false, "10.0.0.2", 50_051, "/s.S/M"));
        assert_eq!(parts("http://a"), (false, "a", 80, ""));
    }
}
