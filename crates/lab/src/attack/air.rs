//! Attacks on the air, in any arena: T01 to T08 and T10.

use ambit_protocol::Form;
use ambit_protocol::wire::ReportView;

use super::arena::{Actor, Recorder};
use super::{AttackError, Run};

type Result<T> = std::result::Result<T, AttackError>;

/// Made-up reports of each form, and such that carry a T-ID that was just on the air.
pub(super) fn t01(scene: &mut Recorder<'_>, rng: &mut fastrand::Rng) -> Result<Run> {
    scene.exchange(0, 1)?;
    let beacon = scene.arena().beacon(1);
    let heard = scene.speak(0, &beacon)?;
    let before = scene.arena().books()?;
    let (mut sent, mut answered) = (0u32, 0u32);
    for n in 0..10_000u32 {
        let mut octets = vec![0; 32];
        rng.fill(&mut octets);
        if n % 2 == 0 {
            // A name that is somebody's; everything after it is made up.
            let named = heard.get(..9).unwrap_or_default();
            for (to, from) in octets.iter_mut().zip(named) {
                *to = *from;
            }
        } else if let Some(header) = octets.first_mut() {
            *header = 0b0100_0000 | rng.u8(0..5);
        }
        sent += 1;
        scene.quiet(n >= 4);
        let answer = scene.send(1, &octets, "REPORT, made up")?;
        answered += u32::from(answer.is_some());
    }
    let after = scene.arena().books()?;
    let records = after.records - before.records;
    let alarms = after.alarms - before.alarms;
    Ok(Run::new(
        answered == 0 && records == 0 && alarms < 20,
        &[
            ("reports sent", sent.into()),
            ("answered", answered.into()),
            ("records", records as f64),
            ("alarms", alarms as f64),
        ],
    ))
}

/// The same report a thousand times more.
pub(super) fn t02(scene: &mut Recorder<'_>, _: &mut fastrand::Rng) -> Result<Run> {
    scene.exchange(0, 1)?;
    let (report, accept) = scene.exchange(0, 1)?;
    let before = scene.arena().books()?;
    let mut other = 0u32;
    for n in 0..1_000 {
        scene.quiet(n >= 4);
        let answer = scene.send(1, &report, "the same REPORT again")?;
        other += u32::from(answer.as_ref() != Some(&accept));
    }
    let after = scene.arena().books()?;
    let events = after.events - before.events;
    Ok(Run::new(
        other == 0 && events == 0,
        &[
            ("replays", 1_000.0),
            ("answers other than the first ACCEPT", other.into()),
            ("events more", events as f64),
        ],
    ))
}

/// Recorded reports, in three later epochs, after a restart, and after the store was put back to before they came.
pub(super) fn t03(scene: &mut Recorder<'_>, _: &mut fastrand::Rng) -> Result<Run> {
    scene.exchange(0, 1)?;
    scene.arena().backup()?;
    scene.arena().next_epoch()?;
    let mut recorded = Vec::new();
    for device in [0, 0, 1] {
        recorded.push(scene.exchange(device, 1)?.0);
    }
    let (mut sent, mut answered) = (0u32, 0u32);
    let mut replay = |scene: &mut Recorder<'_>, text| -> Result<()> {
        for report in &recorded {
            sent += 1;
            answered += u32::from(scene.send(1, report, text)?.is_some());
        }
        Ok(())
    };
    scene.arena().next_epoch()?;
    replay(scene, "REPORT of an epoch before")?;
    scene.note(Actor::Network, Actor::Network, "the store is put back");
    scene.arena().restart()?;
    replay(scene, "REPORT that the copy does not know")?;
    scene.arena().next_epoch()?;
    scene.arena().restart()?;
    replay(scene, "REPORT, after a restart")?;
    Ok(Run::new(
        answered == 0,
        &[("replays", sent.into()), ("answered", answered.into())],
    ))
}

/// The next epoch's RAND_n by guesses: the element of now under the next number, zeros, and at random.
pub(super) fn t04(scene: &mut Recorder<'_>, rng: &mut fastrand::Rng) -> Result<Run> {
    scene.exchange(0, 1)?;
    let now = scene.arena().beacon(1);
    let next = now.rand_n.epoch() + 1;
    let mut elements = vec![now.rand_n.element(), [0; 12]];
    for _ in 0..100 {
        let mut element = [0; 12];
        rng.fill(&mut element);
        elements.push(element);
    }
    let mut collected = Vec::new();
    for element in elements {
        scene.quiet(collected.len() >= 2);
        let mut guessed = now;
        guessed.rand_n = ambit_protocol::RandN::new(next, element);
        scene.note(
            Actor::Adversary,
            Actor::Device,
            "RAND_n of the next epoch, guessed",
        );
        collected.push(scene.speak(0, &guessed)?);
    }
    scene.quiet(false);
    scene.note(Actor::Network, Actor::Network, "the next epoch");
    scene.arena().next_epoch()?;
    let mut answered = 0u32;
    for report in &collected {
        let answer = scene.send(1, report, "REPORT collected before")?;
        answered += u32::from(answer.is_some());
    }
    Ok(Run::new(
        answered == 0,
        &[
            ("guesses", collected.len() as f64),
            ("accepted", answered.into()),
        ],
    ))
}

