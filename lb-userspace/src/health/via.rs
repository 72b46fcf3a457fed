//! Checks that take the data path's way: for l2-dsr, packets to the virtual address in frames to one backend.
//!
//! Such a check passes only when the backend would really serve: the virtual address is on its `lo`, its server listens
//! there, and the answer comes back from it. A check of the backend's own address sees none of that.
//!
//! The kernel's own TCP makes the check; policy routing leads its packets. Each backend with such a check has a mark
//! (`SO_MARK`), a rule and a table with one route, for IPv4 and IPv6 alike:
//!
//! ```text
//!   ip rule   5840: not from all fwmark 0x584c0000/0xffff0000 goto 5843       everybody else's packets: one rule
//!             5841: from all fwmark 0x584c0001 lookup 1481375745              one a backend
//!             5842: from all fwmark 0x584c0000/0xffff0000 unreachable         a mark without a rule goes nowhere
//!             5843: from all nop
//!   ip route show table 1481375745
//!             192.0.2.10 via 198.18.0.11 dev eth0 onlink
//! ```
//!
//! The kernel resolves the backend's MAC address, as for any router. Answers come from the virtual address to the
//! address that the check was sent from, past XDP, which passes what is for no service. What must hold on this machine:
//! the virtual address is none of its own (else packets to it never leave), and reverse path filtering does not drop
//! the answers (`net.ipv4.conf.IFACE.rp_filter` 0 or 2, or a route to the virtual address by that interface).
//!
//! Rules and routes are made before the checks, made again when routes change, and taken away when the checks end. What
//! a killed daemon left does no harm, concerns only packets with these marks, and is replaced by the next one. Two
//! daemons in one network namespace must not both have such checks.

mod kept;
mod messages;

use kept::Kept;
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// The way of a service's packets to one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Way {
    /// The virtual address, which the packets are for.
    pub vip: IpAddr,
    /// The backend's own address, of the same family, which frames go to.
    pub backend: IpAddr,
}

/// Why there is no way to a backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// This machine does not reach the backend; nor would its data path.
    #[error("{0}")]
    Unreachable(String),
    /// Something on this machine is in the way, which says nothing of the backend.
    #[error("{0}")]
    Hindered(String),
}

/// The mark that leads packets on each way, or why none does.
type Marks = HashMap<Way, Result<u32, NoWay>>;

/// The ways that are kept; a task of the runtime does so while there are any.
#[derive(Debug, Default)]
pub struct Ways {
    marks: Arc<Mutex<Marks>>,
    wanted: Option<watch::Sender<BTreeSet<Way>>>,
}

impl Ways {
    /// Keeps these ways from now on, and takes others away. Needs a tokio runtime and `CAP_NET_ADMIN`; the rules belong
    /// to the network namespace of the thread.
    pub fn set(&mut self, ways: impl Iterator<Item = Way>) {
        let ways: BTreeSet<Way> = ways.collect();
        match &self.wanted {
            // The task ends only with this sender.
            Some(wanted) => drop(wanted.send(ways)),
            None if ways.is_empty() => {}
            None => {
                let (wanted, receiver) = watch::channel(ways);
                tokio::spawn(Kept::run(receiver, Arc::clone(&self.marks)));
                self.wanted = Some(wanted);
            }
        }
    }

    /// The mark of packets that take a way, or why there is none; `None`: it is still being made.
    #[must_use]
    pub fn mark(&self, way: Way) -> Option<Result<u32, NoWay>> {
        lock(&self.marks).get(&way).cloned()
    }
}

fn lock(marks: &Mutex<Marks>) -> MutexGuard<'_, Marks> {
    marks.lock().unwrap_or_else(PoisonError::into_inner)
}
