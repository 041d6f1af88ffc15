//! The population search over the registry (section 9).

use std::ops::Range;

use ambit_protocol::schedule::Input;
use ambit_protocol::{AreaId, DeviceForm, Suite};
use ambit_search::{Kernel, Key, Query, chunked};
use zeroize::Zeroizing;

use super::columns::KEYS_PER_PIECE;
use super::packed::Class;
use super::{Index, Registry};

/// The devices that a report may be from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Population {
    /// Devices that send beacon or concealed reports: the population of a concealed report.
    Beacon,
    /// Devices with a counter: the population of a recovery report.
    Counter,
    /// Devices that stand in the T-ID table of an epoch.
    Table,
}

impl Population {
    const fn has(self, form: DeviceForm) -> bool {
        match self {
            Self::Beacon => matches!(form, DeviceForm::Beacon | DeviceForm::Concealed),
            Self::Counter => form.has_counter(),
            Self::Table => matches!(form, DeviceForm::Beacon),
        }
    }
}

/// What is looked for: devices of a population, in scope in an area, whose PRF starts with an ID.
pub(crate) struct Wanted {
    pub(crate) population: Population,
    pub(crate) area_id: AreaId,
    pub(crate) query: Query,
}

impl Registry {
    /// How many devices a search goes through, in scope or not: its price.
    pub(crate) fn population(&self, population: Population) -> usize {
        let kinds = self.kinds.iter();
        let members = kinds.filter(|(kind, _)| population.has(kind.form()));
        members.map(|(_, count)| count).sum()
    }

    /// The devices that each of `wanted` asks for, in ascending order. One pass for all that share a population.
    pub(crate) fn search(&self, wanted: &[Wanted], threads: usize) -> Vec<Vec<Index>> {
        let mut found = vec![Vec::new(); wanted.len()];
        for population in [Population::Beacon, Population::Counter, Population::Table] {
            let of_population = (0..)
                .zip(wanted)
                .filter(|(_, w)| w.population == population);
            let (places, wanted): (Vec<usize>, Vec<&Wanted>) = of_population.unzip();
            if wanted.is_empty() {
                continue;
            }
            let queries: Vec<Query> = wanted.iter().map(|w| w.query.clone()).collect();
            let in_scope: Vec<bool> = (0..self.fleets.len())
                .map(|fleet| {
                    let fleet = u16::try_from(fleet).unwrap_or(u16::MAX);
                    wanted
                        .iter()
                        .any(|w| self.is_fleet_in_scope(fleet, &w.area_id))
                })
                .collect();
            for suite in self.suites(population) {
                let is_wanted = |class: Class| {
                    is_member(class, population, suite)
                        && in_scope.get(usize::from(class.fleet())) == Some(&true)
                };
                let stretches = chunked(self.len(), threads, KEYS_PER_PIECE, |range| {
                    let mut found = Vec::new();
                    let mut hits = Vec::new();
                    self.members(range, is_wanted, |keys, index_of| {
                        hits.clear();
                        Kernel::best().find(suite, keys, &queries, &mut hits);
                        found.extend(hits.iter().map(|hit| (hit.query, index_of(hit.key))));
                    });
                    found
                });
                for (query, index) in stretches.into_iter().flatten() {
                    let (Some(wanted), Some(place)) = (wanted.get(query), places.get(query)) else {
                        continue;
                    };
                    // Another query of the pass may have brought the device's fleet in.
                    let class = self.classes.get(index);
                    if class
                        .is_some_and(|class| self.is_fleet_in_scope(class.fleet(), &wanted.area_id))
                        && let Some(found) = found.get_mut(*place)
                    {
                        found.push(index);
                    }
                }
            }
        }
        found.iter_mut().for_each(|found| found.sort_unstable());
        found
    }

    /// The first 8 octets of the PRF of `input` for each device of a population in `range`, which begins at a multiple of
    /// [`REGISTRY_STEP`].
    pub(crate) fn prefixes(
        &self,
        range: Range<usize>,
        population: Population,
        input: &Input,
        mut f: impl FnMut(Index, u64),
    ) {
        let mut prefixes = Vec::new();
        for suite in self.suites(population) {
            let is_wanted = |class| is_member(class, population, suite);
            self.members(range.clone(), is_wanted, |keys, index_of| {
                prefixes.clear();
                prefixes.resize(keys.len(), 0);
                Kernel::best().prefixes(suite, keys, input, &mut prefixes);
                for (at, prefix) in prefixes.iter().enumerate() {
                    f(index_of(at), *prefix);
                }
            });
        }
    }

