//! The header is what the sources say. `EBPF_BLOCKS_WRITE=1 cargo test -p ebpf-capi --test header` writes it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_root_or_default(package);
    let bindings =
        cbindgen::Builder::new().with_config(config).with_src(package.join("src/lib.rs")).generate().unwrap();
    let mut generated = Vec::new();
    bindings.write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();
    let path = package.join("include/ebpf_blocks.h");
    if std::env::var_os("EBPF_BLOCKS_WRITE").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, generated, "the header is not what the sources say: see this file's first line");
}
