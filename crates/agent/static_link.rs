//! Links programs statically: they run in installer environments whose C library, if they have one, is of any age.
//!
//! What makes a Rust program static is `-C target-feature=+crt-static` for its whole build, and that needs `--target` on the
//! command line: without one the flag reaches build scripts and procedural macros too, and those must be dynamic. A plain
//! `cargo build --release` has no `--target`, and it is to make a static agent beside a dynamic `metalform`. So the
//! compiler is left to think that it links dynamically, and the linker is given a folder in which `-lc` and the others
//! are static archives.
//!
//! Rejected: musl (its target is one more thing to install, and Debian has none of its standard library), `--target` in
//! `.cargo/config.toml` (moves everything to `target/<triple>/`), rustflags of a profile (nightly only).
//!
//! Only the binary gets these arguments; tests of the crate are linked as usual. A static glibc can't look names up
//! without the files of its name service at run time: nothing in the agent does.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What rustc asks the linker for, and the archive that it gets. An unwinder in `libgcc_eh.a` stands for `libgcc_s.so`.
const ARCHIVES: [(&str, &str); 7] = [
    ("c", "libc.a"),
    ("m", "libm.a"),
    ("rt", "librt.a"),
    ("pthread", "libpthread.a"),
    ("util", "libutil.a"),
    ("dl", "libdl.a"),
    ("gcc_s", "libgcc_eh.a"),
];

/// For the build script of a package: links its programs statically, and no test. `name` is for the error that says why that
/// can't be.
pub fn link_programs(name: &str) {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../agent/static_link.rs");
    println!("cargo::rerun-if-env-changed=CC");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        println!("cargo::error={name} runs on Linux alone: build it there, or leave it out with `--exclude`");
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    match fill(&out.join("static")) {
        Ok(folder) => {
            let link = |argument: &str| println!("cargo::rustc-link-arg-bins={argument}");
            link(&format!("-L{}", folder.display()));
            link("-static-pie");
            // They need one another, and the linker reads an archive once unless it is told otherwise.
            for argument in ["-Wl,--start-group", "-lc", "-lgcc_s", "-lgcc", "-Wl,--end-group"] {
                link(argument);
            }
        }
        Err(why) => println!("cargo::error={name} is linked statically, and {why}"),
    }
}

/// Linker scripts under the names of the archives: the archives themselves stay where they are.
fn fill(folder: &Path) -> Result<&Path, String> {
    let failed = |error: std::io::Error| format!("{} can't be written: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    for (name, archive) in ARCHIVES {
        let found = find(archive)?;
        fs::write(folder.join(format!("lib{name}.a")), format!("INPUT({})\n", found.display())).map_err(failed)?;
    }
    Ok(folder)
}

/// Where the compiler driver, which is also the linker's, has that archive; it prints the bare name when it has none.
fn find(archive: &str) -> Result<PathBuf, String> {
    let driver = env::var("CC").unwrap_or_else(|_| "cc".into());
    let output = Command::new(&driver)
        .arg(format!("-print-file-name={archive}"))
        .output()
        .map_err(|error| format!("`{driver}` can't be started: {error}; apt-get install gcc libc6-dev"))?;
    let found = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if found.is_absolute() && found.is_file() {
        Ok(found)
    } else {
        Err(format!("`{driver}` has no {archive}: apt-get install gcc libc6-dev"))
    }
}
