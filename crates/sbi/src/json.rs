//! JSON from peers: bounded in depth before it is parsed, and read field by field so that an error names the field.

use base64ct::{Base64, Encoding};
use serde_json::{Map, Value};

use crate::problem::Problem;

/// Levels of nesting at most. The deepest body of these services, an NFProfile, has eight.
pub const DEPTH_MAX: usize = 24;

/// Parses a body.
///
/// # Errors
/// [`Problem::message_format`].
pub fn parse(body: &[u8]) -> Result<Value, Problem> {
    if depth(body) > DEPTH_MAX {
        return Err(Problem::message_format(format!(
            "the body nests deeper than {DEPTH_MAX} levels"
        )));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::message_format(format!("the body is not JSON: {error}")))
}

/// The deepest nesting of brackets outside strings, without recursion.
fn depth(text: &[u8]) -> usize {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for octet in text {
        match (in_string, octet) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                now += 1;
                deepest = deepest.max(now);
            }
            (false, b'}' | b']') => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// An object of a body, with where it stands.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    at: String,
}

/// A value of a body, with where it stands.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    value: &'a Value,
    at: String,
    is_optional: bool,
}

impl<'a> Fields<'a> {
    /// The body itself.
    ///
    /// # Errors
    /// It is no object.
    pub fn of(body: &'a Value) -> Result<Self, Problem> {
        let map = body
            .as_object()
            .ok_or_else(|| Problem::message_format("the body must be a JSON object"))?;
        Ok(Self {
            map,
            at: String::new(),
        })
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// [`Problem::missing`].
    pub fn required(&self, name: &str) -> Result<Field<'a>, Problem> {
        let at = self.at(name);
        match self.map.get(name) {
            Some(value) => Ok(Field {
                value,
                at,
                is_optional: false,
            }),
            None => Err(Problem::missing(at)),
        }
    }

    /// A field that may be there.
    pub fn optional(&self, name: &str) -> Option<Field<'a>> {
        let value = self.map.get(name)?;
        Some(Field {
            value,
            at: self.at(name),
            is_optional: true,
        })
    }

    /// Whether a field is there.
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{}", self.at, name.replace('~', "~0").replace('/', "~1"))
    }
}

impl<'a> Field<'a> {
    /// Where it stands: a JSON pointer.
    pub fn pointer(&self) -> &str {
        &self.at
    }

    /// That it breaks a rule.
    pub fn breaks(&self, rule: impl Into<String>) -> Problem {
        if self.is_optional {
            Problem::optional_incorrect(&*self.at, rule)
        } else {
            Problem::incorrect(&*self.at, rule)
        }
    }

