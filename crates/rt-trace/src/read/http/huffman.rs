//! The Huffman code of HPACK (RFC 7541, appendix B). The code is canonical, so the lengths alone define it.

/// Code length of each symbol; 256 is the end of string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

/// Shortest and longest code.
const MIN: usize = 5;
const MAX: usize = 30;

/// For each length the first code and the index of its symbol in `SYMBOLS`; one more entry closes the last length.
struct Tables {
    first_code: [u32; MAX + 1],
    first_symbol: [u16; MAX + 2],
    symbols: [u16; 257],
}

const TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut t = Tables { first_code: [0; MAX + 1], first_symbol: [0; MAX + 2], symbols: [0; 257] };
    let (mut code, mut next, mut len) = (0, 0, 0);
    while len <= MAX {
        t.first_code[len] = code;
        t.first_symbol[len] = next as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == len {
                t.symbols[next] = symbol as u16;
                next += 1;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        len += 1;
    }
    t.first_symbol[MAX + 1] = next as u16;
    t
}

/// Decodes a string; `None` when it holds the end-of-string symbol or its padding is wrong (RFC 7541, 5.2).
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() * 8 / MIN + 1);
    let (mut bits, mut have, mut input) = (0_u64, 0_usize, bytes.iter());
    loop {
        while have <= 56 {
            let Some(byte) = input.next() else { break };
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        match symbol(bits) {
            Some((symbol, len)) if len <= have => {
                out.push(u8::try_from(symbol).ok()?);
                bits <<= len;
                have -= len;
            }
            // What is left must be fewer than eight ones.
            _ if have < 8 => return (bits == !(u64::MAX >> have) || have == 0).then_some(out),
            _ => return None,
        }
    }
}

/// The symbol whose code is at the top of `bits`, and its length.
fn symbol(bits: u64) -> Option<(u16, usize)> {
    let t = &TABLES;
    for len in MIN..=MAX {
        let code = (bits >> (64 - len)) as u32;
        let count = u32::from(t.first_symbol[len + 1] - t.first_symbol[len]);
        let index = code.wrapping_sub(t.first_code[len]);
        if index < count {
            return Some((t.symbols[usize::from(t.first_symbol[len]) + index as usize], len));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(hex: &str, text: Option<&str>) {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        assert_eq!(decode(&bytes).map(|b| String::from_utf8(b).unwrap()).as_deref(), text);
    }

    #[test]
    fn decodes_the_vectors_of_the_rfc_and_refuses_bad_ends() {
        check("f1e3c2e5f23a6ba0ab90f4ff", Some("www.example.com"));
        check("a8eb10649cbf", Some("no-cache"));
        check("25a849e95ba97d7f", Some("custom-key"));
        check("25a849e95bb8e8b4bf", Some("custom-value"));
        check("6402", Some("302"));
        check("d07abe941054d444a8200595040b8166e082a62d1bff", Some("Mon, 21 Oct 2013 20:13:21 GMT"));
        check("", Some(""));
        check("18", None); // "a" padded with zeros
        check("6402ff", None); // eight bits of padding
        check("ffffffff", None); // the end-of-string symbol
    }
}
