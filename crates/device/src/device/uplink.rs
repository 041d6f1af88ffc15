//! Reports: which form, built when, repeated how often (sections 4 to 6, device rules).

use ambit_protocol::exchange::Exchange;
use ambit_protocol::wire::ReportId;
use ambit_protocol::{AreaId, Form, KAiotf, RandN, schedule};
use zeroize::Zeroizing;

use super::{Device, Heard, Life, NotNow, PDU_OCTETS_MAX};
use crate::event::{Event, bump};
use crate::items::StoredItem;
use crate::platform::{Credential, Memory, Random};
use crate::profile::{DeviceForm, Timing};
use crate::record::Record;

/// Counter reports that may go unanswered before the device uses recovery (section 6).
const UNANSWERED_MAX: u32 = 8;

/// The item that is being sent, until it is accepted or given up.
pub(super) struct Head {
    pub(super) item: StoredItem,
    first_sent_ms: Option<u64>,
    pub(super) transmissions: u32,
    pub(super) latest: Option<Built>,
    /// The report before the latest: its answer may still be on the way when the next one has been built.
    pub(super) previous: Option<Answerable>,
}

impl Head {
    pub(super) const fn new(item: StoredItem) -> Self {
        Self {
            item,
            first_sent_ms: None,
            transmissions: 0,
            latest: None,
            previous: None,
        }
    }

    pub(super) fn note_sent(&mut self, now_ms: u64) {
        bump(&mut self.transmissions);
        self.first_sent_ms.get_or_insert(now_ms);
    }
}

/// A built report: its octets, and where they may be repeated.
pub(super) struct Built {
    pub(super) answerable: Answerable,
    /// Area and RAND_n it was built under; `None` in the blind form.
    beacon: Option<(AreaId, RandN)>,
    octets: [u8; PDU_OCTETS_MAX],
    len: usize,
    sent: u8,
}

/// What it takes to recognise the answer to a report, and to act on it.
pub(super) struct Answerable {
    pub(super) exchange: Exchange,
    pub(super) form: Form,
    pub(super) rand_n: Option<RandN>,
    pub(super) counter: Option<u32>,
}

/// Names, keys and binding of a report about to be sealed.
struct Plan {
    id: ReportId,
    k_aiotf: Zeroizing<[u8; 16]>,
    beacon: Option<(AreaId, RandN)>,
    counter: Option<u32>,
}

/// When the next report may be sent.
#[derive(Debug)]
pub(super) struct Backoff {
    due_ms: u64,
    unanswered: u32,
}

impl Backoff {
    pub(super) const fn new(now_ms: u64) -> Self {
        Self {
            due_ms: now_ms,
            unanswered: 0,
        }
    }

    /// After an answer: the link is there, the next item may go at once.
    pub(super) fn reset(&mut self, now_ms: u64) {
        *self = Self::new(now_ms);
    }

    /// Transmissions and failed attempts since the last answer.
    pub(super) const fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// Keeps the due time out of the past, so that `poll_timeout` of an idle device means something.
    pub(super) fn not_before(&mut self, now_ms: u64) {
        self.due_ms = self.due_ms.max(now_ms);
    }

    /// After a transmission or a failed attempt: waits for the answer, then exponentially with jitter, capped.
    fn wait(&mut self, now_ms: u64, timing: &Timing, random: &mut impl Random) {
        let doublings = self.unanswered.min(31);
        let backoff_ms = (u64::from(timing.backoff_first_ms) << doublings)
            .min(u64::from(timing.backoff_max_ms))
            .max(1);
        let mut octets = [0; 4];
        random.fill(&mut octets);
        let half_ms = backoff_ms / 2;
        let jitter_ms = u64::from(u32::from_be_bytes(octets)) % (half_ms + 1);
        self.unanswered = self.unanswered.saturating_add(1);
        self.due_ms = now_ms
            .saturating_add(u64::from(timing.answer_timeout_ms))
            .saturating_add(backoff_ms - half_ms + jitter_ms);
    }
}

impl<C: Credential, M: Memory, R: Random> Device<C, M, R> {
    /// When a report may next be sent; `None` when there is nothing to say or no beacon to say it under.
    pub(super) fn report_due_ms(&self) -> Option<u64> {
        let wake_ms = match self.life {
            Life::Speaking => 0,
            Life::SilentUntil { ms } => ms,
            Life::CounterExhausted | Life::Disabled => return None,
        };
        if self.items_waiting() == 0 {
            return None;
        }
        let due_ms = self
            .backoff
            .due_ms
            .max(wake_ms)
            .max(self.link.as_ref().map_or(0, |link| link.until_ms));
        let needs_beacon = self.profile.form != DeviceForm::Blind;
        (self.heard.is_some() || !needs_beacon).then_some(due_ms)
    }

