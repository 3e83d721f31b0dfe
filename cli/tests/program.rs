//! Runs the program, and takes apart what it prints.

use std::process::{Command, Output};

use serde_json::{Map, Value};

/// The program with these arguments.
pub(crate) fn tcpinfo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpinfo"));
    command.args(arguments);
    command
}

/// What it prints when all goes well.
#[track_caller]
pub(crate) fn prints(arguments: &[&str]) -> String {
    let output = tcpinfo(arguments).output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tcpinfo {arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// Its exit status, and its one sentence.
#[track_caller]
pub(crate) fn fails(mut command: Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    assert_eq!(String::from_utf8_lossy(&stdout), "");
    let text = String::from_utf8(stderr).expect("it prints text");
    let sentence = text.strip_prefix("tcpinfo: ").unwrap_or_else(|| panic!("{text}"));
    assert_eq!(sentence.lines().count(), 1, "{text}");
    (status.code().expect("no signal ended it"), sentence.trim_end().to_owned())
}

/// The objects that `list --json` prints.
#[track_caller]
pub(crate) fn objects(arguments: &[&str]) -> Vec<Map<String, Value>> {
    let text = prints(&[&["list", "--json"], arguments].concat());
    let object = |line| match serde_json::from_str(line) {
        Ok(Value::Object(object)) => object,
        other => panic!("{line}: {other:?}"),
    };
    text.lines().map(object).collect()
}
