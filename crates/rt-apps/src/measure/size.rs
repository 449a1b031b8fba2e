//! How long a packet may be on the way to a target: echo requests with DF, whose routers say what fits (RFC 1191), or a
//! search when nobody says anything.
//!
//! When packets vanish in silence it also looks for the place: probes of a length that does not arrive, with a growing TTL,
//! are answered by every router up to the one that swallows them.

use std::net::{IpAddr, SocketAddr};

use rt_base::{FigureUnit, Nanos, Wait};
use rt_stack::{Probe, ProbeKind, ProbeVerdict};

use super::{Report, ms};
use crate::echo::ProbeSocket;
use crate::net::Net;
use crate::step::StepResult;

/// How often a length is tried before silence means that it does not pass.
const TRIES: usize = 2;
/// How long each try is waited for.
const PATIENCE: Nanos = Nanos::from_secs(1);
/// Every link carries this (RFC 791).
const LEAST: u16 = 68;
/// The longest way on which a silent router is looked for.
const MOST_HOPS: u8 = 30;

/// What came of a length.
enum Heard {
    Passed(Nanos),
    TooBig(IpAddr, u16),
    Failed(IpAddr, &'static str),
    Silence,
}

/// What is known so far.
struct Search {
    /// The longest that passed, 0 for none.
    good: u16,
    /// The shortest that did not.
    bad: u32,
    /// Who said so last.
    said: Option<IpAddr>,
    /// Whether something vanished without a word.
    silence: Option<u16>,
}

/// Finds the longest packet that reaches `target`.
pub async fn path_mtu(net: Net, target: String) -> StepResult {
    let mut report = Report::begin(&net, "path MTU", &target);
    let outcome = run(&net, &target, &mut report).await;
    report.end(outcome)
}

async fn run(net: &Net, target: &str, report: &mut Report) -> Result<String, String> {
    let address = report.resolve(target).await?;
    let socket = net.probe(ProbeKind::Icmp).map_err(|e| e.to_string())?;
    let link = net.link_mtu(address).unwrap_or(1_500);
    report.line(
        "mtu.link",
        "link",
        &format!("the first link carries {link} bytes"),
        &[("mtu", link.to_string())],
    );
    let mut tool = Tool { net, socket, address, marks: 0 };
    let mut search = Search { good: 0, bad: u32::from(link) + 1, said: None, silence: None };
    let mut next = Some(link);
    while let Some(len) = next {
        next = search.learn(len, &tool.ask(len).await, report)?;
    }
    if search.good == 0 {
        return Err(format!("{address} does not answer, not even to {LEAST} bytes"));
    }
    report.figure("path-mtu", u64::from(search.good), FigureUnit::Count);
    let found = format!("packets of up to {} bytes reach {address}", search.good);
    let cause = match (search.said, search.silence) {
        (_, Some(len)) => {
            let last = tool.last_to_answer(len).await;
            let text = match last {
                Some(router) => {
                    format!("{router} is the last to answer packets of {len} bytes; behind it they vanish")
                }
                None => "nobody on the way answers".to_string(),
            };
            let data: Vec<_> = last.map(|r| ("address", r.to_string())).into_iter().collect();
            report.line("mtu.black-hole", "hole", &text, &data);
            format!(
                "longer ones vanish without a word ({})",
                last.map_or("nowhere".into(), |r| format!("after {r}"))
            )
        }
        (Some(router), None) => format!("{router} said so"),
        (None, None) => "as on the first link".to_string(),
    };
    Ok(format!("{found}: {cause}"))
}

impl Search {
    /// Takes what came of `len`; gives the next length to try.
    fn learn(&mut self, len: u16, heard: &Heard, report: &mut Report) -> Result<Option<u16>, String> {
        let label = format!("{len} bytes");
        let data = |more: &[(&'static str, String)]| {
            let mut all = vec![("length", len.to_string())];
            all.extend_from_slice(more);
            all
        };
        match *heard {
            Heard::Passed(time) => {
                self.good = self.good.max(len);
                let text = format!("answered after {} ms", ms(time));
                report.line("mtu.passed", &label, &text, &data(&[("time_ns", time.0.to_string())]));
            }
            Heard::TooBig(from, mtu) => {
                (self.said, self.bad) = (Some(from), u32::from(len));
                let text = format!("{from} says: too long, the next link carries {mtu}");
                let more = [("address", from.to_string()), ("mtu", mtu.to_string())];
                report.line("mtu.too-big", &label, &text, &data(&more));
                if mtu >= LEAST && mtu < len && mtu > self.good {
                    self.bad = u32::from(mtu) + 1;
                    return Ok(Some(mtu));
                }
            }
            Heard::Failed(from, why) => return Err(format!("{from} says: {why}")),
            Heard::Silence => {
                self.bad = u32::from(len);
                report.line("mtu.silence", &label, "no answer", &data(&[]));
                if len == LEAST {
                    return Ok(None);
                }
                self.silence = Some(len);
            }
        }
        Ok(match (self.good, self.bad) {
            (0, bad) => Some(if bad > 576 { 576 } else { LEAST }),
            (good, bad) if u32::from(good) + 1 >= bad => None,
            (good, bad) => u16::try_from(u32::midpoint(u32::from(good), bad)).ok(),
        })
    }
}

struct Tool<'n> {
    net: &'n Net,
    socket: ProbeSocket,
    address: IpAddr,
    marks: u16,
}

impl Tool<'_> {
    async fn probe(&mut self, len: u16, ttl: u8, df: bool) -> Option<(IpAddr, ProbeVerdict, Nanos)> {
        self.marks = self.marks.wrapping_add(1);
        let to = SocketAddr::new(self.address, 0);
        let (kind, own, mark) = (ProbeKind::Icmp, self.socket.own(), self.marks);
        let probe = Probe { kind, own, to, mark, ttl, df, len };
        let begin = self.net.now();
        self.socket.send(probe).ok()?;
        let answer = self.net.timeout(PATIENCE, Wait::Timeout, self.socket.answer_to(probe)).await.ok()?;
        Some((answer.from, answer.verdict, self.net.now().since(begin)))
    }

    async fn ask(&mut self, len: u16) -> Heard {
        for _ in 0..TRIES {
            match self.probe(len, 64, true).await {
                Some((_, ProbeVerdict::Answered | ProbeVerdict::Closed, time)) => return Heard::Passed(time),
                Some((from, ProbeVerdict::TooBig { mtu }, _)) => return Heard::TooBig(from, mtu),
                Some((from, ProbeVerdict::Failed(error), _)) => return Heard::Failed(from, error.say()),
                None => {}
            }
        }
        Heard::Silence
    }

    /// The last router that still answers to packets of this length.
    async fn last_to_answer(&mut self, len: u16) -> Option<IpAddr> {
        let mut last = None;
        for ttl in 1..=MOST_HOPS {
            match self.probe(len, ttl, true).await {
                Some((from, ..)) => last = Some(from),
                None => break,
            }
        }
        last
    }
}
