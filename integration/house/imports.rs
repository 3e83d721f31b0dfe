//! The imports within a module of the crate: a file imports only from lower layers, so there is no
//! circle, and a reader can begin at the bottom.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{File, file, src, words};

/// The modules whose files import in one direction only.
const WITHOUT_CIRCLES: &[&str] = &["diag", "metric", "monitor"];

/// Those of them whose first lines draw the layers.
const DRAWN: &[&str] = &["monitor"];

/// From each module to those whose items it names, and where.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// `monitor::attributes::key` of `src/monitor/attributes/key.rs`.
fn module(file: &File, root: &str) -> Option<String> {
    let path = file.path.strip_prefix("src/")?.strip_suffix(".rs")?.replace('/', "::");
    let ours = path == root || path.starts_with(&format!("{root}::"));
    (ours && !file.path.contains("/tests")).then_some(path)
}

/// The paths that begin with `super`, `self` or `crate`, from the crate's root, with their offsets;
/// and the modules that are declared, because a parent is above its children. What tests name does
/// not count.
fn paths(code: &str, module: &str) -> Vec<(usize, Vec<String>)> {
    let code = &code[..code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len())];
    let mut paths = Vec::new();
    for at in words(code, "mod") {
        let here: Vec<String> = module.split("::").map(str::to_owned).collect();
        named(&code[at + 3..], &here, &mut |path| paths.push((at, path)));
    }
    for start in ["super", "self", "crate"] {
        let begins =
            |at: &usize| code[at + start.len()..].starts_with("::") && !code[..*at].ends_with("::");
        for at in words(code, start).filter(begins) {
            let mut here: Vec<String> = module.split("::").map(str::to_owned).collect();
            here.extend(inline_modules(&code[..at]));
            if start == "crate" {
                here.clear();
            }
            let mut rest = code[at..].strip_prefix("crate::").unwrap_or(&code[at..]);
            rest = rest.strip_prefix("self::").unwrap_or(rest);
            while let Some(above) = rest.strip_prefix("super::") {
                here.pop();
                rest = above;
            }
            named(rest, &here, &mut |path| paths.push((at, path)));
        }
    }
    paths
}

/// The inline modules that are open where `code` ends.
fn inline_modules(code: &str) -> Vec<String> {
    let mut open = Vec::new();
    for (at, letter) in code.char_indices() {
        match letter {
            '{' => {
                let statement = code[..at].rsplit([';', '{', '}', ']']).next().unwrap_or_default();
                let mut words = statement.split_whitespace().skip_while(|word| *word != "mod");
                open.push(words.nth(1).map(str::to_owned));
            }
            '}' => drop(open.pop()),
            _ => {}
        }
    }
    open.into_iter().flatten().collect()
}

/// Every path that `text` begins with, below `base`: `a::{b, c::d}` has two.
fn named(text: &str, base: &[String], found: &mut impl FnMut(Vec<String>)) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let (mut depth, mut from) = (0, 0);
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    named(&group[from..at], base, found);
                    return;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    named(&group[from..at], base, found);
                    from = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let word = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    if word == 0 && !text.starts_with('*') {
        return;
    }
    let path: Vec<_> = base.iter().cloned().chain([text[..word].to_owned()]).collect();
    match text[word..].strip_prefix("::") {
        Some(below) if !below.starts_with('<') => named(below, &path, found),
        _ => found(path),
    }
}

/// The imports of all files that are modules of `root`, and of its own.
fn imports(files: &[File], root: &str) -> Imports {
    let modules: BTreeMap<String, &File> =
        files.iter().filter_map(|file| Some((module(file, root)?, file))).collect();
    let of = |path: &[String]| {
        let longest = (1..=path.len()).rev().map(|len| path[..len].join("::"));
        longest.into_iter().find(|path| modules.contains_key(path))
    };
    let mut imports = Imports::new();
    for (name, file) in &modules {
        let (code, _) = file.code();
        let named = imports.entry(name.clone()).or_default();
        for (at, path) in paths(&code, name) {
            if let Some(other) = of(&path).filter(|other| other != name) {
                named.entry(other).or_insert_with(|| file.at(at));
            }
        }
    }
    imports
}

