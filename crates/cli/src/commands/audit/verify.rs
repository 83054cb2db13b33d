//! `metalform audit verify`: whether the audit is as it was written. Reads the data folder, beside a running service or without
//! one, or an export anywhere.

use crate::{context::Context, error::CliError};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use metalform_store::{AuditHeadError, AuditPublicKey, AuditReader, AuditReport, StoreError, check_audit_export};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

/// Check that no line of the audit was changed, moved, taken out or cut off
#[derive(Debug, Args)]
pub struct Verify {
    /// A line that is known from elsewhere: its number and its hash; may be given several times
    #[arg(long, value_name = "SEQ:HASH", value_parser = known)]
    head: Vec<(i64, String)>,
    /// Check this export instead of the data folder; - for standard input
    #[arg(long, value_name = "EXPORT", requires = "key")]
    from_file: Option<PathBuf>,
    /// The public key that the heads were signed for; several after a change of keys [default: audit.pub of the data folder]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

fn known(text: &str) -> Result<(i64, String), String> {
    let parts = text.split_once(':').and_then(|(seq, hash)| Some((seq.parse::<i64>().ok().filter(|n| *n > 0)?, hash)));
    match parts {
        Some((seq, hash)) if hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()) => {
            Ok((seq, hash.to_ascii_lowercase()))
        }
        _ => Err("write SEQ:HASH, the number of a line and the 64 hex digits of its hash".into()),
    }
}

/// Runs it.
pub async fn run(context: &Context, args: &Verify) -> Result<(), CliError> {
    let (report, place) = match &args.from_file {
        Some(export) => (check_export(export, args)?, export.display().to_string()),
        None => check_folder(context, args).await?,
    };
    match context.json {
        true => context.out.json(&document(&report))?,
        false if report.is_whole() => context.out.data(&summary(&report, &place))?,
        false => {}
    }
    report.notes.iter().for_each(|note| context.out.note(note));
    match report.is_whole() {
        true => Ok(()),
        false => Err(CliError::BrokenAudit(Box::new(report))),
    }
}

async fn check_folder(context: &Context, args: &Verify) -> Result<(AuditReport, String), CliError> {
    let folder = context.load_config_of_client()?.data_dir;
    let keys = match args.key.is_empty() {
        true => read_keys(&[folder.join("audit.pub")])?,
        false => read_keys(&args.key)?,
    };
    let failed = |error: StoreError| CliError::Audit(AuditHeadError::from(error));
    let reader = AuditReader::open(&folder).await.map_err(failed)?;
    let progress = progress(context);
    let report = reader.check(&keys, &args.head, |lines| progress.set_position(lines)).await;
    progress.finish_and_clear();
    Ok((report.map_err(CliError::Audit)?, folder.display().to_string()))
}

fn check_export(export: &Path, args: &Verify) -> Result<AuditReport, CliError> {
    let keys = read_keys(&args.key)?;
    let is_stdin = export.as_os_str() == "-";
    let name = if is_stdin { "standard input".to_owned() } else { export.display().to_string() };
    let read = match is_stdin {
        true => check_audit_export(io::stdin().lock(), &keys, &args.head),
        false => File::open(export).and_then(|file| check_audit_export(BufReader::new(file), &keys, &args.head)),
    };
    read.map_err(|source| CliError::Unreadable { name, source })
}

fn read_keys(files: &[PathBuf]) -> Result<Vec<AuditPublicKey>, CliError> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path)
            .map_err(|source| CliError::Unreadable { name: path.display().to_string(), source })?;
        text.parse().map_err(|source| CliError::BadPublicKey { path: path.clone(), source })
    };
    files.iter().map(read).collect()
}

fn progress(context: &Context) -> ProgressBar {
    match context.out.is_terminal() && !context.json {
        true => {
            let style = ProgressStyle::with_template("{spinner} {human_pos} lines checked");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        }
        false => ProgressBar::hidden(),
    }
}

fn summary(report: &AuditReport, place: &str) -> String {
    let lines = if report.lines == 1 { "1 line".into() } else { format!("{} lines", report.lines) };
    let signed = report.signed.as_ref().map_or_else(String::new, |head| {
        format!("\nsigned up to line {} at {} with the key {}", head.seq, head.at, head.key_id)
    });
    let newest = match report.lines {
        0 => String::new(),
        _ => format!("\nnewest line: {}:{}", report.last, report.last_hash),
    };
    format!("the audit in {place} is whole: {lines}{signed}{newest}")
}

fn document(report: &AuditReport) -> Value {
    let fault = |fault: &metalform_store::AuditFault| {
        let mut document = json!(fault);
        document["message"] = json!(fault.to_string());
        document["hint"] = json!(fault.hint());
        document
    };
    json!({
        "whole": report.is_whole(), "lines": report.lines, "first": report.first, "last": report.last,
        "last_hash": report.last_hash, "signed": report.signed, "unsigned": report.unsigned(),
        "first_broken": report.first_broken(), "faults": report.faults.iter().map(fault).collect::<Vec<_>>(),
        "notes": report.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_line_is_a_number_and_a_hash() {
        let hash = "0123456789abcdef".repeat(4);
        assert_eq!(known(&format!("12:{}", hash.to_uppercase())), Ok((12, hash.clone())));
        for wrong in ["", "12", &hash, "12:ab", &format!("0:{hash}"), &format!("x:{hash}"), &format!("12:{hash}0")] {
            assert!(known(wrong).is_err(), "{wrong}");
        }
    }
}
