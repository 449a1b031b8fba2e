//! TCP's options (RFC 9293 3.1, 7323, 2018, 7413). Options that we do not speak are skipped, as are all after a malformed
//! one (RFC 9293, 3.1 leaves this open; Linux does the same).
//!
//! In which order a SYN's options stand is a habit of each operating system: [`OptionOrder`]. What is read does not
//! remember it.

use crate::tcp::RawOptions;
use crate::{Seq, be16, be32};

/// The options that we speak.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TcpOptions {
    /// Maximum segment size, bytes (on SYN).
    pub mss: Option<u16>,
    /// Window shift (on SYN).
    pub window_scale: Option<u8>,
    /// The sender understands SACK (on SYN).
    pub sack_permitted: bool,
    /// How they are put in order when emitted; what was parsed says [`OptionOrder::Linux`].
    pub order: OptionOrder,
    /// Timestamps: value and echo reply (RFC 7323).
    pub timestamps: Option<(u32, u32)>,
    tail: Tail,
}

/// Who puts options in this order, with these paddings.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum OptionOrder {
    /// `mss,sackOK,TS,nop,wscale`.
    #[default]
    Linux,
    /// `mss,nop,wscale,sackOK,TS`.
    FreeBsd,
    /// `mss,nop,wscale,nop,nop,TS,sackOK,eol`.
    MacOs,
}

/// A Fast Open option (RFC 7413, 4.1.1): an empty one asks for a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FastOpenOption {
    /// Kind 254 with the magic number F989, as before RFC 7413, not kind 34.
    pub experimental: bool,
    len: u8,
    bytes: [u8; FastOpenOption::LONGEST],
}

impl FastOpenOption {
    /// The longest cookie, bytes.
    pub const LONGEST: usize = 16;

    /// An option with this cookie; `None` when it is too long.
    #[must_use]
    pub fn new(cookie: &[u8], experimental: bool) -> Option<FastOpenOption> {
        let mut option =
            FastOpenOption { experimental, len: cookie.len() as u8, ..FastOpenOption::default() };
        option.bytes.get_mut(..cookie.len())?.copy_from_slice(cookie);
        Some(option)
    }

    /// The cookie; empty for a request.
    #[must_use]
    pub fn cookie(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// SACK blocks stand in segments without SYN, cookies in segments with: no header has both.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Tail {
    #[default]
    None,
    Sack(u8, [(Seq, Seq); 4]),
    FastOpen(FastOpenOption),
}

/// The experimental kind's magic number (RFC 7413 4.1.1, RFC 6994).
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];

impl TcpOptions {
    /// Room for options in a header, bytes.
    pub const ROOM: usize = 40;

    /// The SACK blocks: left edge, right edge (one past the last byte).
    #[must_use]
    pub fn sack(&self) -> &[(Seq, Seq)] {
        match &self.tail {
            Tail::Sack(count, blocks) => &blocks[..usize::from(*count)],
            _ => &[],
        }
    }

    /// The Fast Open option.
    #[must_use]
    pub fn fast_open(&self) -> Option<&FastOpenOption> {
        match &self.tail {
            Tail::FastOpen(option) => Some(option),
            _ => None,
        }
    }

    /// Sets the Fast Open option, in place of SACK blocks.
    pub fn set_fast_open(&mut self, option: Option<FastOpenOption>) {
        self.tail = option.map_or(Tail::None, Tail::FastOpen);
    }

    /// Adds a SACK block; false when there is no room for it (four without timestamps, three with).
    pub fn push_sack(&mut self, left: Seq, right: Seq) -> bool {
        let count = self.sack().len();
        let fits = count < 4
            && self.emit_len() + if count == 0 { 12 } else { 8 } <= Self::ROOM
            && !self.has_cookie();
        if fits {
            self.put_sack(left, right);
        }
        fits
    }

    fn has_cookie(&self) -> bool {
        matches!(self.tail, Tail::FastOpen(_))
    }

    fn put_sack(&mut self, left: Seq, right: Seq) {
        match &mut self.tail {
            Tail::Sack(count, blocks) => {
                blocks[usize::from(*count)] = (left, right);
                *count += 1;
            }
            tail => {
                let mut blocks = [(Seq(0), Seq(0)); 4];
                blocks[0] = (left, right);
                *tail = Tail::Sack(1, blocks);
            }
        }
    }

    /// Whether this has anything that only a SYN carries.
    fn is_syn(&self) -> bool {
        self.mss.is_some() || self.window_scale.is_some() || self.sack_permitted || self.has_cookie()
    }

    /// The timestamps, if there are any, when nothing else is there; `None` when something is.
    #[must_use]
    #[inline]
    pub(crate) fn only_timestamps(&self) -> Option<Option<(u32, u32)>> {
        (matches!(self.tail, Tail::None) && !self.is_syn()).then_some(self.timestamps)
    }

