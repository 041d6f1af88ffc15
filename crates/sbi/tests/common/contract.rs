//! 3GPP's OpenAPI files as judges of what we answer.
#![allow(unreachable_pub, missing_docs)]

use std::path::{Path, PathBuf};

use ambit_sbi::client::Answer;
use serde_json::{Value, json};

/// An OpenAPI file.
pub struct Contract {
    name: String,
    file: Value,
}

impl Contract {
    /// One of 3GPP's; `None`, said on standard error, where they are not at hand.
    pub fn of_3gpp(name: &str) -> Option<Self> {
        let dir = std::env::var_os("AMBIT_SPECS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs"),
            PathBuf::from,
        );
        match std::fs::read(dir.join(name)) {
            Ok(text) => Some(Self::parse(name, &text)),
            Err(_) => {
                eprintln!("skipped: {name} is not in {} (AMBIT_SPECS)", dir.display());
                None
            }
        }
    }

    pub fn parse(name: &str, text: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            file: serde_json::from_slice(text).unwrap(),
        }
    }

    /// All operations: path and method.
    pub fn operations(&self) -> Vec<(String, String)> {
        let paths = self.file["paths"].as_object().unwrap();
        let of_path = |(path, item): (&String, &Value)| {
            let methods = item.as_object().unwrap().keys();
            let methods = methods.filter(|key| {
                ["get", "put", "post", "patch", "delete", "options"].contains(&key.as_str())
            });
            methods
                .map(|method| (path.clone(), method.clone()))
                .collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    /// Checks a body against a schema of the file.
    pub fn check_schema(&self, schema: &str, body: &Value) {
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        self.check_against(&schema, body);
    }

    /// Checks that an operation declares the answer's status, and that its body is as declared.
    pub fn check(&self, path: &str, method: &str, answer: &Answer) {
        let responses = &self.file["paths"][path][method]["responses"];
        self.check_in(responses, path, method, answer);
    }

    /// The same of an operation's callback, which is a POST.
    pub fn check_callback(&self, path: &str, method: &str, callback: &str, answer: &Answer) {
        let callback = &self.file["paths"][path][method]["callbacks"][callback];
        let (at, operation) = callback.as_object().unwrap().iter().next().unwrap();
        self.check_in(&operation["post"]["responses"], at, "post", answer);
    }

    fn check_in(&self, responses: &Value, path: &str, method: &str, answer: &Answer) {
        assert!(
            responses.is_object(),
            "{}: {method} {path} is not declared",
            self.name
        );
        let status = answer.status.to_string();
        let declared = match &responses[&status] {
            Value::Null if status == "405" => return,
            Value::Null => &responses["default"],
            declared => declared,
        };
        let declared = self.resolve(declared);
        assert!(
            declared.is_object(),
            "{}: {method} {path} {status} is not declared",
            self.name
        );
        let media_type = answer
            .headers
            .get("content-type")
            .map(|value| value.to_str().unwrap());
        let is_default = responses[&status].is_null();
        let Some(content) = declared.get("content").and_then(Value::as_object) else {
            if is_default {
                // "Generic Error", of which the files say no more.
                assert_eq!(answer.json().unwrap()["status"], answer.status);
                return;
            }
            assert!(
                answer.body.is_empty(),
                "{method} {path} {status} has a body"
            );
            return;
        };
        let media_type = media_type.unwrap_or_else(|| panic!("{method} {path} {status}: no body"));
        let schema = content.get(media_type);
        let schema = schema.unwrap_or_else(|| panic!("{method} {path} {status}: {media_type}"));
        for (name, header) in declared
            .get("headers")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if self.resolve(header)["required"] == true {
                assert!(
                    answer.headers.contains_key(name.as_str()),
                    "{path} {status}: {name}"
                );
            }
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        // The file asks a refused registration for shared data IDs, also where no shared data is used: a ProblemDetails is
        // what NRFs answer, and we.
        let oddity = "#/components/schemas/NFProfileRegistrationError";
        if schema["schema"]["$ref"] == oddity {
            return self.check_schema("TS29571_CommonData.ProblemDetails", &body);
        }
        self.check_against(&schema["schema"], &body);
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(at) => self.resolve(self.file.pointer(at.trim_start_matches('#')).unwrap()),
            None => value,
        }
    }

    fn check_against(&self, schema: &Value, body: &Value) {
        let mut schema = schema.clone();
        schema["components"] = self.file["components"].clone();
        let validator = jsonschema::draft4::new(&schema).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?} in {body}", self.name);
    }
}
