//! Tokens that others have signed: those of RFC 7515 and RFC 8037, and some by OpenSSL; and tokens that lie.

use super::*;

/// HS256 with the secret `s3cret`, by Python's hmac.
const HS256: &str = "\
    eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6Im9sZCJ9.eyJpc3MiOiJqb2UiLCJleHAiOjEzMDA4MTkzODB9.MeAMfy\
    2-AGR7Tg9CdaYRAbqpy99L5o_OvlQtlSnBf2c";
/// RFC 7515, A.2: RS256.
const RS256: &str = "\
    eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19\
    yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt\
    _O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb\
    1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI\
    8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const RSA_N: &str = "\
    ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
    T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB\
    dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia\
    GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
/// RFC 7515, A.3: ES256.
const ES256: &str = "\
    eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19\
    yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU\
    1Q";
const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
/// RFC 8037, A.4: EdDSA; it says no claims.
const EDDSA: &str = "\
    eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6\
    dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
/// Made by OpenSSL for `sub: ann`, as all below: EdDSA, and the key.
const ANNS: &str = "\
    eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6IjIwMjYtYyJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2l\
    uLmV4YW1wbGUiLCJhdWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.szTK17Y3jhfsCxrb\
    UNE49430Z95KMUBzMWQ0F1Evsdr95pbQUgMGpgJ92Og8-QV8JqznK7pXvLy4NHc8ckZqCw";
const ANNS_X: &str = "nPyhGqto4CQcfv78bRXZow8YaDfVZyMKfoABD7-hhXo";
/// RS256 in the name of the key `b`, which is not RSA; and a key's modulus.
const SWAPPED: &str = "\
    eyJhbGciOiJSUzI1NiIsImtpZCI6IjIwMjYtYiJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJ\
    hdWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.UVwJdjXWaU9gYEHQOEaENScRRlz-zhR5\
    h_l6prVGFWSt-UCAK-Q1fy6dWx0GT2KEgY-JGtFGCz65hkoBowZ1iNSh2aNM4a8HrYTDivdRGSIqk8xrWTOsETc9GyhhEfad6GjT\
    uvoA-KpFHCFB8T4wCn-GZk6m6E1OVZBCVZCxaq2BmiaVxDPEUeAhRraUmdi3XJOEG1v9RxlMue-3WGh0snvZcdJf1Kxt10Y52Ja2\
    4JfAtqflb7p3KmvAmf9SNtwnKrOjYu2dKehu91X9ndWxzAi2RndPLcnlUO17Bq0UtXWj5AetJexCJFWOc9nlmFpVBaYMwvhg5W9w\
    qlkRzZNk0A";
const OTHER_N: &str = "\
    tRKE1jP2o5X-G-HOwNw4zr6kWf-F6NBYIMxw-4kw_ong-boBtCtAKeuo6QRM3VmiOV3Fdg1uRAMmszpBWMPXoSxkQcKkK9stkS21\
    Z-whEA0xiKYZZwa3D5mxrZz15HVYNBhSf5EvjEXkaV1FaMlfD6ZYkhI4L95c9M-gIzOsJqwZS1H76PYb_R2Oi8yvWAtLmrjoD-Jn\
    3hw51OXDcTYF-DqFnFk_zfcH-5fbZjLhqZrvNLYMLcZYOIcszbNO_thecmUwXtmSNRhfk18dwyeVvfeaivSW5tiMiBp_zub8SDGv\
    FxdFR_yiIlpIqcsTCb6_JL25rk6XjYup0HTbtqhoPw";
/// PS256 and RS512 with the RSA key that RS256 is for; ES256 with a signature in DER.
const PS256: &str = "\
    eyJhbGciOiJQUzI1NiIsImtpZCI6IjIwMjYtYSJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJ\
    hdWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.Z1DM84j-rGVUiaRxhWl14L4rMXbsoZlu\
    Sa1k_VrkQkRxjyv5e4Ow-ynOv1vG5XhJz82JYlfuTI3gleUd2gcqxnGsRFE6Mk8Neda_qm5Z51HA5vb8amAIuuPnAeVvw2UJ5Scx\
    oowEQUSOo73uX2CwiAVDDJ4Wl9zZzwpSYRsYaz8sk2uFOxaUOUe_BEMI_UyXsagBgoS--XTO-1ENM6h2WLYTS_eosQfzht71tMRr\
    aRBhG2gXEMG21vy3s1KgMvYRgcLT5ZrdRlGhorJOsx_nPdxfPbar1ko-1NY0JHhZIBeOG-Mby6ohMd2I43zJNblUjbIaosXGu-OI\
    4jLDh4eQ9w";