/// Modules by layer: each is one above the highest that it imports. Or else a circle, import by
/// import.
fn layers(imports: &Imports) -> Result<Vec<BTreeSet<&str>>, Vec<String>> {
    let mut heights: BTreeMap<&str, usize> = BTreeMap::new();
    while heights.len() < imports.len() {
        let next: Vec<_> = imports
            .iter()
            .filter(|(name, _)| !heights.contains_key(name.as_str()))
            .filter_map(|(name, named)| {
                let below = named.keys().map(|other| heights.get(other.as_str()).copied());
                let below: Option<Vec<usize>> = below.collect();
                Some((name.as_str(), below?.into_iter().max().map_or(0, |highest| highest + 1)))
            })
            .collect();
        if next.is_empty() {
            return Err(circle(imports, &heights));
        }
        heights.extend(next);
    }
    let mut layers = vec![BTreeSet::new(); heights.values().max().map_or(0, |highest| highest + 1)];
    for (name, height) in heights {
        layers[height].insert(name);
    }
    Ok(layers)
}

/// Every module without a height imports one without a height: following them ends in a circle.
fn circle(imports: &Imports, heights: &BTreeMap<&str, usize>) -> Vec<String> {
    let open = |name: &&String| !heights.contains_key(name.as_str());
    let mut way: Vec<&String> = imports.keys().filter(open).take(1).collect();
    loop {
        let last = way[way.len() - 1];
        let next = imports[last].keys().find(open).expect("else it had a height");
        if let Some(begin) = way.iter().position(|name| *name == next) {
            way.push(next);
            let steps = way[begin..].windows(2);
            let step = |pair: &[&String]| {
                format!("{}: `{}` imports `{}`", imports[pair[0]][pair[1]], pair[0], pair[1])
            };
            return steps.map(step).collect();
        }
        way.push(next);
    }
}

/// The drawing: the highest layer first.
fn drawing(layers: &[BTreeSet<&str>], root: &str) -> String {
    let mut text = String::new();
    for (height, names) in layers.iter().enumerate().rev() {
        let short = |name: &&str| name.split_once("::").map_or(root, |(_, below)| below).to_owned();
        let mut line = format!("//! {height:>2} ");
        for name in names.iter().map(short) {
            if line.len() + 1 + name.len() > 100 {
                text += &(line + "\n");
                line = "//!    ".to_owned();
            }
            line = format!("{line} {name}");
        }
        text += &(line + "\n");
    }
    text
}

#[test]
fn imports_have_no_circle_and_are_drawn() {
    let files: Vec<File> = src().collect();
    for root in WITHOUT_CIRCLES {
        let imports = imports(&files, root);
        assert!(imports.len() > 1, "src/{root}/ has files");
        let layers = layers(&imports).unwrap_or_else(|circle| {
            let circle = circle.join("\n  ");
            panic!("Imports go in a circle: pass it in, or move it down.\n  {circle}\n")
        });
        if DRAWN.contains(root) {
            let drawing = drawing(&layers, root);
            let face = file(&format!("src/{root}.rs"));
            let has_it = face.text.contains(&drawing);
            assert!(has_it, "{} has another drawing; put there:\n{drawing}", face.path);
        }
    }
}

#[test]
fn a_circle_is_found_wherever_its_imports_are() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let found = |face: &str, child: &str, grandchild: &str| {
        let files = [
            file("src/monitor.rs", face),
            file("src/monitor/a.rs", child),
            file("src/monitor/a/b.rs", grandchild),
        ];
        let imports = imports(&files, "monitor");
        let layers = layers(&imports).map(|layers| layers.len());
        layers.map_err(|circle| circle.len())
    };
    assert_eq!(found("use self::a::A;", "use self::b::B;", "use crate::info::X;"), Ok(3));
    assert_eq!(found("use self::a::A;", "use self::b::{B, C};", "use super::A;"), Err(2));
    assert_eq!(found("pub mod a;", "fn f() { super::g(); }", ""), Err(2));
    assert_eq!(found("use self::{a::{A, b::B}};", "", "use crate::monitor::{X, a};"), Err(2));
    let nested = "mod json { use super::*; use super::super::Y; }";
    assert_eq!(found("use self::a::A;", nested, ""), Err(2));
    assert_eq!(found("use self::a::A;", "mod json { use super::*; }", ""), Ok(2));
    let tests = "fn f() {}\n#[cfg(test)]\nmod tests { use super::super::Z; }";
    assert_eq!(found("use self::a::A;", tests, ""), Ok(2));
}
