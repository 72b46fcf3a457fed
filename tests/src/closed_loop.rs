//! Clients that each send a request on a connection of its own, wait for the answer, think, and send the next: a closed loop, which
//! slows down with what it loads.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Scope, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::bed::Host;

/// An answer that takes longer is a failure.
const LONGEST: Duration = Duration::from_secs(5);

/// A request that was answered, or failed.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// When it ended.
    pub ended: Instant,
    /// From the connection's begin to the whole answer.
    pub latency: Duration,
    /// Whether it was answered.
    pub answered: bool,
}

/// A running loop. Dropping it ends it.
#[derive(Debug)]
pub struct ClosedLoop<'scope> {
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    thread: Option<ScopedJoinHandle<'scope, Result<()>>>,
}

impl<'scope> ClosedLoop<'scope> {
    /// So many clients on a host, each thinking so long between an answer and the next request.
    #[must_use]
    pub fn start(
        scope: &'scope Scope<'scope, '_>,
        from: &'scope Host,
        target: SocketAddr,
        clients: u32,
        think: Duration,
    ) -> Self {
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ends, told) = (Arc::clone(&stop), Arc::clone(&requests));
        let thread = scope.spawn(move || {
            from.run_in(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let clients = (0..clients).map(|number| {
                        let (ends, told) = (Arc::clone(&ends), Arc::clone(&told));
                        tokio::spawn(async move {
                            sleep(think * number / clients.max(1)).await;
                            while !ends.load(Ordering::Relaxed) {
                                let request = ask(target).await;
                                told.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                                sleep(think).await;
                            }
                        })
                    });
                    for client in clients.collect::<Vec<_>>() {
                        let _ = client.await;
                    }
                });
                Ok(())
            })
        });
        Self { stop, requests, thread: Some(thread) }
    }

    /// Ends the loop, and gives its requests in the order of their ends.
    pub fn finish(mut self) -> Result<Vec<Request>> {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => bail!("the clients panicked"),
            }
        }
        Ok(self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Drop for ClosedLoop<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn ask(target: SocketAddr) -> Request {
    let began = Instant::now();
    let answered = matches!(timeout(LONGEST, get(target)).await, Ok(Ok(())));
    Request { ended: Instant::now(), latency: began.elapsed(), answered }
}

async fn get(target: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(target).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    Ok(())
}
