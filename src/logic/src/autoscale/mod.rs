//! The loop, decided: what is measured, how it is named, how it is read and shown, which peer it prefers.
//!
//! A *signal* ([`signal`]) names one number of the zone with a window.

pub mod signal;
