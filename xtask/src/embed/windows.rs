//! A Windows driver, linked; and its ring, run under Wine.

use std::path::Path;

use crate::step::{Failure, Outcome, Step, exists, needs, target};
use crate::windows::{GNU, MINGW, MSVC, example};

/// `cargo xtask embed windows`.
pub(crate) fn run() -> Result<Outcome, Failure> {
    needs("embed windows", "rustup's targets x86_64-pc-windows-msvc and -gnu, llvm, mingw-w64, wine");
    let installed = Step::new("rustup", &["target", "list", "--installed"]).output().unwrap_or_default();
    for target in [MSVC, GNU] {
        if !installed.lines().any(|line| line == target) {
            return Ok(Outcome::Skipped(format!("rustup target add {target}")));
        }
    }
    for (program, package) in [("llvm-readobj", "llvm"), (MINGW, "mingw-w64"), ("wine", "wine")] {
        if !exists(program, &["--version"]) {
            return Ok(Outcome::Skipped(format!("{package} is missing")));
        }
    }
    let imports = driver()?;
    let said = example("mapping", "", &["bcryptprimitives"])?;
    println!("under Wine: {}", said.trim());
    if !said.contains("records through two mappings") {
        return Err(Failure(format!("the example did not come to its end: {said}")));
    }
    Ok(Outcome::Shown(format!(
        "a driver links, imports {imports} names of the kernel and none to stop it with; its ring passes records between two mappings under Wine. NOBODY HAS LOADED THE \
         DRIVER: the project has no Windows"
    )))
}

/// Links the driver and looks at what it imports: how many names.
fn driver() -> Result<usize, Failure> {
    let folder = target().join("embed/windows");
    let build = ["rustc", "-p", "ebpf-windows", "--example", "driver", "--features", "kernel", "--release"];
    Step::cargo(&build)
        .arguments(&["--crate-type", "staticlib", "--target", MSVC])
        .variable("RUSTFLAGS", "-Dwarnings")
        .variable("CARGO_PROFILE_RELEASE_LTO", "fat")
        .variable("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .target(&folder)
        .run()?;
    let library = folder.join(MSVC).join("release/examples/driver.lib");
    let linked = folder.join("ebb_ring.sys");
    let sysroot = Step::new("rustc", &["--print", "sysroot"]).output()?;
    let host = Step::new("rustc", &["--print", "host-tuple"]).output()?;
    let linker = Path::new(sysroot.trim()).join("lib/rustlib").join(host.trim()).join("bin/rust-lld");
    Step::new(
        &linker.to_string_lossy(),
        &["-flavor", "link", "/DRIVER", "/SUBSYSTEM:NATIVE", "/ENTRY:DriverEntry"],
    )
    .arguments(&["/NODEFAULTLIB", "/OPT:REF", "/EXPORT:EbbEmit", "/EXPORT:EbbAttach", "/EXPORT:EbbDetach"])
    .arguments(&[&format!("/OUT:{}", linked.display()), &library.to_string_lossy()])
    .or("what it cannot find is what a driver does not have")
    .run()?;
    let imports = Step::new("llvm-readobj", &["--coff-imports", &linked.to_string_lossy()]).output()?;
    let lines = || imports.lines().map(str::trim);
    let libraries = lines().filter_map(|line| line.strip_prefix("Name: "));
    for library in libraries {
        if !["ntoskrnl.exe", "fwpkclnt.sys"].contains(&library) {
            return Err(Failure(format!("the driver imports from {library}")));
        }
    }
    let names: Vec<_> = lines().filter_map(|line| line.strip_prefix("Symbol: ")).collect();
    if names.iter().any(|name| name.starts_with("KeBugCheckEx")) {
        return Err(Failure("a panic is reachable: the driver imports what stops the machine".to_owned()));
    }
    for wanted in ["MmMapLockedPagesSpecifyCache", "FwpmTransactionBegin0", "ExAcquirePushLockExclusiveEx"] {
        if !names.iter().any(|name| name.starts_with(wanted)) {
            return Err(Failure(format!("{wanted} is not imported: what needs it was not linked")));
        }
    }
    Ok(names.len())
}
