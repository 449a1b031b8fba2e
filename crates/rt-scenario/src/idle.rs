//! Keys that are right in themselves and have no effect where they stand: warned about, because whoever wrote them
//! believes that they do something.
//!
//! Not for: keys that nobody knows (`shape`), values that cannot be (`shape`, and where each is read).

use crate::diag::{Code, Span};
use crate::tree::{Kind, Value};
use crate::world::World;

/// What each verb takes beside `do`, `after` and `background`; the verb's first word.
const TAKES: &[(&str, &[&str])] = &[
    ("opens", &["source-port", "isn", "ecn", "fields"]),
    (WEBSOCKET, &["source-port", "isn", "fields", "says", "binary", "times", "every", "listens", "timeout"]),
    ("reloads", &["source-port", "isn", "ecn", "fields"]),
    ("purges", &["source-port", "isn", "ecn", "fields"]),
    ("posts", &["source-port", "isn", "ecn", "json", "fields"]),
    ("pings", &["count"]),
    ("looks", &[]),
    ("connects", &["source-port", "isn"]),
    ("traces", &[]),
    ("finds", &[]),
    ("sends", &["source-port", "isn", "every"]),
    ("streams", &["source-port", "isn", "frame", "playout"]),
    (
        "calls",
        &[
            "source-port",
            "isn",
            "request",
            "connections",
            "at-once",
            "every",
            "timeout",
            "writes",
            "no-delay",
            "quick-ack",
        ],
    ),
    (GRPC, &["source-port", "isn", "request", "at-once", "every", "jobs", "deadline", "cancel-after"]),
    ("floods", &["sources"]),
    ("spoofs", &["guesses"]),
    ("runs", &["source-port", "isn", "types"]),
];

/// What `calls` is called here when it calls a URL.
const GRPC: &str = "calls https://";

/// What `opens` is called here when it opens a WebSocket.
const WEBSOCKET: &str = "opens wss://";

/// Keys that every step takes.
const ALWAYS: &[&str] = &["do", "after", "background"];

impl World<'_, '_> {
    fn no_effect(&mut self, span: Span, what: &str, why: &str, help: &str) {
        let message = format!("{what} has no effect {why}");
        self.problems.add(Code::NoEffect, span, message, "no effect").help(help);
    }

    /// The keys and tails of a step whose verb has no use for them. `words` begin with the verb.
    pub(crate) fn idle_step_keys(&mut self, item: &Value, sentence: &Value, words: &[&str], tail_port: bool) {
        let first = match *words {
            ["calls", to, ..] if to.contains("://") => Some(GRPC),
            ["opens", url, ..] if crate::websocket::is_one(url) => Some(WEBSOCKET),
            _ => words.first().copied(),
        };
        let Some((verb, takes)) = first.and_then(|w| TAKES.iter().find(|(verb, _)| *verb == w)) else {
            return;
        };
        let over_udp = *verb == "streams" && words.last().is_some_and(|w| w.eq_ignore_ascii_case("udp"));
        let taken = |key: &str| takes.contains(&key) && !(over_udp && matches!(key, "source-port" | "isn"));
        let takes: Vec<String> =
            takes.iter().filter(|key| taken(key)).map(|key| format!("`{key}:`")).collect();
        let what = if over_udp { format!("`{verb}` over UDP") } else { format!("`{verb}`") };
        let help = match takes.as_slice() {
            [] => format!("{what} takes only `after:` and `background:`"),
            takes => format!("{what} takes {}, `after:` and `background:`", takes.join(", ")),
        };
        let idle = |key: &str| !ALWAYS.contains(&key) && !taken(key);
        if tail_port && idle("source-port") {
            let span = self.part(sentence, "from port");
            self.no_effect(span, "`from port`", &format!("on {what}"), &help);
        }
        let Kind::Map(entries) = &item.kind else { return };
        for (name, _) in entries.iter().filter(|(name, value)| idle(&name.text) && value.kind != Kind::Null) {
            self.no_effect(name.span, &format!("`{}`", name.text), &format!("on {what}"), &help);
        }
        let counted = matches!(words, ["pings", _, _, "times"]);
        if let Some((name, _)) = item.entry("count").filter(|_| counted) {
            self.no_effect(name.span, "`count`", "beside `N times`", "say it once");
        }
        let posted = *verb == "posts" && words.get(1) != Some(&"to");
        if posted && item.get("json").is_some() {
            let help = "write it under `json:` and `posts to URL`, or in the sentence";
            let span = self.part(sentence, words[1]);
            self.no_effect(span, "what is posted in the sentence", "beside `json`", help);
        }
    }

    /// Options of `tcp:` that another one of the same mapping makes idle.
    pub(crate) fn idle_tcp_keys(&mut self, tcp: &Value) {
        let on = |key: &str| tcp.flag_at(key) == Some(true);
        let no_sack = tcp.flag_at("sack") == Some(false);
        let other = tcp.str_at("congestion").filter(|c| *c != "cubic");
        if let (Some((name, _)), Some(other)) = (tcp.entry("hystart"), other) {
            let why = format!("with `congestion: {other}`");
            self.no_effect(name.span, "`hystart`", &why, "HyStart++ is CUBIC's (RFC 9406)");
        }
        for key in ["rack", "tail-probes"] {
            if let Some((name, _)) = tcp.entry(key).filter(|_| no_sack && on(key)) {
                let help = "both judge by what SACK blocks tell (RFC 8985, section 3)";
                self.no_effect(name.span, &format!("`{key}`"), "without `sack`", help);
            }
        }
        let always = tcp.str_at("syn-cookies") == Some("always");
        if let Some((name, _)) = tcp.entry("syn-queue").filter(|_| always) {
            let help = "with `syn-cookies: always` nothing is queued before the handshake is over";
            self.no_effect(name.span, "`syn-queue`", "with `syn-cookies: always`", help);
        }
    }

    /// Options of a program that need a certificate.
    pub(crate) fn idle_app_keys(&mut self, word: &str, options: &Value) {
        let asked = options.flag_at("http2") == Some(true) && options.get("certificate").is_none();
        if let Some((name, _)) = options.entry("http2").filter(|_| asked && matches!(word, "http" | "edge")) {
            let help = "HTTP/2 is agreed on in the TLS handshake: give it a `certificate:`";
            self.no_effect(name.span, "`http2`", "without a certificate", help);
        }
    }
}
