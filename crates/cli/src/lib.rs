//! The command line of Attune: one file per command in `commands/`, the live view, and how results and errors are
//! written. There is no logic of training here.

mod commands;
mod failure;
mod interrupt;
mod live;
mod mask;
mod output;
mod paint;
#[cfg(test)]
mod pictures;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// Fine-tune language models on the machine you have.
#[derive(Debug, Parser)]
#[command(name = "ft", version, about, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 a gate refused, 75 interrupted and resumable,
130 interrupted with nothing to resume.
Results go to stdout, progress to stderr. FT_CPU=amx|avx512bf16|avx512|avx2|portable chooses the CPU path; NO_COLOR turns colours off.";

#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(commands::quickstart::Args),
    Init(commands::init::Args),
    Plan(commands::plan::Args),
    Train(commands::train::Args),
    Resume(commands::resume::Args),
    Generate(commands::generate::Args),
    Evaluate(commands::evaluate::Args),
    Pull(commands::pull::Args),
    Fuse(commands::fuse::Args),
    Export(commands::export::Args),
    Import(commands::import::Args),
    Data(commands::data::Args),
    Tokenizer(commands::tokenizer::Args),
    Checkpoint(commands::checkpoint::Args),
    Bench(commands::bench::Args),
    Schema(commands::schema::Args),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has what they wanted.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            output::say(&failure.lines());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Quickstart(args) => commands::quickstart::run(&args),
        Command::Init(args) => commands::init::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Resume(args) => commands::resume::run(&args),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Evaluate(args) => commands::evaluate::run(&args),
        Command::Pull(args) => commands::pull::run(&args),
        Command::Fuse(args) => commands::fuse::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Data(args) => commands::data::run(&args),
        Command::Tokenizer(args) => commands::tokenizer::run(&args),
        Command::Checkpoint(args) => commands::checkpoint::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Schema(args) => commands::schema::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
