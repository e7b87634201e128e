//! The tool `ebpf-blocks`; everything it does is in the library beside this file.

use std::process::ExitCode;

fn main() -> ExitCode {
    ebpf_blocks::main()
}