    /// Sends the head of the queue if it is due: the built report again, or a new one.
    pub(super) fn transmit_report(&mut self, now_ms: u64, out: &mut [u8]) -> Option<usize> {
        if self.is_silent(now_ms) {
            return None;
        }
        self.link = self.link.take().filter(|link| now_ms < link.until_ms);
        self.forget_stale_beacon(now_ms);
        self.give_up_expired(now_ms);
        if now_ms < self.report_due_ms()? {
            return None;
        }
        if self.head.is_none() {
            self.head = self.items.pop().map(Head::new);
        }
        let sent = self.repeat_or_build(now_ms, out);
        self.backoff
            .wait(now_ms, &self.profile.timing, &mut self.random);
        sent.ok()
    }

    fn repeat_or_build(&mut self, now_ms: u64, out: &mut [u8]) -> Result<usize, NotNow> {
        self.doubt_key();
        if self.credential.needs_registration() {
            return self.register(now_ms, out);
        }
        if !self.may_repeat(now_ms) {
            self.build(now_ms)?;
        }
        let head = self.head.as_mut().ok_or(NotNow)?;
        let built = head.latest.as_mut().ok_or(NotNow)?;
        let octets = built.octets.get(..built.len).ok_or(NotNow)?;
        out.get_mut(..built.len)
            .ok_or(NotNow)?
            .copy_from_slice(octets);
        built.sent = built.sent.saturating_add(1);
        let len = built.len;
        head.note_sent(now_ms);
        Ok(len)
    }

    /// Whether the latest report may go out again as it is: within its epoch and area, not too often, and in the beacon
    /// form no longer than the identity rule allows its T-ID.
    fn may_repeat(&self, now_ms: u64) -> bool {
        let Some(built) = self.head.as_ref().and_then(|head| head.latest.as_ref()) else {
            return false;
        };
        if self.is_held() {
            return true;
        }
        let heard = self.heard.as_ref().map(|h| (h.area_id, h.rand_n));
        let in_place = built.beacon.is_none() || built.beacon == heard;
        let allowed = match (built.answerable.form, &built.beacon) {
            (Form::Beacon, Some((_, rand_n))) => {
                self.anchors
                    .allow_beacon_form(rand_n, now_ms, self.profile.period_s)
            }
            _ => true,
        };
        in_place && allowed && built.sent <= self.profile.timing.repeats_max
    }

    /// A blind device that hears no beacon cannot use recovery. Its eighth unanswered report is held: sent again unchanged
    /// until it is answered, since it is still within the network's window, and much further no report would be. Beyond that
    /// point (after power cycles, or where the network's last counter is not the device's) only a beacon helps, by way of
    /// recovery.
    fn is_held(&self) -> bool {
        let record = self.slots.record();
        let unanswered = record.counter.saturating_sub(record.answered);
        let latest = self.head.as_ref().and_then(|head| head.latest.as_ref());
        self.profile.form == DeviceForm::Blind
            && self.heard.is_none()
            && unanswered >= UNANSWERED_MAX
            && latest.is_some_and(|built| built.answerable.form == Form::Blind)
    }

    /// Builds a new report for the item at the head, with a fresh RAND_d or counter.
    fn build(&mut self, now_ms: u64) -> Result<(), NotNow> {
        let plan = self.plan(now_ms)?;
        let suite = self.credential.suite();
        let head = self.head.as_mut().ok_or(NotNow)?;
        let mut octets = [0; PDU_OCTETS_MAX];
        let (exchange, len) = Exchange::seal_report(
            suite,
            &KAiotf::new(*plan.k_aiotf),
            &plan.id,
            &head.item.as_item(),
            self.profile.tag_len,
            &mut octets,
        )
        .map_err(|_| NotNow)?;
        let answerable = Answerable {
            exchange,
            form: plan.id.form(),
            rand_n: plan.beacon.map(|(_, rand_n)| rand_n),
            counter: plan.counter,
        };
        let form = answerable.form;
        let built = Built {
            answerable,
            beacon: plan.beacon,
            octets,
            len,
            sent: 0,
        };
        head.previous = head.latest.replace(built).map(|built| built.answerable);
        bump(&mut self.stats.reports_built);
        let by_form = &mut self.stats.reports_built_by_form;
        if let Some(count) = by_form.get_mut(usize::from(form.number())) {
            bump(count);
        }
        Ok(())
    }

    fn plan(&mut self, now_ms: u64) -> Result<Plan, NotNow> {
        let heard = self.heard;
        match (self.profile.form, heard) {
            (DeviceForm::Beacon, Some(heard)) => {
                if self.may_show_t_id(&heard.rand_n, now_ms) {
                    self.plan_beacon(&heard)
                } else {
                    self.plan_concealed(&heard)
                }
            }
            (DeviceForm::Concealed, Some(heard)) => self.plan_concealed(&heard),
            (DeviceForm::Counter | DeviceForm::Blind, heard) => self.plan_counted(heard),
            (DeviceForm::Beacon | DeviceForm::Concealed, None) | (DeviceForm::Dt, _) => Err(NotNow),
        }
    }

