//! Diagnostics: what is wrong in a scenario file, where, and what to do about it.
//!
//! Every problem has a stable [`Code`], a position, one sentence, and where possible a `help` with the fix and the names
//! that are known. Problems are collected, never thrown: one run reports all of them. Main type: [`Diagnostic`].
//!
//! Columns count characters, not bytes; a tab counts as one.

use std::fmt::Write as _;

use rt_base::text::{excerpt, printable, visible};
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The file cannot be run.
    Error,
    /// The file can be run, but probably does not mean what it says.
    Warning,
}

macro_rules! codes {
    ($(#[doc = $doc:literal] $name:ident = $code:literal;)*) => {
        /// The kind of a problem. Its text form (`E019`) never changes its meaning.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Code { $(#[doc = $doc] $name,)* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// What it is about, in one sentence.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Code::$name => $doc,)* }
            }

            /// The stable text, such as `E019` or `W002`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }
        }
    };
}

codes! {
    /// The text is not YAML.
    Syntax = "E001";
    /// Longer, deeper or with more values than a scenario may have.
    TooLarge = "E002";
    /// Aliases that expand to too many values, or to themselves.
    AliasBomb = "E003";
    /// A key stands twice in one mapping.
    DuplicateKey = "E004";
    /// A list where a mapping belongs, and so on.
    WrongShape = "E005";
    /// A key that nobody knows.
    UnknownKey = "E006";
    /// A key that must be there is not.
    MissingKey = "E007";
    /// Not one of the known words.
    UnknownChoice = "E008";
    /// Not a number, or outside its limits.
    BadNumber = "E009";
    /// Not a port, 1 to 65535.
    BadPort = "E010";
    /// Not a rate, size or queue with its unit.
    BadUnit = "E011";
    /// Not a span of time, or a negative one.
    BadDuration = "E012";
    /// Not a share between 0 % and 100 %.
    BadPercent = "E013";
    /// Not an IP address.
    BadAddress = "E014";
    /// Not a network in CIDR form.
    BadNetwork = "E015";
    /// Not a MAC address.
    BadMac = "E016";
    /// A MAC with the group bit set.
    GroupMac = "E017";
    /// A name with characters that names may not have.
    BadName = "E018";
    /// No node has this name.
    UnknownNode = "E019";
    /// Not an endpoint in the form `node:interface`.
    BadEndpoint = "E020";
    /// A link from a node to itself.
    SelfLink = "E021";
    /// Two links on one interface.
    InterfaceUsedTwice = "E022";
    /// Switches joined in a circle.
    LayerTwoLoop = "E023";
    /// Two nodes with one name.
    DuplicateNode = "E024";
    /// Two machines with one address.
    DuplicateAddress = "E025";
    /// An address outside the subnet that it is used in.
    ForeignAddress = "E026";
    /// Two subnets that overlap.
    OverlappingSubnets = "E027";
    /// Two interfaces with one MAC on one segment.
    DuplicateMac = "E028";
    /// A gateway that no link of the machine leads to.
    GatewayOffLink = "E029";
    /// An MTU too small for IP, or larger than the link's.
    BadMtu = "E030";
    /// A range of NAT ports too small to be of use.
    NatPortsTooFew = "E031";
    /// A place that is neither a known city nor one of the internet's places.
    UnknownPlace = "E032";
    /// A firewall or NAT line that cannot be read.
    BadRule = "E033";
    /// A switch cannot do that.
    NotOnASwitch = "E034";
    /// A step whose verb or form is not known.
    BadStep = "E035";
    /// A short name that fits several nodes.
    AmbiguousName = "E036";
    /// A URL that cannot be opened.
    BadUrl = "E037";
    /// A name that no zone or hosts file holds.
    UnresolvableName = "E038";
    /// No way from the step's machine to its target, or back.
    NoRoute = "E039";
    /// A zone that no server serves.
    ZoneWithoutAuthority = "E040";
    /// A DNS record that cannot be read.
    BadRecord = "E041";
    /// A certificate for no name.
    CertificateForNoName = "E042";
    /// A reference to a certificate, zone, interface or page set that is not there.
    UnknownReference = "E043";
    /// An expectation for a step that does not exist.
    ExpectationForNoStep = "E044";
    /// Expectations that cannot both hold.
    Contradiction = "E045";
    /// A change of a link that is not there.
    UnknownLink = "E046";
    /// A site that needs an internet, or two internets.
    NeedsInternet = "E047";
    /// Not an instant of civil time.
    BadInstant = "E048";
    /// A subnet or pool with no address left.
    NoAddressLeft = "E049";
    /// An alias without an anchor.
    UnknownAlias = "E050";
    /// A folder of pages that cannot be read.
    BadFolder = "E051";
    /// Two programs, or two port forwards, on one port of one machine.
    PortTaken = "E052";
    /// Two zones of one name.
    DuplicateZone = "E053";
    /// A firewall that allows and never denies.
    NothingDenied = "W001";
    /// A node without a link.
    Unlinked = "W002";
    /// A key or a step that has no effect here.
    NoEffect = "W003";
    /// A step to a port on which nothing listens.
    NobodyListens = "W004";
    /// A step of a machine that a real program plays.
    PlayedByProgram = "W005";
    /// An upstream or a browser's proxy that nobody is, or that listens on another port, or speaks otherwise than it is spoken to.
    UpstreamNobodyIs = "W006";
    /// Balancers or proxies whose upstreams lead back to them.
    ProxyCircle = "W007";
}

