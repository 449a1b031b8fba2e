//! A run with real programs made again from its inputs: the same world, the same stamps, nobody outside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use rt_base::{NodeId, PortId, Recorder, Time};
use rt_files::inputs::{InputReader, Lateness};
use rt_scenario::Model;
use rt_scenario::model::NodeKind;
use rt_trace::Trace;
use serde_json::Value;

use super::pace::{Pacer, Recorded};
use super::session::{Document, Session};
use super::{INPUTS_FILE, conclude, describe, keep_inputs};
use crate::output::{Folder, RUN_FILE};
use crate::{Comments, Refusal, Run, Scenario, World};

/// How to make a run again.
pub struct ReplayOptions {
    /// Where to write.
    pub out: PathBuf,
    /// Another world for the same inputs: what if?
    pub scenario: Option<Scenario>,
    /// Which packets get a comment in the captures.
    pub comments: Comments,
}

/// A run made again.
pub struct Replayed {
    /// The run.
    pub run: Run,
    /// Whether all captures, events and the story have the same bytes as in the first run; `None` when there is nothing
    /// to compare with (another world, or a run that was interrupted).
    pub same: Option<bool>,
    /// Files that differ.
    pub differ: Vec<String>,
    /// Remarks.
    pub talk: Vec<String>,
}

/// Makes the run in `folder` again from its inputs.
///
/// # Errors
/// [`Refusal::Malformed`] when the recording is damaged or of another version, [`Refusal::Misuse`] when another world has no
/// such machine, [`Refusal::Io`] when a file cannot be read or written.
pub fn replay(folder: &Path, options: &ReplayOptions) -> Result<Replayed, Refusal> {
    let (mut document, mut recorded) = open(folder)?;
    let mut talk = Vec::new();
    if let Some(other) = &options.scenario {
        let (other, names) = another_world(document, other.model())?;
        document = other;
        recorded.rename(names);
        talk.push(
            "another world with the same inputs: what the programs sent does not change, so where the world answers \
             otherwise than it did, the two no longer fit together"
                .to_owned(),
        );
    }
    if is_same_folder(folder, &options.out) {
        let why =
            "a replay into the folder that it reads would overwrite it; choose another with --out".into();
        return Err(Refusal::Misuse { why });
    }
    let out = Folder::open(&options.out, &document.model)?;
    let mut log = keep_inputs(&options.out, &document)?;
    let (session, recorded) = make_again(&document, recorded, vec![out.recorder()], Some(&mut log))?;
    log.finish().map_err(|e| Refusal::io("write", &options.out.join(INPUTS_FILE), e))?;
    if recorded.truncated() {
        talk.push("the recording ends in the middle of something: made again up to there".into());
    }
    let late =
        session.programs().iter().rev().find_map(|p| p.end).map_or(Lateness::default(), |(.., late)| late);
    let attached = Some(describe(session.programs(), late, &document.model));
    let run = conclude(session.finish(), out, &options.out, (options.comments, attached))?;
    let first = digests(folder).filter(|_| options.scenario.is_none());
    let differ = first.map(|first| differing(&first, &digests(&options.out).unwrap_or_default()));
    let same = differ.as_ref().map(Vec::is_empty);
    Ok(Replayed { run, same, differ: differ.unwrap_or_default(), talk })
}

/// The trace of a run with real programs, in memory; `None` when `folder` holds none.
pub(crate) fn trace_of_inputs(folder: &Path) -> Option<Result<Trace, Refusal>> {
    folder.join(INPUTS_FILE).is_file().then(|| {
        let (document, recorded) = open(folder)?;
        let (session, _) = make_again(&document, recorded, Vec::new(), None)?;
        Ok(session.finish().trace)
    })
}

/// The world of a run with real programs as it was at `time`, or at its end; nothing of it is recorded.
pub(crate) fn world_of_inputs(folder: &Path, time: Option<Time>) -> Result<World, Refusal> {
    let (document, mut recorded) = open(folder)?;
    recorded.stop_after(time.unwrap_or(Time::MAX));
    let (session, _) = play(Session::unrecorded(&document), &document, recorded, None)?;
    Ok(session.into_world(time))
}

type FromFile = Recorded<BufReader<File>>;

