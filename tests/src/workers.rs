//! HTTP servers with a few workers each and one queue, whose service time can be changed while they run: slow when they are asked to
//! be, and slower when more is asked of them than they can do.

use std::{
    net::{Ipv6Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    runtime::Runtime,
    sync::Semaphore,
    time::sleep,
};

use crate::bed::Host;

/// Servers in one runtime. Dropping them closes all sockets.
#[derive(Debug)]
pub struct Workers(Runtime);

/// How long a server works on a request.
#[derive(Clone, Debug)]
pub struct ServiceTime(Arc<AtomicU64>);

impl ServiceTime {
    /// Requests that a worker begins from now on take so long.
    pub fn set(&self, time: Duration) {
        self.0.store(time.as_micros() as u64, Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

impl Workers {
    /// None yet.
    pub fn new() -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Ok(Self(builder.worker_threads(1).enable_all().build().context("cannot make a runtime")?))
    }

    /// Serves on a port of a host, one request a connection, with so many workers; the body is the host's role.
    pub fn serve(&self, host: &Host, port: u16, workers: usize, time: Duration) -> Result<ServiceTime> {
        let bind = || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
            nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1024)?)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener =
            host.run_in(bind).with_context(|| format!("cannot serve port {port} of {}", host.role()))?;
        let time = ServiceTime(Arc::new(AtomicU64::new(time.as_micros() as u64)));
        let (taken, queue) = (time.clone(), Arc::new(Semaphore::new(workers)));
        let body = host.role().to_owned();
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let answer: Arc<str> = answer.into();
        let _entered = self.0.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        self.0.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (time, queue, answer) = (taken.clone(), Arc::clone(&queue), Arc::clone(&answer));
                // The client's end of a connection is no error of the server.
                tokio::spawn(async move { serve(stream, &time, &queue, &answer).await });
            }
        });
        Ok(time)
    }
}

async fn serve(
    mut stream: TcpStream,
    time: &ServiceTime,
    queue: &Semaphore,
    answer: &str,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.split();
    let (mut reader, mut line) = (BufReader::new(reader), String::new());
    while reader.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let Ok(worker) = queue.acquire().await else { return Ok(()) };
    sleep(time.get()).await;
    drop(worker);
    writer.write_all(answer.as_bytes()).await?;
    writer.shutdown().await?;
    // Until the client has ended too, so that no reset overtakes the answer.
    while reader.read_line(&mut line).await? > 0 {
        line.clear();
    }
    Ok(())
}
