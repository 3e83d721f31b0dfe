//! On this side of the console: what a booted kernel said, against what its header says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use tcpinfo::{FIELDS, Kernel, TcpInfo};

use crate::truth::{Truth, bytes};

/// What a guest wrote, without the kernel's own messages.
struct Console {
    release: String,
    cases: Vec<(String, String)>,
    /// Name, size, offset in bits, bits of each member, the struct first.
    btf: Vec<[String; 4]>,
    /// What this kernel has not.
    without: Vec<String>,
    algorithms: usize,
    problems: Vec<String>,
}

impl Console {
    fn read(path: &str) -> Self {
        let text = fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().filter_map(|line| line.trim_end_matches('\r').strip_prefix('@'));
        let mut console = Self {
            release: String::new(),
            cases: vec![],
            btf: vec![],
            without: vec![],
            algorithms: 0,
            problems: vec![],
        };
        let (mut next, mut ended) = (0, false);
        for line in lines {
            let (number, said) = line.split_once(' ').unwrap_or((line, ""));
            if number != next.to_string() {
                console.problems.push(format!("line {next} expected: {line}"));
            }
            next += 1;
            let (what, rest) = said.split_once(' ').unwrap_or((said, ""));
            match what {
                "release" => rest.clone_into(&mut console.release),
                "case" => {
                    let (name, hex) = rest.split_once(' ').unwrap_or((rest, ""));
                    console.cases.push((name.to_owned(), hex.to_owned()));
                }
                "btf" => {
                    let columns: Vec<String> = rest.split(' ').map(str::to_owned).collect();
                    console.btf.push(columns.try_into().expect("four columns"));
                }
                "without" => console.without.push(rest.to_owned()),
                "algorithms" => {
                    let count = rest.split(':').next().unwrap_or_default();
                    console.algorithms = count.parse().unwrap_or_default();
                }
                "end" => ended = rest == format!("{} OK", next - 1),
                "read" | "diag" | "short" | "sdk" | "congestion" | "discovery" => {}
                _ => console.problems.push(line.to_owned()),
            }
        }
        if !ended {
            console.problems.push("the guest did not end with OK".to_owned());
        }
        console
    }
}

/// The cases, as `truth.c` reads them.
pub(crate) fn print_cases(console: &str) -> ExitCode {
    for (case, hex) in Console::read(console).cases {
        println!("{case} {hex}");
    }
    ExitCode::SUCCESS
}

/// The struct as the kernel's BTF has it, for `truth.c` in the place of the kernel's header.
pub(crate) fn print_header(console: &str) -> ExitCode {
    let btf = Console::read(console).btf;
    let Some(([_, size, ..], members)) = btf.split_first() else { return ExitCode::FAILURE };
    println!("struct tcp_info {{");
    for [name, size, _, bits] in members {
        let kind = match size.as_str() {
            "1" => "unsigned char",
            "2" => "unsigned short",
            "4" => "unsigned int",
            _ => "unsigned long long",
        };
        let bits = if bits == "0" { String::new() } else { format!(" : {bits}") };
        println!("\t{kind} {name}{bits};");
    }
    println!("}};");
    println!("_Static_assert(sizeof(struct tcp_info) == {size}, \"size\");");
    for [name, _, offset, _] in members.iter().filter(|[.., bits]| bits == "0") {
        let place = format!("__builtin_offsetof(struct tcp_info, {name})");
        println!("_Static_assert(8 * {place} == {offset}, \"{name}\");");
    }
    ExitCode::SUCCESS
}

/// The first kernel with each group of fields, by which the table's columns are named.
fn groups() -> Vec<String> {
    let mut since: Vec<_> = FIELDS.iter().map(|field| field.since).collect();
    since.sort();
    since.dedup();
    since.iter().map(ToString::to_string).collect()
}

/// The head of the table.
pub(crate) fn print_columns() -> ExitCode {
    let columns: Vec<String> = groups().iter().map(|since| format!("{since:>6}")).collect();
    println!("{:<30} {:>4} {:>5} {:>3} {}", "kernel", "size", "cases", "cc", columns.join(" "));
    ExitCode::SUCCESS
}

/// Prints one line of the table, and what differs; `by` names the sources of the truth, `save` is
/// where captures are kept.
pub(crate) fn check(console: &str, truth: &str, by: &str, save: Option<&str>) -> ExitCode {
    let console = Console::read(console);
    let text = fs::read_to_string(truth).unwrap_or_else(|error| panic!("{truth}: {error}"));
    let truth = Truth::parse(&text);
    let mut problems = console.problems;
    if truth.cases.iter().map(|(name, _)| name).ne(console.cases.iter().map(|(name, _)| name)) {
        problems.push("the header's program and the guest disagree about the cases".to_owned());
    }
    let replies: Vec<Vec<u8>> = console.cases.iter().map(|(_, hex)| bytes(hex)).collect();
    problems.extend(truth.judge(&console.release, &replies));
    problems.extend(truth.differences_of_probes(&console.release));
    let mut present = BTreeMap::<String, usize>::new();
    for reply in &replies {
        let kernel = Kernel::from_release(&console.release);
        let info = TcpInfo::decode(reply, &kernel).expect("the reply is not empty");
        for (field, _) in info.fields() {
            *present.entry(field.since.to_string()).or_default() += 1;
        }
    }
    let cells: Vec<String> = groups()
        .iter()
        .map(|since| {
            let mut fields = FIELDS.iter().filter(|field| field.since.to_string() == *since);
            let header = fields.any(|field| {
                let name = field.c_name.strip_prefix("tcpi_");
                truth.members.iter().any(|member| Some(member.name.as_str()) == name)
            });
            let count = present.get(since).copied().unwrap_or_default();
            if header { format!("{count:>6}") } else { format!("{:>6}", "-") }
        })
        .collect();
    let without = console.without.join("; ");
    let verdict = if problems.is_empty() { "ok" } else { "DIFFERS" };
    println!(
        "{:<30} {:>4} {:>5} {:>3} {} {by}: {verdict}{}",
        console.release,
        truth.size,
        replies.len(),
        console.algorithms,
        cells.join(" "),
        if without.is_empty() { without } else { format!(" (without {without})") },
    );
    for problem in problems.iter().take(50) {
        println!("    {problem}");
    }
    if problems.is_empty() {
        if let Some(folder) = save {
            keep(&Path::new(folder).join(&console.release), &text, &console.cases);
        }
        return ExitCode::SUCCESS;
    }
    println!("    {} differences", problems.len());
    ExitCode::FAILURE
}

/// Writes captures as the tests replay them: 32 bytes a line, and what the header says of them.
fn keep(folder: &Path, truth: &str, cases: &[(String, String)]) {
    fs::create_dir_all(folder).expect("the folder can be made");
    fs::write(folder.join("truth.txt"), truth).expect("the folder can be written");
    for (case, hex) in cases {
        let lines: Vec<&str> = (0..hex.len())
            .step_by(64)
            .map(|start| &hex[start..hex.len().min(start + 64)])
            .collect();
        let text = lines.join("\n") + "\n";
        fs::write(folder.join(format!("{case}.hex")), text).expect("the folder can be written");
    }
}
