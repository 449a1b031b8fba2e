//! Tokens signed elsewhere, in steps: by whom they are believed, and why not. Keys and tokens were made by OpenSSL.

use rt_lab::{Run, RunOptions, Scenario};

const WORLD: &str = "\
name: tokens
about: Tokens at a proxy.
topology:
  nodes:
    ann: { address: 10.0.0.1/24 }
    p:
      address: 10.0.0.2/24
      run:
        - edge:
            upstreams: { web: 10.0.0.3:80 }
            routes:
              - path: /
                auth:
                  bearer:
                    issuer: https://login.example
                    audience: shop
                    scope: read
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
                    jwks: { \"keys\": [
                      { \"kty\": \"EC\", \"kid\": \"2026-b\", \"crv\": \"P-256\",
                        \"x\": \"TP6tluSXgUz5yRVaKm5TEWh4pGa8JptkiMlmFAVS0ls\", \"y\": \"uA7wt5t4LJx0UsTgLnLL9p2HknLzvrzjBtgsgSOPexs\" },
                      { \"kty\": \"OKP\", \"kid\": \"2026-c\", \"crv\": \"Ed25519\", \"x\": \"nPyhGqto4CQcfv78bRXZow8YaDfVZyMKfoABD7-hhXo\" } ] }
    web: { address: 10.0.0.3/24, run: [ http: { pages: httpbin } ] }
    s: { kind: switch }
  links:
    - endpoints: [\"ann:eth0\", \"s:p1\"]
    - endpoints: [\"p:eth0\", \"s:p2\"]
    - endpoints: [\"web:eth0\", \"s:p3\"]
steps:
";

const RS256: &str = "\
    eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IjIwMjYtYSJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2l\
    uLmV4YW1wbGUiLCJhdWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.NTgLOvvIrProyhvY\
    e0aOBt4ivDvBoIaXwAzv00kx4xCcRwGfH9gcbB7YXZJVuq5WQgQrjAwR4iOFKG2awihrTEOuWjNwa0cNK5Qpy12ihqdnyIaYXRYF\
    bTWNSsHK0Lc8OaVnfI1Y9W-F8gKSbJA6SPDwpLvNWp_-EknYYGmvN-rU2hvDxHH8q58_rKQ2Y6tpUCqTXtgv6cjMro8XaUk_LN18\
    pDMnG-GbKwkSfjfPv8xiaKHSYmffEcCjmU1CVBKZR5XO3tT2a1vH2fZ2LpSOankJ0k20c-HK3Vu8rLnUQjB3i5DZDnRfTUylAcRE\
    yzdUPbHHNFchhzNIujhwFin8nA";
const ES256: &str = "\
    eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IjIwMjYtYiJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2l\
    uLmV4YW1wbGUiLCJhdWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.fkJqaOaU7s_UZi1T\
    DMj1zsiVLfeUJd0JEyP6gMgMi5xxk1-KQtsmGingpCeqRoiQHXciIli577OdL_Rnn1OCXQ";
const EDDSA: &str = "\
    eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6IjIwMjYtYyJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2l\
    uLmV4YW1wbGUiLCJhdWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.szTK17Y3jhfsCxrb\
    UNE49430Z95KMUBzMWQ0F1Evsdr95pbQUgMGpgJ92Og8-QV8JqznK7pXvLy4NHc8ckZqCw";
/// HS256 with the PEM of the RSA key as its secret.
const CONFUSED: &str = "\
    eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IjIwMjYtYSJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2l\
    uLmV4YW1wbGUiLCJhdWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.-yGE25W1Q9Fb3h3H\
    0M5VzlLMS6PgwoHfHPxIdm26OZE";
/// Signed with the RSA key, in the name of the other one.
const SWAPPED: &str = "\
    eyJhbGciOiJSUzI1NiIsImtpZCI6IjIwMjYtYiJ9.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJ\
    hdWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.UVwJdjXWaU9gYEHQOEaENScRRlz-zhR5\
    h_l6prVGFWSt-UCAK-Q1fy6dWx0GT2KEgY-JGtFGCz65hkoBowZ1iNSh2aNM4a8HrYTDivdRGSIqk8xrWTOsETc9GyhhEfad6GjT\
    uvoA-KpFHCFB8T4wCn-GZk6m6E1OVZBCVZCxaq2BmiaVxDPEUeAhRraUmdi3XJOEG1v9RxlMue-3WGh0snvZcdJf1Kxt10Y52Ja2\
    4JfAtqflb7p3KmvAmf9SNtwnKrOjYu2dKehu91X9ndWxzAi2RndPLcnlUO17Bq0UtXWj5AetJexCJFWOc9nlmFpVBaYMwvhg5W9w\
    qlkRzZNk0A";
/// Signed well, in the name of a key that nobody here knows.
const STRANGER: &str = "\
    eyJhbGciOiJFUzI1NiIsImtpZCI6IjE5OTkifQ.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJhd\
    WQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.2C3X0nh7JQgWIlJDSo2iwXWo8PweUp5tpE\
    LQD_AJbxpRB3O4xmx6t1AKUdrYuMfJ0v4oOBPmw--LuPO2AO_BHg";
const NONE: &str = "\
    eyJhbGciOiJub25lIiwia2lkIjoiMjAyNi1hIn0.eyJzdWIiOiJhbm4iLCJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJh\
    dWQiOiJzaG9wIiwic2NvcGUiOiJyZWFkIHdyaXRlIiwiZXhwIjo0MDAwMDAwMDAwfQ.";

fn run(tokens: &[&str]) -> Run {
    let step = |(n, token): (usize, &&str)| {
        format!(
            "  - {{ do: 'ann opens http://10.0.0.2/get?{n}', fields: {{ Authorization: Bearer {token} }} }}\n"
        )
    };
    let text = format!("{WORLD}{}", tokens.iter().enumerate().map(step).collect::<String>());
    Scenario::of_text("tokens.yaml", &text)
        .unwrap_or_else(|why| panic!("{why}"))
        .run(RunOptions::new(1))
        .unwrap()
}

#[test]
fn the_story_says_which_key_a_token_was_believed_by_or_why_it_was_not() {
    let tokens = [RS256, ES256, EDDSA, CONFUSED, SWAPPED, STRANGER, NONE];
    let expected = [
        (200, "believes the token: ann (RS256, key 2026-a)"),
        (200, "believes the token: ann (ES256, key 2026-b)"),
        (200, "believes the token: ann (EdDSA, key 2026-c)"),
        (
            401,
            "refuses with 401: the token's algorithm is HS256, which no key here is for (RS256, key 2026-a)",
        ),
        (
            401,
            "refuses with 401: the token's algorithm is RS256, which no key here is for (ES256, key 2026-b)",
        ),
        (401, "refuses with 401: no key here is called 1999"),
        (401, "refuses with 401: the token is not signed (none)"),
    ];
    let run = run(&tokens);
    for (step, (status, told)) in run.story().steps.iter().zip(expected) {
        let request = &step.requests[0];
        let up = request.upstream.as_ref().expect("the proxy told what it did");
        let auth = up
            .steps
            .iter()
            .find(|step| matches!(step.code.as_str(), "auth" | "believes"))
            .expect("it looked at the token");
        assert_eq!((request.status, &*auth.text), (status, told));
        assert_eq!(up.chosen.is_empty(), status == 401, "a refused request goes no further");
        let seen = up.server_caller.as_ref().map(|caller| {
            caller.told.iter().any(|field| field.name == "x-authenticated-user" && field.value == "ann")
        });
        assert_eq!(seen, (status == 200).then_some(true), "{told}");
    }
}
