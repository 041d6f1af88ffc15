//! The comparison as one page of HTML with charts in SVG: nothing is loaded from anywhere.

use std::fmt::Write;

use super::energy::Energy;
use super::protocols::{Protocol, Source};
use super::table;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c2530}\
table{border-collapse:collapse;width:100%;font-size:13px}td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #d8dee6;vertical-align:top}\
.n{text-align:right}svg{width:100%;height:auto;font:12px system-ui,sans-serif}";

/// Where bars begin, how long the longest is, and how far apart they are.
const LEFT: u32 = 290;
const LENGTH: u32 = 560;
const ROW: u32 = 26;

const UP: &str = "#2a6f97";
const DOWN: &str = "#a9d6e5";
const COMPUTING: &str = "#c9772b";
const WRITING: &str = "#7b6d8d";

/// The page.
pub fn page(protocols: &[Protocol], energy: &Energy) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Ambit: comparison</title>\n<style>{STYLE}</style>\n<h1>Ambit beside other protocols</h1>\n\
         <p>From nothing agreed to both sides authenticated and in possession of a key.</p>\n<h2>Octets</h2>\n"
    );
    let octets = |protocol: &Protocol| {
        vec![
            (protocol.octets_up as f64, UP),
            (protocol.octets_down as f64, DOWN),
        ]
    };
    chart(&mut page, protocols, &octets, |value| format!("{value:.0}"));
    key(
        &mut page,
        &[(UP, "from the device"), (DOWN, "to the device")],
    );
    page.push_str("<h2>Energy of the device, microjoule, logarithmic</h2>\n");
    // On a logarithmic scale parts do not add up to a bar: each has one of its own.
    for (title, at, color) in [
        ("Radio", 0, UP),
        ("Computing", 1, COMPUTING),
        ("Durable writes", 2, WRITING),
    ] {
        let _ = writeln!(page, "<h3>{title}</h3>");
        let counted: Vec<Protocol> = protocols
            .iter()
            .filter(|protocol| at == 0 || protocol.operations.is_some())
            .cloned()
            .collect();
        let value = |protocol: &Protocol| {
            let joule = energy.microjoule(protocol);
            joule.get(at).copied().unwrap_or(0.0)
        };
        let bars = |protocol: &Protocol| vec![((1.0 + value(protocol)).log10(), color)];
        chart(&mut page, &counted, &bars, |value| {
            format!("{:.0}", 10_f64.powf(value) - 1.0)
        });
    }
    figures(&mut page, protocols, energy);
    page.push_str("</html>\n");
    page
}

/// Horizontal bars of parts, each row's sum behind it.
fn chart(
    page: &mut String,
    protocols: &[Protocol],
    parts: &dyn Fn(&Protocol) -> Vec<(f64, &'static str)>,
    label: impl Fn(f64) -> String,
) {
    let sum = |protocol: &Protocol| parts(protocol).iter().map(|(value, _)| value).sum::<f64>();
    let greatest = protocols.iter().map(sum).fold(f64::MIN_POSITIVE, f64::max);
    let rows = u32::try_from(protocols.len()).unwrap_or(0);
    let (width, height) = (LEFT + LENGTH + 80, rows * ROW + 6);
    let _ = writeln!(
        page,
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"bar chart\">"
    );
    for (at, protocol) in (0_u32..).zip(protocols) {
        let (y, mut x) = (at * ROW + 4, f64::from(LEFT));
        let _ = write!(
            page,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8,
            y + 14,
            escape(protocol.name)
        );
        for (value, color) in parts(protocol) {
            let length = value / greatest * f64::from(LENGTH);
            let _ = write!(
                page,
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{length:.1}\" height=\"18\" fill=\"{color}\"/>"
            );
            x += length;
        }
        let _ = writeln!(
            page,
            "<text x=\"{:.1}\" y=\"{}\">{}</text>",
            x + 6.0,
            y + 14,
            label(sum(protocol))
        );
    }
    page.push_str("</svg>\n");
}

fn key(page: &mut String, colors: &[(&str, &str)]) {
    page.push_str("<p>");
    for (color, means) in colors {
        let _ = write!(
            page,
            "<span style=\"display:inline-block;width:.8em;height:.8em;background:{color}\"></span> {means} &nbsp; "
        );
    }
    page.push_str("</p>\n");
}

fn figures(page: &mut String, protocols: &[Protocol], energy: &Energy) {
    page.push_str(
        "<h2>Figures</h2>\n<table><tr><th>protocol</th><th>messages</th><th>octets</th><th>round trips</th><th>AES</th><th>SHA-256</th>\
         <th>EC</th><th>writes</th><th>radio</th><th>computing</th><th>writing</th><th>from</th></tr>\n",
    );
    for protocol in protocols {
        let [radio, computing, writing] = table::joules(protocol, energy);
        let (Source::Measured(source) | Source::Cited(source)) = protocol.source;
        let cells = [
            format!("{} + {}", protocol.messages_up, protocol.messages_down),
            format!("{} + {}", protocol.octets_up, protocol.octets_down),
            escape(protocol.round_trips),
            table::figure(protocol, |done| done.aes_blocks),
            table::figure(protocol, |done| done.sha256_blocks),
            table::figure(protocol, |done| done.ec_multiplications),
            table::figure(protocol, |done| done.durable_writes),
            radio,
            computing,
            writing,
        ];
        let _ = write!(page, "<tr><td>{}</td>", escape(protocol.name));
        for cell in cells {
            let _ = write!(page, "<td class=\"n\">{cell}</td>");
        }
        let _ = writeln!(page, "<td>{}</td></tr>", escape(source));
    }
    page.push_str(
        "</table>\n<h2>Properties</h2>\n<table><tr><th>protocol</th><th>early data</th><th>mutual</th><th>key confirmation</th>\
         <th>identity</th><th>has to keep in step</th><th>state at the network</th><th>forward secrecy</th></tr>\n",
    );
    for protocol in protocols {
        let words = &protocol.properties;
        let _ = write!(page, "<tr><td>{}</td>", escape(protocol.name));
        for word in [
            words.early_data,
            words.mutual,
            words.key_confirmation,
            words.identity_privacy,
            words.desynchronisation,
            words.network_state,
            words.forward_secrecy,
        ] {
            let _ = write!(page, "<td>{}</td>", escape(word));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
