//! What cannot be exported of a program's attributes, and what becomes of it.

use std::fmt;
use std::io;

use opentelemetry::{Array, Key, KeyValue, Value};

use crate::metric::key;

/// An attribute that is not exported as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttributeProblem {
    /// The metrics set this key themselves.
    Reserved(Key),
    /// The key has another name now.
    Renamed(Key, Key),
    /// The value of this key is text now.
    Value(Key, String),
}

impl fmt::Display for AttributeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(key) => {
                write!(f, "attribute key {:?} is set by the metrics; left out", key.as_str())
            }
            Self::Renamed(key, name) => {
                let (key, name) = (key.as_str(), name.as_str());
                write!(f, "attribute key {key:?} cannot be exported; reported as {name:?}")
            }
            Self::Value(key, text) => {
                let key = key.as_str();
                write!(f, "value of attribute {key:?} is not a number; reported as text {text:?}")
            }
        }
    }
}

impl From<AttributeProblem> for io::Error {
    fn from(problem: AttributeProblem) -> Self {
        Self::new(io::ErrorKind::InvalidInput, problem.to_string())
    }
}

/// Whether Prometheus can have the key as a label beside those of the metrics and of its bridge.
pub(super) fn is_exportable(key: &str) -> bool {
    let begins = |with: &str| {
        let mut label = label(key);
        with.chars().all(|c| label.next() == Some(c))
    };
    let taken = |other: &&str| label(key).eq(label(other));
    key.starts_with(|c: char| !c.is_ascii_digit())
        && !key.contains(':')
        && !["__", "otel_scope_"].iter().any(|reserved| begins(reserved))
        && key != "le"
        && !key::RESERVED.iter().any(taken)
}

