//! The threat list as attacks that run: each against the product's own code, and where a defence can be left out, against a
//! reference that lacks it, which the same attack must win.
//!
//! | module | holds |
//! | --- | --- |
//! | [`arena`] | a network and its devices as an adversary meets them |
//! | [`real`] | the product's own code as one |
//! | [`reference`] | the protocol written once more, whole or with a defence left out |
//! | `air`, `commands`, `readers`, `copies`, `billing`, `amplification`, `theft`, `exposure`, `uicc`, `policy`, `malformed` | the scripts, by what is attacked |
//! | [`linkability`] | the tracking game, measured |
//! | [`timing`] | the time to refuse, measured |
//! | [`report`] | the results as a page with sequence diagrams |

mod air;
mod amplification;
pub mod arena;
mod billing;
mod commands;
mod copies;
mod exposure;
pub mod linkability;
mod malformed;
mod policy;
mod readers;
pub mod real;
pub mod reference;
pub mod report;
mod theft;
pub mod timing;
mod uicc;

use ambit_adm::{OpenError, ProvisionError};
use ambit_device::DeviceForm;
use ambit_ngap::NgapError;
use ambit_protocol::area::AreaError;
use ambit_store::StoreError;
use serde::Serialize;

use arena::{Actor, Arena, Recorder, Step};
use real::Real;
use reference::{Flaw, Reference};

/// A row of the threat list.
#[derive(Clone, Copy, Debug)]
pub struct Threat {
    /// `T01` and so on.
    pub id: &'static str,
    /// What the adversary does.
    pub attack: &'static str,
    /// What must happen.
    pub must: &'static str,
    /// What stops it.
    pub defence: &'static str,
    run: Script,
}

#[derive(Clone, Copy, Debug)]
enum Script {
    /// One script in every arena: against the product, the whole reference, and the reference without a defence.
    Arena {
        forms: &'static [DeviceForm],
        script: fn(&mut Recorder<'_>, &mut fastrand::Rng) -> Result<Run>,
        control: Option<(&'static str, Flaw)>,
    },
    /// A script of its own that brings its control with it.
    Own(fn(u64) -> Result<Pair>),
    /// Waits for a part that is not there yet.
    #[expect(dead_code, reason = "no row waits now")]
    Open(&'static str),
}

/// What came of one run of an attack.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Whether what must happen did.
    pub stopped: bool,
    /// What was counted.
    pub figures: Vec<Figure>,
    /// The first messages.
    pub steps: Vec<Step>,
}

/// A count with its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Of what.
    pub name: &'static str,
    /// How many, or how much.
    pub value: f64,
}

/// A run against the product and, where there can be one, its control.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Against the product.
    pub run: Run,
    /// Without the defence: its name, and what came of it.
    pub control: Option<(&'static str, Run)>,
    /// Where what must happen does not, although the row holds.
    pub exception: Option<&'static str>,
}

impl Pair {
    const fn new(run: Run, control: Option<(&'static str, Run)>) -> Self {
        Self {
            run,
            control,
            exception: None,
        }
    }

    const fn with_control(run: Run, lacks: &'static str, control: Run) -> Self {
        Self::new(run, Some((lacks, control)))
    }
}

/// What is to be said of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The attack was stopped, and won where its defence was left out.
    Holds,
    /// The same, but for an exception that the row names.
    HoldsExcept,
    /// The attack was not stopped.
    Broken,
    /// The attack was stopped, and in the control as well: it shows nothing.
    ProvesNothing,
    /// It cannot be run yet.
    Open,
}

/// A row and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The threat.
    pub id: &'static str,
    /// See [`Threat`].
    pub attack: &'static str,
    /// See [`Threat`].
    pub must: &'static str,
    /// See [`Threat`].
    pub defence: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is open.
    pub open: Option<&'static str>,
    /// Where it does not hold.
    pub exception: Option<&'static str>,
    /// Against the product.
    pub run: Option<Run>,
    /// What the control lacks.
    pub control_lacks: Option<&'static str>,
    /// Without the defence.
    pub control: Option<Run>,
}

