//! The tracking game (T11), measured. An observer has a report of device A and, from the next epoch, one of either A or B, each
//! with a power cycle between, both saying the same; it guesses which. Several distinguishers see all octets; each chooses its
//! threshold on the first half of the rounds and is judged on the second.
//!
//! Advantage is twice the share of right guesses less one: 0 for guessing, 1 for certainty.

use ambit_device::DeviceForm;

use super::arena::{Actor, Arena, Recorder};
use super::real::Real;
use super::reference::{Flaw, Reference};
use super::{AttackError, Figure, Pair, Run};

/// What a distinguisher achieved.
#[derive(Clone, Copy, Debug)]
pub struct Advantage {
    /// The distinguisher.
    pub name: &'static str,
    /// Its advantage.
    pub value: f64,
    /// Half the width of its 95 % confidence interval.
    pub half_width: f64,
}

impl Advantage {
    /// Whether it is beyond what chance gives in one run of a hundred thousand.
    pub fn is_significant(&self) -> bool {
        self.value.abs() > 4.42 / 1.96 * self.half_width
    }
}

/// A number that two reports give; the distinguisher holds it against a threshold.
type Score = fn(&[u8], &[u8]) -> usize;

const DISTINGUISHERS: [(&str, Score); 5] = [
    ("equal octets of the name", |a, b| equal_octets(a, b, 1..5)),
    ("equal octets anywhere", |a, b| equal_octets(a, b, 0..125)),
    ("equal bits", |a, b| {
        let equal = a.iter().zip(b).map(|(a, b)| (a ^ b).count_zeros() as usize);
        equal.sum()
    }),
    ("longest run of octets in both", longest_common),
    ("difference of the first four octets as a number", |a, b| {
        let number = |octets: &[u8]| {
            let name = octets.get(1..5).and_then(|name| name.try_into().ok());
            u32::from_be_bytes(name.unwrap_or_default())
        };
        number(a)
            .abs_diff(number(b))
            .checked_ilog2()
            .map_or(0, |log| log as usize + 1)
    }),
];

fn equal_octets(a: &[u8], b: &[u8], range: std::ops::Range<usize>) -> usize {
    let pairs = a.iter().zip(b).take(range.end).skip(range.start);
    pairs.filter(|(a, b)| a == b).count()
}

/// The longest stretch of `a` behind its header that stands in `b`, whether at the same place or not.
fn longest_common(a: &[u8], b: &[u8]) -> usize {
    let mut longest = 0;
    let a = a.get(1..).unwrap_or_default();
    for start in 0..a.len() {
        let found = |len: usize| {
            let part = a.get(start..start + len);
            part.is_some_and(|part| b.windows(len).any(|window| window == part))
        };
        while found(longest + 1) {
            longest += 1;
        }
    }
    longest
}

/// Plays the game with devices 0 and 1 of an arena. Whether reports are answered, and how many more device 1 has made before,
/// is the game's to say.
///
/// # Errors
/// The scene cannot be built.
pub fn play(
    arena: &mut dyn Arena,
    reports: usize,
    answered: bool,
    ahead: usize,
    seed: u64,
) -> Result<Vec<Advantage>, AttackError> {
    for _ in 0..ahead {
        // A power cycle each, so that every report is a new one.
        arena.power_cycle(1)?;
        let beacon = arena.beacon(1);
        arena.speak(1, &beacon);
    }
    let mut rng = fastrand::Rng::with_seed(!seed);
    let epochs = reports / 2;
    let mut heard: Vec<[Vec<u8>; 2]> = Vec::with_capacity(epochs);
    let no_report = || AttackError::Scene("a device has nothing to send".into());
    for _ in 0..epochs {
        arena.next_epoch()?;
        let mut of_epoch = [Vec::new(), Vec::new()];
        for (device, slot) in of_epoch.iter_mut().enumerate() {
            arena.power_cycle(device)?;
            let beacon = arena.beacon(1);
            *slot = arena.speak(device, &beacon).ok_or_else(no_report)?;
            if answered && let Some(accept) = arena.hear(1, slot)? {
                arena.answer(device, &accept);
            }
        }
        heard.push(of_epoch);
    }
    // The first reports, before there was an anchor, are in another form.
    let rounds: Vec<(bool, [usize; DISTINGUISHERS.len()])> = heard
        .windows(2)
        .skip(16)
        .filter_map(|pair| {
            let [before, after] = pair else { return None };
            let is_same = rng.bool();
            let [a, b] = after;
            let challenge = if is_same { a } else { b };
            let [first, _] = before;
            Some((
                is_same,
                DISTINGUISHERS.map(|(_, score)| score(first, challenge)),
            ))
        })
        .collect();
    let (learn, judge) = rounds.split_at(rounds.len() / 2);
    let advantages = DISTINGUISHERS.iter().enumerate().map(|(at, (name, _))| {
        let score = |round: &(bool, [usize; DISTINGUISHERS.len()])| {
            (round.0, round.1.get(at).copied().unwrap_or_default())
        };
        let (threshold, above_is_same) = best_threshold(learn.iter().map(score));
        let right = judge
            .iter()
            .map(score)
            .filter(|(is_same, score)| ((*score >= threshold) == above_is_same) == *is_same);
        let n = judge.len().max(1) as f64;
        Advantage {
            name,
            value: 2.0 * right.count() as f64 / n - 1.0,
            half_width: 1.96 / n.sqrt(),
        }
    });
    Ok(advantages.collect())
}

