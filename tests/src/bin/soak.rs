//! The soak: thousands of connections under everything that may not break them, for as long as you like, with a report.
#![expect(clippy::print_stdout, reason = "a report is for its reader")]

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use lb_tests::{
    crowd::{Habit, Seen},
    soak::{self, Report},
};

/// Keeps a crowd of connections open in network namespaces of its own, while the balancer is changed, killed and restarted.
#[derive(Debug, Parser)]
#[command(name = "soak", version)]
struct Arguments {
    /// How long
    #[arg(long, default_value_t = 5.0, value_parser = minutes)]
    minutes: f64,
    /// Connections at a time
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    connections: u32,
    /// Weights follow latency
    #[arg(long)]
    steers: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.2..=1440.0).contains(&minutes) { Ok(minutes) } else { Err("use 0.2 to 1440".to_owned()) }
}

fn main() -> Result<ExitCode> {
    let Arguments { minutes, connections, steers } = Arguments::parse();
    println!("{connections} connections for {minutes} minutes; one thing happens each second");
    let habit = Habit { connections, pause: Duration::from_millis(500), messages: 20 };
    let report = soak::run(minutes, habit, steers, |what, seen, messages| {
        let Seen { open, broken, closed, .. } = seen;
        let (open, broken): (u64, u64) = (open.values().sum(), broken.values().sum());
        println!("  {what:<45} {open:>6} open {closed:>8} ended {messages:>10} messages {broken:>4} broken");
    })?;
    println!("{}", table(&report));
    match report.check() {
        Ok(()) => {
            println!("No connection broke but those of backends that died.");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("{error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn table(report: &Report) -> Table {
    let Report { seen, messages, happened, dead, drained, packets, steered } = report;
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["what", "number"]);
    for (kind, count) in happened {
        table.add_row([(*kind).to_owned(), count.to_string()]);
    }
    let broken: Vec<_> = seen.broken.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    table.add_row(["connections opened".to_owned(), seen.opened.to_string()]);
    table.add_row(["messages answered".to_owned(), messages.to_string()]);
    table.add_row(["backends that died".to_owned(), dead.join(", ")]);
    table.add_row(["connections that broke".to_owned(), broken.join(", ")]);
    table.add_row(["backends that drained to 0".to_owned(), drained.join(", ")]);
    table.add_row(["slots that latency moved, last daemon".to_owned(), steered.to_string()]);
    let (all, looked_up) = packets;
    let share = looked_up * 1000 / (*all).max(1);
    table.add_row([
        "packets looked up in the flow table".to_owned(),
        format!("{looked_up} of {all} ({}.{} %)", share / 10, share % 10),
    ]);
    table
}