/// Why an attack could not be run.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// The core does not start.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The devices are refused.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The network has no name.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// What goes over N2 is no NGAP.
    #[error(transparent)]
    Ngap(#[from] NgapError),
    /// The scene is not as it should be before anybody attacks.
    #[error("the scene: {0}")]
    Scene(String),
    /// No such row.
    #[error("{0}: no such threat (T01 to T25, or all)")]
    UnknownId(String),
}

const BEACON: &[DeviceForm] = &[DeviceForm::Beacon, DeviceForm::Beacon];
const COUNTER: &[DeviceForm] = &[DeviceForm::Counter];

/// The threat list.
pub const THREATS: &[Threat] = &[
    Threat {
        id: "T01",
        attack: "a fake device without a key guesses and makes up reports",
        must: "nothing accepted, no reply, no record, few alarms",
        defence: "TAG1",
        run: Script::Arena {
            forms: BEACON,
            script: air::t01,
            control: Some(("TAG1 is not checked", Flaw::AnyTag)),
        },
    },
    Threat {
        id: "T02",
        attack: "a fake device replays a recorded report in its epoch",
        must: "the same ACCEPT, no second event, no second charge",
        defence: "record key",
        run: Script::Arena {
            forms: BEACON,
            script: air::t02,
            control: Some(("records are not looked up", Flaw::NoRecordKey)),
        },
    },
    Threat {
        id: "T03",
        attack: "a report is replayed in later epochs, after a restart and after a restore",
        must: "silence",
        defence: "RAND_n in K_AIOTF; epoch in the record",
        run: Script::Arena {
            forms: BEACON,
            script: air::t03,
            control: Some(("RAND_n stands in no key", Flaw::NoRandN)),
        },
    },
    Threat {
        id: "T04",
        attack: "answers are collected under a guessed RAND_n of the next epoch, and played then",
        must: "the network never issues what was guessed",
        defence: "one-way chain",
        run: Script::Arena {
            forms: BEACON,
            script: air::t04,
            control: Some(("RAND_n is a number that counts up", Flaw::CountedRandN)),
        },
    },
    Threat {
        id: "T05",
        attack: "a report is carried to a reader in another area",
        must: "it does not verify",
        defence: "AreaID in K_AIOTF",
        run: Script::Arena {
            forms: BEACON,
            script: air::t05,
            control: Some(("AreaID stands in no key", Flaw::NoArea)),
        },
    },
    Threat {
        id: "T06",
        attack: "every single bit of report and ACCEPT is changed, both are cut and extended",
        must: "silence; as if lost",
        defence: "tags over everything",
        run: Script::Arena {
            forms: BEACON,
            script: air::t06,
            control: Some(("the tag covers the payload alone", Flaw::TagOverPayload)),
        },
    },
    Threat {
        id: "T07",
        attack: "a false network repeats and invents beacons",
        must: "the device counts a sighting and answers concealed; no two answers link",
        defence: "anchor, identity rule",
        run: Script::Arena {
            forms: BEACON,
            script: air::t07,
            control: Some(("the beacon form under any beacon", Flaw::AlwaysBeaconForm)),
        },
    },
    Threat {
        id: "T08",
        attack: "a false network sends ACCEPTs: recorded, reflected, of another device",
        must: "the device's state does not change",
        defence: "TAG2 bound to K_AIOTF and TAG1",
        run: Script::Arena {
            forms: BEACON,
            script: air::t08,
            control: Some(("TAG2 depends on K alone", Flaw::UnboundAccept)),
        },
    },
    Threat {
        id: "T09",
        attack: "a false network tries PERMANENT DISABLE",
        must: "the device is unharmed",
        defence: "SESSION tag",
        run: Script::Own(commands::t09),
    },
    Threat {
        id: "T10",
        attack: "10 000 reports are jammed, then as many ACCEPTs",
        must: "accepted within one exchange once the link is back",
        defence: "stateless identity; recovery",
        run: Script::Arena {
            forms: COUNTER,
            script: air::t10,
            control: Some(("window without recovery", Flaw::NoRecovery)),
        },
    },
    Threat {
        id: "T11",
        attack: "an observer of all traffic links a device's reports over epochs and power cycles",
        must: "no advantage over guessing, measured",
        defence: "T-ID, CID, encrypted cause",
        run: Script::Own(linkability::t11),
    },
    Threat {
        id: "T12",
        attack: "a cloned key: two devices alive at once",
        must: "an alarm names the device and both places",
        defence: "area and time conflict; counter collision",
        run: Script::Own(copies::t12),
    },
    Threat {
        id: "T13",
        attack: "a device is swapped for a fake with its identity",
        must: "never accepted; the true one's silence raises an alarm",
        defence: "TAG1; presence watch",
        run: Script::Own(copies::t13),
    },
    Threat {
        id: "T14",
        attack: "billing fraud: forged and replayed reports among genuine ones",
        must: "a charging record for each genuine report, and an evidence log",
        defence: "record = charge; evidence chain",
        run: Script::Own(billing::t14),
    },
    Threat {
        id: "T15",
        attack: "a flood of random reports, 50 for every honest one",
        must: "honest reports get through; searches are bounded; every drop is counted",
        defence: "search budget",
        run: Script::Own(readers::t15),
    },
    Threat {
        id: "T16",
        attack: "amplification: octets out for octets in",
        must: "no more out than in for unauthenticated input",
        defence: "silence",
        run: Script::Own(amplification::t16),
    },
    Threat {
        id: "T17",
        attack: "a malicious reader drops, repeats, reorders, lies about windows and numbers",
        must: "no false acceptance",
        defence: "tags from end to end",
        run: Script::Own(readers::t17),
    },
    Threat {
        id: "T18",
        attack: "a malicious AF reads and commands what is not its own",
        must: "403, an audit entry; 429 beyond its quota",
        defence: "authorisation of each AF",
        run: Script::Own(exposure::t18),
    },
    Threat {
        id: "T19",
        attack: "a rogue function on the SBI asks for keys",
        must: "401 or 403, nothing disclosed",
        defence: "mTLS and OAuth2",
        run: Script::Own(exposure::t19),
    },
    Threat {
        id: "T20",
        attack: "the store is stolen",
        must: "no key readable",
        defence: "keys wrapped, KEK outside the store",
        run: Script::Own(theft::t20),
    },
    Threat {
        id: "T21",
        attack: "an old challenge is replayed to many UICC devices to tell one by its failure",
        must: "all behave alike",
        defence: "RAND made from RAND_d",
        run: Script::Own(uicc::t21),
    },
    Threat {
        id: "T22",
        attack: "a visited network claims another network's name",
        must: "the card refuses; keys differ",
        defence: "the name in every derivation",
        run: Script::Own(uicc::t22),
    },
    Threat {
        id: "T23",
        attack: "type 1 devices and operator-provisioned keys in a public network",
        must: "refused at provisioning and at run time",
        defence: "policy table",
        run: Script::Own(policy::t23),
    },
    Threat {
        id: "T24",
        attack: "malformed input everywhere",
        must: "an error; never a panic, never state",
        defence: "parsing into types",
        run: Script::Own(malformed::t24),
    },
    Threat {
        id: "T25",
        attack: "the time of a refusal is measured",
        must: "no difference that depends on a secret",
        defence: "constant-time comparison; the same path",
        run: Script::Own(timing::t25),
    },
];

