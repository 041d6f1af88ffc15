//! What followers look up in the store: the fleet of a device, the link of a record.

use std::collections::HashMap;

use ambit_store::{RecordRow, Store, StoreError};

/// Devices whose fleet is remembered; beyond, they are looked up anew.
const FLEETS_MAX: usize = 100_000;

/// Fleets by row id of the device.
#[derive(Debug, Default)]
pub(crate) struct Fleets(HashMap<i64, String>);

impl Fleets {
    /// The fleet of a record's device; empty where the store does not know the device.
    pub(crate) fn of(
        &mut self,
        store: &mut dyn Store,
        record: &RecordRow,
    ) -> Result<String, StoreError> {
        if let Some(fleet) = self.0.get(&record.device) {
            return Ok(fleet.clone());
        }
        let device = store.device(&record.device_id)?;
        let fleet = device.map(|device| device.fleet).unwrap_or_default();
        if self.0.len() >= FLEETS_MAX {
            self.0.clear();
        }
        self.0.insert(record.device, fleet.clone());
        Ok(fleet)
    }
}

/// Whether a record is in the store with this link, in hexadecimal.
pub(crate) fn holds(store: &mut dyn Store, id: i64, link: &str) -> Result<bool, StoreError> {
    Ok(link_of(store, id)?.is_some_and(|found| found == link))
}

/// The link of a record; that of record 0 is empty.
pub(crate) fn link_of(store: &mut dyn Store, id: i64) -> Result<Option<String>, StoreError> {
    if id == 0 {
        return Ok(Some(String::new()));
    }
    let filter = ambit_store::RecordFilter {
        after_id: Some(id - 1),
        ..ambit_store::RecordFilter::default()
    };
    let mut link = None;
    store.records_for_each(&filter, &mut |record| {
        link = (record.id == id).then(|| hex::encode(record.link));
        std::ops::ControlFlow::Break(())
    })?;
    Ok(link)
}
