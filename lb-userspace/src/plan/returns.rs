//! nat's way back in a plan. An entry is there before the first slot names its backend, and until the backend is
//! freed.

use super::{Phase, Planner};
use crate::{
    dataplane::Operation,
    state::{DesiredBackend, DesiredService},
};
use lb_common::{
    backend::Forwarding,
    nat::{ReturnEnd, ReturnKey},
    slot::BackendIndex,
};
use std::collections::BTreeSet;

impl Planner<'_> {
    /// What a backend's answers become.
    pub(super) fn answers(
        &mut self,
        id: u32,
        service: &DesiredService,
        backend: &DesiredBackend,
        index: BackendIndex,
    ) {
        if service.forwarding != Forwarding::Nat {
            return;
        }
        let key = key_of(service, backend);
        let (address, port) = (service.key.address, service.key.port);
        let end = ReturnEnd { address, service: id, port, backend: index };
        let phase = match self.installed.returns.get(&key) {
            Some(have) if *have == end => return,
            // The answers of one that moves to another service belong to the old one until packets find the new one.
            Some(have) if (have.address, have.port) != (address, port) => Phase::Services,
            _ => Phase::Backends,
        };
        self.push(phase, Operation::PutReturn { key, end });
    }

    /// Before all else, for the sake of room: entries of backends that were freed before a crash.
    pub(super) fn forget_leftovers(&mut self, desired: &[DesiredService]) {
        let there: BTreeSet<_> = self.installed.backends.iter().map(|have| have.index).collect();
        self.forget(Phase::Backends, desired, |index| !there.contains(&index));
    }

    /// After all else: entries of backends that are freed by then, and of ports that a backend which stays has no more.
    /// Those that leave keep theirs as long as they have flows.
    pub(super) fn forget_answers(&mut self, desired: &[DesiredService], freed: &BTreeSet<BackendIndex>) {
        let gone: BTreeSet<_> = self.kept.union(freed).copied().collect();
        self.forget(Phase::Removals, desired, |index| gone.contains(&index));
    }

    fn forget(&mut self, phase: Phase, desired: &[DesiredService], of: impl Fn(BackendIndex) -> bool) {
        let wanted = keys(desired);
        for (key, _) in self.installed.returns.iter().filter(|(_, end)| of(end.backend)) {
            if !wanted.contains(key) {
                self.push(phase, Operation::RemoveReturn { key: *key });
            }
        }
    }
}

fn keys(desired: &[DesiredService]) -> BTreeSet<ReturnKey> {
    let nat = desired.iter().filter(|service| service.forwarding == Forwarding::Nat);
    nat.flat_map(|service| service.backends.iter().map(|backend| key_of(service, backend))).collect()
}

fn key_of(service: &DesiredService, backend: &DesiredBackend) -> ReturnKey {
    ReturnKey::new(backend.address, backend.port, service.key.protocol)
}
