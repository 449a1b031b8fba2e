//! Keys of signed tokens: as PEM and as a JWK set, written back, and every mistake.

use rt_rules::http::{Auth, KeyMaterial, TokenKey};
use rt_scenario::model::App;
use rt_scenario::{Model, load, render_all, views};

use crate::shipped::essence;

/// Keys by OpenSSL 3: `openssl genpkey`, then `openssl pkey -pubout`.
const TEXT: &str = "\
name: t
topology:
  nodes:
    a: { address: 10.0.0.1/24 }
    p:
      address: 10.0.0.2/24
      run:
        - edge:
            upstreams: { w: 10.0.0.1:80 }
            routes:
              - path: /pem
                auth:
                  bearer:
                    secret: s3cret
                    keys:
                      2026-a: |
                        -----BEGIN PUBLIC KEY-----
                        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtRKE1jP2o5X+G+HOwNw4
                        zr6kWf+F6NBYIMxw+4kw/ong+boBtCtAKeuo6QRM3VmiOV3Fdg1uRAMmszpBWMPX
                        oSxkQcKkK9stkS21Z+whEA0xiKYZZwa3D5mxrZz15HVYNBhSf5EvjEXkaV1FaMlf
                        D6ZYkhI4L95c9M+gIzOsJqwZS1H76PYb/R2Oi8yvWAtLmrjoD+Jn3hw51OXDcTYF
                        +DqFnFk/zfcH+5fbZjLhqZrvNLYMLcZYOIcszbNO/thecmUwXtmSNRhfk18dwyeV
                        vfeaivSW5tiMiBp/zub8SDGvFxdFR/yiIlpIqcsTCb6/JL25rk6XjYup0HTbtqho
                        PwIDAQAB
                        -----END PUBLIC KEY-----
                      2026-b: |
                        -----BEGIN PUBLIC KEY-----
                        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAETP6tluSXgUz5yRVaKm5TEWh4pGa8
                        JptkiMlmFAVS0lu4DvC3m3gsnHRSxOAucsv2nYeScvO+vOMG2CyBI497Gw==
                        -----END PUBLIC KEY-----
                      2026-c: |
                        -----BEGIN PUBLIC KEY-----
                        MCowBQYDK2VwAyEAnPyhGqto4CQcfv78bRXZow8YaDfVZyMKfoABD7+hhXo=
                        -----END PUBLIC KEY-----
              - path: /jwks
                auth:
                  bearer:
                    issuer: https://login.example
                    jwks: { \"keys\": [
                      { \"kty\": \"RSA\", \"kid\": \"2026-a\", \"use\": \"sig\", \"alg\": \"RS256\", \"e\": \"AQAB\", \"n\":
                        \"tRKE1jP2o5X-G-HOwNw4zr6kWf-F6NBYIMxw-4kw_ong-boBtCtAKeuo6QRM3VmiOV3Fdg1uRAMmszpBWMPXoSxkQcKkK9stkS21Z-whEA0xiKYZZwa3D5mxrZz15HVYNBhSf5EvjEXkaV1FaMlfD6ZYkhI4L95c9M-gIzOsJqwZS1H76PYb_R2Oi8yvWAtLmrjoD-Jn3hw51OXDcTYF-DqFnFk_zfcH-5fbZjLhqZrvNLYMLcZYOIcszbNO_thecmUwXtmSNRhfk18dwyeVvfeaivSW5tiMiBp_zub8SDGvFxdFR_yiIlpIqcsTCb6_JL25rk6XjYup0HTbtqhoPw\" },
                      { \"kty\": \"EC\", \"kid\": \"2026-b\", \"crv\": \"P-256\",
                        \"x\": \"TP6tluSXgUz5yRVaKm5TEWh4pGa8JptkiMlmFAVS0ls\", \"y\": \"uA7wt5t4LJx0UsTgLnLL9p2HknLzvrzjBtgsgSOPexs\" },
                      { \"kty\": \"OKP\", \"kid\": \"2026-c\", \"crv\": \"Ed25519\", \"x\": \"nPyhGqto4CQcfv78bRXZow8YaDfVZyMKfoABD7-hhXo\" } ] }
  links:
    - endpoints: [\"a:eth0\", \"p:eth0\"]
";

fn model(text: &str) -> Model {
    load("t.yaml", text).map(|loaded| loaded.model).unwrap_or_else(|p| panic!("{}", render_all(&p)))
}

fn keys(model: &Model) -> Vec<Vec<TokenKey>> {
    let App::Edge { options, .. } = &model.nodes[1].apps[0] else { panic!("an edge") };
    let of = |auth: &Option<Auth>| match auth {
        Some(Auth::Bearer { keys, .. }) => keys.clone(),
        _ => Vec::new(),
    };
    options.routes.iter().map(|route| of(&route.gate.auth)).collect()
}

#[test]
fn pem_and_jwk_are_the_same_keys() {
    let model = model(TEXT);
    let all = keys(&model);
    assert_eq!(all[0][0].material, KeyMaterial::Secret("s3cret".into()));
    assert_eq!(all[0][1..], all[1]);
    let algorithms: Vec<&str> = all[1].iter().map(|key| key.material.algorithm()).collect();
    assert_eq!(algorithms, ["RS256", "ES256", "EdDSA"]);
    let ids: Vec<Option<&str>> = all[1].iter().map(|key| key.id.as_deref()).collect();
    assert_eq!(ids, [Some("2026-a"), Some("2026-b"), Some("2026-c")]);
}

#[test]
fn keys_are_written_back() {
    let first = model(TEXT);
    let plain = views::plain_yaml(&first);
    let second = model(&plain);
    assert_eq!(keys(&first), keys(&second), "{plain}");
    assert_eq!(essence(&first), essence(&second), "{plain}");
}

#[test]
fn what_is_no_key_is_refused_where_it_stands() {
    let x = "TP6tluSXgUz5yRVaKm5TEWh4pGa8JptkiMlmFAVS0ls";
    for (from, to, why) in [
        (
            "BEGIN PUBLIC KEY-----\n                        MCow",
            "BEGIN PRIVATE KEY-----\n                        MCow",
            "this is a private key",
        ),
        (
            "BEGIN PUBLIC KEY-----\n                        MCow",
            "BEGIN CERTIFICATE-----\n                        MCow",
            "`CERTIFICATE`, not a `PUBLIC KEY`",
        ),
        ("MCow", "MCo!", "no public key as PEM"),
        ("MCow", "NCow", "no key in this PEM"),
        ("-----BEGIN PUBLIC KEY-----\n                        MCow", "MCow", "no public key as PEM"),
        ("\"kty\": \"OKP\"", "\"kty\": \"oct\"", "`oct`"),
        ("\"crv\": \"P-256\"", "\"crv\": \"P-384\"", "`P-384`"),
        ("\"crv\": \"P-256\"", "\"crv\": \"Ed25519\"", "there is no such key"),
        ("\"alg\": \"RS256\"", "\"alg\": \"ES256\"", "a key of this kind is for RS256, not for ES256"),
        ("\"alg\": \"RS256\"", "\"alg\": \"PS256\"", "`PS256`"),
        ("\"use\": \"sig\"", "\"use\": \"enc\"", "`enc`"),
        ("\"use\": \"sig\"", "\"d\": \"AQAB\"", "this is a private key (`d`)"),
        ("\"e\": \"AQAB\"", "\"e\": \"AQ\"", "not the numbers of an RSA key"),
        ("\"e\": \"AQAB\", ", "", "this key has no `e`"),
        ("\"e\": \"AQAB\"", "\"e\": \"A+A=\"", "`e` is not written in base64url"),
        (x, "AAAA", "no point of the curve P-256"),
        (x, "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "no point of the curve P-256"),
        ("\"kid\": \"2026-a\", \"use\"", "\"kid\": \"2026-b\", \"use\"", ""),
        (
            "issuer: https://login.example\n                    jwks",
            "issuer: https://login.example\n                    jwkz",
            "jwks",
        ),
    ] {
        let bad = TEXT.replacen(from, to, 1);
        assert_ne!(bad, TEXT, "{from}");
        match load("t.yaml", &bad) {
            Ok(_) => assert!(why.is_empty(), "{to}: accepted"),
            Err(problems) => {
                assert!(
                    !why.is_empty() && render_all(&problems).contains(why),
                    "{to}: {}",
                    render_all(&problems)
                );
            }
        }
    }
    let twice =
        TEXT.replacen("\"kty\": \"OKP\", \"kid\": \"2026-c\"", "\"kty\": \"OKP\", \"kid\": \"2026-b\"", 1);
    assert!(load("t.yaml", &twice).is_ok(), "another kind of key");
}

#[test]
fn keys_in_unusual_sizes_are_refused() {
    for (pem, why) in [(SMALL, "an RSA key of 1024 bits"), (P384, "this curve is not P-256")] {
        let pem = pem.trim().replace('\n', "\n                        ");
        let i = TEXT.find("-----BEGIN").expect("a key");
        let end = "-----END PUBLIC KEY-----";
        let j = TEXT.find(end).expect("its end") + end.len();
        let bad = format!("{}{pem}{}", &TEXT[..i], &TEXT[j..]);
        let problems = load("t.yaml", &bad).map(|_| ()).expect_err(why);
        let told = render_all(&problems);
        assert!(told.contains(why) && told.contains("t.yaml:17"), "{told}");
    }
}

const SMALL: &str = "\
    -----BEGIN PUBLIC KEY-----\n\
    MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDinbQjv1jSY8v3+jNYcoArAn48\n\
    z33aMgbvJ/Kplk8p2CQ4sB1bCqxzGRXd02s4Qi9wD64OO5VbqqeYVaQyO4BCWP6X\n\
    e+HtrG+JPrsbFGWgYjVMjvttw2dr4nhuYPN4/PD2uEOO5UldrME2c0AaOFkxFP4t\n\
    tBSXfXEyyfv+5UPsTwIDAQAB\n\
    -----END PUBLIC KEY-----\n";
const P384: &str = "\
    -----BEGIN PUBLIC KEY-----\n\
    MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEg5LTToLXlC8VDwrT92bMq1/jOkX1ezU+\n\
    GClnjbbIUPW67FH9afWEtKv79/P6ua8kAsL/kJQ5Ehes5uo77EAU1JEiXkrj5T0X\n\
    cEddTSK1WkU8Xs7u0b1WupYp5GQgAVYz\n\
    -----END PUBLIC KEY-----\n";

/// A key with which anybody can sign, and keys of which there are none.
#[test]
fn keys_that_are_none_are_refused() {
    let problems = |bearer: &str| {
        let text = format!(
            "name: t\ntopology:\n  nodes:\n    a: {{ address: 10.0.0.1/24 }}\n    p:\n      address: 10.0.0.2/24\n      run:\n        - edge:\n            upstreams: {{ w: 10.0.0.1:80 }}\n            routes: [ {{ auth: {{ bearer: {bearer} }} }} ]\n  links:\n    - endpoints: [\"a:eth0\", \"p:eth0\"]\n"
        );
        load("t.yaml", &text).map_or_else(|problems| render_all(&problems), |_| String::new())
    };
    assert!(problems("{ secret: \"\" }").contains("an empty secret lets anybody sign tokens"));
    for none in ["{ keys: {} }", "{ jwks: { keys: [] } }", "{ issuer: x }"] {
        let said = problems(none);
        assert!(said.contains("nothing says with which key tokens are signed"), "{none}: {said}");
    }
}

/// Anybody can sign for a point of small order; what is no point believes nobody.
#[test]
fn ed25519_keys_are_points_of_their_curve() {
    let own = "nPyhGqto4CQcfv78bRXZow8YaDfVZyMKfoABD7-hhXo";
    for (key, why) in [
        ("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "no point of the curve"),
        ("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "a small order"),
    ] {
        let text = TEXT.replace(own, key);
        let said = load("t.yaml", &text).map_or_else(|problems| render_all(&problems), |_| String::new());
        assert!(said.contains(why), "{key}: {said}");
    }
}
