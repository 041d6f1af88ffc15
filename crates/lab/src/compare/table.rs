//! The comparison as a page.

use std::fmt::Write;

use super::{AXES, Phase, Row};

const START: &str = "# What the credential modes cost

`ambit lab compare --markdown` prints this page; a test holds it against what the command prints.

Each mode runs alone: one device, one reader, no loss, the whole core behind it. Everything is counted by wrappers around running code: an ear
on the air, the card reader, the device's credential and memory, the store. *First* is everything from power-on to the ACCEPT of the first
report; a card is selected and read in it. *Steady* is one item in a new epoch, after two earlier ones: a beacon device then makes its anchor durable once. One of the transactions is a checkpoint
of the evidence chain (one row), which in a busy network stands for all records of its interval.

";

const END: &str = "
Not counted: seals and their tags (two PRF evaluations for the keys, one for the tag and a keystream, in every mode and both ways), the steps of the beacon
chain, the hashes of an AKA on the device, and what the network computes. A card that keeps K costs two AUTHENTICATEs a report, and the device's counter stays
outside it. 5G AKA with NAS registration as phones do it does not run here, so it has no row: the first exchange of a UICC mode has its
shape, four messages and one AUTHENTICATE, and a network without K_AIOT would need that for every report.
";

/// The page.
pub fn page(rows: &[Row]) -> String {
    let mut page = START.to_owned();
    for phase in [Phase::First, Phase::Steady] {
        let title = match phase {
            Phase::First => "First exchange",
            Phase::Steady => "Steady state",
        };
        let _ = write!(page, "## {title}\n\n| method | form |");
        for axis in AXES {
            let _ = write!(page, " {} |", axis.heading);
        }
        page.push_str("\n| --- | --- |");
        page.extend(AXES.iter().map(|_| " ---: |"));
        page.push('\n');
        for row in rows.iter().filter(|row| row.phase == phase) {
            let _ = write!(page, "| {} | {} |", row.method, row.form);
            for axis in AXES {
                let _ = write!(page, " {} |", (axis.of)(&row.cost));
            }
            page.push('\n');
        }
        page.push('\n');
    }
    page.push_str("Columns, from left to right:\n\n");
    for axis in AXES {
        let _ = writeln!(page, "- `{}` ({}): {}", axis.name, axis.heading, axis.means);
    }
    page.push_str(END);
    page
}