/// Reports of both forms by a reader of another area, in the same epoch.
pub(super) fn t05(scene: &mut Recorder<'_>, _: &mut fastrand::Rng) -> Result<Run> {
    let (mut sent, mut answered) = (0u32, 0u32);
    for _ in 0..4 {
        let beacon = scene.arena().beacon(1);
        let report = scene.speak(0, &beacon)?;
        for reader in [2, 3] {
            sent += 1;
            let answer = scene.send(reader, &report, "REPORT, by a reader elsewhere")?;
            answered += u32::from(answer.is_some());
        }
        // By its own reader it is good, so that the next one is another.
        let accept = scene.send(1, &report, "REPORT, by its own reader")?;
        let accept =
            accept.ok_or_else(|| AttackError::Scene("an honest report is refused".into()))?;
        scene.arena().answer(0, &accept);
    }
    Ok(Run::new(
        answered == 0,
        &[("carried", sent.into()), ("accepted", answered.into())],
    ))
}

/// Every bit, every length of both messages, in both forms.
pub(super) fn t06(scene: &mut Recorder<'_>, _: &mut fastrand::Rng) -> Result<Run> {
    let (mut tried, mut accepted, mut believed) = (0u32, 0u32, 0u32);
    for _ in 0..2 {
        let beacon = scene.arena().beacon(1);
        let report = scene.speak(0, &beacon)?;
        for (n, changed) in damaged(&report).into_iter().enumerate() {
            scene.quiet(n >= 2);
            tried += 1;
            let answer = scene.send(1, &changed, "REPORT, changed")?;
            accepted += u32::from(answer.is_some());
        }
        scene.quiet(false);
        let accept = scene.send(1, &report, "REPORT as it was")?;
        let accept =
            accept.ok_or_else(|| AttackError::Scene("an honest report is refused".into()))?;
        for (n, changed) in damaged(&accept).into_iter().enumerate() {
            scene.quiet(n >= 2);
            tried += 1;
            believed += u32::from(scene.give(0, &changed, "ACCEPT, changed"));
        }
        scene.quiet(false);
        if !scene.give(0, &accept, "ACCEPT as it was") {
            return Err(AttackError::Scene("an honest ACCEPT is refused".into()));
        }
    }
    Ok(Run::new(
        accepted == 0 && believed == 0,
        &[
            ("changed messages", tried.into()),
            ("reports accepted", accepted.into()),
            ("ACCEPTs believed", believed.into()),
        ],
    ))
}

/// Octets with each bit flipped, cut to every length, and longer by up to 16 octets.
fn damaged(octets: &[u8]) -> Vec<Vec<u8>> {
    let flip = |bit: usize| {
        let mut changed = octets.to_vec();
        if let Some(octet) = changed.get_mut(bit / 8) {
            *octet ^= 1 << (bit % 8);
        }
        changed
    };
    let cut = (0..octets.len()).filter_map(|len| octets.get(..len).map(<[u8]>::to_vec));
    let extended = (1..=16).map(|more| [octets, &vec![0; more]].concat());
    let flipped = (0..octets.len() * 8).map(flip);
    flipped.chain(cut).chain(extended).collect()
}

