//! The lists in ARCHITECTURE.md, README.md and the guides are what the code and the folders say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use support::exposition::series_names;
use tcpinfo::metrics;

use super::rules::{FLOORS, none};
use super::source::{File, file, files, root, src, words};

const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// What the sections of ARCHITECTURE.md call things. A word that is not there has no meaning yet.
const WORDS: &[&str] = &[
    "reply",
    "field",
    "row",
    "absent",
    "metric",
    "instrument",
    "attribute",
    "reader",
    "provider",
    "monitor",
    "group",
    "watched",
    "discovered",
    "sweep",
    "snapshot",
    "last reading",
    "verdict",
    "page",
    "request",
];

/// Types that are locks, or that are set once.
const LOCKS: &[&str] = &["Mutex", "RwLock", "OnceLock", "LazyLock", "ArcSwap", "ArcSwapOption"];

/// The text below a heading, up to the next one of its depth.
fn section(file: &File, heading: &str) -> String {
    let begin = format!("\n{heading}\n");
    let depth = heading.split(' ').next().unwrap_or_default();
    let (_, text) = file.text.split_once(&begin).unwrap_or_else(|| panic!("no {heading}"));
    text.split(&format!("\n{depth} ")).next().unwrap_or_default().to_owned()
}

/// The cells of every row of the tables in a text, headings left out.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |at: &usize| {
        let next = lines.get(at + 1).is_some_and(|next| next.starts_with("| ---"));
        lines[*at].starts_with("| ") && !lines[*at].starts_with("| ---") && !next
    };
    let cells = |at: usize| {
        let row = lines[at].trim_matches('|').split(" | ");
        row.map(|cell| cell.trim_matches(['|', ' '])).collect()
    };
    (0..lines.len()).filter(is_row).map(cells).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn architecture_has_every_word() {
    let words = section(&file(ARCHITECTURE), "## Words");
    let defined: Vec<_> = rows(&words).into_iter().flat_map(|row| row[0].split(", ")).collect();
    let missing = WORDS.iter().filter(|word| !defined.contains(word));
    none("Every word has a meaning.", missing.map(|word| format!("{ARCHITECTURE}: {word}")));
}

#[test]
fn architecture_has_every_module_on_its_floor() {
    let floors = section(&file(ARCHITECTURE), "## Floors");
    let rows = rows(&floors);
    assert_eq!(rows.len(), FLOORS.len(), "a row for each floor, the highest first");
    for (row, (floor, modules)) in rows.iter().rev().zip(FLOORS.iter().enumerate()) {
        let stated: Vec<_> = quoted(row[1]).collect();
        assert_eq!((row[0], stated), (&*floor.to_string(), modules.to_vec()), "{ARCHITECTURE}");
    }
    let exist: BTreeSet<String> = src()
        .filter_map(|file| file.module().map(|(module, _)| module.to_owned()))
        .filter(|module| module != "lib")
        .collect();
    let stated = FLOORS.iter().copied().flatten().map(|module| (*module).to_owned()).collect();
    assert_eq!(exist, stated, "the modules of src, and those on a floor");
}

/// Every lock that `src` declares: its file, and the name of the field, the static or the type.
fn locks() -> BTreeSet<(String, String)> {
    let mut locks = BTreeSet::new();
    for file in src().filter(|file| !file.path.contains("/tests")) {
        let (code, _) = file.code();
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (kind, at) in LOCKS.iter().flat_map(|kind| words(code, kind).map(move |at| (kind, at)))
        {
            let is_type = code[at + kind.len()..].starts_with('<');
            if !is_type || code[..at].ends_with('&') {
                continue;
            }
            let begin = code[..at].rfind([';', '{', '}', ',']).map_or(0, |begin| begin + 1);
            let declared = code[begin..at].split(": ").next().unwrap_or_default();
            let declared = declared.trim_end_matches('(');
            let name = declared.rsplit(|c: char| c != '_' && !c.is_alphanumeric()).next();
            locks.insert((file.path.clone(), name.unwrap_or_default().to_owned()));
        }
    }
    assert!(locks.contains(&("src/monitor/slots.rs".into(), "slots".into())), "{locks:?}");
    locks
}

