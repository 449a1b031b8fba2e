//! `cargo xtask interop`: the kernel's TCP against ours over every link, with every set of features, 100 MB both ways.
//! `cargo xtask ci` runs the cases that matter most, with 10 MB.

use crate::tools;

/// Runs the cases; each is told on stderr as it ends, and the table comes at the end.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let mut env = Vec::new();
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        let name = match word.as_str() {
            "--bytes" => "INTEROP_BYTES",
            "--only" => "INTEROP_ONLY",
            other => return Err(format!("`{other}` is not an option of interop: --bytes N, --only WORDS")),
        };
        env.push((name, rest.next().ok_or_else(|| format!("{word} needs a value"))?.as_str()));
    }
    let test = ["test", "--quiet", "--release", "--locked", "--package", "roundtrip", "--test", "kernel"];
    let args = [&test[..], &["every_combination", "--", "--ignored", "--nocapture"]].concat();
    tools::run_with("cargo", &args, &env)
}
