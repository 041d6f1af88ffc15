//! What a gNB is told at its start, and what it counts.

use ambit_ngap::GnbId;
use ambit_protocol::Snid;

/// A reader of a gNB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderConfig {
    /// AIoT-ReaderIndex, from 1.
    pub reader_index: u16,
    /// The AIoT area code that it serves.
    pub area_code: [u8; 3],
}

/// A gNB's identity, readers, times and bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GnbConfig {
    /// Its number, less than 2^`gnb_id_bits`.
    pub gnb_id: u32,
    /// Bits of its number, 22 to 32.
    pub gnb_id_bits: u8,
    /// The network it belongs to.
    pub snid: Snid,
    /// Its name, 1 to 150 characters of a PrintableString.
    pub name: String,
    /// Its readers.
    pub readers: Vec<ReaderConfig>,
    /// How long reports are collected before they go up, in milliseconds.
    pub report_interval_ms: u32,
    /// Reports in one INVENTORY REPORT at most; as many go up at once.
    pub report_devices_max: usize,
    /// How long the answer to a COMMAND REQUEST is awaited, in milliseconds.
    pub answer_wait_ms: u32,
    /// How long the answer to the page of one device is awaited, in milliseconds. The page is repeated meanwhile.
    pub inventory_wait_ms: u32,
    /// From what a reader says to what a device answers, at most, in milliseconds: how long a round of access occasions, and the
    /// data of those who were read, are waited for.
    pub access_wait_ms: u32,
    /// A round has at most 2^n access occasions; n is at most 15.
    pub occasions_exponent_max: u8,
    /// Rounds after one page, at most.
    pub access_rounds_max: u16,
    /// How long an idle contact keeps its device NGAP ID, in milliseconds.
    pub contact_ttl_ms: u32,
    /// How long after a refused NG SETUP it is tried again, in milliseconds.
    pub setup_retry_ms: u32,
    /// Contacts at most; the oldest makes room.
    pub contacts_max: usize,
    /// Sessions at most; further ones are refused.
    pub sessions_max: usize,
    /// NGAP PDUs that may wait to be taken; what exceeds it is lost and counted.
    pub ngap_out_max: usize,
    /// PDUs, pages and beacon changes that may wait to be taken by the readers; what exceeds it is lost and counted.
    pub downlinks_max: usize,
}

impl GnbConfig {
    /// A gNB with readers 1 to `readers`, each serving the area code of its own index (000001 for reader 1), and the
    /// default times and bounds.
    pub fn new(gnb_id: u32, snid: Snid, readers: u16) -> Self {
        Self {
            gnb_id,
            gnb_id_bits: 22,
            snid,
            name: format!("ambit-ran-{gnb_id}"),
            readers: (1..=readers).map(ReaderConfig::of_index).collect(),
            report_interval_ms: 5,
            report_devices_max: 256,
            answer_wait_ms: 200,
            inventory_wait_ms: 2_000,
            access_wait_ms: 50,
            occasions_exponent_max: 12,
            access_rounds_max: 200,
            contact_ttl_ms: 10_000,
            setup_retry_ms: 2_000,
            contacts_max: 1 << 18,
            sessions_max: 64,
            ngap_out_max: 1 << 18,
            downlinks_max: 1 << 18,
        }
    }

    pub(super) fn ngap_id(&self) -> GnbId {
        GnbId {
            plmn: *self.snid.plmn().octets(),
            id: self.gnb_id,
            bits: self.gnb_id_bits,
        }
    }
}

impl ReaderConfig {
    /// The reader of an index, serving the area code of that number.
    pub const fn of_index(reader_index: u16) -> Self {
        let [high, low] = reader_index.to_be_bytes();
        Self {
            reader_index,
            area_code: [0, high, low],
        }
    }
}

/// Counts since the start. An association's end does not reset them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GnbStats {
    /// NAS PDUs heard by the readers.
    pub uplinks: u64,
    /// Of these, heard while no session covered the reader: dropped.
    pub uplinks_without_session: u64,
    /// Of these, reported.
    pub reports: u64,
    /// Of these, answers to a command.
    pub answers: u64,
    /// Of these, answers after their time: dropped.
    pub late_answers: u64,
    /// INVENTORY REPORTs sent.
    pub inventory_reports: u64,
    /// DO-A windows opened.
    pub windows_opened: u64,
    /// Device-terminated inventories opened.
    pub inventories_opened: u64,
    /// Rounds of access occasions opened, the pages' own included.
    pub access_rounds: u64,
    /// Random IDs heard in them.
    pub random_ids: u64,
    /// Of these, out of place: of another page, round or occasion.
    pub random_ids_refused: u64,
    /// Data asked for again.
    pub nacks: u64,
    /// Answers to a page that were not called for: dropped.
    pub answers_uncalled: u64,
    /// INVENTORY REQUESTs refused.
    pub inventories_refused: u64,
    /// COMMAND REQUESTs received.
    pub commands: u64,
    /// Of these, for a device NGAP ID that is not known (any more).
    pub commands_unknown: u64,
    /// Of these, sent and not answered.
    pub unanswered: u64,
    /// PDUs of the core that did not decode.
    pub undecodable: u64,
    /// ERROR INDICATIONs of the core.
    pub error_indications: u64,
    /// Messages that could not be encoded.
    pub unencodable: u64,
    /// Why the last of them could not.
    pub unencodable_last: Option<String>,
    /// PDUs lost because `ngap_out_max` waited.
    pub ngap_overflowed: u64,
    /// Commands whose contact was given up for a newer one, or with its session.
    pub commands_abandoned: u64,
    /// What was lost because `downlinks_max` waited.
    pub downlinks_overflowed: u64,
}
