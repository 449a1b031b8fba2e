//! SSH: how the configuration was read, how keys were agreed on, who logged in as whom, what runs in which channel, and what a
//! machine in the middle can make of the bytes that it relays.
//!
//! Connections are read from the bytes with the key log; a connection inside a channel of another, and one that a program on a server
//! made, are told behind the one that they serve (`AppRecord::Relayed` joins them). What a relay can read is found out by reading its
//! own captures with its own secrets only.

use rt_base::{AppRecord, Event, NodeId, Time};

use super::model::{Chapter, Line};
use super::tell::Step;
use super::view::{End, Req, View};
use super::words;
use crate::read::{Side, SshChannel, SshMessage, SshSession, TcpConversation};

const CONFIG: &str = "ssh reads the command line and then ~/.ssh/config from top to bottom. For each option the first value that it finds \
                      wins, so what is special stands above what is general.";
const KEYS: &str = "Both ends say what they can, make a secret out of two public points that nobody who listens can compute, and the \
                    server signs all that was said with its host key. From NEWKEYS on every packet is sealed, its length too.";
const LOGIN: &str = "The client proves who it is: it signs the session's own number with a private key whose public half the server \
                     knows. The key itself never leaves the client, or its agent.";
const CHANNEL: &str = "One connection carries many channels: a command, a shell, or a TCP connection that the server makes for the client \
                       (direct-tcpip).";
const RELAY: &str = "The machine in the middle takes bytes out of a channel of one connection and puts them into another. They are packets \
                     of a connection between the two ends, sealed with keys that were agreed on between the two.";
/// The message that begins new keys.
const NEWKEYS: u8 = 21;
/// Messages told one by one in a chapter.
const TOLD: usize = 24;
/// Connections that serve each other are followed this far.
const DEEPEST: usize = 8;

/// Whether a request is a run of ssh.
pub(crate) fn is_one(req: &Req<'_>) -> bool {
    req.method == "ssh"
}

/// A connection that a server made for whoever is at the other end of another one.
struct Relayed<'t> {
    event: &'t Event,
    channel: u32,
    what: &'t str,
    conn: usize,
}

/// The connections that the server of `conn` made for its client.
fn relayed<'t>(view: &View<'t>, conn: usize) -> Vec<Relayed<'t>> {
    let Some(server) = view.conns[conn].server else { return Vec::new() };
    let peer = view.tcp(server).client;
    let opened = view.tcp(server).syn.as_ref().map_or(Time::ZERO, |s| s.mark.at);
    let found = |(event, record): (&'t Event, &'t AppRecord)| {
        let AppRecord::Relayed { downstream, channel, what, local, remote } = record else { return None };
        let its = event.node() == server.node && *downstream == peer && event.at >= opened;
        let fits = |i: &usize| {
            let c = &view.conns[*i];
            let tcp = view.tcp(c.client);
            c.client.node == server.node && tcp.client == *local && tcp.server == *remote
        };
        let before =
            |i: &usize| view.tcp(view.conns[*i].client).syn.as_ref().is_some_and(|s| s.mark.at <= event.at);
        let conn = (0..view.conns.len()).rev().filter(fits).find(before).filter(|_| its)?;
        Some(Relayed { event, channel: *channel, what, conn })
    };
    view.trace.said().filter_map(found).collect()
}

/// Connections that others made so that these could go on, in no order.
pub(crate) fn behind(view: &View<'_>, conns: &[usize]) -> Vec<usize> {
    let mut all: Vec<usize> = Vec::new();
    let mut open: Vec<usize> = conns.iter().copied().filter(|c| is_ssh(view, *c)).collect();
    for _ in 0..DEEPEST {
        let next: Vec<usize> = open.iter().flat_map(|c| relayed(view, *c)).map(|r| r.conn).collect();
        open = next.into_iter().filter(|c| !all.contains(c) && !conns.contains(c)).collect();
        all.extend(&open);
    }
    all
}

fn is_ssh(view: &View<'_>, conn: usize) -> bool {
    view.tcp(view.conns[conn].client).ssh.is_some()
}

