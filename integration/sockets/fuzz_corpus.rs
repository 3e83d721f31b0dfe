//! What fuzzing begins with, and what it found: replayed through the functions that `fuzz/` runs.

use std::fs;
use std::path::{Path, PathBuf};

use support::replies::bytes_in;

#[allow(unreachable_pub)] // To the fuzz targets it is a library.
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use targets::{ALGORITHMS, RELEASES};

/// The target of this name. A test in `src/diag/fuzzing.rs` replays the target `netlink`.
fn target(name: &str) -> Option<fn(&[u8])> {
    match name {
        "decode" => Some(targets::decode),
        "kernel" => Some(targets::kernel),
        "congestion" => Some(targets::congestion),
        "netlink" => None,
        #[cfg(feature = "page")]
        "page" => Some(targets::page::page),
        #[cfg(not(feature = "page"))]
        "page" => None,
        _ => panic!("no target {name}"),
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// What lies in a folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    paths
}

/// The captures: those of the first kernel, and below them a folder for each other one.
fn captures() -> Vec<PathBuf> {
    let (folders, files): (Vec<_>, Vec<_>) =
        entries(&root().join("integration/data")).into_iter().partition(|path| path.is_dir());
    let all = files.into_iter().chain(folders.iter().flat_map(|folder| entries(folder)));
    all.filter(|path| path.extension().is_some_and(|it| it == "hex")).collect()
}

/// What each target begins with.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    for path in captures() {
        let bytes = bytes_in(&path);
        // As their own kernel's, and as any other's.
        seeds.extend((0..RELEASES.len()).map(|it| ("decode", targets::reply(it, &bytes))));
    }
    let datagrams = entries(&root().join("src/diag/captures"));
    seeds.extend(datagrams.iter().map(|path| ("netlink", bytes_in(path))));
    let pairs = RELEASES.iter().zip(RELEASES.iter().skip(1));
    seeds.extend(pairs.map(|(one, next)| ("kernel", format!("{one}\n{next}").into_bytes())));
    for (algorithm, len) in ALGORITHMS.iter().flat_map(|it| [0, 16, 20, 52].map(|len| (it, len))) {
        seeds.push(("congestion", [algorithm.as_bytes(), &[0], &vec![1; len]].concat()));
    }
    let attributes: [&[u8]; 4] = [
        b"listener\xffpublic",
        b"a.b\xff1\xffa_b\xff#2\xff__name__\xff\"\\\n",
        b"le\xff+Inf\xffotel.scope.name\xffmine\xff\xff#NaN",
        b"network.connection.state\xffx\xfftcp_limited_by\xff{a=\"b\"} 1\n# EOF",
    ];
    seeds.extend(attributes.map(|input| ("page", input.to_vec())));
    seeds
}

/// Everything holds of them, and `integration/fuzz.sh` finds them in `target/tmp/seeds`.
#[test]
fn what_fuzzing_begins_with_holds() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeds");
    for (number, (name, input)) in seeds().into_iter().enumerate() {
        if let Some(target) = target(name) {
            target(&input);
        }
        let folder = folder.join(name);
        fs::create_dir_all(&folder).expect("cargo's own folder takes another");
        fs::write(folder.join(number.to_string()), input).expect("it takes a file");
    }
}

#[test]
fn what_fuzzing_found_still_holds() {
    for folder in entries(&root().join("fuzz/corpus")) {
        let name = folder.file_name().and_then(|name| name.to_str()).expect("ASCII names");
        let found = entries(&folder);
        let inputs = found.iter().map(|path| fs::read(path).expect("it can be read"));
        if let Some(target) = target(name) {
            inputs.for_each(|input| target(&input));
        }
        println!("{name}: {} inputs", found.len());
    }
}
