//! What a web server serves, back to YAML.

use super::app_yaml::certificate_name;
use super::plain_yaml::{Entries, list, map, q};
use crate::model::{Hosting, PageFile, Pages};

pub(super) fn show_pages(pages: &Pages) -> String {
    match pages {
        Pages::BuiltIn(set) => q(set),
        Pages::Files(files) => map(&files.iter().map(|file| (q(&file.path), page(file))).collect::<Vec<_>>()),
    }
}

fn page(file: &PageFile) -> String {
    let mut entries = Entries::default();
    let hex: String = file.bytes.iter().map(|b| format!("{b:02x}")).collect();
    entries.put("type", q(&file.kind));
    entries.put("hex", format!("\"{hex}\""));
    if let Some((status, to)) = &file.redirect {
        entries.put("redirect", q(to));
        entries.put("status", status.to_string());
    }
    entries.put_if(!file.cookies.is_empty(), "cookies", || list(file.cookies.iter().map(|one| q(one))));
    entries.0.extend(file.cache_control.iter().map(|rule| ("cache-control".to_owned(), q(rule))));
    map(&entries.0)
}

/// All certificates; the first is written already when it is the only one.
pub(super) fn write_certificates(entries: &mut Entries, first: Option<usize>, more: &[usize]) {
    if !more.is_empty() {
        entries.0.retain(|(key, _)| key != "certificate");
        let all = first.iter().chain(more).map(|&one| certificate_name(one));
        entries.put("certificate", list(all));
    }
}

/// What it has for other names.
pub(super) fn write_hosting(entries: &mut Entries, first: Option<usize>, hosting: &Hosting) {
    write_certificates(entries, first, &hosting.certificates);
    let sites: Vec<(String, String)> =
        hosting.sites.iter().map(|(name, pages)| (q(name), show_pages(pages))).collect();
    entries.put_if(!sites.is_empty(), "sites", || map(&sites));
    let words = [(hosting.refuses_sni, "sni"), (hosting.refuses_host, "host")];
    let words: Vec<String> = words.iter().filter(|(on, _)| *on).map(|(_, word)| (*word).to_owned()).collect();
    entries.put_if(!words.is_empty(), "strict", || list(words));
    let sockets = &hosting.sockets;
    entries.put_if(!sockets.is_empty(), "websocket", || super::websocket_yaml::sockets(sockets));
}

/// The same in a few words.
pub(super) fn say_hosting(hosting: &Hosting) -> String {
    let others = match hosting.sites.len() {
        0 => String::new(),
        n => format!(", and {}", rt_base::count(n as u64, "other site")),
    };
    others + &super::websocket_yaml::say(&hosting.sockets)
}
