//! stub
/// A date as HTTP writes it (RFC 9110, 5.6.7), from seconds since 1970; past the year 9999 its last second.
#[must_use]
pub fn date(unix: u64) -> String {
    const LAST: u64 = 253_402_300_799;
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix.min(LAST)))
}
