//! One event as bytes. What is recorded for every packet on its way has fixed little-endian fields, because it must
//! cost next to nothing; all else is postcard behind a length. The first byte tells which.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rt_base::{ConnId, Event, EventId, FrameId, LinkId, PortId, Time, What};

const BY_POSTCARD: u8 = 0;
const TRANSMIT: u8 = 1;
const ROUTE: u8 = 2;
const DELIVER: u8 = 3;
const SWITCH_FORWARD: u8 = 4;
const TCP_WRITE: u8 = 5;
const TCP_READ: u8 = 6;
const FROM_OUTSIDE: u8 = 7;
const TO_OUTSIDE: u8 = 8;

/// Longest event with fixed fields, bytes.
const FIXED_MAX: usize = 67;
/// Longest event by postcard that is taken without a second try.
const USUAL_MAX: usize = 512;

/// Appends `event`.
pub(super) fn encode(event: &Event, out: &mut Vec<u8>) -> io::Result<()> {
    match &event.what {
        What::Transmit { link, port, processing, start, done, arrive } => {
            let mut fixed = Fixed::new(TRANSMIT, event);
            fixed.put(&link.0.to_le_bytes());
            fixed.put(&port.0.to_le_bytes());
            fixed.put(&processing.to_le_bytes());
            fixed.put(&start.0.to_le_bytes());
            fixed.put(&done.0.to_le_bytes());
            fixed.put(&arrive.0.to_le_bytes());
            fixed.append_to(out);
        }
        What::Route { rule, out: port, next_hop: IpAddr::V4(next_hop), ttl } => {
            let mut fixed = Fixed::new(ROUTE, event);
            fixed.put(&rule.to_le_bytes());
            fixed.put(&port.0.to_le_bytes());
            fixed.put(&next_hop.octets());
            fixed.put(&[*ttl]);
            fixed.append_to(out);
        }
        What::Deliver { protocol, conn } => {
            let mut fixed = Fixed::new(DELIVER, event);
            fixed.put(&[*protocol]);
            fixed.put(&conn.0.to_le_bytes());
            fixed.append_to(out);
        }
        What::SwitchForward { out: port } => on_port(SWITCH_FORWARD, event, *port, out),
        What::TcpWrite { conn, offset, len } => stream(TCP_WRITE, event, (*conn, *offset, *len), out),
        What::TcpRead { conn, offset, len } => stream(TCP_READ, event, (*conn, *offset, *len), out),
        What::FromOutside { port } => on_port(FROM_OUTSIDE, event, *port, out),
        What::ToOutside { port } => on_port(TO_OUTSIDE, event, *port, out),
        _ => return by_postcard(event, out),
    }
    Ok(())
}

/// Takes one event off `input`; `None` when it is not whole or not one.
pub(super) fn decode(input: &mut &[u8]) -> Option<Event> {
    let kind = take::<1>(input)?[0];
    if kind == BY_POSTCARD {
        let len = u32(input)? as usize;
        let (bytes, rest) = input.split_at_checked(len)?;
        *input = rest;
        return postcard::from_bytes(bytes).ok();
    }
    let (id, because) = (EventId(u64(input)?), EventId(u64(input)?));
    let (at, frame) = (Time(u64(input)?), FrameId(u64(input)?));
    let what = match kind {
        TRANSMIT => What::Transmit {
            link: LinkId(u32(input)?),
            port: PortId(u16(input)?),
            processing: u32(input)?,
            start: Time(u64(input)?),
            done: Time(u64(input)?),
            arrive: Time(u64(input)?),
        },
        ROUTE => What::Route {
            rule: u32(input)?,
            out: PortId(u16(input)?),
            next_hop: Ipv4Addr::from(take::<4>(input)?).into(),
            ttl: take::<1>(input)?[0],
        },
        DELIVER => What::Deliver { protocol: take::<1>(input)?[0], conn: ConnId(u32(input)?) },
        SWITCH_FORWARD => What::SwitchForward { out: PortId(u16(input)?) },
        TCP_WRITE => What::TcpWrite { conn: ConnId(u32(input)?), offset: u64(input)?, len: u32(input)? },
        TCP_READ => What::TcpRead { conn: ConnId(u32(input)?), offset: u64(input)?, len: u32(input)? },
        FROM_OUTSIDE => What::FromOutside { port: PortId(u16(input)?) },
        TO_OUTSIDE => What::ToOutside { port: PortId(u16(input)?) },
        _ => return None,
    };
    Some(Event { id, because, at, frame, what })
}

/// Length, then postcard's bytes.
fn by_postcard(event: &Event, out: &mut Vec<u8>) -> io::Result<()> {
    out.push(BY_POSTCARD);
    let start = out.len();
    out.resize(start + 4 + USUAL_MAX, 0);
    let len = match postcard::to_slice(event, &mut out[start + 4..]) {
        Ok(bytes) => bytes.len(),
        Err(_) => {
            // Longer than usual: a certificate chain's subjects, a long note.
            let bytes = postcard::to_allocvec(event).map_err(io::Error::other)?;
            out.truncate(start + 4);
            out.extend_from_slice(&bytes);
            bytes.len()
        }
    };
    let head = u32::try_from(len).map_err(io::Error::other)?.to_le_bytes();
    out[start..start + 4].copy_from_slice(&head);
    out.truncate(start + 4 + len);
    Ok(())
}

fn on_port(kind: u8, event: &Event, port: PortId, out: &mut Vec<u8>) {
    let mut fixed = Fixed::new(kind, event);
    fixed.put(&port.0.to_le_bytes());
    fixed.append_to(out);
}

fn stream(kind: u8, event: &Event, (conn, offset, len): (ConnId, u64, u32), out: &mut Vec<u8>) {
    let mut fixed = Fixed::new(kind, event);
    fixed.put(&conn.0.to_le_bytes());
    fixed.put(&offset.to_le_bytes());
    fixed.put(&len.to_le_bytes());
    fixed.append_to(out);
}

/// Fixed fields being put together; everything that is put fits [`FIXED_MAX`]. Inlined by force, so that every offset is
/// a constant and the whole is a handful of stores.
struct Fixed {
    bytes: [u8; FIXED_MAX],
    len: usize,
}

impl Fixed {
    #[inline(always)]
    fn new(kind: u8, event: &Event) -> Fixed {
        let mut fixed = Fixed { bytes: [0; FIXED_MAX], len: 0 };
        fixed.put(&[kind]);
        fixed.put(&event.id.0.to_le_bytes());
        fixed.put(&event.because.0.to_le_bytes());
        fixed.put(&event.at.0.to_le_bytes());
        fixed.put(&event.frame.0.to_le_bytes());
        fixed
    }

    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    #[inline(always)]
    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[..self.len]);
    }
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

fn u16(input: &mut &[u8]) -> Option<u16> {
    take(input).map(u16::from_le_bytes)
}

fn u32(input: &mut &[u8]) -> Option<u32> {
    take(input).map(u32::from_le_bytes)
}

fn u64(input: &mut &[u8]) -> Option<u64> {
    take(input).map(u64::from_le_bytes)
}