/// The rows of the given ids, in their order in the list; `all` for all.
///
/// # Errors
/// An id that is none.
pub fn select(ids: &[String]) -> Result<Vec<&'static Threat>> {
    let is_all = ids.is_empty() || ids.iter().any(|id| id.eq_ignore_ascii_case("all"));
    let is_known = |id: &&String| {
        let mut threats = THREATS.iter();
        id.eq_ignore_ascii_case("all") || threats.any(|threat| id.eq_ignore_ascii_case(threat.id))
    };
    if let Some(unknown) = ids.iter().find(|id| !is_known(id)) {
        return Err(AttackError::UnknownId(unknown.clone()));
    }
    let is_asked = |id: &str| is_all || ids.iter().any(|asked| asked.eq_ignore_ascii_case(id));
    Ok(THREATS
        .iter()
        .filter(|threat| is_asked(threat.id))
        .collect())
}

impl Threat {
    /// Runs it. The same seed gives the same result.
    ///
    /// # Errors
    /// The scene cannot be built.
    pub fn run(&self, seed: u64) -> Result<Row> {
        let pair = match self.run {
            Script::Open(why) => return Ok(self.row(Verdict::Open, Some(why), None)),
            Script::Own(script) => script(seed)?,
            Script::Arena {
                forms,
                script,
                control,
            } => {
                let run = in_arena(&mut Real::new(seed, forms)?, script, seed)?;
                let whole = in_arena(&mut Reference::new(seed, forms, None)?, script, seed)?;
                let control = match control {
                    // A reference that is beaten while whole is no control.
                    Some((lacks, flaw)) if whole.stopped => {
                        let mut arena = Reference::new(seed, forms, Some(flaw))?;
                        Some((lacks, in_arena(&mut arena, script, seed)?))
                    }
                    Some((lacks, _)) => Some((
                        lacks,
                        Run {
                            stopped: true,
                            ..whole
                        },
                    )),
                    None => None,
                };
                Pair::new(run, control)
            }
        };
        let verdict = match (&pair.run.stopped, &pair.control) {
            (false, _) => Verdict::Broken,
            (true, Some((_, control))) if control.stopped => Verdict::ProvesNothing,
            (true, _) if pair.exception.is_some() => Verdict::HoldsExcept,
            (true, _) => Verdict::Holds,
        };
        Ok(self.row(verdict, None, Some(pair)))
    }

