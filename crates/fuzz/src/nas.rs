//! NAS: what parses emits again, damaged messages open for nobody, and the slow model says the same of every octet.

use ambit_model::{self as slow, Credentials, Keys, Place};
use ambit_protocol::area::AreaId;
use ambit_protocol::session::{Session, SessionError};
use ambit_protocol::wire::{
    AcceptStatus, AcceptView, AuthenticationRequest, AuthenticationResponseView, Cause, Command,
    InventoryResponse, Item, MessageType, RegistrationRequest, ReportId, ReportView, Response,
    SessionView, emit_sync_failure, peek,
};
use ambit_protocol::{Exchange, Form, KAiotf, RandN, RootKey, Suite, TagLen, WireError, schedule};

use crate::Input;
use crate::defect::Defect;

/// The target. The first octet chooses: octets as they come from a peer, or an exchange of the choices that follow.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() % 4 {
        0 => shapes(input.0),
        1 => texts(input.0),
        2 => exchange(&mut input),
        _ => registration(&mut input),
    }
}

/// Emits into a buffer that is just large enough, and into one that is too small by one octet.
fn emitted(emit: impl Fn(&mut [u8]) -> Result<usize, WireError>, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    assert_eq!(emit(&mut out), Ok(len));
    if let Some(short) = len.checked_sub(1) {
        let mut small = vec![0xA5; short];
        let error = emit(&mut small).unwrap_err();
        assert_eq!(error.name(), "nas_buffer_too_small");
        assert!(small.iter().all(|octet| *octet == 0xA5), "half written");
    }
    if Defect::NasEmitsOther.is_planted() {
        out.push(0);
    }
    out
}

/// A PDU of a peer is at most one message, and all of it is in what was read.
fn shapes(octets: &[u8]) {
    let kind = peek(octets).ok().map(|(kind, _)| kind);
    let is = |expected| {
        assert_eq!(kind, Some(expected));
    };
    if let Ok(view) = ReportView::parse(octets) {
        is(MessageType::Report);
        let id = view.id();
        let head = emitted(|out| id.emit(out), 1 + id.buffer_len());
        let mut fits = 0;
        for len in TagLen::ALL {
            if let Some((ciphertext, tag)) = view.sealed(len) {
                fits += 1;
                assert_eq!([&head, ciphertext, tag.as_slice()].concat(), octets);
            }
        }
        assert!(fits > 0, "a REPORT that no tag length fits");
    }
    for len in TagLen::ALL {
        if let Ok(view) = AcceptView::parse(octets, len) {
            is(MessageType::Accept);
            let again = [&octets[..1], view.ciphertext, view.tag.as_slice()].concat();
            assert_eq!(again, octets);
        }
        if let Ok(view) = SessionView::parse(octets, len) {
            is(MessageType::Session);
            let again = [&view.aad, view.ciphertext, view.tag.as_slice()].concat();
            assert_eq!(again, octets);
            assert_eq!((view.aad[0] & 7 == 1, view.aad[1]), (view.down, view.count));
        }
    }
    if let Ok(message) = InventoryResponse::parse(octets) {
        is(MessageType::InventoryResponse);
        assert_eq!(
            emitted(|out| message.emit(out), message.buffer_len()),
            octets
        );
    }
    if let Ok(message) = RegistrationRequest::parse(octets) {
        is(MessageType::RegistrationRequest);
        assert_eq!(
            emitted(|out| message.emit(out), message.buffer_len()),
            octets
        );
    }
    if let Ok(message) = AuthenticationRequest::parse(octets) {
        is(MessageType::AuthenticationRequest);
        assert_eq!(
            emitted(|out| message.emit(out), message.buffer_len()),
            octets
        );
    }
    match AuthenticationResponseView::parse(octets) {
        Ok(AuthenticationResponseView::SyncFailure { auts }) => {
            assert_eq!(emitted(|out| emit_sync_failure(&auts, out), 15), octets);
        }
        Ok(AuthenticationResponseView::Result(view)) => {
            let fits: Vec<_> = TagLen::ALL
                .map(|len| view.sealed(len))
                .into_iter()
                .flatten()
                .collect();
            assert!(!fits.is_empty());
            for (ciphertext, tag) in fits {
                let again = [&octets[..1], &view.res8, ciphertext, tag.as_slice()].concat();
                assert_eq!(again, octets);
            }
        }
        Err(_) => {}
    }
    if kind.is_none() {
        assert!(
            octets
                .first()
                .is_none_or(|first| first >> 6 != 1 || first >> 3 & 7 == 7)
        );
    }
}