impl Code {
    /// Errors start with E, warnings with W.
    #[must_use]
    pub fn severity(self) -> Severity {
        if self.as_str().starts_with('W') { Severity::Warning } else { Severity::Error }
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// A piece of the source text, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A line of the file with a caret under a part of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Snippet {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// How many characters are marked.
    pub width: u32,
    /// The line, without its end; long ones are cut around the mark.
    pub text: String,
    /// Where the mark starts in `text`, in characters.
    pub mark: u32,
    /// A few words beside the caret.
    pub label: String,
}

/// One problem.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// The file as the user named it.
    pub file: String,
    /// Where.
    pub at: Snippet,
    /// Another place that has to do with it, such as the first of two.
    pub related: Option<Snippet>,
    /// What to do.
    pub help: Option<String>,
    /// The names that would have been understood.
    pub known: Vec<String>,
}

/// At most so many known names are printed.
const KNOWN_SHOWN: usize = 16;

impl Diagnostic {
    /// Text for people, several lines, ending with a line end. No colour.
    #[must_use]
    pub fn render(&self) -> String {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let digits = self.related.iter().map(|r| r.line).chain([self.at.line]).max().unwrap_or(1);
        let pad = digits.to_string().len();
        let mut out = String::new();
        let _ = writeln!(out, "{word}[{}]: {}", self.code.as_str(), self.message);
        let _ = writeln!(out, "{:pad$}--> {}:{}:{}", "", self.file, self.at.line, self.at.column);
        let _ = writeln!(out, "{:pad$} |", "");
        let mut snippets = vec![(&self.at, '^')];
        snippets.extend(self.related.as_ref().map(|r| (r, '-')));
        snippets.sort_by_key(|(s, _)| (s.line, s.column));
        let mut before = 0;
        for (snippet, sign) in snippets {
            snippet.write(&mut out, pad, sign, snippet.line != before);
            before = snippet.line;
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{:pad$} = help: {help}", "");
        }
        if !self.known.is_empty() {
            let shown = self.known.iter().take(KNOWN_SHOWN).cloned().collect::<Vec<_>>().join(", ");
            let more = self.known.len().saturating_sub(KNOWN_SHOWN);
            let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
            let _ = writeln!(out, "{:pad$} = known: {shown}{tail}", "");
        }
        printable(&out).into_owned()
    }
}

impl Snippet {
    fn write(&self, out: &mut String, pad: usize, sign: char, with_line: bool) {
        if with_line {
            let _ = writeln!(out, "{:>pad$} | {}", self.line, self.text);
        }
        let marks: String = std::iter::repeat_n(sign, self.width.max(1) as usize).collect();
        let line = format!("{:pad$} | {:gap$}{marks} {}", "", "", self.label, gap = self.mark as usize);
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render())
    }
}

/// All problems of a run as text, with a closing count.
#[must_use]
pub fn render_all(problems: &[Diagnostic]) -> String {
    let mut out = String::new();
    for problem in problems {
        out.push_str(&problem.render());
        out.push('\n');
    }
    let errors = problems.iter().filter(|p| p.severity == Severity::Error).count();
    let warnings = problems.len() - errors;
    let count = |n: usize, word: &str| rt_base::count(n as u64, word);
    let counts: Vec<String> = [(errors, "error"), (warnings, "warning")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| count(n, word))
        .collect();
    if !counts.is_empty() {
        let _ = writeln!(out, "{}", counts.join(", "));
    }
    out
}

/// The text of a file with the starts of its lines.
pub(crate) struct Source<'a> {
    /// As the user named it.
    pub(crate) file: &'a str,
    /// All of it.
    pub(crate) text: &'a str,
    starts: Vec<u32>,
}

