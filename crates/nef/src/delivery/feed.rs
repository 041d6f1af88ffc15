//! What there is to deliver, in its order: acceptance records, and events beside them, page by page from a position.
//!
//! Each writer's records come in the order of their acceptance, all together by time. A page ends at heads that were read in one
//! moment: a device that reports at one core and then at another has its first record below those heads if its second is, so
//! the two are in one page or in the right order of pages.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use ambit_store::{DeliveryStore, EventRow, RecordFilter, RecordRow, StoreError};

use crate::subscription::{Position, writer};

/// The most records, and the most events, in one page.
pub const PAGE_MAX: usize = 512;

/// Devices whose fleet is remembered; beyond, they are looked up anew.
const FLEETS_MAX: usize = 200_000;

/// How far the store has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// The last record of each writer.
    pub records: Vec<i64>,
    /// The last event.
    pub event: i64,
}

impl Heads {
    /// Those of now.
    ///
    /// # Errors
    /// The store's.
    pub fn read(store: &mut dyn DeliveryStore) -> Result<Self, StoreError> {
        Ok(Self {
            event: store.event_head()?,
            records: store.record_heads()?,
        })
    }
}

/// One record or event.
#[derive(Clone, Debug)]
pub enum Entry {
    /// An acceptance record and the fleet of its device.
    Record(RecordRow, Arc<str>),
    /// An event and the fleet of the device it names, if it names one.
    Event(EventRow, Option<Arc<str>>),
}

impl Entry {
    /// Moves a position past it.
    pub fn pass(&self, position: &mut Position) {
        match self {
            Self::Record(record, _) => position.pass_record(record.id),
            Self::Event(event, _) => position.events = event.id,
        }
        position.part = 0;
    }
}

/// What comes after a position.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Records and events, in their order.
    pub entries: Vec<Entry>,
}

/// Reads pages.
#[derive(Debug, Default)]
pub struct Feed {
    fleets: HashMap<Vec<u8>, Arc<str>>,
}

/// The records of one writer that were read ahead.
struct Ahead {
    rows: VecDeque<RecordRow>,
    has_more: bool,
}

impl Feed {
    /// The page after a position, up to the heads. Empty when there is nothing.
    ///
    /// # Errors
    /// The store's.
    pub fn page(
        &mut self,
        store: &mut dyn DeliveryStore,
        position: &Position,
        heads: &Heads,
    ) -> Result<Page, StoreError> {
        let mut writers = Vec::new();
        for head in &heads.records {
            writers.push(ahead(store, position.record(writer(*head)), *head)?);
        }
        let mut events = VecDeque::new();
        if position.events < heads.event {
            let limit = u32::try_from(PAGE_MAX).unwrap_or(u32::MAX);
            events.extend(store.events_after(position.events, limit)?);
        }
        let events_end = events.len() < PAGE_MAX;
        let mut page = Page::default();
        while page.entries.len() < PAGE_MAX {
            // A writer whose next record is not known yet ends the page: it may be the next of all.
            if writers.iter().any(|of| of.rows.is_empty() && of.has_more) {
                break;
            }
            let next = writers.iter_mut().filter(|of| !of.rows.is_empty());
            let next = next.min_by_key(|of| of.rows.front().map(|row| (row.time_ms, row.id)));
            let record_ms = next
                .as_ref()
                .and_then(|of| of.rows.front())
                .map(|r| r.time_ms);
            let event_ms = events.front().map(|event: &EventRow| event.time_ms);
            let is_event = match (record_ms, event_ms) {
                (None, None) => break,
                (Some(record_ms), Some(event_ms)) => event_ms < record_ms,
                (None, Some(_)) => true,
                (Some(_), None) if !events_end => break,
                (Some(_), None) => false,
            };
            let entry = if is_event {
                let Some(event) = events.pop_front() else {
                    break;
                };
                let fleet = match &event.device_id {
                    Some(id) => Some(self.fleet(store, id)?),
                    None => None,
                };
                Entry::Event(event, fleet)
            } else {
                let Some(record) = next.and_then(|of| of.rows.pop_front()) else {
                    break;
                };
                let fleet = self.fleet(store, &record.device_id)?;
                Entry::Record(record, fleet)
            };
            page.entries.push(entry);
        }
        Ok(page)
    }

