//! Tells the program what it was built from: the commit, whether the sources differ from it, and
//! the compiler. What is not known is not set.

use std::path::Path;
use std::process::Command;

/// What the program is made of; a change elsewhere does not make it another program.
const SOURCES: [&str; 4] = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    // a commit changes neither of the sources, but what they differ from
    for file in ["HEAD", "logs/HEAD"] {
        let path = output("git", &["rev-parse", "--git-path", file]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    // a copy inside somebody else's repository has no commit of its own
    let ours = output("git", &["ls-files", "--error-unmatch", "Cargo.toml"]).is_some();
    let commit = output("git", &["rev-parse", "HEAD"]).filter(|_| ours);
    if let Some(commit) = commit {
        println!("cargo::rustc-env=PAXBENCH_COMMIT={commit}");
        let status = [["status", "--porcelain", "--"].as_slice(), &SOURCES].concat();
        if let Some(changes) = output("git", &status) {
            println!("cargo::rustc-env=PAXBENCH_DIRTY={}", !changes.is_empty());
        }
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if let Some(version) = output(&rustc, &["--version"]) {
        println!("cargo::rustc-env=PAXBENCH_RUSTC={version}");
    }
}

/// What a command prints, trimmed; none if it cannot be run or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
