//! "Agree on secrets": each TLS message with what it carries, and how the certificate was judged.

use rt_base::{AppRecord, Event, Time};

use super::model::{Chapter, Line};
use super::tell::Step;
use super::words;
use crate::read::{CertificateInfo, Side, TlsMessage, TlsMessageKind, TlsSession, TlsVersion};

const EXPLAIN: &str = "TLS makes the pipe private: the two ends agree on keys that nobody who listens can compute, and \
                       the server proves with a certificate that it really is who it claims to be.";

/// The version's name.
pub(crate) fn version_name(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Tls12 => "TLS 1.2",
        TlsVersion::Tls13 => "TLS 1.3",
    }
}

/// The chapter of the TLS handshake on a connection, if there was one.
pub(crate) fn tell(step: &Step<'_, '_>, conn: usize) -> Option<Chapter> {
    let tcp = step.view.tcp(step.view.conns[conn].client);
    let tls = tcp.tls.as_ref()?;
    let start = tls.messages.first().map_or(step.start(), |m| m.span.first.at);
    let end =
        tls.handshake_done.map_or_else(|| tls.messages.last().map_or(start, |m| m.span.last.at), |m| m.at);
    let tickets = |l: &Line| l.data.get("cache").is_some_and(|c| c == "tls-session");
    let asked = step.requests.iter().filter(|r| r.used().any(|u| u.local == tcp.client && !u.reused));
    let mut lines: Vec<Line> =
        asked.flat_map(|r| super::lookup::cache_lines(r)).filter(tickets).take(1).collect();
    for message in tls.messages.iter().filter(|m| m.span.first.at <= end) {
        message_lines(step, message, start, &mut lines);
    }
    lines.extend(judged(step, tls));
    if tls.resumed {
        let text = "both ends still had a secret from before, so no certificate had to be sent or checked";
        lines.push(Line::new("tls.resumed", "resumed", text));
    }
    let mut agreed: Vec<String> = tls.version.map(|v| version_name(v).to_string()).into_iter().collect();
    agreed.extend(tls.group.clone());
    agreed.push(tls.suite_name.clone());
    agreed.extend(tls.alpn.clone());
    agreed.retain(|s| !s.is_empty());
    Some(Chapter {
        code: "tls".into(),
        title: "agree on secrets".into(),
        subject: agreed.join(", "),
        start_ns: start.0,
        end_ns: end.0,
        remark: if tls.handshake_done.is_some() { "1 round trip".into() } else { "no agreement".into() },
        explain: EXPLAIN.into(),
        lines,
    })
}

fn message_lines(step: &Step<'_, '_>, message: &TlsMessage, start: Time, lines: &mut Vec<Line>) {
    let Some((code, name, text)) = message_words(&message.what) else { return };
    let arrow = if message.from == Side::Client { "→" } else { "←" };
    let sealed = if message.sealed { "encrypted" } else { "in clear" };
    lines.push(
        Line::new(code, format!("{name} {arrow}"), text)
            .at(message.span.last.at)
            .margin(words::after(start, message.span.last.at))
            .with("bytes", message.len)
            .with("on_the_wire", sealed),
    );
    if let TlsMessageKind::Certificate { chain } = &message.what {
        for (i, certificate) in chain.iter().enumerate() {
            lines.push(certificate_line(step, i, certificate));
        }
    }
}

fn certificate_line(step: &Step<'_, '_>, depth: usize, c: &CertificateInfo) -> Line {
    let names = if c.names.is_empty() { String::new() } else { format!(" for {}", c.names.join(", ")) };
    let until = c.not_after.map_or(String::new(), |t| format!(", until {}", date(t)));
    let text = format!("{}{names} · signed by {} · {}{until}", short(&c.subject), short(&c.issuer), c.key);
    let _ = step;
    Line::new("tls.certificate", if depth == 0 { "server" } else { "its signer" }, text)
        .deep(1)
        .with("subject", &c.subject)
        .with("issuer", &c.issuer)
        .with("serial", &c.serial)
        .with("signature", &c.signature)
        .with("not_before", c.not_before.map_or(String::new(), |t| t.to_string()))
        .with("not_after", c.not_after.map_or(String::new(), |t| t.to_string()))
}

