//! Checks for pointwise stages of one's own: what is encrypted against what is said in the clear.
//!
//! ```
//! use he_layers::{Polynomial, conformance};
//!
//! conformance::check_pointwise(Polynomial::relu("relu", 7, vec![4.0; 2])?, 2)?;
//! # Ok::<(), he_layers::conformance::ConformanceError>(())
//! ```

use std::sync::Arc;

use ckks_scheme::counts::Work;
use ckks_scheme::{Evaluator, KeyError, Level, ParamError, Parameters, Scale};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::client::Client;
use crate::cost;
use crate::error::LayerError;
use crate::layout::{Grid, Layout, Packing};
use crate::linear::Conv2d;
use crate::pointwise::{Pointwise, Setting};
use crate::program::{Preparation, Program, Term, Weights};
use crate::spec::ScaleChain;
use crate::tensor::{Chw, PlainTensor};

/// Ring degree and bits of the primes of the checks: small, without security.
const LOG_N: u32 = 9;
const PRIME_BITS: u32 = 50;
const LOG_SCALE: i32 = 28;
/// Most levels that a stage under test may take.
const MOST_LEVELS: usize = 24;

/// What a stage does not keep to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConformanceError {
    /// The stage refuses what a stage must take, or fails.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The parameters of the check cannot be made.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// The keys of the check cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its declared size is no finite number.
    #[error("stage {stage}: declares {found} for channel {channel}, expected a finite number")]
    Declared {
        /// Name of the stage.
        stage: String,
        /// The channel.
        channel: usize,
        /// What it declares.
        found: f64,
    },
    /// The encrypted result is not the function.
    #[error(
        "stage {stage}, packed {packing}: encrypted result is off by {found:e}, at most {most:e} expected"
    )]
    Value {
        /// Name of the stage.
        stage: String,
        /// Packing of the check.
        packing: Packing,
        /// Largest error.
        found: f64,
        /// The tracker's bound.
        most: f64,
    },
    /// The predicted error is far from the measured one.
    #[error(
        "stage {stage}, packed {packing}: error of deviation {found:e}, {predicted:e} predicted"
    )]
    Prediction {
        /// Name of the stage.
        stage: String,
        /// Packing of the check.
        packing: Packing,
        /// Deviation measured.
        found: f64,
        /// Deviation predicted.
        predicted: f64,
    },
    /// The counted operations are not what is done.
    #[error("stage {stage}, packed {packing}: counts work of {predicted:?}, does {found:?}")]
    Counts {
        /// Name of the stage.
        stage: String,
        /// Packing of the check.
        packing: Packing,
        /// Work that was done.
        found: Box<Work>,
        /// Work that its counts make.
        predicted: Box<Work>,
    },
    /// It holds more memory than it says.
    #[error("stage {stage}, packed {packing}: holds {found} limbs, at most {most} predicted")]
    Memory {
        /// Name of the stage.
        stage: String,
        /// Packing of the check.
        packing: Packing,
        /// Limbs held.
        found: usize,
        /// Limbs predicted.
        most: usize,
    },
}

/// Runs a stage of `channels` channels, other than a refresh, on encrypted sums over its declared range at a small insecure
/// ring, packed real and packed complex. Checks the result against [`Pointwise::evaluate`] within the tracker's bound, the
/// predicted error (a third of the measured to ten times as much), the counted operations exactly, and the memory.
///
/// # Errors
/// [`ConformanceError`]: what the stage does not keep to.
pub fn check_pointwise<P: Pointwise + 'static>(
    stage: P,
    channels: usize,
) -> Result<(), ConformanceError> {
    let stage: Arc<dyn Pointwise> = Arc::new(stage);
    for packing in [Packing::Real, Packing::Complex] {
        check_packed(&stage, channels, packing)?;
    }
    Ok(())
}

