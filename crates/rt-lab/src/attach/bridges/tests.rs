//! Bridges without any socket: a script stands for the program and the server outside. It opens a published port of `b`, whose
//! service is itself carried outside, so every byte crosses the world once in each direction.

use std::path::{Path, PathBuf};

use rt_base::{BRIDGE_WINDOW, Nanos};
use rt_devices::Outward;
use rt_files::inputs::Input;

use super::*;
use crate::attach::pace::Outside;
use crate::attach::session::{Document, Session};
use crate::attach::{conclude, document, pace, replay};
use crate::output::Folder;
use crate::{Comments, ReplayOptions, Replayed, Run, Scenario};

const TEXT: &str = "
name: bridged
topology:
  nodes:
    a: { address: 10.0.0.1/24 }
    b: { address: 10.0.0.2/24, run: [sink] }
  links: [ { endpoints: [\"a:eth0\", \"b:eth0\"], delay: 2ms } ]
";

/// A server outside.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Server {
    Echoes,
    Refuses,
    /// Makes no room until it has seen this time.
    ReadsFrom(Time),
    Breaks,
}

struct Script {
    clock: Time,
    end: Time,
    server: Server,
    connections: u32,
    /// Bytes that each connection sends, and that were sent, by connection.
    total: u32,
    sent: Vec<u32>,
    credit: Vec<u32>,
    finished: Vec<bool>,
    /// What the server got before it read, and in all.
    most_unread: u32,
    unread: u32,
    served: u64,
    /// What came back.
    echoed: u64,
    ends: u32,
    resets: u32,
    to_come: Vec<(u16, u32, Carried)>,
    begun: bool,
}

impl Script {
    fn new(begin: Time, server: Server, connections: u32, total: u32) -> Script {
        let many = connections as usize;
        Script {
            clock: begin,
            end: begin + Nanos::from_secs(20),
            server,
            connections,
            total,
            sent: vec![0; many],
            credit: vec![BRIDGE_WINDOW; many],
            finished: vec![false; many],
            most_unread: 0,
            unread: 0,
            served: 0,
            echoed: 0,
            ends: 0,
            resets: 0,
            to_come: Vec::new(),
            begun: false,
        }
    }

    fn serve(&mut self, connection: u32, carried: Carried) {
        match (self.server, carried) {
            (Server::Refuses, Carried::Open) => self.to_come.push((1, connection, Carried::Reset)),
            (_, Carried::Open) => self.to_come.push((1, connection, Carried::Open)),
            (Server::Breaks, Carried::Bytes(_)) => self.to_come.push((1, connection, Carried::Reset)),
            (Server::ReadsFrom(at), Carried::Bytes(bytes)) if self.clock < at => {
                self.unread += bytes.len() as u32;
                self.most_unread = self.most_unread.max(self.unread);
                self.served += bytes.len() as u64;
            }
            (_, Carried::Bytes(bytes)) => {
                self.served += bytes.len() as u64;
                let room = bytes.len() as u32 + std::mem::take(&mut self.unread);
                self.to_come.push((1, connection, Carried::Room(room)));
                if self.server == Server::Echoes {
                    self.to_come.push((1, connection, Carried::Bytes(bytes)));
                }
            }
            (_, Carried::Finished) => self.to_come.push((1, connection, Carried::Finished)),
            _ => {}
        }
    }
}

impl Outside for Script {
    fn now(&mut self) -> Result<Option<Time>, Refusal> {
        self.clock += Nanos::from_micros(700);
        Ok(Some(self.clock))
    }

    fn take(&mut self, into: &mut Vec<Input>) -> Result<(), Refusal> {
        if let Server::ReadsFrom(at) = self.server
            && self.clock >= at
            && self.unread > 0
        {
            let room = std::mem::take(&mut self.unread);
            self.to_come.push((1, 0, Carried::Room(room)));
        }
        for connection in 0..self.connections {
            let index = connection as usize;
            let mut push = |carried| self.to_come.push((0, connection, carried));
            if !self.begun {
                push(Carried::Open);
            }
            let len = self.credit[index].min(self.total - self.sent[index]).min(60_000);
            if len > 0 {
                push(Carried::Bytes(vec![connection as u8; len as usize]));
                self.credit[index] -= len;
                self.sent[index] += len;
            } else if self.sent[index] == self.total && !std::mem::replace(&mut self.finished[index], true) {
                push(Carried::Finished);
            }
        }
        self.begun = true;
        let each = self.to_come.drain(..);
        into.extend(each.map(|(bridge, connection, carried)| Input::Bridge { bridge, connection, carried }));
        if self.ends + self.resets >= self.connections || self.clock > self.end {
            into.push(Input::Stop);
        }
        Ok(())
    }

    fn send(&mut self, _: NodeId, _: &Outward) -> Result<(), Refusal> {
        Ok(())
    }

    fn carry(&mut self, bridge: u16, connection: u32, carried: Carried) {
        match (bridge, carried) {
            (1, carried) => self.serve(connection, carried),
            (_, Carried::Bytes(bytes)) => {
                assert!(bytes.iter().all(|b| *b == connection as u8), "another connection's bytes");
                self.echoed += bytes.len() as u64;
                self.to_come.push((0, connection, Carried::Room(bytes.len() as u32)));
            }
            (_, Carried::Room(bytes)) => self.credit[connection as usize] += bytes,
            (_, Carried::Finished) => self.ends += 1,
            (_, Carried::Reset) => self.resets += 1,
            (_, Carried::Open) => panic!("nobody was asked"),
        }
    }

    fn wait(&mut self, _: Option<Time>) -> Result<(), Refusal> {
        Ok(())
    }
}

fn call(kind: BridgeKind, text: &str) -> BridgeCall {
    BridgeCall::parse(kind, text).unwrap()
}

/// Runs the script; everything is written to a folder, replayed from it, and must be the same.
fn run(name: &str, server: impl Fn(Time) -> Server, connections: u32, total: u32) -> (Script, Run) {
    let folders: Vec<PathBuf> = ["first", "again"]
        .iter()
        .map(|which| {
            std::env::temp_dir().join(format!("roundtrip-bridge-{}-{name}-{which}", std::process::id()))
        })
        .collect();
    let scenario = Scenario::of_text("bridged.yaml", TEXT).unwrap();
    let document = document(scenario.model(), 1, &[]).unwrap();
    let folder = Folder::open(&folders[0], &document.model).unwrap();
    let mut session = Session::new(&document, vec![folder.recorder()]);
    let calls = [call(BridgeKind::Publish, "8080:b:80"), call(BridgeKind::Serve, "9000:b:80")];
    let bridges = calls.iter().map(|c| plan(session.world(), &[], c).unwrap()).collect();
    let document = Document { anchor: session.at() + Nanos::from_millis(5), bridges, ..document };
    let mut script = Script::new(document.anchor, server(document.anchor), connections, total);
    pace(&document, &mut session, &mut script, Some(&folders[0])).unwrap();
    let run = conclude(session.finish(), folder, &folders[0], (Comments::Key, None)).unwrap();
    let again = again(&folders[0], &folders[1]);
    assert_eq!((again.same, again.differ), (Some(true), Vec::new()));
    folders.iter().for_each(|folder| drop(std::fs::remove_dir_all(folder)));
    (script, run)
}

fn again(folder: &Path, out: &Path) -> Replayed {
    let options = ReplayOptions { out: out.to_path_buf(), scenario: None, comments: Comments::Key };
    replay(folder, &options).unwrap()
}

#[test]
fn bytes_cross_the_world_both_ways_and_the_run_replays() {
    let (script, run) = run("echo", |_| Server::Echoes, 1, 1_000_000);
    assert_eq!((script.served, script.echoed), (1_000_000, 1_000_000));
    assert_eq!((script.ends, script.resets), (1, 0), "a half close went round");
    assert!(run.trace().said().any(|(_, record)| matches!(record,
        rt_base::AppRecord::Note { text, .. } if text.contains("a program outside talks to 10.0.0.2:80"))));
    assert!(run.story_text().contains("a program outside opens 10.0.0.2:80 through 127.0.0.1:8080"));
}

#[test]
fn fifty_connections_at_once() {
    let (script, _) = run("fifty", |_| Server::Echoes, 50, 20_000);
    assert_eq!((script.served, script.echoed, script.ends), (1_000_000, 1_000_000, 50));
}

#[test]
fn a_server_that_is_not_there_refuses_and_one_that_breaks_resets() {
    let (script, _) = run("refuse", |_| Server::Refuses, 2, 1_000);
    assert_eq!((script.served, script.ends, script.resets), (0, 0, 2));
    let (script, _) = run("break", |_| Server::Breaks, 1, 100_000);
    assert_eq!((script.ends, script.resets), (0, 1));
}

#[test]
fn a_server_that_does_not_read_stops_the_program_and_nothing_grows() {
    let (script, _) = run("stop", |begin| Server::ReadsFrom(begin + Nanos::from_secs(5)), 1, 20_000_000);
    assert_eq!(script.most_unread, BRIDGE_WINDOW, "the window was filled and no more");
    assert_eq!((script.served, script.ends), (20_000_000, 1), "it went on when there was room");
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    for (text, why) in
        [("web:443", "PORT:MACHINE:PORT"), ("0:web:443", "`0` is no port"), ("1:web:70000", "`70000`")]
    {
        let refused = BridgeCall::parse(BridgeKind::Publish, text).unwrap_err();
        assert!(refused.contains(why), "{text}: {refused}");
    }
    assert!(BridgeCall::parse(BridgeKind::Serve, "80:b:80:a").is_err());
    let scenario = Scenario::of_text("bridged.yaml", TEXT).unwrap();
    let mut document = document(scenario.model(), 1, &[]).unwrap();
    let mut session = Session::new(&document, Vec::new());
    let mut refused = |given: &[NodeId], text| {
        plan(session.world(), given, &call(BridgeKind::Publish, text)).unwrap_err().to_string()
    };
    assert!(refused(&[], "1:nobody:80").contains("nobody"));
    assert!(refused(&[NodeId(0)], "1:b:80:a").contains("is played by a real program"));
    // A port that is taken inside.
    document.bridges = vec![plan(session.world(), &[], &call(BridgeKind::Serve, "9:b:5001")).unwrap()];
    assert!(session.join_clocks(&document).unwrap_err().to_string().contains("port 5001 of b"));
}
