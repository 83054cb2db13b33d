//! What the targets of `fuzz/` call of what is nobody else's business. With the feature `fuzzing` alone.

use crate::{
    query::read_query,
    routes::read_report,
    script::{ScriptValues, render_any},
};
use metalform_model::Report;

/// The token that a query shows, and whether there was more in it.
pub fn query(raw: &str) -> (Option<&str>, bool) {
    let query = read_query(Some(raw));
    (query.token, query.has_more)
}

/// A machine's report, if it would be taken.
pub fn report(bytes: &[u8]) -> Option<Report> {
    read_report(bytes).ok()
}

/// The script that a template makes of these values, if the template would be taken and the values are in order.
pub fn script(template: &str, values: &ScriptValues<'_>) -> Option<String> {
    render_any(template, values)
}
