//! The program: arguments in, answers out. It only asks `rt-lab` and prints; stdout is data, stderr is talk.
//!
//! Exit codes: 0 yes, 1 no (an expectation failed, the answer is no), 2 could not answer (a faulty file included).

mod args;
mod commands;
mod progress;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    let answer = commands::answer(&args);
    for line in &answer.talk {
        eprintln!("{line}");
    }
    match std::io::stdout().write_all(answer.data.as_bytes()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            eprintln!("cannot write: {e}");
            ExitCode::from(2)
        }
        _ => ExitCode::from(answer.exit),
    }
}
