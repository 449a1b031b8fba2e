//! docs/clients.md is the table of all rows, with the versions that were seen when it was last written.
//!
//! `UPDATE_DOCS=1 cargo test -p roundtrip --test clients the_page` writes it.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::attached::GROUPS;
use crate::play::{Row, pattern};

/// How each client says its version.
const CLIENTS: &[(&str, &str)] = &[
    ("chromium", "chromium --version"),
    ("curl", "curl --version"),
    ("dhclient", "dhclient --version"),
    ("dig", "dig -v"),
    ("hping3", "hping3 --version"),
    ("iperf3", "iperf3 --version"),
    ("mtr", "mtr --version"),
    ("nc", "dpkg-query -Wf '${Version}' netcat-openbsd"),
    ("nmap", "nmap --version"),
    ("node", "node --version"),
    ("nslookup", "nslookup -version"),
    ("ntpdig", "ntpdig --version"),
    ("openssl", "openssl version"),
    ("ping", "ping -V"),
    ("python3", "python3 --version"),
    ("ss", "ss -V"),
    ("ssh", "ssh -V"),
    ("tcpdump", "tcpdump --version"),
    ("tracepath", "tracepath -V"),
    ("traceroute", "traceroute --version"),
    ("tshark", "tshark --version"),
    ("wget", "wget --version"),
];

/// Between these, the page is ours.
const BEGIN: &str = "<!-- the table: UPDATE_DOCS=1 cargo test -p roundtrip --test clients the_page -->\n";

#[test]
fn the_page_lists_every_row() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/clients.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (intro, found) = text.split_once(BEGIN).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{intro}{BEGIN}{}", table(version))).unwrap();
        return;
    }
    // Versions are whatever was installed when the page was written.
    let blank: String = found.lines().map(|l| without_version(l) + "\n").collect();
    assert_eq!(blank, table(|_| String::new()), "docs/clients.md is not the table of the rows");
}

fn without_version(line: &str) -> String {
    match line.splitn(4, " | ").collect::<Vec<_>>()[..] {
        [client, _, asked, came] if client != "| client" => format!("{client} |  | {asked} | {came}"),
        _ => line.to_owned(),
    }
}

fn table(version: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for (heading, group) in GROUPS {
        let _ =
            write!(text, "\n## {heading}\n\n| client | version | asked | came back |\n|---|---|---|---|\n");
        for (_, row) in group.rows {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                row.client,
                version(row.client),
                asked(row),
                row.came
            );
        }
    }
    text
}

/// A command as it stands in a cell.
fn asked(row: &Row) -> String {
    let place = if row.after { ", outside" } else { "" };
    format!("`{}`{place}", row.asked.replace('|', "\\|"))
}

fn version(client: &str) -> String {
    let (_, command) = CLIENTS.iter().find(|(name, _)| *name == client).unwrap();
    let out = Command::new("sh").args(["-c", &format!("{{ {command}; }} 2>&1")]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let found = pattern(r"\d+(\.[0-9a-zA-Z-]+)+|s?20\d{6}").find(&text).map(|m| m.as_str().to_owned());
    found.unwrap_or_else(|| panic!("{client}: no version in {text}"))
}

#[test]
fn every_client_says_its_version() {
    for (_, group) in GROUPS {
        for (name, row) in group.rows {
            assert!(CLIENTS.iter().any(|(client, _)| *client == row.client), "{name}: which client?");
        }
    }
}
