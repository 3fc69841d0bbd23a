//! The results as text.

use crate::run::Score;
use std::fmt::Write;

/// The runs of one contender: a setting and its score each.
pub struct Series {
    pub name: &'static str,
    pub runs: Vec<(f64, Score)>,
}

/// Where a run lies among those of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nobody else is as cheap and loses as little.
    Frontier,
    /// Somebody else is at least as good in both and better in one.
    Beaten,
}

/// Whether any rival's run is at least as good in cost and loss, and better in one of them by more than noise.
pub fn place(score: &Score, rivals: &[&Score]) -> Place {
    let (cost, lost) = (score.cost(), score.lost_percent());
    let beats = |rival: &&&Score| {
        let (c, l) = (rival.cost(), rival.lost_percent());
        c <= cost && l <= lost && (c < cost * 0.999 || l < lost - 0.001)
    };
    match rivals.iter().find(beats) {
        Some(_) => Place::Beaten,
        None => Place::Frontier,
    }
}

/// The table: one line for each run, and whether it is on the frontier.
pub fn table(all: &[Series]) -> String {
    let mut text = String::from(
        "contender     setting   lost %   late or lost %   replica-seconds   x ideal    ups  downs  most  frontier\n",
    );
    for series in all {
        let others: Vec<&Score> = all
            .iter()
            .filter(|other| other.name != series.name)
            .flat_map(|other| other.runs.iter().map(|(_, s)| s))
            .collect();
        for (setting, score) in &series.runs {
            let on = match place(score, &others) {
                Place::Frontier => "yes",
                Place::Beaten => "",
            };
            let _ = writeln!(
                text,
                "{:<12} {:>8.2} {:>8.3} {:>16.3} {:>17.0} {:>9.3} {:>6} {:>6} {:>5}  {on}",
                series.name,
                setting,
                score.lost_percent(),
                score.missed_percent(),
                score.replica_s,
                score.cost(),
                score.ups,
                score.downs,
                score.most,
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(lost: f64, replica_s: f64) -> Score {
        Score { arrived: 100.0, lost, replica_s, ideal_s: 100.0, ..Score::default() }
    }

    #[test]
    fn the_frontier_is_who_is_not_beaten() {
        let (cheap, safe, both) = (score(5.0, 110.0), score(1.0, 200.0), score(1.0, 110.0));
        assert_eq!(place(&cheap, &[&safe]), Place::Frontier);
        assert_eq!(place(&safe, &[&cheap]), Place::Frontier);
        assert_eq!(place(&cheap, &[&both]), Place::Beaten);
        assert_eq!(place(&both, &[&cheap, &safe, &both.clone()]), Place::Frontier);
    }
}