/// Plaintexts: items, commands, responses, P2.
fn texts(octets: &[u8]) {
    if let Ok(item) = Item::parse(octets) {
        assert_eq!(emitted(|out| item.emit(out), item.buffer_len()), octets);
    }
    if let Ok(command) = Command::parse(octets) {
        assert_eq!(emitted(|out| command.emit(out), octets.len()), octets);
        assert_eq!(octets.first(), Some(&command.code()));
    }
    if let Ok(response) = Response::parse(octets) {
        assert_eq!(emitted(|out| response.emit(out), octets.len()), octets);
    }
    let status = AcceptStatus::parse(octets);
    let p2 = emitted(|out| status.emit(out), status.buffer_len());
    assert_eq!(AcceptStatus::parse(&p2), status);
    let mut area = Input(octets);
    if let Ok(area_id) = AreaId::from_octets(area.array()) {
        assert_eq!(area_id.octets()[..], Input(octets).array::<12>());
        assert_eq!(area_id.snid().area(area_id.area_code()), area_id);
    }
}

/// Suite, tag length and K.
fn credentials(input: &mut Input<'_>) -> (Suite, TagLen, Credentials) {
    let suite = input.one_of(&Suite::ALL);
    let len = input.one_of(&TagLen::ALL);
    let credentials = Credentials {
        suite: suite.number(),
        key: input.array(),
        tag_len: len.octets(),
    };
    (suite, len, credentials)
}

/// A report, its ACCEPT and a session, built by both, damaged, and judged by both.
fn exchange(input: &mut Input<'_>) {
    let (suite, len, credentials) = credentials(input);
    let form = input.one_of(&Form::ALL);
    let rand_n = RandN::from_octets(input.array());
    let Ok(area_id) = AreaId::from_octets(
        [
            &[0x00, 0xF1, 0x10, 0xF0, 0, 0, 0, 0, 0][..],
            &input.array::<3>(),
        ]
        .concat()
        .try_into()
        .unwrap(),
    ) else {
        unreachable!("this network has areas")
    };
    let place = Place {
        rand_n: *rand_n.octets(),
        area: *area_id.octets(),
    };
    let nonce: [u8; 8] = input.array();
    let (item_octet, data) = (input.u8(), input.short());
    let data = &data[..data.len().min(90)];
    let key = RootKey::new(credentials.key);
    let evaluate = |x: &schedule::Input| key.evaluate(suite, x);
    let [n0, n1, n2, n3, ..] = nonce;
    let (short, counter) = ([n0, n1, n2, n3], u32::from_be_bytes([n0, n1, n2, n3]));
    let t_id = || schedule::cut(&evaluate(&schedule::counter_t_id(counter)));
    let (id, k_aiotf, slow_nonce) = match form {
        Form::Beacon => (
            ReportId::Beacon {
                t_id: schedule::cut(&evaluate(&schedule::beacon_t_id(&rand_n))),
                rand_d: short,
            },
            evaluate(&schedule::beacon_k_aiotf(&rand_n, &area_id, &short)),
            &nonce[..4],
        ),
        Form::Concealed => (
            ReportId::Concealed {
                cid: schedule::cut(&evaluate(&schedule::concealed_id(&rand_n, &nonce))),
                rand_d: nonce,
            },
            evaluate(&schedule::concealed_k_aiotf(&rand_n, &area_id, &nonce)),
            &nonce[..],
        ),
        Form::Counter => (
            ReportId::Counter { t_id: t_id() },
            evaluate(&schedule::counter_k_aiotf(&rand_n, &area_id, counter)),
            &nonce[..4],
        ),
        Form::Recovery => (
            ReportId::Recovery {
                counter,
                t_id: t_id(),
            },
            evaluate(&schedule::counter_k_aiotf(&rand_n, &area_id, counter)),
            &nonce[..4],
        ),
        _ => (
            ReportId::Blind { t_id: t_id() },
            evaluate(&schedule::blind_k_aiotf(counter)),
            &nonce[..4],
        ),
    };
    let k_aiotf = KAiotf::new(k_aiotf);
    let item = Item {
        cause: Cause::from_number(item_octet >> 4),
        seq: item_octet & 15,
        data,
    };
    let mut out = [0; 256];
    let (mine, octets_len) =
        Exchange::seal_report(suite, &k_aiotf, &id, &item, len, &mut out).unwrap();
    let mut report = out[..octets_len].to_vec();
    if Defect::NasSealsOther.is_planted() {
        report[1] ^= 1;
    }
    let text = [&[item_octet], data].concat();
    let (slow_report, slow_exchange) =
        slow::report(&credentials, form.number(), &place, slow_nonce, &text);
    assert_eq!(report, slow_report, "the report");
    assert_eq!(mine.tag1().as_slice(), slow_exchange.tag1);

    let damaged = input.damage(&report);
    let fast = open_report(suite, &k_aiotf, &id, len, &damaged).or_else(|| {
        Defect::NasOpensForgery
            .is_planted()
            .then(|| vec![item_octet])
    });
    let slow = slow::read_report(&credentials, &place, slow_nonce, &damaged);
    // Another device's identifier or another nonce is the network's to see: both are compared there.
    assert_eq!(fast, slow.map(|(text, _)| text), "the verdict on a report");
    if len != TagLen::T4 && damaged != report {
        assert_eq!(fast, None, "a damaged report was opened");
    }
    accept(input, &credentials, &mine, &slow_exchange);
    let session = Session::new(suite, &k_aiotf, len);
    self::session(input, session, &slow_exchange.keys, len.octets());
}

