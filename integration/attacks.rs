//! Programs that go to the limits of what safe code can do to a monitor: many threads, handles in
//! every order, descriptors that change under it.

mod gauges;