fn check_packed(
    stage: &Arc<dyn Pointwise>,
    channels: usize,
    packing: Packing,
) -> Result<(), ConformanceError> {
    let name = || stage.name().to_owned();
    let shape = Chw::new(channels, 4, 4);
    // Values over the declared range, but of no larger mean square than declared.
    let range = |c: usize| {
        let found = stage.declared(c);
        let rms = stage.input_size(c).1;
        match found.is_finite() {
            true => Ok((found - stage.magnitude(0.0, c)).clamp(0.0, 3f64.sqrt() * rms)),
            false => Err(ConformanceError::Declared {
                stage: name(),
                channel: c,
                found,
            }),
        }
    };
    let ranges = (0..channels).map(range).collect::<Result<Vec<_>, _>>()?;
    let mut net = Program::new("conformance", shape, Vec::new());
    let identity = Conv2d::select("identity", channels, 0..channels)?;
    let x = net.node(
        "conformance",
        "sums",
        vec![Term::linear(net.input(), identity)],
    )?;
    let y = net.apply_shared(x, stage.clone())?;
    net.finish(y)?;

    let scale = Scale::new(2f64.powi(LOG_SCALE));
    let counted = ScaleChain::new(scale, vec![1 << PRIME_BITS; MOST_LEVELS]);
    let setting = Setting {
        chain: &counted,
        refreshers: &[],
    };
    let levels = net.input_level(&setting, Level::new(2))?.limbs();
    let params = Parameters::builder()
        .log_n(LOG_N)
        .q_bits(vec![PRIME_BITS; levels])
        .build_insecure_for_tests()?;
    let layout = Layout::new(shape, Grid::new(4, 4), packing, params.slots())?;
    let prepared = net.prepare(&Preparation::new(&params, scale, layout))?;
    let points = prepared.images() * shape.pixels();
    let images = PlainTensor::from_fn(prepared.images(), shape, |n, c, y, x| {
        let at = n * shape.pixels() + y * shape.width + x;
        ranges[c] * (2.0 * at as f64 / (points - 1).max(1) as f64 - 1.0)
    });

    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut client, keys) = Client::new(&params, &prepared, &mut rng)?;
    let server = Evaluator::new(&params, Arc::new(keys));
    let held = params.pool().in_use_bytes();
    let encrypted = client.encrypt(&images)?;
    let mut run = prepared.begin(&server, encrypted)?;
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let mut step = |number: usize| -> Result<(), ConformanceError> {
        params.pool().reset_high_water();
        match &one_thread {
            Ok(pool) => pool.install(|| run.step(1))?,
            Err(_) => run.step(1)?,
        }
        let counts = prepared.op_counts(number, 1);
        let temporary = cost::temporary_limbs(&counts, params.chain(), &|l| l);
        let most = prepared.peak_limbs(number, 1) + temporary + prepared.working_limbs(number);
        let bytes = params.pool().high_water_bytes() - held;
        let found = (bytes / params.limb_bytes()) as usize;
        if found > most {
            let stage = name();
            return Err(ConformanceError::Memory {
                stage,
                packing,
                found,
                most,
            });
        }
        Ok(())
    };
    (0..prepared.steps()).try_for_each(&mut step)?;
    let output = run.finish()?;

    let bounds = output
        .ciphertexts()
        .iter()
        .map(|ct| ct.tracked().error_bound());
    let most = bounds.fold(0.0, f64::max);
    let y = client.decrypt(&output, images.n)?;
    let slots = prepared.input().layout.pack(&images)?;
    let reference = prepared.forward_slots(&net, slots, Weights::Rounded)?;
    let reference = prepared.output().layout.unpack(&reference, images.n)?;
    let pairs = || y.data.iter().zip(&reference.data);
    let found = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let numbers = y.data.iter().all(|v| v.is_finite());
    if found > most || !numbers {
        let stage = name();
        return Err(ConformanceError::Value {
            stage,
            packing,
            found,
            most,
        });
    }
    let counts = prepared.total_op_counts(1);
    let cells = prepared.input().layout.grid().cells();
    let predicted = cost::work(&counts, &params.counts(), &|l| l, cells, &|_| {
        Work::default()
    });
    let work = server.profile().work();
    if predicted != work {
        return Err(ConformanceError::Counts {
            stage: name(),
            packing,
            found: Box::new(work),
            predicted: Box::new(predicted),
        });
    }
    let rms = |squares: f64| (squares / y.data.len() as f64).sqrt();
    let found = rms(pairs().map(|(a, b)| (a - b).powi(2)).sum());
    let disturbed = prepared.forward_disturbed(&net, &images, crate::Errors::Noise, 1)?;
    let plain = net.forward_plain(&images)?;
    let pairs = disturbed.data.iter().zip(&plain.data);
    let predicted = rms(pairs.map(|(a, b)| (a - b).powi(2)).sum());
    if found > 3.0 * predicted || predicted > 10.0 * found {
        return Err(ConformanceError::Prediction {
            stage: name(),
            packing,
            found,
            predicted,
        });
    }
    Ok(())
}
