//! The harness program, loaded.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::ProgramArray,
    programs::{ProgramFd, TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use bytemuck::Zeroable as _;
use lb_common::bench::{Harness as Record, TEMPLATE, TEMPLATE_WORDS, TESTED, ZERO};
use lb_tests::fixture::{
    balancer::{LOOPBACK, context},
    frame::Frame,
};
use lb_userspace::dataplane::{mapped::MappedArray, object};
use nix::time::{ClockId, clock_gettime};

/// Frames that are made at once.
const BATCH: u32 = 64;

/// What the harness sends.
#[derive(Clone, Debug)]
pub struct Stream {
    /// A packet of the first flow, of [`TEMPLATE`] bytes at least.
    pub frame: Frame,
    /// Number of flows, a power of two.
    pub flows: u32,
    /// Where the last four bytes of the address start that flows differ in.
    pub address_at: usize,
    /// Where the port starts that flows differ in.
    pub port_at: usize,
    /// Whether the program under test changes the frame's length.
    pub restores: bool,
    /// Index of the interface that the packets come in by.
    pub ingress: u32,
}

/// Which program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one that returns `XDP_TX`.
    Zero,
    /// The one under test.
    Tested,
}

/// What a run gave.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// The last packet's action, as XDP numbers them.
    pub action: u32,
    /// CPU time of the calling thread for one packet, in nanoseconds: other processes' turns are not in it.
    pub nanoseconds: f64,
}

/// The harness.
pub struct Harness {
    object: Ebpf,
    record: MappedArray<Record>,
    stream: Option<Stream>,
}

impl Harness {
    /// Loads it.
    pub fn load() -> Result<Self> {
        let mut object = EbpfLoader::new().load(object::HARNESS).context("cannot load the harness")?;
        for name in ["harness", "zero", "sink"] {
            program(&mut object, name)?.load().with_context(|| format!("cannot load {name}"))?;
        }
        let zero = program(&mut object, "zero")?.fd()?.try_clone()?;
        programs(&mut object)?.set(ZERO, &zero, 0)?;
        let map = object.map("HARNESS").context("the harness has no record")?;
        let aya::maps::Map::Array(map) = map else { anyhow::bail!("HARNESS is no array") };
        let record = MappedArray::new(map.fd(), 1, true).context("cannot map HARNESS")?;
        Ok(Self { object, record, stream: None })
    }

    /// Sets the program under test, and what is sent to it.
    pub fn test(&mut self, tested: &Xdp, stream: Stream) -> Result<()> {
        let tested = tested.fd()?.try_clone()?;
        self.test_program(&tested, stream)
    }

    /// The same with a program that drops everything.
    pub fn test_sink(&mut self, stream: Stream) -> Result<()> {
        let sink = self.sink()?.fd()?.try_clone()?;
        self.test_program(&sink, stream)
    }

    /// The program that drops everything.
    pub fn sink(&mut self) -> Result<&mut Xdp> {
        program(&mut self.object, "sink")
    }

    fn test_program(&mut self, tested: &ProgramFd, stream: Stream) -> Result<()> {
        ensure!(stream.frame.0.len() >= TEMPLATE, "the harness writes {TEMPLATE} bytes");
        ensure!(stream.flows.is_power_of_two(), "{} flows are no power of two", stream.flows);
        programs(&mut self.object)?
            .set(TESTED, tested, 0)
            .context("the kernel refuses the program under test")?;
        let mut template = [0; TEMPLATE_WORDS];
        bytemuck::bytes_of_mut(&mut template).copy_from_slice(&stream.frame.0[..TEMPLATE]);
        let record = Record {
            template,
            flow_mask: stream.flows - 1,
            length: stream.frame.0.len() as u32,
            address_at: stream.address_at as u32,
            port_at: stream.port_at as u32,
            restores: stream.restores.into(),
            ..Record::zeroed()
        };
        self.record.set(0, &record)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Sends `packets` frames to one of the two programs that really leave by the interface they are said to come in by, or wherever
    /// the program sends them.
    pub fn run_live(&mut self, target: Target, packets: u32) -> Result<()> {
        let stream = self.stream.as_ref().context("nothing to send")?;
        let record = self.record.get(0).context("no record")?;
        let target = if target == Target::Zero { ZERO } else { TESTED };
        self.record.set(0, &Record { target, ..record })?;
        let frame = &stream.frame.0;
        let context = context(0, frame.len(), stream.ingress);
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        program(&mut self.object, "harness")?.test_run(options).context("the kernel sends no such frames")?;
        Ok(())
    }

    /// Sends `packets` packets to one of the two programs.
    pub fn run(&mut self, target: Target, packets: u32) -> Result<Ran> {
        let stream = self.stream.as_ref().context("nothing to send")?;
        let record = self.record.get(0).context("no record")?;
        let target = if target == Target::Zero { ZERO } else { TESTED };
        self.record.set(0, &Record { target, ..record })?;
        let frame = &stream.frame.0;
        let context = context(0, frame.len(), stream.ingress);
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: (stream.ingress != LOOPBACK).then_some(&context),
            repeat: packets,
            ..TestRunOptions::default()
        };
        let harness = program(&mut self.object, "harness")?;
        let before = thread_time()?;
        let result = harness.test_run(options).context("the kernel runs no such frame")?;
        let spent = thread_time()?.saturating_sub(before);
        ensure!(result.return_value != 0, "the harness could not run the program");
        Ok(Ran { action: result.return_value, nanoseconds: spent.as_secs_f64() * 1e9 / f64::from(packets) })
    }
}

fn program<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut Xdp> {
    let program = object.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

fn programs(object: &mut Ebpf) -> Result<ProgramArray<&mut aya::maps::MapData>> {
    let map = object.map_mut("PROGRAMS").context("the harness has no PROGRAMS")?;
    Ok(ProgramArray::try_from(map)?)
}

/// CPU time that the calling thread has had.
fn thread_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
