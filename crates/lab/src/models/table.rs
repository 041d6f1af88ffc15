//! The results as a page: Markdown, the same for the same results.

use std::fmt::Write as _;

use super::{Row, Verdict};

/// The methods, in the order of the columns.
const METHODS: [&str; 5] = ["beacon", "concealed", "counter", "uicc", "dt"];

/// The page `docs/reference/models.md`.
pub fn page(rows: &[Row]) -> String {
    let mut page = String::from(
        "# What the models show\n\n\
         Written by `ambit lab models --markdown`; what the figures mean and what they do not is in\n\
         [what is proved](../explanation/what-is-proved.md). *holds*: no attack within the bounds; *fails*: an attack was found.\n\n\
         ## By property and method\n\n",
    );
    for (tool, title) in [
        (
            "verifpal",
            "Symbolic models, two sessions of every principal.",
        ),
        (
            "stateright",
            "State machines, all states within their bounds.",
        ),
    ] {
        let rows: Vec<&Row> = rows
            .iter()
            .filter(|row| row.tool == tool && !row.broken)
            .collect();
        // Writing to a string does not fail.
        let _ = writeln!(page, "{title}\n");
        matrix(&mut page, &rows);
    }
    page.push_str(
        "## Broken twins\n\n\
         Each lacks one thing, and the property that hangs on it must fail.\n\n\
         | twin | property | expected | found |\n| --- | --- | --- | --- |\n",
    );
    let is_shown = |row: &&Row| row.broken && row.expected == Verdict::Fails;
    for row in rows.iter().filter(is_shown) {
        let _ = writeln!(
            page,
            "| `{}` | {} | fails | {} |",
            row.model,
            row.property,
            name(row.found)
        );
    }
    page.push_str("\n## States searched\n\n| state machine | states |\n| --- | --- |\n");
    let mut last = "";
    for row in rows {
        if let Some(states) = row.states.filter(|_| row.model != last) {
            last = row.model;
            let _ = writeln!(page, "| `{}` | {states} |", row.model);
        }
    }
    page
}

fn matrix(page: &mut String, rows: &[&Row]) {
    let methods: Vec<&str> = METHODS
        .into_iter()
        .filter(|method| rows.iter().any(|row| row.method == *method))
        .collect();
    let _ = writeln!(page, "| property | {} |", methods.join(" | "));
    let _ = writeln!(page, "| --- |{}", " --- |".repeat(methods.len()));
    let mut properties: Vec<&str> = Vec::new();
    for row in rows {
        if !properties.contains(&row.property.as_str()) {
            properties.push(&row.property);
        }
    }
    for property in properties {
        let cells = methods.iter().map(|method| {
            let mut of_cell = rows
                .iter()
                .filter(|row| row.method == *method && row.property == property)
                .peekable();
            if of_cell.peek().is_none() {
                return "-";
            }
            // Several models of a method may ask the same; one that fails counts.
            let failed = of_cell.find(|row| row.found != Some(Verdict::Holds));
            name(failed.map_or(Some(Verdict::Holds), |row| row.found))
        });
        let cells: Vec<&str> = cells.collect();
        let _ = writeln!(page, "| {property} | {} |", cells.join(" | "));
    }
    page.push('\n');
}

/// A verdict's name.
pub const fn name(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Holds) => "holds",
        Some(Verdict::Fails) => "fails",
        None => "not run",
    }
}
