//! `ft`: fine-tune language models on the machine you have.

use std::process::ExitCode;

fn main() -> ExitCode {
    attune::main()
}
