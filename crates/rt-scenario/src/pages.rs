//! What web servers serve: page sets, folders, pages written in the file, and other sites at the same address.

use crate::diag::Code;
use crate::dns::host_name_problem;
use crate::language::PAGE_SETS;
use crate::model::{Hosting, PageFile, Pages};
use crate::tree::{Key, Value};
use crate::world::World;

/// The status of a redirect that says none.
const MOVED: u16 = 301;

impl World<'_, '_> {
    /// The page set or folder that `value` names.
    pub(crate) fn read_pages(&mut self, value: Option<&Value>, usual: &str) -> Pages {
        let Some(value) = value else { return Pages::BuiltIn(usual.to_owned()) };
        let Some(text) = value.text() else { return self.read_page_files(value) };
        if PAGE_SETS.contains(&text) {
            return Pages::BuiltIn(text.to_owned());
        }
        if !text.contains(['/', '.']) {
            self.problems
                .add(
                    Code::UnknownReference,
                    value.span,
                    format!("there is no page set `{text}`"),
                    "no such page set",
                )
                .known(text, PAGE_SETS)
                .help("a folder is written with a slash: `./my-pages`");
            return Pages::BuiltIn(usual.to_owned());
        }
        match self.folders.read(text) {
            Ok(files) => Pages::Files(files.into_iter().map(of_folder).collect()),
            Err(why) => {
                let message = format!("the folder `{text}` cannot be read: {why}");
                self.problems.add(Code::BadFolder, value.span, message, "this folder");
                Pages::BuiltIn(usual.to_owned())
            }
        }
    }

    /// Pages written in the scenario itself.
    fn read_page_files(&mut self, value: &Value) -> Pages {
        let mut files = Vec::new();
        for (path, page) in value.entries() {
            let redirect = page.str_at("redirect").map(|to| {
                let status = page.whole_at("status").and_then(|status| u16::try_from(status).ok());
                (status.unwrap_or(MOVED), to.to_owned())
            });
            if let Some((status @ 304..=306, _)) = &redirect {
                let message = format!("{status} leads nowhere");
                self.problems
                    .add(Code::WrongShape, path.span, message, "not a redirect")
                    .help("write `status: 302`, or one of 301, 303, 307, 308");
            }
            let given = page.str_at("text").map(|t| t.as_bytes().to_vec());
            let bytes = given.or_else(|| from_hex(page.str_at("hex")?));
            let bytes = bytes.or_else(|| redirect.is_some().then(Vec::new));
            let Some(bytes) = bytes.filter(|_| path.text.starts_with('/')) else {
                self.problems
                    .add(Code::WrongShape, path.span, format!("`{}` is not a page", path.text), "not a page")
                    .help("write `/index.html: { type: text/html, text: \"...\" }`");
                continue;
            };
            let kind = page.str_at("type").map_or_else(|| content_type(&path.text).to_owned(), str::to_owned);
            let cookies = page.get("cookies").map(Value::items).unwrap_or_default();
            let cookies = cookies.iter().filter_map(|one| Some(one.text()?.to_owned())).collect();
            files.push(PageFile {
                path: path.text.clone(),
                kind,
                bytes,
                redirect,
                cookies,
                cache_control: page.str_at("cache-control").map(str::to_owned),
            });
        }
        Pages::Files(files)
    }

    /// `sites:` and `strict:` of a web server; `certificates` are its own, the first one included.
    pub(crate) fn read_hosting(&mut self, value: &Value, certificates: &[usize]) -> Hosting {
        let mut sites = Vec::new();
        for (name, pages) in value.get("sites").map(Value::entries).unwrap_or_default() {
            if self.is_site_name(name) {
                sites.push((name.text.to_lowercase(), self.read_pages(Some(pages), "hello")));
            }
        }
        let strict = value.get("strict").map(Value::items).unwrap_or_default();
        let refuses = |what: &str| strict.iter().any(|one| one.text() == Some(what));
        Hosting {
            certificates: certificates.iter().skip(1).copied().collect(),
            sites,
            refuses_sni: refuses("sni"),
            refuses_host: refuses("host"),
            sockets: self.read_sockets(value),
        }
    }

    /// `sites:` of a site of the internet: each with its pages and a certificate of its own, unless the machine speaks no
    /// TLS (`secure`).
    pub(crate) fn read_hosted(&mut self, site: &str, value: &Value, secure: bool) -> Hosting {
        let mut hosting = Hosting::default();
        for (name, about) in value.get("sites").map(Value::entries).unwrap_or_default() {
            if !self.is_site_name(name) {
                continue;
            }
            let host = name.text.to_lowercase();
            let pages = if about.text().is_some() { Some(about) } else { about.get("pages") };
            let pages = self.read_pages(pages, "hello");
            let written = about.get("certificate");
            if secure || written.is_some() {
                let called = format!("{site}-{host}");
                let made = self.read_certificate(&called, written, std::slice::from_ref(&host));
                hosting.certificates.extend(made);
            }
            hosting.sites.push((host, pages));
        }
        hosting
    }

    fn is_site_name(&mut self, name: &Key) -> bool {
        let Some(why) = host_name_problem(&name.text) else { return true };
        let message = format!("`{}` is not a host name: {why}", name.text);
        self.problems.add(Code::BadName, name.span, message, "not a host name");
        false
    }
}

/// Bytes from pairs of hexadecimal digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if digits.len().is_multiple_of(2) { digits.chunks(2).map(byte).collect() } else { None }
}

/// The content type that a path's ending says.
fn content_type(path: &str) -> &'static str {
    if path.ends_with('/') {
        return "text/html; charset=utf-8";
    }
    match path.rsplit('.').next().unwrap_or("") {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css",
        "js" => "text/javascript",
        "json" => "application/json",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn of_folder((path, bytes): (String, Vec<u8>)) -> PageFile {
    let kind = content_type(&path).to_owned();
    PageFile { path, kind, bytes, ..PageFile::default() }
}
