//! Many bytes in one connection. `put 1000000 7` is followed by a million bytes made of the seed 7, and answered with
//! the checksum of what arrived; `get 1000000 7` is answered with them.
//!
//! The checksum depends on every byte and its place.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket;

use crate::{bed::Host, load::open};

/// Bytes that are read and written at once.
const BLOCK: usize = 64 * 1024;
/// A read or write that takes longer has failed.
const STALLED: Duration = Duration::from_secs(20);
/// A transfer that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(50);
/// Odd numbers without pattern: of the golden ratio, and of `SplitMix64`.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX: u64 = 0xbf58_476d_1ce4_e5b9;

/// A running server. Dropping it closes the port.
#[derive(Debug)]
pub struct Sink {
    listener: TcpListener,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Sink {
    /// Serves a port of the host on all of its addresses, one connection after the other.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let listener = host.run_in(|| {
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .with_context(|| format!("cannot listen on port {port} of {}", host.role()))
        })?;
        let incoming = listener.try_clone().context("cannot share the listener")?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let acceptor = Some(thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                // A client that went away has its own report of it.
                let _ = incoming.accept().map(|(stream, _)| serve(&stream));
            }
        }));
        Ok(Self { listener, stopping, acceptor })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // On Linux this wakes the thread in accept(2), with EINVAL.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Sends this many bytes to a [`Sink`], which must have got them as they are.
pub fn upload(from: &Host, target: SocketAddr, bytes: usize) -> Result<()> {
    from.run_in(|| {
        let stream = open(target, None, STALLED)?;
        let mut reader = BufReader::new(&stream);
        writeln!(&mut &stream, "put {bytes} {}", seed(target)).context("cannot ask")?;
        let sent = send(&mut &stream, bytes, seed(target)).context("the upload ended early")?;
        let mut answer = String::new();
        reader.read_line(&mut answer).context("no answer to the upload")?;
        ensure!(answer == format!("{sent:016x}\n"), "{sent:016x} was sent, {answer:?} arrived");
        Ok(())
    })
}

/// Asks a [`Sink`] for this many bytes, which must arrive as they are.
pub fn download(to: &Host, target: SocketAddr, bytes: usize) -> Result<()> {
    to.run_in(|| {
        let stream = open(target, None, STALLED)?;
        writeln!(&mut &stream, "get {bytes} {}", seed(target)).context("cannot ask")?;
        let got = receive(&mut &stream, bytes).context("the download ended early")?;
        let sent = send(&mut std::io::sink(), bytes, seed(target))?;
        ensure!(got == sent, "{sent:016x} was sent, {got:016x} arrived");
        Ok(())
    })
}

/// Another content for each target.
fn seed(target: SocketAddr) -> u64 {
    u64::from(target.port()) + u64::from(target.is_ipv6())
}

fn serve(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(STALLED))?;
    stream.set_write_timeout(Some(STALLED))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [what, bytes, seed] = words[..] else { bail!("{line:?} is no request") };
    if what == "put" {
        let got = receive(&mut reader, bytes.parse()?)?;
        writeln!(&mut &*stream, "{got:016x}")?;
    } else {
        send(&mut &*stream, bytes.parse()?, seed.parse()?)?;
    }
    Ok(())
}

/// Writes bytes made of a seed, and gives their checksum.
fn send(to: &mut impl Write, bytes: usize, seed: u64) -> Result<u64> {
    let mut block = vec![0; BLOCK];
    let (mut left, mut word, mut sum) = (bytes, seed, 0);
    let started = Instant::now();
    while left > 0 {
        ensure!(started.elapsed() < LONGEST, "{left} bytes were left after {LONGEST:?}");
        for place in block.chunks_exact_mut(size_of::<u64>()) {
            word = word.wrapping_mul(MIX).wrapping_add(STEP);
            place.copy_from_slice(&(word ^ word >> 32).to_le_bytes());
        }
        let part = &block[..left.min(BLOCK)];
        to.write_all(part)?;
        sum = add(sum, part);
        left -= part.len();
    }
    Ok(sum)
}

/// Reads bytes, and gives their checksum.
fn receive(from: &mut impl Read, bytes: usize) -> Result<u64> {
    let mut block = vec![0; BLOCK];
    let (mut left, mut sum) = (bytes, 0);
    let started = Instant::now();
    while left > 0 {
        ensure!(started.elapsed() < LONGEST, "{left} bytes were left after {LONGEST:?}");
        let part = &mut block[..left.min(BLOCK)];
        from.read_exact(part)?;
        sum = add(sum, part);
        left -= part.len();
    }
    Ok(sum)
}

/// Adds bytes to a checksum: whole blocks, but for the last.
fn add(sum: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(size_of::<u64>());
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(MIX).rotate_left(29);
    let sum = (&mut words)
        .filter_map(|word| word.try_into().ok())
        .fold(sum, |sum, word| step(sum, u64::from_le_bytes(word)));
    words.remainder().iter().fold(sum, |sum, byte| step(sum, u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_is_received() {
        for bytes in [0, 1, 9, BLOCK, 3 * BLOCK + 13] {
            let mut wire = Vec::new();
            let sent = send(&mut wire, bytes, 7).unwrap();
            assert_eq!(wire.len(), bytes);
            assert_eq!(receive(&mut &wire[..], bytes).unwrap(), sent);
        }
    }

    #[test]
    fn a_byte_or_two_segments_changed_are_noticed() {
        let mut wire = Vec::new();
        let sent = send(&mut wire, 10_000, 7).unwrap();
        wire.swap(1448, 1448 * 2);
        assert_ne!(receive(&mut &wire[..], 10_000).unwrap(), sent);
        wire.swap(1448, 1448 * 2);
        let (one, two) = wire.split_at_mut(1448);
        one.swap_with_slice(&mut two[..1448]);
        assert_ne!(receive(&mut &wire[..], 10_000).unwrap(), sent);
        assert!(receive(&mut &wire[..], 10_001).is_err());
    }
}
