//! WebSocket back to YAML, and in words.

use super::plain_yaml::{Entries, list, map, q};
use crate::calls::PATIENCE;
use crate::model::{SocketKind, Talk};
use crate::units::show_duration;

/// `websocket:` of a web server.
pub(super) fn sockets(sockets: &[(String, SocketKind)]) -> String {
    let kind = |kind: &SocketKind| match kind {
        SocketKind::Echo => "echo".to_owned(),
        SocketKind::Room => "room".to_owned(),
        SocketKind::Push { text, every } => {
            map(&[("push".to_owned(), q(text)), ("every".to_owned(), show_duration(*every))])
        }
    };
    map(&sockets.iter().map(|(path, what)| (q(path), kind(what))).collect::<Vec<_>>())
}

/// Keys of a conversation.
pub(super) fn talk(entries: &mut Entries, talk: &Talk) {
    entries.put_if(!talk.says.is_empty(), "says", || list(talk.says.iter().map(|text| q(text))));
    entries.0.extend(talk.binary.map(|bytes| ("binary".to_owned(), bytes.to_string())));
    entries.put_if(talk.times != 1, "times", || talk.times.to_string());
    entries.put_if(talk.every.0 > 0, "every", || show_duration(talk.every));
    entries.put_if(talk.listens.0 > 0, "listens", || show_duration(talk.listens));
    entries.put_if(talk.timeout != PATIENCE, "timeout", || show_duration(talk.timeout));
}

/// A server's paths in a few words.
pub(super) fn say(sockets: &[(String, SocketKind)]) -> String {
    let paths: Vec<&str> = sockets.iter().map(|(path, _)| path.as_str()).collect();
    if paths.is_empty() { String::new() } else { format!(", WebSocket at {}", paths.join(", ")) }
}
