//! WebSocket in a scenario: `websocket: { /chat: room }` of a web server, and steps `WHO opens wss://HOST/PATH`.

use rt_base::Nanos;

use crate::calls::PATIENCE;
use crate::diag::Code;
use crate::model::{SocketKind, Talk, Verb};
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// From one thing said by a server to the next, unless it is said.
pub(crate) const EVERY: Nanos = Nanos::from_secs(1);
/// The longest binary message: longer than what servers take, so that their refusal can be seen.
pub(crate) const LONGEST: u64 = 16 << 20;
/// Messages of one step.
const MOST_MESSAGES: u64 = 10_000;
/// Bytes of all of them.
const MOST_BYTES: u64 = 64 << 20;

const FORM: &str = "a conversation looks like `laptop opens wss://shop.example/chat`, with `says: [hello]`; `ws://` is without TLS";

/// Whether a URL is one of WebSocket.
pub(crate) fn is_one(url: &str) -> bool {
    url.starts_with("ws://") || url.starts_with("wss://")
}

impl World<'_, '_> {
    /// `websocket:` of a web server.
    pub(crate) fn read_sockets(&mut self, value: &Value) -> Vec<(String, SocketKind)> {
        let mut sockets = Vec::new();
        for (path, kind) in value.get("websocket").map(Value::entries).unwrap_or_default() {
            if !path.text.starts_with('/') || path.text.contains(['?', '#', ' ']) {
                self.problems
                    .add(Code::WrongShape, path.span, format!("`{}` is not a path", path.text), "not a path")
                    .help("write `websocket: { /chat: room }`");
                continue;
            }
            let kind = match kind.text() {
                Some("echo") => SocketKind::Echo,
                Some(_) => SocketKind::Room,
                None => SocketKind::Push {
                    text: kind.str_at("push").unwrap_or_default().to_owned(),
                    every: kind.duration_at("every").unwrap_or(EVERY),
                },
            };
            sockets.push((path.text.clone(), kind));
        }
        sockets
    }

    /// Verb and target of `opens ws://...`.
    pub(crate) fn open_websocket(
        &mut self,
        sentence: &Value,
        text: &str,
        item: &Value,
    ) -> Option<(Verb, String)> {
        // The same but for the scheme (RFC 6455, 3).
        let as_http = text.replacen("ws", "http", 1);
        let found = crate::steps::url(&as_http).map(|url| url.host.to_lowercase());
        let host = match found {
            Ok(host) if !text.contains('#') => host,
            found => {
                let why = found.err().unwrap_or_else(|| "it has a fragment (RFC 6455, section 3)".to_owned());
                let at = self.part(sentence, text);
                let message = format!("`{text}` cannot be opened: {why}");
                self.problems.add(Code::BadUrl, at, message, "not a URL").help(FORM);
                return None;
            }
        };
        self.check_host(sentence, &host)?;
        let (secure, _, port, path) = crate::grpc::parts(&as_http);
        let size = item.str_at("binary").and_then(|text| units::size(text).ok());
        let talk = Talk {
            secure,
            target: host.clone(),
            port,
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            says: item
                .get("says")
                .map(Value::items)
                .unwrap_or_default()
                .iter()
                .filter_map(Value::text)
                .map(str::to_owned)
                .collect(),
            binary: size.and_then(|size| u32::try_from(size).ok()),
            times: item.whole_at("times").and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            every: item.duration_at("every").unwrap_or(Nanos::ZERO),
            listens: item.duration_at("listens").unwrap_or(Nanos::ZERO),
            timeout: item.duration_at("timeout").unwrap_or(PATIENCE),
        };
        self.too_much_said(item, &talk)?;
        Some((Verb::WebSocket(talk), host))
    }

    fn too_much_said(&mut self, item: &Value, talk: &Talk) -> Option<()> {
        let once = talk.says.len() as u64 + u64::from(talk.binary.is_some());
        let bytes = talk.says.iter().map(|text| text.len() as u64).sum::<u64>();
        let times = u64::from(talk.times);
        let bytes = (bytes + u64::from(talk.binary.unwrap_or(0))).saturating_mul(times);
        if once.saturating_mul(times) > MOST_MESSAGES || bytes > MOST_BYTES {
            let message = format!(
                "{} messages of {bytes} bytes in all; at most {MOST_MESSAGES}, and {MOST_BYTES} bytes",
                once * times
            );
            let span = item.entry("times").map_or(item.span, |(name, _)| name.span);
            self.problems.add(Code::BadNumber, span, message, "too much").help("say less, or less often");
            return None;
        }
        if let Some((name, _)) = item.entry("times").filter(|_| once == 0) {
            let message = "nothing is said so many times";
            self.problems
                .add(Code::NoEffect, name.span, message, "no effect")
                .help("write `says: [hello]` or `binary: 20kB` besides");
        }
        Some(())
    }
}
