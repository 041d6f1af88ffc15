//! Functions as processes of their own, with mutual TLS and tokens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::Place;

/// `ambit COMMAND --pki pki`, ended with the test however that ends.
pub struct Function {
    child: Child,
    pub ready: Value,
}

impl Function {
    /// `ambit serve FUNCTION`.
    pub fn start(place: &Place, args: &[&str]) -> Self {
        let serve = [&["serve"][..], args, &["--http", "127.0.0.1:0"]].concat();
        Self::run(place, &serve)
    }

    /// `ambit ran amf`.
    pub fn amf(place: &Place, args: &[&str]) -> Self {
        Self::run(place, &[&["ran", "amf"][..], args].concat())
    }

    fn run(place: &Place, args: &[&str]) -> Self {
        let mut child = place
            .command(args)
            .args(["--pki", "pki"])
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

    /// An address among several.
    pub fn nested(&self, of: &str, name: &str) -> String {
        self.ready[of][name].as_str().unwrap().to_owned()
    }

    /// `/health`.
    pub fn health(&self) -> Value {
        get(&self.address("http"), "/health")
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GET over HTTP/1.1.
pub fn get(address: &str, path: &str) -> Value {
    serde_json::from_str(&get_text(address, path)).unwrap()
}

pub fn get_text(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}
