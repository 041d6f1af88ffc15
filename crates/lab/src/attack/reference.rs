//! The protocol once more, written from its text and for nothing but reading: suite 1, tags of 8 octets, the beacon,
//! concealed and counter forms. Whole, it withstands every attack that the product withstands; with one defence left out it
//! is the control, which the same attack must win. So no switch that weakens anything stands in the product's own crates.

use std::collections::BTreeMap;

use ambit_protocol::area::Plmn;
use ambit_protocol::chain::{self, BeaconChain, Verification};
use ambit_protocol::schedule::Label;
use ambit_protocol::suite::{PrfKey, keystream};
use ambit_protocol::{DeviceForm, RandN, Snid, Suite};

use super::AttackError;
use super::arena::{Arena, Beacon, Books};

/// The defence that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// TAG1 is not checked.
    AnyTag,
    /// The record is not looked up: each copy is a new event.
    NoRecordKey,
    /// RAND_n stands in no key.
    NoRandN,
    /// RAND_n is a number that counts up.
    CountedRandN,
    /// AreaID stands in no key.
    NoArea,
    /// The tag covers the payload and nothing else.
    TagOverPayload,
    /// The device shows its T-ID under any beacon.
    AlwaysBeaconForm,
    /// TAG2 depends on K alone.
    UnboundAccept,
    /// The device never uses recovery.
    NoRecovery,
    /// T-ID is the same for ever.
    FixedTId,
}

/// Network and devices.
pub struct Reference {
    flaw: Option<Flaw>,
    snid: Snid,
    chain: BeaconChain,
    random: fastrand::Rng,
    devices: Vec<Device>,
    network: Network,
    copy: Option<Network>,
}

struct Device {
    form: DeviceForm,
    key: [u8; 16],
    anchor: Option<RandN>,
    /// Whether the anchor was persisted in this power cycle.
    is_fresh: bool,
    counter: u32,
    answered: u32,
    seq: u8,
    waiting: bool,
    sent: Option<Exchange>,
    sightings: u64,
    judged: Option<RandN>,
}

/// What the answer to a report depends on.
struct Exchange {
    k_aiotf: [u8; 16],
    tag1: [u8; 8],
    rand_n: RandN,
    counter: Option<u32>,
}

#[derive(Clone, Default)]
struct Network {
    epoch: u32,
    /// ACCEPT by device, epoch and TAG1.
    records: BTreeMap<(usize, u32, [u8; 8]), Vec<u8>>,
    /// Last counter, and last cause and seq, of each device.
    last: BTreeMap<usize, (u32, Option<u8>)>,
    /// All records written, and those that are events.
    written: u64,
    events: u64,
}

const REPORT: u8 = 0b0100_0000;
const ACCEPT: u8 = 0b0100_1000;
const WINDOW: u32 = 16;
const UNANSWERED_MAX: u32 = 8;
const EPOCH_FIRST: u32 = 1000;
const EPOCHS: u32 = 1 << 13;

