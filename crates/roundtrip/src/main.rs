//! The program: arguments in, answers out. It only asks `rt-lab` and prints; stdout is data, stderr is talk.
//!
//! Exit codes: 0 yes, 1 no (an expectation failed, the answer is no), 2 could not answer (a faulty file included).

mod args;
mod attach;
mod commands;
mod progress;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Format};

fn main() -> ExitCode {
    let args = Args::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        if error.use_stderr() && std::env::args_os().nth(1).is_some_and(|word| word == "exec") {
            let _ = writeln!(
                std::io::stderr(),
                "\nOf each program: --as MACHINE -- COMMAND, as in exec FILE --as a -- curl http://b/ --as b -- nc -l 80"
            );
        }
        std::process::exit(error.exit_code())
    });
    let answer = commands::answer(&args);
    // Names and texts of files come from anywhere: none of them may steer a terminal.
    let talk: String = answer.talk.iter().map(|line| format!("{line}\n")).collect();
    // Nobody may read stderr any more; the exit code still says how it went.
    let _ = std::io::stderr().write_all(rt_lab::printable(&talk).as_bytes());
    let mut out = std::io::stdout();
    // JSON is for programs and has its own escapes.
    let data = if args.format == Format::Json { answer.data.into() } else { rt_lab::printable(&answer.data) };
    let written = out.write_all(data.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(std::io::stderr(), "cannot write: {e}");
            ExitCode::from(2)
        }
        _ => ExitCode::from(answer.exit),
    }
}
