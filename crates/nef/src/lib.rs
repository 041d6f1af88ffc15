//! What becomes of accepted reports beside the core.
//!
//! Everything here follows the acceptance records on a connection of its own, by their ids, at its own pace: the core waits
//! for none of it, and what falls behind catches up. Each follower keeps its place durably and in one piece with what it made
//! of the records up to there, so that `kill -9` loses and doubles nothing.

pub mod charging;
pub mod delivery;
pub mod exposure;
mod lookup;
pub mod online;
pub mod presence;
pub mod subscription;