impl Reference {
    /// A network with these devices; with a flaw, the control.
    ///
    /// # Errors
    /// [`AttackError`].
    pub fn new(seed: u64, forms: &[DeviceForm], flaw: Option<Flaw>) -> Result<Self, AttackError> {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x7265_6665);
        let snid = Snid::new(Plmn::new("001", "01")?, None);
        let mut element = [0; 12];
        random.fill(&mut element);
        let device = |form: &DeviceForm| {
            let mut key = [0; 16];
            random.fill(&mut key);
            Device {
                form: *form,
                key,
                anchor: None,
                is_fresh: false,
                counter: 0,
                answered: 0,
                seq: 0,
                waiting: true,
                sent: None,
                sightings: 0,
                judged: None,
            }
        };
        Ok(Self {
            flaw,
            snid,
            chain: BeaconChain::new(snid, &element, EPOCH_FIRST, EPOCH_FIRST + EPOCHS),
            devices: forms.iter().map(device).collect(),
            random,
            network: Network {
                epoch: EPOCH_FIRST,
                ..Network::default()
            },
            copy: None,
        })
    }

    fn lacks(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn rand_n(&self) -> RandN {
        let epoch = self.network.epoch;
        match self.lacks(Flaw::CountedRandN) {
            true => RandN::new(epoch, [0; 12]),
            false => self
                .chain
                .rand_n(epoch)
                .unwrap_or(RandN::new(epoch, [0; 12])),
        }
    }

    fn key_input(&self, beacon: &Beacon, nonce: &[u8]) -> Vec<u8> {
        let mut input = Vec::new();
        input.extend(match self.lacks(Flaw::NoRandN) {
            true => [0; 16],
            false => *beacon.rand_n.octets(),
        });
        input.extend(match self.lacks(Flaw::NoArea) {
            true => [0; 12],
            false => *beacon.area_id.octets(),
        });
        if !self.lacks(Flaw::TagOverPayload) {
            input.extend_from_slice(nonce);
        }
        input
    }

    fn id_input(&self, rand_n: &RandN, nonce: &[u8]) -> Vec<u8> {
        match self.flaw {
            Some(Flaw::FixedTId) => Vec::new(),
            Some(Flaw::NoRandN) => nonce.to_vec(),
            Some(Flaw::TagOverPayload) => rand_n.octets().to_vec(),
            _ => [rand_n.octets(), nonce].concat(),
        }
    }

    fn aad(&self, header: u8) -> Vec<u8> {
        match self.lacks(Flaw::TagOverPayload) {
            true => Vec::new(),
            false => vec![header],
        }
    }

    fn accept(&self, key: &[u8; 16], k_aiotf: &[u8; 16], tag1: &[u8]) -> Vec<u8> {
        let tag2 = match self.lacks(Flaw::UnboundAccept) {
            true => tag(key, 0x42, &[ACCEPT]),
            false => tag(k_aiotf, 0x42, &[&[ACCEPT], tag1].concat()),
        };
        [&[ACCEPT][..], &tag2].concat()
    }

    /// How a device names itself in a report under a beacon.
    fn form(&mut self, at: usize, beacon: &Beacon) -> Option<Named> {
        let always = self.lacks(Flaw::AlwaysBeaconForm);
        let no_recovery = self.lacks(Flaw::NoRecovery);
        let counted = self.lacks(Flaw::CountedRandN);
        let snid = self.snid;
        let mut rand_d = [0; 8];
        self.random.fill(&mut rand_d);
        let device = self.devices.get_mut(at)?;
        if device.form == DeviceForm::Counter {
            device.counter += 1;
            let lost_touch = device.counter - device.answered > UNANSWERED_MAX && !no_recovery;
            let nonce = device.counter.to_be_bytes();
            let id = prf(&device.key, 0x12, &nonce).get(..6)?.to_vec();
            let counter = Some(device.counter);
            return Some(match lost_touch {
                true => (3, [&nonce[..], &id].concat(), nonce.to_vec(), counter),
                false => (1, id, nonce.to_vec(), counter),
            });
        }
        let rand_n = beacon.rand_n;
        let is_verified = device.anchor.is_some_and(|anchor| {
            counted && anchor.epoch() <= rand_n.epoch()
                || matches!(
                    chain::verify(&anchor, &rand_n, &snid, 1024),
                    Verification::Verified
                )
        });
        if !is_verified && device.anchor.is_some() && device.judged != Some(rand_n) {
            device.judged = Some(rand_n);
            device.sightings += 1;
        }
        if is_verified && device.anchor != Some(rand_n) {
            device.anchor = Some(rand_n);
            device.is_fresh = true;
        }
        let shows = is_verified && device.is_fresh || always;
        let key = device.key;
        let is_beacon_form = device.form == DeviceForm::Beacon && shows;
        let nonce = rand_d.get(..if is_beacon_form { 4 } else { 8 })?.to_vec();
        let (form, id) = match is_beacon_form {
            true => (0, prf(&key, 0x10, &self.id_input(&rand_n, &[]))),
            false => (2, prf(&key, 0x14, &self.id_input(&rand_n, &nonce))),
        };
        let named = [id.get(..4)?, &nonce].concat();
        Some((form, named, nonce, None))
    }

    /// Finds and verifies the sender of a report: device, K_AIOTF, TAG1, plaintext, counter.
    fn identify(&self, beacon: &Beacon, octets: &[u8]) -> Option<Identified> {
        let (header, rest) = octets.split_first()?;
        let form = header & 7;
        if header & !7 != REPORT {
            return None;
        }
        let id_len = *[8, 6, 12, 10].get(usize::from(form))?;
        let (id, rest) = rest.split_at_checked(id_len)?;
        let (ciphertext, tag1) = rest.split_last_chunk::<8>()?;
        if ciphertext.is_empty() {
            return None;
        }
        let mut found = None;
        for (at, device) in self.devices.iter().enumerate() {
            let last = self.network.last.get(&at).map_or(0, |(last, _)| *last);
            let candidates: Vec<(Vec<u8>, Option<u32>)> = match form {
                0 => vec![(id.get(4..)?.to_vec(), None)],
                2 => vec![(id.get(4..)?.to_vec(), None)],
                1 => (last.max(1)..=last + WINDOW)
                    .map(|counter| (counter.to_be_bytes().to_vec(), Some(counter)))
                    .collect(),
                _ => {
                    let counter = u32::from_be_bytes(*id.first_chunk()?);
                    vec![(counter.to_be_bytes().to_vec(), Some(counter))]
                }
            };
            for (nonce, counter) in candidates {
                let expected = match form {
                    0 => prf(&device.key, 0x10, &self.id_input(&beacon.rand_n, &[])),
                    2 => prf(&device.key, 0x14, &self.id_input(&beacon.rand_n, &nonce)),
                    _ => prf(&device.key, 0x12, &nonce),
                };
                let shown = match form {
                    0 | 2 => id.get(..4)?,
                    1 => id,
                    _ => id.get(4..)?,
                };
                if !expected.starts_with(shown) {
                    continue;
                }
                let label = [0x11, 0x13, 0x15, 0x13].get(usize::from(form)).copied()?;
                let k_aiotf = prf(&device.key, label, &self.key_input(beacon, &nonce));
                let text = crypt(&k_aiotf, tag1, ciphertext);
                let aad = self.aad(*header);
                let is_genuine = tag(&k_aiotf, 0x41, &[&aad[..], &text].concat()) == *tag1;
                if is_genuine || self.lacks(Flaw::AnyTag) {
                    found = Some(Identified {
                        device: at,
                        k_aiotf,
                        tag1: *tag1,
                        cause_seq: *text.first()?,
                        counter,
                    });
                }
            }
        }
        found
    }
}

