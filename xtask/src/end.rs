//! `cargo xtask bench-end`: the two ends of `bench attach`, the same programs behind either network. The server has what the
//! small services have (RFC 862, 863, 864: echo, discard, characters), so a simulated machine can be in its place.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Ports of echo, discard and the character generator.
pub(crate) const PORTS: [u16; 3] = [7, 9, 19];
/// Bytes written or read at a time, as iperf3 has it.
const AT_ONCE: usize = 128 * 1024;
/// Round trips between two looks at the clock.
const BATCH: u32 = 50;

/// `serve`, or `out|in|rr ADDRESS SECONDS`.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let io = |e: std::io::Error| e.to_string();
    match args {
        [what] if what == "serve" => serve().map_err(io),
        [what, address, seconds] => {
            let seconds = seconds.parse().map_err(|_| format!("{seconds}: no number of seconds"))?;
            let span = Duration::from_secs_f64(seconds);
            match what.as_str() {
                "out" => outbound(address, span),
                "in" => inbound(address, span),
                "rr" => round_trips(address, span),
                _ => return Err(format!("no test is called {what}")),
            }
            .map_err(io)
        }
        _ => Err("bench-end serve | bench-end out|in|rr ADDRESS SECONDS".into()),
    }
}

fn serve() -> std::io::Result<()> {
    let mut waiting = Vec::new();
    for port in PORTS {
        let listener = TcpListener::bind(("0.0.0.0", port))?;
        waiting.push(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that breaks off has nobody to tell.
                std::thread::spawn(move || answer(stream, port));
            }
        }));
    }
    println!("serving");
    std::io::stdout().flush()?;
    waiting.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

fn answer(mut stream: TcpStream, port: u16) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![b'x'; AT_ONCE];
    loop {
        if port == 19 {
            stream.write_all(&buffer)?;
            continue;
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n if port == 7 => stream.write_all(&buffer[..n])?,
            _ => {}
        }
    }
}

/// Sends for so long, then waits until the other end has read all of it.
fn outbound(address: &str, span: Duration) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((address, 9))?;
    let buffer = vec![b'x'; AT_ONCE];
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < span {
        stream.write_all(&buffer)?;
        sent += buffer.len();
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rest = [0; 16];
    while stream.read(&mut rest)? > 0 {}
    tell(sent, start.elapsed());
    Ok(())
}

fn inbound(address: &str, span: Duration) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((address, 19))?;
    let mut buffer = vec![0; AT_ONCE];
    let (start, mut came) = (Instant::now(), 0);
    while start.elapsed() < span {
        match stream.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => came += n,
        }
    }
    tell(came, start.elapsed());
    Ok(())
}

fn tell(bytes: usize, span: Duration) {
    println!("gbps={:.3}", bytes as f64 * 8e-9 / span.as_secs_f64());
}

fn round_trips(address: &str, span: Duration) -> std::io::Result<()> {
    // Its own port where the echo is somewhere else.
    let (host, port) = address.split_once(':').unwrap_or((address, "7"));
    let port = port.parse().map_err(|_| std::io::Error::from(ErrorKind::InvalidInput))?;
    let mut stream = TcpStream::connect((host, port))?;
    stream.set_nodelay(true)?;
    let (start, mut count, mut byte) = (Instant::now(), 0, [b'x']);
    while start.elapsed() < span {
        for _ in 0..BATCH {
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
        }
        count += BATCH;
    }
    println!("rr_per_s={:.0}", f64::from(count) / start.elapsed().as_secs_f64());
    Ok(())
}
