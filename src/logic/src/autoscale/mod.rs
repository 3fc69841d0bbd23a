//! The loop: metrics, signals.
