//! A Linux module around the blocks, built for Debian's kernel and run in QEMU.
//!
//! The blocks become one object file as the kernel wants its code (no floating point, no red zone, calls and returns through the kernel's
//! thunks) and go through objtool like any other; the rest is the module in C of `crates/embed/kmod` and a program that is the guest's first process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::step::{Failure, Outcome, Step, exists, needs, root, target};

/// What Debian calls its kernel of today, and what headers that are installed say which one it is.
const HEADERS: &str = "/lib/modules";
const TARGET: &str = "x86_64-unknown-none";
const SECONDS: &str = "240";

/// `cargo xtask embed kmod`.
pub(crate) fn run() -> Result<Outcome, Failure> {
    needs(
        "embed kmod",
        "nightly with rust-src, linux-headers-amd64, qemu-system-x86, cpio, binutils, make, gcc",
    );
    let Some(release) = headers() else {
        return Ok(Outcome::Skipped("no kernel headers: apt-get install linux-headers-amd64".to_owned()));
    };
    for (program, package) in
        [("qemu-system-x86_64", "qemu-system-x86"), ("cpio", "cpio"), ("make", "make"), ("ld", "binutils")]
    {
        if !exists(program, &["--version"]) {
            return Ok(Outcome::Skipped(format!("{program} is missing: apt-get install {package}")));
        }
    }
    let stage = target().join("embed/kmod");
    fs::create_dir_all(&stage).map_err(|error| failure(&stage, &error))?;
    let kernel = kernel(&release)?;
    blocks(&stage, &release)?;
    module(&stage, &release)?;
    let image = image(&stage)?;
    let start = Instant::now();
    let console = boot(&kernel, &image)?;
    verdict(&console, start)
}

/// The kernel whose headers are installed.
fn headers() -> Option<String> {
    let installed = fs::read_dir(HEADERS).ok()?.filter_map(Result::ok);
    let releases = installed.filter(|entry| entry.path().join("build/Makefile").exists());
    releases.filter_map(|entry| entry.file_name().into_string().ok()).max()
}

/// The kernel's image: installed, or out of its package, which is downloaded once and not installed.
fn kernel(release: &str) -> Result<PathBuf, Failure> {
    let name = format!("vmlinuz-{release}");
    let installed = Path::new("/boot").join(&name);
    if installed.exists() {
        return Ok(installed);
    }
    let place = target().join("embed/kernel");
    let image = place.join("boot").join(&name);
    if !image.exists() {
        fs::create_dir_all(&place).map_err(|error| failure(&place, &error))?;
        let advice =
            "apt-get update; the headers may be of an older kernel than the archive has: upgrade them";
        Step::new("apt-get", &["download", "-qq", &format!("linux-image-{release}")])
            .directory(&place)
            .or(advice)
            .run()?;
        let script = "for package in linux-image-*.deb; do dpkg-deb --fsys-tarfile \"$package\" | tar -x ./boot; rm \"$package\"; done";
        Step::new("sh", &["-ec", script]).directory(&place).run()?;
    }
    Ok(image)
}

/// The blocks and their C ABI as one relocatable object, `blocks.o_shipped`.
fn blocks(stage: &Path, release: &str) -> Result<(), Failure> {
    let flags = [
        "-Dwarnings",
        "-Crelocation-model=static",
        "-Cforce-unwind-tables=no",
        "-Cjump-tables=no",
        // Without it memcpy is called through a table that modules do not have.
        "-Zplt=yes",
        "-Zretpoline",
        "-Zretpoline-external-thunk",
        "-Zfunction-return=thunk-extern",
    ];
    let target = stage.join("target");
    Step::cargo(&["+nightly", "rustc", "-p", "ebpf-capi", "--lib", "--release", "--crate-type", "staticlib"])
        .arguments(&["-Zbuild-std=core", "--target", TARGET])
        .variable("RUSTFLAGS", &flags.join(" "))
        .variable("CARGO_PROFILE_RELEASE_LTO", "fat")
        .target(&target)
        .or("rustup toolchain install nightly --component rust-src")
        .run()?;
    let library = target.join(TARGET).join("release/libebpf_capi.a");

    // The kernel has memcpy and its like: only our own member is linked.
    let members = Step::new("ar", &["t", &library.to_string_lossy()]).output()?;
    let Some(member) = members.lines().find(|member| member.starts_with("ebpf_capi")) else {
        return Err(Failure(format!("{}: no member of ours among {members}", library.display())));
    };
    Step::new("ar", &["x", &library.to_string_lossy(), member]).directory(stage).run()?;
    let header = fs::read_to_string(root().join("crates/capi/include/ebpf_blocks.h"))
        .map_err(|error| Failure(error.to_string()))?;
    let roots = functions(&header).flat_map(|function| ["-u".to_owned(), function]);
    let roots: Vec<String> = roots.collect();
    Step::new("ld", &["-r", "--gc-sections", "-e", "ebb_ring_init", "-o", "blocks.o_shipped", member])
        .arguments(&roots.iter().map(String::as_str).collect::<Vec<_>>())
        .directory(stage)
        .run()?;
    let symbols = Step::new("readelf", &["-sW", "blocks.o_shipped"]).directory(stage).output()?;
    if let Some(panic) = symbols.lines().find(|line| line.contains("panic")) {
        return Err(Failure(format!("a panic is reachable from what the module links: {panic}")));
    }
    let objtool = Path::new(HEADERS).join(release).join("build/tools/objtool/objtool");
    let checks =
        ["--mcount", "--orc", "--retpoline", "--rethunk", "--sls", "--static-call", "--uaccess", "--module"];
    let said = Step::new(&objtool.to_string_lossy(), &checks)
        .arguments(&["blocks.o_shipped"])
        .directory(stage)
        .or("the kernel's own checker does not take the code")
        .all_output()?;
    if said.contains("warning") {
        return Err(Failure(format!("objtool: {said}")));
    }
    Ok(())
}

