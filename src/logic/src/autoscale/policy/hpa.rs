//! How many replicas a measured load asks for, as Kubernetes' HorizontalPodAutoscaler (autoscaling/v2) computes it.
//!
//! Source: `pkg/controller/podautoscaler/replica_calculator.go` of Kubernetes and its page "Horizontal Pod Autoscaling". The ratio of
//! what is to what should be decides: inside the tolerance nothing changes, outside it the answer is `ceil(replicas * ratio)`.
//!
//! What the gateway measures is a whole (all requests of an upstream), never one pod's part, so the corrections for pods without
//! metrics do not arise in a policy; [`utilization`] has them for the HPA model of the replay program.

/// How far the ratio may be from 1 before anything changes (`--horizontal-pod-autoscaler-tolerance`).
pub const TOLERANCE: f64 = 0.1;

/// What a signal means for tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// A total that the replicas divide among them: rates, requests in flight, queues. HPA: `AverageValue`.
    Total,
    /// A mean that more replicas bring down: CPU, latency, ratios. HPA: `Value`.
    Mean,
}

/// The replicas for a total of `value`, `per` of it for each: `GetExternalPerPodMetricReplicas`.
pub fn total(value: f64, per: f64, current: u32, tolerance: f64) -> u32 {
    if current > 0 && within(value / (per * f64::from(current)), tolerance) {
        return current;
    }
    ceil(value / per)
}

/// The replicas that bring a mean of `value` to `goal`, of which `ready` make it: `GetObjectMetricReplicas`.
pub fn mean(value: f64, goal: f64, current: u32, ready: u32, tolerance: f64) -> u32 {
    let ratio = value / goal;
    match current {
        0 => ceil(ratio),
        _ if within(ratio, tolerance) => current,
        _ => ceil(ratio * f64::from(ready)),
    }
}

/// What the metrics of the pods of a deployment say, as sums over pods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pods {
    /// Use of all ready pods together, in the unit of one pod's goal.
    pub used: f64,
    /// Pods whose metrics count.
    pub ready: u32,
    /// Pods that run but are not ready.
    pub unready: u32,
    /// Pods of which no metrics are known.
    pub missing: u32,
}

/// The replicas that bring each pod's use to `goal`: `GetResourceReplicas` with its corrections.
///
/// Missing pods count as idle when the rest asks for more and as exactly at their request (1.0, "100 %") when it asks for fewer;
/// unready ones count as idle when the rest asks for more. If that turns the direction round or comes into the tolerance, nothing
/// changes.
pub fn utilization(pods: Pods, goal: f64, current: u32, tolerance: f64) -> u32 {
    if pods.ready == 0 {
        return current;
    }
    let ratio = pods.used / (goal * f64::from(pods.ready));
    let up = ratio > 1.0;
    let rebalance_unready = up && pods.unready > 0;
    if !rebalance_unready && pods.missing == 0 {
        return if within(ratio, tolerance) { current } else { ceil(ratio * f64::from(pods.ready)) };
    }
    let filled = if ratio < 1.0 { f64::from(pods.missing) * goal.max(1.0) } else { 0.0 };
    let missing = if ratio == 1.0 { 0 } else { pods.missing };
    let counted = pods.ready + missing + if rebalance_unready { pods.unready } else { 0 };
    let new_ratio = (pods.used + filled) / (goal * f64::from(counted));
    if within(new_ratio, tolerance) || (ratio < 1.0 && new_ratio > 1.0) || (up && new_ratio < 1.0) {
        return current;
    }
    let wish = ceil(new_ratio * f64::from(counted));
    if (new_ratio < 1.0 && wish > current) || (new_ratio > 1.0 && wish < current) {
        return current;
    }
    wish
}

fn within(ratio: f64, tolerance: f64) -> bool {
    (1.0 - tolerance..=1.0 + tolerance).contains(&ratio)
}

