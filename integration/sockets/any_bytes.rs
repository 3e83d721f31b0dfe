//! What holds for any bytes of any kernel.

use proptest::prelude::*;
use tcpinfo::{Congestion, CongestionInfo, FIELDS, Kernel, TcpInfo};

use support::replies::kernel;

/// Names of kernels: real ones, near misses, and noise.
fn releases() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![
            "2.4.37", "2.6.23", "2.6.78-fc", "3.10.0-1160.el7.x86_64", "4.4.0", "4.19.0-gvisor",
            "4.19.91-26.al7.x86_64", "5.4.279", "5.4.280", "6.6.57", "6.18.44-fc-v669", "7.3.4",
        ])
        .prop_map(String::from),
        2 => "[0-9]{0,6}(\\.[0-9]{0,6}){0,4}[-+a-z0-9.]{0,12}",
        1 => ".{0,40}",
    ]
}

/// Bytes of a reply, half of them beginning with a state that exists.
fn replies() -> impl Strategy<Value = Vec<u8>> {
    let any = prop::collection::vec(any::<u8>(), 1..=600);
    (any, prop::option::of(1_u8..=11)).prop_map(|(mut reply, state)| {
        reply[0] = state.unwrap_or(reply[0]);
        reply
    })
}

fn decode(reply: &[u8], release: &str) -> TcpInfo {
    TcpInfo::decode(reply, &kernel(release)).expect("the reply is not empty")
}

#[cfg(feature = "serde")]
fn is_snake_case(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode(
        reply in prop::collection::vec(any::<u8>(), 0..=600),
        release in releases(),
    ) {
        let decoded = TcpInfo::decode(&reply, &kernel(&release));
        let expected = (!reply.is_empty()).then_some(reply.len());
        prop_assert_eq!(decoded.map(|info| info.reply_len).ok(), expected);
    }

    #[test]
    fn any_release_is_a_kernel(release in ".{0,64}") {
        let parsed: Result<Kernel, _> = release.parse();
        prop_assert_eq!(parsed.map(|kernel| kernel.release().to_owned()), Ok(release));
    }

    #[test]
    fn what_is_present_is_supported(reply in replies(), release in releases()) {
        let info = decode(&reply, &release);
        for (field, value) in info.fields() {
            prop_assert!(info.supports(field), "{} of {}", field.name, release);
            prop_assert_eq!(info.get(field), Some(value));
        }
    }

    #[test]
    fn present_fields_come_in_the_tables_order(reply in replies(), release in releases()) {
        let info = decode(&reply, &release);
        let present: Vec<_> = info.fields().map(|(field, _)| field.name).collect();
        let expected: Vec<_> = FIELDS
            .iter()
            .filter(|field| info.get(field).is_some())
            .map(|field| field.name)
            .collect();
        prop_assert_eq!(present.first(), Some(&"state"));
        prop_assert_eq!(present, expected);
    }

    #[test]
    fn a_field_ends_within_its_reply(reply in replies(), release in releases()) {
        let info = decode(&reply, &release);
        for (field, _) in info.fields() {
            prop_assert!(field.offset + field.size <= reply.len(), "{}", field.name);
        }
    }

    #[test]
    fn bytes_beyond_the_table_change_nothing(reply in replies(), release in releases()) {
        let longer = [reply, vec![0xa5; 280]].concat();
        let known = &longer[..280];
        let (known, longer) = (decode(known, &release), decode(&longer, &release));
        prop_assert_eq!(longer.fields().collect::<Vec<_>>(), known.fields().collect::<Vec<_>>());
    }

    #[test]
    fn equal_bytes_are_equal_replies(reply in replies(), release in releases()) {
        let info = decode(&reply, &release);
        prop_assert_eq!(&info, &decode(&reply, &release));
        prop_assert_eq!(&info, &info.clone());
        prop_assert_eq!(format!("{info:?}"), format!("{:?}", info.clone()));
    }

    #[test]
    fn text_is_one_line_or_one_a_field(reply in replies(), release in releases()) {
        let info = decode(&reply, &release);
        prop_assert_eq!(info.to_string().lines().count(), 1);
        let long = format!("{info:#}");
        let first: Vec<_> = long.lines().map(|line| line.split(' ').next()).collect();
        let expected: Vec<_> = info.fields().map(|(field, _)| Some(field.name)).collect();
        prop_assert_eq!(first, expected);
    }

    #[test]
    fn any_bytes_are_some_algorithms_reply(
        reply in prop::collection::vec(any::<u8>(), 0..=64),
        algorithm in prop_oneof![
            prop::sample::select(vec!["bbr", "bbr3", "dctcp", "vegas", "cubic", "reno"])
                .prop_map(String::from),
            ".{0,16}",
        ],
    ) {
        let congestion = Congestion::decode(&algorithm, &reply);
        prop_assert_eq!(congestion.algorithm, algorithm);
        prop_assert_eq!(congestion.info.is_none(), reply.is_empty());
        let raw = match congestion.info {
            Some(CongestionInfo::Other(raw)) => raw,
            _ => reply.clone(),
        };
        prop_assert_eq!(raw, reply);
    }

    #[test]
    fn the_name_and_the_length_choose_the_structure(
        reply in prop::collection::vec(any::<u8>(), 0..=64),
        algorithm in prop::sample::select(vec!["bbr", "dctcp", "vegas", "cubic"]),
    ) {
        let chosen = match Congestion::decode(algorithm, &reply).info {
            None => "none",
            Some(CongestionInfo::Bbr(_)) => "bbr",
            Some(CongestionInfo::Dctcp(_)) => "dctcp",
            Some(CongestionInfo::Vegas(_)) => "vegas",
            Some(_) => "other",
        };
        let expected = match (algorithm, reply.len()) {
            (_, 0) => "none",
            ("bbr", 20 | 52) => "bbr",
            ("dctcp", 16) => "dctcp",
            ("vegas", 16) => "vegas",
            _ => "other",
        };
        prop_assert_eq!(chosen, expected);
    }
}

#[cfg(feature = "serde")]
proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_has_every_field_and_null_where_it_is_absent(reply in replies(), release in releases()) {
        let info = decode(&reply, &release);
        let json = serde_json::to_value(&info).expect("a map of plain values");
        let map = json.as_object().expect("a map");
        prop_assert_eq!(map.len(), FIELDS.len());
        for field in FIELDS {
            let value = map.get(field.name).expect("every field has an entry");
            prop_assert_eq!(value.is_null(), info.get(field).is_none(), "{}", field.name);
        }
    }

    #[test]
    fn json_values_are_plain(reply in replies(), release in releases()) {
        use tcpinfo::FieldValue;

        let info = decode(&reply, &release);
        let json = serde_json::to_value(&info).expect("a map of plain values");
        for (field, value) in info.fields() {
            let json = &json[field.name];
            let plain = match value {
                FieldValue::Integer(integer) => json.as_u64() == Some(integer),
                FieldValue::Duration(time) => json.as_f64() == Some(time.as_secs_f64()),
                FieldValue::Flag(flag) => json.as_bool() == Some(flag),
                FieldValue::Options(_) | FieldValue::AccEcnFailMode(_) => {
                    let text = |text: &serde_json::Value| text.as_str().is_some_and(is_snake_case);
                    json.as_array().is_some_and(|set| set.iter().all(text))
                }
                _ => json.as_str().is_some_and(is_snake_case) && *json == value.to_string(),
            };
            prop_assert!(plain, "{}: {}", field.name, json);
        }
    }
}
