//! `follow`: the story of one request, or one packet of it hop by hop and layer by layer, or what one machine saw.
//!
//! A run's folder holds the lowered model and the seed. A run is a pure function of these, so following makes it again in
//! memory and compares its event store with the digest in `run.json`: a folder from another version is refused, not
//! misread. What real programs did in it comes from the recorded inputs.

use std::path::Path;

use rt_files::events::EventWriter;
use rt_scenario::Model;
use rt_trace::follow::{self, Unknown};
use rt_trace::plot::Flows;
use rt_trace::story::{self, Story};
use rt_trace::{Trace, render};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::attach::{INPUTS_FILE, trace_of_inputs};
use crate::output::{MODEL_FILE, RUN_FILE, hex};
use crate::source::{Named, read_json};
use crate::{Refusal, Time, World};

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FollowQuery {
    /// A request's number, or its URL.
    pub request: Option<String>,
    /// A packet of the request, from 1.
    pub packet: Option<usize>,
    /// Only what this machine saw.
    pub at: Option<String>,
    /// A connection by itself, named as for [`crate::plot()`].
    pub connection: Option<String>,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Followed {
    /// For people.
    pub text: String,
    /// The same as JSON.
    pub json: String,
    /// Remarks for stderr.
    pub talk: Vec<String>,
}

/// Answers from a run's folder, or from the last run of a scenario, or from a run made now.
///
/// # Errors
/// [`Refusal::Unknown`] for a request, packet or machine that the run does not have.
pub fn follow(source: &str, query: &FollowQuery) -> Result<Followed, Refusal> {
    let mut talk = Vec::new();
    let trace = find_trace(source, &mut talk)?;
    if let Some(wanted) = &query.connection {
        let flows = Flows::of(&trace);
        let report = flows.report(&crate::plot::one(&flows, wanted)?);
        let json = serde_json::to_string_pretty(&report).unwrap_or_else(|e| e.to_string()) + "\n";
        return Ok(Followed { text: render::connection(&report), json, talk });
    }
    let told = story::tell(&trace);
    if query == &FollowQuery::default() {
        let json = crate::output::story_json(&told);
        return Ok(Followed { text: render::text(&told), json, talk });
    }
    let (text, json) = ask(&trace, &told, query)?;
    Ok(Followed { text, json, talk })
}

/// The answer to a question about one request, for people and as JSON.
fn ask(trace: &Trace, told: &Story, query: &FollowQuery) -> Result<(String, String), Refusal> {
    let unknown = |why: Unknown| Refusal::Misuse { why: why.to_string() };
    // Without a request, a packet or a machine is asked about for the first thing a person did.
    let first = told.steps.iter().flat_map(|s| &s.requests).find(|r| r.parent.is_none());
    let request = match (&query.request, first) {
        (Some(wanted), _) => follow::find(told, wanted).map_err(unknown)?,
        (None, Some(first)) => first,
        (None, None) => return Err(Refusal::Misuse { why: "the run has no request".into() }),
    };
    let json = |value: serde_json::Result<String>| value.unwrap_or_else(|e| e.to_string()) + "\n";
    match (query.packet, &query.at) {
        (Some(packet), _) => {
            let packet = u32::try_from(packet).unwrap_or(u32::MAX);
            let mut path = follow::packet(trace, request.number, packet).map_err(unknown)?;
            if let Some(node) = &query.at {
                let node = trace.map.node_name(node_of(trace, node)?);
                path.hops.retain(|hop| hop.node == node);
                if path.hops.is_empty() {
                    let why = format!("packet {packet} of request {} does not pass {node}", request.number);
                    return Err(Refusal::Misuse { why });
                }
            }
            Ok((follow::packet_text(&path), json(serde_json::to_string_pretty(&path))))
        }
        (None, Some(node)) => {
            let node = trace.map.node_name(node_of(trace, node)?);
            let seen = follow::at(trace, request.number, &node).map_err(unknown)?;
            Ok((follow::at_text(&seen), json(serde_json::to_string_pretty(&seen))))
        }
        (None, None) => {
            Ok((follow::request_text(told, request), json(serde_json::to_string_pretty(request))))
        }
    }
}

fn node_of(trace: &Trace, name: &str) -> Result<rt_base::NodeId, Refusal> {
    trace.map.node_named(name).ok_or_else(|| {
        let known: Vec<&str> = trace.map.nodes.iter().map(|n| n.name.as_str()).collect();
        Refusal::unknown("machine", name, &known)
    })
}

/// The trace of a folder, of the last run of a scenario, or of a run made now.
pub(crate) fn find_trace(source: &str, talk: &mut Vec<String>) -> Result<Trace, Refusal> {
    match Named::find(source, talk)? {
        Named::Folder(folder) => trace_of_folder(&folder),
        Named::Scenario(scenario) => Ok(trace_of(scenario.model(), 1, None)),
    }
}

fn trace_of(model: &Model, seed: u64, until: Option<Time>) -> Trace {
    let mut world = World::of_model(model, seed);
    world.stop_at(until);
    world.run_all_steps();
    world.into_trace()
}

pub(crate) fn trace_of_folder(folder: &Path) -> Result<Trace, Refusal> {
    let run_file = folder.join(RUN_FILE);
    if !run_file.exists() && folder.join(INPUTS_FILE).exists() {
        let shown = folder.display();
        let why = format!(
            "the run in {shown} is not over, was interrupted, or kept only its inputs: `roundtrip replay {shown}` tells it as far as it got"
        );
        return Err(Refusal::Misuse { why });
    }
    let run: Value = read_json(&run_file)?;
    let malformed =
        |why: &str| Refusal::Malformed { file: run_file.display().to_string(), why: why.to_owned() };
    let seed = run["seed"].as_u64().ok_or_else(|| malformed("it has no seed"))?;
    let model: Model = read_json(&folder.join(MODEL_FILE))?;
    let until = run["until_ns"].as_u64().map(Time);
    let attached = trace_of_inputs(folder).transpose()?;
    let is_attached = attached.is_some();
    let mut trace = attached.unwrap_or_else(|| trace_of(&model, seed, until));
    if trace.events_lost == 0 && run["digests"]["events.bin"] != json!(events_digest(&trace)?) {
        let program = run["program"].as_str().unwrap_or("another version");
        let why = if program == crate::APPLICATION {
            "what it describes is not what a run of it does: a file of the folder is damaged or not of this run; run it again".into()
        } else {
            format!("it was written by {program}, whose runs differ from this one's: run it again")
        };
        return Err(malformed(&why));
    }
    if is_attached {
        rt_trace::outside::read(&mut trace);
    }
    Ok(trace)
}

/// The digest that `events.bin` of this trace has.
fn events_digest(trace: &Trace) -> Result<String, Refusal> {
    let encode = || -> std::io::Result<Vec<u8>> {
        let mut writer = EventWriter::new(Vec::new())?;
        for event in trace.recorded() {
            writer.push(&event)?;
        }
        writer.finish()
    };
    let bytes = encode().map_err(|e| Refusal::io("encode", Path::new("events.bin"), e))?;
    Ok(hex(&Sha256::digest(&bytes)))
}