    /// Bytes that these options take when emitted, a multiple of four.
    #[must_use]
    pub fn emit_len(&self) -> usize {
        if self.is_syn() {
            return self.lay_out().len;
        }
        let len = if self.timestamps.is_some() { 12 } else { 0 };
        len + self.sack_len(len)
    }

    /// Bytes of the SACK option with its two NOPs after `used` bytes of others.
    fn sack_len(&self, used: usize) -> usize {
        match self.sack_fitting(used) {
            0 => 0,
            blocks => 4 + 8 * blocks,
        }
    }

    /// How many SACK blocks fit after `used` bytes of other options.
    fn sack_fitting(&self, used: usize) -> usize {
        self.sack().len().min((Self::ROOM - used).saturating_sub(4) / 8)
    }

    /// Reads options; stops quietly at the end mark or a malformed one.
    pub(crate) fn parse(bytes: &[u8]) -> TcpOptions {
        let mut options = TcpOptions::default();
        // What nearly every segment has (RFC 7323, appendix A).
        if let [1, 1, 8, 10, v0, v1, v2, v3, e0, e1, e2, e3] = *bytes {
            let (value, echo) = ([v0, v1, v2, v3], [e0, e1, e2, e3]);
            options.timestamps = Some((u32::from_be_bytes(value), u32::from_be_bytes(echo)));
            return options;
        }
        for (kind, body) in RawOptions(bytes) {
            match (kind, body.len()) {
                (2, 2) => options.mss = Some(be16(body, 0)),
                (3, 1) => options.window_scale = Some(body[0]),
                (4, 0) => options.sack_permitted = true,
                (5, 8..=32) => options.sack_of(body),
                (8, 8) => options.timestamps = Some((be32(body, 0), be32(body, 4))),
                (34, 0..=16) => options.cookie_of(body, false),
                (254, 2..=18) if body[..2] == FAST_OPEN_MAGIC => options.cookie_of(&body[2..], true),
                _ => {}
            }
        }
        options
    }

    fn sack_of(&mut self, body: &[u8]) {
        if self.has_cookie() {
            return;
        }
        self.tail = Tail::None;
        for block in body.chunks_exact(8).take(4) {
            self.put_sack(Seq(be32(block, 0)), Seq(be32(block, 4)));
        }
    }

    fn cookie_of(&mut self, body: &[u8], experimental: bool) {
        if !matches!(self.tail, Tail::Sack(..)) {
            self.set_fast_open(FastOpenOption::new(body, experimental));
        }
    }

    /// Appends them in their order: in a SYN by [`TcpOptions::order`], else timestamps and SACK.
    pub fn emit(&self, out: &mut Vec<u8>) {
        if self.is_syn() {
            let laid = self.lay_out();
            out.extend_from_slice(&laid.bytes[..laid.len]);
            return;
        }
        let mut used = 0;
        if let Some((value, echo)) = self.timestamps {
            let ([v0, v1, v2, v3], [e0, e1, e2, e3]) = (value.to_be_bytes(), echo.to_be_bytes());
            out.extend_from_slice(&[1, 1, 8, 10, v0, v1, v2, v3, e0, e1, e2, e3]);
            used = 12;
        }
        if self.sack().is_empty() {
            return;
        }
        let blocks = self.sack_fitting(used);
        if blocks > 0 {
            out.extend_from_slice(&[1, 1, 5, 2 + 8 * blocks as u8]);
            for (left, right) in &self.sack()[..blocks] {
                out.extend_from_slice(&left.0.to_be_bytes());
                out.extend_from_slice(&right.0.to_be_bytes());
            }
        }
    }

