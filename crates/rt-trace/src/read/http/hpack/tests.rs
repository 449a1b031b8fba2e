//! RFC 7541 appendix C, a second opinion (loona-hpack), and bytes that mean nothing.

use proptest::prelude::*;

use super::*;

fn from_hex(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// Decodes the blocks in order with one decoder; expects these lists, written `name: value`.
#[track_caller]
fn check(table_size: usize, cases: &[(&str, &[&str])], size_after: usize) {
    let mut decoder = Decoder { max_size: table_size, ..Decoder::default() };
    for (hex, expect) in cases {
        let fields = decoder.decode(&from_hex(hex), 1 << 20).unwrap();
        let lines: Vec<String> = fields
            .iter()
            .map(|(n, v)| format!("{}: {}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)))
            .collect();
        assert_eq!(lines, *expect);
    }
    assert_eq!(decoder.size, size_after);
}

const FIRST: &[&str] = &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
const SECOND: &[&str] =
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"];
const THIRD: &[&str] = &[
    ":method: GET",
    ":scheme: https",
    ":path: /index.html",
    ":authority: www.example.com",
    "custom-key: custom-value",
];

#[test]
fn single_fields_of_c2() {
    check(
        4096,
        &[("400a637573746f6d2d6b65790d637573746f6d2d686561646572", &["custom-key: custom-header"])],
        55,
    );
    check(4096, &[("040c2f73616d706c652f70617468", &[":path: /sample/path"])], 0);
    check(4096, &[("100870617373776f726406736563726574", &["password: secret"])], 0);
    check(4096, &[("82", &[":method: GET"])], 0);
}

#[test]
fn requests_without_huffman_of_c3() {
    check(
        4096,
        &[
            ("828684410f7777772e6578616d706c652e636f6d", FIRST),
            ("828684be58086e6f2d6361636865", SECOND),
            ("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", THIRD),
        ],
        164,
    );
}

#[test]
fn requests_with_huffman_of_c4() {
    check(
        4096,
        &[
            ("828684418cf1e3c2e5f23a6ba0ab90f4ff", FIRST),
            ("828684be5886a8eb10649cbf", SECOND),
            ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", THIRD),
        ],
        164,
    );
}

#[test]
fn responses_with_huffman_and_eviction_of_c6() {
    check(
        256,
        &[
            (
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
                &[
                    ":status: 302",
                    "cache-control: private",
                    "date: Mon, 21 Oct 2013 20:13:21 GMT",
                    "location: https://www.example.com",
                ],
            ),
            (
                "4883640effc1c0bf",
                &[
                    ":status: 307",
                    "cache-control: private",
                    "date: Mon, 21 Oct 2013 20:13:21 GMT",
                    "location: https://www.example.com",
                ],
            ),
            (
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                &[
                    ":status: 200",
                    "cache-control: private",
                    "date: Mon, 21 Oct 2013 20:13:22 GMT",
                    "location: https://www.example.com",
                    "content-encoding: gzip",
                    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                ],
            ),
        ],
        215,
    );
}

#[test]
fn refuses_what_the_rfc_forbids() {
    let fails = |hex: &str| Decoder::default().decode(&from_hex(hex), 1 << 20).unwrap_err();
    assert_eq!(fails("80"), HpackError::Index);
    assert_eq!(fails("be"), HpackError::Index);
    assert_eq!(fails("823f"), HpackError::Truncated);
    assert_eq!(fails("8220"), HpackError::SizeUpdate);
    assert_eq!(fails("3fe21f"), HpackError::SizeUpdate);
    assert_eq!(fails("7fffffffffff0f"), HpackError::Integer);
    assert_eq!(fails("0085ffff"), HpackError::Truncated);
    let mut small = Decoder::default();
    assert_eq!(small.decode(&from_hex("828282"), 100).unwrap_err(), HpackError::TooLong);
}

/// Blocks made by the second opinion's encoder, then a few bytes changed.
fn block(fields: &[(String, String)], flips: &[(usize, u8)]) -> Vec<u8> {
    let mut encoder = loona_hpack::Encoder::new();
    let mut bytes = encoder.encode(fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
    for (at, with) in flips {
        if !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] ^= with;
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_second_opinion(
        fields in prop::collection::vec(("[a-z:-]{1,12}", "[ -~]{0,20}"), 0..12),
        flips in prop::collection::vec((0_usize..400, any::<u8>()), 0..3),
    ) {
        let bytes = block(&fields, &flips);
        let ours = Decoder::default().decode(&bytes, 1 << 20);
        let theirs = loona_hpack::Decoder::new().decode(&bytes);
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
            // The other one accepts size updates in mid-block and above the limit.
            (Err(HpackError::SizeUpdate), _) => {}
            (ours, theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok()),
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::default();
        for _ in 0..3 {
            let _ = decoder.decode(&bytes, 4096);
        }
        prop_assert!(decoder.size <= 4096);
    }
}
