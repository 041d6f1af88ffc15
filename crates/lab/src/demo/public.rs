//! The demonstration's devices in a public network: each has a card, and what it says of its card goes through APDUs.

use ambit_adm::{Adm, SubscriberSpec};
use ambit_protocol::area::Plmn;
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_ran::fleet::FleetCard;
use ambit_uicc::algorithms::TuakRes;
use ambit_uicc::card::{Card, Profile, SuciProfile};
use ambit_uicc::suci::{Imsi, PublicKey, RoutingIndicator, Scheme};
use ambit_uicc::terminal::{InProcess, Terminal, UsimCard};
use ambit_uicc::{Algorithm, Subscriber};
use serde::Serialize;

use super::{DemoError, spec};

/// The cards of a demonstration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CardSummary {
    /// With MILENAGE.
    pub milenage: u64,
    /// With TUAK.
    pub tuak: u64,
    /// IMSI in clear.
    pub null_scheme: u64,
    /// IMSI concealed by Profile A.
    pub profile_a: u64,
    /// IMSI concealed by Profile B.
    pub profile_b: u64,
    /// Of the concealed ones, those where the card conceals and not the device.
    pub on_card: u64,
}

/// A device and the card in it.
pub(super) type DeviceWithCard = (DeviceSpec, FleetCard);

/// Makes keys of the home network, cards, and their subscribers in the core.
pub(super) fn provision(
    adm: &mut Adm,
    count: u32,
    rng: &mut fastrand::Rng,
    now_ms: i64,
) -> Result<(Vec<DeviceWithCard>, CardSummary), DemoError> {
    let (_, profile_a) = adm.add_home_network_key(Some(1), Scheme::ProfileA, now_ms)?;
    let (_, profile_b) = adm.add_home_network_key(Some(2), Scheme::ProfileB, now_ms)?;
    let keys = [(1, profile_a), (2, profile_b)];
    let plmn = adm.config().snid.plmn();
    let mut summary = CardSummary::default();
    let (mut devices, mut subscribers) = (Vec::new(), Vec::new());
    for n in 0..count {
        let device = device(n, rng);
        let secrets = Secrets::draw(n, rng);
        let imsi = imsi(plmn, n)?;
        subscribers.push(SubscriberSpec {
            device: copy(&device),
            supi: format!("imsi-{imsi}"),
            secrets: secrets.subscriber()?,
            sqn: 0,
        });
        let mut profile = Profile::new(format!("89001010{n:011}"), imsi, secrets.subscriber()?);
        profile.suci = concealment(n, &keys);
        summary.count(&profile);
        let card = Card::new(profile).with_random(random(rng));
        let terminal = Terminal::new(InProcess(card));
        let card = UsimCard::open(terminal, random(rng)).map_err(|_| DemoError::Card)?;
        devices.push((device, Box::new(card) as FleetCard));
    }
    adm.import_subscribers(&subscribers, now_ms)?;
    Ok((devices, summary))
}

/// As in a private network, but without key and without the blind form, which a public network does not take.
fn device(n: u32, rng: &mut fastrand::Rng) -> DeviceSpec {
    let device = spec(n, rng);
    DeviceSpec {
        form: match device.form {
            ambit_protocol::DeviceForm::Blind => ambit_protocol::DeviceForm::Beacon,
            form => form,
        },
        key: None,
        credential: CredentialKind::Uicc,
        ..device
    }
}

fn copy(device: &DeviceSpec) -> DeviceSpec {
    DeviceSpec {
        device_id: device.device_id.clone(),
        key: None,
        fleet: device.fleet.clone(),
        ..*device
    }
}

fn imsi(plmn: Plmn, n: u32) -> Result<Imsi, DemoError> {
    Imsi::new(plmn, &format!("{n:010}")).map_err(|_| DemoError::Card)
}

/// The null scheme, Profile A and Profile B in turn; of the concealed ones, every second conceals on the card.
fn concealment(n: u32, keys: &[(u8, PublicKey); 2]) -> Option<SuciProfile> {
    let keys = match n % 3 {
        0 => return None,
        1 => keys.to_vec(),
        _ => keys.iter().rev().cloned().collect(),
    };
    Some(SuciProfile {
        routing_indicator: RoutingIndicator::default(),
        keys,
        on_card: (n / 3) % 2 == 1,
    })
}

/// What card and core both get.
struct Secrets {
    algorithm: Algorithm,
    k: [u8; 32],
    opc: [u8; 32],
}

impl Secrets {
    /// MILENAGE and TUAK in turn, TUAK with several parameters.
    fn draw(n: u32, rng: &mut fastrand::Rng) -> Self {
        let (mut k, mut opc) = ([0; 32], [0; 32]);
        rng.fill(&mut k);
        rng.fill(&mut opc);
        let tuak = |iterations, res| Algorithm::Tuak { iterations, res };
        let algorithm = match n % 8 {
            1 | 3 => tuak(1, TuakRes::Octets8),
            5 => tuak(2, TuakRes::Octets16),
            7 => tuak(1, TuakRes::Octets4),
            _ => Algorithm::Milenage,
        };
        Self { algorithm, k, opc }
    }

    fn subscriber(&self) -> Result<Subscriber, DemoError> {
        let octets = self.algorithm.opc_octets();
        let (k, opc) = (self.k.get(..octets), self.opc.get(..octets));
        let (k, opc) = k.zip(opc).ok_or(DemoError::Card)?;
        Subscriber::new(self.algorithm, k, opc).map_err(|_| DemoError::Card)
    }
}

/// A seeded source for a card or its device: the demonstration repeats with its seed.
fn random(rng: &mut fastrand::Rng) -> impl FnMut(&mut [u8]) + Send + 'static {
    let mut own = fastrand::Rng::with_seed(rng.u64(..));
    move |out| own.fill(out)
}

impl CardSummary {
    fn count(&mut self, profile: &Profile) {
        match profile.subscriber.algorithm() {
            Algorithm::Milenage => self.milenage += 1,
            Algorithm::Tuak { .. } => self.tuak += 1,
        }
        let preferred = profile.suci.as_ref().and_then(|suci| suci.keys.first());
        match preferred {
            None => self.null_scheme += 1,
            Some((_, PublicKey::A(_))) => self.profile_a += 1,
            Some((_, PublicKey::B(_))) => self.profile_b += 1,
        }
        let on_card = profile.suci.as_ref().is_some_and(|suci| suci.on_card);
        self.on_card += u64::from(on_card);
    }
}