    /// The options of a SYN.
    fn lay_out(&self) -> Laid {
        let mut laid = Laid { bytes: [0; Self::ROOM], len: 0 };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            laid.put(&[2, 4, a, b]);
        }
        match self.order {
            OptionOrder::Linux => {
                match (self.sack_permitted, self.timestamps.is_some()) {
                    (true, true) => laid.put(&[4, 2]),
                    (false, true) => laid.put(&[1, 1]),
                    (true, false) => laid.put(&[1, 1, 4, 2]),
                    (false, false) => {}
                }
                self.lay_timestamps(&mut laid);
                self.lay_scale(&mut laid);
            }
            OptionOrder::FreeBsd => {
                self.lay_scale(&mut laid);
                if self.sack_permitted {
                    laid.put(&[4, 2]);
                }
                laid.nops_until(2, self.timestamps.is_some());
                self.lay_timestamps(&mut laid);
            }
            OptionOrder::MacOs => {
                self.lay_scale(&mut laid);
                laid.nops_until(2, self.timestamps.is_some());
                self.lay_timestamps(&mut laid);
                if self.sack_permitted {
                    laid.put(&[4, 2]);
                }
            }
        }
        self.lay_tail(&mut laid);
        laid
    }

    fn lay_timestamps(&self, laid: &mut Laid) {
        if let Some((value, echo)) = self.timestamps {
            laid.put(&[8, 10]);
            laid.put(&value.to_be_bytes());
            laid.put(&echo.to_be_bytes());
        }
    }

    fn lay_scale(&self, laid: &mut Laid) {
        if let Some(shift) = self.window_scale {
            laid.put(&[1, 3, 3, shift]);
        }
    }

    /// SACK blocks or cookie, and what fills the last word: NOPs by Linux, the end mark by the others.
    fn lay_tail(&self, laid: &mut Laid) {
        match &self.tail {
            Tail::None => {}
            Tail::Sack(..) => {
                laid.nops_until(2, true);
                let blocks = self.sack_fitting(laid.len - 2);
                if blocks > 0 {
                    laid.put(&[5, 2 + 8 * blocks as u8]);
                    for (left, right) in &self.sack()[..blocks] {
                        laid.put(&left.0.to_be_bytes());
                        laid.put(&right.0.to_be_bytes());
                    }
                }
            }
            Tail::FastOpen(option) => {
                let cookie = option.cookie();
                let len = cookie.len() as u8;
                if laid.len + cookie.len() + 4 > Self::ROOM {
                    // Not sent then: only macOS's order with the longest cookies.
                } else if option.experimental {
                    laid.put(&[254, len + 4, FAST_OPEN_MAGIC[0], FAST_OPEN_MAGIC[1]]);
                    laid.put(cookie);
                } else {
                    laid.put(&[34, len + 2]);
                    laid.put(cookie);
                }
            }
        }
        laid.nops_until(0, self.order == OptionOrder::Linux);
        laid.len = laid.len.next_multiple_of(4);
    }
}

/// Options as bytes.
struct Laid {
    bytes: [u8; TcpOptions::ROOM],
    len: usize,
}

impl Laid {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// NOPs until the length is `rest` more than a multiple of four, if wanted.
    fn nops_until(&mut self, rest: usize, wanted: bool) {
        while wanted && self.len % 4 != rest {
            self.put(&[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::options_text;

    fn shows(order: OptionOrder, timestamps: bool) -> String {
        let mut options = TcpOptions {
            mss: Some(1460),
            window_scale: Some(6),
            sack_permitted: true,
            order,
            timestamps: timestamps.then_some((1, 0)),
            ..TcpOptions::default()
        };
        options.set_fast_open(None);
        let mut bytes = Vec::new();
        options.emit(&mut bytes);
        assert_eq!(bytes.len(), options.emit_len());
        assert_eq!(TcpOptions::parse(&bytes), TcpOptions { order: OptionOrder::Linux, ..options });
        options_text(&bytes)
    }

    #[test]
    fn each_system_has_its_order() {
        let ts = "TS val 1 ecr 0";
        assert_eq!(shows(OptionOrder::Linux, true), format!("mss 1460,sackOK,{ts},nop,wscale 6"));
        assert_eq!(shows(OptionOrder::Linux, false), "mss 1460,nop,nop,sackOK,nop,wscale 6");
        assert_eq!(shows(OptionOrder::FreeBsd, true), format!("mss 1460,nop,wscale 6,sackOK,{ts}"));
        assert_eq!(shows(OptionOrder::FreeBsd, false), "mss 1460,nop,wscale 6,sackOK,eol");
        assert_eq!(shows(OptionOrder::MacOs, true), format!("mss 1460,nop,wscale 6,nop,nop,{ts},sackOK,eol"));
    }

    #[test]
    fn cookies_are_carried_by_both_kinds() {
        for (experimental, len) in [(false, 8), (true, 8), (false, 0), (true, 0), (false, 16), (true, 15)] {
            let cookie = [7; 16];
            let option = FastOpenOption::new(&cookie[..len], experimental);
            let mut options = TcpOptions { mss: Some(1460), timestamps: Some((1, 0)), ..Default::default() };
            options.sack_permitted = true;
            options.window_scale = Some(14);
            options.set_fast_open(option);
            assert!(!options.push_sack(Seq(1), Seq(2)), "a cookie and SACK blocks do not go together");
            for order in [OptionOrder::Linux, OptionOrder::FreeBsd, OptionOrder::MacOs] {
                options.order = order;
                let mut bytes = Vec::new();
                options.emit(&mut bytes);
                assert_eq!(bytes.len(), options.emit_len());
                let back = TcpOptions::parse(&bytes);
                if order == OptionOrder::MacOs && len > 14 {
                    assert_eq!(back.fast_open(), None);
                    continue;
                }
                assert_eq!(back.fast_open().copied(), option, "{order:?}");
                assert_eq!(back, TcpOptions { order: OptionOrder::Linux, ..options });
            }
        }
        assert_eq!(FastOpenOption::new(&[0; 17], false), None);
    }
}