/// The chapters of SSH on a connection that the step's machine opened; connections that others made for it are told behind it.
pub(crate) fn conversation(step: &Step<'_, '_>, conn: usize) -> Vec<Chapter> {
    let mut chapters = Vec::new();
    if step.view.conns[conn].client.node == step.node {
        connection(step, conn, DEEPEST, &mut chapters);
    }
    chapters
}

/// Why a run of ssh came to nothing, as both sides know it: what the clients had to show, and what the servers wrote into their logs.
pub(crate) fn why(step: &Step<'_, '_>) -> Vec<Line> {
    if !step.requests.iter().any(|r| is_one(r)) {
        return Vec::new();
    }
    let meanwhile = |e: &&(&Event, &AppRecord)| step.covers(e.0) && e.0.at <= step.last;
    let line = |(event, record): (&Event, &AppRecord)| {
        let node = step.view.name(event.node());
        let (code, text) = match record {
            AppRecord::Note { code, text, .. } if code.starts_with("sshd.f") => {
                (code, format!("{node} logs: {text}"))
            }
            AppRecord::Measured { code, label, text, .. } if code.starts_with("ssh.key-refused") => {
                (code, format!("{label} says to {node}: {text}"))
            }
            AppRecord::Measured { code, text, .. }
                if code == "ssh.no-key" || code == "ssh.host-key-refused" =>
            {
                (code, format!("{node}: {text}"))
            }
            _ => return None,
        };
        let line = Line::new(code, "why", text).at(event.at).on(node);
        Some(line.margin(words::after(step.start(), event.at)))
    };
    step.view.trace.said().filter(|e| meanwhile(&e)).filter_map(line).take(TOLD).collect()
}

/// How the destination was made out.
pub(crate) fn configuration(req: &Req<'_>) -> Option<Chapter> {
    let mut lines = Vec::new();
    let mut end = req.begin.at;
    for (event, record) in &req.said {
        let AppRecord::Measured { code, label, text, data, .. } = record else { continue };
        let arrow = match code.as_str() {
            "ssh.option" => "",
            "ssh.destination" => "→ ",
            _ => continue,
        };
        let mut line = Line::new(code, label.clone(), format!("{arrow}{text}")).at(event.at);
        for (name, value) in data {
            line = line.with(name, value);
        }
        if code == "ssh.option" {
            line = line.deep(1);
        }
        end = event.at;
        lines.push(line);
    }
    let first = req.said.first().map_or(req.begin.at, |(event, _)| event.at);
    (!lines.is_empty()).then(|| Chapter {
        code: "ssh-config".into(),
        title: "where to".into(),
        subject: format!("ssh {}", req.target),
        start_ns: first.0,
        end_ns: end.0.min(first.0),
        explain: CONFIG.into(),
        lines,
        ..Chapter::default()
    })
}

/// A TCP connection with SSH on it, and all that runs inside.
fn connection(step: &Step<'_, '_>, conn: usize, depth: usize, chapters: &mut Vec<Chapter>) {
    let view = step.view;
    let ends = view.conns[conn];
    let Some(ssh) = &view.tcp(ends.client).ssh else { return };
    let server = ends.server.map_or_else(|| view.tcp(ends.client).server.to_string(), |e| view.name(e.node));
    let names = [view.name(ends.client.node), server];
    session(step, ssh, &names, "", chapters);
    carried(step, (ssh, conn), &names, depth, chapters);
}

/// What the channels of a session carry: `conn` is the connection that its server took. Inside of what is inside one, there may be
/// more, and so on from one relay to the next.
fn carried(
    step: &Step<'_, '_>,
    (ssh, conn): (&SshSession, usize),
    names: &[String; 2],
    depth: usize,
    chapters: &mut Vec<Chapter>,
) {
    let view = step.view;
    if depth == 0 {
        return;
    }
    for relay in relayed(view, conn) {
        let number = |c: &&SshChannel| c.numbers[Side::Server.index()] == Some(relay.channel);
        let Some(channel) = ssh.channels.iter().rev().find(number) else { continue };
        if relay.what == "direct-tcpip" {
            chapters.push(relay_chapter(step, &relay, channel, names));
        } else {
            connection(step, relay.conn, depth - 1, chapters);
        }
        if let Some(inside) = &channel.inside {
            let far = view.conns[relay.conn].server.map_or_else(|| channel.to.clone(), |e| view.name(e.node));
            let names = [names[0].clone(), far];
            session(step, inside, &names, "inside the channel", chapters);
            carried(step, (inside, relay.conn), &names, depth - 1, chapters);
        }
    }
}

