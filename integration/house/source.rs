//! The repository as text: its files, and of Rust ones what compiles and what is quoted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One text file of the repository.
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn lines(&self) -> impl Iterator<Item = (String, &str)> {
        let numbered = self.text.lines().enumerate();
        numbered.map(|(n, line)| (format!("{}:{}", self.path, n + 1), line))
    }

    pub(crate) fn at(&self, offset: usize) -> String {
        format!("{}:{}", self.path, self.text[..offset].matches('\n').count() + 1)
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it holds nothing but unit tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
    }

    /// The module below the crate's root that a file of `src/` belongs to, with its depth.
    pub(crate) fn module(&self) -> Option<(&str, usize)> {
        let path = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let path = path.strip_suffix("/mod").unwrap_or(path);
        Some((path.split('/').next()?, path.split('/').count()))
    }

    /// What compiles: comments and the insides of literals blanked out, and the string literals.
    pub(crate) fn code(&self) -> (String, Vec<(usize, &str)>) {
        let bytes = self.text.as_bytes();
        let (mut code, mut literals, mut at) = (bytes.to_vec(), Vec::new(), 0);
        while at < bytes.len() {
            let rest = &self.text.as_bytes()[at..];
            let raw = rest.iter().skip(1).take_while(|b| **b == b'#').count();
            let in_word = at > 0 && is_word(bytes[at - 1]) && !b"bc".contains(&bytes[at - 1]);
            let (skip, len) = if rest.starts_with(b"//") {
                (0, find(rest, b"\n"))
            } else if rest.starts_with(b"/*") {
                (0, find(rest, b"*/") + 2)
            } else if rest[0] == b'r' && !in_word && rest.get(1 + raw) == Some(&b'"') {
                let close = [b"\"".as_slice(), &b"#".repeat(raw)].concat();
                (raw + 2, find(&rest[raw + 2..], &close))
            } else if rest[0] == b'"' {
                (1, quoted(&rest[1..]))
            } else if rest.starts_with(b"'\\") {
                (1, 2 + find(&rest[3..], b"'"))
            } else if rest[0] == b'\'' && rest.get(2) == Some(&b'\'') {
                (1, 1)
            } else {
                at += 1;
                continue;
            };
            let inside = at + skip..(at + skip + len).min(bytes.len());
            if skip > 0 && rest[0] != b'\'' {
                literals.push((inside.start, &self.text[inside.clone()]));
            }
            let kept = code[inside.clone()].iter_mut().filter(|b| **b != b'\n');
            kept.for_each(|b| *b = b' ');
            at = inside.end + usize::from(skip > 0) + raw.min(skip.saturating_sub(2));
        }
        (String::from_utf8(code).expect("whole literals were blanked"), literals)
    }
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap_or(bytes.len())
}

/// Length of what stands before the closing quote.
fn quoted(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

/// Where `word` stands by itself.
pub(crate) fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).map(|before| code.as_bytes()[before]);
        let after = code.as_bytes().get(at + word.len());
        !before.is_some_and(is_word) && !after.copied().is_some_and(is_word)
    })
}

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Every text file that is ours: neither built nor ignored by git.
pub(crate) fn files() -> Vec<File> {
    let ignored = fs::read_to_string(root().join(".gitignore")).expect("it is in the repository");
    let ignored: BTreeSet<_> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let (mut folders, mut files) = (vec![PathBuf::new()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder can be listed") {
            let entry = entry.expect("a folder can be listed");
            let name = entry.file_name().into_string().expect("names are text");
            let path = folder.join(&name);
            if name == ".git" || name == "target" || ignored.contains(name.as_str()) {
                continue;
            }
            if entry.file_type().expect("an entry has a type").is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                let path = path.into_os_string().into_string().expect("names are text");
                files.push(File { path, text });
            }
        }
    }
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "no src/lib.rs in {:?}", root());
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

pub(crate) fn rust() -> impl Iterator<Item = File> {
    files().into_iter().filter(File::is_rust)
}

pub(crate) fn src() -> impl Iterator<Item = File> {
    rust().filter(|file| file.path.starts_with("src/"))
}