#[allow(clippy::too_many_lines, reason = "a table of messages and what they say")]
fn message_words(what: &TlsMessageKind) -> Option<(&'static str, &'static str, String)> {
    Some(match what {
        TlsMessageKind::ClientHello {
            versions, suites, server_name, alpn, key_shares, psk_offered, ..
        } => {
            let mut parts = vec![format!("I speak {}", versions.join(", "))];
            parts.push(words::count(suites.len() as u64, "cipher suite"));
            parts.extend(server_name.as_ref().map(|n| format!("for {n}")));
            if !alpn.is_empty() {
                parts.push(format!("ALPN {}", alpn.join(", ")));
            }
            parts.push(format!("key share {}", key_shares.join(", ")));
            if *psk_offered > 0 {
                parts.push("and here is a ticket from last time".into());
            }
            ("tls.client_hello", "ClientHello", parts.join(" · "))
        }
        TlsMessageKind::ServerHello { version, suite, group, psk_accepted, .. } => {
            let mut parts = vec![format!("{version}, {suite}")];
            parts.extend(group.as_ref().map(|g| format!("my key share {g}")));
            if *psk_accepted {
                parts.push("ticket accepted".into());
            }
            ("tls.server_hello", "ServerHello", parts.join(" · "))
        }
        TlsMessageKind::HelloRetryRequest { group, .. } => {
            let text =
                format!("say it again with a key share for {}", group.as_deref().unwrap_or("another group"));
            ("tls.hello_retry", "HelloRetry", text)
        }
        TlsMessageKind::EncryptedExtensions { alpn, .. } => {
            let text = match alpn {
                Some(alpn) => format!("inside we speak {alpn} (from here on everything is encrypted)"),
                None => "from here on everything is encrypted".into(),
            };
            ("tls.encrypted_extensions", "Extensions", text)
        }
        TlsMessageKind::CertificateRequest => {
            ("tls.certificate_request", "CertRequest", "and who are you?".into())
        }
        TlsMessageKind::Certificate { chain } => {
            ("tls.certificate_chain", "Certificate", format!("who I am: a chain of {}", chain.len()))
        }
        TlsMessageKind::CertificateVerify { algorithm, .. } => {
            let text =
                format!("and the proof that the key is mine: a signature over all of the above, {algorithm}");
            ("tls.certificate_verify", "CertVerify", text)
        }
        TlsMessageKind::Finished { verified } => {
            let text = match verified {
                Some(true) => "checksum over the whole handshake: right, so nobody changed a byte of it",
                Some(false) => "checksum over the whole handshake: WRONG",
                None => "checksum over the whole handshake",
            };
            ("tls.finished", "Finished", text.into())
        }
        TlsMessageKind::Alert { fatal, name, .. } => {
            let text = if *fatal { format!("stop: {name}") } else { name.clone() };
            ("tls.alert", "Alert", text)
        }
        TlsMessageKind::ServerKeyExchange { group, .. } => (
            "tls.server_key_exchange",
            "ServerKey",
            format!("my key share {}", group.as_deref().unwrap_or("")),
        ),
        TlsMessageKind::ClientKeyExchange => ("tls.client_key_exchange", "ClientKey", "my key share".into()),
        TlsMessageKind::Other { note, .. } => ("tls.other", "Message", note.clone()),
        TlsMessageKind::NewSessionTicket { .. }
        | TlsMessageKind::KeyUpdate { .. }
        | TlsMessageKind::EndOfEarlyData
        | TlsMessageKind::ServerHelloDone
        | TlsMessageKind::CertificateStatus
        | TlsMessageKind::ChangeCipherSpec => return None,
    })
}

/// What the client made of the certificate.
fn judged(step: &Step<'_, '_>, tls: &TlsSession) -> Vec<Line> {
    let line = |(event, record): (&Event, &AppRecord)| match record {
        AppRecord::CertificateChecked { name: asked, chain, ok, note, .. } => {
            let chain: Vec<&str> = chain.iter().map(|s| short(s)).collect();
            let chain = chain.join(" ← ");
            let (code, verdict) = if *ok { ("tls.verified", "verified") } else { ("tls.refused", "REFUSED") };
            Some(Line::new(code, verdict, format!("{chain}: {note}")).at(event.at).with("name", asked))
        }
        _ => None,
    };
    judgement(step, tls).and_then(line).into_iter().collect()
}

/// What the step's machine said of the certificate that it was shown on this connection: during the handshake, and of the name
/// that it asked for. What it said of others explains nothing here.
pub(crate) fn judgement<'t>(step: &Step<'_, 't>, tls: &TlsSession) -> Option<(&'t Event, &'t AppRecord)> {
    let began = tls.messages.first()?.span.first.at;
    let last = tls.messages.last().map(|message| message.span.last);
    let over = tls.handshake_done.or(last)?.at;
    let meant = |name: &String| tls.server_name.as_ref().is_none_or(|asked| asked == name);
    let fits = |(event, record): &(&Event, &AppRecord)| {
        let AppRecord::CertificateChecked { name, .. } = record else { return false };
        event.node() == step.node && event.at >= began && event.at <= over && meant(name)
    };
    step.view.trace.said().find(fits)
}

/// The common name of a subject such as `O=Trust Services, CN=Root`; all of it when it has none.
pub(crate) fn short(subject: &str) -> &str {
    let named = subject.split(", ").find_map(|part| part.strip_prefix("CN="));
    named.unwrap_or(subject)
}

/// `2026-02-28` from seconds since 1970 (proleptic Gregorian; Howard Hinnant's civil_from_days).
fn date(unix: i64) -> String {
    let days = unix.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