const RS512: &str = "\
    eyJhbGciOiJSUzUxMiIsImtpZCI6IjIwMjYtYSJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJ\
    hdWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.Rbv6dIHqZN-8F1rh0IGDiHb8BPYJS4Zq\
    BOIR7JVwqEZVaoBnCai6WR0qaqFx300iYvf_tAxWyKlG6Uht-gbgvetouYnxVs9qicXNLVxg4HFxdGd-6NO80Ir7-lZndR0ejju6\
    1H2LLkD6qyb0w6lzZHswaVSSuFFNFCMl2kJFK11N0kBt2sKyTFhdhO-A5UYnq6Z4vo-uT_ANe3Q_HO-UcjcZ3W06jpcyDTxkPORR\
    emPeSuGClTWa1OKpkWLFkw-ZFg0aRD21fEAwm1xdqdm8EVDPFeBymAMS0ZkajRtca6nt8efdAiVPJoMisEhCkcoHbqGPYP2Ymjhk\
    yIvOXGSWLA";
const ES256_DER: &str = "\
    eyJhbGciOiJFUzI1NiIsImtpZCI6IjIwMjYtYiJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJ\
    hdWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.MEQCIBvYku15AkfUZN-lfWY8AXlpX0tx\
    ncsRL0L7o8FdLfKCAiB__oYm8_vyQ2aGpUmvZvOQEannDJ7nFiOaT9zkctHhMA";
const OTHER_X: &str = "TP6tluSXgUz5yRVaKm5TEWh4pGa8JptkiMlmFAVS0ls";
const OTHER_Y: &str = "uA7wt5t4LJx0UsTgLnLL9p2HknLzvrzjBtgsgSOPexs";

fn secret(text: &str) -> TokenKey {
    TokenKey { id: None, material: KeyMaterial::Secret(text.to_owned()) }
}

fn named(id: &str, material: KeyMaterial) -> TokenKey {
    TokenKey { id: Some(id.to_owned()), material }
}

fn rsa(n: &str) -> KeyMaterial {
    KeyMaterial::Rsa { n: n.to_owned(), e: "AQAB".to_owned() }
}

fn p256(x: &str, y: &str) -> KeyMaterial {
    KeyMaterial::P256 { x: x.to_owned(), y: y.to_owned() }
}

fn ed25519(x: &str) -> KeyMaterial {
    KeyMaterial::Ed25519 { x: x.to_owned() }
}

/// What comes of a token in 2011, when those of the RFCs were valid.
fn in_2011(token: &str, keys: &[TokenKey]) -> Result<Claims, String> {
    verify(token, keys, Expected::default(), 1_300_819_379)
}

fn why(token: &str, keys: &[TokenKey]) -> String {
    in_2011(token, keys).unwrap_err()
}

/// A token with this head and body, signed well with HMAC and this secret.
fn signed(head: &Value, body: &Value, secret: &[u8]) -> String {
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", text(head), text(body));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn dates_may_have_fractions_and_extensions_must_be_understood() {
    let judged = |head: Value, body: Value| {
        verify(&signed(&head, &body, b"k"), &[secret("k")], Expected::default(), 1_000_000)
    };
    let plain = || json!({ "alg": "HS256" });
    assert!(judged(plain(), json!({ "sub": "ann", "exp": 2_000_000_000.5 })).is_ok());
    assert!(judged(plain(), json!({ "sub": "ann", "exp": 900_000.5 })).is_err());
    assert!(judged(plain(), json!({ "sub": "ann", "nbf": 9e15 })).is_err());
    assert!(judged(plain(), json!({ "sub": "ann", "nbf": "soon" })).is_err());
    assert!(judged(plain(), json!({ "sub": "ann\r\nX-Evil: 1" })).is_err());
    assert!(
        judged(json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), json!({ "sub": "ann" })).is_err()
    );
}

#[test]
fn a_token_is_believed_until_it_expires() {
    let keys = [secret("s3cret")];
    let joe = Expected { issuer: Some("joe"), audience: None };
    assert_eq!(verify(HS256, &keys, joe, 1_300_819_379).unwrap().by, "HS256, the shared secret");
    assert!(verify(HS256, &keys, joe, 1_300_819_380 + LEEWAY).is_err());
    assert!(verify(HS256, &[secret("another")], joe, 1_300_819_379).is_err());
    assert!(verify(HS256, &keys, Expected { issuer: Some("ann"), audience: None }, 0).is_err());
    assert!(verify(&HS256.replace(".eyJ", ".eyK"), &keys, joe, 0).is_err());
}

