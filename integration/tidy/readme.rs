//! README.md says what the table, Cargo.toml and the file system say.

use std::fmt::Write;
use std::fs;

use tcpinfo::{FIELDS, Field, FieldKind};

use super::none;
use super::source::{file, root};

const BEGIN: &str = "<!-- fields:begin -->\n";
const END: &str = "<!-- fields:end -->\n";

/// The table of README.md, from the table.
fn fields() -> String {
    let mut table = String::from("| field | since | unit | metric | what it is |\n");
    table.push_str("| --- | --- | --- | --- | --- |\n");
    for field in FIELDS {
        let Field { name, since, description, .. } = field;
        let unit = if field.unit.is_empty() { String::new() } else { format!("`{}`", field.unit) };
        let metric = metric(field);
        writeln!(table, "| `{name}` | {since} | {unit} | {metric} | {description} |")
            .expect("a string takes any text");
    }
    table
}

fn metric(field: &Field) -> String {
    let kind = match field.kind {
        FieldKind::Counter => "counter",
        FieldKind::UpDown => "up-down",
        FieldKind::Distribution => "distribution",
        FieldKind::Gauge => "gauge",
        FieldKind::Property => "",
        other => panic!("a word for {other:?}"),
    };
    let part = field.part.map(|part| format!(" of `{}`", part.value)).unwrap_or_default();
    field.stem.map(|stem| format!("{kind} `{stem}`{part}")).unwrap_or_default()
}

#[test]
fn readme_tables_are_current() {
    let readme = file("README.md").text;
    let (before, rest) =
        readme.split_once(BEGIN).expect("README.md has a line <!-- fields:begin -->");
    let (now, after) = rest.split_once(END).expect("README.md has a line <!-- fields:end -->");
    let table = fields();
    if std::env::var_os("TCPINFO_WRITE_README").is_some() {
        let text = format!("{before}{BEGIN}{table}{END}{after}");
        fs::write(root().join("README.md"), text).expect("README.md can be written");
        return;
    }
    let same = now.lines().zip(table.lines()).take_while(|(now, then)| now == then).count();
    let line = before.lines().count() + 2 + same;
    assert!(
        now == table,
        "README.md:{line}: not what the table in src/info.rs says; repair it by\n  \
         TCPINFO_WRITE_README=1 cargo test --test light readme_tables_are_current"
    );
}

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
fn readme_links_lead_somewhere() {
    let readme = file("README.md");
    let mut broken = Vec::new();
    for (at, line) in readme.lines() {
        for link in line.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap_or_default();
            if !link.is_empty() && !root().join(link).exists() {
                broken.push(format!("{at}: {link} is no file of this repository"));
            }
        }
    }
    none("README.md links to files of this repository.", broken);
}
