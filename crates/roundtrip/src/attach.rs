//! The commands that run real programs: `exec`, `up` and `replay`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rt_lab::{
    BridgeCall, BridgeKind, Comments, DeviceChoice, ExecOptions, ProgramCall, Record, Refusal, ReplayOptions,
    Scenario, UpOptions,
};

use crate::args::{BridgeArgs, Command, DeviceArg, RecordArg};
use crate::commands::Answer;

/// Runs programs; stdout and stderr are theirs, so there is little to say.
pub(crate) fn exec(command: &Command) -> Result<Answer, Refusal> {
    let Command::Exec { scenario, join, machine, world, record, verbose, quiet, command, bridges } = command
    else {
        return Ok(Answer::default());
    };
    if let Some(folder) = join {
        return join_world(folder, &calls(machine, command)?);
    }
    let scenario = Scenario::load(scenario.as_deref().unwrap_or_default())?;
    let out = world.folder(scenario.name());
    let options = ExecOptions {
        seed: world.seed,
        out: out.clone(),
        programs: calls(machine, command)?,
        allow_exec: world.allow_exec,
        bridges: bridges.calls()?,
        attach: world.attach(),
        comments: Comments::Key,
        record: record.meant(),
        ready: if *quiet { |_| {} } else { |lines| lines.iter().for_each(|line| eprintln!("{line}")) },
    };
    let done = scenario.exec(&options)?;
    let mut talk = scenario.warnings_text();
    if *verbose {
        talk.extend(done.notes);
        match record {
            RecordArg::All => talk.push(format!("the story: roundtrip follow {}", out.display())),
            RecordArg::Inputs => talk.push(format!("the story: roundtrip replay {}", out.display())),
            RecordArg::None => {}
        }
    }
    talk.extend(done.warnings);
    if *quiet {
        talk.clear();
    }
    let code = done.codes.iter().copied().find(|c| *c != 0).unwrap_or(0);
    Ok(Answer { data: String::new(), talk, exit: u8::try_from(code).unwrap_or(1) })
}

impl BridgeArgs {
    fn calls(&self) -> Result<Vec<BridgeCall>, Refusal> {
        let published = self.publish.iter().map(|text| (BridgeKind::Publish, "--publish", text));
        let served = self.serve.iter().map(|text| (BridgeKind::Serve, "--serve", text));
        let one = |(kind, flag, text): (_, _, &String)| {
            BridgeCall::parse(kind, text)
                .map_err(|why| Refusal::Misuse { why: format!("{flag} {text}: {why}") })
        };
        published.chain(served).map(one).collect()
    }
}

impl DeviceArg {
    pub(crate) fn meant(self) -> DeviceChoice {
        match self {
            DeviceArg::Auto => DeviceChoice::Auto,
            DeviceArg::Tap => DeviceChoice::Tap,
            DeviceArg::Veth => DeviceChoice::Veth,
        }
    }
}

impl RecordArg {
    fn meant(self) -> Record {
        match self {
            RecordArg::All => Record::All,
            RecordArg::Inputs => Record::Inputs,
            RecordArg::None => Record::Nothing,
        }
    }
}

fn join_world(folder: &Path, calls: &[ProgramCall]) -> Result<Answer, Refusal> {
    let [call] = calls else {
        let why = "one program joins at a time: run the others from terminals of their own".into();
        return Err(Refusal::Misuse { why });
    };
    let code = rt_lab::join(folder, call)?;
    Ok(Answer { exit: u8::try_from(code).unwrap_or(1), ..Answer::default() })
}

