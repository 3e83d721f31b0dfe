//! Signals that say that it is time to end.

use std::io;
use std::sync::mpsc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Where a signal says that it is time to end.
pub(crate) fn ended() -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for (number, signal) in signals.forever().enumerate() {
            let _ = sender.send(());
            // A second one ends the program at once, should what is left to do never end.
            if number > 0 {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    });
    Ok(receiver)
}
