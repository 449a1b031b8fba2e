//! A failure in sentences: what the step came to, and the evidence on the wire that explains it.

use rt_base::{AppRecord, DropReason, Time};

use super::lookup;
use super::model::Line;
use super::tell::Step;
use super::{forged, forward, measure, silence, unanswered, words};
use crate::read::{DnsExchange, DnsOutcome, HttpExchange, Mark, Side, TcpConversation, TlsMessageKind};

/// Codes of sentences that name a cause by themselves.
const CAUSES: [&str; 3] = ["tcp.forged", "tcp.silence", "tcp.no_ports"];
/// Drops behind which stands no rule: the silence that they made says as much.
const NO_RULE: [&str; 4] = ["drop.link_down", "drop.link_loss", "drop.queue_full", "drop.conntrack_invalid"];

/// The sentences that explain a step that did not reach its aim.
pub(crate) fn tell(step: &Step<'_, '_>, conns: &[usize], trouble: &[Line]) -> Vec<Line> {
    let mut lines = Vec::new();
    lines.extend(no_address(step));
    for req in step.requests.iter().filter(|r| r.end.is_some_and(|e| !e.ok)) {
        let exchanges = lookup::asked(step.view, req);
        lines.extend(exchanges.iter().filter_map(|e| name_trouble(step, e)));
        lines.extend(resolver_silent(step, req.begin.at, &exchanges, req.end_at()));
    }
    lines.extend(super::ssh::why(step));
    lines.extend(super::grpc::why(step));
    lines.extend(unanswered::ports(step));
    lines.extend(unanswered::connects(step, conns, trouble));
    for &conn in conns {
        let tcp = step.view.tcp(step.view.conns[conn].client);
        lines.extend(tls_trouble(step, tcp));
        lines.extend(no_answer(step, conn, tcp));
        lines.extend(forged::why(step, conn));
        lines.extend(super::relay::nobody(step.view, conn, step.last));
    }
    let silences: Vec<Line> =
        conns.iter().filter_map(|&conn| unanswered::silence(step, conn)).take(3).collect();
    let known = silences.iter().chain(&lines).any(|l| CAUSES.contains(&l.code.as_str()));
    lines.extend(silences);
    // Nothing that came after the failure explains it.
    let own = |l: &&Line| !l.data.contains_key("step") && l.at_ns.is_none_or(|at| at <= step.last.0);
    let errors =
        trouble.iter().filter(own).filter(|l| l.code == "icmp.error" && !is_answer_of_route(step, l));
    lines.extend(errors.take(1).cloned().map(icmp));
    match step.requests.iter().rev().find(|r| measure::is_route(r)) {
        // Many packets of a traced route die; what counts is the end of the last ones.
        Some(req) => lines.extend(measure::last_silence(step, req)),
        // Whoever was hung up on may have said something more, to nobody.
        None if lines.iter().any(|line| line.code == "relay.nobody") => {}
        None => {
            let mut before: Vec<&Line> = trouble.iter().filter(own).collect();
            // Of a silence that is told, a later packet may name the rule that made it.
            let names = |l: &&Line| known && !l.data.contains_key("step") && l.text.contains(" by the rule ");
            if !before.iter().any(|line| line.code.starts_with("drop.")) {
                before.extend(trouble.iter().filter(names));
            }
            // A cut link is told with the silence that it made.
            lines.extend(drops(&before).filter(|l| !(known && NO_RULE.contains(&l.code.as_str()))));
        }
    }
    lines.extend(no_older_version(step, conns, trouble));
    let tunnel = || conns.iter().rev().find_map(|&conn| forward::refused(step, conn));
    let decided = refused(step).or_else(tunnel);
    lines.splice(0..0, decided);
    if lines.is_empty() {
        let said = step.requests.iter().rev().find_map(|r| r.end.filter(|e| !e.ok));
        let text = said.map_or_else(|| step.end.map_or("the run ended first", |e| e.summary), |e| e.note);
        lines.push(Line::new("failed", "why", text));
    }
    lines
}

