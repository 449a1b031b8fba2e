//! WebSocket: the model's words in those of the apps.

use rt_apps::browser::Browser;
use rt_apps::websocket::{self, Door, DoorKind, Doors};
use rt_apps::{ConnectOptions, StepFn};
use rt_scenario::model::{SocketKind, Step, Talk};

use crate::apps::Shared;

/// The paths of a web server.
pub(crate) fn doors(sockets: &[(String, SocketKind)]) -> Doors {
    let kind = |kind: &SocketKind| match kind.clone() {
        SocketKind::Echo => DoorKind::Echo,
        SocketKind::Room => DoorKind::Room,
        SocketKind::Push { text, every } => DoorKind::Push { text, every },
    };
    Doors::new(sockets.iter().map(|(path, what)| Door { path: path.clone(), kind: kind(what) }))
}

/// What a machine does when a step begins that converses; it trusts whom the machine's browser trusts.
pub(crate) fn step(step: &Step, talk: Talk, shared: &Shared, browser: Option<&Browser>) -> StepFn {
    let first = ConnectOptions { local_port: step.source_port, isn: step.isn, ..ConnectOptions::default() };
    let talk = websocket::Talk {
        secure: talk.secure,
        host: talk.target,
        port: talk.port,
        target: talk.path,
        says: talk.says,
        bytes: talk.binary,
        times: talk.times,
        every: talk.every,
        listens: talk.listens,
        patience: talk.timeout,
        fields: step.fields.clone(),
        proxy: browser.and_then(|browser| browser.proxy().cloned()),
        roots: browser.map_or_else(|| shared.roots(), |browser| browser.roots().to_vec()),
        first,
    };
    Box::new(move |net| Box::pin(websocket::talk(net, talk)))
}
