//! AUTHENTICATE (TS 31.102 clause 7.1), GET IDENTITY (clause 7.5), and evaluation in the AIoT application.

use ambit_protocol::schedule::Label;
use zeroize::Zeroizing;

use super::apdu::{Command, Status};
use super::files::{Access, tlv};
use super::memory::{CardMemory, Slot};
use super::pins::KeyReference;
use super::{Answer, Card};
use crate::suci::{self, Protection};

/// P2 of AUTHENTICATE in the AIoT application: specific reference data, context 10 (ours).
pub const CONTEXT_AIOT: u8 = 0x90;
const CONTEXT_3G: u8 = 0x81;
const CONTEXT_GSM: u8 = 0x80;

/// GET IDENTITY context: SUCI.
const IDENTITY_SUCI: u8 = 0x01;

/// The labels that the card evaluates, with the length of `x` (sections 5, 6 and 8 of the protocol text). A fixed length per
/// label keeps a caller from asking for one value under the name of another.
const EVALUATED: [(Label, usize); 9] = [
    (Label::BEACON_T_ID, 16),
    (Label::BEACON_K_AIOTF, 32),
    (Label::COUNTER_T_ID, 4),
    (Label::COUNTER_K_AIOTF, 32),
    (Label::CONCEALED_ID, 24),
    (Label::CONCEALED_K_AIOTF, 36),
    (Label::DT_RES, 32),
    (Label::DT_K_AIOTF, 32),
    (Label::DT_PAGING_T_ID, 16),
];

impl<M: CardMemory> Card<M> {
    /// AUTHENTICATE, in whichever application is active on the channel.
    pub(super) fn authenticate(&mut self, command: &Command<'_>, number: usize) -> Answer {
        let application = self
            .channel(number)?
            .application
            .ok_or(Status::CONDITIONS_NOT_SATISFIED)?;
        if command.p1 != 0 {
            return Err(Status::INCORRECT_PARAMETERS);
        }
        self.allow(Access::Key(KeyReference::Pin1))?;
        match command.p2 {
            CONTEXT_3G if application == self.usim => self.authenticate_3g(command.data),
            CONTEXT_GSM if application == self.usim => Err(Status::SECURITY_CONTEXT_NOT_SUPPORTED),
            CONTEXT_AIOT if Some(application) == self.aiot => self.evaluate(command.data),
            _ => Err(Status::INCORRECT_PARAMETERS),
        }
    }

    /// 3G context, which 5G AKA uses too: 10 RAND 10 AUTN gives DB RES CK IK, or DC AUTS.
    fn authenticate_3g(&mut self, data: &[u8]) -> Answer {
        let (rand, autn) = challenge(data).ok_or(Status::WRONG_LENGTH)?;
        let subscriber = &self.profile.subscriber;
        let (vector, sqn, _) = subscriber
            .check_autn(rand, autn)
            .ok_or(Status::AUTHENTICATION_MAC)?;
        let mut response = Zeroizing::new(Vec::with_capacity(64));
        let Some(accepted) = self.sqn.accept(&sqn) else {
            tlv(
                &mut response,
                0xDC,
                &subscriber.auts(rand, &self.sqn.sqn_ms()),
            );
            return Ok(response);
        };
        let stored = self.memory.store(Slot::Sqn, &accepted.record());
        stored.map_err(|_| Status::MEMORY_PROBLEM)?;
        self.sqn = accepted;
        // DB, then each part behind its length.
        response.push(0xDB);
        for part in [vector.res.as_slice(), &vector.ck, &vector.ik] {
            response.push(u8::try_from(part.len()).unwrap_or(0));
            response.extend_from_slice(part);
        }
        Ok(response)
    }

    /// label ‖ x gives PRF(K, label, x), 16 octets.
    fn evaluate(&self, data: &[u8]) -> Answer {
        let aiot = self
            .profile
            .aiot
            .as_ref()
            .ok_or(Status::CONDITIONS_NOT_SATISFIED)?;
        let (label, x) = data.split_first().ok_or(Status::WRONG_LENGTH)?;
        let (label, x_len) = EVALUATED
            .into_iter()
            .find(|(known, _)| known.0 == *label)
            .ok_or(Status::INCORRECT_DATA)?;
        if x.len() != x_len {
            return Err(Status::WRONG_LENGTH);
        }
        let prf = aiot.k.prf_key(aiot.suite).prf(label, &[x]);
        Ok(Zeroizing::new(prf.to_vec()))
    }

    /// GET IDENTITY: the SUCI of this card, in a data object A1.
    pub(super) fn get_identity(&mut self, command: &Command<'_>, number: usize) -> Answer {
        let application = self.channel(number)?.application;
        if application != Some(self.usim) {
            return Err(Status::CONDITIONS_NOT_SATISFIED);
        }
        if command.p1 != 0 || command.p2 != IDENTITY_SUCI {
            return Err(Status::INCORRECT_PARAMETERS);
        }
        self.allow(Access::Key(KeyReference::Pin1))?;
        let profile = self.profile.suci.as_ref().filter(|suci| suci.on_card);
        let profile = profile.ok_or(Status::FUNCTION_NOT_SUPPORTED)?;
        let protection = profile
            .keys
            .first()
            .map_or(Protection::Null, |(key_id, key)| Protection::Profile {
                key_id: *key_id,
                key: key.clone(),
            });
        let random = self
            .random
            .as_mut()
            .ok_or(Status::CONDITIONS_NOT_SATISFIED)?;
        let identity = suci::conceal(
            &self.profile.imsi,
            profile.routing_indicator,
            &protection,
            random,
        )
        .map_err(|_| Status::CONDITIONS_NOT_SATISFIED)?;
        let mut response = Zeroizing::new(Vec::new());
        tlv(&mut response, 0xA1, &identity);
        Ok(response)
    }
}

/// Length-prefixed RAND and AUTN.
fn challenge(data: &[u8]) -> Option<(&[u8; 16], &[u8; 16])> {
    let ([16], rest) = data.split_first_chunk::<1>()? else {
        return None;
    };
    let (rand, rest) = rest.split_first_chunk::<16>()?;
    let ([16], rest) = rest.split_first_chunk::<1>()? else {
        return None;
    };
    Some((rand, rest.try_into().ok()?))
}