/// The label that Prometheus' bridge makes of a key.
pub(crate) fn label(key: &str) -> impl Iterator<Item = char> {
    key.chars().map(|c| if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' })
}

/// Gives other names to the keys that cannot be exported, and sorts again.
pub(super) fn rename(attributes: &mut [KeyValue], problems: &mut Vec<AttributeProblem>) {
    for index in 0..attributes.len() {
        let key = attributes[index].key.clone();
        if is_exportable(key.as_str()) {
            continue;
        }
        let mut name = key.as_str().replace(':', "_");
        loop {
            name = if name.is_empty() { "attribute".into() } else { format!("attribute.{name}") };
            if !attributes.iter().any(|kv| kv.key.as_str() == name) {
                break;
            }
        }
        let name = Key::from(name);
        problems.push(AttributeProblem::Renamed(key, name.clone()));
        attributes[index].key = name;
    }
    attributes.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
}

/// Makes equal numbers the same bits; the text of a value with a number that is none, which equals
/// nothing, itself included.
pub(super) fn canonical(value: &mut Value) -> Option<String> {
    let numbers = match value {
        Value::F64(number) => std::slice::from_mut(number),
        Value::Array(Array::F64(numbers)) => numbers.as_mut_slice(),
        _ => return None,
    };
    for number in numbers.iter_mut().filter(|number| **number == 0.0) {
        *number = 0.0;
    }
    let any = numbers.iter().any(|number| number.is_nan());
    any.then(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Attributes;

    /// What was said of these attributes, and what they became.
    fn said_of(attributes: &[(&'static str, Value)]) -> (Vec<String>, String) {
        let given = attributes.iter().map(|(key, value)| KeyValue::new(*key, value.clone()));
        let (canonical, problems) = Attributes::checked(given);
        let errors = problems.into_iter().map(io::Error::from);
        let said = errors.map(|error| {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            error.to_string()
        });
        (said.collect(), format!("{canonical:?}"))
    }

    #[test]
    fn what_cannot_be_exported_is_renamed_and_said() {
        let name = |key: &'static str| {
            let (said, became) = said_of(&[(key, Value::I64(1))]);
            assert_eq!(said.len(), 1, "{key:?}");
            let (before, name) =
                said[0].rsplit_once(" cannot be exported; reported as ").expect(key);
            assert_eq!(before, format!("attribute key {key:?}"));
            assert_eq!(became, format!("{{{name}: I64(1)}}"));
            name.trim_matches('"').to_owned()
        };
        for (key, expected) in [
            ("le", "attribute.le"),
            ("", "attribute"),
            ("0a", "attribute.0a"),
            ("a:b", "attribute.a_b"),
            (":", "attribute._"),
            ("__name__", "attribute.__name__"),
            ("-.name", "attribute.-.name"),
            ("ключ", "attribute.ключ"),
            ("otel.scope.name", "attribute.otel.scope.name"),
            ("tcp_limited_by", "attribute.tcp_limited_by"),
            ("network.connection_state", "attribute.network.connection_state"),
        ] {
            assert_eq!(name(key), expected);
        }
    }

    #[test]
    fn a_new_name_takes_the_place_of_no_other() {
        let keys = ["attribute", "", "a:b", "attribute.a_b", ":", "le", "attribute.le"];
        let (said, became) = said_of(&keys.map(|key| (key, Value::from(key))));
        assert_eq!(said.len(), 4, "{said:?}");
        let text = |key: &'static str| format!("{:?}", Value::from(key));
        let expected = [
            ("attribute", "attribute"),
            ("attribute._", ":"),
            ("attribute.a_b", "attribute.a_b"),
            ("attribute.attribute", ""),
            ("attribute.attribute.a_b", "a:b"),
            ("attribute.attribute.le", "le"),
            ("attribute.le", "attribute.le"),
        ];
        let expected = expected.map(|(key, value)| format!("{key:?}: {}", text(value)));
        assert_eq!(became, format!("{{{}}}", expected.join(", ")));
    }

    #[test]
    fn a_number_that_is_none_becomes_text_and_zero_has_no_sign() {
        let nan = said_of(&[("a", Value::F64(f64::NAN))]);
        let said = r#"value of attribute "a" is not a number; reported as text "NaN""#;
        assert_eq!(nan, (vec![said.to_owned()], r#"{"a": String(Owned("NaN"))}"#.into()));
        let (said, became) = said_of(&[("a", Value::Array(vec![-0.0, -f64::NAN].into()))]);
        assert_eq!(said.len(), 1);
        assert_eq!(became, r#"{"a": String(Owned("[0,NaN]"))}"#);
        let array = |zero: f64| Value::Array(vec![zero, 1.0].into());
        assert_eq!(said_of(&[("a", array(-0.0))]), said_of(&[("a", array(0.0))]));
        assert_eq!(said_of(&[("a", Value::F64(-0.0))]), (vec![], r#"{"a": F64(0.0)}"#.into()));
    }

    #[test]
    fn keys_that_look_strange_and_can_be_exported_stay() {
        let keys =
            ["_", "_x", "é", "a b", "\n", "quantile", "job", "a0", "lE", "error.type", "otel"];
        let keys = keys.into_iter();
        for key in keys.chain([key::COOKIE, key::PEER_ADDRESS]) {
            let (said, became) = said_of(&[(key, Value::Bool(true))]);
            assert_eq!((said, became), (vec![], format!("{{{key:?}: Bool(true)}}")));
        }
    }

    #[test]
    fn keys_of_the_metrics_cannot_be_set() {
        let taken = key::RESERVED.map(|name| KeyValue::new(name, "mine"));
        let (left, problems) = Attributes::checked(taken);
        assert_eq!(left, Attributes::new([]));
        let said: Vec<_> = problems.iter().map(AttributeProblem::to_string).collect();
        let text = |key| format!("attribute key {key:?} is set by the metrics; left out");
        let mut keys = key::RESERVED;
        keys.sort();
        assert_eq!(said, keys.map(text));
    }
}