fn open_report(
    suite: Suite,
    k_aiotf: &KAiotf,
    id: &ReportId,
    len: TagLen,
    octets: &[u8],
) -> Option<Vec<u8>> {
    let view = ReportView::parse(octets)
        .ok()
        .filter(|view| view.id() == id)?;
    let (_, plain) = Exchange::open_report(suite, k_aiotf, &view, len).ok()?;
    Some(plain.octets().to_vec())
}

fn accept(
    input: &mut Input<'_>,
    credentials: &Credentials,
    mine: &Exchange,
    slow_exchange: &slow::Exchange,
) {
    let p2 = input.short();
    let mut out = [0; 256];
    let Ok(octets_len) = mine.seal_accept(p2, &mut out) else {
        assert!(p2.len() > 32);
        return;
    };
    let accept = out[..octets_len].to_vec();
    assert_eq!(accept, slow::accept(slow_exchange, p2), "the ACCEPT");
    let damaged = input.damage(&accept);
    let fast = mine.open_accept(&damaged).ok();
    let slow = slow::read_accept(slow_exchange, &damaged);
    assert_eq!(
        fast,
        slow.map(|p2| AcceptStatus::parse(&p2)),
        "the verdict on an ACCEPT"
    );
    if credentials.tag_len > 4 {
        assert_eq!(fast.is_some(), damaged == accept);
    }
}