/// Who answered with an error or broke off, and why: the last proxy on the way that decided so, else the server.
fn refused(step: &Step<'_, '_>) -> Option<Line> {
    let places = super::http::places(step);
    // What a call came to has a code of its own; a proxy may have answered it with a status all the same.
    let failed = |req: &&super::view::Req<'_>| {
        let (end, place) = (req.end.filter(|e| !e.ok)?, *places.get(&req.id)?);
        let answer = super::http::exchange_of(step.view, place).1.response.as_ref();
        let answered = answer.map(|response| response.status).filter(|status| *status >= 400);
        let status = Some(end.status).filter(|status| *status >= 400).or(answered).unwrap_or(0);
        Some((status, end.event.at, place))
    };
    let told = |(status, at, place)| {
        let story = super::upstream::tell(step.view, place);
        let text = match story.as_ref().and_then(|story| story.refused()) {
            Some((proxy, text)) => format!("{proxy} {text}"),
            None if status < 400 => return None,
            None => {
                let deepest = story.as_ref().and_then(|story| story.chain().last());
                let server = deepest.map(|up| up.server().to_owned()).filter(|name| !name.is_empty());
                let end =
                    || super::relay::at_server(step.view, place).map(|(end, _)| step.view.name(end.node));
                format!("{} answers {status}", server.or_else(end)?)
            }
        };
        Some(Line::new("http.refused", "why", text).at(at))
    };
    step.requests.iter().rev().filter_map(failed).find_map(told)
}

fn no_address(step: &Step<'_, '_>) -> Option<Line> {
    let last = step.view.trace.said().filter(|(e, _)| e.node() == step.node && e.at <= step.last).filter_map(
        |(_, r)| match r {
            AppRecord::AddressAssigned { address, how, .. } => Some((address, how)),
            _ => None,
        },
    );
    let (address, how) = last.last()?;
    (how == "link-local").then(|| {
        let text = format!(
            "{} got no address from DHCP and gave itself {address}; with a link-local address (169.254/16) it has no way \
             out of its own network and no resolver to ask",
            step.view.name(step.node)
        );
        Line::new("address.link_local", "why", text)
    })
}

fn name_trouble(step: &Step<'_, '_>, exchange: &DnsExchange) -> Option<Line> {
    let answer = exchange.answer.as_ref()?;
    let name = exchange.questions.first().map_or("", |q| q.name.as_str());
    let who = step.view.bearer_name(exchange.server.ip());
    let (code, text) = match answer.outcome {
        DnsOutcome::NxDomain => {
            let zone = answer.authority.iter().find(|r| r.rtype == "SOA").map(|r| match r.name.as_str() {
                "." => "the root servers".to_string(),
                zone => format!("the servers of {zone}"),
            });
            let knows = zone.map_or(String::new(), |z| format!("; {z} know of none"));
            ("dns.nxdomain", format!("there is no such name as {name}: {who} answered NXDOMAIN{knows}"))
        }
        DnsOutcome::NoData => {
            ("dns.nodata", format!("{name} exists, but has no record of the type asked for"))
        }
        DnsOutcome::Failure => ("dns.failure", format!("{who} could not find out: {}", answer.rcode_name)),
        _ => return None,
    };
    Some(Line::new(code, "why", text).at(answer.span.last.at))
}