/// Form, identifier, nonce of the key, counter.
type Named = (u8, Vec<u8>, Vec<u8>, Option<u32>);

struct Identified {
    device: usize,
    k_aiotf: [u8; 16],
    tag1: [u8; 8],
    cause_seq: u8,
    counter: Option<u32>,
}

impl Arena for Reference {
    fn beacon(&mut self, reader: u16) -> Beacon {
        let [high, low] = reader.to_be_bytes();
        Beacon {
            area_id: self.snid.area([0, high, low]),
            rand_n: self.rand_n(),
        }
    }

    fn next_epoch(&mut self) -> Result<(), AttackError> {
        self.network.epoch += 1;
        Ok(())
    }

    fn speak(&mut self, at: usize, beacon: &Beacon) -> Option<Vec<u8>> {
        let (form, id, nonce, counter) = self.form(at, beacon)?;
        let header = REPORT | form;
        let device = self.devices.get_mut(at)?;
        if !device.waiting {
            device.waiting = true;
            device.seq = (device.seq + 1) & 15;
        }
        let cause = if device.seq == 0 { 1 } else { 3 };
        let text = [&[cause << 4 | device.seq][..], b"21.5 C"].concat();
        let key = device.key;
        let label = *[0x11, 0x13, 0x15, 0x13].get(usize::from(form))?;
        let k_aiotf = prf(&key, label, &self.key_input(beacon, &nonce));
        let tag1 = tag(&k_aiotf, 0x41, &[&self.aad(header)[..], &text].concat());
        let ciphertext = crypt(&k_aiotf, &tag1, &text);
        self.devices.get_mut(at)?.sent = Some(Exchange {
            k_aiotf,
            tag1,
            rand_n: beacon.rand_n,
            counter,
        });
        Some([&[header][..], &id, &ciphertext, &tag1].concat())
    }