#[test]
fn what_is_no_token_is_refused_in_words() {
    let token = sign(&json!({ "sub": "ann", "scope": "read write", "aud": ["shop"], "nbf": 100 }), b"s");
    let shop = Expected { issuer: None, audience: Some("shop") };
    let keys = [secret("s")];
    let claims = verify(&token, &keys, shop, 100).unwrap();
    assert_eq!(
        (&*claims.subject, &*claims.scope, &*claims.by),
        ("ann", "read write", "HS256, the shared secret")
    );
    assert!(verify(&token, &keys, shop, 10).is_err(), "not yet");
    assert!(verify(&token, &keys, Expected { issuer: None, audience: Some("bank") }, 100).is_err());
    let body = URL_SAFE_NO_PAD.encode(r#"{"sub":"ann"}"#);
    let headed = |head: &str| format!("{}.{body}.", URL_SAFE_NO_PAD.encode(head));
    let heads = [
        r#"{"alg":"none"}"#,
        r#"{"alg":"nOnE"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","kid":7}"#,
        "[]",
        "7",
    ];
    let others = ["..".into(), "a.b".into(), "x".repeat(LONGEST + 1), String::new(), ".".repeat(LONGEST)];
    for text in heads.map(headed).into_iter().chain(others) {
        assert!(verify(&text, &keys, Expected::default(), 0).is_err(), "{text}");
    }
}

#[test]
fn what_others_have_signed_with_their_private_keys_is_believed() {
    let keys = [named("a", rsa(RSA_N)), named("b", p256(EC_X, EC_Y)), named("2026-c", ed25519(ANNS_X))];
    assert_eq!(in_2011(RS256, &keys).unwrap().by, "RS256, key a");
    assert_eq!(in_2011(ES256, &keys).unwrap().by, "ES256, key b");
    let anns = in_2011(ANNS, &keys).unwrap();
    assert_eq!((&*anns.subject, &*anns.by), ("ann", "EdDSA, key 2026-c"));
    // What RFC 8037 signs is no JSON: its signature is right, and that is as far as it comes.
    assert_eq!(why(EDDSA, &[named("d", ed25519(ED_X))]), "this is not a token");
    assert_eq!(why(EDDSA, &keys[2..]), "the token's signature is wrong (EdDSA, key 2026-c)");
    // Without a kid all keys of the algorithm are tried; with one only those of that name, or without a name.
    let two = [named("x", rsa(OTHER_N)), named("y", rsa(RSA_N))];
    assert_eq!(in_2011(RS256, &two).unwrap().by, "RS256, key y");
    assert_eq!(why(RS256, &two[..1]), "the token's signature is wrong (RS256, key x)");
    assert_eq!(why(ANNS, &[named("another", ed25519(ANNS_X))]), "no key here is called 2026-c");
    let nameless = TokenKey { id: None, material: ed25519(ANNS_X) };
    assert_eq!(in_2011(ANNS, &[nameless]).unwrap().by, "EdDSA, a key without a name");
}

#[test]
fn a_key_serves_its_own_algorithm_only() {
    let keys = [named("2026-a", rsa(OTHER_N)), named("2026-b", p256(OTHER_X, OTHER_Y))];
    let own =
        |alg: &str, own: &str| format!("the token's algorithm is {alg}, which no key here is for ({own})");
    let body = json!({ "sub": "root" });
    // The public key as if it were a secret: as it stands in the file, and as bytes.
    for confused in [OTHER_N.as_bytes(), &URL_SAFE_NO_PAD.decode(OTHER_N).unwrap()] {
        let token = signed(&json!({ "alg": "HS256", "kid": "2026-a" }), &body, confused);
        assert_eq!(why(&token, &keys), own("HS256", "RS256, key 2026-a"));
        let token = signed(&json!({ "alg": "HS256" }), &body, confused);
        assert_eq!(why(&token, &keys), own("HS256", "RS256, key 2026-a; ES256, key 2026-b"));
        let relabelled = signed(&json!({ "alg": "RS256", "kid": "2026-a" }), &body, confused);
        assert_eq!(why(&relabelled, &keys), "the token's signature is wrong (RS256, key 2026-a)");
    }
    assert_eq!(why(SWAPPED, &keys), own("RS256", "ES256, key 2026-b"));
    assert_eq!(why(PS256, &keys), own("PS256", "RS256, key 2026-a"));
    assert_eq!(why(RS512, &keys), own("RS512", "RS256, key 2026-a"));
    assert_eq!(why(ES256_DER, &keys), "the token's signature is wrong (ES256, key 2026-b)");
    let none = signed(&json!({ "alg": "none", "kid": "2026-a" }), &body, b"");
    assert_eq!(why(&none, &keys), "the token is not signed (none)");
    let empty = format!("{}.", RS256.rsplit_once('.').unwrap().0);
    assert_eq!(why(&empty, &[named("a", rsa(RSA_N))]), "the token's signature is wrong (RS256, key a)");
}

#[test]
fn what_a_token_says_of_itself_is_told_in_harmless_words() {
    let head = json!({ "alg": "RS256", "kid": "a\"\r\n\\é".to_owned() + &"x".repeat(200) });
    let told = why(&signed(&head, &json!({}), b"s"), &[named("a", rsa(RSA_N))]);
    assert_eq!(told, format!("no key here is called a?????{}...", "x".repeat(54)));
    // Keys that the file's reader would not let in are no reason to panic.
    for broken in [rsa(""), rsa("!!"), rsa("AAAA"), p256("", ""), p256(EC_Y, EC_X), ed25519("AAAA")] {
        for token in [RS256, ES256, EDDSA] {
            assert!(in_2011(token, &[TokenKey { id: None, material: broken.clone() }]).is_err());
        }
    }
}

#[test]
fn secrets_are_compared() {
    assert!(same(b"abc", b"abc"));
    assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"", b"a"));
}
