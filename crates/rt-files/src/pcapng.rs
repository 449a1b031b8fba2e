//! pcapng, written as it happens (draft-ietf-opsawg-pcapng): nanosecond stamps, interface names, direction, comments, and
//! the TLS secrets inside, each in a Decryption Secrets Block that stands before the first packet that needs it.
//!
//! The main type is [`Capture`]. Blocks are written whole, so a file whose run was interrupted still opens. Packets of one
//! interface may be pushed with stamps slightly in the future (a router's processing time): they are held back until
//! [`Capture::advance`] has passed them, so stamps in the file never go backwards.
//!
//! Not for reading: that is [`crate::foreign`]'s.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

use rt_base::{MacAddr, Time, Way};

/// What stands in an Interface Description Block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Interface {
    /// `home.router:wan`.
    pub name: String,
    /// In a person's words: `home router, towards the provider`.
    pub description: String,
    /// Its MAC.
    pub mac: MacAddr,
    /// Bits per second, 0 when unknown.
    pub speed_bps: u64,
}

/// A packet to be written.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Virtual time.
    pub at: Time,
    /// Which interface, as [`Capture::new`] was given them.
    pub interface: u32,
    /// Which way.
    pub way: Way,
    /// Ethernet bytes without FCS.
    pub bytes: &'a [u8],
    /// What it is part of.
    pub comment: Option<&'a str>,
}

/// A capture being written: one interface, or all of a world in one file.
#[derive(Debug)]
pub struct Capture<W: Write> {
    out: W,
    epoch_ns: u64,
    held: BinaryHeap<Reverse<Held>>,
    pushed: u64,
    spare: Vec<Vec<u8>>,
    written: u64,
}

/// A block that waits for its time: ordered by stamp, then by the order in which it was pushed.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Held {
    at: Time,
    order: u64,
    block: Vec<u8>,
}

/// So many packets are held back at most; beyond that the oldest is written, whatever its stamp.
const HELD_MAX: usize = 65_536;
/// Buffers kept for reuse.
const SPARE_MAX: usize = 64;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;
const LINKTYPE_ETHERNET: u16 = 1;
const SECRETS_TLS_KEY_LOG: u32 = 0x544c_534b;
const SECRETS_WIREGUARD_KEY_LOG: u32 = 0x5747_4b4c;
const SECRETS_SSH_KEY_LOG: u32 = 0x5353_484b;

/// Which program's key log a line belongs to.
fn secrets_kind(line: &str) -> u32 {
    if is_wireguard(line) {
        SECRETS_WIREGUARD_KEY_LOG
    } else if line.split(' ').nth(1) == Some("SHARED_SECRET") {
        SECRETS_SSH_KEY_LOG
    } else {
        SECRETS_TLS_KEY_LOG
    }
}

/// Whether a line is one of WireGuard's key log (Wireshark's `wg.keylog_file`), and not of TLS's.
fn is_wireguard(line: &str) -> bool {
    let label = line.split([' ', '=']).next().unwrap_or_default();
    ["LOCAL_STATIC_PRIVATE_KEY", "REMOTE_STATIC_PUBLIC_KEY", "LOCAL_EPHEMERAL_PRIVATE_KEY", "PRESHARED_KEY"]
        .contains(&label)
}

const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_MACADDR: u16 = 6;
const IF_SPEED: u16 = 8;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
/// `if_tsresol` for nanoseconds: 10^-9.
const NANOSECONDS: u8 = 9;
/// Longest option body that fits its length field, padded.
const OPTION_MAX: usize = 65_532;

impl<W: Write> Capture<W> {
    /// Begins a file: the section header and one description per interface. `epoch` is the civil time at virtual time
    /// zero in seconds since 1970, `application` the program's name and version.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(out: W, application: &str, epoch: u64, interfaces: &[Interface]) -> io::Result<Capture<W>> {
        let epoch_ns = epoch.saturating_mul(1_000_000_000);
        let mut capture =
            Capture { out, epoch_ns, held: BinaryHeap::new(), pushed: 0, spare: Vec::new(), written: 0 };
        let mut body = Vec::new();
        body.extend(0x1a2b_3c4d_u32.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        body.extend(u64::MAX.to_le_bytes());
        option(&mut body, SHB_USERAPPL, application.as_bytes());
        end_of_options(&mut body);
        capture.write(&block(SECTION_HEADER, &body))?;
        for interface in interfaces {
            capture.write(&interface_block(interface))?;
        }
        Ok(capture)
    }

