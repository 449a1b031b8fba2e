//! An NTP server (RFC 5905): tells whoever asks the civil time of this world.
//!
//! Simplified: a primary server with a perfect clock, so one packet in gives one packet out; no authentication, no
//! symmetric or broadcast modes, no control messages. A user notices by `ntpq -p` getting no answer. Requests of NTPv1
//! and NTPv2 are ignored.

use std::io;

use rt_base::Time;

use crate::net::Net;

/// The port (RFC 5905, 7.2).
pub const PORT: u16 = 123;

/// Seconds between the eras' begin (1900) and 1970 (RFC 5905, 6).
const TO_1970: u64 = 2_208_988_800;
/// Length of the header without extensions, bytes.
const HEADER: usize = 48;
/// What our reference clock is: `LOCL`, an uncalibrated local clock (RFC 5905, 7.3, as RFC 1305 lists it).
const REFERENCE: [u8; 4] = *b"LOCL";
/// log2 of the clock's precision in seconds: 2^-29 s is about 2 ns.
const PRECISION: i8 = -29;

/// Mode of a packet (RFC 5905, 7.3).
mod mode {
    pub(super) const CLIENT: u8 = 3;
    pub(super) const SERVER: u8 = 4;
}

/// Answers on UDP port 123 for ever.
///
/// # Errors
/// `AddrInUse` when somebody else has the port.
pub async fn ntp_server(net: Net) -> io::Result<()> {
    let socket = net.udp_bind(None, PORT, None)?;
    loop {
        // An ICMP error about an answer of ours concerns nobody here.
        let Ok((request, from)) = socket.recv_from().await else { continue };
        if let Some(reply) = answer(&request, stamp(net.epoch(), net.now())) {
            // A lost answer is the asker's to repeat.
            let _ = socket.send_to(&reply, from);
        }
    }
}

/// The 64-bit timestamp of `now`: seconds since 1900, modulo 2^32, and their 32-bit fraction.
//= rfc5905#section-6
fn stamp(epoch: u64, now: Time) -> u64 {
    let (seconds, nanos) = (now.0 / 1_000_000_000, now.0 % 1_000_000_000);
    let fraction = (nanos << 32) / 1_000_000_000;
    (epoch + seconds + TO_1970) << 32 | fraction
}

/// The reply to a client's request that came and is answered at `now`; `None` for anything else.
//= rfc5905#section-9.2
fn answer(request: &[u8], now: u64) -> Option<[u8; HEADER]> {
    let head = request.first_chunk::<HEADER>()?;
    let version = head[0] >> 3 & 7;
    if head[0] & 7 != mode::CLIENT || !(3..=4).contains(&version) {
        return None;
    }
    let mut reply = [0; HEADER];
    reply[0] = version << 3 | mode::SERVER;
    reply[1] = 1; // stratum: a primary server
    reply[2] = head[2]; // poll, as asked
    reply[3] = PRECISION.to_be_bytes()[0];
    reply[12..16].copy_from_slice(&REFERENCE);
    let now = now.to_be_bytes();
    reply[16..24].copy_from_slice(&now); // reference: the clock is right at every moment
    reply[24..32].copy_from_slice(&head[40..48]); // origin: what the client sent
    reply[32..40].copy_from_slice(&now); // receive
    reply[40..48].copy_from_slice(&now); // transmit
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5905, 6: 1970-01-01 is 2,208,988,800 s into era 0; half a second is a fraction of 2^31.
    //= rfc5905#section-6
    #[test]
    fn a_stamp_counts_from_1900() {
        assert_eq!(stamp(0, Time(0)), 2_208_988_800 << 32);
        assert_eq!(stamp(10, Time(1_500_000_000)), 2_208_988_811 << 32 | 1 << 31);
    }

    /// The era ends in 2036; the seconds begin anew and the fraction stays.
    #[test]
    fn the_era_wraps() {
        let end = (1 << 32) - TO_1970;
        assert_eq!(stamp(end, Time(1_250_000_000)), 1 << 32 | 1 << 30);
    }

    #[test]
    fn a_client_gets_its_own_stamp_back() {
        let mut request = [0; HEADER];
        request[0] = 0x23; // version 4, client
        request[40..48].copy_from_slice(&7_u64.to_be_bytes());
        let reply = answer(&request, 9).expect("an answer");
        assert_eq!((reply[0], reply[1]), (0x24, 1));
        assert_eq!(reply[24..32], 7_u64.to_be_bytes());
        assert_eq!(reply[40..48], 9_u64.to_be_bytes());
    }

    #[test]
    fn what_is_no_request_gets_no_answer() {
        let mut packet = [0; HEADER];
        assert_eq!(answer(&packet, 1), None, "mode 0");
        packet[0] = 0x24;
        assert_eq!(answer(&packet, 1), None, "a server's packet, or two servers would talk for ever");
        packet[0] = 0x13;
        assert_eq!(answer(&packet, 1), None, "version 2");
        packet[0] = 0x23;
        assert_eq!(answer(&packet[..47], 1), None, "too short");
    }
}
