//! What a whole pass of the sweep saw of the backends.

use lb_common::slot::BackendIndex;

/// Flows by backend, as a whole pass of the sweep counted them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// By index in BACKENDS; shorter than that where nothing is known.
    backends: Vec<Count>,
}

/// Flows of one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The backend's generation; 0: nothing is known.
    pub generation: u32,
    /// Entries that packets follow to it.
    pub entries: u32,
    /// Of those: not closing.
    pub live: u32,
    /// A slot named it at some time during the pass, so that new flows could come to it.
    pub named: bool,
}

impl Census {
    /// The counts by index in BACKENDS.
    #[must_use]
    pub const fn new(backends: Vec<Count>) -> Self {
        Self { backends }
    }

    /// What is known of a backend.
    #[must_use]
    pub fn of(&self, index: BackendIndex, generation: u32) -> Option<Count> {
        let count = self.backends.get(usize::from(index)).copied();
        count.filter(|count| count.generation == generation && generation != 0)
    }

    /// The backend's entries; `None`: no pass has counted them.
    #[must_use]
    pub fn flows(&self, index: BackendIndex) -> Option<u32> {
        let count = self.backends.get(usize::from(index));
        count.filter(|count| count.generation != 0).map(|count| count.entries)
    }

    /// Whether no flow can be the backend's any more: no slot named it from before the pass to its end, and the pass found
    /// no entry.
    #[must_use]
    pub fn is_empty_of(&self, index: BackendIndex, generation: u32) -> bool {
        self.of(index, generation).is_some_and(|count| !count.named && count.entries == 0)
    }
}
