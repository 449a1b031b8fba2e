//! SSH's data types (RFC 4251, section 5) and the numbers of its messages. Not for what a message means.

/// A message that ends too early, or a name that is no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// Numbers of messages (RFC 4250, 4.1.2; RFC 8308; RFC 8731).
pub(super) mod msg {
    pub(in crate::ssh) const DISCONNECT: u8 = 1;
    pub(in crate::ssh) const IGNORE: u8 = 2;
    pub(in crate::ssh) const UNIMPLEMENTED: u8 = 3;
    pub(in crate::ssh) const DEBUG: u8 = 4;
    pub(in crate::ssh) const SERVICE_REQUEST: u8 = 5;
    pub(in crate::ssh) const SERVICE_ACCEPT: u8 = 6;
    pub(in crate::ssh) const EXT_INFO: u8 = 7;
    pub(in crate::ssh) const KEXINIT: u8 = 20;
    pub(in crate::ssh) const NEWKEYS: u8 = 21;
    pub(in crate::ssh) const ECDH_INIT: u8 = 30;
    pub(in crate::ssh) const ECDH_REPLY: u8 = 31;
    pub(in crate::ssh) const USERAUTH_REQUEST: u8 = 50;
    pub(in crate::ssh) const USERAUTH_FAILURE: u8 = 51;
    pub(in crate::ssh) const USERAUTH_SUCCESS: u8 = 52;
    pub(in crate::ssh) const USERAUTH_BANNER: u8 = 53;
    pub(in crate::ssh) const USERAUTH_PK_OK: u8 = 60;
    pub(in crate::ssh) const GLOBAL_REQUEST: u8 = 80;
    pub(in crate::ssh) const REQUEST_SUCCESS: u8 = 81;
    pub(in crate::ssh) const REQUEST_FAILURE: u8 = 82;
    pub(in crate::ssh) const CHANNEL_OPEN: u8 = 90;
    pub(in crate::ssh) const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
    pub(in crate::ssh) const CHANNEL_OPEN_FAILURE: u8 = 92;
    pub(in crate::ssh) const CHANNEL_WINDOW_ADJUST: u8 = 93;
    pub(in crate::ssh) const CHANNEL_DATA: u8 = 94;
    pub(in crate::ssh) const CHANNEL_EXTENDED_DATA: u8 = 95;
    pub(in crate::ssh) const CHANNEL_EOF: u8 = 96;
    pub(in crate::ssh) const CHANNEL_CLOSE: u8 = 97;
    pub(in crate::ssh) const CHANNEL_REQUEST: u8 = 98;
    pub(in crate::ssh) const CHANNEL_SUCCESS: u8 = 99;
    pub(in crate::ssh) const CHANNEL_FAILURE: u8 = 100;
}

/// Builds a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A message with this number.
    pub(super) fn message(number: u8) -> Writer {
        Writer(vec![number])
    }

    pub(super) fn byte(mut self, byte: u8) -> Writer {
        self.0.push(byte);
        self
    }

    pub(super) fn flag(self, flag: bool) -> Writer {
        self.byte(u8::from(flag))
    }

    pub(super) fn number(mut self, number: u32) -> Writer {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// `string`: its length and its bytes. What is longer than 4 GiB is never built here.
    pub(super) fn string(self, bytes: impl AsRef<[u8]>) -> Writer {
        let bytes = bytes.as_ref();
        self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).raw(bytes)
    }

    pub(super) fn names(self, names: &[&str]) -> Writer {
        self.string(names.join(","))
    }

    /// `mpint` of an unsigned number in big endian.
    //= rfc4251#section-5
    //# If the most significant bit would be set for
    //# a positive number, the number MUST be preceded by a zero byte.
    pub(super) fn mpint(self, number: &[u8]) -> Writer {
        let lead = number.iter().take_while(|b| **b == 0).count();
        let number = &number[lead..];
        if number.first().is_some_and(|b| b & 0x80 != 0) {
            let mut padded = vec![0];
            padded.extend(number);
            return self.string(padded);
        }
        self.string(number)
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Writer {
        self.0.extend(bytes);
        self
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a message from its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Reader<'b> {
        Reader(bytes)
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'b [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    //= rfc4251#section-5
    //# All non-zero values MUST be
    //# interpreted as TRUE
    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        Ok(self.byte()? != 0)
    }

    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| Malformed)?))
    }

    pub(super) fn string(&mut self) -> Result<&'b [u8], Malformed> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| Malformed)?)
    }

    /// A `string` that must be text.
    pub(super) fn text(&mut self) -> Result<&'b str, Malformed> {
        std::str::from_utf8(self.string()?).map_err(|_| Malformed)
    }

    pub(super) fn names(&mut self) -> Result<Vec<&'b str>, Malformed> {
        Ok(self.text()?.split(',').filter(|name| !name.is_empty()).collect())
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'b [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Reader, Writer};

    //= rfc4251#section-5
    //= type=test
    #[test]
    fn numbers_are_written_as_the_rfc_has_them() {
        let mpint = |bytes: &[u8]| Writer::default().mpint(bytes).done();
        assert_eq!(mpint(&[]), [0, 0, 0, 0]);
        assert_eq!(mpint(&[0, 0x80]), [0, 0, 0, 2, 0, 0x80]);
        let long = [0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7];
        assert_eq!(mpint(&long), [&[0, 0, 0, 8][..], &long].concat());
        let names = |names: &[&str]| Writer::default().names(names).done();
        assert_eq!(names(&[]), [0, 0, 0, 0]);
        assert_eq!(names(&["zlib", "none"]), [&[0, 0, 0, 9][..], b"zlib,none"].concat());
    }

    #[test]
    fn a_message_that_ends_too_early_is_malformed() {
        let whole = Writer::message(80).string("abc").flag(true).number(7).done();
        for end in 0..whole.len() {
            let mut reader = Reader::new(&whole[..end]);
            let all = (|| {
                reader.byte()?;
                reader.text()?;
                reader.flag()?;
                reader.number()
            })();
            assert_eq!(all, Err(Malformed));
        }
        assert_eq!(Reader::new(&[255; 6]).string(), Err(Malformed));
    }
}
