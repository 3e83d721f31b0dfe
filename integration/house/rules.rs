//! The house rules, checked by reading the repository as text.

use std::collections::{BTreeMap, BTreeSet};

use tcpinfo::{FIELDS, FieldKind};

use super::source::{File, file, files, named_modules, rust, src, words};

/// Which floor of the design a module of `src/` is on: it names only its own and lower ones.
pub(crate) const FLOORS: &[&[&str]] = &[
    &["wire", "state", "kernel"],
    &["presence", "info", "congestion", "netlink", "metric", "verdict"],
    &["read", "diag"],
    &["monitor", "stream"],
    &["scope", "report", "histogram", "otel", "otlp", "page", "docs"],
];

/// Files over 400 lines, and why.
const LONG: &[(&str, &str)] = &[("src/info.rs", "the table is one place")];

/// Rows named apart from the kernel's member, whose meaning in LISTEN is another.
const RENAMED: &[(&str, &str)] = &[("accept_queue", "tcpi_unacked"), ("backlog", "tcpi_sacked")];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// Fails with every finding, one a line.
#[track_caller]
pub(super) fn none(rule: &str, findings: impl IntoIterator<Item = String>) {
    let findings: Vec<String> = findings.into_iter().collect();
    assert!(findings.is_empty(), "{rule}\n  {}\n", findings.join("\n  "));
}

#[test]
fn modules_name_only_lower_floors() {
    let mut findings = Vec::new();
    for file in src().filter(|file| file.path != "src/lib.rs") {
        let (module, depth) = file.module().expect("it is in src");
        let Some(own) = floor(module) else {
            findings.push(format!("{}:1: put `{module}` on a floor, in FLOORS here", file.path));
            continue;
        };
        let (code, _) = file.code();
        for (at, name) in named_modules(&code, depth) {
            let at = file.at(at);
            match floor(name) {
                Some(other) if other <= own => {}
                Some(_) => findings.push(format!("{at}: `{module}` is below `{name}`: pass it in")),
                None => findings.push(format!("{at}: `{name}` of the root: name its module")),
            }
        }
    }
    none("A module names only modules of its own or a lower floor.", findings);
}

#[test]
fn every_module_on_a_floor_is_named_only_once() {
    let names: Vec<_> = FLOORS.iter().copied().flatten().collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
}

#[test]
fn unsafe_and_other_crates_stay_on_their_floors() {
    let mut findings = Vec::new();
    let mut stays = |file: &File, code: &str, word, ok: bool, place| {
        let found = words(code, word).filter(|_| !ok);
        findings.extend(found.map(|at| format!("{}: `{word}` belongs {place}", file.at(at))));
    };
    for file in rust() {
        let (code, _) = file.code();
        let published = ["src/", "examples/", "cli/src/"];
        let published = published.iter().any(|folder| file.path.starts_with(folder));
        let ok = !published || file.path == "src/read.rs";
        stays(&file, &code, "unsafe", ok, "in src/read.rs");
        if file.path.starts_with("src/") {
            let floor = file.module().and_then(|(module, _)| floor(module));
            let ok = floor == Some(2);
            stays(&file, &code, "libc", ok, "on floor 2: read, diag");
            stays(&file, &code, "rustix", ok, "on floor 2: read, diag");
            let ok = floor >= Some(3) || file.path == "src/lib.rs";
            stays(&file, &code, "opentelemetry", ok, "on floors 3 and 4");
            stays(&file, &code, "opentelemetry_sdk", file.is_test(), "in tests: the API is enough");
        }
    }
    none("`unsafe` and the crates we use have their places.", findings);
}

#[test]
fn metric_names_are_in_the_table_and_in_the_list_of_metrics_alone() {
    let stems = FIELDS.iter().filter_map(|field| field.stem);
    // A stem that is some field's name too, or the value of a part, may stand for that.
    let stands_for = |field: &tcpinfo::Field, stem: &str| {
        field.name == stem || field.part.is_some_and(|part| part.value == stem)
    };
    let stems = stems.filter(|stem| !FIELDS.iter().any(|field| stands_for(field, stem)));
    let metrics = tcpinfo::metrics();
    let names: BTreeSet<&str> = metrics.iter().map(|metric| &*metric.name).chain(stems).collect();
    assert!(names.contains("tcp.connection.count") && names.contains("data.sent"), "{names:?}");

    let mut findings = Vec::new();
    let knows =
        |file: &File| file.path == "src/info.rs" || matches!(file.module(), Some(("metric", _)));
    for file in src().filter(|file| !knows(file) && !file.is_test()) {
        for (at, text) in file.code().1 {
            if names.contains(text) || text.starts_with("tcp.") {
                findings.push(format!("{}: `{text}` belongs in src/metric/", file.at(at)));
            }
        }
    }
    none("Only the table and src/metric know metric names.", findings);
}

#[test]
fn rows_keep_the_kernels_names() {
    let renamed: BTreeMap<_, _> = RENAMED.iter().copied().collect();
    none(
        "A field keeps the kernel's name without `tcpi_`.",
        FIELDS.iter().filter_map(|field| {
            let expected = format!("tcpi_{}", field.name);
            let expected = renamed.get(field.name).copied().unwrap_or(&expected);
            let wrong = field.c_name != expected;
            wrong.then(|| format!("src/info.rs: `{}` is of {expected:?}", field.name))
        }),
    );
}

