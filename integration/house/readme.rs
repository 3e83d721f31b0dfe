//! README.md says what Cargo.toml says.

use super::rules::none;
use super::source::file;

#[test]
fn readme_has_every_feature_and_the_oldest_rust() {
    let readme = file("README.md").text;
    let manifest = file("Cargo.toml").text;
    let features = manifest.split("[features]\n").nth(1).expect("Cargo.toml has features");
    let features = features.lines().take_while(|line| !line.starts_with('['));
    let names = features.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let names = names.filter(|name| *name != "default" && !name.starts_with(['_', '#']));
    let missing = names.filter(|name| !readme.contains(&format!("\n| `{name}`")));
    none("README.md explains every feature.", missing.map(|name| format!("README.md: `{name}`")));
    let oldest = format!("Rust {} or later", env!("CARGO_PKG_RUST_VERSION"));
    assert!(readme.contains(&oldest), "README.md: say \"{oldest}\", as Cargo.toml does");
}

#[test]
fn readme_names_the_version_of_opentelemetry() {
    let manifest = file("Cargo.toml").text;
    let range = manifest.split("\nopentelemetry = { version = \">=").nth(1);
    let range = range.and_then(|rest| rest.split('"').next()?.split_once(", <0."));
    let (oldest, beyond) = range.expect("Cargo.toml has a range");
    let beyond: u32 = beyond.parse().expect("a minor version");
    let stated = format!("# fits opentelemetry {oldest} to 0.{}\n", beyond - 1);
    let readme = file("README.md");
    let add = readme.lines().find(|(_, line)| line.starts_with("cargo add tcpinfo "));
    let (at, add) = add.expect("README.md has the command");
    assert!(format!("{add}\n").ends_with(&stated), "{at}: {stated}");
}
