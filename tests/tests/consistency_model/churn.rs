//! A trace in which weights change all the time, each minute a little, while connections come and go.

use lb_tests::model::track::{
    Signal,
    trace::{Shape, Step, Trace, Wish},
};
use std::time::Duration;

/// Packets of a connection, one every two seconds.
const PACKETS: u64 = 30;

/// Two per cent of the slots move each minute: the weights of two backends are shifted by as much, to and fro.
pub fn churn(shape: &Shape, slots: u32) -> Trace {
    let mut steps: Vec<Step> = Vec::new();
    let mut size = 64;
    while size < slots {
        steps.push(Step::Plan(Wish::Grow));
        size *= 2;
    }
    let seconds = shape.lasts.as_secs();
    for second in 0..seconds {
        if second % 60 == 0 {
            // Up for ten minutes, then down for ten.
            let minute = second / 60 % 20;
            let shifted = if minute < 10 { minute } else { 20 - minute };
            let shifted = 2 * shifted as u32;
            steps.push(Step::Plan(Wish::Weights([50 + shifted, 50 - shifted])));
        }
        for flow in 0..shape.flows as u64 {
            if (second + flow) % 2 == 0 {
                let signal = match (second / 2 + flow) % PACKETS {
                    0 => Signal::Opens,
                    n if n == PACKETS - 1 => Signal::Closes,
                    _ => Signal::Data,
                };
                steps.push(Step::Packet(flow as usize, signal));
            }
        }
        steps.push(Step::Advance(Duration::from_secs(1)));
        steps.push(Step::Sweep);
    }
    Trace::of(shape.clone(), steps)
}