/// Keeps a world up until Ctrl-C.
pub(crate) fn up(command: &Command) -> Result<Answer, Refusal> {
    let Command::Up { scenario, world, bridges } = command else {
        return Ok(Answer::default());
    };
    let scenario = Scenario::load(scenario)?;
    let out = world.folder(scenario.name());
    let shown = out.display().to_string();
    let name = scenario.name().to_owned();
    for line in scenario.warnings_text() {
        eprintln!("{line}");
    }
    let ready = move |lines: &[String]| {
        eprintln!("{name} is up. From another terminal:");
        eprintln!("  roundtrip exec --join {shown} --as MACHINE -- COMMAND");
        lines.iter().for_each(|line| eprintln!("{line}"));
        eprintln!("Ctrl-C ends it.");
    };
    scenario.up(UpOptions {
        seed: world.seed,
        out: out.clone(),
        allow_exec: world.allow_exec,
        bridges: bridges.calls()?,
        attach: world.attach(),
        ready: Box::new(ready),
    })?;
    let talk = vec![format!("the story: roundtrip follow {}", out.display())];
    Ok(Answer { data: String::new(), talk, exit: 0 })
}

/// The programs of `--as A -- COMMAND --as B -- COMMAND`: what follows the first `--` is taken apart here, since only
/// `--as NAME --` can begin another one.
fn calls(machine: &str, words: &[OsString]) -> Result<Vec<ProgramCall>, Refusal> {
    let mut calls = vec![ProgramCall { node: machine.to_owned(), command: Vec::new() }];
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let ahead = rest.as_slice();
        if let (Some("--as"), [name, dashes, ..]) = (word.to_str(), ahead)
            && dashes.to_str() == Some("--")
        {
            calls.push(ProgramCall { node: name.to_string_lossy().into_owned(), command: Vec::new() });
            rest = ahead[2..].iter();
        } else if let Some(call) = calls.last_mut() {
            call.command.push(word.clone());
        }
    }
    match calls.iter().find(|c| c.command.is_empty()) {
        Some(empty) => {
            let why = format!("no command for {}: write --as {} -- COMMAND", empty.node, empty.node);
            Err(Refusal::Misuse { why })
        }
        None => Ok(calls),
    }
}

/// Makes a run again.
pub(crate) fn replay(command: &Command, json: bool) -> Result<Answer, Refusal> {
    let Command::Replay { run, out, scenario, comments, quiet } = command else {
        return Ok(Answer::default());
    };
    let scenario = scenario.as_deref().map(Scenario::load).transpose()?;
    let out = out.clone().unwrap_or_else(|| beside(run));
    let options = ReplayOptions { out: out.clone(), scenario, comments: comments.meant() };
    let done = rt_lab::replay(run, &options)?;
    let data = match (quiet, json) {
        (true, _) => String::new(),
        (_, true) => done.run.story_json(),
        _ => done.run.story_text(),
    };
    let mut talk = done.talk;
    talk.push(match done.same {
        Some(true) => format!("the same bytes as in {}", run.display()),
        Some(false) => format!("not the same as in {}: {}", run.display(), done.differ.join(", ")),
        None => format!("nothing to compare with; files in {}", out.display()),
    });
    Ok(Answer { data, talk, exit: u8::from(done.same == Some(false)) })
}

/// `RUN-replay`.
fn beside(run: &Path) -> PathBuf {
    let name = run.file_name().map_or_else(|| "run".into(), |n| n.to_string_lossy().into_owned());
    run.with_file_name(format!("{name}-replay"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Vec<(String, String)>, String> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let all = calls("a", &words).map_err(|e| e.to_string())?;
        let text = |c: &ProgramCall| {
            c.command.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        Ok(all.iter().map(|c| (c.node.clone(), text(c))).collect())
    }

    #[test]
    fn several_programs_on_one_line() {
        let pair = |node: &str, text: &str| (node.to_owned(), text.to_owned());
        assert_eq!(parse("curl -v x"), Ok(vec![pair("a", "curl -v x")]));
        assert_eq!(parse("curl --as b -- nc -l"), Ok(vec![pair("a", "curl"), pair("b", "nc -l")]));
        // A program's own words.
        assert_eq!(parse("env -- x --as y"), Ok(vec![pair("a", "env -- x --as y")]));
        assert_eq!(parse("x --as b --"), Err("no command for b: write --as b -- COMMAND".into()));
    }
}