/// Messages both ways, some damaged, some again: the same verdicts, the same COUNTs.
fn session(input: &mut Input<'_>, mut near: Session, keys: &Keys, tag_len: usize) {
    // One end for both directions: what it seals, the model opens, and the reverse.
    let (mut sealed_up, mut next_down) = (0_u16, 0_u16);
    for _ in 0..8 {
        if input.is_empty() {
            return;
        }
        let mut out = [0; 256];
        if input.u8().is_multiple_of(2) {
            let text = input.short();
            let Ok(octets_len) = near.seal_up(text, &mut out) else {
                assert!(text.is_empty() || text.len() > 107);
                continue;
            };
            let count = sealed_up as u8;
            let expected = slow::session(keys, tag_len, false, count, text);
            assert_eq!(out[..octets_len], expected, "a SESSION up");
            sealed_up += 1;
            let damaged = input.damage(&expected);
            let opened = slow::read_session(keys, tag_len, false, count.into(), &damaged);
            assert!(tag_len == 4 || opened.is_some() == (damaged == expected));
        } else {
            let (count, text) = (input.u8(), input.short());
            let text = &text[..text.len().min(107)];
            let genuine = slow::session(keys, tag_len, true, count, text);
            let damaged = input.damage(&genuine);
            let slow = slow::read_session(keys, tag_len, true, next_down, &damaged);
            let fast = near.open_down(&damaged);
            let fast_text = fast.as_ref().ok().map(|text| text.octets().to_vec());
            assert_eq!(
                fast_text,
                slow.as_ref().map(|(_, text)| text.clone()),
                "the verdict on a SESSION"
            );
            if let Some((count, _)) = slow {
                next_down = u16::from(count) + 1;
            }
            if Defect::NasSessionForgets.is_planted() {
                next_down = 0;
            }
            if let Err(SessionError::CountReplayed { next, .. }) = fast {
                assert_eq!(next, next_down);
            }
        }
    }
}

/// Section 7: what comes of CK, IK and RES, and the sealed response.
fn registration(input: &mut Input<'_>) {
    let (suite, len, credentials) = credentials(input);
    let Ok(area_id) = AreaId::from_octets(input.array()) else {
        return;
    };
    let snid = area_id.snid();
    let name = snid.sn_name().to_string();
    let aka = slow::Aka {
        name: &name,
        rand_d: input.array(),
        ck_ik: input.array(),
    };
    let n_r: [u8; 16] = input.array();
    let rand = ambit_protocol::aka::rand(&n_r, &aka.rand_d, &snid);
    assert_eq!(rand, aka.rand(&n_r), "RAND");
    let res = input.array::<16>();
    let res = &res[..usize::from(input.u8() % 13) + 4];
    let res_star = ambit_protocol::aka::res_star(&aka.ck_ik, &snid, &rand, res);
    let res8 = ambit_protocol::aka::res8(&res_star);
    assert_eq!(res8, aka.res8(&rand, res), "RES8");
    let sqn_xor_ak = input.array();
    let k_aiot = ambit_protocol::aka::k_aiot(&aka.ck_ik, &snid, &aka.rand_d, &sqn_xor_ak);
    assert_eq!(*k_aiot.expose(), aka.k_aiot(&sqn_xor_ak), "K_AIOT");
    let k_aiotf = ambit_protocol::aka::k_aiotf(suite, &k_aiot, &rand, &aka.rand_d);
    let slow_k_aiotf = aka.k_aiotf(suite.number(), k_aiot.expose(), &rand);
    let (item_octet, data) = (input.u8(), input.short());
    let item = Item {
        cause: Cause::from_number(item_octet >> 4),
        seq: item_octet & 15,
        data: &data[..data.len().min(90)],
    };
    let mut out = [0; 256];
    let (mine, octets_len) =
        Exchange::seal_registration(suite, &k_aiotf, &res8, &item, len, &mut out).unwrap();
    let text = [&[item_octet], item.data].concat();
    let (expected, slow_exchange) =
        slow::authentication_response(&credentials, &slow_k_aiotf, &res8, &text);
    assert_eq!(out[..octets_len], expected, "the AUTHENTICATION RESPONSE");
    let damaged = input.damage(&expected);
    let fast = match AuthenticationResponseView::parse(&damaged) {
        Ok(AuthenticationResponseView::Result(view)) => {
            let opened = Exchange::open_registration(suite, &k_aiotf, &view, len);
            opened.ok().map(|(_, plain)| plain.octets().to_vec())
        }
        _ => None,
    };
    let slow = slow::read_authentication_response(&credentials, &slow_k_aiotf, &damaged);
    let slow = slow.map(|(text, _)| text);
    assert_eq!(fast, slow, "the verdict on an AUTHENTICATION RESPONSE");
    accept(input, &credentials, &mine, &slow_exchange);
}
