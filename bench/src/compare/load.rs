//! Clients: a fixed number of them, each of which waits for its answer before it asks again.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use lb_tests::load::{get, open};
use serde::Serialize;

/// How much a turn does.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Effort {
    /// Clients at a time.
    pub clients: u32,
    /// Seconds of requests, and again of connections.
    pub seconds: f64,
    /// Bytes of the upload.
    pub bytes: usize,
}

/// Percentiles of a time, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    /// The median.
    pub half: f64,
    /// The 99th.
    pub most: f64,
    /// The 99.9th.
    pub nearly_all: f64,
}

/// A connection or an answer that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Requests of a connection: nginx ends one after 1,000.
const REQUESTS: u32 = 900;
/// Longest time that is told apart, in nanoseconds.
const LONGEST: u64 = 10_000_000_000;

/// Asks over connections that stay open. Gives requests a second and their times. To be called in the clients' namespace.
pub fn requests(targets: &[SocketAddr], effort: Effort) -> Result<(u64, f64, Percentiles)> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(effort.seconds);
    let all = clients(effort, |number| {
        let target = targets[number % targets.len()];
        let request = format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let mut times = Histogram::<u64>::new_with_max(LONGEST, 3)?;
        while Instant::now() < end {
            let mut stream = open(target, None, TIMEOUT)?;
            stream.set_nodelay(true)?;
            for _ in 0..REQUESTS {
                let asked = Instant::now();
                ask(&mut stream, request.as_bytes())?;
                times.record(asked.elapsed().as_nanos() as u64)?;
                if asked >= end {
                    break;
                }
            }
        }
        Ok(times)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut times = Histogram::<u64>::new_with_max(LONGEST, 3)?;
    for client in all {
        times.add(client)?;
    }
    let at = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1e3;
    let percentiles = Percentiles { half: at(0.5), most: at(0.99), nearly_all: at(0.999) };
    Ok((times.len(), times.len() as f64 / seconds, percentiles))
}

/// Opens connections, one request each. Gives connections a second. To be called in the clients' namespace.
pub fn connections(targets: &[SocketAddr], effort: Effort) -> Result<f64> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(effort.seconds);
    let all = clients(effort, |number| {
        let target = targets[number % targets.len()];
        let mut count = 0u64;
        while Instant::now() < end {
            get(&open(target, None, TIMEOUT)?, target)?;
            count += 1;
        }
        Ok(count)
    })?;
    Ok(all.iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64())
}

/// Sends a request and reads its answer, which has a length and fits into one read or a few.
fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<()> {
    stream.write_all(request)?;
    let mut answer = [0; 2048];
    let mut read = 0;
    loop {
        let more = stream.read(&mut answer[read..])?;
        ensure!(more > 0, "the connection was closed");
        read += more;
        if is_whole(&answer[..read])? {
            return Ok(());
        }
    }
}

fn is_whole(answer: &[u8]) -> Result<bool> {
    let text = std::str::from_utf8(answer)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(false) };
    ensure!(head.starts_with("HTTP/1.1 200 "), "not the answer: {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    Ok(body.len() >= length.context("an answer without a length")?.parse::<usize>()?)
}

/// As many clients as the effort says, on threads of the caller's namespace.
fn clients<T: Send>(effort: Effort, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            (0..effort.clients as usize).map(|number| scope.spawn(move || work(number))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert!(!is_whole(&answer[..20]).unwrap());
        assert!(!is_whole(&answer[..answer.len() - 1]).unwrap());
        assert!(is_whole(answer).unwrap());
        assert!(is_whole(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").is_err());
    }
}