    /// The value as it stands.
    pub const fn value(&self) -> &'a Value {
        self.value
    }

    /// A string.
    ///
    /// # Errors
    /// It is none.
    pub fn text(&self) -> Result<&'a str, Problem> {
        self.value
            .as_str()
            .ok_or_else(|| self.breaks("must be a string"))
    }

    /// A string of at most `octets_max` octets that is not empty.
    ///
    /// # Errors
    /// It is none.
    pub fn short_text(&self, octets_max: usize) -> Result<&'a str, Problem> {
        let text = self.text()?;
        if text.is_empty() || text.len() > octets_max {
            return Err(self.breaks(format!("must have 1 to {octets_max} octets")));
        }
        Ok(text)
    }

    /// A string of 1 to `greatest` characters.
    ///
    /// # Errors
    /// It is none.
    pub fn characters(&self, greatest: usize) -> Result<&'a str, Problem> {
        let text = self.text()?;
        // Four octets a character at most: what is far too long is not counted.
        let is_short = text.len() <= greatest.saturating_mul(4) && text.chars().count() <= greatest;
        if text.is_empty() || !is_short {
            return Err(self.breaks(format!("must have 1 to {greatest} characters")));
        }
        Ok(text)
    }

    /// true or false.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&self) -> Result<bool, Problem> {
        self.value
            .as_bool()
            .ok_or_else(|| self.breaks("must be true or false"))
    }

    /// An attribute that says something by being there: only `true` is allowed.
    ///
    /// # Errors
    /// It is anything else.
    pub fn true_only(&self) -> Result<bool, Problem> {
        match self.value {
            Value::Bool(true) => Ok(true),
            _ => Err(self.breaks("must be true where it is present")),
        }
    }

    /// An integer in a range.
    ///
    /// # Errors
    /// It is none.
    pub fn integer(&self, least: u64, greatest: u64) -> Result<u64, Problem> {
        // To JSON Schema 2.0 is an integer too.
        let is_whole =
            |value: &f64| value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(value);
        let whole = || {
            self.value
                .as_f64()
                .filter(is_whole)
                .map(|value| value as u64)
        };
        match self.value.as_u64().or_else(whole) {
            Some(value) if (least..=greatest).contains(&value) => Ok(value),
            _ => Err(self.breaks(format!("must be an integer from {least} to {greatest}"))),
        }
    }

    /// Exactly N octets in hexadecimal.
    ///
    /// # Errors
    /// It is something else.
    pub fn hex<const N: usize>(&self) -> Result<[u8; N], Problem> {
        let mut octets = [0; N];
        match hex::decode_to_slice(self.text()?, &mut octets) {
            Ok(()) => Ok(octets),
            Err(_) => Err(self.breaks(format!("must be {} hexadecimal digits", N * 2))),
        }
    }

    /// `least` to `greatest` octets in base64 (OpenAPI format "byte").
    ///
    /// # Errors
    /// It is something else.
    pub fn bytes(&self, least: usize, greatest: usize) -> Result<Vec<u8>, Problem> {
        let octets = Base64::decode_vec(self.text()?).map_err(|_| self.breaks("must be base64"))?;
        if octets.len() < least || octets.len() > greatest {
            return Err(self.breaks(format!("must be {least} to {greatest} octets in base64")));
        }
        Ok(octets)
    }

    /// An object.
    ///
    /// # Errors
    /// It is none.
    pub fn object(&self) -> Result<Fields<'a>, Problem> {
        let map = self
            .value
            .as_object()
            .ok_or_else(|| self.breaks("must be an object"))?;
        Ok(Fields {
            map,
            at: self.at.clone(),
        })
    }

    /// An array of 1 to `greatest` elements.
    ///
    /// # Errors
    /// It is none.
    pub fn array(&self, greatest: usize) -> Result<Vec<Self>, Problem> {
        let items = self
            .value
            .as_array()
            .ok_or_else(|| self.breaks("must be an array"))?;
        if items.is_empty() || items.len() > greatest {
            return Err(self.breaks(format!("must have 1 to {greatest} elements")));
        }
        let element = |(i, value)| Self {
            value,
            at: format!("{}/{i}", self.at),
            is_optional: self.is_optional,
        };
        Ok(items.iter().enumerate().map(element).collect())
    }
}

/// Puts a member into an object.
pub fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(name.to_owned(), value.into());
    }
}

/// Octets as base64 with padding.
pub fn to_base64(octets: &[u8]) -> String {
    Base64::encode_string(octets)
}

/// Octets from base64; `None` when it is none. Padding may be left out, as in a path or query it easily gets lost.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut text = text.to_owned();
    while !text.is_empty() && !text.len().is_multiple_of(4) {
        text.push('=');
    }
    Base64::decode_vec(&text).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_brackets_outside_strings() {
        assert_eq!(depth(br#"{"a":["[[[[","\"[{"],"b":{}}"#), 2);
        let deep = [b'['; 100_000];
        assert_eq!(parse(&deep).unwrap_err().status, 400);
        let fits = [vec![b'['; DEPTH_MAX], vec![b']'; DEPTH_MAX]].concat();
        assert!(parse(&fits).is_ok());
    }

    /// Found by fuzzing: a number of many digits came back as its neighbour.
    #[test]
    fn a_number_comes_back_as_it_was() {
        for text in ["11e028", "0.1", "1e-7", "2.2250738585072014e-308"] {
            let value = parse(text.as_bytes()).unwrap();
            assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value);
        }
    }

    #[test]
    fn an_error_names_the_field() {
        let body = parse(br#"{"list":[{"randD":"zz"}]}"#).unwrap();
        let list = Fields::of(&body).unwrap().required("list").unwrap();
        let item = list.array(4).unwrap().remove(0).object().unwrap();
        let problem = item.required("randD").unwrap().hex::<16>().unwrap_err();
        assert_eq!(problem.invalid_params[0].0, "/list/0/randD");
        let problem = item.required("randN").unwrap_err();
        assert_eq!(problem.cause, "MANDATORY_IE_MISSING");
        assert_eq!(problem.invalid_params[0].0, "/list/0/randN");
    }

    #[test]
    fn base64_with_and_without_padding() {
        for octets in [&b""[..], b"a", b"ab", b"abc", b"\xff\xfe"] {
            let text = to_base64(octets);
            assert_eq!(from_base64(&text).unwrap(), octets);
            assert_eq!(from_base64(text.trim_end_matches('=')).unwrap(), octets);
        }
        assert!(from_base64("a").is_none() && from_base64("a!==").is_none());
    }
}
