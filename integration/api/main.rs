//! Prints the public API that a file of rustdoc's JSON describes, one item a line.

use std::error::Error;

/// Traits that a type has or has not without anybody's purpose.
const UNASKED: &[&str] = &[
    "core::marker::Freeze",
    "core::marker::StructuralPartialEq",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

fn main() -> Result<(), Box<dyn Error>> {
    let json = std::env::args_os().nth(1).ok_or("needs the path of rustdoc's JSON")?;
    let api = public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true).build()?;
    let items = api.items().map(ToString::to_string);
    let asked = |item: &String| {
        let implements = |name: &&str| item.contains(&format!("{name} for "));
        !item.starts_with("impl") || !UNASKED.iter().any(implements)
    };
    items.filter(asked).for_each(|item| println!("{item}"));
    Ok(())
}
