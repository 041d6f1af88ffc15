//! Functions as processes of their own, and a function of the test's own among them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;

use super::Place;

/// `ambit serve FUNCTION`, ended with the test however that ends.
pub struct Function {
    child: Child,
    pub ready: Value,
}

impl Function {
    pub fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.command(&["serve"]);
        command
            .args(args)
            .args(["--http", "127.0.0.1:0", "--pki", "pki"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self { child, ready }
    }

    pub fn address(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap().to_owned()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
