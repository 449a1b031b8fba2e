//! Steps, expectations and the timeline back to YAML, for `views/plain_yaml`.

use super::app_yaml::manners;
use super::plain_yaml::{Entries, end, list, map, q, yes_no};
use crate::calls;
use crate::measure;
use crate::model::{Change, Check, Connections, Expect, Forget, Happening, Model, Step, Verb};
use crate::units::{Measure, show_between, show_duration, show_rate, show_share};

pub(super) fn step_line(step: &Step) -> String {
    let mut entries = Entries::default();
    entries.put("do", q(&step.text));
    entries.put_if(step.after.0 > 0, "after", || show_duration(step.after));
    entries.0.extend(step.source_port.map(|p| ("source-port".to_owned(), p.to_string())));
    entries.0.extend(step.isn.map(|n| ("isn".to_owned(), format!("{{ client: {n} }}"))));
    entries.0.extend(step.ecn.map(|ecn| ("ecn".to_owned(), yes_no(ecn))));
    entries.put_if(step.background, "background", || "yes".to_owned());
    let fields: Vec<_> = step.fields.iter().map(|(name, value)| (q(name), q(value))).collect();
    entries.put_if(!fields.is_empty(), "fields", || map(&fields));
    match &step.verb {
        Verb::Ssh { types, .. } => {
            entries.put_if(!types.is_empty(), "types", || list(types.iter().map(|line| q(line))));
        }
        Verb::Call { .. } => call_keys(&mut entries, &step.verb),
        Verb::Grpc(calls) => super::grpc_yaml::calls(&mut entries, calls),
        Verb::WebSocket(talk) => super::websocket_yaml::talk(&mut entries, talk),
        Verb::Flood { sources, .. } => {
            entries.put_if(*sources != calls::SOURCES, "sources", || sources.to_string());
        }
        Verb::Spoof { first, stride, count, rate, .. } => {
            let guesses = [("first", u64::from(*first)), ("stride", u64::from(*stride))];
            let more = [("count", u64::from(*count)), ("rate", *rate)];
            let all = guesses.iter().chain(&more).map(|(k, n)| ((*k).to_owned(), n.to_string()));
            entries.put("guesses", map(&all.collect::<Vec<_>>()));
        }
        Verb::Ping { count, .. } => entries.put_if(*count != 1, "count", || count.to_string()),
        Verb::Post { json, .. } => {
            if let Ok(value) = serde_json::from_str(json) {
                entries.put("json", flow_json(&value));
            }
        }
        Verb::Send { every, .. } => {
            entries.0.extend(every.map(|span| ("every".to_owned(), show_duration(span))));
        }
        Verb::Stream { frame, playout, .. } => {
            entries.put_if(*frame != measure::FRAME, "frame", || show_duration(*frame));
            entries.put_if(*playout != measure::PLAYOUT, "playout", || show_duration(*playout));
        }
        _ => {}
    }
    map(&entries.0)
}

fn call_keys(entries: &mut Entries, verb: &Verb) {
    let Verb::Call { request, connections, at_once, every, timeout, writes, no_delay, quick_ack, .. } = verb
    else {
        return;
    };
    entries.put_if(*request != calls::MESSAGE, "request", || request.to_string());
    match connections {
        Connections::Kept => {}
        Connections::Each => entries.put("connections", "each"),
        Connections::Warmed => entries.put("connections", "warmed"),
    }
    entries.put_if(*at_once != 1, "at-once", || at_once.to_string());
    entries.put_if(every.0 > 0, "every", || show_duration(*every));
    entries.put_if(*timeout != calls::PATIENCE, "timeout", || show_duration(*timeout));
    manners(entries, (*writes, *no_delay, *quick_ack));
}

/// JSON as a YAML flow value: text always quoted, numbers and flags bare.
fn flow_json(value: &serde_json::Value) -> String {
    let quoted = |text: &str| {
        let plain = q(text);
        if plain.starts_with('"') { plain } else { format!("\"{plain}\"") }
    };
    match value {
        serde_json::Value::String(text) => quoted(text),
        serde_json::Value::Array(items) => list(items.iter().map(flow_json)),
        serde_json::Value::Object(fields) => {
            map(&fields.iter().map(|(k, v)| (quoted(k), flow_json(v))).collect::<Vec<_>>())
        }
        other => other.to_string(),
    }
}

pub(super) fn expect_line(expect: &Expect) -> String {
    let mut entries = Entries::default();
    for check in &expect.checks {
        match check {
            Check::Status(status) => entries.put("status", status.to_string()),
            Check::Protocol(word) => entries.put("protocol", q(word)),
            Check::Field { name, value } => entries.put("field", q(&format!("{name}: {value}"))),
            Check::Within(span) => entries.put("within", show_duration(*span)),
            Check::Through(nodes) => entries.put("through", list(nodes.iter().map(|n| q(n)))),
            Check::Dns(word) => entries.put("dns", q(word)),
            Check::Tls(word) => entries.put("tls", q(word)),
            Check::Fails(why) if why.is_empty() => entries.put("fails", "yes"),
            Check::Fails(why) => entries.put("fails", q(why)),
            Check::Succeeds => entries.put("succeeds", "yes"),
            Check::Prints(text) => entries.put("prints", q(text)),
            Check::AnsweredBy { server, least, most } => {
                let often = show_between((*least, *most), Measure::Count);
                entries.put("answered-by", q(&format!("{server} {often}")));
            }
            Check::FromCache(n) => entries.put("from-cache", n.to_string()),
            Check::Figure { name, least, most } => {
                let measure = crate::expect::figure_measure(name).unwrap_or(Measure::Count);
                entries.put(name, show_between((*least, *most), measure));
            }
        }
    }
    format!("step {}: {}", expect.step + 1, map(&entries.0))
}

pub(super) fn happening_line(model: &Model, happening: &Happening) -> String {
    let mut entries = Entries::default();
    entries.put("at", show_duration(rt_base::Nanos(happening.at.0)));
    let link = |index: usize| q(&model.links.get(index).map_or_else(String::new, |l| end(model, l.a)));
    match &happening.change {
        Change::Cut { link: l } => entries.put("cut", link(*l)),
        Change::Heal { link: l } => entries.put("heal", link(*l)),
        Change::Rebind { node, keep_ports } => {
            entries.put("rebind", q(&model.nodes[node.index()].name));
            if *keep_ports {
                entries.put("keep-ports", "yes".to_owned());
            }
        }
        Change::Drain { node, server, drain } => {
            entries.put(if *drain { "drain" } else { "admit" }, q(&model.nodes[node.index()].name));
            entries.put("server", q(server));
        }
        Change::Purge { node, what } => {
            entries.put("purge", q(&model.nodes[node.index()].name));
            match what {
                Forget::Everything => {}
                Forget::Path(path) => entries.put("path", q(path)),
                Forget::Below(path) => entries.put("path", q(&format!("{path}*"))),
                Forget::Tag(tag) => entries.put("tag", q(tag)),
            }
        }
        Change::Impair { link: l, loss_ppm, delay, rate_bps } => {
            entries.put("impair", link(*l));
            entries.0.extend(loss_ppm.map(|p| ("loss".to_owned(), show_share(p))));
            entries.0.extend(delay.map(|d| ("delay".to_owned(), show_duration(d))));
            entries.0.extend(rate_bps.map(|r| ("rate".to_owned(), show_rate(r))));
        }
    }
    map(&entries.0)
}
