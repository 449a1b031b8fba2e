//! Which resources a page names. html5gum tokenizes (WHATWG, 13.2.5); no tree is built, since only tags matter here.

use html5gum::{HtmlString, StartTag, State, Token, Tokenizer};

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

/// Kind and reference of each resource in the order of the page, each once; and the page's `<base href>`.
pub(super) fn resources(html: &[u8]) -> (Vec<(Kind, String)>, Option<String>) {
    let mut found: Vec<(Kind, String)> = Vec::new();
    let mut base = None;
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
    (found, base)
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
    use super::{Kind, resources};

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
            let (found, _) = resources(html.as_bytes());
            let found: Vec<_> = found.iter().map(|(kind, name)| (*kind, name.as_str())).collect();
            assert_eq!(found, *expected, "{html}");
        }
        assert_eq!(resources(b"<base href=/x/><base href=/y/>").1.as_deref(), Some("/x/"));
    }
}