/// Up to the next whole number, with forgiveness for the last bits of a float: 30 / 0.1 is 300, not 301.
pub fn ceil(x: f64) -> u32 {
    // a float-to-int cast saturates, and not-a-number is 0
    (x - x.abs() * 1e-9).ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_s_own_numbers() {
        // "if the current metric value is 200m, and the desired value is 100m, the number of replicas will be doubled";
        // "if the current value is instead 50m, you'll halve the number of replicas"
        assert_eq!(mean(0.2, 0.1, 3, 3, TOLERANCE), 6);
        assert_eq!(mean(0.05, 0.1, 6, 6, TOLERANCE), 3);
        assert_eq!(total(600.0, 100.0, 3, TOLERANCE), 6);
    }

    #[test]
    fn the_tolerance_is_on_the_ratio() {
        // 10 replicas for 100 each: 900 and 1100 are at the edge, inside
        assert_eq!(total(1100.0, 100.0, 10, TOLERANCE), 10);
        assert_eq!(total(1101.0, 100.0, 10, TOLERANCE), 12);
        assert_eq!(total(900.0, 100.0, 10, TOLERANCE), 10);
        assert_eq!(total(899.0, 100.0, 10, TOLERANCE), 9);
        assert_eq!(total(1001.0, 100.0, 10, 0.0), 11);
    }

    #[test]
    fn from_zero_the_load_alone_decides() {
        assert_eq!(total(0.0, 100.0, 0, TOLERANCE), 0);
        assert_eq!(total(1.0, 100.0, 0, TOLERANCE), 1);
        assert_eq!(mean(2.5, 1.0, 0, 0, TOLERANCE), 3);
    }

    #[test]
    fn a_mean_is_made_by_the_ready_ones() {
        // the documentation's "current" is what carries the load: ten wanted, five ready, twice the goal
        assert_eq!(mean(2.0, 1.0, 10, 5, TOLERANCE), 10);
    }

    #[test]
    fn floats_do_not_add_a_replica() {
        assert_eq!(ceil(30.0 / 0.1), 300);
        assert_eq!(ceil(0.1 * 3.0 / 0.1), 3);
        assert_eq!((ceil(f64::NAN), ceil(-3.0), ceil(1e30)), (0, 0, u32::MAX));
    }

    /// The tables of `replica_calculator_test.go`: pods (used, ready, unready, missing), goal, current, right.
    #[test]
    fn kubernetes_own_cases_of_missing_and_unready_pods() {
        let table = [
            ("MissingMetrics", (0.495, 2, 0, 2), 1.0, 4, 3),
            ("MissingMetricsNoChangeEq", (1.0, 1, 0, 1), 1.0, 2, 2),
            ("MissingMetricsNoChangeGt", (1.9, 1, 0, 1), 1.0, 2, 2),
            ("MissingMetricsNoChangeLt", (0.6, 1, 0, 1), 1.0, 2, 2),
            ("MissingMetricsUnreadyChange", (0.45, 1, 1, 1), 0.5, 3, 3),
            ("MissingMetricsUnreadyScaleUp", (2.0, 1, 1, 1), 0.5, 3, 4),
            ("MissingMetricsUnreadyScaleDown", (0.2, 2, 1, 1), 0.5, 4, 3),
            ("ScaleDownIncludeUnreadyPods", (0.9, 3, 2, 0), 0.5, 5, 2),
            ("Tolerance", (3.06, 3, 0, 0), 1.0, 3, 3),
        ];
        for (name, (used, ready, unready, missing), goal, current, right) in table {
            let pods = Pods { used, ready, unready, missing };
            assert_eq!(utilization(pods, goal, current, TOLERANCE), right, "{name}");
        }
        let none = Pods { used: 0.0, ready: 0, unready: 3, missing: 0 };
        assert_eq!(utilization(none, 0.5, 3, TOLERANCE), 3, "no metrics, no change");
    }

    #[test]
    fn kubernetes_own_cases_of_totals_and_means() {
        // ScaleDownPerPodCMObject, ScaleDownPerPodCMExternal, TolerancePerPodCMObject
        assert_eq!(total(6000.0, 2000.0, 5, TOLERANCE), 3);
        assert_eq!(total(8600.0, 2867.0, 5, TOLERANCE), 3);
        assert_eq!(total(20166.0, 5000.0, 4, TOLERANCE), 4);
        // ScaleDownCMObject, ToleranceCMObject
        assert_eq!(mean(12000.0, 20000.0, 5, 5, TOLERANCE), 3);
        assert_eq!(mean(20666.0, 20000.0, 3, 3, TOLERANCE), 3);
    }
}
