//! Clients of the name service.

use super::group;
use crate::play::{Group, Row};

group! {
    Group::NONE;
    dig_a: Row {
        client: "dig",
        asked: "dig google.com",
        came: "the address, from 8.8.8.8",
        said: &["status: NOERROR", r"^google\.com\.\s+300\s+IN\s+A\s+142\.250\.190\.46$", r"SERVER: 8\.8\.8\.8#53.*UDP"],
        told: &["google.com is 142.250.190.46"],
        ..Row::NONE
    },
    dig_mx: Row {
        client: "dig",
        asked: "dig +short google.com MX",
        came: "10 smtp.google.com",
        said: &[r"^10 smtp\.google\.com\.$"],
        told: &["MX of google.com"],
        ..Row::NONE
    },
    dig_cname: Row {
        client: "dig",
        asked: "dig www.google.com",
        came: "CNAME google.com, and its address",
        said: &[r"^www\.google\.com\.\s.*CNAME\s+google\.com\.$", r"^google\.com\.\s.*A\s+142\.250\.190\.46$"],
        told: &["www.google.com is (really )?google.com"],
        ..Row::NONE
    },
    dig_nxdomain: Row {
        client: "dig",
        asked: "dig nosuch.example",
        came: "NXDOMAIN, with the SOA of the zone above",
        said: &["status: NXDOMAIN", r"^example\.\s.*SOA"],
        told: &["A of nosuch.example", "there is no such name"],
        ..Row::NONE
    },
    dig_https: Row {
        client: "dig",
        asked: "dig google.com HTTPS",
        came: "NODATA: no error, no answer, the zone's SOA",
        said: &["status: NOERROR", "ANSWER: 0, AUTHORITY: 1", r"^google\.com\.\s.*SOA"],
        told: &["HTTPS of google.com", "has no record of that type"],
        ..Row::NONE
    },
    dig_tcp: Row {
        client: "dig",
        asked: "dig +tcp google.com",
        came: "the address, over TCP",
        said: &[r"^google\.com\.\s.*A\s+142\.250\.190\.46$", r"SERVER: 8\.8\.8\.8#53.*TCP"],
        told: &[
            r#"connect +8\.8\.8\.8:53[\s\S]*?find the address +google\.com +[\d.]+ ms\n +question +"A of google\.com\?""#,
        ],
        ..Row::NONE
    },
    dig_trace: Row {
        client: "dig",
        asked: "dig +trace google.com",
        came: "root, com, google.com, the address: each from its own server",
        said: &[
            r"Received \d+ bytes from 198\.41\.0\.4#53\(a\.root-servers\.net\)",
            r"Received \d+ bytes from \S+#53\(x\.gtld-servers\.net\)",
            r"^google\.com\.\s+300\s+IN\s+A\s+142\.250\.190\.46\n;; Received \d+ bytes from \S+\(ns1\.google\.com\)",
        ],
        told: &[
            r"com is served by x\.gtld-servers\.net .*\n +so +this server says whom to ask instead",
            r"google\.com is served by ns1\.google\.com .*\n +so +this server says whom to ask instead",
        ],
        ..Row::NONE
    },
    nslookup_a: Row {
        client: "nslookup",
        asked: "nslookup google.com",
        came: "the address, from 8.8.8.8",
        said: &[r"^Server:\s+8\.8\.8\.8$", r"^Name:\s+google\.com\nAddress: 142\.250\.190\.46$"],
        told: &["google.com is 142.250.190.46"],
        ..Row::NONE
    },
    nslookup_mx: Row {
        client: "nslookup",
        asked: "nslookup -type=mx google.com",
        came: "10 smtp.google.com",
        said: &[r"mail exchanger = 10 smtp\.google\.com\."],
        told: &["MX of google.com"],
        ..Row::NONE
    },
    nslookup_cname: Row {
        client: "nslookup",
        asked: "nslookup www.google.com",
        came: "the canonical name and its address",
        said: &[r"canonical name = google\.com\.", r"Address: 142\.250\.190\.46$"],
        told: &["www.google.com is (really )?google.com"],
        ..Row::NONE
    },
    nslookup_nxdomain: Row {
        client: "nslookup",
        asked: "nslookup nosuch.example",
        came: "NXDOMAIN",
        exit: 1,
        said: &["can't find nosuch.example: NXDOMAIN"],
        told: &["there is no such name"],
        ..Row::NONE
    },
}