/// Names of the functions that a header declares as its own.
fn functions(header: &str) -> impl Iterator<Item = String> {
    let declarations = header.lines().filter(|line| !line.starts_with([' ', 'e', 't', '/', '#']));
    declarations.filter_map(|line| {
        let (before, _) = line.split_once('(')?;
        let name = before.rsplit([' ', '*']).next()?;
        (name.starts_with("ebb_") && !name.starts_with("ebb_os_")).then(|| name.to_owned())
    })
}

fn module(stage: &Path, release: &str) -> Result<(), Failure> {
    let sources = root().join("crates");
    for file in [
        "embed/kmod/Kbuild",
        "embed/kmod/module.h",
        "embed/kmod/ring.c",
        "embed/kmod/transactions.c",
        "embed/kmod/objects.c",
        "capi/include/ebpf_blocks.h",
    ] {
        let source = sources.join(file);
        let name = source.file_name().unwrap_or_default();
        fs::copy(&source, stage.join(name)).map_err(|error| failure(&source, &error))?;
    }
    // What was not compiled by the kernel's makefiles has no record of how; they ask for one.
    let record = stage.join(".blocks.o.cmd");
    fs::write(&record, "cmd_blocks.o := :\n").map_err(|error| failure(&record, &error))?;
    let build = format!("{HEADERS}/{release}/build");
    let said = Step::new("make", &["-C", &build, &format!("M={}", stage.display()), "W=e", "modules"])
        .or("the module does not build")
        .all_output()?;
    // Debian's headers come without the kernel's own types, which is said for every module that is built with them.
    let known = |line: &&str| !line.contains("Skipping BTF generation");
    if let Some(warning) = said.lines().filter(known).find(|line| line.to_lowercase().contains("warning")) {
        return Err(Failure(format!("{warning}\n{said}")));
    }
    Ok(())
}

/// The guest's file system: the module, and the program that is its first process.
fn image(stage: &Path) -> Result<PathBuf, Failure> {
    Step::cargo(&["rustc", "-p", "embed", "--example", "guest", "--release"])
        .arguments(&["--", "-Ctarget-feature=+crt-static"])
        .run()?;
    let files = stage.join("root");
    fs::create_dir_all(&files).map_err(|error| failure(&files, &error))?;
    for (from, to) in
        [(target().join("release/examples/guest"), "init"), (stage.join("ebb_ring.ko"), "ebb_ring.ko")]
    {
        fs::copy(&from, files.join(to)).map_err(|error| failure(&from, &error))?;
    }
    let script = "find . | cpio --quiet -o -H newc -R 0:0 | gzip -1 > ../root.cpio.gz";
    Step::new("sh", &["-ec", script]).directory(&files).run()?;
    Ok(stage.join("root.cpio.gz"))
}

/// Runs the guest to its end and gives what it wrote on its console.
fn boot(kernel: &Path, image: &Path) -> Result<String, Failure> {
    let (kernel, image) = (kernel.to_string_lossy(), image.to_string_lossy());
    // Two CPUs on two threads. What panics reboots, which ends it.
    let machine =
        ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "512", "-nographic", "-no-reboot"];
    Step::new("timeout", &[SECONDS, "qemu-system-x86_64"])
        .arguments(&machine)
        .arguments(&["-nodefaults", "-serial", "stdio", "-kernel", &kernel, "-initrd", &image])
        .arguments(&["-append", "console=ttyS0 quiet panic=-1 oops=panic"])
        .or("the guest did not come to its end")
        .all_output()
}

fn verdict(console: &str, start: Instant) -> Result<Outcome, Failure> {
    for line in console.lines() {
        println!("guest | {}", line.trim_end());
    }
    let passed = console.lines().map(str::trim).find(|line| line.starts_with("PASS: "));
    let complaint = console.lines().find(|line| {
        ["FAIL", "panicked", "BUG:", "WARNING:", "Oops", "Call Trace", "Kernel panic"]
            .iter()
            .any(|bad| line.contains(bad))
    });
    match (passed, complaint) {
        (Some(passed), None) => Ok(Outcome::Shown(format!(
            "in a Linux guest: {} ({:.0} s)",
            passed.trim_start_matches("PASS: "),
            start.elapsed().as_secs_f64()
        ))),
        (_, Some(complaint)) => Err(Failure(format!("the guest says: {}", complaint.trim()))),
        (None, None) => Err(Failure("the guest ended without a word: see its console above".to_owned())),
    }
}

fn failure(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
