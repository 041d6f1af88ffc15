//! The card and the terminal at each other's mercy: a card under any commands keeps its secrets and answers in form, and a
//! terminal before a card that says anything comes to an end.

use ambit_device::{Credential, Uicc};
use ambit_protocol::{RandN, RootKey, Suite, schedule};
use ambit_uicc::card::{AiotProfile, Card, Profile, SuciProfile};
use ambit_uicc::suci::{Imsi, PrivateKey, RoutingIndicator, Suci};
use ambit_uicc::terminal::{
    AiotCredential, AkaAnswer, InProcess, Terminal, Transport, TransportError, UsimCard,
};
use ambit_uicc::{Algorithm, Subscriber};

use crate::Input;
use crate::defect::Defect;

/// K of the USIM, OPc, and K of the AIoT application.
pub const SECRETS: [[u8; 16]; 3] = [
    *b"K of the subject",
    *b"OPc of the lot..",
    *b"K_AIOT in a card",
];
const ADM1: &[u8; 8] = b"88888888";

/// The target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() % 3 {
        0 | 1 => card(&mut input),
        _ => terminal(&mut input),
    }
}

/// The card that is under test.
pub fn profile(has_suci: bool, on_card: bool) -> Profile {
    let [k, opc, k_aiot] = SECRETS;
    let imsi = Imsi::from_digits("001010000000001", 2).unwrap();
    let mut profile = Profile::new("89001012345678901234", imsi, subscriber(&k, &opc));
    profile.aiot = Some(AiotProfile {
        k: RootKey::new(k_aiot),
        suite: Suite::AesCmac,
        tag_len: 8,
        device_id: b"device".to_vec(),
    });
    if has_suci {
        let key = PrivateKey::profile_a([7; 32]).public().unwrap();
        profile.suci = Some(SuciProfile {
            routing_indicator: RoutingIndicator::default(),
            keys: vec![(1, key)],
            on_card,
        });
    }
    profile
}

fn subscriber(k: &[u8; 16], opc: &[u8; 16]) -> Subscriber {
    Subscriber::new(Algorithm::Milenage, k, opc).unwrap()
}

/// Commands one after the other; an octet of 255 for a length resets the card.
fn card(input: &mut Input<'_>) {
    let choice = input.u8();
    let mut card =
        Card::new(profile(choice & 1 == 1, choice & 2 == 2)).with_random(|out| out.fill(9));
    let [k, opc, _] = SECRETS;
    let known = subscriber(&k, &opc);
    let secrets = SECRETS.iter().map(|secret| &secret[..]).chain([&ADM1[..]]);
    // A secret that a command brought may be read back: it was no secret to whoever sent it.
    let mut hidden: Vec<&[u8]> = secrets.collect();
    let mut waiting = None;
    while !input.is_empty() {
        let n = input.u8();
        if n == 255 {
            card.reset();
            continue;
        }
        let command = input.take(n.into());
        hidden.retain(|secret| !holds(command, secret));
        let mut answer = card.process(command);
        if Defect::ApduShowsSecret.is_planted() && answer.len() > 20 {
            answer.splice(0..0, k);
        }
        assert!((2..=258).contains(&answer.len()), "{} octets", answer.len());
        let (body, status) = answer.split_at(answer.len() - 2);
        assert!(
            matches!(status[0], 0x61..=0x6F | 0x90..=0x9F),
            "{status:02x?}"
        );
        for secret in &hidden {
            assert!(!holds(body, secret), "a secret in an answer");
        }
        // DB before the answer to AUTHENTICATE, fetched or not: the challenge must have been the home network's.
        let is_fetch = command.get(1) == Some(&0xC0);
        let asked = challenge(command).or(waiting.take().filter(|_| is_fetch));
        if let Some((rand, autn)) = asked
            && (body.first() == Some(&0xDB) || Defect::ApduAcceptsForgery.is_planted())
        {
            assert!(
                known.check_autn(&rand, &autn).is_some(),
                "a forged challenge was accepted"
            );
        }
        waiting = challenge(command);
    }
}

fn holds(octets: &[u8], secret: &[u8]) -> bool {
    octets.windows(secret.len()).any(|window| window == secret)
}

