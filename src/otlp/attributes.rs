//! Attributes in the form of OTLP.

use opentelemetry::{Array, KeyValue, Value};

use super::protobuf::{bytes_tag, push_bytes, push_fixed, push_integer, push_varint, varint_len};

/// The fields of the messages that have attributes: each has them under another number.
pub(super) const OF_RESOURCE: u8 = 1;
pub(super) const OF_SCOPE: u8 = 3;
pub(super) const OF_NUMBER: u8 = 7;
pub(super) const OF_HISTOGRAM: u8 = 9;

/// Attributes as a message with this field for them has them.
pub(super) fn encoded<'a>(
    field: u8,
    attributes: impl IntoIterator<Item = &'a KeyValue>,
) -> Vec<u8> {
    let mut out = Vec::new();
    for kv in attributes {
        push_attribute(&mut out, field, kv.key.as_str(), &kv.value);
    }
    out
}

pub(super) fn push_attribute(out: &mut Vec<u8>, field: u8, key: &str, value: &Value) {
    let (mut attribute, mut any) = (Vec::new(), Vec::new());
    push_bytes(&mut attribute, 1, key.as_bytes());
    push_value(&mut any, value);
    push_bytes(&mut attribute, 2, &any);
    push_bytes(out, field, &attribute);
}

/// Appends what a message `AnyValue` has.
fn push_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => push_bytes(out, 1, text.as_str().as_bytes()),
        Value::Bool(truth) => push_integer(out, 2, u64::from(*truth)),
        Value::I64(integer) => push_integer(out, 3, *integer as u64),
        Value::F64(float) => push_fixed(out, 4, float.to_bits()),
        Value::Array(Array::String(all)) => push_array(out, all.iter().cloned()),
        Value::Array(Array::Bool(all)) => push_array(out, all.iter().copied()),
        Value::Array(Array::I64(all)) => push_array(out, all.iter().copied()),
        Value::Array(Array::F64(all)) => push_array(out, all.iter().copied()),
        // No other kind exists yet.
        other => push_bytes(out, 1, other.to_string().as_bytes()),
    }
}

fn push_array(out: &mut Vec<u8>, all: impl Iterator<Item = impl Into<Value>>) {
    let mut array = Vec::new();
    for value in all {
        let mut any = Vec::new();
        push_value(&mut any, &value.into());
        push_bytes(&mut array, 1, &any);
    }
    push_bytes(out, 5, &array);
}

/// Appends the attributes of a number's point to a histogram's point.
pub(super) fn push_for_histogram(out: &mut Vec<u8>, mut encoded: &[u8]) {
    // Each is a tag, a length and as many bytes.
    while let Some((_, rest)) = encoded.split_first() {
        let (mut length, mut width) = (0, 0);
        for byte in rest {
            length |= usize::from(byte & 0x7f) << (7 * width);
            width += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (attribute, next) = rest.split_at(width + length);
        out.push(bytes_tag(OF_HISTOGRAM));
        out.extend_from_slice(attribute);
        encoded = next;
    }
}

/// The last attribute of each key, in the order in which the keys come first.
pub(super) fn without_duplicates(attributes: impl IntoIterator<Item = KeyValue>) -> Vec<KeyValue> {
    let mut kept: Vec<KeyValue> = Vec::new();
    for kv in attributes {
        match kept.iter_mut().find(|other| other.key == kv.key) {
            Some(other) => *other = kv,
            None => kept.push(kv),
        }
    }
    kept
}

/// Appends a length and what has it.
pub(super) fn push_framed(out: &mut Vec<u8>, parts: [&[u8]; 3]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(varint_len(length as u64) + length);
    push_varint(out, length as u64);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_as_the_schema_has_them() {
        let array = Value::Array(vec![1_i64, -1].into());
        for (value, any) in [
            (Value::from("é"), vec![0x0a, 2, 0xc3, 0xa9]),
            (Value::from(""), vec![0x0a, 0]),
            (Value::from(false), vec![0x10, 0]),
            (Value::from(300), vec![0x18, 0xac, 2]),
            (Value::from(1.0), vec![0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]),
            (array, [&[0x2a, 17, 0x0a, 2, 0x18, 1, 0x0a, 11, 0x18][..], &[0xff; 9], &[1]].concat()),
        ] {
            let kv = KeyValue::new("k", value);
            let content = [&[0x0a, 1, b'k', 0x12, any.len() as u8][..], &any].concat();
            let expected = [&[0x3a, content.len() as u8][..], &content].concat();
            assert_eq!(encoded(OF_NUMBER, [&kv]), expected, "{kv:?}");
        }
    }

    #[test]
    fn a_histogram_has_the_attributes_of_a_number() {
        let long = "v".repeat(20_000);
        let all = [
            KeyValue::new("a", 1),
            KeyValue::new("b", long),
            KeyValue::new("", ""),
            KeyValue::new("c", "v".repeat(126)),
        ];
        let mut out = Vec::new();
        push_for_histogram(&mut out, &encoded(OF_NUMBER, &all));
        assert!(out == encoded(OF_HISTOGRAM, &all));
    }

    #[test]
    fn of_a_key_given_twice_the_last_value_counts() {
        let given = [KeyValue::new("a", 1), KeyValue::new("b", 2), KeyValue::new("a", 3)];
        let expected = vec![KeyValue::new("a", 3), KeyValue::new("b", 2)];
        assert_eq!(without_duplicates(given), expected);
    }
}
