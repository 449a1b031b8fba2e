//! Networks that other tools describe, as scenarios: reads the file, and checks that what comes out can be run.
//!
//! What the file means is known to `rt-scenario`; here are only the file, its name, and the words about it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rt_scenario::import::terraform::{self, Import, Note, What};
use serde_json::{Value, json};

use crate::{Refusal, Scenario};

/// A longer file is not read.
const LONGEST: u64 = 64 << 20;

/// A network that became a scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct Imported {
    /// The scenario file.
    pub scenario: String,
    /// How much was carried over, and what was not, for people.
    pub talk: Vec<String>,
    /// The same for programs, with the scenario in it.
    pub json: Value,
    /// Whether the scenario can be run; what is wrong with it stands in `talk` when not.
    pub runs: bool,
}

/// Makes a scenario of what `terraform show -json` printed: a plan or a state. `-` reads standard input.
///
/// # Errors
/// [`Refusal::Io`] when it cannot be read, [`Refusal::Malformed`] when it is neither, or has no VPC.
pub fn import_terraform(path: &Path) -> Result<Imported, Refusal> {
    let bytes = read(path)?;
    let shown = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let name = name_of(path);
    let import = terraform::import(&bytes, &name, &shown)
        .map_err(|refusal| Refusal::Malformed { file: shown.clone(), why: refusal.to_string() })?;
    let checked = Scenario::of_text(&format!("{name}.yaml"), &import.scenario);
    let mut talk = words(&import);
    let mut problems = json!([]);
    if let Err(refusal) = &checked {
        talk.push(format!("the scenario has mistakes:\n{refusal}"));
        problems = refusal.to_json();
    }
    let json = json!({
        "ok": checked.is_ok(),
        "name": name,
        "carried": import.carried,
        "notes": import.notes,
        "problems": problems,
        "scenario": import.scenario,
    });
    Ok(Imported { scenario: import.scenario, talk, json, runs: checked.is_ok() })
}

fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let io = |error| Refusal::io("read", path, error);
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(io)?)
    };
    // One byte more than is taken, so that a longer file is seen to be longer.
    source.take(LONGEST + 1).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// `shop/plan.json` is about the shop.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = stem.trim_end_matches(".plan").trim_end_matches(".state").to_owned();
    let says_nothing = matches!(stem.as_str(), "plan" | "tfplan" | "state" | "show" | "terraform" | "-" | "");
    let folder = path.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    match folder {
        Some(folder) if says_nothing => folder,
        _ if says_nothing => "terraform".to_owned(),
        _ => stem,
    }
}

fn words(import: &Import) -> Vec<String> {
    let of = |what: What| import.notes.iter().filter(move |n| n.what == what);
    let carried = rt_base::count(import.carried.len() as u64, "resource");
    let mut talk = vec![format!("carried over: {carried}")];
    for (what, title) in [(What::LeftOut, "not carried over"), (What::Assumed, "assumed")] {
        let mine: Vec<&Note> = of(what).collect();
        if mine.is_empty() {
            continue;
        }
        talk.push(format!("{title}:"));
        let width = mine.iter().map(|n| n.address.chars().count()).max().unwrap_or(0).min(60);
        talk.extend(mine.iter().map(|n| format!("  {:width$}  {}", n.address, n.why)));
    }
    let beside: Vec<&str> = of(What::Beside).map(|n| n.address.as_str()).collect();
    if !beside.is_empty() {
        talk.push(format!("sends no packets: {}", beside.join(", ")));
    }
    talk
}
