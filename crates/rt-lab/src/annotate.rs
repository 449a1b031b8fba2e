//! Captures once more, with comments: when a run is over, the story knows what each packet was part of. The files written
//! during the run (which open even when it is interrupted) are replaced whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rt_base::{FrameId, NodeId, PortId, Time, Way};
use rt_files::pcapng::{Capture, Interface, Packet};
use rt_scenario::model::NodeKind;

use crate::output::Told;
use crate::record::{file_name, interfaces};
use crate::{APPLICATION, Comments, Refusal};

/// Rewrites every capture of `folder`.
pub(crate) fn captures(folder: &Path, told: &Told<'_>, comments: Comments) -> Result<(), Refusal> {
    let said = comments_of(told, comments);
    let all = interfaces(told.model);
    let list: Vec<Interface> = all.iter().map(|(_, i)| i.clone()).collect();
    let numbers: BTreeMap<(NodeId, PortId), u32> = (0..).zip(&all).map(|(n, (end, _))| (*end, n)).collect();
    let world = folder.join("world.pcapng");
    write(&world, told, &list, &said, |end| numbers.get(&end).copied())?;
    for (end, interface) in &all {
        if told.model.nodes[end.0.index()].kind == NodeKind::Switch {
            continue;
        }
        let path = folder.join(file_name(interface));
        let only = |seen: (NodeId, PortId)| (seen == *end).then_some(0);
        write(&path, told, std::slice::from_ref(interface), &said, only)?;
    }
    Ok(())
}

fn write(
    path: &Path,
    told: &Told<'_>,
    list: &[Interface],
    said: &BTreeMap<FrameId, String>,
    number: impl Fn((NodeId, PortId)) -> Option<u32>,
) -> Result<(), Refusal> {
    let part = path.with_extension("pcapng.part");
    let fill = || -> io::Result<()> {
        let out = BufWriter::with_capacity(1 << 16, File::create(&part)?);
        let mut capture = Capture::new(out, APPLICATION, told.model.epoch, list)?;
        // In front of all: a reader that goes through once (tshark) does not come back to a hello that was there before its
        // secret, as a real program's is. What both ends of a connection told stands there once.
        let mut known = BTreeSet::new();
        for secret in told.trace.secrets.iter().filter(|s| known.insert(&s.line)) {
            capture.secret(&secret.line)?;
        }
        let mut now = Time::ZERO;
        for frame in &told.trace.frames {
            let Some(interface) = number((frame.node, frame.port)) else { continue };
            if frame.way == Way::In {
                now = now.max(frame.at);
            }
            let comment = said.get(&frame.frame).map(String::as_str);
            let packet = Packet { at: frame.at, interface, way: frame.way, bytes: &frame.bytes, comment };
            capture.push(now, &packet)?;
        }
        capture.finish()?.flush()
    };
    fill().and_then(|()| std::fs::rename(&part, path)).map_err(|e| Refusal::io("write", path, e))
}

/// What each packet is part of, in a few words.
fn comments_of(told: &Told<'_>, comments: Comments) -> BTreeMap<FrameId, String> {
    let ids: BTreeMap<String, FrameId> =
        told.trace.frames.iter().map(|f| (format!("{:?}", f.frame), f.frame)).collect();
    let mut said = BTreeMap::new();
    for step in &told.story.steps {
        for request in &step.requests {
            for packet in &request.packets {
                let wanted = comments == Comments::All || !packet.carries.is_empty();
                let Some(id) = ids.get(&packet.frame).filter(|_| wanted) else { continue };
                let what =
                    if packet.carries.is_empty() { "acknowledges or continues" } else { &packet.carries };
                let text = format!(
                    "step {}, request {} {} {}: {what}",
                    step.number, request.number, request.method, request.target
                );
                said.entry(*id).or_insert(text);
            }
        }
    }
    said
}
