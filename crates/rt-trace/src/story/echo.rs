//! Ping and probe: echoes with their way there and back, a connection that is only tried.

use rt_base::{AppRecord, Time};

use super::model::{Chapter, Line};
use super::tell::{self, Step};
use super::view::Req;
use super::{room, silence, words};

const EXPLAIN: &str = "A ping is a small packet that asks its target to send it back: the shortest way to see whether a \
                       machine can be reached, and how far away it is.";

/// The chapter of a ping, or of whatever else is neither a page nor a look-up.
pub(crate) fn tell(step: &Step<'_, '_>, req: &Req<'_>) -> Chapter {
    let view = step.view;
    let end = req.end_at().unwrap_or(step.last);
    let mut lines = Vec::new();
    if let Some(read) = view.read.get(&req.node) {
        let of_req = |at: Time| at >= req.begin.at && at <= end;
        for (i, echo) in read.echo.iter().filter(|e| e.outgoing && of_req(e.request.at)).enumerate() {
            let label = format!("ping {}", echo.seq);
            let text = format!("{} → {} · {} bytes · TTL {}", echo.client, echo.server, echo.len, echo.ttl);
            lines.push(
                Line::new("echo.request", label.clone(), text)
                    .at(echo.request.at)
                    .margin(words::after(req.begin.at, echo.request.at))
                    .with("id", echo.id)
                    .with("seq", echo.seq),
            );
            if i == 0 {
                lines.extend(tell::nat_lines(view, echo.request.frame, 1));
                lines.extend(tell::way_lines(view, echo.request.frame, 1));
                lines.extend(room::lines(view, echo.request.frame, None));
            }
            match echo.reply {
                Some(reply) => {
                    let ttl = echo.reply_ttl.map_or(String::new(), |t| format!(" · TTL {t}"));
                    let text = format!("came back after {}{ttl}", words::between(echo.request.at, reply.at));
                    lines.push(
                        Line::new("echo.reply", label, text)
                            .at(reply.at)
                            .margin(words::after(req.begin.at, reply.at)),
                    );
                }
                None => {
                    let why = silence::why(view, echo.request.frame, end);
                    let text = why.as_ref().map_or("no answer".into(), |w| format!("no answer: {}", w.text));
                    let origin = why.map_or(String::new(), |w| w.origin);
                    lines.push(Line::new("echo.silence", label, text).margin(origin));
                }
            }
        }
    }
    lines.extend(notes(req));
    Chapter {
        code: "echo".into(),
        title: "ping".into(),
        subject: req.target.to_string(),
        start_ns: req.begin.at.0,
        end_ns: end.0,
        remark: String::new(),
        explain: EXPLAIN.into(),
        lines,
    }
}

/// What the application itself remarked.
pub(crate) fn notes(req: &Req<'_>) -> Vec<Line> {
    let line = |(event, record): &(&rt_base::Event, &AppRecord)| match record {
        AppRecord::Note { code, text, .. } => Some(Line::new(code, "note", text.clone()).at(event.at)),
        AppRecord::Retry { attempt, why, .. } => {
            Some(Line::new("retry", "again", format!("{why}: try {attempt}")).at(event.at))
        }
        _ => None,
    };
    req.said.iter().filter_map(line).collect()
}
