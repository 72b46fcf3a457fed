//! Counters, summed over the CPUs.

use lb_common::{
    counters::{BackendStats, PacketCount, ServiceStats, Verdict},
    flow::TrackStats,
    latency::LatencyStats,
};

/// A record of a per-CPU map that can be summed.
pub trait Sum: Copy + Default {
    /// Adds another CPU's counters.
    fn add(&mut self, other: &Self);

    /// The sum over all CPUs.
    fn total<'a>(records: impl IntoIterator<Item = &'a Self>) -> Self
    where
        Self: 'a,
    {
        let mut total = Self::default();
        for record in records {
            total.add(record);
        }
        total
    }
}

impl Sum for PacketCount {
    fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl Sum for ServiceStats {
    fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.dropped += other.dropped;
    }
}

impl Sum for BackendStats {
    fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.connections += other.connections;
        self.return_packets += other.return_packets;
        self.return_bytes += other.return_bytes;
        self.resets += other.resets;
    }
}

impl Sum for TrackStats {
    fn add(&mut self, other: &Self) {
        self.lookups += other.lookups;
        self.hits += other.hits;
        self.opened += other.opened;
        self.learned += other.learned;
        self.reused += other.reused;
        self.orphaned += other.orphaned;
        self.overflows += other.overflows;
    }
}

impl Sum for LatencyStats {
    fn add(&mut self, other: &Self) {
        self.total_ns = self.total_ns.wrapping_add(other.total_ns);
        self.connect_ns = self.connect_ns.wrapping_add(other.connect_ns);
        self.connects = self.connects.wrapping_add(other.connects);
        self.errors = self.errors.wrapping_add(other.errors);
        for (bucket, other) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket = bucket.wrapping_add(other);
        }
    }
}

/// Counters of every verdict that this version knows.
pub type VerdictCounts = Vec<(Verdict, PacketCount)>;
