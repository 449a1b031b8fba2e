//! Addresses and references as Terraform writes them: `module.network["eu"].aws_subnet.private[0]`, `var.subnets["a"].id`.

use std::fmt;

/// The key of one instance among those that `count` or `for_each` made.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Key {
    /// Neither `count` nor `for_each`.
    #[default]
    None,
    /// `count`.
    Number(u64),
    /// `for_each`.
    Text(String),
}

impl Key {
    /// The `index` of a resource.
    pub(super) fn of(value: Option<&serde_json::Value>) -> Key {
        match value {
            Some(serde_json::Value::String(text)) => Key::Text(text.clone()),
            Some(value) => value.as_u64().map_or(Key::None, Key::Number),
            None => Key::None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::None => Ok(()),
            Key::Number(n) => write!(f, "{n}"),
            Key::Text(text) => f.write_str(text),
        }
    }
}

/// One step of an address: `.name` or `[key]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// A name.
    Name(String),
    /// A key in brackets.
    Index(Key),
}

/// Splits at dots and brackets; `None` when that is not possible.
pub(super) fn parts(text: &str) -> Option<Vec<Part>> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (key, after) = key(inner)?;
            out.push(Part::Index(key));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            out.push(Part::Name(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        if let Some(after) = rest.strip_prefix('.') {
            if after.is_empty() || after.starts_with('[') {
                return None;
            }
            rest = after;
        }
    }
    Some(out)
}

/// What stands in brackets, and the text behind them.
fn key(inner: &str) -> Option<(Key, &str)> {
    if !inner.starts_with('"') {
        let (number, after) = inner.split_once(']')?;
        return Some((Key::Number(number.parse().ok()?), after));
    }
    let mut quoted = serde_json::Deserializer::from_str(inner).into_iter::<String>();
    let text = quoted.next()?.ok()?;
    let after = inner.get(quoted.byte_offset()..)?.strip_prefix(']')?;
    Some((Key::Text(text), after))
}

/// The module calls of a module's address, outermost first: `module.a[0].module.b` has two.
pub(super) fn calls(address: &str) -> Option<Vec<(String, Key)>> {
    let mut out: Vec<(String, Key)> = Vec::new();
    let mut parts = parts(address)?.into_iter();
    let mut next = parts.next();
    while let Some(part) = next {
        if part != Part::Name("module".to_owned()) {
            return None;
        }
        let Some(Part::Name(name)) = parts.next() else { return None };
        next = parts.next();
        let mut called = Key::None;
        if let Some(Part::Index(key)) = next {
            called = key;
            next = parts.next();
        }
        out.push((name, called));
    }
    Some(out)
}

/// What an expression refers to, seen from its module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reference {
    /// `var.NAME` and the path behind it.
    Variable(String, Vec<Part>),
    /// `local.NAME`: what it is worth is not in the JSON.
    Local(String),
    /// `each.key`.
    EachKey,
    /// `each.value` and the path behind it.
    EachValue(Vec<Part>),
    /// `count.index`.
    CountIndex,
    /// `module.NAME[KEY].OUTPUT` and the path behind it.
    Module { call: String, key: Key, output: Option<String>, path: Vec<Part> },
    /// `TYPE.NAME[KEY].ATTRIBUTE`, or with `data.` before it.
    Resource { data: bool, kind: String, name: String, key: Key, attribute: Option<String>, path: Vec<Part> },
    /// `path.module`, `terraform.workspace`, `self`.
    Other,
}

impl Reference {
    /// Reads one reference.
    pub(super) fn parse(text: &str) -> Option<Reference> {
        let parts = parts(text)?;
        let name = |at: usize| match parts.get(at) {
            Some(Part::Name(name)) => Some(name.clone()),
            _ => None,
        };
        let behind = |at: usize| parts.get(at..).unwrap_or_default().to_vec();
        Some(match name(0)?.as_str() {
            "var" => Reference::Variable(name(1)?, behind(2)),
            "local" => Reference::Local(name(1)?),
            "each" if name(1)? == "key" => Reference::EachKey,
            "each" => Reference::EachValue(behind(2)),
            "count" => Reference::CountIndex,
            "path" | "terraform" | "self" => Reference::Other,
            "module" => {
                let (key, at) = key_at(&parts, 2);
                let path = behind(at + 1);
                Reference::Module { call: name(1)?, key, output: name(at), path }
            }
            first => {
                let data = first == "data";
                let from = usize::from(data);
                let (key, at) = key_at(&parts, from + 2);
                let (kind, name_of) = (name(from)?, name(from + 1)?);
                let path = behind(at + 1);
                Reference::Resource { data, kind, name: name_of, key, attribute: name(at), path }
            }
        })
    }
}

/// The key at a place, and the place behind it.
fn key_at(parts: &[Part], at: usize) -> (Key, usize) {
    match parts.get(at) {
        Some(Part::Index(key)) => (key.clone(), at + 1),
        _ => (Key::None, at),
    }
}

/// A list of references without those that are implied by the one before (`aws_vpc.main` after `aws_vpc.main.id`).
pub(super) fn heads<'a>(texts: &[&'a str]) -> Vec<&'a str> {
    let mut out: Vec<&str> = Vec::new();
    for text in texts {
        let implied =
            out.last().is_some_and(|l| l.strip_prefix(text).is_some_and(|r| r.starts_with(['.', '['])));
        // `aws_x.y[0].id`, `aws_x.y[0]`, `aws_x.y`: each implied by the first.
        if !implied && !out.contains(text) {
            out.push(text);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_addresses_are_read() {
        let of =
            |text: &str| calls(text).map(|c| c.iter().map(|(n, k)| format!("{n}={k}")).collect::<Vec<_>>());
        assert_eq!(of(""), Some(vec![]));
        assert_eq!(of(r#"module.a["x.y[\"]"].module.b[3]"#), Some(vec![r#"a=x.y["]"#.into(), "b=3".into()]));
        for bad in
            ["module", "module.a.b", "a.b", "module.a[", r#"module.a["x]"#, "module..a", "module.a[-1]"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn references_are_read_and_implied_ones_left_out() {
        let refs = [
            "module.net[0].ids[\"a\"]",
            "module.net[0]",
            "module.net",
            "count.index",
            "each.value.id",
            "each.value",
        ];
        let heads = heads(&refs);
        assert_eq!(heads, ["module.net[0].ids[\"a\"]", "count.index", "each.value.id"]);
        let Some(Reference::Module { call, key, output, path }) = Reference::parse(heads[0]) else {
            panic!()
        };
        assert_eq!((call.as_str(), key, output.as_deref()), ("net", Key::Number(0), Some("ids")));
        assert_eq!(path, [Part::Index(Key::Text("a".into()))]);
        let Some(Reference::Resource { data, kind, attribute, .. }) =
            Reference::parse("data.aws_vpc.x[1].id")
        else {
            panic!()
        };
        assert_eq!((data, kind.as_str(), attribute.as_deref()), (true, "aws_vpc", Some("id")));
    }
}