/// The schedule of questions that nobody answered.
fn resolver_silent(
    step: &Step<'_, '_>,
    start: Time,
    asked: &[&DnsExchange],
    end: Option<Time>,
) -> Option<Line> {
    if asked.is_empty() || asked.iter().any(|e| e.answer.is_some()) {
        return None;
    }
    let tries = |e: &&DnsExchange| {
        let marks: Vec<Mark> = e.query.iter().map(|q| q.first).chain(e.again.iter().copied()).collect();
        marks.into_iter().map(|m| (m.at, e.server)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = asked.iter().flat_map(tries).collect();
    all.sort();
    let told: Vec<String> =
        all.iter().map(|(at, to)| format!("{to} at {}", words::after(start, *at))).collect();
    let end = end.map_or(String::new(), |e| format!("; gave up at {}", words::after(start, e)));
    let last = asked.iter().filter_map(|e| e.query).map(|q| q.first).max();
    let strange = last.and_then(|mark| silence::why(step.view, mark.frame, Time::MAX));
    let strange = strange.filter(|why| why.code == "answer.strange");
    let strange = strange.map_or(String::new(), |why| format!(". Of the last question: {}", why.text));
    let text = format!("no resolver answered: asked {}{end}{strange}", words::list(&told));
    Some(Line::new("dns.timeout", "why", text).with("tries", all.len()))
}

fn tls_trouble(step: &Step<'_, '_>, tcp: &TcpConversation) -> Vec<Line> {
    let mut lines = Vec::new();
    let Some(tls) = &tcp.tls else { return lines };
    if let Some((event, AppRecord::CertificateChecked { name, chain, ok: false, note, .. })) =
        super::tls::judgement(step, tls)
    {
        let shown = if chain.is_empty() {
            String::new()
        } else {
            format!(
                " (shown: {})",
                chain.iter().map(|s| super::tls::short(s)).collect::<Vec<_>>().join(" ← ")
            )
        };
        let text = format!("the certificate does not hold for {name}: {note}{shown}");
        lines.push(Line::new("tls.certificate_refused", "why", text).at(event.at));
    }
    for message in &tls.messages {
        if let TlsMessageKind::Alert { fatal: true, name, code } = &message.what {
            let who = if message.from == Side::Client { "the client" } else { "the server" };
            let text = format!("{who} ended the handshake with the alert {name} ({code})");
            lines.push(Line::new("tls.alert", "so", text).at(message.span.last.at));
        }
    }
    lines
}

/// A middlebox took the server's side of a handshake, and the client has asked for no older version since.
fn no_older_version(step: &Step<'_, '_>, conns: &[usize], trouble: &[Line]) -> Option<Line> {
    let taken = trouble.iter().find(|line| line.code == DropReason::Ossified.code())?;
    let offered = |&conn: &usize| {
        let tls = step.view.tcp(step.view.conns[conn].client).tls.as_ref()?;
        let hello = tls.messages.iter().find_map(|message| match &message.what {
            TlsMessageKind::ClientHello { versions, .. } => Some(versions),
            _ => None,
        })?;
        (tls.version.is_none() && !hello.is_empty()).then(|| hello.clone())
    };
    let versions = conns.iter().find_map(offered)?;
    let who = step.view.name(step.node);
    let text = match &versions[..] {
        [only] => format!("{who} has nothing to fall back to: it offers {only} and nothing older"),
        all => format!(
            "{who} offers {}, but falls back to none of them by itself: the server chooses, and its choice does not come",
            words::list(all)
        ),
    };
    Some(Line::new("tls.no_older_version", "so", text).at(Time(taken.at_ns.unwrap_or(0))))
}

/// A request that was sent and got no answer.
fn no_answer(step: &Step<'_, '_>, conn: usize, tcp: &TcpConversation) -> Option<Line> {
    // Others may have asked over the connection before, in vain as well.
    let own = |e: &&HttpExchange| {
        let asked = e.request.head.first.at;
        asked >= step.start() && asked <= step.last && e.response.as_ref().is_none_or(|r| !r.complete)
    };
    let open = tcp.http.iter().find(own)?;
    let at = open.request.head.last.at;
    let view = step.view;
    let arrived =
        view.exchange_at_server(conn, open).map(|(end, e)| (view.name(end.node), e.request.head.readable.at));
    let arrived = match arrived {
        Some((who, when)) => format!("{who} had it at {}", words::after(step.start(), when)),
        None => "it never arrived whole".into(),
    };
    let got = open.response.as_ref().map_or("no answer came".to_string(), |r| {
        format!("only {} of the answer came", words::bytes(r.body.encoded_bytes))
    });
    let text = format!(
        "{} {} was sent at {}; {arrived}; {got}",
        open.request.method,
        open.request.target,
        words::after(step.start(), at)
    );
    Some(Line::new("http.no_answer", "why", text).at(at))
}

fn icmp(line: Line) -> Line {
    let text = format!("{} {}", line.label, line.text);
    Line { label: "why".into(), text, ..line }
}

/// A router's "your TTL ran out" is what a traced route is made of.
fn is_answer_of_route(step: &Step<'_, '_>, line: &Line) -> bool {
    line.data.get("type").is_some_and(|t| t == "11") && step.requests.iter().any(|r| measure::is_route(r))
}

/// The drops that a reader should know of: of the kind (machine and reason) that came first, in the wake of this step.
fn drops(trouble: &[&Line]) -> impl Iterator<Item = Line> {
    let real = |l: &&Line| l.code.starts_with("drop.") && l.code != "drop.no_socket";
    let dropped: Vec<&Line> = trouble.iter().copied().filter(real).collect();
    let first = dropped.iter().find(|l| l.code != "drop.more");
    let line = first.map(|first| {
        let alike = dropped.iter().filter(|l| {
            l.node == first.node && (l.code == first.code || l.data.get("of") == Some(&first.code))
        });
        let counted = |l: &&&Line| l.data.get("count").and_then(|n| n.parse::<u64>().ok()).unwrap_or(1);
        let all: u64 = alike.map(|l| counted(&l)).sum();
        let times = if all > 1 { format!(" ({all} in all)") } else { String::new() };
        let text = format!("{} {}{times}", first.label, first.text);
        Line { label: "why".into(), text, ..(**first).clone() }
    });
    line.into_iter()
}