    /// Takes a packet. It is written now if its stamp is not after `now`, else when [`Self::advance`] passes it.
    ///
    /// # Errors
    /// What `out` says.
    pub fn push(&mut self, now: Time, packet: &Packet<'_>) -> io::Result<()> {
        self.advance(now)?;
        let mut block = self.spare.pop().unwrap_or_default();
        self.packet_block(packet, &mut block);
        if packet.at <= now && self.held.is_empty() {
            self.write(&block)?;
            self.keep(block);
            return Ok(());
        }
        self.pushed += 1;
        self.held.push(Reverse(Held { at: packet.at, order: self.pushed, block }));
        while self.held.len() > HELD_MAX {
            self.write_first()?;
        }
        Ok(())
    }

    /// Writes a line of the key log at once: it must stand before the packets that it opens.
    ///
    /// # Errors
    /// What `out` says.
    pub fn secret(&mut self, line: &str) -> io::Result<()> {
        let text = format!("{}\n", line.trim_end());
        let mut body = Vec::with_capacity(text.len() + 12);
        let kind = secrets_kind(line);
        body.extend(kind.to_le_bytes());
        body.extend(length(text.len()).to_le_bytes());
        body.extend(text.as_bytes());
        pad(&mut body);
        self.write(&block(DECRYPTION_SECRETS, &body))
    }

    /// Time has come to `now`: writes what waited for it.
    ///
    /// # Errors
    /// What `out` says.
    pub fn advance(&mut self, now: Time) -> io::Result<()> {
        while self.held.peek().is_some_and(|Reverse(first)| first.at <= now) {
            self.write_first()?;
        }
        Ok(())
    }

    /// Writes all that waits and gives the output back.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(mut self) -> io::Result<W> {
        self.advance(Time::MAX)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    fn write_first(&mut self) -> io::Result<()> {
        let Some(Reverse(first)) = self.held.pop() else { return Ok(()) };
        self.write(&first.block)?;
        self.keep(first.block);
        Ok(())
    }

    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        self.written += block.len() as u64;
        self.out.write_all(block)
    }

    fn keep(&mut self, mut block: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            block.clear();
            self.spare.push(block);
        }
    }

    fn packet_block(&self, packet: &Packet<'_>, block: &mut Vec<u8>) {
        let stamp = self.epoch_ns.saturating_add(packet.at.0);
        block.extend(ENHANCED_PACKET.to_le_bytes());
        block.extend([0; 4]);
        block.extend(packet.interface.to_le_bytes());
        block.extend(((stamp >> 32) as u32).to_le_bytes());
        block.extend((stamp as u32).to_le_bytes());
        let len = length(packet.bytes.len());
        block.extend(len.to_le_bytes());
        block.extend(len.to_le_bytes());
        block.extend(packet.bytes);
        pad(block);
        let direction: u32 = match packet.way {
            Way::In => 1,
            Way::Out => 2,
        };
        if let Some(comment) = packet.comment {
            option(block, OPT_COMMENT, comment.as_bytes());
        }
        option(block, EPB_FLAGS, &direction.to_le_bytes());
        end_of_options(block);
        let total = length(block.len() + 4).to_le_bytes();
        block[4..8].copy_from_slice(&total);
        block.extend(total);
    }
}

fn interface_block(interface: &Interface) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(LINKTYPE_ETHERNET.to_le_bytes());
    body.extend(0_u16.to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    option(&mut body, IF_NAME, interface.name.as_bytes());
    option(&mut body, IF_DESCRIPTION, interface.description.as_bytes());
    option(&mut body, IF_MACADDR, &interface.mac.0);
    if interface.speed_bps > 0 {
        option(&mut body, IF_SPEED, &interface.speed_bps.to_le_bytes());
    }
    option(&mut body, IF_TSRESOL, &[NANOSECONDS]);
    end_of_options(&mut body);
    block(INTERFACE_DESCRIPTION, &body)
}

/// Type, length, body, length again.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let total = length(body.len() + 12).to_le_bytes();
    let mut out = Vec::with_capacity(body.len() + 12);
    out.extend(kind.to_le_bytes());
    out.extend(total);
    out.extend(body);
    out.extend(total);
    out
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(OPTION_MAX)];
    let len = u16::try_from(value.len()).expect("invariant: cut to OPTION_MAX above");
    body.extend(code.to_le_bytes());
    body.extend(len.to_le_bytes());
    body.extend(value);
    pad(body);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

/// To a multiple of four: every part before is one already, so the length of the whole will do.
fn pad(body: &mut Vec<u8>) {
    while !body.len().is_multiple_of(4) {
        body.push(0);
    }
}

fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
