//! What a user named: a run's folder, or a scenario; and the world of it, made again up to a moment.
//!
//! A run is a pure function of model and seed (and of the recorded inputs, where real programs took part), so every moment
//! of it can be had again. Main type: [`Source`].

use std::fs;
use std::path::{Path, PathBuf};

use rt_scenario::Model;
use serde_json::Value;

use crate::attach::{INPUTS_FILE, world_of_inputs};
use crate::output::{MODEL_FILE, RUN_FILE};
use crate::{Refusal, Scenario, Time, World, default_out};

/// Where a world comes from.
pub(crate) enum Source {
    /// Simulated: the model, the seed, and where the run was stopped.
    Simulated {
        /// The model.
        model: Box<Model>,
        /// Chose all random things.
        seed: u64,
        /// The run was stopped here.
        until: Option<Time>,
    },
    /// With real programs: the folder with their inputs.
    Attached {
        /// The folder.
        folder: PathBuf,
        /// The model.
        model: Box<Model>,
    },
}

/// What a name stands for.
pub(crate) enum Named {
    /// A run's folder.
    Folder(PathBuf),
    /// A scenario that was not run yet.
    Scenario(Box<Scenario>),
}

impl Named {
    /// A run's folder; else the last run of a scenario, of which `talk` is told; else the scenario itself. The name of a
    /// scenario of one's own stands for its last run as well, wherever its file is.
    pub(crate) fn find(source: &str, talk: &mut Vec<String>) -> Result<Named, Refusal> {
        let path = Path::new(source);
        if path.is_dir() {
            return Ok(Named::Folder(path.to_path_buf()));
        }
        let scenario = Scenario::load(source);
        let last = match &scenario {
            Ok(scenario) => default_out(scenario.name()),
            Err(_) if path.components().count() == 1 => default_out(source),
            Err(_) => path.to_path_buf(),
        };
        if last.join(RUN_FILE).exists() {
            talk.push(format!("from the last run, in {}", last.display()));
            return Ok(Named::Folder(last));
        }
        Ok(Named::Scenario(Box::new(scenario?)))
    }
}

impl Source {
    /// A run's folder; else the last run of a scenario, of which `talk` is told; else the scenario itself.
    pub(crate) fn last_run(source: &str, talk: &mut Vec<String>) -> Result<Source, Refusal> {
        match Named::find(source, talk)? {
            Named::Folder(folder) => Source::of_folder(&folder),
            Named::Scenario(scenario) => Ok(Source::of_scenario(&scenario, 1)),
        }
    }

    /// A run's folder, or a scenario as it is written now.
    pub(crate) fn written(source: &str, seed: u64) -> Result<Source, Refusal> {
        let path = Path::new(source);
        if path.is_dir() {
            Source::of_folder(path)
        } else {
            Ok(Source::of_scenario(&Scenario::load(source)?, seed))
        }
    }

    fn of_scenario(scenario: &Scenario, seed: u64) -> Source {
        Source::Simulated { model: Box::new(scenario.model().clone()), seed, until: None }
    }

    fn of_folder(folder: &Path) -> Result<Source, Refusal> {
        let model: Model = read_json(&folder.join(MODEL_FILE))?;
        let model = Box::new(model);
        if folder.join(INPUTS_FILE).exists() {
            return Ok(Source::Attached { folder: folder.to_path_buf(), model });
        }
        let run_file = folder.join(RUN_FILE);
        let run: Value = read_json(&run_file)?;
        let malformed = |why: String| Refusal::Malformed { file: run_file.display().to_string(), why };
        let program = run["program"].as_str().unwrap_or("another version");
        if program != crate::APPLICATION {
            return Err(malformed(format!(
                "it was written by {program}, whose runs differ from this one's: run it again"
            )));
        }
        let seed = run["seed"].as_u64().ok_or_else(|| malformed("it has no seed".to_owned()))?;
        Ok(Source::Simulated { model, seed, until: run["until_ns"].as_u64().map(Time) })
    }

    /// The model.
    pub(crate) fn model(&self) -> &Model {
        match self {
            Source::Simulated { model, .. } | Source::Attached { model, .. } => model,
        }
    }

    /// The world as it is at `time` (or at the end of its run), and which moment that is; nothing of it is recorded. Where
    /// the run ends sooner, the world goes on without anybody doing anything more, unless the run was stopped: then it
    /// stays there.
    pub(crate) fn world_at(&self, time: Option<Time>) -> Result<(World, Time), Refusal> {
        let (world, stop) = match self {
            Source::Simulated { model, seed, until } => {
                let stop = match (time, until) {
                    (Some(time), Some(until)) => Some(time.min(*until)),
                    (time, until) => time.or(*until),
                };
                let mut world = World::unrecorded(model, *seed);
                world.run_to(stop);
                (world, stop)
            }
            Source::Attached { folder, .. } => (world_of_inputs(folder, time)?, time),
        };
        // A world in which nothing will ever happen again stands still, its clock too.
        let now = world.now().max(stop.unwrap_or(Time::ZERO));
        Ok((world, now))
    }
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Refusal> {
    let bytes = fs::read(path).map_err(|e| Refusal::io("read", path, e))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Refusal::Malformed { file: path.display().to_string(), why: e.to_string() })
}
