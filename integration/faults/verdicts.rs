//! Verdicts beside faults made for real: the confusion matrix.
//!
//! Each scene is played in three strengths, each of them with several seeds, which choose the path:
//! its delay, its rate, the congestion control. Thresholds were chosen with the seeds 0 to 9; what
//! is reported is of others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tcpinfo::{Cause, Kernel, TcpInfo, Verdict};

use super::namespace::with_two_of;
use catalogue::{SCENES, Scene};
use job::{ALLOWED, Job, jobs};
use play::Reading;
use support::alone::test_of;

mod catalogue;
mod job;
mod local;
pub(crate) mod play;
mod raw;

/// How many scenes are played at the same time: they wait most of it.
const ABREAST: usize = 12;
/// Causes that are an accusation where nothing is wrong.
const ACCUSATIONS: [Cause; 4] = [Cause::Loss, Cause::Queue, Cause::ReceiveWindow, Cause::Stalled];
const ENDS: [&str; 2] = ["first", "second"];

/// One scene's verdict at one end.
struct Judged {
    job: Job,
    end: usize,
    verdict: Verdict,
    late: Duration,
    ends: [Reading; 2],
}

impl Judged {
    fn is_right(&self) -> bool {
        SCENES[self.job.scene].right[self.end].contains(&self.verdict.cause)
    }

    fn is_accusation(&self) -> bool {
        SCENES[self.job.scene].is_control && ACCUSATIONS.contains(&self.verdict.cause)
    }

    fn name(&self) -> String {
        let Job { scene, strength, seed } = self.job;
        let end = ENDS[self.end];
        format!("{} {strength}, seed {seed}, {end} end", SCENES[scene].name)
    }
}

fn judge(job: Job) -> Vec<Judged> {
    let (readings, late) = job.play();
    let judged = readings.into_iter().enumerate().filter_map(|(end, readings)| {
        let ends = [readings.first()?.clone(), readings.last()?.clone()];
        let [earlier, later] = ends.each_ref().map(|reading| {
            TcpInfo::decode(&reading.reply, Kernel::running()).expect("it is not empty")
        });
        let verdict = Verdict::between(&earlier, &later, ends[1].at - ends[0].at);
        Some(Judged { job, end, verdict, late, ends })
    });
    judged.collect()
}

/// Plays all of them, several at a time.
fn all_of(jobs: &[Job]) -> Vec<Judged> {
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let work = || {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let judged = judge(*job);
                all.lock().expect("nobody panics with it").extend(judged);
            }
        };
        let threads: Vec<_> = (0..ABREAST).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|it| it.join().unwrap_or_else(|why| resume_unwind(why)));
    });
    let mut all = all.into_inner().expect("nobody panicked with it");
    all.sort_by_key(|it| (it.job.scene, it.end, it.job.strength, it.job.seed));
    all
}

/// The matrix as a table: a row for each scene, with the verdicts of both ends. What is wrong is
/// bold.
fn table(all: &[Judged]) -> String {
    let mut counts: BTreeMap<(usize, usize, Cause), usize> = BTreeMap::new();
    for it in all {
        *counts.entry((it.job.scene, it.end, it.verdict.cause)).or_default() += 1;
    }
    let mut text = "| scene | first end | second end |\n| --- | --- | --- |\n".to_owned();
    for (scene, Scene { name, right, .. }) in SCENES.iter().enumerate() {
        let cell = |end: usize| {
            let own = counts.iter().filter(|((its, at, _), _)| (*its, *at) == (scene, end));
            let mut own: Vec<_> = own.map(|((.., cause), count)| (count, cause)).collect();
            own.sort_by(|one, other| other.0.cmp(one.0));
            let words = own.into_iter().map(|(count, cause)| {
                let bold = if right[end].contains(cause) { "" } else { "**" };
                format!("{bold}{cause} {count}{bold}")
            });
            words.collect::<Vec<_>>().join(", ")
        };
        writeln!(text, "| `{name}` | {} | {} |", cell(0), cell(1)).expect("it is a string");
    }
    text
}

/// Plays them and prints the table. What is wrong after the machine was late in every attempt is
/// left out.
fn play_all(strengths: Range<usize>, seeds: Range<u64>) {
    let begun = Instant::now();
    let jobs: Vec<Job> = jobs(strengths, seeds).collect();
    let mut all = all_of(&jobs);
    all.retain(|it| {
        let is_fair = it.is_right() || it.late <= ALLOWED;
        if !is_fair {
            println!("SKIPPED: {}: late by {:.0?}: {}", it.name(), it.late, it.verdict);
        }
        is_fair
    });
    print!("{}", table(&all));
    let right = all.iter().filter(|it| it.is_right()).count();
    let share = 100.0 * right as f64 / all.len() as f64;
    let count = all.len();
    println!("{right} of {count} verdicts are right, {share:.1} %, in {:.0?}", begun.elapsed());
    for wrong in all.iter().filter(|it| !it.is_right()) {
        println!("wrong: {}: {}", wrong.name(), wrong.verdict);
    }
    if let Some(file) = std::env::var_os("TCPINFO_VERDICTS_SAVE") {
        std::fs::write(file, saved(&all)).expect("the folder is there");
    }
    let accused = all.iter().filter(|it| it.is_accusation());
    let accused: Vec<_> = accused.map(|it| format!("{}: {}", it.name(), it.verdict)).collect();
    assert!(accused.is_empty(), "accused without a fault: {accused:#?}");
    assert!(share >= 95.0, "{share:.1} %");
}

/// The readings of the right verdicts, one of each scene, strength and end: what a test judges
/// again without any fault.
fn saved(all: &[Judged]) -> String {
    let mut text = String::new();
    let mut last = None;
    for it in all.iter().filter(|it| it.is_right()) {
        let Job { scene, strength, .. } = it.job;
        if last.replace((scene, it.end, strength)) == Some((scene, it.end, strength)) {
            continue;
        }
        let elapsed = (it.ends[1].at - it.ends[0].at).as_millis();
        let name = SCENES[scene].name;
        let (end, cause) = (ENDS[it.end], it.verdict.cause);
        write!(text, "{name} {strength} {end} {elapsed} {cause}").expect("it is a string");
        for reading in &it.ends {
            text += " ";
            for word in reading.reply.chunks(4) {
                let word = word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
                let zero = if word == 0 { String::new() } else { format!("{word:x}") };
                write!(text, "{zero},").expect("it is a string");
            }
        }
        text += "\n";
    }
    text
}

#[test]
#[ignore = "needs ip and unshare: integration/test.sh"]
fn verdicts_name_the_fault() {
    fn scene() {}
    let test = test_of_fn(scene);
    let played = with_two_of(test, |_| {
        match std::env::var("TCPINFO_VERDICTS").as_deref() {
            Ok("full") => play_all(0..3, 10..20),
            Ok("tuning") => play_all(0..3, 0..10),
            _ => play_all(1..2, 10..12),
        }
        Ok(())
    });
    played.expect("nothing is repeated here");
}

/// The name of the test that a function is in.
fn test_of_fn<F: Fn()>(_: F) -> &'static str {
    test_of::<F>().trim_end_matches("::scene")
}

#[test]
fn the_guide_has_every_scene() {
    let guide = include_str!("../../src/docs/verdicts.rs");
    let rows = guide.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let told: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
    assert_eq!(told, SCENES.iter().map(|scene| scene.name).collect::<Vec<_>>());
}
