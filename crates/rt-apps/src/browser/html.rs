//! Which resources a page names. html5gum tokenizes (WHATWG, 13.2.5); no tree is built, since only tags matter here.

use std::cell::RefCell;

use html5gum::{HtmlString, StartTag, State, Token, Tokenizer};

use crate::memo::Memo;

/// What a resource is for: decides its Accept field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// The page itself.
    Document,
    /// `<link rel=stylesheet>`.
    Style,
    /// `<script src>`.
    Script,
    /// `<img src>`.
    Image,
    /// A call of a script.
    Call,
}

/// Resources of one page at most.
const MOST: usize = 256;

/// What a page names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Named {
    /// Kind and reference of each resource in the order of the page, each once.
    pub(super) resources: Vec<(Kind, String)>,
    /// Its `<base href>`.
    pub(super) base: Option<String>,
    /// Where its `<meta http-equiv=refresh>` leads, and after how many seconds.
    pub(super) refresh: Option<(u64, String)>,
}

thread_local! {
    static READ: RefCell<Memo<Named>> = const { RefCell::new(Memo::new()) };
}

/// Reads a page.
pub(super) fn read_page(html: &[u8]) -> Named {
    if let Some(known) = READ.with_borrow(|memo| memo.get(html)) {
        return known;
    }
    let named = read(html);
    READ.with_borrow_mut(|memo| memo.put(html, named.clone()));
    named
}

fn read(html: &[u8]) -> Named {
    let mut found: Vec<(Kind, String)> = Vec::new();
    let (mut base, mut refresh) = (None, None);
    let mut tokens = Tokenizer::new(html);
    // The input is a slice: reading it cannot fail.
    while let Some(Ok(token)) = tokens.next() {
        let Token::StartTag(tag) = token else { continue };
        let named = match &**tag.name {
            b"link" if is_stylesheet(&tag) => attribute(&tag, b"href").map(|href| (Kind::Style, href)),
            b"script" => attribute(&tag, b"src").map(|src| (Kind::Script, src)),
            b"img" => attribute(&tag, b"src").map(|src| (Kind::Image, src)),
            b"base" => {
                base = base.or_else(|| attribute(&tag, b"href"));
                None
            }
            b"meta" if is_refresh(&tag) => {
                refresh = refresh.or_else(|| refresh_of(&attribute(&tag, b"content")?));
                None
            }
            _ => None,
        };
        // What stands inside these is text (WHATWG, 13.2.6.4.4).
        match &**tag.name {
            b"script" => tokens.set_state(State::ScriptData),
            b"style" | b"noscript" | b"iframe" | b"noembed" | b"noframes" => tokens.set_state(State::RawText),
            b"title" | b"textarea" => tokens.set_state(State::RcData),
            _ => {}
        }
        let wanted =
            |named: &(Kind, String)| !named.1.is_empty() && !found.contains(named) && found.len() < MOST;
        if let Some(named) = named.filter(wanted) {
            found.push(named);
        }
    }
    Named { resources: found, base, refresh }
}

fn is_refresh(tag: &StartTag<()>) -> bool {
    attribute(tag, b"http-equiv").is_some_and(|what| what.eq_ignore_ascii_case("refresh"))
}

/// `0; url=https://example.com/`: the time in whole seconds, and where to (WHATWG, 4.2.5.3, "shared declarative refresh
/// steps"). `None` when it is nothing such, or when a page only wants to be loaded again.
fn refresh_of(content: &str) -> Option<(u64, String)> {
    let content = content.trim_start();
    let digits = content.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 && !content.starts_with('.') {
        return None;
    }
    // More digits than a number has are a very long time.
    let seconds = if digits == 0 { 0 } else { content[..digits].parse().unwrap_or(u64::MAX) };
    let rest = content[digits..].trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    if !rest.starts_with(|c: char| c == ';' || c == ',' || c.is_ascii_whitespace()) {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix([';', ',']).unwrap_or(rest).trim_start();
    let word = rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("url"));
    let named = word.then(|| rest[3..].trim_start().strip_prefix('=')).flatten().map(str::trim_start);
    let target = named.unwrap_or(rest);
    let target = match target.chars().next() {
        Some(quote @ ('"' | '\'')) => target[1..].split(quote).next().unwrap_or_default(),
        _ => target,
    };
    let target = target.trim();
    (!target.is_empty()).then(|| (seconds, target.to_owned()))
}

fn is_stylesheet(tag: &StartTag<()>) -> bool {
    let rel = attribute(tag, b"rel").unwrap_or_default();
    rel.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("stylesheet"))
}

fn attribute(tag: &StartTag<()>, name: &[u8]) -> Option<String> {
    let value = tag.attributes.get(&HtmlString::from(name.to_vec()))?;
    Some(String::from_utf8_lossy(value).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Kind, read_page, refresh_of};

    #[test]
    fn resources_come_in_the_order_of_the_page() {
        let cases: &[(&str, &[(Kind, &str)])] = &[
            (
                r#"<link rel="preload StyleSheet" href="a.css"><script src=b.js></script><img src=" c.png "><img src=c.png>"#,
                &[(Kind::Style, "a.css"), (Kind::Script, "b.js"), (Kind::Image, "c.png")],
            ),
            (
                "<link rel=icon href=x><img><script>let a = '<img src=no>';</script><img src=yes>",
                &[(Kind::Image, "yes")],
            ),
            ("<!-- <img src=no> --><title><img src=no></title><style><img src=no></style>", &[]),
            ("<img src='a&amp;b'", &[]),
            ("<IMG SRC='a?x&amp;y'>", &[(Kind::Image, "a?x&y")]),
        ];
        for (html, expected) in cases {
            let found = read_page(html.as_bytes()).resources;
            let found: Vec<_> = found.iter().map(|(kind, name)| (*kind, name.as_str())).collect();
            assert_eq!(found, *expected, "{html}");
        }
        assert_eq!(read_page(b"<base href=/x/><base href=/y/>").base.as_deref(), Some("/x/"));
    }

    #[test]
    fn a_refresh_leads_somewhere_or_nowhere() {
        for (content, expected) in [
            ("0; url=https://a.test/?x=1", Some((0, "https://a.test/?x=1"))),
            (" 5;URL = '/next page' rest", Some((5, "/next page"))),
            ("1.9, /there", Some((1, "/there"))),
            ("3 url=\"/quoted", Some((3, "/quoted"))),
            (".5;urls", Some((0, "urls"))),
            ("99999999999999999999; x", Some((u64::MAX, "x"))),
            ("10", None),
            ("10;", None),
            ("0url=x", None),
            ("soon; url=x", None),
            ("0; url=", None),
        ] {
            let found = refresh_of(content);
            assert_eq!(found.as_ref().map(|(after, to)| (*after, to.as_str())), expected, "{content}");
        }
        let page = b"<noscript><meta http-equiv=refresh content='0;url=/no'></noscript>\
                     <META HTTP-EQUIV=Refresh CONTENT='2; url=/a&amp;b'><meta http-equiv=refresh content='0;url=/late'>";
        assert_eq!(read_page(page).refresh, Some((2, "/a&b".to_owned())));
    }
}
