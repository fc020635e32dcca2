//! What FlexLM's `lmstat -a` prints, as far as it tells of licences.

use super::Pool;

/// The pools of its output, in its order. One feature of several servers counts together; lines
/// of other kinds are passed over, and so are pools without a number.
///
/// `Users of FEATURE:  (Total of 10 licenses issued;  Total of 3 licenses in use)`
pub(super) fn parse(output: &str) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    for pool in output.lines().filter_map(pool) {
        match pools.iter_mut().find(|known| known.feature == pool.feature) {
            Some(known) => {
                known.total = known.total.saturating_add(pool.total);
                known.used = known.used.saturating_add(pool.used);
            }
            None => pools.push(pool),
        }
    }
    pools
}

fn pool(line: &str) -> Option<Pool> {
    let (feature, numbers) = line.trim().strip_prefix("Users of ")?.split_once(':')?;
    let numbers = numbers.trim().strip_prefix('(')?;
    let (issued, in_use) = numbers.split_once(';')?;
    let feature = Some(feature.trim()).filter(|feature| super::is_feature(feature))?;
    Some(Pool { feature: feature.to_owned(), total: total(issued, "issued")?, used: total(in_use, "in use")? })
}

/// `Total of 1 license issued`, `Total of 10 licenses in use`.
fn total(text: &str, what: &str) -> Option<u64> {
    let (number, rest) = text.trim().strip_prefix("Total of ")?.split_once(' ')?;
    rest.contains(what).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_of_a_real_shaped_output_are_found_and_nothing_else() {
        let pools = parse(include_str!("../../../fixtures/lmstat/two-vendors.txt"));
        let all: Vec<_> = pools.iter().map(|pool| (pool.feature.as_str(), pool.total, pool.used)).collect();
        assert_eq!(all, [("MATLAB", 10, 3), ("SIMULINK", 4, 0), ("Signal_Toolbox", 1, 1), ("85559ACD_T_F", 250, 12)]);
    }

    #[test]
    fn a_server_that_is_down_tells_of_no_pools() {
        assert_eq!(parse(include_str!("../../../fixtures/lmstat/down.txt")), []);
        assert_eq!(parse(""), []);
        assert_eq!(parse("Users of X:  (Error: 2 licenses, unsupported by licensed server)"), []);
        assert_eq!(parse("Users of X: (Total of many licenses issued;  Total of 0 licenses in use)"), []);
    }

    #[test]
    fn a_feature_of_two_servers_counts_together() {
        let line = "Users of A:  (Total of 2 licenses issued;  Total of 1 license in use)\n";
        assert_eq!(parse(&line.repeat(2)), [Pool { feature: "A".into(), total: 4, used: 2 }]);
    }
}