#[test]
fn architecture_has_every_lock() {
    let architecture = file(ARCHITECTURE);
    let text = section(&architecture, "## Locks");
    let mut stated = BTreeSet::new();
    let mut orders = BTreeMap::new();
    for row in rows(&text) {
        // The tables are told apart by their number of columns: the first one begins with an order.
        let place = row[row.len() - 2];
        let mut names = quoted(place);
        let Some(path) = names.next() else { continue };
        for name in names {
            stated.insert((path.to_owned(), name.to_owned()));
            if row.len() == 4 {
                orders.insert(format!("{path} {name}"), row[0].parse::<u8>().expect("an order"));
            }
        }
    }
    let declared = locks();
    let missing = declared.difference(&stated).map(|(path, name)| {
        format!("{path}: `{name}` is a lock: give it an order in {ARCHITECTURE}")
    });
    let stale = stated.difference(&declared);
    let stale = stale.map(|(path, name)| format!("{ARCHITECTURE}: no lock `{name}` in {path}"));
    none("Every lock has its place in the order.", missing.chain(stale));
    assert!(orders.len() > 10, "{orders:?}");

    // Within the monitor, `locks.rs` draws the same order.
    let drawn = file("src/monitor/locks.rs");
    let drawn: String = drawn
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .fold(String::new(), |text, line| text + line + "\n");
    let mut findings = Vec::new();
    for row in rows(&drawn).iter().filter(|row| row.len() == 4) {
        let order: u8 = row[0].parse().expect("an order");
        let path = format!("src/monitor/{}", row[3].trim_matches('`'));
        let same = |(name, stated): (&String, &u8)| name.starts_with(&path) && *stated == order;
        if !orders.iter().any(same) {
            findings.push(format!("src/monitor/locks.rs: {} of {path} has order {order}", row[1]));
        }
    }
    none("ARCHITECTURE.md and locks.rs say the same order.", findings);
}

#[test]
fn architecture_has_every_script_and_folder() {
    let architecture = file(ARCHITECTURE);
    let scripts = section(&architecture, "## Which script proves what");
    let stated: BTreeSet<_> = rows(&scripts).iter().flat_map(|row| quoted(row[0])).collect();
    let all = files();
    let exist = all.iter().map(|file| file.path.as_str()).filter(|path| {
        let inside = path.strip_prefix("integration/").is_some_and(|name| !name.contains('/'));
        *path == ".ci/run" || (inside && path.ends_with(".sh"))
    });
    assert_eq!(stated, exist.collect(), "scripts in {ARCHITECTURE}, and those that exist");

    let folders = section(&architecture, "## Where things are");
    let stated: BTreeSet<_> = rows(&folders).iter().flat_map(|row| quoted(row[0])).collect();
    let exist: BTreeSet<_> = all.iter().filter_map(|file| file.path.split_once('/')).collect();
    let missing = exist.iter().map(|(folder, _)| *folder).filter(|folder| {
        let is_hidden = folder.starts_with('.');
        !is_hidden && !stated.contains(folder)
    });
    let missing: BTreeSet<_> = missing.collect();
    let stale = stated.iter().filter(|folder| !root().join(folder).is_dir());
    let missing = missing.into_iter().map(|folder| format!("say what {folder} holds"));
    let findings = missing.chain(stale.map(|folder| format!("{folder} is no folder")));
    none("ARCHITECTURE.md says what each folder holds.", findings);
}

