//! Cutting a datagram into fragments (RFC 791, 3.2). Options of the header are not repeated in later fragments: this
//! stack sends none, and those of forwarded packets are lost there (RFC 791 would copy the "copied" ones).

use rt_base::{Frame, Outbox};
use rt_wire::Ipv4Header;

use crate::packet::{EMPTY_ETHERNET, ETHERNET};

/// The fragments of `frame`, whose IP header is `ip`, each at most `mtu` bytes; their parent is the datagram's frame.
///
/// `mtu` below 28 (a header and eight bytes) is taken as 28: RFC 791 asks every link for 68.
pub(crate) fn fragment(frame: &Frame, ip: &Ipv4Header, mtu: u16, out: &mut Outbox) -> Vec<Frame> {
    let payload = frame.bytes.get(ETHERNET + usize::from(ip.header_len)..).unwrap_or_default();
    let step = (usize::from(mtu.max(28)) - Ipv4Header::LEN) & !7;
    let count = payload.len().div_ceil(step);
    let mut fragments = Vec::with_capacity(count);
    for (index, piece) in payload.chunks(step).enumerate() {
        let mut header = Ipv4Header::new(ip.src, ip.dst, ip.protocol, ip.ttl, piece.len());
        (header.dscp_ecn, header.id) = (ip.dscp_ecn, ip.id);
        header.frag_offset = ip.frag_offset + (index * step) as u16;
        header.mf = ip.mf || index + 1 < count;
        let mut bytes = out.buffer(ETHERNET + Ipv4Header::LEN + piece.len());
        bytes.extend_from_slice(&EMPTY_ETHERNET);
        header.emit(&mut bytes);
        bytes.extend_from_slice(piece);
        fragments.push(out.new_frame(bytes, frame.id));
    }
    fragments
}
