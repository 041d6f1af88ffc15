//! The results as one page of HTML with sequence diagrams in SVG: nothing is loaded from anywhere. The same results give the
//! same octets.

use std::fmt::Write as _;

use super::arena::{Actor, Step};
use super::{Row, Run, Verdict};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2530}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #d8dee6;vertical-align:top}\
.holds{color:#0a6b3d}.broken,.proves_nothing{color:#b3261e}.open{color:#8a6100}\
section{margin:2.5rem 0}.runs{display:flex;flex-wrap:wrap;gap:1.5rem}.runs>div{flex:1 1 26rem}\
svg{width:100%;height:auto;font:12px system-ui,sans-serif}@media(prefers-color-scheme:dark){body{background:#12171d;color:#dde4ec}\
td,th{border-color:#33404d}svg{background:#dde4ec;border-radius:4px}.holds{color:#5fd39b}.open{color:#e0b64a}.broken,.proves_nothing{color:#ff8a80}}";

/// The page.
pub fn page(rows: &[Row], seed: u64) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Ambit: attacks, seed {seed}</title>\n<style>{STYLE}</style>\n<h1>Attacks</h1>\n\
         <p>Each row of the threat list, run against the product's own code with seed {seed}, and beside it the control: the same \
         attack where the defence is left out, which it must win. <code>ambit lab attack all --seed {seed}</code> gives this page again.</p>\n\
         <table><tr><th>row</th><th>attack</th><th>must happen</th><th>verdict</th></tr>\n"
    );
    for row in rows {
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "<tr><td><a href=\"#{0}\">{0}</a></td><td>{1}</td><td>{2}</td><td class=\"{3}\">{4}</td></tr>",
            row.id,
            escape(row.attack),
            escape(row.must),
            class(row.verdict),
            name(row.verdict)
        );
    }
    page.push_str("</table>\n");
    for row in rows {
        section(&mut page, row);
    }
    page.push_str("</html>\n");
    page
}

fn section(page: &mut String, row: &Row) {
    let _ = write!(
        page,
        "<section id=\"{}\"><h2>{} <span class=\"{}\">{}</span></h2>\n<p>{}. Must happen: {}. Defence: {}.</p>\n",
        row.id,
        row.id,
        class(row.verdict),
        name(row.verdict),
        escape(row.attack),
        escape(row.must),
        escape(row.defence)
    );
    if let Some(why) = row.open {
        let _ = writeln!(page, "<p>Open: {}.</p>", escape(why));
    }
    if let Some(exception) = row.exception {
        let _ = writeln!(page, "<p>Exception: {}.</p>", escape(exception));
    }
    page.push_str("<div class=\"runs\">\n");
    if let Some(run) = &row.run {
        one_run(page, "The product", run);
    }
    if let (Some(lacks), Some(control)) = (row.control_lacks, &row.control) {
        one_run(page, &format!("Control: {lacks}"), control);
    }
    page.push_str("</div></section>\n");
}

fn one_run(page: &mut String, title: &str, run: &Run) {
    let came = if run.stopped {
        "attack stopped"
    } else {
        "attack won"
    };
    let _ = write!(page, "<div><h3>{}: {came}</h3>\n<table>\n", escape(title));
    for figure in &run.figures {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td></tr>",
            escape(figure.name),
            figure.value
        );
    }
    page.push_str("</table>\n");
    if !run.steps.is_empty() {
        diagram(page, &run.steps);
    }
    page.push_str("</div>\n");
}

const WIDTH: u32 = 480;
const ROW: u32 = 34;

const fn x(actor: Actor) -> u32 {
    match actor {
        Actor::Device => 60,
        Actor::Adversary => 240,
        Actor::Network => 420,
    }
}

fn diagram(page: &mut String, steps: &[Step]) {
    let rows = u32::try_from(steps.len()).unwrap_or(0);
    let height = 40 + rows * ROW;
    let _ = writeln!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"message sequence\">"
    );
    for (actor, label) in [
        (Actor::Device, "device"),
        (Actor::Adversary, "adversary"),
        (Actor::Network, "network"),
    ] {
        let at = x(actor);
        let _ = writeln!(
            page,
            "<text x=\"{at}\" y=\"16\" text-anchor=\"middle\" font-weight=\"bold\">{label}</text>\
             <line x1=\"{at}\" y1=\"22\" x2=\"{at}\" y2=\"{height}\" stroke=\"#9aa7b4\"/>"
        );
    }
    for (at, step) in (0u32..).zip(steps) {
        let y = 52 + at * ROW;
        let (from, to) = (x(step.from), x(step.to));
        let text = escape(&step.text);
        if from == to {
            let anchor = if step.to == Actor::Network {
                "end"
            } else {
                "start"
            };
            let beside = if step.to == Actor::Network {
                to - 8
            } else {
                to + 8
            };
            let _ = writeln!(
                page,
                "<circle cx=\"{to}\" cy=\"{y}\" r=\"3\"/><text x=\"{beside}\" y=\"{}\" text-anchor=\"{anchor}\" font-style=\"italic\">{text}</text>",
                y + 4
            );
            continue;
        }
        let (head, middle) = (if from < to { to - 7 } else { to + 7 }, (from + to) / 2);
        let color = if step.from == Actor::Adversary {
            "#b3261e"
        } else {
            "#1c2530"
        };
        let _ = writeln!(
            page,
            "<line x1=\"{from}\" y1=\"{y}\" x2=\"{to}\" y2=\"{y}\" stroke=\"{color}\"/>\
             <path d=\"M{to} {y}L{head} {}L{head} {}Z\" fill=\"{color}\"/>\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"{color}\">{text}</text>",
            y - 4,
            y + 4,
            y - 5
        );
    }
    page.push_str("</svg>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::HoldsExcept => "open",
        Verdict::Broken => "broken",
        Verdict::ProvesNothing => "proves_nothing",
        Verdict::Open => "open",
    }
}

/// A verdict for people.
pub const fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::HoldsExcept => "holds, but",
        Verdict::Broken => "broken",
        Verdict::ProvesNothing => "proves nothing",
        Verdict::Open => "open",
    }
}