/// The name that GitHub gives to a heading.
fn anchor(heading: &str) -> String {
    let letters = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = letters.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn documents_name_what_exists() {
    let mut findings = Vec::new();
    for document in files().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = Path::new(&document.path).parent().unwrap_or(Path::new(""));
        for (at, line) in document.lines() {
            for link in line.split("](").skip(1) {
                let link = link.split(')').next().unwrap_or_default();
                let (path, heading) = link.split_once('#').unwrap_or((link, ""));
                let path = if path.is_empty() {
                    Path::new(&document.path).to_owned()
                } else {
                    folder.join(path)
                };
                if !root().join(&path).exists() {
                    findings.push(format!("{at}: {link} is no file of this repository"));
                } else if !heading.is_empty() {
                    let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
                    let mut headings = text.lines().filter(|line| line.starts_with('#'));
                    if !headings.any(|line| anchor(line) == heading) {
                        findings.push(format!("{at}: no heading for {link}"));
                    }
                }
            }
            for path in quoted(line).filter_map(|text| text.split(' ').next()) {
                let ours = ["src/", "integration/", "docs/", "examples/", "semconv/", ".ci/"];
                if ours.iter().any(|folder| path.starts_with(folder)) && !root().join(path).exists()
                {
                    findings.push(format!("{at}: {path} does not exist"));
                }
            }
        }
    }
    none("Documents name files of this repository.", findings);
}

#[test]
fn readme_queries_name_metrics_that_exist() {
    let exist: BTreeSet<String> = metrics().iter().flat_map(series_names).collect();
    let labels: BTreeSet<String> =
        tcpinfo::ATTRIBUTES.iter().map(|attribute| attribute.name.replace('.', "_")).collect();
    let readme = file("README.md");
    let queries = readme.text.split("```promql\n").nth(1).expect("README.md has queries");
    let queries = queries.split("```").next().unwrap_or_default();
    let code = queries.lines().filter(|line| !line.starts_with('#'));
    let words = code.flat_map(|line| line.split(|c: char| c != '_' && !c.is_alphanumeric()));
    let ours: BTreeSet<_> = words.filter(|word| word.starts_with("tcp_")).collect();
    assert!(ours.len() >= 6, "{ours:?}");
    let wrong = ours.iter().filter(|word| !exist.contains(**word) && !labels.contains(**word));
    none("Queries name series that exist.", wrong.map(|word| format!("README.md: {word}")));
}

#[test]
fn readme_and_the_guide_say_the_same_costs() {
    let (readme, guide) = (file("README.md"), file("src/docs/cost.rs"));
    let guide: String = guide.lines().map(|(_, line)| line.replace("//! ", "") + "\n").collect();
    let costs = section(&readme, "## What it costs");
    let costs = rows(&costs);
    assert!(costs.len() > 5, "{costs:?}");
    let guide = rows(&guide);
    let missing = costs.iter().filter(|cost| !guide.contains(cost));
    none("A cost is the same in both.", missing.map(|cost| format!("src/docs/cost.rs: {cost:?}")));
}

#[test]
fn the_picture_shows_what_the_demo_prints() {
    let picture = file("docs/demo.svg").text;
    assert!(picture.len() < 60_000, "{} bytes", picture.len());
    let demo = file("examples/demo/src/table.rs");
    let (code, literals) = demo.code();
    // The headings of two tables, and those that both have.
    let lists =
        code.match_indices("header([").chain(code.match_indices("TRAFFIC: [")).map(|it| it.0);
    let inside = |at: usize| at..at + code[at..].find("];").expect("a list ends");
    let headings = lists.filter(|at| !code[..*at].ends_with("fn ")).map(inside);
    let headings: BTreeSet<&str> = headings
        .flat_map(|range| literals.iter().filter(move |(at, _)| range.contains(at)))
        .map(|(_, text)| *text)
        .collect();
    assert!(headings.len() > 10, "{headings:?}");
    let missing = headings.iter().filter(|text| !picture.contains(&format!(">{text}</text>")));
    none(
        "docs/demo.svg is what the demo prints: integration/picture.sh makes it anew.",
        missing.map(|text| format!("docs/demo.svg: {text}")),
    );
}

#[test]
fn documents_fit_the_screen() {
    let mut findings = Vec::new();
    let ours = |path: &str| path.ends_with(".md") && !path.starts_with("docs/");
    for document in files().iter().filter(|file| ours(&file.path)) {
        let long = document.lines().filter(|(_, line)| line.chars().count() > 120);
        let long = long.filter(|(_, line)| !line.starts_with("| "));
        findings.extend(long.map(|(at, _)| format!("{at}: wrap it at 120 columns")));
    }
    none("A line of a document has 120 columns, rows of tables apart.", findings);
}
