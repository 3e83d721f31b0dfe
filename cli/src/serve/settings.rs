//! What to serve: the flags, and for what they do not say the file.

use tcpinfo::diag::IpPrefix;

use super::config;
use super::rule::Rule;
use crate::args::{GroupBy, Serve};
use crate::failure::Failure;

/// What to serve.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Settings {
    pub(super) listen: Option<String>,
    pub(super) push: bool,
    /// Of connections that no rule fits.
    pub(super) by: Vec<GroupBy>,
    /// The first that fits counts.
    pub(super) rules: Vec<Rule>,
    pub(super) only_groups: bool,
    /// On either side.
    pub(super) port: Vec<u16>,
    pub(super) to: Vec<IpPrefix>,
}

impl Settings {
    pub(super) fn new(serve: &Serve) -> Result<Self, Failure> {
        let file = serve.config.as_deref().map(config::read).transpose()?.unwrap_or_default();
        let rules = serve.group.iter().map(|text| {
            text.parse().map_err(|why| Failure::usage(format!("--group {text}: {why}")))
        });
        let rules =
            rules.chain(file.rules.into_iter().map(Ok)).collect::<Result<Vec<Rule>, _>>()?;
        let settings = Self {
            listen: serve.listen.clone().or(file.listen),
            push: serve.push || file.push,
            by: either(&serve.by, file.by),
            rules,
            only_groups: serve.only_groups || file.only_groups,
            port: either(&serve.port, file.port),
            to: either(&serve.to, file.to),
        };
        if settings.only_groups && settings.rules.is_empty() {
            let sentence = "--only-groups, and there is no group: nothing would count";
            return Err(Failure::usage(sentence));
        }
        Ok(settings)
    }

    /// Whether the library groups as it does by itself.
    pub(super) fn is_usual_grouping(&self) -> bool {
        self.rules.is_empty() && self.by.iter().all(|by| *by == GroupBy::Port)
    }
}

fn either<T: Clone>(flag: &[T], file: Vec<T>) -> Vec<T> {
    if flag.is_empty() { file } else { flag.to_vec() }
}
