//! The file of `serve`: TOML. What is wrong in it is said with the line and the key.

use std::fs;
use std::path::Path;

use clap::ValueEnum;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::rule::{self, Rule};
use super::settings::Settings;
use crate::args::GroupBy;
use crate::failure::Failure;

/// What is wrong, and where: an offset into the file.
type Wrong = (usize, String);

type Key<'i> = Spanned<DeString<'i>>;
type Value<'i> = Spanned<DeValue<'i>>;

pub(super) fn read(path: &Path) -> Result<Settings, Failure> {
    let name = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::impossible(format!("{name}: {error}")))?;
    parse(&text).map_err(|(offset, what)| {
        let line = 1 + text[..offset.min(text.len())].matches('\n').count();
        Failure::usage(format!("{name}: line {line}: {what}"))
    })
}

fn parse(text: &str) -> Result<Settings, Wrong> {
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        (offset, error.message().replace('\n', ", "))
    })?;
    let mut settings = Settings::default();
    for (key, value) in table.get_ref() {
        match &**key.get_ref() {
            "listen" => settings.listen = Some(string("listen", value)?.to_owned()),
            "push" => settings.push = boolean("push", value)?,
            "only_groups" => settings.only_groups = boolean("only_groups", value)?,
            "by" => {
                settings.by = all("by", value, |text| {
                    let names =
                        GroupBy::value_variants().iter().filter_map(ValueEnum::to_possible_value);
                    let names: Vec<_> = names.map(|value| value.get_name().to_owned()).collect();
                    let none = || format!("no key {text}, there is {}", names.join(", "));
                    GroupBy::from_str(text, false).map_err(|_| none())
                })?
            }
            "port" => settings.port = all("port", value, rule::port)?,
            "to" => settings.to = all("to", value, rule::prefix)?,
            "group" => settings.rules = groups(value)?,
            other => {
                let known = "listen, push, by, group, only_groups, port, to";
                return Err(unknown(key, other, known));
            }
        }
    }
    Ok(settings)
}

/// `[[group]]`, one after the other.
fn groups(value: &Value<'_>) -> Result<Vec<Rule>, Wrong> {
    let form = "group: each group begins with a line [[group]]";
    let DeValue::Array(groups) = value.get_ref() else {
        return Err((value.span().start, form.to_owned()));
    };
    let group = |group: &Value<'_>| match group.get_ref() {
        DeValue::Table(table) => one_group(group.span().start, table),
        _ => Err((group.span().start, form.to_owned())),
    };
    groups.iter().map(group).collect()
}

fn one_group(begin: usize, table: &DeTable<'_>) -> Result<Rule, Wrong> {
    let mut group = Rule::default();
    for (key, value) in table {
        match &**key.get_ref() {
            "name" => group.name = string("group.name", value)?.to_owned(),
            kind if Rule::KINDS.contains(&kind) => {
                all(&format!("group.{kind}"), value, |text| group.add(kind, text))?;
            }
            other => {
                let known = format!("name, {}", Rule::KINDS.join(", "));
                return Err(unknown(key, &format!("group.{other}"), &known));
            }
        }
    }
    if group.name.is_empty() {
        return Err((begin, "group.name: a group has a name".to_owned()));
    }
    if group.is_empty() {
        let name = &group.name;
        return Err((begin, format!("group {name}: it has no condition: port, to, unit, process")));
    }
    Ok(group)
}

fn unknown(key: &Key<'_>, name: &str, known: &str) -> Wrong {
    (key.span().start, format!("no key {name}, there is {known}"))
}

fn string<'v>(key: &str, value: &'v Value<'_>) -> Result<&'v str, Wrong> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err((value.span().start, format!("{key}: it is a text in quotes"))),
    }
}

fn boolean(key: &str, value: &Value<'_>) -> Result<bool, Wrong> {
    match value.get_ref() {
        DeValue::Boolean(value) => Ok(*value),
        _ => Err((value.span().start, format!("{key}: it is true or false"))),
    }
}

/// One value, or several in a list.
fn all<T>(
    key: &str,
    value: &Value<'_>,
    mut one: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<T>, Wrong> {
    let mut each = |value: &Value<'_>| {
        let taken = match value.get_ref() {
            DeValue::String(text) => one(text),
            DeValue::Integer(number) => one(number.as_str()),
            _ => Err("it is a text in quotes, a number, or a list of them".to_owned()),
        };
        taken.map_err(|what| (value.span().start, format!("{key}: {what}")))
    };
    match value.get_ref() {
        DeValue::Array(values) => values.iter().map(each).collect(),
        _ => Ok(vec![each(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_flags_say() {
        let text = "
            listen = '[::]:9464'
            push = true
            by = ['port', 'unit']
            port = 443
            to = ['10.0.0.0/8', 'fd00::/8']
            [[group]]
            name = 'b'
            unit = 'nginx'
            [[group]]
            name = 'a'
            port = [5432, 5433]
            process = 'postgres'
        ";
        let settings = parse(text).expect("it is right");
        let rule = |text: &str| text.parse::<Rule>().expect(text);
        let expected = Settings {
            listen: Some("[::]:9464".to_owned()),
            push: true,
            by: vec![GroupBy::Port, GroupBy::Unit],
            rules: vec![rule("b=unit:nginx"), rule("a=port:5432,port:5433,process:postgres")],
            only_groups: false,
            port: vec![443],
            to: ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect(text)).to_vec(),
        };
        assert_eq!(settings, expected);
        assert_eq!(parse(""), Ok(Settings::default()));
    }

    #[test]
    fn what_is_wrong_is_said_where_it_stands() {
        for (text, at, what) in [
            ("a = 1", "a", "no key a, there is listen, push, by, group, only_groups, port, to"),
            ("push = true\nlisten = 1", "1", "listen: it is a text in quotes"),
            ("push = 'yes'", "'yes'", "push: it is true or false"),
            ("by = ['port', 'host']", "'host'", "by: no key host, there is port, unit, process"),
            ("port = [1,\n  70000]", "70000", "port: 70000 is no port"),
            ("port = 1.5", "1.5", "port: it is a text in quotes, a number, or a list of them"),
            (
                "to = '10.0.0.0/33'",
                "'10",
                "to: 10.0.0.0/33 is no prefix of addresses, such as \
              10.0.0.0/8",
            ),
            ("group = 1", "1", "group: each group begins with a line [[group]]"),
            (
                "[[group]]\nname = 'a'\nports = 1",
                "ports",
                "no key group.ports, there is name, port, \
              to, unit, process",
            ),
            ("push = true\n[[group]]\nport = 1", "[[", "group.name: a group has a name"),
            (
                "[[group]]\nname = 'a'",
                "[[",
                "group a: it has no condition: port, to, unit, \
              process",
            ),
        ] {
            let expected = (text.find(at).expect(at), what.to_owned());
            assert_eq!(parse(text), Err(expected), "{text}");
        }
        let (offset, what) = parse("push = true\nlisten = \n").expect_err("no value");
        assert!(offset >= 12 && !what.contains('\n') && !what.is_empty(), "{offset} {what}");
        let (offset, what) = parse("push = true\npush = true\n").expect_err("twice");
        assert!(offset >= 12 && what.contains("duplicate"), "{offset} {what}");
    }
}