/// Longer messages are cut: they repeat what stands in the file.
const MESSAGE_SHOWN: usize = 400;
/// Longer advice is cut.
const HELP_SHOWN: usize = 1_000;
/// Longer lines are cut around the mark, in characters.
const LINE_SHOWN: usize = 110;

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Source<'a> {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i as u32 + 1);
        Source { file, text, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// Line from 1.
    pub(crate) fn line(&self, span: Span) -> u32 {
        self.starts.partition_point(|s| *s <= span.start) as u32
    }

    fn snippet(&self, span: Span, label: &str) -> Snippet {
        let line = self.line(span).max(1);
        let from = self.starts[line as usize - 1] as usize;
        let to = self.starts.get(line as usize).map_or(self.text.len(), |s| *s as usize);
        let whole = self.text.get(from..to).unwrap_or("").trim_end_matches(['\n', '\r']);
        let start = (span.start as usize).clamp(from, from + whole.len());
        let end = (span.end as usize).clamp(start, from + whole.len());
        let column = self.text.get(from..start).map_or(0, |t| t.chars().count());
        let width = self.text.get(start..end).map_or(1, |t| t.trim_end().chars().count()).max(1);
        let skip = if whole.chars().count() > LINE_SHOWN { column.saturating_sub(LINE_SHOWN / 3) } else { 0 };
        let text: String = whole.chars().skip(skip).take(LINE_SHOWN).map(visible).collect();
        let room = text.chars().count().saturating_sub(column - skip).max(1);
        Snippet {
            line,
            column: column as u32 + 1,
            width: width.min(room) as u32,
            text,
            mark: (column - skip) as u32,
            label: label.to_owned(),
        }
    }
}

/// Collects problems. More than [`Problems::LIMIT`] are not kept.
pub(crate) struct Problems<'a> {
    pub(crate) source: &'a Source<'a>,
    list: Vec<(Span, Diagnostic)>,
}

/// A problem under construction: `problems.add(..).help(..)`.
pub(crate) struct Draft<'p, 'a> {
    source: &'p Source<'a>,
    diagnostic: Option<&'p mut Diagnostic>,
}

impl<'a> Problems<'a> {
    /// More than so many help nobody.
    pub(crate) const LIMIT: usize = 100;

    pub(crate) fn new(source: &'a Source<'a>) -> Problems<'a> {
        Problems { source, list: Vec::new() }
    }

    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// Adds a problem; `label` stands beside the caret.
    pub(crate) fn add(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: &str,
    ) -> Draft<'_, 'a> {
        let message = excerpt(&message.into(), MESSAGE_SHOWN);
        let known = self.list.iter().any(|(s, d)| *s == span && d.code == code && d.message == message);
        if known || self.list.len() >= Self::LIMIT {
            return Draft { source: self.source, diagnostic: None };
        }
        let diagnostic = Diagnostic {
            code,
            severity: code.severity(),
            message,
            file: self.source.file.to_owned(),
            at: self.source.snippet(span, label),
            related: None,
            help: None,
            known: Vec::new(),
        };
        self.list.push((span, diagnostic));
        Draft { source: self.source, diagnostic: self.list.last_mut().map(|(_, d)| d) }
    }

    /// Whether any error (not warning) of these codes is there; of any code when empty.
    pub(crate) fn has(&self, codes: &[Code]) -> bool {
        self.list
            .iter()
            .any(|(_, d)| d.severity == Severity::Error && (codes.is_empty() || codes.contains(&d.code)))
    }

    /// All of them, in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|(span, problem)| (span.start, problem.code));
        self.list.into_iter().map(|(_, d)| d).collect()
    }
}

/// How a guess begins; it says more than any other help.
const MEANT: &str = "did you mean ";

impl Draft<'_, '_> {
    /// What to do; a guess at the name that was meant stays.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(d) = &mut self.diagnostic
            && !d.help.as_ref().is_some_and(|h| h.starts_with(MEANT))
        {
            d.help = Some(excerpt(&help.into(), HELP_SHOWN));
        }
        self
    }

    /// The names that would have been understood, and "did you mean" for the nearest.
    pub(crate) fn known<S: AsRef<str>>(mut self, wanted: &str, names: impl IntoIterator<Item = S>) -> Self {
        if let Some(d) = &mut self.diagnostic {
            d.known = names.into_iter().map(|n| n.as_ref().to_owned()).collect();
            if let Some(name) = nearest(wanted, &d.known) {
                d.help = Some(format!("{MEANT}`{name}`?"));
            }
        }
        self
    }

    /// A guess among more names than are listed.
    pub(crate) fn guess(mut self, wanted: &str, names: &[String]) -> Self {
        if let (Some(d), Some(name)) = (&mut self.diagnostic, nearest(wanted, names)) {
            d.help = Some(format!("{MEANT}`{name}`?"));
        }
        self
    }

    /// Another place that has to do with it.
    pub(crate) fn related(mut self, span: Span, label: &str) -> Self {
        let snippet = self.source.snippet(span, label);
        if let Some(d) = &mut self.diagnostic {
            d.related = Some(snippet);
        }
        self
    }
}

/// The known name nearest to `wanted`, if it is near enough to be meant.
pub(crate) fn nearest<'n>(wanted: &str, known: &'n [String]) -> Option<&'n String> {
    if wanted.len() > 64 {
        return None;
    }
    let wanted = wanted.to_lowercase();
    let length = wanted.chars().count();
    let limit = if length < 3 { 0 } else { (length / 3).max(1) };
    let candidates = known.iter().filter(|k| k.len() <= 64);
    let scored = candidates.map(|k| (distance(&wanted, &k.to_lowercase()), k));
    scored.filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

/// Edit distance with transpositions (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