/// Keys, login and channels of one connection.
fn session(
    step: &Step<'_, '_>,
    ssh: &SshSession,
    names: &[String; 2],
    remark: &str,
    chapters: &mut Vec<Chapter>,
) {
    let [client, server] = names;
    let Some(first) = ssh.messages.first() else { return };
    // Up to the NEWKEYS of both: what the server says right behind its own goes with them.
    let both = (1..).zip(&ssh.messages).filter(|(_, m)| m.number == NEWKEYS).nth(1).map(|(count, _)| count);
    let keyed = both.unwrap_or_else(|| ssh.messages.iter().take_while(|m| !m.sealed).count());
    let who = format!("{client} and {server}");
    let subject = format!(
        "{who}: {}",
        ssh.suite.iter().filter(|s| !s.is_empty()).cloned().collect::<Vec<_>>().join(", ")
    );
    let head = Chapter { explain: KEYS.into(), ..chapter("ssh-keys", "agree on keys", subject) };
    let end = ssh.keyed.map_or(step.last, |m| m.at);
    chapters.push(Chapter {
        remark: if ssh.keyed.is_some() { remark } else { "no agreement" }.into(),
        ..with_messages(head, &ssh.messages[..keyed], (first.span.first.at, end))
    });
    let rest = &ssh.messages[keyed..];
    if !ssh.readable || rest.is_empty() {
        return;
    }
    let is_login = |m: &&SshMessage| m.number < 80;
    let logins = rest.iter().take_while(is_login).count();
    let user = ssh.login.as_ref().map(|(_, user)| user.as_str());
    let subject = match user {
        Some(user) => format!("{user} at {server}"),
        None => server.clone(),
    };
    let head = Chapter { explain: LOGIN.into(), ..chapter("ssh-login", "log in", subject) };
    let until = ssh.login.as_ref().map_or(step.last, |(mark, _)| mark.at);
    let remark = if user.is_some() { remark } else { "not let in" };
    chapters.push(Chapter {
        remark: remark.into(),
        ..with_messages(head, &rest[..logins], (rest[0].span.first.at, until))
    });
    chapters.extend(ssh.channels.iter().map(|c| channel_chapter(step, c, server)));
}

fn chapter(code: &str, title: &str, subject: String) -> Chapter {
    Chapter { code: code.into(), title: title.into(), subject, ..Chapter::default() }
}

fn with_messages(head: Chapter, messages: &[SshMessage], (start, end): (Time, Time)) -> Chapter {
    let line = |m: &SshMessage| {
        let arrow = if m.from == Side::Client { "→" } else { "←" };
        let code = format!("ssh.{}", m.name.to_ascii_lowercase());
        Line::new(&code, format!("{} {arrow}", m.name), m.text.clone())
            .at(m.span.readable.at)
            .margin(words::after(start, m.span.readable.at))
            .with("bytes", m.span.len())
            .with("on_the_wire", if m.sealed { "sealed" } else { "in clear" })
    };
    let mut lines: Vec<Line> = messages.iter().take(TOLD).map(line).collect();
    if messages.len() > TOLD {
        lines.push(Line::new("ssh.more", "", words::count((messages.len() - TOLD) as u64, "more message")));
    }
    Chapter { start_ns: start.0, end_ns: end.max(start).0, lines, ..head }
}

