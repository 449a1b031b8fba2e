//! DNS messages as plain values: parsed from bytes and built into bytes with the `domain` library.
//!
//! Not for: zone files (see `zone.rs`) or what a message means. Simplifications: one question per message (as everybody
//! does), class IN only; records of types that the library does not know keep their raw data.

use bytes::Bytes;
use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::message_builder::{AdditionalBuilder, PushError};
use domain::base::name::FlattenInto;
use domain::base::opt::subnet::ClientSubnet;
use domain::base::{MessageBuilder, StaticCompressor, Ttl};
use domain::rdata::ZoneRecordData;
use ipnet::IpNet;

/// A domain name; compares without regard to case.
pub type Name = domain::base::Name<Bytes>;

/// The data of a record.
pub type Data = ZoneRecordData<Bytes, Name>;

/// The UDP payload size that we offer with EDNS(0): what the DNS flag day 2020 settled on.
pub(crate) const EDNS_SIZE: u16 = 1232;

/// The UDP payload size without EDNS(0) (RFC 1035, 2.3.4).
pub(crate) const PLAIN_SIZE: usize = 512;

/// One resource record of class IN.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Owner.
    pub name: Name,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Type and data.
    pub data: Data,
}

impl Record {
    /// Its type.
    #[must_use]
    pub fn rtype(&self) -> Rtype {
        use domain::base::rdata::RecordData;
        self.data.rtype()
    }
}

impl Record {
    /// The data for people: names without the final dot.
    #[must_use]
    pub fn shown(&self) -> String {
        let text = self.data.to_string();
        match &self.data {
            Data::Ns(_) | Data::Cname(_) | Data::Mx(_) | Data::Ptr(_) => {
                text.trim_end_matches('.').to_string()
            }
            _ => text,
        }
    }
}

impl std::fmt::Display for Record {
    /// As `dig` prints it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\t{}\tIN\t{}\t{}", self.name.fmt_with_dot(), self.ttl, self.rtype(), self.data)
    }
}

/// A message.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// Joins the answer to the question.
    pub id: u16,
    /// Answer (QR).
    pub response: bool,
    /// From the zone's own server (AA).
    pub authoritative: bool,
    /// Cut off: ask again over TCP (TC).
    pub truncated: bool,
    /// The asker wants the whole work done (RD).
    pub recursion_desired: bool,
    /// The answerer does such work (RA).
    pub recursion_available: bool,
    /// What came of it.
    pub rcode: Rcode,
    /// What is asked.
    pub question: Option<(Name, Rtype)>,
    /// Records asked for.
    pub answer: Vec<Record>,
    /// Who is responsible.
    pub authority: Vec<Record>,
    /// What helps (glue).
    pub additional: Vec<Record>,
    /// UDP payload size of the sender, if it speaks EDNS(0) (RFC 6891).
    pub edns: Option<u16>,
    /// The network of the client for whom a resolver asks, with EDNS(0) (RFC 7871).
    pub client_subnet: Option<Subnet>,
}

/// EDNS Client Subnet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subnet {
    /// The network that was told.
    pub network: IpNet,
    /// For how much of it the answer is; 0 in a question, and in an answer that is for everybody.
    pub scope: u8,
}

