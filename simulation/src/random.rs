//! Random numbers, a stream for each use: what one draws more or less of does not change the others, so that every
//! policy meets the same arrivals with the same demands.

use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1, LogNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::{
    scenario::Variation,
    time::{Nanos, scaled},
};

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(Xoshiro256PlusPlus);

/// All streams of a run.
#[derive(Clone, Debug)]
pub struct Streams {
    /// When requests or connections arrive, and how long connections live.
    pub arrivals: Stream,
    /// How much work a request is, and whether it fails.
    pub demands: Stream,
    /// Which balancer and backend.
    pub dispatch: Stream,
}

impl Streams {
    /// The streams of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut first = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut next = || {
            // 2^128 numbers apart.
            first.jump();
            Stream(first.clone())
        };
        Self { arrivals: next(), demands: next(), dispatch: next() }
    }
}

impl Stream {
    /// From 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// A position below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// An exponentially distributed time of this mean.
    pub fn exponential(&mut self, mean: Nanos) -> Nanos {
        let factor: f64 = Exp1.sample(&mut self.0);
        scaled(mean, factor)
    }
}

/// How much work requests are.
#[derive(Clone, Copy, Debug)]
pub enum Demand {
    /// Exponentially distributed.
    Exponential(Nanos),
    /// With a longer tail.
    LogNormal(Nanos, LogNormal<f64>),
}

impl Demand {
    /// Demands of this mean.
    #[must_use]
    pub fn new(mean: Nanos, variation: Variation) -> Self {
        let Variation::LogNormal(coefficient) = variation else { return Self::Exponential(mean) };
        let variance = coefficient.mul_add(coefficient, 1.0).ln();
        LogNormal::new(-variance / 2.0, variance.sqrt())
            .map_or(Self::Exponential(mean), |distribution| Self::LogNormal(mean, distribution))
    }

    /// The work of the next request, as the time that it takes at speed 1.
    pub fn draw(&self, stream: &mut Stream) -> Nanos {
        match self {
            Self::Exponential(mean) => stream.exponential(*mean),
            Self::LogNormal(mean, distribution) => scaled(*mean, distribution.sample(&mut stream.0)),
        }
    }
}
