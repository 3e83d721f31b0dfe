//! Who reports a connection: a set, or a series of its own.

use std::sync::Arc;

use super::attributes::Attributes;
use super::labels::Labels;
use super::set::{Membership, MetricFamily};

/// Who reports a connection.
pub(crate) enum Owner {
    /// A set, together with others.
    Set(Membership),
    /// A series of its own, with the program's attributes. The labels have its identity as well,
    /// once that is known.
    Own(Attributes, Option<Arc<Labels>>),
    /// None: it had a series of its own, and nobody watches it any more.
    Nobody,
}

impl Owner {
    pub(crate) fn family(&self) -> MetricFamily {
        match self {
            Self::Set(membership) => membership.set().family,
            Self::Own(..) | Self::Nobody => MetricFamily::Socket,
        }
    }

    /// The attributes as far as they are known.
    pub(crate) fn attributes(&self) -> Attributes {
        match self {
            Self::Set(membership) => membership.set().labels.plain.clone(),
            Self::Own(_, Some(labels)) => labels.plain.clone(),
            Self::Own(attributes, None) => attributes.clone(),
            Self::Nobody => Attributes::new([]),
        }
    }
}
