//! `cargo xtask bench l7`: what one L7 hop costs a request, in processor time, beside nginx as a reverse proxy on loopback.
//!
//! Ours is `crates/rt-lab/benches/peers/l7.rs`: everything simulated, client, network and server too; the hop's cost is the
//! difference of a run with it and one without, in turns. nginx's is taken in the same three ways from its own two processes
//! (h2load is the client; kernel time included): the proxy alone, and the proxy with its server less the server alone. What the
//! kernel does for loopback after a process has given its bytes away is counted where the kernel counts it. Beside it, in
//! [`users`], the bench of many users before a CDN.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::tools;

/// Microseconds that the hop may cost a request.
const MOST: f64 = 30.0;
/// As ours.
const BODY_BYTES: usize = 1_000;
const REQUESTS: u32 = 100_000;
const PAIRS: usize = 5;
/// Ports on loopback: the server's (plain, and with TLS for the run without a proxy), and the proxy's.
const PORTS: [u16; 3] = [28_080, 28_443, 28_444];

/// Runs it; an error when the hop costs more than it may.
pub(crate) fn run(target: &Path) -> Result<(), String> {
    let text =
        tools::output("cargo", &["bench", "--quiet", "--package", "rt-lab", "--bench", "peers", "--", "l7"])?;
    let figures = crate::bench::key_values(&text);
    let figure =
        |name: &str| figures.get(name).copied().ok_or(format!("the bench did not print {name}: {text}"));
    let (direct, hop, added) = (figure("direct_us")?, figure("hop_us")?, figure("added_us")?);
    println!(
        "l7    us a request: {direct:.1} without, {hop:.1} with the hop; added {added:.1}, limit {MOST}"
    );
    match nginx(&target.join("bench-l7")) {
        Ok(Nginx { direct, proxy, added }) => println!(
            "      nginx on loopback: server alone {direct:.1} (without the client), proxy alone {proxy:.1}; added {added:.1}"
        ),
        Err(why) => eprintln!("l7: no figure of nginx: {why}"),
    }
    if added > MOST {
        return Err(format!("the hop adds {added:.1} us to a request; {MOST} are allowed"));
    }
    Ok(())
}

/// Runs the world of many users once; an error when it takes longer than its five minutes, or too much memory.
pub(crate) fn users(many: Option<&str>) -> Result<(), String> {
    const REAL: f64 = 300.0;
    const MOST_MIB: f64 = 8_192.0;
    let bench = ["bench", "--quiet", "--package", "rt-lab", "--bench", "peers", "--", "users"];
    let env: Vec<(&str, &str)> = many.map(|many| ("USERS", many)).into_iter().collect();
    let text = tools::output_with("cargo", &bench, &env)?;
    let figures = crate::bench::key_values(&text);
    let figure =
        |name: &str| figures.get(name).copied().ok_or(format!("the bench did not print {name}: {text}"));
    let (setup, run, memory) = (figure("setup_s")?, figure("run_s")?, figure("peak_rss_mib")?);
    let users = figure("users")?;
    println!(
        "users {users:.0}: {setup:.1} s to load and build, {run:.1} s of processor time for the run (five minutes of visits), \
         {memory:.0} MiB"
    );
    if setup + run > REAL || memory > MOST_MIB {
        return Err(format!(
            "{:.0} s are more than the {REAL} s of real time, or {memory:.0} MiB too much",
            setup + run
        ));
    }
    Ok(())
}

/// Microseconds of processor time a request.
struct Nginx {
    /// The server, asked directly over TLS.
    direct: f64,
    /// The proxy.
    proxy: f64,
    /// Proxy and server, less the server asked directly.
    added: f64,
}

/// A process of one worker that ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(folder: &Path, name: &str, http: &str) -> Result<Process, String> {
        let file = folder.join(format!("{name}.conf"));
        let path = folder.display();
        let text = format!(
            "daemon off; master_process off; pid {path}/{name}.pid; error_log {path}/{name}.log error;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off; sendfile on; tcp_nodelay on; client_body_temp_path {path}/body;\n\
             proxy_temp_path {path}/proxied; fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             keepalive_requests 1000000000; open_file_cache max=10;\n{http}}}\n"
        );
        std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start nginx: {e}"))?;
        Ok(Process(child))
    }

    /// Seconds on a processor so far, in the kernel too.
    fn spent(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/schedstat", self.0.id());
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let first = text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
        first.map(|nanos| nanos / 1e9).ok_or(format!("{path} has no number"))
    }
}

fn nginx(folder: &Path) -> Result<Nginx, String> {
    tools::need(&[("nginx", "nginx-light"), ("h2load", "nghttp2-client"), ("openssl", "openssl")])?;
    std::fs::create_dir_all(folder.join("www")).map_err(|e| format!("{}: {e}", folder.display()))?;
    std::fs::write(folder.join("www/index.bin"), vec![7; BODY_BYTES]).map_err(|e| e.to_string())?;
    let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
    let words =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let named = ["-subj", "/CN=bench.example", "-keyout", &text(&key), "-out", &text(&certificate)];
    tools::output("openssl", &[&words[..], &named[..]].concat())?;
    let [plain, secure, proxied] = PORTS;
    let tls = format!(
        "ssl_protocols TLSv1.3; ssl_certificate {}; ssl_certificate_key {};",
        certificate.display(),
        key.display()
    );
    let www = folder.join("www");
    let server = Process::start(
        folder,
        "server",
        &format!(
            "  server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl http2; {tls} root {}; index index.bin; }}\n",
            www.display()
        ),
    )?;
    let proxy = Process::start(
        folder,
        "proxy",
        &format!(
            "  upstream back {{ server 127.0.0.1:{plain}; keepalive 128; keepalive_requests 1000000000; }}\n  \
             server {{ listen 127.0.0.1:{proxied} ssl http2; {tls}\n    \
             location / {{ proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection \"\";\n    \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto https; }} }}\n"
        ),
    )?;
    for port in PORTS {
        await_port(port)?;
    }
    // Once to warm up.
    h2load(secure)?;
    h2load(proxied)?;
    let (mut direct, mut alone, mut added) = (Vec::new(), Vec::new(), Vec::new());
    let each = 1e6 / f64::from(REQUESTS);
    for _ in 0..PAIRS {
        let before = server.spent()?;
        h2load(secure)?;
        let without = (server.spent()? - before) * each;
        let before = (server.spent()?, proxy.spent()?);
        h2load(proxied)?;
        let with = ((server.spent()? - before.0) * each, (proxy.spent()? - before.1) * each);
        direct.push(without);
        alone.push(with.1);
        added.push(with.0 + with.1 - without);
    }
    Ok(Nginx { direct: median(direct), proxy: median(alone), added: median(added) })
}

fn text(path: &Path) -> String {
    PathBuf::from(path).display().to_string()
}

fn await_port(port: u16) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > end {
            return Err(format!("nothing listens on port {port}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// All requests over one connection, 100 at a time; an error unless all were answered.
fn h2load(port: u16) -> Result<(), String> {
    let (requests, url) = (REQUESTS.to_string(), format!("https://127.0.0.1:{port}/"));
    let text = tools::output("h2load", &["-n", &requests, "-c", "1", "-m", "100", &url])?;
    let all = format!("{REQUESTS} total, {REQUESTS} started, {REQUESTS} done, {REQUESTS} succeeded");
    if text.contains(&all) { Ok(()) } else { Err(format!("not all requests were answered:\n{text}")) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
