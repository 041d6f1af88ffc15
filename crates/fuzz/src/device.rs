//! The device's whole input: beacons true and false, pagings, downlinks genuine, damaged and invented, its application, its
//! memory and its power.
//!
//! Two devices live one life; what nobody has authenticated is told to one of them only, and the two must stay the same. What
//! they send is read by the slow model, and the identity rule of section 4 and the freshness of nonces are watched.

use std::collections::{HashMap, HashSet};

use ambit_device::{
    Credential, Device, DeviceForm, DeviceType, Event, LocalKey, Memory, PDU_OCTETS_MAX,
    PagingTarget, Profile, Random, SLOTS_OCTETS, Uicc, UiccCredential, provision,
};
use ambit_model::{self as slow, Credentials, Exchange, Keys, Place};
use ambit_protocol::area::Plmn;
use ambit_protocol::{Cause, RandN, RootKey, Snid, Suite, TagLen, schedule};
use ambit_uicc::card::{Card, VolatileMemory};
use ambit_uicc::terminal::{InProcess, Terminal, UsimCard};
use ambit_uicc::{Algorithm, Subscriber};

use crate::defect::Defect;
use crate::{Input, apdu};

const K: [u8; 16] = [0x4B; 16];
const MEMORY_OCTETS: usize = 120;
const EPOCH_FIRST: u32 = 100;
const EPOCHS: u32 = 12;

/// The target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(&mut input);
    for _ in 0..200 {
        if input.is_empty() {
            return;
        }
        world.step(&mut input);
    }
}

struct Dice(fastrand::Rng);

impl Random for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

/// A memory whose writes fail when told to, after part of the octets.
struct Flaky {
    octets: [u8; MEMORY_OCTETS],
    fails_after: Option<usize>,
}

impl Memory for Flaky {
    type Error = ();

    fn capacity(&self) -> usize {
        MEMORY_OCTETS
    }

    fn read(&mut self, offset: usize, out: &mut [u8]) -> Result<(), ()> {
        let octets = self.octets.get(offset..offset + out.len()).ok_or(())?;
        out.copy_from_slice(octets);
        Ok(())
    }

    fn write(&mut self, offset: usize, octets: &[u8]) -> Result<(), ()> {
        let room = self
            .octets
            .get_mut(offset..offset + octets.len())
            .ok_or(())?;
        let n = self.fails_after.unwrap_or(octets.len()).min(octets.len());
        room[..n].copy_from_slice(&octets[..n]);
        match self.fails_after {
            Some(_) => Err(()),
            None => Ok(()),
        }
    }
}

/// K in memory, or a card.
enum Key {
    Local(LocalKey),
    Card(Box<UiccCredential<UsimCard<InProcess<VolatileMemory>>>>),
}

impl Credential for Key {
    type Error = ();

    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], ()> {
        match self {
            Self::Local(key) => key.evaluate(input).map_err(|_| ()),
            Self::Card(key) => key.evaluate(input).map_err(|_| ()),
        }
    }

    fn suite(&self) -> Suite {
        match self {
            Self::Local(key) => key.suite(),
            Self::Card(key) => key.suite(),
        }
    }

    fn card(&mut self) -> Option<&mut dyn Uicc> {
        match self {
            Self::Local(_) => None,
            Self::Card(key) => key.card(),
        }
    }

    fn needs_registration(&self) -> bool {
        matches!(self, Self::Card(key) if key.needs_registration())
    }

    fn adopt(&mut self, k_aiot: Option<RootKey>) {
        if let Self::Card(key) = self {
            key.adopt(k_aiot);
        }
    }
}

type Twin = Device<Key, Flaky, Dice>;

/// All that shows of a device, times and memory included.
fn shown(device: &mut Twin) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut stats = *device.stats();
    stats.ignored_downlinks = 0;
    let events: Vec<Event> = std::iter::from_fn(|| device.poll_event()).collect();
    (
        (stats, events, device.poll_timeout()),
        (device.anchor(), device.counter(), device.items_waiting()),
        (device.is_disabled(), device.needs_registration()),
    )
}

