//! schemathesis, which makes requests of an OpenAPI file and looks whether what is answered is as the file says.
#![allow(unreachable_pub, missing_docs)]

use std::process::Command;

/// A run of it over a file, bounded and from one seed.
pub struct Run<'a> {
    /// The file: where it is served, or lies.
    pub file: &'a str,
    /// The server.
    pub url: &'a str,
    /// The field `Authorization` of every request.
    pub authorization: &'a str,
    /// Requests for each operation and phase.
    pub examples_max: u32,
    /// What else it is told.
    pub args: &'a [&'a str],
}

impl Run<'_> {
    /// What failed, if anything did. Where the program is not installed nothing is run, which is said on standard error.
    pub fn failures(&self) -> Option<String> {
        let program = std::env::var("AMBIT_SCHEMATHESIS").unwrap_or_else(|_| "schemathesis".into());
        if Command::new(&program).arg("--version").output().is_err() {
            eprintln!("skipped: {program} is not installed (pip install schemathesis)");
            return None;
        }
        let output = Command::new(program)
            .current_dir(std::env::temp_dir())
            .args(["run", self.file, "--url", self.url, "--header"])
            .arg(format!("Authorization: {}", self.authorization))
            .args(["--max-examples", &self.examples_max.to_string()])
            .args(["--seed", "1", "--checks", "all", "--no-color"])
            .args(self.args)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (!output.status.success()).then_some(said)
    }
}
