//! One address, many sites: which page a client gets that writes what it likes into SNI and Host.

use rt_base::Time;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{EPOCH, Setup, World};
use crate::server::{PageSet, Resource, Site, Strict, WebServer};
use crate::tls::{Authority, CertificateSpec, ClientTls, SignedBy, TlsHooks};
use crate::{ConnectOptions, Net, StepFn, StepResult};

fn pages(text: &str) -> PageSet {
    PageSet::new("test", [("/".to_owned(), Resource::new("text/plain", text.to_owned()))])
}

/// A server of a default site, one with a pattern, and one by its name.
fn server(port: u16, strict: Strict, authority: Option<&Authority>) -> WebServer {
    let issue = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let spec =
            CertificateSpec { names, not_before: 0, not_after: 2 * EPOCH, signed_by: SignedBy::PublicCa };
        authority.map(|authority| authority.issue(&spec).unwrap())
    };
    let site = |name: &str, text: &str| Site { names: vec![name.to_owned()], pages: pages(text) };
    let identities = [issue(&["default.test"]), issue(&["a.test", "*.a.test"])].into_iter().flatten();
    WebServer {
        identities: identities.collect(),
        sites: vec![site("*.a.test", "below a"), site("www.a.test", "www of a"), site("a.test", "a")],
        strict,
        ..WebServer::new(port, pages("the default"))
    }
}

async fn get<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, host: &str) -> std::io::Result<String> {
    let request = format!("GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let status = response.split(' ').nth(1).unwrap_or_default();
    let body = response.split("\r\n\r\n").nth(1).unwrap_or_default();
    Ok(if status == "200" { body.to_owned() } else { status.to_owned() })
}

/// Asks with `host` in the request, after a handshake for `sni` if there is one.
async fn ask(net: Net, port: u16, sni: Option<(&str, ClientTls)>, host: String) -> std::io::Result<String> {
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let stream = net.tcp_connect(to, ConnectOptions::default()).await?;
    match sni {
        None => get(stream, &host).await,
        Some((name, tls)) => {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            get(tls.connect(name, stream).await?, &host).await
        }
    }
}

fn step(port: u16, sni: Option<(&'static str, ClientTls)>, host: &str) -> StepFn {
    let host = if host.is_empty() { String::new() } else { format!("Host: {host}\r\n") };
    Box::new(move |net| {
        Box::pin(async move {
            ask(net, port, sni, host)
                .await
                .map_or_else(|error| StepResult::failed(error.to_string()), StepResult::ok)
        })
    })
}

#[test]
fn the_host_chooses_the_site() {
    let (mut world, _) = World::new(&Setup::default());
    let net = world.runtime.net();
    drop(net.spawn(server(9000, Strict { sni: true, host: true }, None).run(net.clone())));
    for (host, expected) in [
        ("a.test", "a"),
        ("A.Test:9000", "a"),
        ("www.a.test", "www of a"),
        ("m.a.test.", "below a"),
        ("x.m.a.test", "the default"),
        ("other.test", "the default"),
        ("127.0.0.1:9000", "the default"),
        ("", "the default"),
    ] {
        assert_eq!(world.step(step(9000, None, host)), (true, expected.to_owned()), "{host}");
    }
    assert!(world.now > Time::ZERO);
}

#[test]
fn a_host_that_the_certificate_is_not_for_is_served_or_misdirected() {
    let (mut world, _) = World::new(&Setup::default());
    let net = world.runtime.net();
    let authority = Authority::new(1, EPOCH).unwrap();
    for (port, strict) in [(9001, Strict::default()), (9002, Strict { sni: true, host: true })] {
        drop(net.spawn(server(port, strict, Some(&authority)).run(net.clone())));
    }
    let client = ClientTls::new(TlsHooks::of(&net), &[authority.root().clone()], &["http/1.1"]).unwrap();
    for (sni, host, lax, strict) in [
        ("a.test", "a.test", "a", "a"),
        // One certificate for both: the connection may be used for either (RFC 9113, 9.1.1).
        ("a.test", "www.a.test", "www of a", "www of a"),
        ("default.test", "a.test", "a", "421"),
        ("a.test", "default.test", "the default", "421"),
        ("default.test", "default.test", "the default", "the default"),
    ] {
        for (port, expected) in [(9001, lax), (9002, strict)] {
            let got = world.step(step(port, Some((sni, client.clone())), host));
            assert_eq!(got, (true, expected.to_owned()), "{sni} {host} {port}");
        }
    }
    let (ok, refused) = world.step(step(9002, Some(("b.test", client)), "b.test"));
    assert!(!ok && refused.contains("UnrecognisedName"), "{refused}");
}