/// Two epochs of a device's life recorded; then a false reader repeats each beacon, and invents more, over two power cycles.
pub(super) fn t07(scene: &mut Recorder<'_>, rng: &mut fastrand::Rng) -> Result<Run> {
    let mut recorded = Vec::new();
    for _ in 0..2 {
        recorded.push(scene.arena().beacon(1));
        scene.exchange(0, 1)?;
        scene.exchange(0, 1)?;
        scene.arena().next_epoch()?;
    }
    scene.exchange(0, 1)?;
    let mut heard: Vec<Vec<u8>> = Vec::new();
    let (mut answers, mut in_beacon_form, mut linked, mut sightings) = (0u32, 0u32, 0u32, 0u64);
    for _ in 0..2 {
        for n in 0..40usize {
            let mut beacon = recorded
                .get(n % 2)
                .copied()
                .unwrap_or(scene.arena().beacon(1));
            if n % 4 == 3 {
                let mut element = [0; 12];
                rng.fill(&mut element);
                let epoch = scene.arena().beacon(1).rand_n.epoch() + rng.u32(0..3);
                beacon.rand_n = ambit_protocol::RandN::new(epoch, element);
            }
            scene.note(
                Actor::Adversary,
                Actor::Device,
                "a beacon, repeated or invented",
            );
            let report = scene.speak(0, &beacon)?;
            answers += 1;
            let view = ReportView::parse(&report);
            let form = view.map(|view| view.id().form()).ok();
            in_beacon_form += u32::from(form == Some(Form::Beacon));
            // The identical report again is one report.
            if !heard.contains(&report) {
                let has_its_name = |known: &Vec<u8>| known.get(1..5) == report.get(1..5);
                linked += u32::from(heard.iter().any(has_its_name));
                heard.push(report);
            }
        }
        sightings += scene.arena().sightings(0);
        scene.arena().power_cycle(0)?;
    }
    Ok(Run::new(
        in_beacon_form == 0 && linked == 0 && sightings > 0,
        &[
            ("answers", answers.into()),
            ("in the beacon form", in_beacon_form.into()),
            ("linked by their name", linked.into()),
            ("sightings counted", sightings as f64),
        ],
    ))
}

/// ACCEPTs that were true once, for another report or another device, reflections, and made-up ones.
pub(super) fn t08(scene: &mut Recorder<'_>, rng: &mut fastrand::Rng) -> Result<Run> {
    let (report, own) = scene.exchange(0, 1)?;
    let (_, again) = scene.exchange(0, 1)?;
    let (_, others) = scene.exchange(1, 1)?;
    let beacon = scene.arena().beacon(1);
    let waiting = scene.speak(0, &beacon)?;
    let reflected = |octets: &[u8]| {
        let tag = octets.len().saturating_sub(8);
        [&[0b0100_1000][..], octets.get(tag..).unwrap_or_default()].concat()
    };
    let mut false_ones = vec![
        (own, "ACCEPT of the first report"),
        (again, "ACCEPT of the report before"),
        (others, "ACCEPT of another device"),
        (reflected(&waiting), "its own TAG1 as an ACCEPT"),
        (reflected(&report), "an old TAG1 as an ACCEPT"),
        (waiting.clone(), "its own REPORT"),
    ];
    for _ in 0..1_000 {
        let mut octets = vec![0b0100_1000; 9];
        rng.fill(octets.get_mut(1..).unwrap_or_default());
        false_ones.push((octets, "ACCEPT, made up"));
    }
    let mut believed = 0u32;
    let tried = false_ones.len();
    for (n, (octets, text)) in false_ones.into_iter().enumerate() {
        scene.quiet(n >= 7);
        believed += u32::from(scene.give(0, &octets, text));
    }
    scene.quiet(false);
    // The true one is still believed: nothing of the false ones has left a trace.
    let answer = scene.send(1, &waiting, "REPORT as it was")?;
    let is_unharmed =
        believed > 0 || answer.is_some_and(|accept| scene.give(0, &accept, "its ACCEPT"));
    Ok(Run::new(
        believed == 0 && is_unharmed,
        &[
            ("false ACCEPTs", tried as f64),
            ("believed", believed.into()),
        ],
    ))
}

/// 10 000 reports unheard, then 10 000 whose ACCEPTs are; after each, one exchange has to do.
pub(super) fn t10(scene: &mut Recorder<'_>, _: &mut fastrand::Rng) -> Result<Run> {
    scene.exchange(0, 1)?;
    let mut back = 0u32;
    for jammed_down in [false, true] {
        for n in 0..10_000 {
            scene.quiet(n >= 2);
            let beacon = scene.arena().beacon(1);
            let report = scene.speak(0, &beacon)?;
            match jammed_down {
                true => drop(scene.arena().hear(1, &report)?),
                false => scene.note(Actor::Adversary, Actor::Device, "jammed"),
            }
        }
        scene.quiet(false);
        let beacon = scene.arena().beacon(1);
        let report = scene.speak(0, &beacon)?;
        let accept = scene.send(1, &report, "the first REPORT that is heard")?;
        back += u32::from(accept.is_some_and(|accept| scene.give(0, &accept, "its ACCEPT")));
    }
    Ok(Run::new(
        back == 2,
        &[
            ("attempts jammed", 20_000.0),
            ("back within one exchange, of 2", back.into()),
        ],
    ))
}
