//! `metalform audit list`: the lines that are asked for, oldest first.

use crate::{audit_stream::follow_audit, context::Context, error::CliError, output::clean};
use clap::Args;
use metalform_model::Timestamp;
use metalform_store::AuditLine;
use std::time::Duration;

/// Lines in one answer of the service, at most.
const PAGE: u32 = 1000;

/// Show the audit; a value that ends in * is a beginning
#[derive(Debug, Args)]
pub struct List {
    /// By whom: operator, anonymous, "node server-001"
    #[arg(long)]
    who: Option<String>,
    /// What was tried: boot.script, "api.*"
    #[arg(long)]
    action: Option<String>,
    /// On what: a path of the API, a server id, an address, a file
    #[arg(long)]
    target: Option<String>,
    /// From which address
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// How it ended: ok, "refused:*"
    #[arg(long)]
    outcome: Option<String>,
    /// From this moment on, such as 2026-01-31T12:00:00Z, or so long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Before this moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
    /// Lines after this one
    #[arg(long, value_name = "SEQ", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    after: i64,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// The newest so many
    #[arg(long, value_name = "N", conflicts_with = "limit", value_parser = clap::value_parser!(u64).range(1..=1000))]
    last: Option<u64>,
    /// Go on with what comes from now on
    #[arg(long, short, conflicts_with_all = ["limit", "until"])]
    follow: bool,
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    At(Timestamp),
    Ago(Duration),
}

impl Moment {
    fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Moment::At(at) => at,
            Moment::Ago(span) => now - span,
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = text.parse() {
        return Ok(Moment::At(at));
    }
    let span = text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.map(Moment::Ago).ok_or_else(|| "neither a moment such as 2026-01-31T12:00:00Z nor a span such as 2h".into())
}

impl List {
    fn filter(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let moment = |moment: Option<Moment>| moment.map(|moment| moment.from(now).to_string());
        [
            ("who", self.who.clone()),
            ("action", self.action.clone()),
            ("target", self.target.clone()),
            ("source", self.source.clone()),
            ("outcome", self.outcome.clone()),
            ("since", moment(self.since)),
            ("until", moment(self.until)),
            ("last", self.last.map(|last| last.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// Runs it.
pub async fn run(context: &Context, args: &List) -> Result<(), CliError> {
    let client = context.client().await?;
    let filter = args.filter(context.now());
    let show = |line: &AuditLine| match context.json {
        true => context.out.json(line),
        false => context.out.data(&row(line)),
    };
    if !context.json {
        context.out.data(&columns(["SEQ", "TIME", "WHO", "ACTION", "OUTCOME", "SOURCE", "TARGET"]))?;
    }
    if args.follow {
        let mut stream = follow_audit(&client, filter, args.after);
        while let Some(line) = stream.next().await {
            show(&line?)?;
            if context.out.reader_is_gone() {
                break;
            }
        }
        return Ok(());
    }
    let (mut after, mut left) = (args.after, args.limit.unwrap_or(u64::MAX));
    while left > 0 {
        let mut filter = filter.clone();
        let wanted = left.min(u64::from(PAGE));
        if args.last.is_none() {
            filter.push(("limit", wanted.to_string()));
        }
        let page = client.audit(&filter, after).await?;
        page.iter().try_for_each(show)?;
        let Some(last) = page.last().filter(|_| args.last.is_none() && page.len() as u64 == wanted) else { break };
        after = last.seq;
        left -= page.len() as u64;
        if context.out.reader_is_gone() {
            break;
        }
    }
    Ok(())
}

fn row(line: &AuditLine) -> String {
    let at = line.at.to_string();
    let at = at.split_once('.').map_or(at.clone(), |(seconds, _)| format!("{seconds}Z"));
    let [who, action, outcome, source, target] =
        [&line.who, &line.action, &line.outcome, &line.source, &line.target].map(|text| clean(text));
    columns([&line.seq.to_string(), &at, &who, &action, &outcome, &source, &target])
}

/// What fits most lines: the widest isn't known while more come.
fn columns([seq, at, who, action, outcome, source, target]: [&str; 7]) -> String {
    format!("{seq:>7}  {at:<20}  {who:<16}  {action:<19}  {outcome:<22}  {source:<15}  {target}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_given_as_such_or_as_spans() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let of = |text: &str| moment(text).map(|moment| moment.from(now).to_string());
        assert_eq!(of("2026-01-02T03:04:05+01:00").unwrap(), "2026-01-02T02:04:05.000000Z");
        assert_eq!(of("2h 30m").unwrap(), "2026-01-31T09:30:00.000000Z");
        assert!(of("yesterday").unwrap_err().contains("2h"));
        assert!(of("-2h").is_err(), "that would be the future");
    }
}