struct World {
    profile: Profile,
    snid: Snid,
    credentials: Credentials,
    /// `None` only between power-off and power-on: what is not authenticated is told to the first alone.
    twins: Option<[Twin; 2]>,
    chain: Vec<RandN>,
    now_ms: u64,
    cycle: u32,
    heard: Option<Place>,
    /// The report that was built last.
    last: Vec<u8>,
    /// RAND_n of the paging that was answered last.
    paged: [u8; 16],
    /// Messages of the network, the newest last.
    genuine: Vec<Vec<u8>>,
    /// Keys of the session that could be, and the next COUNT down.
    session: Option<(Keys, u8)>,
    nonces: HashSet<Vec<u8>>,
    /// Where T-IDs were shown: cycle and time by RAND_n.
    t_ids: HashMap<[u8; 16], (u32, u64)>,
    sqn: u64,
    registering: Option<Registering>,
}

/// The network's end of a registration.
struct Registering {
    rand_d: [u8; 8],
    rand: [u8; 16],
    autn: [u8; 16],
}

fn both<T: PartialEq + std::fmt::Debug>(
    twins: &mut [Twin; 2],
    mut act: impl FnMut(&mut Twin) -> T,
) -> T {
    let [hit, spared] = twins;
    let (hit, spared) = (act(hit), act(spared));
    assert_eq!(hit, spared, "the twins differ");
    hit
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let snid = Snid::new(Plmn::new("001", "01").unwrap(), None);
        let choice = input.u8();
        let form = input.one_of(&[
            DeviceForm::Beacon,
            DeviceForm::Concealed,
            DeviceForm::Counter,
            DeviceForm::Blind,
            DeviceForm::Dt,
        ]);
        let suite = input.one_of(&Suite::ALL);
        let has_card = choice & 4 == 4 && form != DeviceForm::Dt;
        let mut profile = Profile::new(DeviceType::Type2c, form, snid);
        profile.tag_len = input.one_of(&TagLen::ALL);
        profile.max_steps = 6;
        let mut x = vec![0x77; 12];
        let mut chain = Vec::new();
        for e in (EPOCH_FIRST..EPOCH_FIRST + EPOCHS).rev() {
            chain.push(RandN::new(e, std::array::from_fn(|at| x[at])));
            x = slow::chain_step(&x, e, snid.octets());
        }
        chain.reverse();
        let mut world = Self {
            profile,
            snid,
            credentials: Credentials {
                suite: suite.number(),
                key: K,
                tag_len: profile.tag_len.octets(),
            },
            twins: None,
            chain,
            now_ms: 0,
            cycle: 0,
            heard: None,
            last: Vec::new(),
            paged: [0; 16],
            genuine: Vec::new(),
            session: None,
            nonces: HashSet::new(),
            t_ids: HashMap::new(),
            sqn: 32,
            registering: None,
        };
        let anchor = (choice & 1 == 1).then(|| world.chain[2]);
        let parts = [(); 2].map(|()| {
            let mut memory = Flaky {
                octets: [0xFF; MEMORY_OCTETS],
                fails_after: None,
            };
            if choice & 2 == 2 {
                provision(&mut memory, anchor, 0).unwrap();
            }
            let key = match has_card {
                false => Key::Local(LocalKey::new(RootKey::new(K), suite)),
                true => {
                    let card = Card::new(apdu::profile(choice & 8 == 8, false));
                    let mut dice = fastrand::Rng::with_seed(2);
                    let card = UsimCard::open(Terminal::new(InProcess(card)), move |out| {
                        dice.fill(out);
                    });
                    Key::Card(Box::new(UiccCredential::new(card.unwrap(), suite)))
                }
            };
            (key, memory, Dice(fastrand::Rng::with_seed(1)))
        });
        world.power_on(parts);
        world
    }

    fn power_on(&mut self, parts: [(Key, Flaky, Dice); 2]) {
        let (profile, now_ms) = (self.profile, self.now_ms);
        self.twins = Some(parts.map(|(key, memory, dice)| {
            Device::power_on(profile, key, memory, dice, now_ms, b"hello")
                .unwrap_or_else(|error| panic!("power-on: {error}"))
        }));
        self.cycle += 1;
        self.heard = None;
        self.last.clear();
        self.session = None;
        self.registering = None;
    }

    fn twins(&mut self) -> &mut [Twin; 2] {
        self.twins.as_mut().unwrap()
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 14 {
            0 => self.now_ms += u64::from(input.u8()),
            1 => self.now_ms += u64::from(input.u16()) * 100,
            2 | 3 => {
                let at = usize::from(input.u8()) % self.chain.len();
                let rand_n = self.chain[at];
                self.hear(rand_n, input.u8() % 3);
            }
            4 => {
                let octets = input.array();
                self.hear(RandN::from_octets(octets), input.u8() % 3);
            }
            5 => {
                let (cause, data) = (Cause::from_number(input.u8()), input.short());
                let now_ms = self.now_ms;
                let _ = both(self.twins(), |device| device.submit(now_ms, cause, data));
            }
            6 | 7 => self.transmit(input),
            8 => {
                if let Some(octets) = self.genuine.last().cloned() {
                    self.tell_both(&octets);
                }
            }
            9 => self.tell_one(input),
            10 => self.page(input),
            11 => self.command(input),
            12 => self.cut_power(input),
            _ => {
                let fails_after = (input.u8() % 2 == 1).then(|| usize::from(input.u8() % 40));
                self.with_parts(|parts| {
                    for (_, memory, _) in parts {
                        memory.fails_after = fails_after;
                    }
                });
            }
        }
        let [hit, spared] = self.twins();
        assert_eq!(shown(hit), shown(spared), "the twins differ");
    }

    fn hear(&mut self, rand_n: RandN, code: u8) {
        // Code 2 is an area of another network, which the device does not use.
        let snid = match code {
            2 => Snid::new(Plmn::new("002", "01").unwrap(), None),
            _ => self.snid,
        };
        let (area, now_ms) = (snid.area([0, 0, code]), self.now_ms);
        both(self.twins(), |device| {
            device.handle_beacon(now_ms, &area, &rand_n)
        });
        if code != 2 {
            self.heard = Some(Place {
                rand_n: *rand_n.octets(),
                area: *area.octets(),
            });
        }
    }

    fn transmit(&mut self, input: &mut Input<'_>) {
        let now_ms = self.now_ms;
        let was_disabled = self.twins()[0].is_disabled();
        let sent = both(self.twins(), |device| {
            let mut out = [0; PDU_OCTETS_MAX];
            assert_eq!(
                device.poll_transmit(now_ms, &mut out[..PDU_OCTETS_MAX - 1]),
                None
            );
            let len = device.poll_transmit(now_ms, &mut out)?;
            Some(out[..len].to_vec())
        });
        let Some(octets) = sent else {
            return;
        };
        let kind = octets[0] >> 3 & 7;
        assert!(!was_disabled || kind == 6, "a disabled device speaks");
        match kind {
            0 => self.reported(&octets, input),
            2 => self.registration(&octets, input),
            4 => self.authenticated(&octets),
            5 => {
                let rand_d = Input(&octets[1..]).array();
                let expected = slow::inventory_response(&self.credentials, &self.paged, &rand_d);
                assert_eq!(octets, expected, "INVENTORY RESPONSE");
                let keys = slow::inventory_keys(&self.credentials, &self.paged, &rand_d);
                self.session = Some((keys, 0));
            }
            6 => assert!(self.session.is_some()),
            _ => panic!("{octets:02x?} is nothing that a device sends"),
        }
    }

    /// A REPORT went out: it must be readable where it was built, and fresh; the network answers.
    fn reported(&mut self, octets: &[u8], input: &mut Input<'_>) {
        let (form, shown) = slow::outside(octets).expect("a form");
        if octets == self.last {
            return;
        }
        let nonce = match form {
            1 | 4 => self.twins()[0].counter().to_be_bytes().to_vec(),
            _ => shown,
        };
        let place = self.heard.unwrap_or(Place {
            rand_n: [0; 16],
            area: [0; 12],
        });
        let class = match form {
            0 | 2 => form,
            _ => 1,
        };
        let is_new = self.nonces.insert([&[class], &nonce[..]].concat());
        assert!(
            is_new && !Defect::DeviceRepeatsNonce.is_planted(),
            "a nonce again"
        );
        let (text, exchange) = slow::read_report(&self.credentials, &place, &nonce, octets)
            .expect("a report that the network can read");
        assert!(text.len() <= 91);
        let is_true = self
            .chain
            .iter()
            .any(|rand_n| *rand_n.octets() == place.rand_n);
        if form == 0 {
            assert!(
                is_true && !Defect::DeviceShowsTId.is_planted(),
                "a T-ID under a false beacon"
            );
            let now = (self.cycle, self.now_ms);
            let (cycle, since_ms) = *self.t_ids.entry(place.rand_n).or_insert(now);
            assert_eq!(cycle, self.cycle, "one T-ID in two power cycles");
            let period_ms = u64::from(self.profile.period_s) * 1000;
            assert!(self.now_ms - since_ms < period_ms, "one T-ID for too long");
        }
        self.last = octets.to_vec();
        // Under a RAND_n that it has not issued the network finds nobody. The blind form is under none.
        if is_true || form == 4 {
            self.accept(exchange, input);
        }
    }

    fn accept(&mut self, exchange: Exchange, input: &mut Input<'_>) {
        let p2: &[u8] = match input.u8() % 8 {
            0 | 1 => &[1],
            2 => &[2, 0, 9],
            3 => &[9, 9],
            _ => &[],
        };
        self.genuine.push(slow::accept(&exchange, p2));
        if p2 == [1] {
            self.session = Some((exchange.keys, 0));
        }
    }

    /// The home network's subscriber.
    fn subscriber() -> Subscriber {
        let [k, opc, _] = apdu::SECRETS;
        Subscriber::new(Algorithm::Milenage, &k, &opc).unwrap()
    }

    /// REGISTRATION REQUEST: the network challenges.
    fn registration(&mut self, octets: &[u8], input: &mut Input<'_>) {
        let name = self.snid.sn_name().to_string();
        let aka = slow::Aka {
            name: &name,
            rand_d: Input(&octets[1..]).array(),
            ck_ik: [0; 32],
        };
        let n_r = [input.u8(); 16];
        let rand = aka.rand(&n_r);
        self.sqn += 32;
        let sqn = Input(&self.sqn.to_be_bytes()[2..]).array();
        let autn = Self::subscriber().autn(&rand, &sqn, &[0x80, 0]);
        let challenge = [&[slow::header(3, 0)][..], &n_r, &autn].concat();
        self.registering = Some(Registering {
            rand_d: aka.rand_d,
            rand,
            autn,
        });
        self.genuine.push(challenge);
    }

    /// AUTHENTICATION RESPONSE: the network verifies it, and K_AIOT is K from then on.
    fn authenticated(&mut self, octets: &[u8]) {
        let Some(registering) = self.registering.as_ref() else {
            panic!("an answer to no challenge");
        };
        let Registering { rand_d, rand, autn } = registering;
        let Some((vector, ..)) = Self::subscriber().check_autn(rand, autn) else {
            unreachable!("our own challenge");
        };
        let name = self.snid.sn_name().to_string();
        let aka = slow::Aka {
            name: &name,
            rand_d: *rand_d,
            ck_ik: std::array::from_fn(|at| vector.ck_ik()[at]),
        };
        if octets[0] & 7 == 1 {
            return;
        }
        let key = aka.k_aiot(&Input(autn).array());
        let k_aiotf = aka.k_aiotf(self.credentials.suite, &key, rand);
        let read = slow::read_authentication_response(&self.credentials, &k_aiotf, octets);
        // An older challenge may have been delivered; the network then does not know the answer.
        let Some((_, exchange)) = read else {
            return;
        };
        assert_eq!(octets[1..9], aka.res8(rand, vector.res.as_slice()));
        self.credentials.key = key;
        self.genuine.push(slow::accept(&exchange, &[]));
        // Under the new key T-IDs and nonces are others.
        self.t_ids.clear();
        self.nonces.clear();
    }

    fn tell_both(&mut self, octets: &[u8]) {
        let now_ms = self.now_ms;
        let _ = both(self.twins(), |device| {
            device.handle_downlink(now_ms, octets)
        });
    }

    /// Something that is not the network's is told to the first alone, which must not change.
    fn tell_one(&mut self, input: &mut Input<'_>) {
        let from = input.u8();
        let genuine = self.genuine.iter().rev().nth((from % 4).into());
        let octets = match genuine {
            Some(genuine) => input.damage(genuine),
            None => input.short().to_vec(),
        };
        // A challenge costs the card's patience, whoever sends it: both hear of it.
        let is_challenge = octets.first() == Some(&slow::header(3, 0));
        if self.genuine.contains(&octets) || is_challenge {
            return self.tell_both(&octets);
        }
        let (now_ms, is_short) = (self.now_ms, self.credentials.tag_len == 4);
        let [hit, spared] = self.twins();
        let heard = match Defect::DeviceListensToAnybody.is_planted() {
            true => Ok(()),
            false => hit.handle_downlink(now_ms, &octets),
        };
        assert!(heard.is_err() || is_short, "{octets:02x?} was heard");
        if heard.is_ok() {
            // One tag of 4 octets in 2^32 is hit by chance.
            let _ = spared.handle_downlink(now_ms, &octets);
        }
    }

    fn page(&mut self, input: &mut Input<'_>) {
        let rand_n = RandN::from_octets(input.array());
        let target = match input.u8() % 4 {
            0 => PagingTarget::All,
            1 => PagingTarget::Concealed(slow::paging_t_id(&self.credentials, rand_n.octets())),
            2 => PagingTarget::Concealed(input.array()),
            _ => PagingTarget::Matches(input.u8() % 2 == 1),
        };
        let now_ms = self.now_ms;
        let answered = |device: &Twin| device.stats().pagings_answered;
        let before = answered(&self.twins()[0]);
        both(self.twins(), |device| {
            device.handle_paging(now_ms, &rand_n, target)
        });
        if answered(&self.twins()[0]) > before {
            self.paged = *rand_n.octets();
        }
    }

    /// A command of the network in its session, whole or damaged.
    fn command(&mut self, input: &mut Input<'_>) {
        let tag_len = self.credentials.tag_len;
        let Some((keys, count)) = &mut self.session else {
            return;
        };
        let text = input.short();
        let text = &text[..text.len().min(107)];
        if text.is_empty() {
            return;
        }
        let message = slow::session(keys, tag_len, true, *count, text);
        *count = count.wrapping_add(1 + input.u8() % 2);
        self.genuine.push(message.clone());
        if !input.u8().is_multiple_of(4) {
            self.tell_both(&message);
        }
    }

    fn cut_power(&mut self, input: &mut Input<'_>) {
        self.now_ms += u64::from(input.u16());
        self.with_parts(|_| {});
    }

    /// Off and on again, with what is done to the parts meanwhile.
    fn with_parts(&mut self, change: impl FnOnce(&mut [(Key, Flaky, Dice); 2])) {
        let mut parts = self.twins.take().unwrap().map(Device::power_off);
        let [hit, spared] = &parts;
        assert_eq!(hit.1.octets, spared.1.octets, "the memories differ");
        assert!(hit.1.octets.len() > SLOTS_OCTETS);
        change(&mut parts);
        self.power_on(parts);
    }
}
