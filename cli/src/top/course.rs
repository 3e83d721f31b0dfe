//! The recent course of a number as a line of blocks.

use std::collections::{HashMap, VecDeque};

use crate::flow::{Flow, Point};
use crate::rows::{Key, Row};

/// The courses of groups. Those of connections are in their flows.
#[derive(Debug, Default)]
pub(crate) struct Courses {
    by_key: HashMap<Key, VecDeque<Point>>,
}

impl Courses {
    /// Notes the rows of one sample.
    pub(crate) fn note(&mut self, rows: &[Row]) {
        let mut kept = HashMap::with_capacity(rows.len());
        for row in rows.iter().filter(|row| !matches!(row.key, Key::Connection(_))) {
            let mut course = self.by_key.remove(&row.key).unwrap_or_default();
            if course.len() == Flow::COURSE {
                course.pop_front();
            }
            course.push_back(Point {
                rtt: row.rtt.map(|rtt| rtt.as_secs_f32()),
                throughput: row.rate().map(|rate| rate as f32),
            });
            kept.insert(row.key.clone(), course);
        }
        self.by_key = kept;
    }

    pub(crate) fn of(&self, key: &Key) -> Option<&VecDeque<Point>> {
        self.by_key.get(key)
    }
}

/// The last points as blocks, of which the highest is the greatest number: nothing where nothing
/// was reported, and the lowest block for zero.
pub(crate) fn blocks(points: impl DoubleEndedIterator<Item = Option<f32>>, width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut last: Vec<Option<f32>> = points.rev().take(width).collect();
    last.reverse();
    let greatest = last.iter().flatten().copied().fold(0.0, f32::max);
    let block = |point: &Option<f32>| match point {
        None => ' ',
        Some(number) if greatest > 0.0 => {
            BLOCKS[((number / greatest * 7.0).round() as usize).min(BLOCKS.len() - 1)]
        }
        Some(_) => BLOCKS[0],
    };
    let blocks: String = last.iter().map(block).collect();
    format!("{blocks:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_number_is_the_highest_block() {
        let line = |points: &[Option<f32>], width| blocks(points.iter().copied(), width);
        assert_eq!(line(&[Some(0.0), Some(3.5), None, Some(7.0)], 4), "▁▅ █");
        assert_eq!(line(&[Some(0.0), Some(0.0)], 4), "  ▁▁");
        assert_eq!(line(&[Some(9.0), Some(1.0), Some(2.0)], 2), "▅█");
        assert_eq!(line(&[], 3), "   ");
        assert_eq!(line(&[Some(1.0)], 0), "");
    }
}