fn channel_chapter(step: &Step<'_, '_>, channel: &SshChannel, server: &str) -> Chapter {
    let start = channel.asked.at;
    let after = |at: Time| words::after(start, at);
    let mut lines = Vec::new();
    if let Some(mark) = channel.opened {
        lines.push(Line::new("ssh.channel.open", "open", "").at(mark.at).margin(after(mark.at)));
    }
    if !channel.refused.is_empty() || (channel.opened.is_none() && channel.closed.is_some()) {
        let text = format!("{server} does not open it: {}", channel.refused);
        lines.push(Line::new("ssh.channel.refused", "refused", text));
    }
    if !channel.command.is_empty() {
        let text = format!("{server} runs `{}`", channel.command);
        lines.push(Line::new("ssh.channel.exec", "command", text).with("command", &channel.command));
    }
    let [up, down] = channel.bytes;
    let text = format!("{} → · {} ←", words::bytes(up), words::bytes(down));
    lines.push(Line::new("ssh.channel.data", "data", text).with("up", up).with("down", down));
    lines.extend(channel.exit.map(|status| {
        Line::new("ssh.channel.exit", "ends", format!("exit status {status}")).with("status", status)
    }));
    let to = if channel.to.is_empty() { String::new() } else { format!(" to {}", channel.to) };
    let end = channel.closed.map_or(step.last, |m| m.at);
    Chapter {
        start_ns: start.0,
        end_ns: end.0,
        explain: CHANNEL.into(),
        lines,
        ..chapter("ssh-channel", "channel", format!("{}{to} at {server}", channel.kind))
    }
}

/// What the machine in the middle does, and what it can read of it.
fn relay_chapter(
    step: &Step<'_, '_>,
    relay: &Relayed<'_>,
    channel: &SshChannel,
    names: &[String; 2],
) -> Chapter {
    let view = step.view;
    let [client, middle] = names;
    let own = view.conns[relay.conn];
    let tcp = view.tcp(own.client);
    let far = own.server.map_or_else(|| channel.to.clone(), |e| view.name(e.node));
    let [up, down] = channel.bytes;
    let mut lines = vec![
        Line::new("relay.connection", "from → to", format!("{} → {}", tcp.client, tcp.server))
            .at(relay.event.at)
            .with("connection", relay.conn + 1)
            .with("channel", relay.channel),
        Line::new("relay.bytes", "carries", format!("{} → · {} ←", words::bytes(up), words::bytes(down)))
            .with("up", up)
            .with("down", down),
    ];
    if let Some(seen) = own_eyes(view, own.client).and_then(|tcp| tcp.ssh.as_ref()) {
        let clear: Vec<&str> = seen.messages.iter().filter(|m| !m.sealed).map(|m| m.name.as_str()).collect();
        let clear = distinct(&clear);
        lines.push(Line::new(
            "relay.reads",
            "can read",
            format!("{}: what is said before there are keys", clear.join(", ")),
        ));
        let [up, down] = seen.sealed;
        let sealed = format!("{} → · {} ←", words::bytes(up), words::bytes(down));
        let holders = holders(view, &seen.cookie);
        let knows = holders.contains(&own.client.node);
        let holders: Vec<String> = holders.into_iter().map(|n| view.name(n)).collect();
        let holders = match holders.as_slice() {
            [] => format!("{client} and {far} keep it to themselves"),
            some => format!("{} have it", words::list(some)),
        };
        let line = if seen.readable || knows {
            Line::new("relay.opens", "READS", format!("{sealed}: {middle} has the secret of this connection"))
        } else {
            let text = format!(
                "{sealed} behind NEWKEYS: sealed with a secret that {middle} does not have ({holders})"
            );
            Line::new("relay.sealed", "cannot read", text)
        };
        lines.push(line.with("up", up).with("down", down).with("cookie", &seen.cookie));
    }
    let end = channel.closed.map_or(step.last, |m| m.at);
    Chapter {
        start_ns: relay.event.at.0,
        end_ns: end.0.max(relay.event.at.0),
        explain: RELAY.into(),
        lines,
        ..chapter("relay", "relay", format!("{middle} between {client} and {far}"))
    }
}

/// What a machine itself can read of its own connection: its captures, with no secrets but those that its own programs had.
fn own_eyes<'v>(view: &'v View<'_>, end: End) -> Option<&'v TcpConversation> {
    view.own_eyes.get(&end.node)?.tcp.get(end.index)
}

/// The machines whose programs had the secret with this cookie.
fn holders(view: &View<'_>, cookie: &str) -> Vec<NodeId> {
    let its = view.trace.secrets.iter().filter(|s| s.line.starts_with(cookie) && !cookie.is_empty());
    let mut all: Vec<NodeId> = its.map(|s| s.node).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn distinct<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let mut all: Vec<&str> = Vec::new();
    names.iter().for_each(|name| {
        if !all.contains(name) {
            all.push(name);
        }
    });
    all
}