/// The threshold that is right most often, and what lies at or above it.
fn best_threshold(rounds: impl Iterator<Item = (bool, usize)>) -> (usize, bool) {
    let mut same = vec![0i64; 1025];
    for (is_same, score) in rounds {
        if let Some(count) = same.get_mut(score.min(1024)) {
            *count += if is_same { 1 } else { -1 };
        }
    }
    // Moving the threshold up past a score takes its rounds to the other side.
    let mut above: i64 = same.iter().sum();
    let mut best = (above.abs(), 0, above >= 0);
    for (score, count) in same.iter().enumerate() {
        above -= 2 * count;
        if above.abs() > best.0 {
            best = (above.abs(), score + 1, above >= 0);
        }
    }
    (best.1, best.2)
}

fn strongest(advantages: &[Advantage]) -> Advantage {
    let by_value = |a: &&Advantage, b: &&Advantage| a.value.abs().total_cmp(&b.value.abs());
    let nobody = Advantage {
        name: "",
        value: 0.0,
        half_width: 1.0,
    };
    advantages
        .iter()
        .max_by(by_value)
        .copied()
        .unwrap_or(nobody)
}

/// Reports of the beacon form that the game is played on.
pub const REPORTS: usize = 100_000;

const REPORTS_OTHER: usize = 20_000;

/// The game on each form of the product's devices, and on a reference whose T-ID is the same for ever.
pub(super) fn t11(seed: u64) -> Result<Pair, AttackError> {
    let game = |form, reports, answered, ahead| -> Result<Vec<Advantage>, AttackError> {
        // Far more epochs than the game takes, and the power cycles of a device that is not answered.
        let mut real = Real::configured(seed, &[form; 2], &|config| {
            config.chain_epochs = 1 << 17;
            // Short ones: only their number matters.
            (config.period_s, config.grace_s) = (4, 1);
        })?;
        play(&mut real, reports, answered, ahead, seed)
    };
    let beacon = game(DeviceForm::Beacon, REPORTS, true, 0)?;
    let concealed = game(DeviceForm::Concealed, REPORTS_OTHER, true, 0)?;
    let counter = game(DeviceForm::Counter, REPORTS_OTHER, true, 0)?;
    let recovery = strongest(&game(DeviceForm::Counter, REPORTS_OTHER / 4, false, 1_000)?);
    let games = [
        (
            "beacon: strongest advantage",
            "beacon: half of its 95 % interval",
            &beacon,
        ),
        (
            "concealed: strongest advantage",
            "concealed: half of its 95 % interval",
            &concealed,
        ),
        (
            "counter: strongest advantage",
            "counter: half of its 95 % interval",
            &counter,
        ),
    ];
    let mut figures = vec![Figure {
        name: "reports of the beacon form",
        value: REPORTS as f64,
    }];
    for (name, interval, game) in &games {
        let strongest = strongest(game);
        figures.extend([
            Figure {
                name,
                value: rounded(strongest.value),
            },
            Figure {
                name: interval,
                value: rounded(strongest.half_width),
            },
        ]);
    }
    // Known, and by design: recovery shows its counter.
    figures.push(Figure {
        name: "recovery (counter in clear): advantage",
        value: rounded(recovery.value),
    });
    let stopped = games
        .iter()
        .all(|(_, _, game)| !game.iter().any(Advantage::is_significant));
    let mut broken = Reference::new(seed, &[DeviceForm::Beacon; 2], Some(Flaw::FixedTId))?;
    let broken = strongest(&play(&mut broken, 10_000, true, 0, seed)?);
    let mut control = Run::new(
        !broken.is_significant(),
        &[
            ("reports", 10_000.0),
            ("strongest advantage", rounded(broken.value)),
            ("half of its 95 % interval", rounded(broken.half_width)),
        ],
    );
    let steps = steps(seed)?;
    control.steps.clone_from(&steps);
    let run = Run {
        stopped,
        figures,
        steps,
    };
    Ok(Pair {
        exception: None,
        run,
        control: Some(("T-ID is a hash of the device ID", control)),
    })
}

/// The messages of the game's first rounds.
fn steps(seed: u64) -> Result<Vec<super::Step>, AttackError> {
    let mut real = Real::new(seed, &[DeviceForm::Beacon; 2])?;
    let mut scene = Recorder::new(&mut real);
    for _ in 0..2 {
        scene.exchange(0, 1)?;
        scene.note(Actor::Network, Actor::Network, "the next epoch");
        scene.arena().next_epoch()?;
        scene.arena().power_cycle(0)?;
    }
    scene.note(
        Actor::Adversary,
        Actor::Adversary,
        "the same device or another?",
    );
    Ok(scene.into_steps())
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_separates_what_can_be_separated() {
        let rounds = [(true, 4), (true, 3), (false, 0), (false, 1)];
        assert_eq!(best_threshold(rounds.into_iter()), (2, true));
        let rounds = [(false, 4), (false, 3), (true, 0)];
        assert_eq!(best_threshold(rounds.into_iter()), (1, false));
    }

    #[test]
    fn the_longest_stretch_is_found_wherever_it_stands() {
        assert_eq!(longest_common(&[9, 1, 2, 3, 4], &[0, 0, 2, 3, 4, 0]), 3);
        assert_eq!(longest_common(&[9, 1], &[9, 2]), 0);
    }
}