    fn hear(&mut self, reader: u16, octets: &[u8]) -> Result<Option<Vec<u8>>, AttackError> {
        let beacon = self.beacon(reader);
        let Some(found) = self.identify(&beacon, octets) else {
            return Ok(None);
        };
        let epoch = match self.lacks(Flaw::NoRandN) {
            // A record of an epoch that the report does not depend on would hide the replay; it is looked up by tag alone.
            true => self.network.epoch,
            false => beacon.rand_n.epoch(),
        };
        let key = (found.device, epoch, found.tag1);
        let on_record = self.network.records.get(&key).cloned();
        if let Some(accept) = &on_record
            && !self.lacks(Flaw::NoRecordKey)
        {
            return Ok(Some(accept.clone()));
        }
        let last = self.network.last.entry(found.device).or_default();
        if let Some(counter) = found.counter {
            if counter <= last.0 && on_record.is_none() {
                return Ok(None);
            }
            last.0 = last.0.max(counter);
        }
        let is_repeat = last.1 == Some(found.cause_seq) && found.cause_seq >> 4 != 1;
        last.1 = Some(found.cause_seq);
        self.network.written += 1;
        self.network.events += u64::from(!is_repeat || on_record.is_some());
        let device = self.devices.get(found.device);
        let key_of_device = device.map_or([0; 16], |device| device.key);
        let accept = self.accept(&key_of_device, &found.k_aiotf, &found.tag1);
        self.network.records.insert(key, accept.clone());
        Ok(Some(accept))
    }

    fn answer(&mut self, at: usize, octets: &[u8]) -> bool {
        let Some(device) = self.devices.get(at) else {
            return false;
        };
        let Some(sent) = &device.sent else {
            return false;
        };
        if self.accept(&device.key, &sent.k_aiotf, &sent.tag1) != octets {
            return false;
        }
        let Some(device) = self.devices.get_mut(at) else {
            return false;
        };
        if let Some(sent) = device.sent.take() {
            device.waiting = false;
            device.answered = sent.counter.unwrap_or(device.answered);
            if device
                .anchor
                .is_none_or(|anchor| anchor.epoch() < sent.rand_n.epoch())
            {
                device.anchor = Some(sent.rand_n);
                device.is_fresh = true;
            }
        }
        true
    }

    fn power_cycle(&mut self, at: usize) -> Result<(), AttackError> {
        if let Some(device) = self.devices.get_mut(at) {
            (device.is_fresh, device.seq, device.waiting) = (false, 0, true);
            (device.sent, device.judged) = (None, None);
        }
        Ok(())
    }

    fn sightings(&self, at: usize) -> u64 {
        self.devices.get(at).map_or(0, |device| device.sightings)
    }

    fn backup(&mut self) -> Result<(), AttackError> {
        self.copy = Some(self.network.clone());
        Ok(())
    }

    fn restart(&mut self) -> Result<(), AttackError> {
        if let Some(copy) = self.copy.take() {
            let epoch = self.network.epoch + 1;
            self.network = Network { epoch, ..copy };
        }
        Ok(())
    }

    fn books(&mut self) -> Result<Books, AttackError> {
        Ok(Books {
            records: self.network.written,
            events: self.network.events,
            alarms: 0,
        })
    }
}

fn prf(key: &[u8; 16], label: u8, x: &[u8]) -> [u8; 16] {
    PrfKey::new(Suite::AesCmac, key).prf(Label(label), &[x])
}

/// The first 8 octets of PRF(KI, label, text).
fn tag(k_aiotf: &[u8; 16], label: u8, text: &[u8]) -> [u8; 8] {
    let mac = prf(&prf(k_aiotf, 0x01, &[]), label, text);
    let mut tag = [0; 8];
    for (to, from) in tag.iter_mut().zip(mac) {
        *to = from;
    }
    tag
}

/// Encrypts or decrypts a report under its tag.
fn crypt(k_aiotf: &[u8; 16], tag1: &[u8; 8], text: &[u8]) -> Vec<u8> {
    let mut iv = [0; 12];
    for (to, from) in iv.iter_mut().zip(tag1) {
        *to = *from;
    }
    let mut octets = vec![0; text.len()];
    let ke = prf(k_aiotf, 0x02, &[]);
    keystream(Suite::AesCmac, &ke, &iv, &mut octets);
    for (octet, with) in octets.iter_mut().zip(text) {
        *octet ^= with;
    }
    octets
}
