//! Factors back to the sum of the configured weights, within their bounds.

/// A backend's part in the sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Configured weight, above 0.
    pub weight: f64,
    /// Factor on it, above 0.
    pub factor: f64,
}

/// Multiplies all factors by the one number that, after each is clamped to `floor..=ceiling`, makes the sum of
/// weight × factor equal to `total`.
///
/// There is one when floor × sum of weights <= `total` <= ceiling × sum of weights; else every factor ends at the
/// bound that comes nearest.
pub(super) fn renormalise(parts: &mut [Part], total: f64, floor: f64, ceiling: f64) {
    let Some(scale) = scale(parts, total, floor, ceiling) else { return };
    for part in parts {
        part.factor = (part.factor * scale).clamp(floor, ceiling);
    }
}

/// The common number. The sum grows with it, so halving finds it; the last step is exact.
fn scale(parts: &[Part], total: f64, floor: f64, ceiling: f64) -> Option<f64> {
    let least = parts.iter().map(|part| part.factor).reduce(f64::min)?;
    let most = parts.iter().map(|part| part.factor).reduce(f64::max)?;
    let sum = |scale: f64| -> f64 {
        parts.iter().map(|part| part.weight * (part.factor * scale).clamp(floor, ceiling)).sum()
    };
    // At the one end every factor is at the floor, at the other every one at the ceiling.
    let (mut low, mut high) = (floor / most, ceiling / least);
    for _ in 0..HALVINGS {
        let middle = (low * high).sqrt();
        if sum(middle) < total { low = middle } else { high = middle }
    }
    Some(exact(parts, total, high, floor, ceiling).unwrap_or(high))
}

/// Halvings of a range that spans at most 1e5 in ratio: more than the digits of an f64.
const HALVINGS: u32 = 60;

/// The number that fits exactly while the same factors stay at their bounds as with `near`.
fn exact(parts: &[Part], total: f64, near: f64, floor: f64, ceiling: f64) -> Option<f64> {
    let (mut bound, mut free) = (0.0, 0.0);
    for part in parts {
        let scaled = part.factor * near;
        if scaled <= floor || scaled >= ceiling {
            bound += part.weight * scaled.clamp(floor, ceiling);
        } else {
            free += part.weight * part.factor;
        }
    }
    let scale = (total - bound) / free;
    // Rounding may have put a factor on the wrong side of its bound; then the halving's answer is the better one.
    ((scale - near).abs() <= near * 1e-9).then_some(scale)
}