#[test]
fn every_row_says_what_its_metric_is() {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for field in FIELDS {
        let mut wrong =
            |what: String| findings.push(format!("src/info.rs: {}: {what}", field.name));
        let property = field.kind == FieldKind::Property;
        if property != field.stem.is_none() || property != field.unit.is_empty() {
            wrong("a property has neither stem nor unit, everything else both".to_owned());
        }
        if !field.description.ends_with('.') {
            wrong("end the description with a full stop".to_owned());
        }
        let Some(stem) = field.stem else { continue };
        let whole = FIELDS.iter().filter(|other| other.stem == Some(stem)).count() == 1;
        if whole != field.part.is_none() || !seen.insert((stem, field.part.map(|part| part.value)))
        {
            wrong(format!("`{stem}` twice: name the part of each, or find another stem"));
        }
    }
    none("A row has all columns that its kind needs.", findings);
}

#[test]
fn nothing_is_left_to_do() {
    let macros = ["todo", "unimplemented", "dbg"];
    let marks = [["FIX", "ME"], ["X", "XX"]].map(|mark| mark.concat());
    let sync = ["keep", "in", "sync"].join(" ");
    let mut findings = Vec::new();
    for file in files() {
        if file.is_rust() {
            let (code, _) = file.code();
            for name in macros {
                let calls =
                    words(&code, name).filter(|at| code[at + name.len()..].starts_with('!'));
                findings.extend(calls.map(|at| format!("{}: `{name}!`: finish it", file.at(at))));
            }
        }
        for mark in &marks {
            let found = words(&file.text, mark);
            findings.extend(found.map(|at| format!("{}: {mark}: finish it", file.at(at))));
        }
        let lower = file.text.to_ascii_lowercase();
        findings.extend(lower.match_indices(&sync).map(|(at, _)| {
            format!("{}: `{sync}`: make it a loop, or a test that compares", file.at(at))
        }));
    }
    none("What is in the repository is finished.", findings);
}

#[test]
fn nothing_points_at_a_machine_or_a_registry() {
    let hosts = [
        ["crates", "io"].join("."),
        ["pypi", "org"].join("."),
        ["deb", "debian.org"].join("."),
        ["static", "rust-lang.org"].join("."),
        ["npm", "js"].concat(),
    ];
    let paths = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let mut findings = Vec::new();
    // Cargo itself writes the registry's address into its lock file.
    for file in files().into_iter().filter(|file| file.path != "Cargo.lock") {
        for (at, line) in file.lines() {
            let hosts = hosts.iter().filter(|host| line.contains(host.as_str()));
            findings.extend(hosts.map(|host| format!("{at}: {host}: a package's name is enough")));
            let found = |path: &&String| {
                let before = line.find(path.as_str()).map(|at| line[..at].chars().next_back());
                before.is_some_and(|c| !c.is_some_and(|c| c.is_alphanumeric() || c == '.'))
            };
            let paths = paths.iter().filter(found);
            findings
                .extend(paths.map(|path| format!("{at}: {path}: one machine's, not the next's")));
        }
    }
    none("No registry's host and no machine's path is in the repository.", findings);
}

#[test]
fn files_say_what_they_are_and_stay_readable() {
    let mut findings = Vec::new();
    for file in rust() {
        let path = &file.path;
        if !file.text.starts_with("//! ") {
            findings.push(format!("{path}:1: say in a `//!` line what the file is"));
        }
        let long = file.lines().filter(|(_, line)| line.chars().count() > 100);
        findings.extend(long.map(|(at, _)| format!("{at}: wrap it at 100 columns")));
        let lines = file.text.lines().count();
        if lines > 400 && LONG.iter().all(|(long, _)| long != path) {
            findings.push(format!("{path}:400: {lines} lines: split it, or give LONG a reason"));
        }
    }
    let all = files();
    let short =
        |path: &str| all.iter().all(|file| file.path != path || file.text.lines().count() <= 400);
    let stale = LONG.iter().filter(|(path, _)| short(path));
    findings
        .extend(stale.map(|(path, _)| format!("{path}:1: no longer long: leave it out of LONG")));
    none("A file begins with what it is, and fits a reader's screen and patience.", findings);
}

#[test]
fn the_version_is_in_cargo_toml_alone() {
    let version = env!("CARGO_PKG_VERSION");
    let mut findings = Vec::new();
    for file in rust() {
        let quoted = file.code().1.into_iter().filter(|(_, text)| *text == version);
        let at = quoted.map(|(at, _)| file.at(at));
        findings.extend(at.map(|at| format!("{at}: env!(\"CARGO_PKG_VERSION\")")));
    }
    let changes = file("CHANGELOG.md");
    let newest = changes.lines().find_map(|(at, line)| Some((at, line.strip_prefix("## ")?)));
    let (at, newest) = newest.expect("CHANGELOG.md has a heading for each version");
    if newest.split_whitespace().next() != Some(version) {
        findings.push(format!("{at}: the newest version is {version}, as Cargo.toml says"));
    }
    for (at, line) in file("README.md").lines() {
        if let Some((_, stated)) = line.split_once("tcpinfo = \"") {
            let stated = stated.split('"').next().unwrap_or_default();
            if !version.starts_with(stated) {
                findings.push(format!("{at}: the version is {version}, as Cargo.toml says"));
            }
        }
    }
    none("The version stands in Cargo.toml.", findings);
}
