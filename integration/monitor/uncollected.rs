//! A monitor that nobody collects from says so.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::global;
use tcpinfo::{Monitor, MonitorBuilder};

use support::reader::Reader;

/// A monitor, and what `on_error` was told.
fn told(builder: MonitorBuilder) -> (Monitor, Arc<Mutex<Vec<String>>>) {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let put = Arc::clone(&errors);
    let monitor = builder
        .on_error(move |attributes, error| {
            assert!(attributes.as_slice().is_empty(), "{attributes:?}");
            put.lock().expect("no panic").push(error.to_string());
        })
        .build();
    (monitor, errors)
}

fn taken(errors: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut errors.lock().expect("no panic"))
}

#[test]
fn a_provider_that_keeps_no_instrument_is_told_at_once() {
    let (monitor, errors) = told(Monitor::builder());
    // No provider was set: this is what a program gets whose provider is of another version.
    monitor.instrument(&*global::meter_provider());
    let errors = taken(&errors);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("the provider keeps no instrument"), "{errors:?}");
    assert_eq!(monitor.snapshot().monitor.uncollected, 1);
}

#[test]
fn who_does_not_collect_is_told_once_until_it_collects() {
    let builder = Monitor::builder().with_collection_deadline(Duration::ZERO);
    let (monitor, errors) = told(builder);
    assert_eq!(monitor.snapshot().monitor.uncollected, 0);
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let page = monitor.page();
    assert_eq!(monitor.snapshot().monitor.uncollected, 2);
    for _ in 0..3 {
        monitor.snapshot();
    }
    let first = taken(&errors);
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first[0].starts_with("no collection for 0ns"), "{first:?}");
    // A collection tells nothing by itself, and begins anew.
    reader.collected();
    assert_eq!(taken(&errors), [""; 0]);
    for _ in 0..3 {
        let group = monitor.group([]);
        drop(group);
    }
    assert_eq!(taken(&errors).len(), 1);
    // Nobody misses who is gone.
    drop(page);
    assert_eq!(monitor.snapshot().monitor.uncollected, 1);
}

#[test]
fn who_collects_in_time_is_not_told() {
    let (monitor, errors) = told(Monitor::builder());
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let page = monitor.page();
    reader.collected();
    page.write(&mut std::io::sink()).expect("a sink takes all");
    assert_eq!(monitor.snapshot().monitor.uncollected, 0);
    assert_eq!(taken(&errors), [""; 0]);
}
