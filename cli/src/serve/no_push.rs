//! What stands for pushes in a program that is built without them.

use tcpinfo::Monitor;

use super::http::Health;
use crate::failure::Failure;

/// Nothing can be pushed: that is said where it is asked for.
pub(super) fn is_wanted(asked: bool) -> Result<bool, Failure> {
    match asked {
        true => Err(Failure::usage("this tcpinfo was built without the feature otlp: no pushes")),
        false => Ok(false),
    }
}

/// There is none.
pub(super) enum Push {}

impl Push {
    pub(super) fn start(_: &Monitor) -> Result<Self, Failure> {
        Err(Failure::usage("this tcpinfo was built without the feature otlp: no pushes"))
    }

    pub(super) fn to(&self) -> String {
        match *self {}
    }

    pub(super) fn health(&self) -> Health {
        match *self {}
    }

    pub(super) fn end(self) -> Result<(), String> {
        match self {}
    }
}
