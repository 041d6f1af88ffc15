//! What is proved of the protocol, apart from any code: symbolic models against an adversary who is the network, and state
//! machines searched exhaustively in small bounds. Each stands beside broken twins, in which what holds must fail.
//!
//! | module | holds |
//! | --- | --- |
//! | [`symbolic`] | the Verifpal models of `models/`, and running them |
//! | [`counter`] | the counter forms: window, recovery, replay, restored stores |
//! | [`epochs`] | the beacon form: anchors, epochs, the record key, false readers |
//! | [`table`] | the results as the page in `docs/` |
//!
//! "Holds" never means more than that no attack was found within the bounds: two sessions of each principal in a symbolic
//! model, the stated numbers of reports, epochs and power cycles in a state machine.

pub mod counter;
pub mod epochs;
pub mod symbolic;
pub mod table;

use std::fmt::Debug;
use std::hash::Hash;

use serde::Serialize;
use stateright::{Checker, Model, Path};

/// Whether a property holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No attack was found within the bounds.
    Holds,
    /// An attack was found.
    Fails,
}

/// One property of one model.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `verifpal` or `stateright`.
    pub tool: &'static str,
    /// The method: `beacon`, `concealed`, `counter`, `uicc` or `dt`.
    pub method: &'static str,
    /// The model, by name. A broken twin is named after what it lacks.
    pub model: &'static str,
    /// Whether it is a broken twin.
    pub broken: bool,
    /// The property.
    pub property: String,
    /// What must come out.
    pub expected: Verdict,
    /// What came out; `None` when the tool is not there.
    pub found: Option<Verdict>,
    /// States searched, of a state machine.
    pub states: Option<usize>,
    /// A way to the violation, of a state machine.
    pub path: Option<Vec<String>>,
}

impl Row {
    /// Whether it came out as it must.
    pub fn is_as_expected(&self) -> bool {
        self.found == Some(self.expected)
    }
}

/// Searches both state machines and all their broken variants.
pub fn state_machines() -> Vec<Row> {
    let mut rows = counter::rows();
    rows.extend(epochs::rows());
    rows
}

/// A state machine with a name, and which of its properties must fail.
struct Variant<M> {
    method: &'static str,
    name: &'static str,
    model: M,
    fails: &'static [&'static str],
}

impl<M> Variant<M>
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Clone + Debug + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    /// Searches all states. A variant that must fail is searched until it has failed in every way that it must.
    fn rows(self) -> Vec<Row> {
        let properties: Vec<&'static str> =
            self.model.properties().iter().map(|p| p.name).collect();
        // Breadth first on one thread: the same counterexample each time, and a short one.
        let checker = self.model.checker().threads(1);
        let checker = match self.fails {
            [] => checker,
            fails => checker.finish_when(stateright::HasDiscoveries::AllOf(
                fails.iter().copied().collect(),
            )),
        };
        let checker = checker.spawn_bfs().join();
        let discoveries = checker.discoveries();
        let row = |property: &&'static str| {
            let is_asked = self.fails.is_empty() || self.fails.contains(property);
            let path = discoveries.get(property);
            is_asked.then(|| Row {
                tool: "stateright",
                method: self.method,
                model: self.name,
                broken: !self.fails.is_empty(),
                property: (*property).to_owned(),
                expected: match self.fails.contains(property) {
                    true => Verdict::Fails,
                    false => Verdict::Holds,
                },
                found: Some(match path {
                    Some(_) => Verdict::Fails,
                    None => Verdict::Holds,
                }),
                states: self.fails.is_empty().then(|| checker.unique_state_count()),
                path: path.map(|path| up_to_violation(checker.model(), property, path)),
            })
        };
        properties.iter().filter_map(row).collect()
    }
}

/// The actions of a path up to the first state in which a property does not hold.
fn up_to_violation<M>(model: &M, property: &str, path: &Path<M::State, M::Action>) -> Vec<String>
where
    M: Model,
    M::State: Clone + PartialEq,
    M::Action: Clone + Debug + PartialEq,
{
    let properties = model.properties();
    let holds = properties.iter().find(|p| p.name == property);
    let mut actions = Vec::new();
    for (state, action) in path.clone().into_vec() {
        if holds.is_some_and(|property| !(property.condition)(model, &state)) {
            break;
        }
        actions.extend(action.map(|action| format!("{action:?}")));
    }
    actions
}
