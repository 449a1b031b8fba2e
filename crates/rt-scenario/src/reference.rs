//! The language as a Markdown page, made from the same tables that check it.

use std::fmt::Write as _;

use rt_base::Nanos;

use crate::diag::Code;
use crate::language;
use crate::shape::{Shape, Ty};
use crate::units;

const HEAD: &str = "# The scenario file: every key\n\n\
    Made from the tables that check it (`rt_scenario::reference`); do not edit. `roundtrip schema scenario` prints the \
    same as a JSON Schema for editors, `roundtrip new home` writes a commented file to start from.\n\n\
    The file is YAML. Anchors, aliases and merge keys (`<<`) work. Values carry their units: `100Mbit/s`, `4ms`, `2%`, \
    `64KiB`, `1000 packets`, `10001-` (a range of ports to the end). Where a node is named, its full name \
    (`home.laptop`) or its last part (`laptop`) will do when only one node has it.\n";

/// The reference page.
#[must_use]
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    let mut open: Vec<(&'static Shape, String)> = vec![(&language::SCENARIO, "A scenario".to_owned())];
    let mut seen: Vec<&str> = vec![language::SCENARIO.name];
    while !open.is_empty() {
        let (shape, title) = open.remove(0);
        let _ = write!(out, "\n## {title}\n\n{}\n\n| key | value | meaning |\n|---|---|---|\n", shape.about);
        for key in shape.all() {
            let mut found = Vec::new();
            let value = say(&key.ty, &mut found).replace('|', "\\|");
            let must = if key.required { " (required)" } else { "" };
            let _ = writeln!(out, "| `{}`{must} | {value} | {} |", key.name, key.about.replace('|', "\\|"));
            for (inner, title) in found {
                if !seen.contains(&inner.name) {
                    seen.push(inner.name);
                    open.push((inner, title));
                }
            }
        }
    }
    out.push_str("\n## What can be wrong\n\n| code | meaning |\n|---|---|\n");
    for code in Code::ALL {
        let _ = writeln!(out, "| {} | {} |", code.as_str(), code.about().trim());
    }
    out
}

/// The title of a shape's section.
fn title(shape: &Shape) -> String {
    let mut letters = shape.name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn link(shape: &'static Shape, found: &mut Vec<(&'static Shape, String)>) -> String {
    let title = title(shape);
    // As GitHub makes them: blanks become hyphens, other signs go.
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
    let text = format!("[{}](#{anchor})", shape.name);
    found.push((shape, title));
    text
}

/// What a value looks like; shapes that it mentions go to `found`.
fn say(ty: &Ty, found: &mut Vec<(&'static Shape, String)>) -> String {
    let words = |words: &[&str]| words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    match ty {
        Ty::Text => "text".to_owned(),
        Ty::Name => "a name".to_owned(),
        Ty::Flag => "`yes` or `no`".to_owned(),
        Ty::Whole(low, high) => format!("a number from {low} to {high}"),
        Ty::Rate => "a rate: `100Mbit/s`".to_owned(),
        Ty::Duration => "a span: `4ms`".to_owned(),
        Ty::Loss => "a share: `2%`, or `every 1000th`".to_owned(),
        Ty::BitErrors => "a bit error rate: `1e-7`".to_owned(),
        Ty::Share => "a share: `2%`".to_owned(),
        Ty::Span(low, high) => {
            format!("a span from {} to {}", units::show_limit(Nanos(*low)), units::show_limit(Nanos(*high)))
        }
        Ty::Size => "a size: `1500`, `64KiB`".to_owned(),
        Ty::Bytes(low, high) => {
            format!("a size from {} to {}", units::show_size(*low), units::show_size(*high))
        }
        Ty::Between(_) => "a range: `40ms..45ms`, `40ms..`, `3`".to_owned(),
        Ty::Queue => "`1000 packets` or `256KiB`".to_owned(),
        Ty::Port => "a port".to_owned(),
        Ty::Ports => "ports: `10001-`".to_owned(),
        Ty::Address => "an address".to_owned(),
        Ty::Host => "an address: `10.0.0.1/24`".to_owned(),
        Ty::Net => "a network: `10.0.0.0/24`".to_owned(),
        Ty::Mac => "a MAC".to_owned(),
        Ty::Instant => "`2026-01-15T12:00:00Z`".to_owned(),
        Ty::OneOf(list) => words(list),
        Ty::Json => "any JSON".to_owned(),
        Ty::List(inner) => format!("a list: {}", say(inner, found)),
        Ty::Map(keys, inner) => format!("by {keys}: {}", say(inner, found)),
        Ty::Object(shape) => link(shape, found),
        Ty::ByKind(kinds) => {
            let all: Vec<String> =
                kinds.iter().map(|(kind, s)| format!("`kind: {kind}`: {}", link(s, found))).collect();
            all.join("; ")
        }
        Ty::OneKey(kinds) => kinds
            .iter()
            .map(|(name, s)| format!("`{name}:` {}", link(s, found)))
            .collect::<Vec<_>>()
            .join("; "),
        Ty::Either(one, bigger) => format!("{}, or {}", say(one, found), say(bigger, found)),
        Ty::OrNothing(inner) => format!("{}, or nothing", say(inner, found)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Shape, language, say};

    /// Two shapes of one name would share one section here and one definition in the schema, and one of them would be lost.
    #[test]
    fn every_shape_has_a_name_of_its_own() {
        let keys = |shape: &Shape| shape.all().map(|key| (key.name, key.about)).collect::<Vec<_>>();
        let mut seen: BTreeMap<String, Vec<(&str, &str)>> = BTreeMap::new();
        let mut open: Vec<&'static Shape> = vec![&language::SCENARIO];
        while let Some(shape) = open.pop() {
            let name = crate::schema::definition_name(shape);
            if let Some(known) = seen.insert(name, keys(shape)) {
                assert_eq!(known, keys(shape), "two shapes are called `{}`", shape.name);
                continue;
            }
            let mut found = Vec::new();
            for key in shape.all() {
                let _ = say(&key.ty, &mut found);
            }
            open.extend(found.into_iter().map(|(inner, _)| inner));
        }
        assert!(seen.len() > 50);
    }
}
