//! YAML text to a tree of values with positions, within limits: a file is hostile until read.
//!
//! Scalars stay text: what `10` or `no` means is decided by the key that it stands under. Anchors, aliases and merge
//! keys (`<<`) work; what they expand to counts against [`MAX_VALUES`], so an alias bomb is refused before it grows.
//! Tags are ignored. Main type: [`Value`].

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Parser, ScalarStyle};

use crate::diag::{Code, Problems, Span};

/// Longest file, bytes.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// Most values, aliases expanded.
pub(crate) const MAX_VALUES: usize = 100_000;
/// Deepest nesting.
pub(crate) const MAX_DEPTH: usize = 24;

/// A value with its place in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Nothing written, `~` or `null`.
    Null,
    /// Text; `quoted` tells `"10"` from `10`.
    Scalar { text: String, quoted: bool },
    /// A sequence.
    List(Vec<Value>),
    /// A mapping in the order of the file.
    Map(Vec<(Key, Value)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Value {
    /// The value under `key`, unless it is null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|(_, v)| v).filter(|v| v.kind != Kind::Null)
    }

    /// Key and value under `key`, null or not.
    pub(crate) fn entry(&self, key: &str) -> Option<(&Key, &Value)> {
        self.entries().iter().find(|(k, _)| k.text == key).map(|(k, v)| (k, v))
    }

    /// All entries of a mapping; none of anything else.
    pub(crate) fn entries(&self) -> &[(Key, Value)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// All items of a list; none of anything else.
    pub(crate) fn items(&self) -> &[Value] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// "a mapping", "a list", "nothing", "text".
    pub(crate) fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// A collection that is being read.
enum Open {
    List { span: Span, anchor: usize, items: Vec<Value>, before: usize },
    Map { span: Span, anchor: usize, entries: Entries, key: Option<Key>, before: usize },
}

/// The entries of a mapping under construction, with an index of its keys so that a hostile file stays cheap.
#[derive(Default)]
struct Entries {
    list: Vec<(Key, Value)>,
    keys: BTreeSet<String>,
    /// Keys that came by `<<`; written ones replace them.
    merged: BTreeSet<String>,
}

struct Reader<'p, 'a> {
    problems: &'p mut Problems<'a>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Value, usize)>,
    root: Option<Value>,
    values: usize,
}

/// Reads `text`. `None` when it is not YAML or beyond the limits; duplicate keys are reported and reading goes on.
pub(crate) fn read(problems: &mut Problems<'_>) -> Option<Value> {
    let text = problems.source.text;
    if text.len() > MAX_TEXT {
        let message = format!(
            "the file is {} bytes long, more than the {MAX_TEXT} that a scenario may have",
            text.len()
        );
        problems.add(Code::TooLarge, Span::default(), message, "").help("split it into several scenarios");
        return None;
    }
    let mut reader = Reader { problems, open: Vec::new(), anchors: BTreeMap::new(), root: None, values: 0 };
    let options = granit_parser::options! { emit_unresolved_aliases: true };
    for next in Parser::new_from_str_with_options(text, options) {
        match next {
            Ok((event, span)) => reader.event(event, to_span(&span))?,
            Err(error) => {
                reader.syntax(&error);
                return None;
            }
        }
    }
    let root = reader.root.take();
    if root.is_none() {
        problems
            .add(Code::Syntax, Span::default(), "the file is empty", "nothing here")
            .help("`roundtrip new two-hosts FILE` writes a commented starting file");
    }
    root
}

fn to_span(span: &granit_parser::Span) -> Span {
    let range = span.byte_range().unwrap_or(0..0);
    Span { start: range.start as u32, end: range.end.max(range.start) as u32 }
}

impl Reader<'_, '_> {
    /// Takes one event in; `None` stops reading.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let quoted = style != ScalarStyle::Plain;
                let null = !quoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let kind = if null { Kind::Null } else { Kind::Scalar { text: text.into_owned(), quoted } };
                self.count(1, span)?;
                self.done(Value { span, kind }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, _) => {
                let before = self.values;
                self.opened(Open::List { span, anchor, items: Vec::new(), before }, span)
            }
            Event::MappingStart(_, anchor, _) => {
                let before = self.values;
                self.opened(Open::Map { span, anchor, entries: Entries::default(), key: None, before }, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.closed(span),
            Event::Alias(id) => self.alias(id, span),
            Event::UnresolvedAlias(name) => {
                let message = format!("the alias `*{name}` has no anchor `&{name}` before it");
                self.problems.add(Code::UnknownAlias, span, message, "no such anchor");
                self.done(Value { span, kind: Kind::Null }, 0, 1)
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                self.problems
                    .add(Code::Syntax, span, "a second YAML document starts here", "second document")
                    .help("a scenario is one document: remove the `---` line and what follows");
                None
            }
            _ => Some(()),
        }
    }

    fn count(&mut self, more: usize, span: Span) -> Option<()> {
        self.values = self.values.saturating_add(more);
        if self.values > MAX_VALUES {
            let message = format!("the file has more than {MAX_VALUES} values");
            self.problems.add(Code::TooLarge, span, message, "too many");
            return None;
        }
        Some(())
    }

    fn opened(&mut self, open: Open, span: Span) -> Option<()> {
        self.count(1, span)?;
        if self.open.len() >= MAX_DEPTH {
            let message = format!("values are nested more than {MAX_DEPTH} deep");
            self.problems.add(Code::TooLarge, span, message, "too deep");
            return None;
        }
        self.open.push(open);
        Some(())
    }

    fn closed(&mut self, end: Span) -> Option<()> {
        let (kind, span, anchor, before) = match self.open.pop()? {
            Open::List { span, anchor, items, before } => (Kind::List(items), span, anchor, before),
            Open::Map { span, anchor, entries, before, .. } => {
                (Kind::Map(entries.list), span, anchor, before)
            }
        };
        let span = Span { start: span.start, end: end.start.max(span.end) };
        let size = self.values - before;
        self.done(Value { span, kind }, anchor, size)
    }

    fn alias(&mut self, id: usize, span: Span) -> Option<()> {
        let Some((value, size)) = self.anchors.get(&id) else {
            let message = "an alias inside its own anchor would never end";
            self.problems.add(Code::AliasBomb, span, message, "refers to itself");
            return None;
        };
        let size = *size;
        if self.values.saturating_add(size) > MAX_VALUES {
            let message = format!("aliases expand to more than {MAX_VALUES} values");
            let help = "write the values out, or use fewer aliases of aliases";
            self.problems.add(Code::AliasBomb, span, message, "one alias too many").help(help);
            return None;
        }
        let value = value.clone();
        if depth(&value) + self.open.len() > MAX_DEPTH {
            let message = format!("with its aliases, values are nested more than {MAX_DEPTH} deep");
            self.problems.add(Code::AliasBomb, span, message, "too deep");
            return None;
        }
        self.values += size;
        self.done(value, 0, size)
    }

    /// A whole value: a key, the value of a key, an item, or the root.
    fn done(&mut self, value: Value, anchor: usize, size: usize) -> Option<()> {
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), size));
        }
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            let new = self.key_of(value)?;
            if let Some(Open::Map { key, .. }) = self.open.last_mut() {
                *key = Some(new);
            }
            return Some(());
        }
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some(key) if key.text == "<<" => entries.merge(value),
                Some(key) => {
                    if let Some(first) = entries.insert(key.clone(), value) {
                        let message = format!("the key `{}` stands twice in this mapping", key.text);
                        self.problems
                            .add(Code::DuplicateKey, key.span, message, "second time")
                            .related(first, "first time")
                            .help("remove one of them, or give them different names");
                    }
                }
                None => {}
            },
        }
        Some(())
    }

    fn key_of(&mut self, value: Value) -> Option<Key> {
        let span = value.span;
        match value.kind {
            Kind::Scalar { text, .. } => Some(Key { text, span }),
            Kind::Null => Some(Key { text: String::new(), span }),
            Kind::List(_) | Kind::Map(_) => {
                self.problems
                    .add(Code::WrongShape, span, "a key must be a single value", "not a key")
                    .help("put text with special characters in quotes");
                None
            }
        }
    }

    fn syntax(&mut self, error: &granit_parser::ScanError) {
        let at = error.marker().byte_offset().unwrap_or(0).min(self.problems.source.text.len()) as u32;
        let info = error.info();
        let text = self.problems.source.text;
        let line = text[..text.floor_char_boundary(at as usize)].rfind('\n').map_or(0, |i| i + 1);
        let help = if text[line..].lines().next().is_some_and(|l| l.contains('\t')) {
            "YAML indents with spaces, not tabs"
        } else {
            "check the indentation, the colons and the closing brackets and quotes on this line and the one before"
        };
        let span = Span { start: at, end: at + 1 };
        self.problems.add(Code::Syntax, span, format!("this is not YAML: {info}"), "here").help(help);
    }
}

impl Entries {
    /// Adds an entry; gives back where its key stood first when it stood already.
    fn insert(&mut self, key: Key, value: Value) -> Option<Span> {
        if self.keys.insert(key.text.clone()) {
            self.list.push((key, value));
            return None;
        }
        let old = self.list.iter_mut().find(|(k, _)| k.text == key.text)?;
        if self.merged.remove(&key.text) {
            *old = (key, value);
            return None;
        }
        Some(old.0.span)
    }

    /// `<<: *base`: entries of `base` that are not there yet (the YAML 1.1 merge key, as containerlab users know it).
    fn merge(&mut self, base: Value) {
        let bases = match base.kind {
            Kind::List(items) => items,
            _ => vec![base],
        };
        for base in bases {
            if let Kind::Map(more) = base.kind {
                for (key, value) in more {
                    if self.keys.insert(key.text.clone()) {
                        self.merged.insert(key.text.clone());
                        self.list.push((key, value));
                    }
                }
            }
        }
    }
}

fn depth(value: &Value) -> usize {
    match &value.kind {
        Kind::Null | Kind::Scalar { .. } => 0,
        Kind::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Kind::Map(entries) => 1 + entries.iter().map(|(_, v)| depth(v)).max().unwrap_or(0),
    }
}
