//! The tests' own rules: each is in one of two binaries, and what is left out says who runs it.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::none;
use super::source::{File, rust};

/// Folders of `integration/` that are packages of their own.
const PACKAGES: &[&str] = &["api/", "kernels/src/", "support/"];

/// Every file below a test binary, and the binary itself.
fn below(binary: &str, files: &BTreeMap<&str, &File>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![(format!("integration/{binary}.rs"), "integration".to_owned())];
    while let Some((path, folder)) = left.pop() {
        let mut folders = vec![folder];
        let file = files.get(path.as_str()).unwrap_or_else(|| panic!("no {path}"));
        let mut elsewhere = false;
        for line in file.code().0.lines() {
            let line = line.trim();
            let name = line.strip_prefix("pub(crate) ").unwrap_or(line).strip_prefix("mod ");
            if let Some(name) = name.and_then(|name| name.strip_suffix(';')).filter(|_| !elsewhere)
            {
                let folder = folders.join("/");
                left.push((format!("{folder}/{name}.rs"), format!("{folder}/{name}")));
            } else if let Some(name) = name.and_then(|name| name.strip_suffix(" {")) {
                folders.push(name.to_owned());
            } else if line == "}" && folders.len() > 1 {
                folders.pop();
            }
            elsewhere = line.starts_with("#[path");
        }
        found.insert(path);
    }
    found
}

#[test]
fn every_test_is_in_one_binary() {
    let all: Vec<File> = rust().collect();
    let files = all.iter().map(|file| (file.path.as_str(), file)).collect();
    let [light, main] = ["light", "main"].map(|binary| below(binary, &files));
    let mut findings: Vec<String> =
        light.intersection(&main).map(|path| format!("{path}:1: it would run twice")).collect();
    for file in &all {
        let Some(path) = file.path.strip_prefix("integration/") else { continue };
        let own = PACKAGES.iter().any(|package| path.starts_with(package));
        let (code, _) = file.code();
        let tests = ["#[test]", "#[tokio::test", "proptest!"].iter().any(|it| code.contains(it));
        if own && tests && !path.starts_with("support/") {
            findings.push(format!("{}:1: a test that no binary runs", file.path));
        }
        if !own && !light.contains(&file.path) && !main.contains(&file.path) {
            findings.push(format!("{}:1: name it in light.rs or in main.rs", file.path));
        }
    }
    none("A file of tests is in light.rs or in main.rs; what both use is in support/.", findings);
}

#[test]
fn ignored_tests_say_what_runs_them() {
    let mut findings = Vec::new();
    for file in rust() {
        let (code, literals) = file.code();
        for (at, _) in code.match_indices("#[ignore") {
            let close = at + code[at..].find(']').expect("an attribute ends");
            let reason = literals.iter().find(|(start, _)| (at..close).contains(start));
            let names_test = |reason: &str| {
                let mut words = reason.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
                words.any(|word| word.contains('_') && code.contains(&format!("fn {word}(")))
            };
            let says = |reason: &str| reason.contains("integration/test.sh") || names_test(reason);
            if !reason.is_some_and(|(_, reason)| says(reason)) {
                findings.push(format!(
                    "{}: say `#[ignore = \"needs ...: integration/test.sh\"]`, or whose part it is",
                    file.at(at)
                ));
            }
        }
        for (at, line) in file.lines() {
            let fence = line.trim_start().trim_start_matches(['/', '!', '*', ' ']);
            if fence.strip_prefix("```").is_some_and(|tags| tags.contains("ignore")) {
                findings.push(format!("{at}: an example that never runs: `no_run` or `text`"));
            }
        }
    }
    none("An ignored test names integration/test.sh or the test it is a part of.", findings);
}
