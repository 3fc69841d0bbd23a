//! What would a policy have done? A recorded trace, a model of the service, and the engine of the module itself.
//!
//! ```text
//! trace      time, requests a second, more columns      a CSV or an access log ([`trace`])
//! service    rate of a replica, start time, queue       a fluid model, second by second ([`service`])
//! view       the signals that the gateway would see     windows over the past seconds ([`view`])
//! policy     the same `Policy::step` as in a worker     out of an nginx.conf, or built in ([`contest`])
//! rivals     HPA on CPU, HPA on rate, KPA               the same engine, with their formulas, pace and lag ([`contest`])
//! report     lost %, SLO misses, replica-seconds        as text and as SVG ([`report`], [`chart`])
//! ```
//!
//! # What the model assumes
//! - Requests are a fluid: a step of one second has so many of them, evenly spread. A trace of 5-minute counts knows nothing about the
//!   seconds inside, so neither does the replay: it ranks designs, it does not predict a percentage.
//! - A replica serves up to its rate with `rate * service time` requests at once. Beyond, requests wait in one queue, first come,
//!   first served, for at most the queue bound; what does not fit is lost. A client that is turned away does not come back.
//! - The wait of a step is the greater of the fluid queue's and of what M/M/c has at that utilisation (Sakasegawa's approximation,
//!   1977), cut off at the bound. All requests of a second count as late when that wait plus the service time exceeds the SLO.
//! - A new replica serves nothing until its start time has passed and everything afterwards: no warm-up, no placement delay. One that
//!   is taken away stops at once; one that is still starting goes first.
//! - The same input gives the same output: nothing is random.
#![forbid(unsafe_code)]

pub mod chart;
pub mod conf;
pub mod contest;
pub mod report;
pub mod run;
pub mod service;
pub mod trace;
pub mod view;
