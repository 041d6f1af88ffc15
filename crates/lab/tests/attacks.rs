//! The threat list: every row that can be run holds, every control is won by the attack, and the same seed gives the same
//! report.
#![allow(clippy::unwrap_used)] // Tests: a failure is a panic.

use ambit_lab::attack::{Row, THREATS, Verdict, report, select};

/// Rows that wait for parts still to come.
const OPEN: [&str; 0] = [];

/// Rows that hold but for what they say.
const WITH_EXCEPTION: [&str; 1] = ["T16"];

/// Rows whose control the threat list leaves out.
const WITHOUT_CONTROL: [&str; 4] = ["T09", "T17", "T24", "T25"];

fn check(row: &Row) {
    let expected = match row.id {
        id if OPEN.contains(&id) => Verdict::Open,
        id if WITH_EXCEPTION.contains(&id) => Verdict::HoldsExcept,
        _ => Verdict::Holds,
    };
    let has_exception = WITH_EXCEPTION.contains(&row.id);
    assert_eq!(row.exception.is_some(), has_exception, "{}", row.id);
    assert_eq!(row.verdict, expected, "{row:#?}");
    let is_run = !OPEN.contains(&row.id);
    assert_eq!(row.run.is_some(), is_run, "{}", row.id);
    let has_control = is_run && !WITHOUT_CONTROL.contains(&row.id);
    assert_eq!(row.control.is_some(), has_control, "{}", row.id);
}

#[test]
fn every_attack_is_stopped_and_every_control_is_won() {
    let rows_of = |seed| -> Vec<Row> {
        let threats = THREATS.iter().filter(|threat| threat.id != "T11");
        threats.map(|threat| threat.run(seed).unwrap()).collect()
    };
    let rows = rows_of(1);
    rows.iter().for_each(check);
    assert_eq!(report::page(&rows, 1), report::page(&rows_of(1), 1));
    rows_of(2).iter().for_each(check);
}

#[test]
fn a_hundred_thousand_reports_link_to_nothing_and_a_fixed_t_id_does() {
    let threat = THREATS.iter().find(|threat| threat.id == "T11").unwrap();
    check(&threat.run(1).unwrap());
}

#[test]
fn rows_are_selected_by_id_and_an_unknown_one_is_named() {
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(select(&[]).unwrap().len(), 25);
    assert_eq!(select(&ids(&["all"])).unwrap().len(), 25);
    let some = select(&ids(&["t07", "T01"])).unwrap();
    assert_eq!(
        some.iter().map(|t| t.id).collect::<Vec<_>>(),
        ["T01", "T07"]
    );
    let error = select(&ids(&["T26"])).unwrap_err();
    assert!(error.to_string().starts_with("T26: no such threat"));
}
