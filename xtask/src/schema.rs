//! `cargo xtask schema`: the published JSON Schemas, made by the program itself and committed.

use std::fs;

use crate::tools;

/// Writes `docs/schema/*.json`, or compares them.
pub(crate) fn run(check: bool) -> Result<(), String> {
    for name in ["scenario", "story"] {
        let made =
            tools::output("cargo", &["run", "--quiet", "--package", "roundtrip", "--", "schema", name])?;
        let path = tools::root().join(format!("docs/schema/{name}.json"));
        if check {
            let kept = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            if kept != made {
                return Err(format!("docs/schema/{name}.json is not up to date: run `cargo xtask schema`"));
            }
        } else {
            let folder = tools::root().join("docs/schema");
            fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
            fs::write(&path, made).map_err(|e| e.to_string())?;
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}
