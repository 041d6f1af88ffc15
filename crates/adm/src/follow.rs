//! Following what other processes do to the devices of a shared store: imports, disabling, new keys, registrations.

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
        if let Err(error) = self.take_up_changes() {
            self.store_fault = Some(error.to_string());
        }
    }

    fn take_up_changes(&mut self) -> Result<(), OpenError> {
        let mut rows = Vec::new();
        let followed = self
            .store
            .device_changes(self.registry.followed, &mut |row| {
                rows.push(row);
                if rows.len() < CHANGES_MAX {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
        for row in &rows {
            if !self.registry.has_key_of(row, &self.kek)? {
                self.take_up(row)?;
            } else if let Some(index) = self.registry.index_of(row.id) {
                self.registry.set_disabled(index, row.disabled);
            }
        }
        // Only now: what could not be taken up is asked for again.
        self.registry.followed = followed;
        Ok(())
    }
}
