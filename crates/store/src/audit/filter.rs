//! Which lines are wanted.

use super::line::{AuditLine, AuditRow, COLUMNS};
use crate::error::{Doing, Result};
use metalform_model::Timestamp;
use sqlx::{QueryBuilder, Sqlite, SqlitePool};

/// Takes every line, as it is made; each part that is set narrows that. A text that ends in `*` takes what begins like it,
/// any other takes itself alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFilter {
    /// Lines after this one.
    pub after: i64,
    /// By whom.
    pub who: Option<String>,
    /// What was tried.
    pub action: Option<String>,
    /// On what.
    pub target: Option<String>,
    /// From where.
    pub source: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// From then on.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
    /// The newest of them instead of the oldest. Oldest first all the same.
    pub newest: bool,
}

impl Default for AuditFilter {
    fn default() -> Self {
        AuditFilter {
            after: 0,
            who: None,
            action: None,
            target: None,
            source: None,
            outcome: None,
            since: None,
            until: None,
            limit: 1000,
            newest: false,
        }
    }
}

pub(super) async fn page_of(pool: &SqlitePool, filter: &AuditFilter) -> Result<Vec<AuditLine>> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(format!("SELECT {COLUMNS} FROM audit WHERE seq > "));
    query.push_bind(filter.after);
    for (column, wanted) in [
        ("who", &filter.who),
        ("action", &filter.action),
        ("target", &filter.target),
        ("source", &filter.source),
        ("outcome", &filter.outcome),
    ] {
        let Some(wanted) = wanted else { continue };
        match wanted.strip_suffix('*') {
            // Not LIKE: the text may hold its signs, and case counts.
            Some(start) => query
                .push(format!(" AND substr({column}, 1, "))
                .push_bind(i64::try_from(start.chars().count()).unwrap_or(i64::MAX))
                .push(") = ")
                .push_bind(start),
            None => query.push(format!(" AND {column} = ")).push_bind(wanted),
        };
    }
    if let Some(since) = filter.since {
        query.push(" AND at >= ").push_bind(since.0);
    }
    if let Some(until) = filter.until {
        query.push(" AND at < ").push_bind(until.0);
    }
    query.push(if filter.newest { " ORDER BY seq DESC LIMIT " } else { " ORDER BY seq LIMIT " });
    query.push_bind(i64::from(filter.limit));
    let rows: Vec<AuditRow> = query.build_query_as().fetch_all(pool).await.doing("read the audit")?;
    let mut lines: Vec<AuditLine> = rows.into_iter().map(AuditRow::line).collect();
    if filter.newest {
        lines.reverse();
    }
    Ok(lines)
}
