//! Guides: what is too long for the documentation of one item.
//!
//! | guide | answers |
//! | --- | --- |
//! | [`groups`] | Which attributes do I give to which sockets? |
//! | [`cost`] | What does it cost, and what makes it cheaper? |
//! | [`verdicts`] | What limits a connection, and how sure is that? |
//! | [`limits`] | What does it not promise? |
//! | [`go_tcpinfo`] | I know go-tcpinfo: what is the same call here? |
//!
//! These modules hold text and tested examples, and no code.

pub mod cost;
pub mod go_tcpinfo;
pub mod groups;
pub mod limits;
pub mod verdicts;
