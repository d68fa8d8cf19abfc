//! The switching keys that trainings need, besides those of the refreshes.

use ckks_scheme::{BootstrapParams, KeyRequest, Level};

use crate::error::TrainingError;
use crate::layout::FeatureLayout;
use crate::ridge::Ridge;
use crate::softmax::Softmax;
use crate::softmax::levels::StepLevels;

fn doublings(request: &mut KeyRequest, stride: i64, count: usize, level: Level) {
    for log in 0..count.ilog2() {
        request.rotation(stride << log, level);
    }
}

/// Keys for scores where weights are at `weights` and features one level above.
fn meeting(request: &mut KeyRequest, layout: &FeatureLayout, weights: usize) {
    let (at, above) = (Level::new(weights), Level::new(weights + 1));
    let period = layout.period();
    for k in 1..period {
        request.rotation(k as i64, at);
        request.rotation(layout.lane_step(k), above);
    }
    let stride = layout.lane_step(period);
    doublings(request, stride, layout.lanes() / period, at);
    request.relin(at);
}

/// The keys of a ridge regression whose features are at `features`, and of the use of its head at any level below.
///
/// # Errors
/// [`TrainingError::Setting`].
pub fn ridge_keys(
    ridge: &Ridge,
    layout: &FeatureLayout,
    features: Level,
) -> Result<KeyRequest, TrainingError> {
    ridge.validate()?;
    let mut request = KeyRequest::new();
    let width = ridge.baby_steps(layout);
    for r in 1..width {
        request.rotation(layout.lane_step(r), features);
    }
    for g in 1..layout.lanes() / width {
        request.rotation(layout.lane_step(g * width), features);
    }
    let period = layout.period();
    doublings(&mut request, 1, layout.images(), features);
    for class in 1..period as i64 {
        // Both ways: sums of classes are placed, and plain weights spread.
        request.rotation(-class, features);
        request.rotation(class, features);
    }
    let spread = layout.images() / period;
    doublings(&mut request, -(period as i64), spread, features);
    // Steps and sums of the scores are among these: the baby steps are at least as many as a period.
    request.relin(features);
    request.conjugation(features);
    Ok(request)
}

/// The keys of a softmax regression on `groups` groups of images, and of the use of its head.
///
/// # Errors
/// [`TrainingError::Setting`] for settings that do not fit.
pub fn softmax_keys(
    softmax: &Softmax,
    layout: &FeatureLayout,
    groups: usize,
    refreshes: &BootstrapParams,
) -> Result<KeyRequest, TrainingError> {
    let levels = step_levels(softmax, layout, groups, refreshes)?;
    let mut request = KeyRequest::new();
    // The head ends one level below the last weights.
    let (weights, end) = (levels.weights, levels.end.saturating_sub(1).max(1));
    meeting(&mut request, layout, weights);
    if end > weights {
        meeting(&mut request, layout, end);
    }
    let excess = Level::new(levels.excess);
    let period = layout.period();
    for k in 1..period {
        request.rotation(-(k as i64), excess);
        // Of the features, where the gradient is formed.
        request.rotation(layout.lane_step(k), Level::new(levels.excess + 1));
    }
    let places = layout.places();
    doublings(&mut request, period as i64, places, excess);
    // Blocks are packed below the excess, and unpacked where the weights meet the features, or at the end.
    let above = Level::new(weights.max(end) + 1);
    for place in 1..places.min(softmax.blocks(layout)) {
        let step = (place * period) as i64;
        request.rotation(-step, excess);
        request.rotation(step, above);
    }
    doublings(&mut request, -(period as i64), places, above);
    let sums = Level::new(levels.sums);
    doublings(&mut request, layout.lane_step(1), period, sums);
    request.relin(refreshes.output_level());
    request.conjugation(refreshes.output_level());
    Ok(request)
}

/// Levels of the steps of a softmax regression on `groups` groups of images.
///
/// # Errors
/// [`TrainingError::Setting`] for settings that do not fit.
pub fn step_levels(
    softmax: &Softmax,
    layout: &FeatureLayout,
    groups: usize,
    refreshes: &BootstrapParams,
) -> Result<StepLevels, TrainingError> {
    let derived = softmax.derived(layout.classes(), softmax.steps(groups))?;
    let ends = (refreshes.input_level(), refreshes.output_level());
    StepLevels::new(&derived, (ends.0.limbs(), ends.1.limbs()))
}
