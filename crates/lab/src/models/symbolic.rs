//! The Verifpal models of `models/`: what each must show, and running them.
//!
//! A query's comment names its property and what must come out: `// confidentiality: holds`.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Row, Verdict};

/// A model.
#[derive(Clone, Copy, Debug)]
pub struct Symbolic {
    /// The method.
    pub method: &'static str,
    /// Name of the file, without its ending.
    pub name: &'static str,
    /// Whether it is a broken twin.
    pub broken: bool,
    /// Its text.
    pub source: &'static str,
}

macro_rules! models {
    ($($method:literal: $($name:literal)+, broken: $($twin:literal)+;)+) => {
        &[$(
            $(Symbolic {
                method: $method,
                name: $name,
                broken: false,
                source: include_str!(concat!("../../../../models/", $name, ".vp")),
            },)+
            $(Symbolic {
                method: $method,
                name: $twin,
                broken: true,
                source: include_str!(concat!("../../../../models/", $twin, ".vp")),
            },)+
        )+]
    };
}

/// All of them.
pub const MODELS: &[Symbolic] = models! {
    "beacon":
        "beacon" "beacon_area" "beacon_privacy" "beacon_k_aiotf_leaked" "beacon_k_leaked",
        broken: "beacon_without_rand_n" "beacon_without_label" "beacon_area_left_out"
        "beacon_privacy_without_chain";
    "concealed":
        "concealed" "concealed_privacy",
        broken: "concealed_without_rand_n" "concealed_privacy_without_rand_d";
    "counter":
        "counter" "counter_privacy" "counter_blind",
        broken: "counter_privacy_fixed_t_id";
    "uicc":
        "uicc" "uicc_name",
        broken: "uicc_plain_aka" "uicc_name_left_out";
    "dt":
        "dt" "dt_privacy" "dt_k_leaked",
        broken: "dt_without_label" "dt_without_direction" "dt_without_rand_n"
        "dt_privacy_without_rand_d";
};

/// Why a model could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SymbolicError {
    /// The tool is not on the PATH.
    #[error(
        "verifpal is not on the PATH; install it with `cargo install verifpal` (1.6.7 was used), or name it with --verifpal"
    )]
    ToolMissing,
    /// A file, or the tool's process.
    #[error("{what}: {error}")]
    Io {
        /// Which.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// The tool does not read the model, or says something else than a result code.
    #[error("verifpal on {model}: {said}")]
    Tool {
        /// The model.
        model: &'static str,
        /// What it said.
        said: String,
    },
}

impl Symbolic {
    /// Its properties and what must come out, in the order of its queries.
    pub fn expected(&self) -> Vec<(&'static str, Verdict)> {
        let queries = self.source.lines().filter_map(|line| {
            let (query, comment) = line.split_once(" // ")?;
            query.contains('?').then_some(comment)
        });
        let parsed = queries.filter_map(|comment| {
            let (property, verdict) = comment.rsplit_once(": ")?;
            let verdict = match verdict {
                "holds" => Verdict::Holds,
                "fails" => Verdict::Fails,
                _ => return None,
            };
            Some((property, verdict))
        });
        parsed.collect()
    }

    /// Its rows without a result, for a table of what is claimed.
    pub fn unasked(&self) -> Vec<Row> {
        let rows = self.expected().into_iter().map(|(property, expected)| Row {
            tool: "verifpal",
            method: self.method,
            model: self.name,
            broken: self.broken,
            property: property.to_owned(),
            expected,
            found: None,
            states: None,
            path: None,
        });
        rows.collect()
    }

    /// Runs it with `verifpal` (a program's name or path) in `dir`, where its file is written.
    ///
    /// # Errors
    /// [`SymbolicError`].
    pub fn run(&self, verifpal: &Path, dir: &Path) -> Result<Vec<Row>, SymbolicError> {
        let io_error = |what: String| move |error| SymbolicError::Io { what, error };
        let file = dir.join(format!("{}.vp", self.name));
        std::fs::write(&file, self.source).map_err(io_error(file.display().to_string()))?;
        let output = Command::new(verifpal)
            .args(["verify", "--quiet", "--result-code", "--color", "never"])
            .arg(&file)
            .output()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => SymbolicError::ToolMissing,
                _ => io_error(verifpal.display().to_string())(error),
            })?;
        let said = String::from_utf8_lossy(&output.stdout);
        let found = said.lines().last().and_then(parse_code);
        let mut rows = self.unasked();
        match found {
            Some(found) if found.len() == rows.len() => {
                for (row, verdict) in rows.iter_mut().zip(found) {
                    row.found = Some(verdict);
                }
                Ok(rows)
            }
            _ => Err(SymbolicError::Tool {
                model: self.name,
                said: format!("{said}{}", String::from_utf8_lossy(&output.stderr)),
            }),
        }
    }
}

/// A result code: a letter and a digit for each query, 0 for one that holds.
fn parse_code(code: &str) -> Option<Vec<Verdict>> {
    let octets = code.trim().as_bytes();
    let verdicts = octets.chunks(2).map(|pair| match pair {
        [b'a' | b'c' | b'e' | b'f' | b'u', b'0'] => Some(Verdict::Holds),
        [b'a' | b'c' | b'e' | b'f' | b'u', b'1'] => Some(Verdict::Fails),
        _ => None,
    });
    verdicts.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_directory_is_listed_and_every_query_says_what_must_come_out() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        let mut files: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".vp").map(str::to_owned)
            })
            .collect();
        let mut listed: Vec<String> = MODELS.iter().map(|model| model.name.into()).collect();
        files.sort();
        listed.sort();
        assert_eq!(files, listed);
        for model in MODELS {
            let (_, queries) = model.source.split_once("queries[").unwrap();
            let asked = queries.lines().filter(|line| line.contains("? ")).count();
            assert_eq!(model.expected().len(), asked, "{}", model.name);
            assert!(asked > 0, "{}", model.name);
        }
    }

    #[test]
    fn a_result_code_is_read_and_anything_else_is_not() {
        use Verdict::{Fails, Holds};
        assert_eq!(parse_code("a0c1u0\n"), Some(vec![Holds, Fails, Holds]));
        for code in ["a", "a2", "x0", "error: no such file"] {
            assert_eq!(parse_code(code), None, "{code}");
        }
    }
}
