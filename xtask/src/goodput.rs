//! `cargo xtask goodput`: docs/goodput.md, what each congestion control gets through over many paths, and the formulae.

use crate::tools;

/// Writes the page, or compares all of it; the bounds around the formulae are held either way. Each row is shown on stderr
/// as soon as it is known.
pub(crate) fn run(check: bool) -> Result<(), String> {
    let test = ["test", "--quiet", "--release", "--locked", "--package", "rt-devices", "--test", "goodput"];
    let args = [&test[..], &["--", "--ignored", "--nocapture"]].concat();
    let update = [("UPDATE_GOODPUT", "1")];
    tools::run_with("cargo", &args, if check { &[] } else { &update })?;
    eprintln!("docs/goodput.md {}", if check { "is up to date" } else { "is written" });
    Ok(())
}
