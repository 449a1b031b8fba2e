//! Clients of the web.

use std::path::Path;

use super::group;
use crate::play::{Group, Row, pattern};
use crate::support::tshark;

const BENCH: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                     -subj /CN=bench.example -keyout key.pem -out cert.pem
openssl s_server -accept 443 -cert cert.pem -key key.pem -www";

const PYTHON_CLIENT: &str = "\
import http.client
c = http.client.HTTPSConnection('httpbin.org')
for word in ['one', 'two']:  # over one connection
    c.request('PUT', '/anything?by=http.client', body=word)
    r = c.getresponse()
    print(r.status, r.version, r.read())
";

const PYTHON_SSL: &str = "\
import socket, ssl
s = ssl.create_default_context().wrap_socket(socket.create_connection(('httpbin.org', 443)), server_hostname='httpbin.org')
s.sendall(b'GET /get?by=ssl HTTP/1.1\\r\\nHost: httpbin.org\\r\\nConnection: close\\r\\n\\r\\n')
print(s.version(), s.getpeercert()['subject'], s.makefile().readline())
";

const NODE: &str = "\
const https = require('https');
https.get('https://httpbin.org/get?by=node', (r) => {
  console.log(r.statusCode, r.socket.getProtocol(), r.socket.authorized);
  r.pipe(process.stdout);
});
";