    /// One record by its id.
    ///
    /// # Errors
    /// The store's.
    pub fn record(
        &mut self,
        store: &mut dyn DeliveryStore,
        id: i64,
    ) -> Result<Option<Entry>, StoreError> {
        let mut found = ahead(store, id - 1, id)?;
        match found.rows.pop_front().filter(|record| record.id == id) {
            Some(record) => {
                let fleet = self.fleet(store, &record.device_id)?;
                Ok(Some(Entry::Record(record, fleet)))
            }
            None => Ok(None),
        }
    }

    /// One event by its id.
    ///
    /// # Errors
    /// The store's.
    pub fn event(
        &mut self,
        store: &mut dyn DeliveryStore,
        id: i64,
    ) -> Result<Option<Entry>, StoreError> {
        let found = store.events_after(id - 1, 1)?.pop();
        let Some(event) = found.filter(|event| event.id == id) else {
            return Ok(None);
        };
        let fleet = match &event.device_id {
            Some(id) => Some(self.fleet(store, id)?),
            None => None,
        };
        Ok(Some(Entry::Event(event, fleet)))
    }

    fn fleet(
        &mut self,
        store: &mut dyn DeliveryStore,
        device_id: &[u8],
    ) -> Result<Arc<str>, StoreError> {
        if let Some(fleet) = self.fleets.get(device_id) {
            return Ok(Arc::clone(fleet));
        }
        let device = store.device(device_id)?;
        let fleet: Arc<str> = device.map(|device| device.fleet).unwrap_or_default().into();
        if self.fleets.len() >= FLEETS_MAX {
            self.fleets.clear();
        }
        self.fleets.insert(device_id.to_vec(), Arc::clone(&fleet));
        Ok(fleet)
    }
}

/// The records of a writer after one and through its head, as many as a page takes.
fn ahead(store: &mut dyn DeliveryStore, after: i64, head: i64) -> Result<Ahead, StoreError> {
    let mut ahead = Ahead {
        rows: VecDeque::new(),
        has_more: false,
    };
    if after >= head {
        return Ok(ahead);
    }
    let filter = RecordFilter {
        after_id: Some(after),
        ..RecordFilter::default()
    };
    store.records_for_each(&filter, &mut |record| {
        if record.id > head {
            return ControlFlow::Break(());
        }
        if ahead.rows.len() == PAGE_MAX {
            ahead.has_more = true;
            return ControlFlow::Break(());
        }
        ahead.rows.push_back(record);
        ControlFlow::Continue(())
    })?;
    Ok(ahead)
}

/// Where each device was heard last, which says of its next record whether it moved.
#[derive(Debug, Default)]
pub struct Whereabouts(HashMap<i64, (bool, [u8; 12])>);

/// Cause of the report of a device that goes silent.
const GOING_SILENT: u8 = 6;

/// What a record says of its device's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was never heard before.
    Appeared,
    /// It was in this area before.
    Moved([u8; 12]),
    /// It said that it was going silent.
    GoingSilent,
}

impl Change {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Appeared => "appeared",
            Self::Moved(_) => "moved",
            Self::GoingSilent => "going_silent",
        }
    }
}

impl Whereabouts {
    /// What they were at a position. Walks the records up to there.
    ///
    /// # Errors
    /// The store's.
    pub fn at(store: &mut dyn DeliveryStore, position: &Position) -> Result<Self, StoreError> {
        let mut whereabouts = Self::default();
        store.records_for_each(&RecordFilter::default(), &mut |record| {
            if record.id <= position.record(writer(record.id)) {
                whereabouts.take(&record);
            }
            ControlFlow::Continue(())
        })?;
        Ok(whereabouts)
    }

    /// Takes in the next record.
    pub fn take(&mut self, record: &RecordRow) -> Option<Change> {
        let is_silent = record.cause == GOING_SILENT;
        let now = (is_silent, record.area_id);
        match self.0.insert(record.device, now) {
            Some((false, _)) | None if is_silent => Some(Change::GoingSilent),
            None => Some(Change::Appeared),
            Some((_, from)) if from != record.area_id => Some(Change::Moved(from)),
            Some(_) => None,
        }
    }
}
