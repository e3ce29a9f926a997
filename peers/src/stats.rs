//! Medians, spreads, and ratios of figures that were measured in turn.

use serde::Serialize;

/// The numbers of several rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
    /// All, in the order of the rounds.
    pub rounds: Vec<f64>,
}

impl Figure {
    /// The figure of these rounds, of which there is at least one.
    pub fn of(rounds: Vec<f64>) -> Self {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: at(sorted.len() / 2),
            least: at(0),
            most: at(sorted.len().saturating_sub(1)),
            rounds,
        }
    }

    /// How many times `other` this is, round by round: what slows a round slows both.
    pub fn over(&self, other: &Self) -> Self {
        let pairs = self.rounds.iter().zip(&other.rounds);
        Self::of(pairs.map(|(one, other)| one / other).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_with_its_spread() {
        let figure = Figure::of(vec![3.0, 10.0, 1.0, 2.0, 5.0]);
        assert_eq!((figure.median, figure.least, figure.most), (3.0, 1.0, 10.0));
        assert_eq!(figure.rounds, [3.0, 10.0, 1.0, 2.0, 5.0], "as they were measured");
    }

    #[test]
    fn a_ratio_pairs_the_rounds() {
        // Both are slow in the second round: the ratio of each round is 2 all the same.
        let (fast, slow) = (Figure::of(vec![8.0, 2.0, 6.0]), Figure::of(vec![4.0, 1.0, 3.0]));
        let ratio = fast.over(&slow);
        assert_eq!((ratio.median, ratio.least, ratio.most), (2.0, 2.0, 2.0));
    }
}
