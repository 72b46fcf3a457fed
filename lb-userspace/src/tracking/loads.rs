//! Connections of the backends of least-connections: packets count them one by one; what is counted twice or not at all
//! (an entry that ends while it is deleted, a daemon that died in between) is put right here.

use super::{census::Count, pass::Pass, view::View};
use crate::dataplane::{Error, FlowTable};
use lb_common::slot::BackendIndex;
use std::collections::HashMap;

/// Passes that must agree.
const AGREE: usize = 3;

/// By index and generation: how far the counters were from what passes saw, the last first.
#[derive(Clone, Debug, Default)]
pub(super) struct Loads(HashMap<(BackendIndex, u32), Vec<i64>>);

impl Loads {
    /// The counters as a pass begins.
    pub fn begin<T: FlowTable>(table: &T, view: &View) -> Result<HashMap<BackendIndex, i64>, Error> {
        let counted = view.services.iter().flatten().any(super::view::ServiceView::counts_loads);
        let indices = (0..).zip(&view.backends).filter(|(_, backend)| counted && backend.usable);
        indices.map(|(index, _)| Ok((index, table.live(index)? as i64))).collect()
    }

    /// Compares with what a pass counted; corrects a counter by what three passes agree on at least.
    pub fn end<T: FlowTable>(&mut self, table: &mut T, pass: &Pass, counts: &[Count]) -> Result<(), Error> {
        let mut differences = HashMap::new();
        for (&index, &before) in &pass.loads {
            let Some(count) = counts.get(usize::from(index)) else { continue };
            let deleted = pass.unloaded.get(&index).copied().unwrap_or_default();
            // The pass saw the table over a while in which connections came and went: compared with the middle.
            let middle = i64::midpoint(before - deleted, table.live(index)? as i64);
            let mut last = self.0.remove(&(index, count.generation)).unwrap_or_default();
            last.insert(0, i64::from(count.live) - middle);
            last.truncate(AGREE);
            let by = agreed(&last);
            if by != 0 {
                table.add_live(index, by)?;
                last.clear();
            }
            differences.insert((index, count.generation), last);
        }
        self.0 = differences;
        Ok(())
    }
}

/// The least of the differences, when there are three of one sign.
fn agreed(last: &[i64]) -> i64 {
    let all = |sign: i64| last.len() == AGREE && last.iter().all(|by| by.signum() == sign);
    if !all(1) && !all(-1) {
        return 0;
    }
    last.iter().copied().min_by_key(|by| by.abs()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::agreed;

    #[test]
    fn three_must_agree_on_the_sign_and_the_least_counts() {
        assert_eq!(agreed(&[5, 3, 9]), 3);
        assert_eq!(agreed(&[-5, -3, -9]), -3);
        assert_eq!(agreed(&[5, -3, 9]), 0);
        assert_eq!(agreed(&[5, 0, 9]), 0);
        assert_eq!(agreed(&[5, 9]), 0);
    }
}
