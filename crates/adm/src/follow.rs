//! Following what other processes do to the devices of a shared store: imports, disabling, new keys, registrations.

use std::collections::HashSet;
use std::ops::ControlFlow;

use ambit_store::{DeviceRow, StoreError};

use crate::{Adm, OpenError};

/// Changes taken up at a time. More wait for the next time: reports of a device that has changed and is not taken up yet
/// are refused by the store, so waiting is safe.
const CHANGES_MAX: usize = 4096;

/// Devices that have changed in the store, and the last change among them.
pub(crate) struct Changes {
    rows: Vec<DeviceRow>,
    followed: i64,
}

impl Changes {
    pub(crate) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Adm {
    /// Takes up what has changed in the store since the last time. Costs one look at an index when nothing has.
    ///
    /// Called before each batch of reports and each step of a registration. What changes between that and the commit the
    /// store finds itself.
    pub(crate) fn follow(&mut self) {
        self.rest();
        let changes = self.changes();
        self.take_up_changes(changes);
    }

    /// What has changed since the last time, or the first of it.
    pub(crate) fn changes(&mut self) -> Result<Changes, StoreError> {
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
        Ok(Changes { rows, followed })
    }

    /// Takes up these changes, and more as long as none was news. Returns the rows of the devices that are not what they were:
    /// reports that were verified before must not be recorded.
    pub(crate) fn take_up_changes(
        &mut self,
        mut changes: Result<Changes, StoreError>,
    ) -> HashSet<i64> {
        let mut changed = HashSet::new();
        loop {
            let taken_up = match changes {
                Ok(changes) => self.take_up_some(&changes, &mut changed),
                Err(error) => Err(error.into()),
            };
            match taken_up {
                // What this process did itself comes back as well, and costs little.
                Ok(true) => changes = self.changes(),
                Ok(false) => return changed,
                Err(error) => {
                    self.store_fault = Some(error.to_string());
                    return changed;
                }
            }
        }
    }

    /// Returns whether there may be more and none of these was news.
    fn take_up_some(
        &mut self,
        changes: &Changes,
        changed: &mut HashSet<i64>,
    ) -> Result<bool, OpenError> {
        let Changes { rows, followed } = changes;
        let (mut is_news, mut fault) = (false, None);
        for row in rows {
            let index = self.registry.index_of(row.id);
            let has_key = self.registry.has_key_of(row, &self.kek);
            let taken_up = match (has_key, index) {
                (Ok(true), None) => Ok(()),
                (Ok(true), Some(index)) => {
                    if self.registry.set_disabled(index, row.disabled) {
                        changed.insert(row.id);
                    }
                    Ok(())
                }
                (Ok(false), _) => {
                    changed.insert(row.id);
                    is_news = true;
                    self.take_up(row)
                }
                (Err(error), _) => Err(error),
            };
            if let Err(error) = taken_up {
                // Whatever it is now, it is not what is known of it. The others must not wait for it: the store takes them for
                // followed.
                if let Some(index) = index {
                    self.registry.set_disabled(index, true);
                }
                changed.insert(row.id);
                fault.get_or_insert(error);
            }
        }
        if !rows.is_empty() {
            // A command that is kept for a device is a change to it.
            self.recall_kept()?;
        }
        match fault {
            // What could not be taken up is asked for again.
            Some(error) => Err(error),
            None => {
                self.registry.followed = *followed;
                Ok(!is_news && rows.len() >= CHANGES_MAX)
            }
        }
    }
}
