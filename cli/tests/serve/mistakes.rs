//! What is wrong in arguments, files and variables.

use std::net::{Ipv4Addr, TcpListener};

use super::{Scratch, command};
use crate::program::fails;

#[test]
fn what_is_wrong_is_said_in_a_sentence() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("bound");
    let (_taken, address) = taken;
    let file = Scratch::new("wrong", "push = false\n\n[[group]]\nname = \"a\"\nport = \"http\"\n");
    let path = file.path();
    for (arguments, status, sentence) in [
        (
            &["--listen", &*address][..],
            4,
            format!("another program listens on {address}: choose another port by --listen"),
        ),
        (&["--config", path], 2, format!("{path}: line 5: group.port: http is no port")),
        (
            &["--config", "/no/such/file"],
            4,
            "/no/such/file: No such file or directory (os error 2)".to_owned(),
        ),
        (
            &["--group", "a=host:b"],
            2,
            "--group a=host:b: no condition host, there is port, to, unit, process".to_owned(),
        ),
        (
            &["--only-groups"],
            2,
            "--only-groups, and there is no group: nothing would count".to_owned(),
        ),
    ] {
        assert_eq!(fails(command(arguments)), (status, sentence), "{arguments:?}");
    }
    let (status, sentence) = fails(command(&["--listen", "127.0.0.1"]));
    let expected = "127.0.0.1 is no address and port, such as 127.0.0.1:9464: ";
    assert!(status == 2 && sentence.starts_with(expected), "{status} {sentence}");
    for (variable, value, part) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "pushes as http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a:4318", "pushes to http:// alone"),
    ] {
        let mut command = command(&["--push"]);
        command.env(variable, value);
        let (status, sentence) = fails(command);
        let begin = format!("{variable} is {value}: tcpinfo ");
        assert!(status == 2 && sentence.starts_with(&begin), "{status} {sentence}");
        assert!(sentence.contains(part), "{sentence}");
    }
}
