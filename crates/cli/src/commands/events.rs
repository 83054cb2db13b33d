//! `metalform events`: what happened to a cluster, in order.

use crate::{
    context::Context,
    error::CliError,
    event_stream::follow_events,
    timeline::{Times, event_line},
};
use clap::Args;
use metalform_model::Event;

/// Show a cluster's timeline
#[derive(Debug, Args)]
pub struct Events {
    /// The cluster's name
    cluster: String,
    /// Go on with what happens from now on, until the cluster is released
    #[arg(long, short)]
    follow: bool,
}

/// Runs it.
pub async fn run(context: &Context, args: &Events) -> Result<(), CliError> {
    let client = context.client().await?;
    if args.follow {
        let mut stream = follow_events(&client, &args.cluster, 0);
        while let Some(event) = stream.next().await {
            show(context, &event?)?;
            if context.out.reader_is_gone() {
                break;
            }
        }
        return Ok(());
    }
    let mut last = 0;
    loop {
        let page = client.events(&args.cluster, last).await?;
        let Some(event) = page.last() else { return Ok(()) };
        last = event.seq;
        page.iter().try_for_each(|event| show(context, event))?;
    }
}

fn show(context: &Context, event: &Event) -> Result<(), CliError> {
    match context.json {
        true => context.out.json(event),
        false => context.out.data(&event_line(event, Times::Absolute, false)),
    }
}
