//! The table as one HTML file with everything inside: no script, no network; a cell says its reason when pointed at.

use std::fmt::Write;

use super::{Mark, Matrix};

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:14px/1.4 system-ui,sans-serif;margin:2em}\
table{border-collapse:collapse}th{font-weight:500;text-align:left;padding:2px 8px;white-space:nowrap}\
thead th{vertical-align:bottom}thead th div{writing-mode:vertical-rl;transform:rotate(180deg);max-height:16em}\
tbody th{position:sticky;left:0;background:Canvas}td{width:1.6em;height:1.6em;text-align:center;\
border:1px solid color-mix(in srgb,CanvasText 15%,Canvas)}\
.yes{background:#2a9d4a;color:#fff}.closed{background:#e9c46a;color:#000}.firewall,.security-group,.network-acl\
{background:#c8443a;color:#fff}.no-route{background:#6b6b78;color:#fff}.no-mapping{background:#7a4fb5;color:#fff}\
.other,.other-machine{background:#b06a2c;color:#fff}.itself{opacity:.4}dt{float:left;clear:left;width:2em;text-align:center}dd{margin-left:3em}";

/// The page.
pub(super) fn page(matrix: &Matrix) -> String {
    let (title, (yes, all)) = (escape(&matrix.scenario), matrix.counts());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}: who reaches what</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>{title}: who reaches what</h1>\n<p>{yes} of {all} pairs: yes. Rows ask, columns \
         are asked; point at a cell for its reason.</p>\n<table><thead><tr><th></th>"
    );
    for column in &matrix.columns {
        let _ = write!(out, "<th scope=\"col\"><div>{}</div></th>", escape(&column.name()));
    }
    out.push_str("</tr></thead><tbody>\n");
    for (row, cells) in matrix.rows.iter().zip(&matrix.cells) {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(row));
        for cell in cells {
            let why = if cell.node.is_some() { cell.reason() } else { cell.mark.say().to_owned() };
            let title = escape(&format!("{} to {}: {why}", cell.from, cell.to));
            let (class, letter) = (class(cell.mark), cell.mark.letter());
            let _ = write!(out, "<td class=\"{class}\" title=\"{title}\">{letter}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>\n<dl>");
    let mut marks: Vec<Mark> = matrix.cells.iter().flatten().map(|c| c.mark).collect();
    marks.sort_unstable();
    marks.dedup();
    for mark in marks {
        let _ = write!(out, "<dt class=\"{}\">{}</dt><dd>{}</dd>", class(mark), mark.letter(), mark.say());
    }
    out.push_str("</dl>\n</body></html>\n");
    out
}

fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Itself => "itself",
        Mark::Yes => "yes",
        Mark::Closed => "closed",
        Mark::Firewall => "firewall",
        Mark::SecurityGroup => "security-group",
        Mark::NetworkAcl => "network-acl",
        Mark::NoRoute => "no-route",
        Mark::NoMapping => "no-mapping",
        Mark::OtherMachine => "other-machine",
        Mark::Other => "other",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
