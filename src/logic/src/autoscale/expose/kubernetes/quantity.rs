//! Numbers as Kubernetes writes them (`resource.Quantity`): an integer and a suffix, never a fraction.

/// The largest number whose thousandths, which is what the HPA calculates in, still fit 64 bits.
const MOST: f64 = 9.2e15;

/// `5` is 5, `1500m` 1.5, `250u` 0.00025: thousandths from 1 on, millionths below, and the shorter of the two where both are exact.
/// Numbers beyond what the HPA can calculate with become the largest that it can.
pub fn of(value: f64) -> String {
    let value = value.clamp(-MOST, MOST);
    let scaled = |factor: f64| (value * factor).round() as i64;
    let (milli, micro) = (scaled(1e3), if value.abs() < 1.0 { scaled(1e6) } else { 0 });
    if value.fract() == 0.0 {
        format!("{}", value as i64)
    } else if value.abs() < 1.0 && micro % 1000 != 0 {
        format!("{micro}u")
    } else if milli % 1000 == 0 {
        format!("{}", milli / 1000)
    } else {
        format!("{milli}m")
    }
}
