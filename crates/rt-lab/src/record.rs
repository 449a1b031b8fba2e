//! Those who listen to a run beside the trace: capture files and the event store's file, written as things happen so that
//! an interrupted run leaves files that open.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use rt_base::{AppRecord, Event, EventId, Frame, Inside, NodeId, PortId, Recorder, Time, Way, What};
use rt_files::events::EventWriter;
use rt_files::pcapng::{Capture, Interface, Packet};
use rt_scenario::Model;
use rt_scenario::model::NodeKind;

use crate::APPLICATION;

/// Passes everything on to several recorders.
pub(crate) struct Fan {
    all: Vec<Box<dyn Recorder>>,
}

impl Fan {
    pub(crate) fn new(all: Vec<Box<dyn Recorder>>) -> Fan {
        Fan { all }
    }
}

impl Recorder for Fan {
    fn event(&mut self, event: &Event) {
        for recorder in &mut self.all {
            recorder.event(event);
        }
    }

    fn frame(&mut self, at: Time, node: NodeId, port: PortId, way: Way, frame: &Frame, event: EventId) {
        for recorder in &mut self.all {
            recorder.frame(at, node, port, way, frame, event);
        }
    }

    fn inside(&mut self, seen: &Inside) {
        for recorder in &mut self.all {
            recorder.inside(seen);
        }
    }
}

/// The interfaces of a model in the order of `world.pcapng`: nodes in order, ports in order.
pub(crate) fn interfaces(model: &Model) -> Vec<((NodeId, PortId), Interface)> {
    let mut found = Vec::new();
    for (n, node) in (0..).zip(&model.nodes) {
        for (p, interface) in (0..).zip(&node.interfaces) {
            // What goes through a virtual interface is seen on the cable below.
            if !interface.kind.is_physical() {
                continue;
            }
            let end = (NodeId(n), PortId(p));
            let link = model.links.iter().find(|l| l.a == end || l.b == end);
            let peer =
                link.map(|l| if l.a == end { l.b.0 } else { l.a.0 }).map(|id| &model.nodes[id.index()].name);
            let description =
                peer.map_or_else(|| node.role.clone(), |peer| format!("{}, towards {peer}", node.role));
            let speed_bps = link.map_or(0, |l| if l.a == end { l.ab.rate_bps } else { l.ba.rate_bps });
            let name = format!("{}:{}", node.name, interface.name);
            found.push((end, Interface { name, description, mac: interface.mac, speed_bps }));
        }
    }
    found
}

/// `captures/NODE-IFACE.pcapng` of an interface. Switch ports would show every frame twice more and have no file of their
/// own; they are in `world.pcapng`.
pub(crate) fn file_name(interface: &Interface) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    format!("{}.pcapng", interface.name.chars().map(safe).collect::<String>())
}

type Out = BufWriter<File>;

/// Capture files and `events.bin` under one folder.
pub(crate) struct Files {
    world: Option<Capture<Out>>,
    own: BTreeMap<(NodeId, PortId), Capture<Out>>,
    numbers: BTreeMap<(NodeId, PortId), u32>,
    events: Option<EventWriter<Out>>,
    now: Time,
    failed: Option<(PathBuf, io::Error)>,
}

/// The folder of the captures inside a run's folder.
pub(crate) const CAPTURES: &str = "captures";

impl Files {
    /// Opens everything under `folder`, which exists.
    pub(crate) fn open(folder: &Path, model: &Model) -> io::Result<Files> {
        let captures = folder.join(CAPTURES);
        std::fs::create_dir_all(&captures)?;
        let all = interfaces(model);
        let list: Vec<Interface> = all.iter().map(|(_, i)| i.clone()).collect();
        let open =
            |path: PathBuf, list: &[Interface]| Capture::new(create(&path)?, APPLICATION, model.epoch, list);
        let world = open(captures.join("world.pcapng"), &list)?;
        let mut own = BTreeMap::new();
        for (end, interface) in &all {
            if model.nodes[end.0.index()].kind != NodeKind::Switch {
                let path = captures.join(file_name(interface));
                own.insert(*end, open(path, std::slice::from_ref(interface))?);
            }
        }
        let numbers = (0..).zip(&all).map(|(n, (end, _))| (*end, n)).collect();
        let events = EventWriter::new(create(&folder.join("events.bin"))?)?;
        Ok(Files { world: Some(world), own, numbers, events: Some(events), now: Time::ZERO, failed: None })
    }

    fn keep(&mut self, what: &str, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert((PathBuf::from(what), error));
        }
    }

    /// Writes what waits and closes everything; the first error of the whole run comes out here.
    pub(crate) fn finish(&mut self) -> Result<(), (PathBuf, io::Error)> {
        let world = self.world.take().map_or(Ok(()), |w| w.finish().map(drop));
        self.keep("world.pcapng", world);
        for (_, capture) in std::mem::take(&mut self.own) {
            let result = capture.finish().map(drop);
            self.keep(CAPTURES, result);
        }
        let events = self.events.take().map_or(Ok(()), |e| e.finish().map(drop));
        self.keep("events.bin", events);
        self.failed.take().map_or(Ok(()), Err)
    }
}

fn create(path: &Path) -> io::Result<Out> {
    Ok(BufWriter::with_capacity(1 << 16, File::create(path)?))
}

impl Recorder for Files {
    fn event(&mut self, event: &Event) {
        self.now = self.now.max(event.at);
        let result = self.events.as_mut().map_or(Ok(()), |e| e.push(event));
        self.keep("events.bin", result);
        let What::App(record) = &event.what else { return };
        let AppRecord::Secret { line } = &**record else { return };
        let mut results = Vec::new();
        for capture in self.world.iter_mut().chain(self.own.values_mut()) {
            results.push(capture.secret(line));
        }
        for result in results {
            self.keep(CAPTURES, result);
        }
    }

    fn frame(&mut self, at: Time, node: NodeId, port: PortId, way: Way, frame: &Frame, _event: EventId) {
        let end = (node, port);
        if way == Way::In {
            self.now = self.now.max(at);
        }
        let interface = self.numbers.get(&end).copied().unwrap_or(0);
        let packet = Packet { at, interface, way, bytes: &frame.bytes, comment: None };
        let now = self.now;
        let world = self.world.as_mut().map_or(Ok(()), |w| w.push(now, &packet));
        self.keep("world.pcapng", world);
        let alone = Packet { interface: 0, ..packet };
        let own = self.own.get_mut(&end).map_or(Ok(()), |c| c.push(now, &alone));
        self.keep(CAPTURES, own);
    }
}