pub(crate) fn file(path: &str) -> File {
    files().into_iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}"))
}

/// Every module below the crate's root that a file names, by `crate::` or `super::`.
pub(crate) fn named_modules(code: &str, depth: usize) -> Vec<(usize, &str)> {
    let (mut named, mut braces, mut inline) = (Vec::new(), 0_usize, Vec::new());
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        match rest.as_bytes()[0] {
            b'{' => {
                let statement = code[..at].rsplit([';', '{', '}']).next().unwrap_or_default();
                if words(statement, "mod").next().is_some() {
                    inline.push(braces);
                }
                braces += 1;
            }
            b'}' => {
                braces = braces.saturating_sub(1);
                inline.retain(|opened| *opened < braces);
            }
            _ => {}
        }
        let begins = at == 0 || !is_word(code.as_bytes()[at - 1]);
        let supers = if begins { leading(rest, "super::") } else { 0 };
        let path = if supers > 0 {
            Some(&rest[supers * 7..]).filter(|_| supers == depth + inline.len())
        } else {
            rest.strip_prefix("crate::").filter(|_| begins)
        };
        if let Some(path) = path {
            let group = path.strip_prefix('{').map(|group| &group[..closing(group)]);
            let names = group.map_or_else(|| vec![path], top_level);
            named.extend(names.into_iter().map(|name| {
                let name = name.trim_start();
                let word = name.bytes().take_while(|byte| is_word(*byte)).count();
                (at, if name.starts_with('*') { "*" } else { &name[..word] })
            }));
        }
        at += (supers * 7).max(rest.chars().next().map_or(1, char::len_utf8));
    }
    named.retain(|(_, name)| !name.is_empty());
    named
}

/// How often `text` begins with `what`.
fn leading(mut text: &str, what: &str) -> usize {
    let mut count = 0;
    while let Some(rest) = text.strip_prefix(what) {
        (text, count) = (rest, count + 1);
    }
    count
}

/// Length of a group up to its closing brace.
fn closing(group: &str) -> usize {
    let mut open = 1;
    let close = group.bytes().position(|byte| {
        open += i32::from(byte == b'{') - i32::from(byte == b'}');
        open == 0
    });
    close.unwrap_or(group.len())
}

fn top_level(group: &str) -> Vec<&str> {
    let mut open = 0;
    let split = group.split(|letter| {
        open += i32::from(letter == '{') - i32::from(letter == '}');
        letter == ',' && open == 0
    });
    split.collect()
}

#[test]
fn code_is_what_neither_comments_nor_literals_say() {
    let text = r####"a "b\"//" /* c */ 'd' '\'' r#"e"f"# b"g" // h 'i
j: &'static str = br"k";"####;
    let file = File { path: "sample.rs".to_owned(), text: text.to_owned() };
    let (code, literals) = file.code();
    let left: Vec<_> = code.split_whitespace().collect();
    assert_eq!(code.len(), text.len());
    let expected = [
        "a", "\"", "\"", "'", "'", "'", "'", "r#\"", "\"#", "b\"", "\"", "j:", "&'static", "str",
        "=",
    ];
    assert_eq!(left[..15], expected, "{code}");
    let literals: Vec<_> = literals.into_iter().map(|(_, literal)| literal).collect();
    assert_eq!(literals, ["b\\\"//", "e\"f", "g", "k"]);
}

#[test]
fn modules_are_named_from_the_root_by_crate_and_by_super() {
    let names = |code, depth| -> Vec<_> {
        named_modules(code, depth).into_iter().map(|(_, name)| name).collect()
    };
    assert_eq!(names("use crate::{a::{x, y}, b}; crate::c::f();", 1), ["a", "b", "c"]);
    assert_eq!(names("use super::a; use super::super::b;", 1), ["a"]);
    assert_eq!(names("use super::a; use super::super::b;", 2), ["b"]);
    assert_eq!(names("mod m { use super::a; use super::super::b; } use super::c;", 1), ["b", "c"]);
    assert_eq!(names("use crate::*; pub(in super) x; my_crate::d;", 1), ["*"]);
}
