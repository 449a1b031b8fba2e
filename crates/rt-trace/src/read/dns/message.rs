//! One DNS message in words, by the `domain` crate; record by record, so that one bad record does not lose the rest.

use domain::base::iana::{OptRcode, Rtype};
use domain::base::{Message, ParsedName, ParsedRecord, RecordSection};
use domain::rdata::AllRecordData;

use super::{DnsOutcome, DnsQuestion, DnsRecord};

/// Records of one section that are read at most.
const MAX_RECORDS: usize = 10_000;

/// A message as it is.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) id: u16,
    pub(super) response: bool,
    pub(super) authoritative: bool,
    pub(super) truncated: bool,
    pub(super) recursion_desired: bool,
    pub(super) recursion_available: bool,
    pub(super) rcode: u8,
    pub(super) rcode_name: String,
    pub(super) questions: Vec<DnsQuestion>,
    pub(super) edns_size: Option<u16>,
    pub(super) answers: Vec<DnsRecord>,
    pub(super) authority: Vec<DnsRecord>,
    pub(super) additional: Vec<DnsRecord>,
}

/// Reads a message; `None` when it is not one.
pub(super) fn parse(bytes: &[u8]) -> Option<Parsed> {
    let message = Message::from_octets(bytes).ok()?;
    let header = message.header();
    let questions: Vec<DnsQuestion> = message
        .question()
        .take(16)
        .map_while(Result::ok)
        .map(|q| DnsQuestion { name: name(q.qname()), rtype: q.qtype().to_string() })
        .collect();
    // Bytes on port 53 that ask nothing and answer nothing are not taken for DNS.
    if questions.is_empty() && message.header_counts().qdcount() > 0 {
        return None;
    }
    let opt = message.opt();
    let rcode = message.opt_rcode();
    Some(Parsed {
        id: header.id(),
        response: header.qr(),
        authoritative: header.aa(),
        truncated: header.tc(),
        recursion_desired: header.rd(),
        recursion_available: header.ra(),
        rcode: u8::try_from(rcode.to_int()).unwrap_or(u8::MAX),
        rcode_name: rcode_name(rcode),
        questions,
        edns_size: opt.map(|o| o.udp_payload_size()),
        answers: records(message.answer().ok()),
        authority: records(message.authority().ok()),
        additional: records(message.additional().ok()),
    })
}

fn rcode_name(rcode: OptRcode) -> String {
    rcode
        .to_mnemonic()
        .map_or_else(|| format!("RCODE{}", rcode.to_int()), |m| String::from_utf8_lossy(m).into_owned())
}

fn records(section: Option<RecordSection<'_, &[u8]>>) -> Vec<DnsRecord> {
    section
        .into_iter()
        .flatten()
        .take(MAX_RECORDS)
        .map_while(Result::ok)
        .filter(|r| r.rtype() != Rtype::OPT)
        .map(|r| record(&r))
        .collect()
}

fn record(record: &ParsedRecord<'_, &[u8]>) -> DnsRecord {
    type Data<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;
    let data = match record.to_any_record::<Data<'_>>() {
        Ok(full) => words(record.rtype(), &full.data().to_string()),
        Err(e) => format!("(malformed: {e})"),
    };
    DnsRecord {
        name: name(&record.owner()),
        rtype: record.rtype().to_string(),
        ttl: record.ttl().as_secs(),
        data,
    }
}

/// Names in record data lose their final dot as names elsewhere do.
fn words(rtype: Rtype, data: &str) -> String {
    if !matches!(
        rtype,
        Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::MX | Rtype::SOA | Rtype::DNAME | Rtype::SRV
    ) {
        return data.to_owned();
    }
    let words: Vec<&str> = data.split(' ').map(without_dot).collect();
    words.join(" ")
}

fn name(name: &impl ToString) -> String {
    without_dot(&name.to_string()).to_owned()
}

/// A name without its final dot; the root is `.`.
fn without_dot(name: &str) -> &str {
    match name {
        "." | "" => ".",
        name => name.strip_suffix('.').unwrap_or(name),
    }
}

/// What a response amounts to (RFC 2308 for the negative ones).
pub(super) fn outcome(m: &Parsed) -> DnsOutcome {
    let has = |list: &[DnsRecord], rtype: &str| list.iter().any(|r| r.rtype == rtype);
    match m.rcode {
        3 => DnsOutcome::NxDomain,
        0 if m.truncated => DnsOutcome::Truncated,
        0 if !m.answers.is_empty() => DnsOutcome::Answer,
        0 if !m.authoritative && has(&m.authority, "NS") && !has(&m.authority, "SOA") => DnsOutcome::Referral,
        0 => DnsOutcome::NoData,
        _ => DnsOutcome::Failure,
    }
}