    /// The members that each query asks for, as (query, index), in ascending order.
    pub(crate) fn search_members(
        &self,
        members: &[Index],
        queries: &[Query],
        threads: usize,
    ) -> Vec<(usize, Index)> {
        if queries.is_empty() {
            return Vec::new();
        }
        let stretches = chunked(members.len(), threads, 1, |range| {
            let mut found = Vec::new();
            let mut hits = Vec::new();
            let members = members.get(range).unwrap_or_default();
            self.gather(members, |suite, keys, members| {
                hits.clear();
                Kernel::best().find(suite, keys, queries, &mut hits);
                let index_of = |at| members.get(at).copied().unwrap_or(Index::MAX);
                found.extend(hits.iter().map(|hit| (hit.query, index_of(hit.key))));
            });
            found
        });
        let mut found = stretches.concat();
        found.sort_unstable();
        found
    }

    /// The first 8 octets of the PRF of `input` for each keyed member.
    pub(crate) fn prefixes_of_members(
        &self,
        members: &[Index],
        input: &Input,
        mut f: impl FnMut(Index, u64),
    ) {
        let mut prefixes = Vec::new();
        self.gather(members, |suite, keys, members| {
            prefixes.clear();
            prefixes.resize(keys.len(), 0);
            Kernel::best().prefixes(suite, keys, input, &mut prefixes);
            for (index, prefix) in members.iter().zip(&prefixes) {
                f(*index, *prefix);
            }
        });
    }

    /// Hands out the members' keys, those of one suite together.
    fn gather(&self, members: &[Index], mut f: impl FnMut(Suite, &[Key], &[Index])) {
        let mut keys = Zeroizing::new(Vec::with_capacity(members.len().min(KEYS_PER_PIECE)));
        let mut of_suite = Vec::new();
        for members in members.chunks(KEYS_PER_PIECE) {
            for suite in Suite::ALL {
                keys.clear();
                of_suite.clear();
                for index in members {
                    let class = self.classes.get(*index);
                    let is_wanted = class.is_some_and(|c| c.is_keyed() && c.suite() == suite);
                    if let Some(key) = self.keys.get(*index).filter(|_| is_wanted) {
                        keys.push(*key);
                        of_suite.push(*index);
                    }
                }
                if !keys.is_empty() {
                    f(suite, &keys, &of_suite);
                }
            }
        }
    }

    /// Suites that keyed devices of a population have.
    fn suites(&self, population: Population) -> impl Iterator<Item = Suite> {
        let has = move |suite| {
            self.kinds
                .iter()
                .any(|(kind, count)| *count > 0 && is_member(*kind, population, suite))
        };
        Suite::ALL.into_iter().filter(move |suite| has(*suite))
    }

    /// Hands out the keys of the wanted devices in `range`, in stretches, with the way from place to index. Where all devices
    /// of a piece are wanted, as in a fleet of one kind, nothing is copied.
    fn members(
        &self,
        range: Range<usize>,
        is_wanted: impl Fn(Class) -> bool,
        mut f: impl FnMut(&[Key], &dyn Fn(usize) -> Index),
    ) {
        let mut gathered = Zeroizing::new(Vec::new());
        let mut members: Vec<Index> = Vec::new();
        for first in range.clone().step_by(KEYS_PER_PIECE) {
            let keys = self.keys.piece(first);
            let keys = keys
                .get(..keys.len().min(range.end - first))
                .unwrap_or_default();
            let classes = self.classes.slice(first, keys.len());
            let wanted = classes.iter().filter(|class| is_wanted(**class)).count();
            if wanted == keys.len() {
                f(keys, &|at| (first + at) as Index);
            } else if wanted > 0 {
                if gathered.capacity() == 0 {
                    gathered.reserve_exact(KEYS_PER_PIECE);
                }
                gathered.clear();
                members.clear();
                for ((key, class), index) in keys.iter().zip(classes).zip(first..) {
                    if is_wanted(*class) {
                        gathered.push(*key);
                        members.push(index as Index);
                    }
                }
                f(&gathered, &|at| {
                    members.get(at).copied().unwrap_or(Index::MAX)
                });
            }
        }
    }
}

/// Ranges of [`Registry::prefixes`] begin at its multiples.
pub(crate) const REGISTRY_STEP: usize = KEYS_PER_PIECE;

fn is_member(class: Class, population: Population, suite: Suite) -> bool {
    class.is_keyed() && class.suite() == suite && population.has(class.form())
}
