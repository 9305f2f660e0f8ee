//! What the check found.

use serde_json::json;

use super::Checked;
use crate::table::Column;
use crate::table::lay_out;
use crate::text::clean;

/// A table for people, the reason below each endpoint that is not good, and a last line that sums up.
pub(super) fn table(checked: &[Checked], health: bool, width: Option<usize>) -> String {
    let good = if health { "SERVING" } else { "CONNECTED" };
    let result = |one: &Checked| if one.error.is_some() { "FAILED" } else { good };
    let mut columns = vec![
        Column::words("ENDPOINT", checked.iter().map(|one| one.endpoint.key().to_string())),
        Column::words("RESULT", checked.iter().map(|one| result(one).to_owned())),
        Column::numbers("TIME", checked.iter().map(|one| format!("{} ms", one.took.as_millis()))),
        Column::words("ID", checked.iter().map(|one| one.endpoint.attributes.id.as_deref().unwrap_or_default().to_owned())),
    ];
    columns.retain(|column| !column.is_empty());
    let mut text = String::new();
    if !checked.is_empty() {
        let (lines, _) = lay_out(&columns, width);
        let reasons = std::iter::once(None).chain(checked.iter().map(|one| one.error.as_deref()));
        for (line, reason) in lines.into_iter().zip(reasons) {
            text += &format!("{line}\n");
            text += &reason.map(|reason| format!("    {}\n", clean(reason))).unwrap_or_default();
        }
    }
    text + &sum(checked) + "\n"
}

fn sum(checked: &[Checked]) -> String {
    let failed = checked.iter().filter(|one| one.error.is_some()).count();
    match (checked.len(), failed) {
        (0, _) => "the target resolved to no endpoints".to_owned(),
        (1, 0) => "1 endpoint is good".to_owned(),
        (all, 0) => format!("all {all} endpoints are good"),
        (all, failed) => format!("{failed} of {all} endpoints failed"),
    }
}

/// One object per endpoint: what is known of it, whether it is good, how long that took, and why not.
pub(super) fn objects(checked: &[Checked]) -> String {
    let object = |one: &Checked| {
        let mut object = crate::text::json(&one.endpoint);
        object["good"] = one.error.is_none().into();
        object["milliseconds"] = json!(one.took.as_micros() as f64 / 1000.0);
        object["error"] = one.error.as_deref().into();
        format!("{object}\n")
    };
    checked.iter().map(object).collect()
}
