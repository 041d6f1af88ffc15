//! Subscriptions and how far each has been delivered.
//!
//! A subscription is delivered by one process at a time. Where several share a store, the one that holds its lease does: it
//! moves the lease's turn while it lives, and one whose turn stands still is taken over. Whoever lost the lease commits nothing.

use crate::{EventRow, Store, StoreError};

/// A subscription to be added.
#[derive(Clone, Copy, Debug)]
pub struct NewSubscription<'a> {
    /// Its name, unique.
    pub id: &'a str,
    /// Whose it is; the operator's own without one.
    pub af: Option<&'a str>,
    /// Filter and sink, a JSON object.
    pub definition: &'a str,
    /// When it was made.
    pub created_ms: i64,
    /// Where delivery begins, a JSON object.
    pub position: &'a str,
}

/// A subscription as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// Its name.
    pub id: String,
    /// Whose it is.
    pub af: Option<String>,
    /// Filter and sink, a JSON object.
    pub definition: String,
    /// When it was made.
    pub created_ms: i64,
    /// Nothing is delivered for now.
    pub is_paused: bool,
    /// Through where its sink has everything, a JSON object.
    pub position: String,
    /// Who delivers it.
    pub lease: Option<Lease>,
}

/// Who delivers a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The process.
    pub owner: [u8; 16],
    /// Moves as long as that process lives.
    pub turn: i64,
}

/// What a subscription's delivery came to since the last commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The subscription.
    pub subscription: String,
    /// Through where its sink has everything now, unless that is where it was.
    pub position: Option<String>,
    /// What its sink would not take; one that stands there already takes the new error, and waits for the operator again.
    pub refused: Vec<DeadLetterRow>,
    /// Dead letters that were delivered after all.
    pub taken: Vec<String>,
}

/// A message that a sink would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// Names the record or event.
    pub message: String,
    /// When it was given up.
    pub failed_ms: i64,
    /// How often it was tried.
    pub tries: u32,
    /// What the sink said last.
    pub error: String,
    /// An operator asked for another try.
    pub is_retried: bool,
}

/// What delivery keeps in the store, and how it reads on.
pub trait DeliveryStore: Store {
    /// The id of the last record of each writer that has one.
    fn record_heads(&mut self) -> Result<Vec<i64>, StoreError>;

    /// The id of the last event, 0 before the first.
    fn event_head(&mut self) -> Result<i64, StoreError>;

    /// The next events after one, `limit` at most.
    fn events_after(&mut self, after: i64, limit: u32) -> Result<Vec<EventRow>, StoreError>;

    /// Whether any device is of this fleet. Looks at every device until one is.
    fn fleet_is_known(&mut self, fleet: &str) -> Result<bool, StoreError>;

    /// Adds a subscription, unless its AF (or the operator) has `quota` of them. Returns whether it was added.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if the name is taken.
    fn subscription_insert(
        &mut self,
        subscription: &NewSubscription<'_>,
        quota: u32,
    ) -> Result<bool, StoreError>;

    /// All subscriptions, by name.
    fn subscriptions(&mut self) -> Result<Vec<SubscriptionRow>, StoreError>;

    /// The subscription with this name.
    fn subscription(&mut self, id: &str) -> Result<Option<SubscriptionRow>, StoreError>;

    /// Removes a subscription with its position and its dead letters. Returns whether it was there.
    fn subscription_remove(&mut self, id: &str) -> Result<bool, StoreError>;

    /// Holds a subscription's delivery, or lets it go on. Returns whether it is there.
    fn subscription_set_paused(&mut self, id: &str, is_paused: bool) -> Result<bool, StoreError>;

    /// Takes a subscription's lease, if it is still as it was `seen`. Returns whether it was taken.
    fn subscription_take(
        &mut self,
        id: &str,
        owner: &[u8; 16],
        seen: Option<Lease>,
    ) -> Result<bool, StoreError>;

    /// Moves the turn of every lease that `owner` holds.
    fn subscriptions_renew(&mut self, owner: &[u8; 16]) -> Result<(), StoreError>;

    /// Gives every lease of `owner` back.
    fn subscriptions_release(&mut self, owner: &[u8; 16]) -> Result<(), StoreError>;

    /// Makes what was delivered durable, all in one transaction. `held[i]` says whether `owner` still holds the lease of
    /// `delivered[i]`; of one that it does not hold, nothing is written. May be repeated.
    fn delivery_commit(
        &mut self,
        owner: &[u8; 16],
        delivered: &[Delivered],
    ) -> Result<Vec<bool>, StoreError>;

    /// The next dead letters of a subscription after one, by message, `limit` at most.
    fn dead_letters(
        &mut self,
        subscription: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<DeadLetterRow>, StoreError>;

    /// The number of a subscription's dead letters, and how many of them are to be tried again.
    fn dead_letter_count(&mut self, subscription: &str) -> Result<(u64, u64), StoreError>;

    /// Has dead letters tried again: one, or all. Returns how many.
    fn dead_letters_retry(
        &mut self,
        subscription: &str,
        message: Option<&str>,
    ) -> Result<u64, StoreError>;

    /// Forgets dead letters: one, or all. Returns how many.
    fn dead_letters_drop(
        &mut self,
        subscription: &str,
        message: Option<&str>,
    ) -> Result<u64, StoreError>;
}
