//! `ft checkpoint`

use std::path::PathBuf;

use attune_formats::checkpoint::{self, Report};
use serde_json::json;

use crate::failure::{Failure, REFUSED};
use crate::output;
use crate::paint::one_line;

/// Check checkpoints, adapters, models and runs, and bring them to the current version
///
/// The rules are those of docs/checkpoint-spec.md.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Verify(VerifyArgs),
    Migrate(MigrateArgs),
}

/// Check a folder against every rule of the specification
///
/// Exit code 0: no rule is broken; 3: one is, and each is listed with its file and tensor.
#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// A checkpoint, an adapter (also one of PEFT), a model in Hugging Face layout, or a whole run
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Write a folder of the version before anew in the current one
///
/// The folder must break no rule. It stays as it is, and the new one appears whole or not at all.
#[derive(Debug, clap::Args)]
struct MigrateArgs {
    /// A checkpoint, an adapter or a whole run
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The new folder; must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Verify(args) => verify(args),
        Action::Migrate(args) => migrate(args),
    }
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let report = checkpoint::verify(&args.dir)?;
    if args.json {
        output::result(&json!({ "sound": report.is_sound(), "report": report }).to_string())?;
    } else {
        output::result(&lines_of(&report, 0).join("\n"))?;
    }
    let Some((dir, _)) = report.first_finding() else { return Ok(()) };
    let (count, dir) = (report.count(), dir.display());
    let broken = if count == 1 { "1 rule is broken".to_string() } else { format!("{count} rules are broken") };
    let message = format!("{}: {broken}, the first in {dir}", args.dir.display());
    Err(Failure::new(REFUSED, message, "docs/checkpoint-spec.md explains the rules; use another copy or checkpoint"))
}

/// A report for people, parts below the whole.
fn lines_of(report: &Report, depth: usize) -> Vec<String> {
    let indent = "  ".repeat(depth);
    let version = report.format_version.map(|version| format!(", version {version}")).unwrap_or_default();
    let state = if report.is_sound() { "sound" } else { "refused" };
    let mut lines =
        vec![format!("{indent}{}: {}{version}: {state}", one_line(&report.dir.display().to_string()), report.kind)];
    lines.extend(report.findings.iter().map(|finding| format!("{indent}  {}", one_line(&finding.to_string()))));
    lines.extend(report.notes.iter().map(|note| format!("{indent}  note: {}", one_line(note))));
    lines.extend(report.parts.iter().flat_map(|part| lines_of(part, depth + 1)));
    lines
}

fn migrate(args: &MigrateArgs) -> Result<(), Failure> {
    let done = checkpoint::migrate(&args.dir, &args.out)?;
    if args.json {
        return output::result(&json!(done).to_string());
    }
    let mut lines = vec![format!(
        "{}: {} written in version {} ({} migrated, {} copied as they were)",
        one_line(&done.out.display().to_string()),
        done.kind,
        attune_formats::manifest::FORMAT_VERSION,
        done.migrated,
        done.copied
    )];
    lines.extend(done.left_out.iter().map(|name| format!("  left out: {}", one_line(name))));
    output::result(&lines.join("\n"))
}
