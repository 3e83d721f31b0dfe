//! The files are current, and name what exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use support::exposition::series_names;
use tcpinfo::{ATTRIBUTES, metrics};

use super::*;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn generated_files_are_current() {
    let mut old = Vec::new();
    for (name, text) in files() {
        let place = folder().join(&name);
        if std::env::var_os("TCPINFO_WRITE").is_some() {
            fs::write(&place, text).expect("the repository can be written");
        } else if fs::read_to_string(&place).unwrap_or_default() != text {
            old.push(name);
        }
    }
    assert!(old.is_empty(), "not what dashboards/src says: {old:?}; repair by\n  {REPAIR}");
    let made: BTreeSet<String> = files().into_iter().map(|(name, _)| name).collect();
    let there = fs::read_dir(folder()).expect("it is there").map(|entry| {
        entry.expect("it can be listed").file_name().into_string().expect("names are text")
    });
    let there = there.filter(|name| name.ends_with(".json")).collect();
    assert_eq!(made, there, "what is made, and what is there");
}

#[test]
fn queries_and_rules_name_metrics_that_exist() {
    let exist: BTreeSet<String> = metrics().iter().flat_map(series_names).collect();
    let rules = fs::read_to_string(folder().join("rules.yml")).expect("it is there");
    // Not what the rules themselves record, `job:tcp_..`, whose names begin with the level.
    let texts = queries().into_iter().map(|it| (it.panel.to_owned(), it.expr));
    for (title, text) in texts.chain([("rules.yml".to_owned(), rules)]) {
        let missing = metric_names(&text).into_iter().filter(|name| !exist.contains(*name));
        assert_eq!(missing.collect::<Vec<_>>(), [""; 0], "{title}: {text}");
    }
}

#[test]
fn labels_in_braces_exist() {
    let mut exist: BTreeSet<String> =
        ATTRIBUTES.iter().map(|attribute| attribute.name.replace('.', "_")).collect();
    exist.extend(SERIES_LABELS.map(String::from));
    for Query { panel, expr, .. } in queries() {
        let selectors = expr.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        for selector in selectors {
            let labels = selector.split(", ").filter_map(|one| one.split(['=', '!']).next());
            for label in labels {
                assert!(exist.contains(label), "{panel}: {label}");
            }
        }
    }
}

#[test]
fn verdicts_in_colours_are_causes() {
    let values = ATTRIBUTES.iter().find(|it| it.name == "tcp.verdict").map(|it| it.values());
    let values: BTreeSet<&str> = values.expect("it is an attribute").into_iter().collect();
    let coloured: BTreeSet<&str> =
        panel::CALM.iter().chain(&panel::COMPLAINTS).map(|(name, _)| *name).collect();
    assert_eq!(coloured, values);
}

#[test]
fn every_panel_says_what_to_do() {
    for dashboard in dashboards() {
        let mut titles = BTreeSet::new();
        for panel in dashboard.rows.iter().flat_map(|(_, panels)| panels) {
            let title = panel.title;
            assert!(titles.insert(title), "{title} twice in {}", dashboard.uid);
            assert!(panel.about.ends_with('.') && panel.advice.ends_with('.'), "{title}");
            assert!(!panel.unit.is_empty() && !panel.queries.is_empty(), "{title}");
            // Files that the advice names are there.
            for word in panel.advice.split([' ', ':', ',']).filter(|it| it.starts_with("docs/")) {
                let path = word.trim_end_matches('.');
                assert!(folder().join("..").join(path).exists(), "{title}: no {path}");
            }
        }
    }
}
