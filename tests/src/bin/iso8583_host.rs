//! A host of ISO 8583, for tests and measurements: it answers every request after a service time and logs a line for
//! each on standard output, until it is ended.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use lb_tests::iso8583_host::{Iso8583Host, Options};
use lb_userspace::{
    config::rules,
    health::iso8583::{Bitmap, Encoding, LengthEncoding, Packing},
};

/// A host of ISO 8583 that answers every request.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8583")]
    listen: SocketAddr,
    /// How long a request takes, like "500ms" or "1s".
    #[arg(long, default_value = "0s", value_parser = duration)]
    service_time: Duration,
    /// Bytes of the length header, 0 (none) to 4.
    #[arg(long, default_value_t = 2)]
    length_header: u8,
    /// How the length is written: binary, ascii or bcd.
    #[arg(long, default_value = "binary", value_parser = rules::choice::<LengthEncoding>)]
    header_encoding: LengthEncoding,
    /// How messages are packed: ascii or bcd.
    #[arg(long, default_value = "ascii", value_parser = rules::choice::<Encoding>)]
    encoding: Encoding,
    /// How the bitmap is packed: hex or binary; without this, hex with ascii and binary with bcd.
    #[arg(long, value_parser = rules::choice::<Bitmap>)]
    bitmap: Option<Bitmap>,
    /// The response code (element 39) of every response.
    #[arg(long, default_value = "00")]
    response: String,
}

fn duration(text: &str) -> rules::Checked<Duration> {
    rules::duration("service-time", text, Duration::ZERO..=Duration::from_hours(1))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let header = rules::length_header(arguments.length_header, arguments.header_encoding)?;
    ensure!(arguments.response.len() == 2, "a response code has two characters; write it like 00 or 91");
    let of_encoding = if arguments.encoding == Encoding::Bcd { Bitmap::Binary } else { Bitmap::Hex };
    let packing = Packing { encoding: arguments.encoding, bitmap: arguments.bitmap.unwrap_or(of_encoding) };
    let listener = TcpListener::bind(arguments.listen)
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let options = Options {
        service_time: arguments.service_time,
        header,
        packing,
        response: Some(arguments.response),
        signs_on: false,
    };
    let _host = Iso8583Host::start(listener, options, Box::new(io::stdout()))?;
    loop {
        thread::park();
    }
}
