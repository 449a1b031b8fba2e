//! A bounded cursor over TLS structures: every read is checked, nothing panics.

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    pub(super) fn u24(&mut self) -> Option<u32> {
        self.take(3).map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]]))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A vector with a length of one byte.
    pub(super) fn vec8(&mut self) -> Option<Cursor<'a>> {
        let n = self.u8()?;
        self.take(usize::from(n)).map(Cursor)
    }

    /// A vector with a length of two bytes.
    pub(super) fn vec16(&mut self) -> Option<Cursor<'a>> {
        let n = self.u16()?;
        self.take(usize::from(n)).map(Cursor)
    }

    /// A vector with a length of three bytes.
    pub(super) fn vec24(&mut self) -> Option<Cursor<'a>> {
        let n = self.u24()?;
        self.take(n as usize).map(Cursor)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All 16-bit numbers in it.
    pub(super) fn u16s(mut self) -> Vec<u16> {
        std::iter::from_fn(|| self.u16()).collect()
    }
}
