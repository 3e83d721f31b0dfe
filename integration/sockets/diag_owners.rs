//! Who holds a socket, as `/proc` tells it.

use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use tcpinfo::diag::{Socket, find, owners};

use support::loopback::Pair;

fn found(stream: &TcpStream) -> Socket {
    let local = stream.local_addr().expect("it is bound");
    let peer = stream.peer_addr().expect("it is connected");
    find(local, peer).expect("sock_diag answers").expect("the socket is open")
}

fn fd(stream: &TcpStream) -> u32 {
    stream.as_raw_fd().try_into().expect("no descriptor is negative")
}

#[test]
fn a_socket_leads_to_its_descriptors() {
    let Pair { client, server, listener: _listener } = Pair::connect();
    let twice = client.try_clone().expect("a descriptor");
    // A child that holds the server's end as its standard input, and waits for the end of it.
    let input = OwnedFd::from(server.try_clone().expect("one more"));
    let mut child = Command::new("cat")
        .stdin(Stdio::from(input))
        .stdout(Stdio::null())
        .spawn()
        .expect("cat, of coreutils");

    let owners = owners().expect("procfs");
    // Children that other tests start have all descriptors for a moment: until they run a program.
    let [own, childs] = [std::process::id(), child.id()];
    let of = |stream: &TcpStream| {
        let owners = owners.of(&found(stream)).iter();
        let owners = owners.filter(|owner| [own, childs].contains(&owner.pid));
        let mut told: Vec<_> = owners.map(|owner| (owner.pid, owner.fd)).collect();
        told.sort_unstable();
        told
    };
    let mut expected = vec![(own, fd(&client)), (own, fd(&twice))];
    expected.sort_unstable();
    assert_eq!(of(&client), expected);
    let mut expected = vec![(own, fd(&server)), (childs, 0)];
    expected.sort_unstable();
    assert_eq!(of(&server), expected);
    let comm = std::fs::read_to_string("/proc/self/comm").expect("procfs");
    let command = |owner: &tcpinfo::diag::Owner| (owner.pid == own).then(|| owner.command.clone());
    let told = owners.of(&found(&server)).iter().find_map(command);
    assert_eq!(told.as_deref(), Some(comm.trim_end()));

    let mut unheld = found(&client);
    unheld.inode = None;
    assert_eq!(owners.of(&unheld), []);
    child.kill().expect("it waits");
    child.wait().expect("it was started here");
}

#[test]
fn nobody_sees_its_own_and_counts_the_rest() {
    let program = std::env::current_exe().expect("procfs");
    let mut nobody = Command::new(program);
    nobody.args(["--exact", "sockets::diag_owners::nobodys_part", "--ignored"]);
    nobody.args(["--nocapture", "--test-threads=1"]).env("TCPINFO_OWNERS", "yes");
    match nobody.uid(65534).gid(65534).current_dir("/").output() {
        Err(error) => println!("SKIPPED: cannot run as nobody: {error}"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("nobody found itself"), "{text}");
        }
    }
}

#[test]
#[ignore = "the part of nobody_sees_its_own_and_counts_the_rest that runs as nobody"]
fn nobodys_part() {
    if std::env::var_os("TCPINFO_OWNERS").is_none() {
        return;
    }
    let Pair { client, server: _server, listener: _listener } = Pair::connect();
    let owners = owners().expect("procfs");
    assert!(owners.forbidden() > 0, "there is a process of root, which started this");
    let [owner] = owners.of(&found(&client)) else { panic!("one descriptor is open") };
    assert_eq!((owner.pid, owner.fd), (std::process::id(), fd(&client)));
    println!("nobody found itself");
}