/// RAND and AUTN of an AUTHENTICATE in 3G context.
fn challenge(command: &[u8]) -> Option<([u8; 16], [u8; 16])> {
    match command {
        [_, 0x88, 0x00, 0x81, 34, 16, rest @ ..] => {
            let (rand, rest) = rest.split_first_chunk()?;
            let (autn, _) = rest.strip_prefix(&[16])?.split_first_chunk()?;
            Some((*rand, *autn))
        }
        _ => None,
    }
}

/// A card that answers what the input says, and from some point as an honest one whose answers it damages.
struct Liar<'a> {
    input: Input<'a>,
    honest: Option<InProcess<ambit_uicc::card::VolatileMemory>>,
    commands: u32,
}

impl Transport for Liar<'_> {
    fn transmit(&mut self, apdu: &[u8], response: &mut Vec<u8>) -> Result<(), TransportError> {
        self.commands += 1;
        assert!(
            apdu.len() >= 4 && apdu.len() <= 261,
            "{} octets",
            apdu.len()
        );
        if Defect::ApduNeverEnds.is_planted() {
            self.commands += 1000;
        }
        if self.commands > 4000 {
            return Err(TransportError::Removed);
        }
        if let Some(honest) = &mut self.honest {
            honest.transmit(apdu, response)?;
            *response = self.input.damage(response);
            return Ok(());
        }
        if self.input.is_empty() {
            return Err(TransportError::Removed);
        }
        *response = self.input.short().to_vec();
        Ok(())
    }
}

/// Everything that a device does with its card.
fn terminal(input: &mut Input<'_>) {
    let choice = input.u8();
    let honest = choice & 1 == 1;
    let honest = honest.then(|| {
        InProcess(
            Card::new(profile(choice & 2 == 2, choice & 4 == 4)).with_random(|out| out.fill(9)),
        )
    });
    let liar = Liar {
        input: *input,
        honest,
        commands: 0,
    };
    // How many commands each operation may take: parts of a SELECT path and of an answer, each in at most eight rounds.
    let mut terminal = Terminal::new(liar);
    let _ = terminal.select_usim();
    if let Ok(iccid) = terminal.iccid() {
        assert!(
            iccid.len() <= 20 && iccid.chars().all(|c| c.is_ascii_digit()),
            "{iccid}"
        );
    }
    if let Ok(imsi) = terminal.imsi() {
        let digits = imsi.to_string();
        assert!((6..=15).contains(&digits.len()), "{digits}");
        assert!(digits.chars().all(|c| c.is_ascii_digit()), "{digits}");
    }
    let _ = terminal.administrative_data();
    let _ = terminal.verify_pin1(b"0000\xFF\xFF\xFF\xFF");
    if let Ok(AkaAnswer::Success { res, .. }) = terminal.authenticate(&[1; 16], &[2; 16]) {
        assert!((4..=16).contains(&res.as_slice().len()));
    }
    let _ = terminal.suci();
    let mut terminal = Terminal::new(ended(terminal.into_transport()));
    if let Ok(mut credential) = AiotCredential::open(terminal) {
        assert!(matches!(credential.tag_len(), 4 | 8 | 16));
        let input = schedule::beacon_t_id(&RandN::from_octets([3; 16]));
        let _ = credential.evaluate(&input);
        terminal = Terminal::new(ended(credential.into_terminal().into_transport()));
        if let Ok(mut card) = UsimCard::open(terminal, |out| out.fill(5)) {
            let mut out = [0; 111];
            if let Ok(len) = card.suci(&mut out) {
                // What the device makes itself is a SUCI; what the card makes is the card's.
                assert!(len <= out.len());
                if let Ok(suci) = Suci::parse(&out[..len]) {
                    assert_eq!(Suci::parse(&suci.to_octets()), Ok(suci));
                }
            }
            let _ = card.authenticate(&[1; 16], &[2; 16]);
            ended(card.into_terminal().into_transport());
        }
    }
}

/// Some eight operations of some twenty commands of at most eight rounds.
fn ended(mut liar: Liar<'_>) -> Liar<'_> {
    assert!(liar.commands <= 1300, "{} commands", liar.commands);
    liar.commands = 0;
    liar
}
