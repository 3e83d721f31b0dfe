//! The files that are published with the program: for systemd, for containers.

use std::process::{Command, Stdio};

use crate::program::tcpinfo;

#[test]
fn the_files_for_systemd_and_containers_are_sound() {
    let file = |name: &str| {
        let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let (unit, container) = (file("tcpinfo.service"), file("Containerfile"));
    // With --help it does nothing, and still says which argument it does not know.
    let begin = "ExecStart=/usr/local/bin/tcpinfo ";
    let line = unit.lines().find_map(|line| line.strip_prefix(begin)).expect("it starts us");
    let of_unit: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let line = container.lines().find_map(|line| line.strip_prefix("CMD ")).expect("it starts us");
    let of_container: Vec<String> = serde_json::from_str(line).expect("a list of texts");
    for arguments in [of_unit, of_container] {
        let output = tcpinfo(&[]).args(&arguments).arg("--help").output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}");
    }
    let analyze = |arguments: &[&str]| {
        let path = format!("{}/tcpinfo.service", env!("CARGO_MANIFEST_DIR"));
        // Which program it starts is checked where there is one.
        let text = unit.replace("/usr/local/bin/tcpinfo", env!("CARGO_BIN_EXE_tcpinfo"));
        let folder = std::env::temp_dir().join(format!("tcpinfo-unit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("it can be made");
        let copy = folder.join("tcpinfo.service");
        std::fs::write(&copy, text).expect("it can be written");
        let mut command = Command::new("systemd-analyze");
        let output = command.args(arguments).arg(&copy).stdin(Stdio::null()).output();
        let _ = std::fs::remove_dir_all(&folder);
        output.map_err(|error| format!("{path}: {error}"))
    };
    match analyze(&["verify", "--man=no"]) {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !said.contains("tcpinfo.service"), "{said}");
        }
        Err(why) => {
            println!(
                "SKIPPED: the_files_for_systemd_and_containers_are_sound: no systemd-analyze: {why}"
            );
            return;
        }
    }
    // From 0, which is safe, to 10, in tenths.
    let output = analyze(&["security", "--offline=true", "--threshold=15"]).expect("it was there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}
