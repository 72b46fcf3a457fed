//! Running programs: in the open, for their output, or with their output kept back for when they fail.

use std::{
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// How much of a failed program's output is worth reading.
const TAIL_LINES: usize = 40;

/// Runs it with our own input and output.
pub fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name}: {status}");
    }
    Ok(())
}

/// Its trimmed standard output, or nothing when it cannot be started or fails: for questions.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| answer.trim().to_owned())
}

/// Runs it with our own error output; gives its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("what {name} said is no UTF-8"))
}

/// Runs it with its output kept back: each line is shown to `watch`, and a failure carries the last of them.
pub fn watched(command: Command, watch: &dyn Fn(&str)) -> Result<()> {
    let name = name(&command);
    let (status, seen) = collected(command, watch)?;
    if !status.success() {
        let tail = &seen[seen.len().saturating_sub(TAIL_LINES)..];
        bail!("{name}: {status}\n  {}", tail.join("\n  "));
    }
    Ok(())
}

/// The same for a program whose end the caller judges: how it ended, and all its lines. What is not UTF-8 in them is
/// replaced.
pub fn collected(mut command: Command, watch: &dyn Fn(&str)) -> Result<(ExitStatus, Vec<String>)> {
    let name = name(&command);
    let (output, writer) = io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("cannot copy a pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    // Our ends of the pipe must close, or its end is never seen.
    drop(command);
    let mut seen = Vec::new();
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        watch(&line);
        seen.push(line);
    }
    let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
    Ok((status, seen))
}

/// The command line as one would type it: the program without its folder.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let words = [program].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