    fn row(&self, verdict: Verdict, open: Option<&'static str>, pair: Option<Pair>) -> Row {
        let (run, control, exception) = match pair {
            Some(pair) => (Some(pair.run), pair.control, pair.exception),
            None => (None, None, None),
        };
        let (control_lacks, control) = control.unzip();
        Row {
            id: self.id,
            attack: self.attack,
            must: self.must,
            defence: self.defence,
            verdict,
            open,
            exception,
            run,
            control_lacks,
            control,
        }
    }
}

type Result<T> = std::result::Result<T, AttackError>;

fn scene(text: impl ToString) -> AttackError {
    AttackError::Scene(text.to_string())
}

/// Messages for a diagram: from, to, what.
fn steps(messages: &[(Actor, Actor, &str)]) -> Vec<Step> {
    let step = |(from, to, text): &(Actor, Actor, &str)| Step {
        from: *from,
        to: *to,
        text: (*text).to_owned(),
    };
    messages.iter().map(step).collect()
}

fn in_arena(
    arena: &mut dyn Arena,
    script: fn(&mut Recorder<'_>, &mut fastrand::Rng) -> Result<Run>,
    seed: u64,
) -> Result<Run> {
    let mut recorder = Recorder::new(arena);
    let mut run = script(&mut recorder, &mut fastrand::Rng::with_seed(!seed))?;
    run.steps = recorder.into_steps();
    Ok(run)
}

impl Run {
    /// A run with its counts; the messages come from the recorder.
    fn new(stopped: bool, figures: &[(&'static str, f64)]) -> Self {
        let figure = |(name, value): &(&'static str, f64)| Figure {
            name,
            value: *value,
        };
        Self {
            stopped,
            figures: figures.iter().map(figure).collect(),
            steps: Vec::new(),
        }
    }
}
