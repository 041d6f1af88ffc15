//! `multipart/related` (TS 29.500 clause 6.1.2.4): a JSON part, then binary parts that it refers to by content ID.

use serde_json::Value;

use crate::json;
use crate::problem::Problem;

/// A part after the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its content ID, without angle brackets; empty when it has none.
    pub id: String,
    /// Its media type without parameters; empty when it has none.
    pub media_type: String,
    /// What it holds.
    pub octets: Vec<u8>,
}

/// The parts after the first.
pub type Parts = Vec<Part>;

/// Parts at most.
const PARTS_MAX: usize = 8;

/// The boundary that a Content-Type names.
///
/// # Errors
/// It names none.
pub fn boundary(content_type: &str) -> Result<String, Problem> {
    let named = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then(|| value.trim().trim_matches('"'))
    });
    match named {
        Some(boundary) if !boundary.is_empty() && boundary.len() <= 70 => Ok(boundary.to_owned()),
        _ => Err(Problem::message_format(
            "Content-Type: must name a boundary of 1 to 70 characters",
        )),
    }
}

/// The JSON of the first part, and the others.
///
/// # Errors
/// It is no such body.
pub fn parse(octets: &[u8], boundary: &str) -> Result<(Value, Parts), Problem> {
    let broken = || Problem::message_format("the body is not multipart/related");
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    // The first delimiter may stand at the very beginning.
    let octets = [b"\r\n", octets].concat();
    let mut parts = Vec::new();
    let mut rest = octets.as_slice();
    let mut is_first = true;
    loop {
        let at = find(rest, &delimiter).ok_or_else(broken)?;
        let (part, after) = (rest.get(..at), rest.get(at + delimiter.len()..));
        let (part, after) = (part.ok_or_else(broken)?, after.ok_or_else(broken)?);
        if !is_first {
            if parts.len() == PARTS_MAX {
                return Err(Problem::message_format(format!(
                    "more than {PARTS_MAX} parts"
                )));
            }
            parts.push(split(part).ok_or_else(broken)?);
        }
        is_first = false;
        if after.starts_with(b"--") {
            break;
        }
        rest = after;
    }
    let mut parts = parts.into_iter();
    let first = parts.next().ok_or_else(broken)?;
    let json = json::parse(&first.octets)?;
    Ok((json, parts.collect()))
}

/// A body of a JSON part and one binary part.
pub fn build(
    json: &Value,
    content_id: &str,
    media_type: &str,
    binary: &[u8],
    boundary: &str,
) -> Vec<u8> {
    let mut out = format!(
        "--{boundary}\r\nContent-Type: application/json\r\n\r\n{json}\r\n--{boundary}\r\n\
         Content-Type: {media_type}\r\nContent-Id: {content_id}\r\n\r\n"
    )
    .into_bytes();
    out.extend_from_slice(binary);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

/// A part, whose header begins after the end of the delimiter's line.
fn split(part: &[u8]) -> Option<Part> {
    let at = find(part, b"\r\n\r\n")?;
    let header = std::str::from_utf8(part.get(..at)?).ok()?;
    let field = |wanted: &str| {
        header.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case(wanted)
                .then(|| value.trim())
        })
    };
    let id = field("content-id").unwrap_or_default();
    let media_type = field("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default();
    Some(Part {
        id: id.trim_matches(['<', '>']).to_owned(),
        media_type: media_type.trim().to_ascii_lowercase(),
        octets: part.get(at + 4..)?.to_vec(),
    })
}

/// A boundary that does not stand in an octet string.
pub fn boundary_for(binary: &[u8]) -> String {
    let mut boundary = "ambit".to_owned();
    let mut n = 0_u32;
    while find(binary, boundary.as_bytes()).is_some() {
        n = n.wrapping_add(1);
        boundary = format!("ambit-{n}");
    }
    boundary
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_built_is_parsed_and_damage_is_an_error() {
        let binary: Vec<u8> = (0..=255).collect();
        let body = build(
            &json!({"a": 1}),
            "n2",
            "application/vnd.3gpp.ngap",
            &binary,
            "xx",
        );
        let (json, parts) = parse(&body, "xx").unwrap();
        assert_eq!(
            (json, parts),
            (
                json!({"a": 1}),
                vec![Part {
                    id: "n2".into(),
                    media_type: "application/vnd.3gpp.ngap".into(),
                    octets: binary
                }]
            )
        );
        for cut in 0..body.len() - 4 {
            assert!(parse(&body[..cut], "xx").is_err(), "{cut}");
        }
        assert!(boundary("multipart/related; boundary=\"xx\"").unwrap() == "xx");
        assert!(boundary("multipart/related").is_err());
    }

    #[test]
    fn a_boundary_never_stands_in_what_it_bounds() {
        let binary = b"\r\n--ambit\r\n--ambit-1--\r\nambit-2".to_vec();
        let boundary = boundary_for(&binary);
        let body = build(&json!({}), "n2", "a/b", &binary, &boundary);
        assert_eq!(parse(&body, &boundary).unwrap().1[0].octets, binary);
    }
}