/// The bytes are not a DNS message that we can use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl Message {
    /// A question.
    #[must_use]
    pub fn query(id: u16, name: Name, rtype: Rtype) -> Message {
        Message {
            id,
            response: false,
            authoritative: false,
            truncated: false,
            recursion_desired: false,
            recursion_available: false,
            rcode: Rcode::NOERROR,
            question: Some((name, rtype)),
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            edns: None,
            client_subnet: None,
        }
    }

    /// An empty answer to this question; EDNS(0) is answered with EDNS(0).
    #[must_use]
    pub fn reply(&self) -> Message {
        Message {
            response: true,
            rcode: Rcode::NOERROR,
            truncated: false,
            authoritative: false,
            recursion_available: false,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            edns: self.edns.map(|_| EDNS_SIZE),
            client_subnet: self.client_subnet.map(|subnet| Subnet { scope: 0, ..subnet }),
            ..self.clone()
        }
    }

    /// How long an answer over UDP may be for the sender of this question.
    #[must_use]
    pub fn udp_limit(&self) -> usize {
        self.edns.map_or(PLAIN_SIZE, |size| usize::from(size.min(EDNS_SIZE)).max(PLAIN_SIZE))
    }

    /// Parses a message.
    ///
    /// # Errors
    /// [`Malformed`] when it is no message, not a plain query or answer, or has more than one question.
    pub fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
        let raw = domain::base::Message::from_octets(Bytes::copy_from_slice(bytes)).map_err(|_| Malformed)?;
        let header = raw.header();
        if header.opcode() != Opcode::QUERY || raw.header_counts().qdcount() > 1 {
            return Err(Malformed);
        }
        let question = match raw.question().next() {
            Some(q) => {
                let q = q.map_err(|_| Malformed)?;
                let rtype = q.qtype();
                Some((q.into_qname().try_flatten_into().map_err(|_| Malformed)?, rtype))
            }
            None => None,
        };
        Ok(Message {
            id: header.id(),
            response: header.qr(),
            authoritative: header.aa(),
            truncated: header.tc(),
            recursion_desired: header.rd(),
            recursion_available: header.ra(),
            rcode: header.rcode(),
            question,
            answer: records(raw.answer().map_err(|_| Malformed)?)?,
            authority: records(raw.authority().map_err(|_| Malformed)?)?,
            additional: records(raw.additional().map_err(|_| Malformed)?)?,
            edns: raw.opt().map(|opt| opt.udp_payload_size()),
            client_subnet: raw.opt().and_then(|opt| subnet(opt.opt().client_subnet()?)),
        })
    }

    /// The bytes of this message, at most `limit` of them: what does not fit is left out whole. Records missing from the
    /// answer or authority section set TC; missing glue does not, unless it is a referral's (RFC 9471).
    #[must_use]
    pub fn emit(&self, limit: usize) -> Vec<u8> {
        // The error would be that not even the question fits: not at 512 bytes or more, a name has at most 255.
        self.build(limit, true).unwrap_or_default()
    }

    fn build(&self, limit: usize, records: bool) -> Result<Vec<u8>, PushError> {
        let mut builder = MessageBuilder::from_target(StaticCompressor::new(Vec::new()))
            .map_err(|_| PushError::ShortBuf)?;
        builder.set_push_limit(limit);
        let header = builder.header_mut();
        header.set_id(self.id);
        header.set_qr(self.response);
        header.set_aa(self.authoritative);
        header.set_tc(self.truncated || !records);
        header.set_rd(self.recursion_desired);
        header.set_ra(self.recursion_available);
        header.set_rcode(self.rcode);
        let mut section = builder.question();
        if let Some((name, rtype)) = &self.question {
            section.push((name, *rtype))?;
        }
        let mut section = section.answer();
        let mut whole = true;
        for record in self.answer.iter().filter(|_| records) {
            whole &= section.push(tuple(record)).is_ok();
        }
        let mut section = section.authority();
        for record in self.authority.iter().filter(|_| records) {
            whole &= section.push(tuple(record)).is_ok();
        }
        let mut section = section.additional();
        let mut glue = 0;
        for record in self.additional.iter().filter(|_| records) {
            glue += usize::from(section.push(tuple(record)).is_ok());
        }
        let referral = self.answer.is_empty() && !self.authoritative;
        whole &= !(referral && glue < self.additional.len());
        self.push_edns(&mut section, &mut whole)?;
        if records && !whole {
            return self.build(limit, false);
        }
        Ok(section.finish().into_target())
    }

    fn push_edns(
        &self,
        section: &mut AdditionalBuilder<StaticCompressor<Vec<u8>>>,
        whole: &mut bool,
    ) -> Result<(), PushError> {
        let Some(size) = self.edns else { return Ok(()) };
        let pushed = section.opt(|opt| {
            opt.set_udp_payload_size(size);
            if let Some(Subnet { network, scope }) = self.client_subnet {
                opt.client_subnet(network.prefix_len(), scope, network.addr())?;
            }
            Ok(())
        });
        match pushed {
            Ok(()) => Ok(()),
            Err(_) if *whole => {
                *whole = false;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// A subnet whose lengths an address has.
fn subnet(told: ClientSubnet) -> Option<Subnet> {
    let network = IpNet::new(told.addr(), told.source_prefix_len()).ok()?.trunc();
    Some(Subnet { network, scope: told.scope_prefix_len() })
}

fn tuple(record: &Record) -> (&Name, Class, Ttl, &Data) {
    (&record.name, Class::IN, Ttl::from_secs(record.ttl), &record.data)
}

/// The records of a section in class IN; EDNS's pseudo record and foreign classes are left out.
fn records(section: domain::base::message::RecordSection<'_, Bytes>) -> Result<Vec<Record>, Malformed> {
    let mut out = Vec::new();
    for record in section {
        let record = record.map_err(|_| Malformed)?;
        if record.class() != Class::IN || record.rtype() == Rtype::OPT {
            continue;
        }
        let record = record.into_record::<ZoneRecordData<Bytes, domain::base::ParsedName<Bytes>>>();
        let Some(record) = record.map_err(|_| Malformed)? else { continue };
        let ttl = record.ttl().as_secs();
        let record: domain::base::Record<Name, Data> = record.try_flatten_into().map_err(|_| Malformed)?;
        let (name, data) = record.into_owner_and_data();
        // RFC 2181, 8: a TTL with the top bit set counts as zero.
        out.push(Record { name, ttl: if ttl > i32::MAX as u32 { 0 } else { ttl }, data });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Data, Message, Name, Record};

    fn sample() -> Message {
        let name = Name::bytes_from_str("www.example.com").unwrap();
        let mut message = Message::query(7, name.clone(), super::Rtype::A).reply();
        message.edns = Some(1232);
        let alias = Data::Cname(domain::rdata::Cname::new(Name::bytes_from_str("example.com").unwrap()));
        message.answer.push(Record { name: name.clone(), ttl: 60, data: alias });
        message.answer.push(Record {
            name,
            ttl: 60,
            data: Data::A(domain::rdata::A::from_octets(192, 0, 2, 1)),
        });
        message
    }

    #[test]
    fn what_is_written_is_read_back() {
        let message = sample();
        assert_eq!(Message::parse(&message.emit(512)), Ok(message.clone()));
        let network = "203.0.113.0/24".parse().unwrap();
        let message = Message { client_subnet: Some(super::Subnet { network, scope: 24 }), ..message };
        assert_eq!(Message::parse(&message.emit(512)), Ok(message));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Hostile bytes are refused or understood, and what was understood can be written.
        #[test]
        fn bytes_never_panic(mut edits in prop::collection::vec((0usize..80, any::<u8>()), 0..6), cut in 0usize..90) {
            let mut bytes = sample().emit(512);
            for (at, byte) in edits.drain(..) {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(cut.max(1));
            if let Ok(message) = Message::parse(&bytes) {
                let written = message.emit(65_535);
                prop_assert!(written.is_empty() || Message::parse(&written).is_ok());
            }
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&bytes);
        }
    }
}
