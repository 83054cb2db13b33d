//! `metalform audit export`: the audit as JSON lines, with the signed head that proves it. A file is there in full or not at
//! all.

use crate::{client::Client, context::Context, error::CliError};
use clap::Args;
use metalform_store::{AUDIT_EXPORT_VERSION, AuditExport, AuditHead};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Write the audit out as JSON lines, with the signed head that proves it
#[derive(Debug, Args)]
pub struct Export {
    /// Begin after this line; an export that begins with the first is checked from there
    #[arg(long, value_name = "SEQ", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    after: i64,
    /// Write it to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs it.
pub async fn run(context: &Context, args: &Export) -> Result<(), CliError> {
    let client = context.client().await?;
    let Some(head) = client.audit_head().await?.head else {
        context.out.note("nothing is recorded");
        return Ok(());
    };
    let Some(path) = &args.output else {
        return write(&client, &head, args.after, |text| context.out.data(text)).await;
    };
    let failed = |doing: &'static str| move |source: io::Error| CliError::File { doing, path: path.clone(), source };
    let half_done = beside(path);
    let opened = File::options().create(true).truncate(true).write(true).mode(0o600).open(&half_done);
    let mut file = BufWriter::new(opened.map_err(failed("create"))?);
    let written = write(&client, &head, args.after, |text| writeln!(file, "{text}").map_err(failed("write"))).await;
    let finished = written.and_then(|()| {
        let file = file.into_inner().map_err(|error| failed("write")(error.into_error()))?;
        file.sync_all().and_then(|()| std::fs::rename(&half_done, path)).map_err(failed("write"))
    });
    if finished.is_err() {
        // Whoever is told of the error need not be told that a leftover can't be removed.
        std::fs::remove_file(&half_done).ok();
    }
    finished?;
    context.out.note(&format!("the audit up to line {} is in {}", head.seq, path.display()));
    Ok(())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

async fn write(
    client: &Client,
    head: &AuditHead,
    after: i64,
    mut put: impl FnMut(&str) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let text = |document: Result<String, serde_json::Error>| document.map_err(|error| CliError::Output(error.into()));
    let header = AuditExport { metalform_audit: AUDIT_EXPORT_VERSION, after, head: head.clone() };
    put(&text(serde_json::to_string(&header))?)?;
    let mut last = after;
    while last < head.seq {
        let page = client.audit(&[], last).await?;
        for line in page.iter().filter(|line| line.seq <= head.seq) {
            put(&text(serde_json::to_string(line))?)?;
        }
        match page.last() {
            Some(line) => last = line.seq,
            // A line that was signed is gone: the export says so to whoever checks it.
            None => break,
        }
    }
    Ok(())
}
