//! Completions and manual pages, as shells and `man` read them.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::program::{fails, prints, tcpinfo};

#[test]
fn bash_completes_commands_and_options() {
    let script = prints(&["completions", "bash"]);
    // What bash does when somebody presses Tab.
    let complete = |words: &str| {
        let script = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _tcpinfo tcpinfo \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             echo ${{COMPREPLY[@]}}"
        );
        let output = Command::new("bash").args(["-c", &script]).output().expect("bash starts");
        String::from_utf8(output.stdout).expect("a text").trim_end().to_owned()
    };
    assert_eq!(complete("tcpinfo re"), "record replay");
    assert_eq!(complete("tcpinfo list --fi"), "--fields");
    assert_eq!(complete("tcpinfo top --by ''"), "connection group process unit");
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(prints(&["completions", shell]).contains("replay"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let main = prints(&["man"]);
    for status in ["0   it did", "2   the arguments are wrong", "70  a mistake"] {
        let words: Vec<&str> = status.split_whitespace().collect();
        assert!(main.contains(&words[1..].join(" ")), "{status}: {main}");
    }
    for command in ["top", "list", "serve", "record", "replay", "completions", "man"] {
        let page = prints(&["man", command]);
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    let (status, sentence) = fails(tcpinfo(&["man", "nothing"]));
    assert_eq!((status, sentence.as_str()), (2, "no command nothing"));
    let mandoc = Command::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn();
    let Ok(mut running) = mandoc else {
        println!("SKIPPED: every_command_has_a_manual_page: no `man` to read them");
        return;
    };
    let mut stdin = running.stdin.take().expect("it is piped");
    stdin.write_all(main.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(running.wait().expect("it is our child").success());
}
