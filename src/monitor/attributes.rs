//! Attribute sets: built once, sorted, without duplicates, shared by everything that reports them.

mod problems;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use opentelemetry::{Key, KeyValue, Value};

pub(crate) use self::problems::{AttributeProblem, label};

use self::problems::{canonical, is_exportable, rename};
use crate::info::{FIELDS, Field, FieldValue, TcpInfo};
use crate::metric::key;
use crate::verdict::Verdict;

/// A set of attributes: sorted by key, one value a key, cheap to clone and to compare.
///
/// Of a key given twice the last value counts, as in OpenTelemetry. The keys that the metrics set
/// themselves (`network.connection.state`, `tcp.limited_by`, `tcp.ecn.codepoint`,
/// `otel.metric.overflow`) are left out.
///
/// What cannot be exported as it is gets another name or becomes text, and the other attributes
/// stay:
///
/// | given | because | exported |
/// | --- | --- | --- |
/// | key `le` | it is the buckets' | `attribute.le` |
/// | empty key | no label in Prometheus | `attribute` |
/// | key `0a`, beginning with a digit | the same | `attribute.0a` |
/// | key `a:b`, with a colon | the same | `attribute.a_b` |
/// | key whose label begins with `__` | Prometheus' own | `attribute.__x` |
/// | key whose label begins with `otel_scope_` | the bridge's own | `attribute.otel.scope.x` |
/// | key with the label of a key that the metrics set | theirs | `attribute.tcp_limited_by` |
/// | NaN, alone or in an array | it does not equal itself | text `NaN`, `[1,NaN]` |
///
/// A label is the key with `_` for whatever is not an ASCII letter, a digit or a colon: so
/// Prometheus' bridge writes it. Two keys of one set with the same label (`a.b` and `a_b`) are one
/// label with both values, joined by `;`. Two sets are one series to Prometheus, which keeps the
/// samples of one of them, if their labels and the text of their values are equal: 80 and `"80"`,
/// or an empty value and none. Zero has no sign.
#[derive(Clone, PartialEq, Eq)]
pub struct Attributes(Arc<[KeyValue]>);

impl Attributes {
    pub(crate) fn new(attributes: impl IntoIterator<Item = KeyValue>) -> Self {
        Self::checked(attributes).0
    }

    /// The set, and what had to be changed in it.
    pub(crate) fn checked(
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> (Self, Vec<AttributeProblem>) {
        let mut attributes = sorted(attributes);
        let mut problems = Vec::new();
        attributes.retain_mut(|kv| {
            let key = kv.key.as_str();
            if key::RESERVED.contains(&key) {
                problems.push(AttributeProblem::Reserved(kv.key.clone()));
                return false;
            }
            if let Some(text) = canonical(&mut kv.value) {
                kv.value = Value::from(text.clone());
                problems.push(AttributeProblem::Value(kv.key.clone(), text));
            }
            true
        });
        if !attributes.iter().all(|kv| is_exportable(kv.key.as_str())) {
            rename(&mut attributes, &mut problems);
        }
        (Self(attributes.into()), problems)
    }

    /// The one set that everything beyond a cap is folded into.
    pub(crate) fn overflow() -> Self {
        Self([KeyValue::new(key::OVERFLOW, true)].into())
    }

    /// The attributes in order.
    pub fn as_slice(&self) -> &[KeyValue] {
        &self.0
    }

    /// The set with some more attributes, which win over equal keys.
    pub(crate) fn with(&self, more: impl IntoIterator<Item = KeyValue>) -> Self {
        Self(sorted(self.0.iter().cloned().chain(more)).into())
    }
}

fn sorted(attributes: impl IntoIterator<Item = KeyValue>) -> Vec<KeyValue> {
    let mut sorted: Vec<KeyValue> = attributes.into_iter().collect();
    // Stable, and then the last of equal keys stays.
    sorted.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
    sorted.reverse();
    sorted.dedup_by(|a, b| a.key == b.key);
    sorted.reverse();
    sorted
}

impl Hash for Attributes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|kv| (kv.key.as_str(), &kv.value))).finish()
    }
}

impl TcpInfo {
    /// The present fields as attributes for a span or a log record: `tcp.rtt`, in the field's unit.
    ///
    /// Times are seconds, enumerations and options text. Choose by key: a span of every field is
    /// seventy attributes.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let info = tcpinfo::read(&stream)?;
    /// let few = ["tcp.rtt", "tcp.total_retrans"];
    /// let attributes: Vec<_> =
    ///     info.attributes().filter(|attribute| few.contains(&attribute.key.as_str())).collect();
    /// assert_eq!(attributes.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue> {
        static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
            let full =
                |field: &Field| Key::from(Arc::<str>::from([key::FIELD, field.name].concat()));
            FIELDS.iter().map(full).collect()
        });
        FIELDS.iter().zip(KEYS.iter()).filter_map(|(field, key)| {
            let value = match self.get(field)? {
                FieldValue::Integer(integer) => match i64::try_from(integer) {
                    Ok(integer) => Value::I64(integer),
                    Err(_) => Value::F64(integer as f64),
                },
                FieldValue::Duration(time) => Value::F64(time.as_secs_f64()),
                FieldValue::Flag(flag) => Value::Bool(flag),
                other => Value::from(other.to_string()),
            };
            Some(KeyValue::new(key.clone(), value))
        })
    }
}

impl Verdict {
    /// The verdict as attributes for a span or a log record: the cause as `tcp.verdict`, then the
    /// numbers that it rests on, the deciding one first: `tcp.evidence.rwnd_limited`.
    ///
    /// There are five numbers at most: take as many as you want. Shares are from 0 to 1, times in
    /// seconds: see [`Evidence`](crate::Evidence).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// # let stream = tcpinfo::Monitor::new().group([]).watch(stream);
    /// let verdict = stream.probe().observe()?.verdict()?;
    /// let attributes: Vec<_> = verdict.attributes().take(4).collect();
    /// assert_eq!(attributes[0].key.as_str(), "tcp.verdict");
    /// assert_eq!(attributes[0].value.as_str(), "too_little");
    /// # Ok(())
    /// # }
    /// ```
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue> {
        let cause = KeyValue::new(key::VERDICT, self.cause.text());
        let numbers = self.evidence().map(|evidence| {
            KeyValue::new([key::EVIDENCE, evidence.field.name].concat(), evidence.value)
        });
        std::iter::once(cause).chain(numbers)
    }
}

/// A map from key to value.
#[cfg(feature = "serde")]
impl serde::Serialize for Attributes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for kv in self.0.iter() {
            match &kv.value {
                Value::Bool(value) => map.serialize_entry(kv.key.as_str(), value)?,
                Value::I64(value) => map.serialize_entry(kv.key.as_str(), value)?,
                Value::F64(value) => map.serialize_entry(kv.key.as_str(), value)?,
                other => map.serialize_entry(kv.key.as_str(), &other.to_string())?,
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_duplicates_do_not_make_another_set() {
        let one = Attributes::new([KeyValue::new("b", 2), KeyValue::new("a", 1)]);
        let two =
            Attributes::new([KeyValue::new("a", 0), KeyValue::new("b", 2), KeyValue::new("a", 1)]);
        assert_eq!(one, two);
        assert_eq!(format!("{one:?}"), r#"{"a": I64(1), "b": I64(2)}"#);
    }
}
