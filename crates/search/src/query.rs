//! What is looked for, and what was found.

use ambit_protocol::schedule::Input;

/// The keys looked for: those under which the PRF of an input starts with an ID.
#[derive(Clone, Debug)]
pub struct Query {
    pub(crate) input: Input,
    id: u64,
    mask: u64,
}

/// A key that a query asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Place of the query in the batch.
    pub query: usize,
    /// Place of the key in its column.
    pub key: usize,
}

impl Query {
    /// Looks for an ID of 1 to 8 octets.
    pub fn new<const N: usize>(input: Input, id: &[u8; N]) -> Self {
        const { assert!(N > 0 && N <= 8, "an ID has 1 to 8 octets") };
        let mut octets = [0; 8];
        for (to, from) in octets.iter_mut().zip(id) {
            *to = *from;
        }
        Self {
            input,
            id: u64::from_be_bytes(octets),
            mask: u64::MAX << (64 - 8 * N),
        }
    }

    /// The input of the PRF.
    pub const fn input(&self) -> &Input {
        &self.input
    }

    /// Adds the places of the matching prefixes to `hits`. All are compared before any is looked at.
    pub(crate) fn compare(
        &self,
        query: usize,
        first: usize,
        prefixes: &[u64],
        hits: &mut Vec<Hit>,
    ) {
        let is_match = |prefix: &u64| (*prefix ^ self.id) & self.mask == 0;
        let any = prefixes
            .iter()
            .fold(false, |any, prefix| any | is_match(prefix));
        if any {
            let found = prefixes.iter().enumerate();
            let found = found.filter(|(_, prefix)| is_match(prefix));
            hits.extend(found.map(|(at, _)| Hit {
                query,
                key: first + at,
            }));
        }
    }
}

/// label ‖ x of an input: at most 37 octets.
pub(crate) struct Message {
    octets: [u8; MESSAGE_OCTETS_MAX],
    len: usize,
}

pub(crate) const MESSAGE_OCTETS_MAX: usize = 1 + ambit_protocol::schedule::X_OCTETS_MAX;

impl Message {
    pub(crate) fn of(input: &Input) -> Self {
        let mut octets = [0; MESSAGE_OCTETS_MAX];
        let label = [input.label().0];
        let source = label.iter().chain(input.x());
        for (to, from) in octets.iter_mut().zip(source) {
            *to = *from;
        }
        Self {
            octets,
            len: 1 + input.x().len(),
        }
    }

    pub(crate) fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}
