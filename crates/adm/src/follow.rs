//! Following what other processes do to the devices of a shared store: imports, disabling, new keys, registrations.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crate::{Adm, OpenError};

/// Changes taken up at a time. More wait for the next time: reports of a device that has changed and is not taken up yet
/// are refused by the store, so waiting is safe.
const CHANGES_MAX: usize = 4096;

impl Adm {
    /// Takes up what has changed in the store since the last time. Costs one look at an index when nothing has.
    ///
    /// Called before each batch of reports and each step of a registration. What changes between that and the commit the
    /// store finds itself.
    pub(crate) fn follow(&mut self) {
        self.rest();
        self.follow_up();
    }

    /// As [`Adm::follow`], and returns the rows of the devices that have changed: the reports that were verified before must not
    /// be recorded.
    pub(crate) fn follow_up(&mut self) -> HashSet<i64> {
        let mut changed = HashSet::new();
        loop {
            match self.take_up_changes(&mut changed) {
                // What this process did itself comes back as well, and costs little.
                Ok(true) => {}
                Ok(false) => return changed,
                Err(error) => {
                    self.store_fault = Some(error.to_string());
                    return changed;
                }
            }
        }
    }

    /// Takes up the next changes. Returns whether there may be more and none of these was news.
    fn take_up_changes(&mut self, changed: &mut HashSet<i64>) -> Result<bool, OpenError> {
        let mut rows = Vec::new();
        let followed = self
            .store
            .get()
            .device_changes(self.registry.followed, &mut |row| {
                rows.push(row);
                if rows.len() < CHANGES_MAX {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
        let mut is_news = false;
        for row in &rows {
            changed.insert(row.id);
            if !self.registry.has_key_of(row, &self.kek)? {
                self.take_up(row)?;
                is_news = true;
            } else if let Some(index) = self.registry.index_of(row.id) {
                self.registry.set_disabled(index, row.disabled);
            }
        }
        if !rows.is_empty() {
            // A command that is kept for a device is a change to it.
            self.recall_kept()?;
        }
        // Only now: what could not be taken up is asked for again.
        self.registry.followed = followed;
        Ok(!is_news && rows.len() >= CHANGES_MAX)
    }
}