pub(super) fn open(folder: &Path) -> Result<(Document, FromFile), Refusal> {
    let path = folder.join(INPUTS_FILE);
    let malformed = |why: String| Refusal::Malformed { file: path.display().to_string(), why };
    let file = File::open(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            let why =
                format!("{} holds no run with real programs: there is no {INPUTS_FILE}", folder.display());
            Refusal::Misuse { why }
        }
        _ => Refusal::io("read", &path, e),
    })?;
    let reader =
        InputReader::new(BufReader::with_capacity(1 << 16, file)).map_err(|e| malformed(e.to_string()))?;
    let document: Document =
        serde_json::from_slice(reader.document()).map_err(|e| malformed(e.to_string()))?;
    check(&document).map_err(malformed)?;
    if document.program != crate::APPLICATION {
        let why = format!("recorded by {}, whose runs may differ from this one's", document.program);
        return Err(malformed(why));
    }
    Ok((document, Recorded::new(reader, path.display().to_string())?))
}

/// What building a world takes for granted and a damaged or forged file may break.
fn check(document: &Document) -> Result<(), String> {
    let model = &document.model;
    let is_end = |(node, port): (NodeId, PortId)| {
        model.nodes.get(node.index()).is_some_and(|n| port.index() < n.interfaces.len())
    };
    let mut ends: Vec<_> = model.links.iter().flat_map(|l| [l.a, l.b]).collect();
    let all = ends.len();
    ends.sort();
    ends.dedup();
    if ends.len() < all || !ends.iter().all(|end| is_end(*end)) {
        return Err("its links do not fit its machines".into());
    }
    let known = |node: NodeId| node.index() < model.nodes.len();
    let is_host = |node: &NodeId| model.nodes.get(node.index()).is_some_and(|n| n.kind == NodeKind::Host);
    let changes = model.timeline.iter().all(|h| {
        h.change.link().is_none_or(|link| link < model.links.len()) && h.change.node().is_none_or(known)
    });
    let doors = document.bridges.iter().all(|b| known(b.door));
    if !doors || !document.given.iter().all(is_host) || !model.steps.iter().all(|s| known(s.node)) || !changes
    {
        return Err("it names machines or links that it does not have".into());
    }
    Ok(())
}

fn make_again(
    document: &Document,
    recorded: FromFile,
    recorders: Vec<Box<dyn Recorder>>,
    log: Option<&mut super::Log>,
) -> Result<(Session, FromFile), Refusal> {
    let session = Session::new(document, recorders);
    play(session, document, recorded, log)
}

/// Plays a recording into a world that has just booted.
fn play(
    mut session: Session,
    document: &Document,
    mut recorded: FromFile,
    log: Option<&mut super::Log>,
) -> Result<(Session, FromFile), Refusal> {
    session.join_clocks(document)?;
    Pacer::new(document.given.clone(), log).run(&mut session, &mut recorded)?;
    Ok((session, recorded))
}

/// The same inputs in another world, and which machine of it is which of the first one's: they are found by their names. Civil
/// time stays.
fn another_world(document: Document, other: &Model) -> Result<(Document, BTreeMap<NodeId, NodeId>), Refusal> {
    let Document { program, seed, anchor, given, mut bridges, what_if: _, model: first } = document;
    let mut model = other.clone();
    let mut moved = Vec::new();
    for node in &given {
        moved.push(super::guest::playable(&model, &first.nodes[node.index()].name)?);
    }
    for bridge in &mut bridges {
        let name = &first.nodes[bridge.door.index()].name;
        bridge.door = super::guest::known(&model, name)?;
    }
    model.steps.retain(|step| !moved.contains(&step.node));
    model.expect.clear();
    super::set_civil_time(&mut model, first.epoch);
    model.about = format!(
        "What if? The programs' frames and exit codes are those recorded in {}; they do not answer to this world. {}",
        first.name, model.about
    );
    let names = given.into_iter().zip(moved.iter().copied()).collect();
    Ok((Document { program, seed, anchor, given: moved, bridges, what_if: true, model }, names))
}

fn is_same_folder(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

fn digests(folder: &Path) -> Option<serde_json::Map<String, Value>> {
    let text = std::fs::read(folder.join(RUN_FILE)).ok()?;
    let run: Value = serde_json::from_slice(&text).ok()?;
    run["digests"].as_object().cloned()
}

fn differing(first: &serde_json::Map<String, Value>, again: &serde_json::Map<String, Value>) -> Vec<String> {
    let names = first.keys().chain(again.keys().filter(|k| !first.contains_key(*k)));
    names.filter(|name| first.get(*name) != again.get(*name)).cloned().collect()
}