    /// The identity rule (section 4). A verified beacon becomes the anchor here, before the first report under it.
    fn may_show_t_id(&mut self, rand_n: &RandN, now_ms: u64) -> bool {
        if self.anchors.is_verified(rand_n) && !self.anchors.is_persisted(rand_n) {
            // Not durable means not allowed: the check below then fails, and the report is concealed.
            let _ = self.persist_anchor(rand_n, now_ms);
        }
        self.anchors
            .allow_beacon_form(rand_n, now_ms, self.profile.period_s)
    }

    fn plan_beacon(&mut self, heard: &Heard) -> Result<Plan, NotNow> {
        let Heard {
            area_id, rand_n, ..
        } = heard;
        let rand_d: [u8; 4] = self.fresh();
        let t_id = self.evaluate(&schedule::beacon_t_id(rand_n))?;
        let k_aiotf = self.evaluate(&schedule::beacon_k_aiotf(rand_n, area_id, &rand_d))?;
        let t_id = schedule::cut(&t_id);
        Ok(Plan {
            id: ReportId::Beacon { t_id, rand_d },
            k_aiotf,
            beacon: Some((*area_id, *rand_n)),
            counter: None,
        })
    }

    fn plan_concealed(&mut self, heard: &Heard) -> Result<Plan, NotNow> {
        let Heard {
            area_id, rand_n, ..
        } = heard;
        let rand_d: [u8; 8] = self.fresh();
        let cid = self.evaluate(&schedule::concealed_id(rand_n, &rand_d))?;
        let k_aiotf = self.evaluate(&schedule::concealed_k_aiotf(rand_n, area_id, &rand_d))?;
        let cid = schedule::cut(&cid);
        Ok(Plan {
            id: ReportId::Concealed { cid, rand_d },
            k_aiotf,
            beacon: Some((*area_id, *rand_n)),
            counter: None,
        })
    }

    /// Counter, recovery and blind forms. The counter is durable before anything is built with it.
    fn plan_counted(&mut self, heard: Option<Heard>) -> Result<Plan, NotNow> {
        let Some(counter) = self.slots.next_counter() else {
            self.fall_silent(Life::CounterExhausted, Event::CounterExhausted);
            return Err(NotNow);
        };
        let record = *self.slots.record();
        let lost_touch = counter.saturating_sub(record.answered) > UNANSWERED_MAX;
        let blind = self.profile.form == DeviceForm::Blind && !(lost_touch && heard.is_some());
        let beacon = heard.filter(|_| !blind).map(|h| (h.area_id, h.rand_n));
        let key_input = match &beacon {
            Some((area_id, rand_n)) => schedule::counter_k_aiotf(rand_n, area_id, counter),
            None if blind => schedule::blind_k_aiotf(counter),
            None => return Err(NotNow),
        };
        // Both evaluations come before the write: a card that fails burns no counter value.
        let t_id = self.evaluate(&schedule::counter_t_id(counter))?;
        let k_aiotf = self.evaluate(&key_input)?;
        let t_id = schedule::cut(&t_id);
        self.store(Record { counter, ..record })
            .map_err(|_| NotNow)?;
        let id = if blind {
            ReportId::Blind { t_id }
        } else if lost_touch {
            ReportId::Recovery { counter, t_id }
        } else {
            ReportId::Counter { t_id }
        };
        Ok(Plan {
            id,
            k_aiotf,
            beacon,
            counter: Some(counter),
        })
    }

    /// Gives up an item that could no longer be told from a new one by the network. A held report is recognised by its
    /// tag at any time.
    fn give_up_expired(&mut self, now_ms: u64) {
        let lifetime_ms = u64::from(self.profile.timing.item_lifetime_s) * 1000;
        let held = self.is_held();
        let expired = |head: &mut Head| {
            let registration = head.item.cause == ambit_protocol::Cause::PowerOn;
            let age_ms = head.first_sent_ms.map_or(0, |t| now_ms.saturating_sub(t));
            !registration && !held && age_ms >= lifetime_ms
        };
        if let Some(head) = self.head.take_if(expired) {
            // A registration under way was sealed with this item.
            self.registering = None;
            bump(&mut self.stats.items_expired);
            self.tell(Event::ItemExpired {
                seq: head.item.seq,
                cause: head.item.cause,
            });
        }
    }

    /// A beacon that was not heard for a whole epoch is not the current one, whatever it was.
    fn forget_stale_beacon(&mut self, now_ms: u64) {
        let period_ms = u64::from(self.profile.period_s) * 1000;
        let current = |heard: &Heard| now_ms.saturating_sub(heard.last_ms) < period_ms;
        self.heard = self.heard.filter(current);
    }

    pub(super) fn fresh<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.random.fill(&mut octets);
        octets
    }
}