group! {
    Group {
        others: &[("bench", BENCH)],
        files: &[("client.py", PYTHON_CLIENT), ("tls.py", PYTHON_SSL), ("get.js", NODE)],
        // A client that closes before it has read the server's close_notify resets, as curl, wget and Python do.
        explained: &[r"Connection reset \(RST\)\|\d{4,5} → 443 \[RST"],
        ..Group::NONE
    };
    curl_http1: Row {
        client: "curl",
        asked: r"curl -sS --http1.1 -w '%{http_code} %{http_version}\n' 'https://httpbin.org/get?by=http1'",
        came: "200 over HTTP/1.1, the fields that it sent",
        said: &["^200 1.1$", "\"version\": \"HTTP/1.1\"", "\"user-agent\": \"curl/"],
        told: &[r"GET https://httpbin\.org/get\?by=http1 +200 OK"],
        ..Row::NONE
    },
    curl_http2: Row {
        client: "curl",
        asked: r"curl -sS -w '%{http_code} %{http_version} %{ssl_verify_result}\n' 'https://httpbin.org/get?by=http2'",
        came: "200 over HTTP/2, the certificate verified",
        said: &["^200 2 0$", "\"version\": \"HTTP/2.0\""],
        told: &[r"GET https://httpbin\.org/get\?by=http2 +200 OK"],
        ..Row::NONE
    },
    curl_post: Row {
        client: "curl",
        asked: "seq 1 20000 >numbers; sha256sum numbers; curl -sS --data-binary @numbers https://httpbin.org/post",
        came: "the SHA-256 of the 108,894 bytes that it sent",
        said: &["\"method\": \"POST\"", "\"length\": 108894"],
        told: &[r"POST https://httpbin\.org/post +200 OK"],
        check: Some(|_, said| {
            let sum = said.split_whitespace().next().unwrap_or_default();
            let found = sum.len() == 64 && said.contains(&format!("\"sha256\": \"{sum}\""));
            if found { Ok(()) } else { Err("the sum is not that of the file".into()) }
        }),
        ..Row::NONE
    },
    curl_redirects: Row {
        client: "curl",
        asked: r"curl -sSL -w '%{num_redirects} %{url_effective}\n' https://httpbin.org/redirect/3",
        came: "302 three times, then the page, over one connection",
        said: &["^3 https://httpbin.org/get$"],
        told: &[r"GET https://httpbin\.org/redirect/3 +302", r"GET https://httpbin\.org/redirect/1 +302"],
        ..Row::NONE
    },
    curl_compression: Row {
        client: "curl",
        asked: r"curl -sS --compressed -D- -w '%{size_download} bytes came\n' -o text https://httpbin.org/text; wc -l text",
        came: "Brotli; 400 lines from fewer than 1,000 bytes",
        said: &["^content-encoding: br", "^[1-9][0-9]{0,2} bytes came$", "^400 text"],
        told: &[r"GET https://httpbin\.org/text +200 OK"],
        ..Row::NONE
    },
    curl_cookies: Row {
        client: "curl",
        asked: "curl -sSL -b '' 'https://httpbin.org/cookies/set?flavour=oat'",
        came: "the cookie that was set came back with the next request",
        said: &["\"flavour\": \"oat\""],
        told: &[r"GET https://httpbin\.org/cookies +200 OK"],
        ..Row::NONE
    },
    curl_fast_open: Row {
        client: "curl",
        asked: "for n in 1 2; do curl -sS --tcp-fastopen \"http://httpbin.org/get?by=tfo$n\"; done",
        came: "a cookie; the second request came with the SYN",
        said: &["\"by\": \"tfo2\""],
        told: &[r"GET http://httpbin\.org/get\?by=tfo2 +200 OK"],
        check: Some(fast_open),
        ..Row::NONE
    },
    curl_key_log: Row {
        client: "curl",
        asked: "curl -sSk 'https://bench.example/?by=keys'",
        came: "200 from a real `openssl s_server`; the story tells it because curl writes to `SSLKEYLOGFILE`",
        said: &["TLSv1.3"],
        told: &[r"GET https://bench\.example/\?by=keys +200"],
        ..Row::NONE
    },
    wget: Row {
        client: "wget",
        asked: "wget -nv -p http://narrow.example/ && find narrow.example -type f | sort",
        came: "the page and all that it names, from behind a link of 1,400 bytes",
        said: &["index.html$", "static/shop.css$", "static/cup.png$"],
        told: &[r"GET http://narrow\.example/ +200 OK"],
        ..Row::NONE
    },
    wget_tls: Row {
        client: "wget",
        asked: "wget -q -S -O- 'https://httpbin.org/get?by=wget'",
        came: "200, the certificate verified",
        said: &["HTTP/1.1 200 OK", "\"by\": \"wget\""],
        told: &[r"GET https://httpbin\.org/get\?by=wget +200 OK"],
        ..Row::NONE
    },
    python_http_client: Row {
        client: "python3",
        asked: "python3 client.py",
        came: "`http.client`: two PUTs over one connection",
        said: &[r"^200 11 .*\bone\b", r"^200 11 .*\btwo\b"],
        told: &[r"PUT https://httpbin\.org/anything\?by=http.client +200 OK"],
        ..Row::NONE
    },
    python_urllib: Row {
        client: "python3",
        asked: "python3 -c \"import urllib.request as u; r = u.urlopen('https://httpbin.org/get?by=urllib'); print(r.status, r.read())\"",
        came: "`urllib`: 200",
        said: &["^200 .*Python-urllib"],
        told: &[r"GET https://httpbin\.org/get\?by=urllib +200 OK"],
        ..Row::NONE
    },
    python_ssl: Row {
        client: "python3",
        asked: "python3 tls.py",
        came: "`ssl`: TLS 1.3, the certificate's subject, 200",
        said: &["^TLSv1.3 .*httpbin.org.* HTTP/1.1 200 OK"],
        told: &[r"GET https://httpbin\.org/get\?by=ssl +200 OK"],
        ..Row::NONE
    },
    node_https: Row {
        client: "node",
        asked: "node get.js",
        came: "`https.get`: 200 over TLS 1.3, authorized",
        said: &["^200 TLSv1.3 true$", "\"by\": \"node\""],
        told: &[r"GET https://httpbin\.org/get\?by=node +200 OK"],
        ..Row::NONE
    },
    openssl_s_client: Row {
        client: "openssl",
        asked: "openssl s_client -connect httpbin.org:443 -servername httpbin.org -verify_return_error -alpn h2",
        came: "the chain up to the simulated root, verified; ALPN h2",
        said: &["Verify return code: 0 \\(ok\\)", "ALPN protocol: h2", "depth=2 .*Roundtrip Root CA"],
        told: &[r"TLS +httpbin\.org|encrypt.* httpbin\.org"],
        ..Row::NONE
    },
    tshark_decrypts: Row {
        client: "tshark",
        asked: "tshark -n -r run/captures/home.laptop-eth0.pcapng -Y 'http2.headers.method or http.request' \
                -T fields -e http2.headers.path -e http.request.uri",
        came: "every request of these rows, decrypted with the secrets inside the capture",
        said: &[r"/get\?by=http2", r"/get\?by=http1", r"/get\?by=node", r"/get\?by=wget", r"/\?by=keys", "^/post"],
        after: true,
        ..Row::NONE
    },
}

/// Whether a SYN with a cookie carried the request, and its data was acknowledged by the SYN-ACK.
fn fast_open(folder: &Path, _: &str) -> Result<(), String> {
    let capture = folder.join("run/captures/home.laptop-eth0.pcapng");
    let syn = ["-Y", "tcp.port == 80 and tcp.flags.syn == 1", "-T", "fields", "-E", "separator=|"];
    let fields = ["-e", "tcp.flags.ack", "-e", "tcp.len", "-e", "tcp.ack", "-e", "tcp.options.tfo.cookie"];
    let all = tshark(&capture, &[&syn[..], &fields[..]].concat());
    let with_data = pattern(r"^(0|False)\|[1-9]\d+\|\d*\|[0-9a-f]+\n(.*\n)*?(1|True)\|0\|[1-9]\d+\|");
    if with_data.is_match(&all) { Ok(()) } else { Err(format!("no SYN with data was acknowledged:\n{all}")) }
}
