//! The service: replicas that take time to start, and one bounded queue.

/// What a replica can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Requests a second of one replica.
    pub rate: f64,
    /// Seconds of work in a request.
    pub service_s: f64,
    /// Seconds from the wish to the first request of a new replica.
    pub start_s: u32,
    /// The longest a request waits, in seconds.
    pub queue_s: f64,
    /// What a request may take before it counts as late, in seconds.
    pub slo_s: f64,
}

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    pub arrived: f64,
    pub served: f64,
    pub lost: f64,
    /// Served, but later than the SLO.
    pub late: f64,
    /// Seconds, of those served.
    pub latency: f64,
    /// Requests waiting at its end.
    pub queue: f64,
    /// Requests in the service and waiting, on average.
    pub inflight: f64,
    /// Of the ready replicas, 0 to 1.
    pub busy: f64,
    pub ready: u32,
    pub wanted: u32,
}

/// The service as it goes.
#[derive(Clone, Debug)]
pub struct Service {
    shape: Shape,
    ready: u32,
    /// When those on their way will be ready, the soonest first.
    starting: std::collections::VecDeque<(u64, u32)>,
    queue: f64,
}

impl Service {
    pub fn new(shape: Shape, replicas: u32) -> Self {
        Self { shape, ready: replicas, starting: Default::default(), queue: 0.0 }
    }

    pub fn ready(&self) -> u32 {
        self.ready
    }

    pub fn wanted(&self) -> u32 {
        self.ready + self.starting.iter().map(|(_, n)| n).sum::<u32>()
    }

    /// Asks for so many replicas at second `now`.
    pub fn scale(&mut self, now: u64, replicas: u32) {
        let wanted = self.wanted();
        if replicas > wanted {
            self.starting.push_back((now + u64::from(self.shape.start_s), replicas - wanted));
            return;
        }
        let mut surplus = wanted - replicas;
        while let Some((_, n)) = self.starting.back_mut().filter(|_| surplus > 0) {
            let gone = surplus.min(*n);
            *n -= gone;
            surplus -= gone;
            if *n == 0 {
                self.starting.pop_back();
            }
        }
        self.ready -= surplus;
    }

    /// Second `now`, with so many arrivals.
    pub fn second(&mut self, now: u64, arrived: f64) -> Second {
        while let Some((_, n)) = self.starting.front().filter(|(at, _)| *at <= now) {
            self.ready += n;
            self.starting.pop_front();
        }
        let Shape { rate, service_s, queue_s, slo_s, .. } = self.shape;
        let capacity = f64::from(self.ready) * rate;
        let before = self.queue;
        let served = (before + arrived).min(capacity);
        // with no replica at all the bound is that of one, which is about to come
        let bound = queue_s * capacity.max(rate);
        let waiting = before + arrived - served;
        self.queue = waiting.min(bound);
        let lost = waiting - self.queue;
        let busy = if capacity > 0.0 { served / capacity } else { 0.0 };
        let wait = if capacity > 0.0 {
            let fluid = (before + self.queue) / 2.0 / capacity;
            fluid.max(stationary(busy, f64::from(self.ready) * rate * service_s, service_s)).min(queue_s)
        } else {
            queue_s
        };
        let latency = service_s + wait;
        Second {
            arrived,
            served,
            lost,
            late: if latency > slo_s { served } else { 0.0 },
            latency,
            queue: self.queue,
            inflight: (served * latency).max(self.queue),
            busy,
            ready: self.ready,
            wanted: self.wanted(),
        }
    }
}

/// The mean wait of M/M/c: Sakasegawa, "An approximation formula L_q = αρ^β/(1-ρ)" (1977).
fn stationary(busy: f64, servers: f64, service_s: f64) -> f64 {
    let servers = servers.max(1.0);
    if busy >= 1.0 {
        return f64::INFINITY;
    }
    busy.powf((2.0 * (servers + 1.0)).sqrt() - 1.0) / (servers * (1.0 - busy)) * service_s
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { rate: 100.0, service_s: 0.02, start_s: 30, queue_s: 1.0, slo_s: 0.5 };

    #[test]
    fn overload_queues_then_loses_then_drains() {
        let mut service = Service::new(SHAPE, 2);
        let first = service.second(0, 300.0);
        assert_eq!((first.served, first.queue, first.lost), (200.0, 100.0, 0.0));
        let second = service.second(1, 400.0);
        assert_eq!((second.served, second.queue, second.lost), (200.0, 200.0, 100.0));
        assert!((second.late - 200.0).abs() < 1e-9 && second.latency > 0.75, "{second:?}");
        let third = service.second(2, 50.0);
        assert_eq!((third.served, third.queue, third.lost), (200.0, 50.0, 0.0));
    }

    #[test]
    fn replicas_take_their_time_and_leave_at_once() {
        let mut service = Service::new(SHAPE, 2);
        service.scale(10, 5);
        assert_eq!((service.ready(), service.wanted()), (2, 5));
        service.second(39, 0.0);
        assert_eq!(service.ready(), 2);
        // one of those on their way is not wanted any more
        service.scale(39, 4);
        service.second(40, 0.0);
        assert_eq!((service.ready(), service.wanted()), (4, 4));
        service.scale(41, 1);
        assert_eq!(service.ready(), 1);
    }

    #[test]
    fn requests_are_neither_made_nor_forgotten() {
        let mut service = Service::new(SHAPE, 3);
        let (mut arrived, mut gone) = (0.0, 0.0);
        for now in 0..1000u64 {
            if now % 97 == 0 {
                service.scale(now, (now % 7) as u32);
            }
            let second = service.second(now, (now * 37 % 700) as f64);
            arrived += second.arrived;
            gone += second.served + second.lost;
        }
        assert!((arrived - gone - service.queue).abs() < 1e-6);
    }

    #[test]
    fn the_stationary_wait_is_erlang_s() {
        // M/M/1 at 0.8: rho / (1 - rho) = 4 service times, which the formula has exactly
        assert!((stationary(0.8, 1.0, 1.0) - 4.0).abs() < 1e-9);
        // M/M/2 at 0.8: Erlang C is 0.7111, the wait 0.7111 / (2 * 0.2) = 1.78
        assert!((stationary(0.8, 2.0, 1.0) - 1.78).abs() < 0.1);
    }
}
