//! The stream of ended sockets alone, under load: no end is missing and none is told twice.

use std::collections::BTreeSet;
use std::time::Duration;

use tcpinfo::TcpInfo;
use tcpinfo::diag::{Event, Events};

use super::scene::{Generator, Totals, connections, of_clients, of_servers};
use support::alone::in_namespace;
use support::lateness::in_time;

const LONG: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn every_end_is_told_once_with_its_last_counters() {
    in_namespace(|| {
        in_time(Duration::from_millis(100), |lateness| {
            let mut events = Events::open()
                .and_then(|events| events.with_receive_buffer(4 << 20))
                .expect("sock_diag answers");
            let mut generator = Generator::both(connections(), 3_000, 0);
            generator.go();
            let servers: BTreeSet<_> = generator.addresses.iter().copied().collect();
            let mut cookies = BTreeSet::new();
            let mut all: [Totals; 2] = Default::default();
            while all.iter().any(|totals| totals[1] < connections()) {
                let event = events.next_within(LONG).expect("well-formed").expect("all end");
                let Event::Ended(socket) = event else {
                    lateness.slowed(Duration::from_secs(1));
                    return Err(format!("{event:?}"));
                };
                assert!(cookies.insert(socket.cookie), "twice: {socket:?}");
                let info = socket.info.expect("events have it");
                let side = usize::from(servers.contains(&socket.local));
                assert!(
                    side == 1 || servers.contains(&socket.peer),
                    "{} {}",
                    socket.local,
                    socket.peer
                );
                let number = |of: fn(&TcpInfo) -> Option<u64>| of(&info).expect("since Linux 4.19");
                let sent = number(|it| it.bytes_sent) - number(|it| it.bytes_retrans);
                let bytes = [sent, number(|it| it.bytes_received), number(|it| it.bytes_acked)];
                let one = [1, 1, bytes[0], bytes[1], bytes[2]];
                all[side].iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
            }
            let made = generator.made();
            assert_eq!(all, [of_clients(made.client), of_servers(made.server)]);
            assert_eq!(events.try_next().expect("no error"), None);
            println!("measured: {} ends told, {:.0} connections/s", cookies.len(), made.rate());
            Ok(())
        });
    });
}
