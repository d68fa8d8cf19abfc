//! `polyphase precision`: how well, how fast and with how large keys ciphertexts are refreshed.

mod record;

use ckks_scheme::bootstrap::{MeasureProgress, PrecisionReport, measure_precision};
use ckks_scheme::{
    BootstrapError, BootstrapParams, BootstrapPreset, Bootstrapper, CosineBootstrapper,
};
use pipeline::progress::{Progress, Unit};
use pipeline::system;
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::cli::args::PrecisionArgs;
use crate::cli::output::Output;
use crate::error::CliError;
use record::PrecisionRecord;

/// Memory beside the limb pool: the process itself, tables of transforms, slots in the clear. It is about 0.1 GB at
/// N = 2^16.
const OUTSIDE_POOL_BYTES: u64 = 256 << 20;

/// Runs the command: report to standard output, to a JSON file, or both.
pub fn command(args: &PrecisionArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    let preset = BootstrapPreset::named(&args.preset).expect("the argument is one of the presets");
    let pool = args.machine.threads.pool(ui)?;
    let memory = args.machine.memory_bytes();
    let count = args.ciphertexts.get();
    let kernel = args.machine.kernel();
    let params = preset.build_for(&args.function.into(), kernel, Some(memory))?;
    let budget = memory.saturating_sub(outside_pool_bytes(&params, count));
    params.scheme().pool().set_budget(Some(budget));
    let mut rng: ChaCha20Rng = match args.seed {
        Some(seed) => {
            ui.note("keys, values and encryptions from a seed: reproducible, not secure");
            ChaCha20Rng::seed_from_u64(seed)
        }
        None => rand::make_rng(),
    };
    let report = pool.install(|| {
        check_memory(preset.name(), &params, count, memory)?;
        Ok::<_, CliError>(measure(&params, count, &mut rng, ui)?)
    })?;
    let mut record = PrecisionRecord::new(preset.name(), report, args.profile);
    record.seeded = args.seed.is_some();
    record.peak_rss_bytes = system::peak_rss_bytes();
    if let Some(warning) = record.range_warning() {
        ui.note(&warning);
    }
    output.write(&record)
}

/// Refuses what would not fit, with the least that would do.
fn check_memory(
    preset: &'static str,
    params: &BootstrapParams,
    ciphertexts: usize,
    memory: u64,
) -> Result<(), CliError> {
    let boot = CosineBootstrapper::new(params)?;
    let threads = rayon::current_num_threads();
    let outside = outside_pool_bytes(params, ciphertexts);
    let needed = needed_bytes(&boot, threads.min(ciphertexts)).saturating_add(outside);
    if needed > memory {
        return Err(CliError::PrecisionMemory {
            preset,
            threads,
            memory,
            needed,
            least: needed_bytes(&boot, 1).saturating_add(outside),
        });
    }
    Ok(())
}

/// Bytes beside the pool: the errors of all values are kept, in a vector that doubles as it grows.
fn outside_pool_bytes(params: &BootstrapParams, ciphertexts: usize) -> u64 {
    let errors = (ciphertexts as u64).saturating_mul(2 * 2 * 8 * params.slots() as u64);
    errors.saturating_add(OUTSIDE_POOL_BYTES)
}

/// Bytes of the pool while `parallel` ciphertexts are refreshed at a time.
fn needed_bytes(boot: &CosineBootstrapper, parallel: usize) -> u64 {
    let params = boot.params();
    let scheme = params.scheme();
    let input = 2 * params.input_level().limbs() as u64 * scheme.limb_bytes();
    let keys = boot.request().bytes(scheme.chain());
    keys + boot.transform_bytes() + parallel as u64 * (boot.working_bytes() + input)
}

/// Measures, and says how far it is.
fn measure<R: CryptoRng>(
    params: &BootstrapParams,
    ciphertexts: usize,
    rng: &mut R,
    ui: &dyn Progress,
) -> Result<PrecisionReport, BootstrapError> {
    let total = Some(ciphertexts as u64);
    ui.begin("bootstrapping", total, Unit::Things("ciphertexts"));
    let mut done = 0;
    let report = measure_precision(params, ciphertexts, rng, &mut |progress| match progress {
        MeasureProgress::Setup => ui.stage("keys and matrices"),
        // The library does not say when the one ends and the others begin.
        MeasureProgress::WarmUp => ui.stage("warm-up and refreshes"),
        MeasureProgress::Refreshed(so_far) => {
            ui.advance((so_far - done) as u64);
            done = so_far;
        }
        _ => {}
    })?;
    ui.finish();
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ckks_scheme::exec::KernelChoice;
    use ckks_scheme::{BootstrapLiteral, FourierLiteral, Parameters, Reduction, RefreshFunction};
    use serde_json::Value;

    use super::*;

    fn small() -> BootstrapParams {
        over_small_ring(BootstrapLiteral {
            slots_to_coeffs_levels: 2,
            coeffs_to_slots_levels: 2,
            ..BootstrapLiteral::full_complex(8)
        })
    }

    /// A small insecure ring with just the levels that a refresh takes and two for the user.
    fn over_small_ring(literal: BootstrapLiteral) -> BootstrapParams {
        let q_bits = std::iter::once(50)
            .chain(std::iter::repeat_n(43, 4))
            .chain(std::iter::repeat_n(50, literal.depth()));
        let scheme = Parameters::builder()
            .log_n(8)
            .q_bits(q_bits)
            .digits(3)
            .kernel(KernelChoice::Auto)
            .build_insecure_for_tests()
            .unwrap();
        BootstrapParams::new(&scheme, literal).unwrap()
    }

    /// Writes down what it is told.
    #[derive(Default)]
    struct Listener(Mutex<Vec<String>>);

    impl Listener {
        fn hear(&self, what: String) {
            self.0.lock().unwrap().push(what);
        }
    }

    impl Progress for Listener {
        fn begin(&self, task: &str, total: Option<u64>, _: Unit) {
            self.hear(format!("{task} {total:?}"));
        }
        fn stage(&self, name: &str) {
            self.hear(name.to_owned());
        }
        fn advance(&self, units: u64) {
            self.hear(format!("+{units}"));
        }
        fn finish(&self) {
            self.hear("done".to_owned());
        }
        fn note(&self, sentence: &str) {
            self.hear(sentence.to_owned());
        }
    }

    fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(work)
    }

    #[test]
    fn a_measurement_is_reported_whole_and_its_progress_counts_ciphertexts() {
        let heard = Listener::default();
        let report = on_threads(2, || {
            measure(&small(), 3, &mut ChaCha20Rng::seed_from_u64(5), &heard).unwrap()
        });
        assert_eq!(
            *heard.0.lock().unwrap(),
            [
                "bootstrapping Some(3)",
                "keys and matrices",
                "warm-up and refreshes",
                "+2",
                "+1",
                "done"
            ]
        );
        let record = PrecisionRecord::new("small", report.clone(), true);
        let json: Value = serde_json::to_value(&record).unwrap();
        // What the command promises.
        for key in [
            "log_n",
            "log_qp",
            "security_bits",
            "slots",
            "ciphertexts",
            "function",
            "function_error",
            "mean_bits",
            "min_bits",
            "residual_bits",
            "failure_log2",
            "seconds",
            "microseconds_per_slot",
            "microseconds_per_output_bit",
            "seconds_by_stage",
            "key_bytes",
            "peak_rss_bytes",
            "threads",
            "range_violations",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json["log_n"], 8);
        assert_eq!(json["security_bits"], 0);
        assert_eq!(
            (&json["slots"], &json["ciphertexts"]),
            (&128.into(), &3.into())
        );
        assert_eq!(json["threads"], 2);
        assert_eq!(json["mean_bits"], report.overall.mean_bits);
        assert!(json["mean_bits"].as_f64() > json["min_bits"].as_f64());
        assert!(json["min_bits"].as_f64() >= json["predicted_min_bits"].as_f64());
        // 128 slots of two parts.
        let near = |key: &str, expected: f64| {
            let found = json[key].as_f64().unwrap();
            assert!((found / expected - 1.0).abs() < 1e-9, "{key}: {found}");
        };
        near("microseconds_per_slot", report.seconds * 1e6 / 128.0);
        let bits = 256.0 * report.overall.mean_bits;
        near("microseconds_per_output_bit", report.seconds * 1e6 / bits);
        assert_eq!(json["function"], "identity");
        // The whole range is covered: a failure cannot happen.
        assert_eq!(report.failure_log2, None);
        assert_eq!(json["failure_log2"], -1074.0);
        let stages = json["seconds_by_stage"].as_object().unwrap();
        assert_eq!(stages.len(), 4);
        assert_eq!(stages["EvalMod"], report.seconds_by_stage[3].1);
        assert_eq!(json["range_violations"], 0);
        assert_eq!(record.range_warning(), None);
        assert!(!json["profile"].as_array().unwrap().is_empty());

        let table = record.to_string();
        for part in [
            "small: N = 2^8, log QP",
            "without security",
            "128 slots",
            "3 ciphertexts on 2 threads",
            "us per slot",
            "us per output bit",
            "cannot happen",
            "EvalMod",
            "operation",
        ] {
            assert!(table.contains(part), "{part:?} is not in\n{table}");
        }
        let without = PrecisionRecord::new("small", report, false);
        assert!(!without.to_string().contains("operation"));
        assert_eq!(serde_json::to_value(&without).unwrap().get("profile"), None);
    }

    #[test]
    fn a_function_is_told_with_its_distance_from_what_it_stands_for() {
        let literal = BootstrapLiteral {
            slots_to_coeffs_levels: 2,
            coeffs_to_slots_levels: 2,
            log_message_ratio: 2.5f64.log2(),
            reduction: Reduction::Fourier(FourierLiteral {
                degree: 31,
                squarings: 3,
                function: RefreshFunction::Relu,
                harmonics: 15,
            }),
            ..BootstrapLiteral::full_complex(8)
        };
        let report = on_threads(1, || {
            let mut rng = ChaCha20Rng::seed_from_u64(9);
            let silent = pipeline::progress::Silent;
            measure(&over_small_ring(literal), 1, &mut rng, &silent).unwrap()
        });
        let record = PrecisionRecord::new("small", report, false);
        let json: Value = serde_json::to_value(&record).unwrap();
        assert_eq!(json["function"], "relu");
        // At the kink, of 15 harmonics: docs/notes/bootstrapping.md.
        let error = json["function_error"].as_f64().unwrap();
        assert!((0.0057..0.0059).contains(&error), "{error}");
        assert!(json["mean_bits"].as_f64().unwrap() > 25.0);
        let table = record.to_string();
        assert!(table.contains("relu, by a series that is 0.00"), "{table}");
    }

    #[test]
    fn violations_of_the_range_are_told() {
        let report = on_threads(1, || {
            let mut rng = ChaCha20Rng::seed_from_u64(6);
            measure(&small(), 1, &mut rng, &pipeline::progress::Silent).unwrap()
        });
        let spoilt = PrecisionReport {
            range_violations: 2,
            ..report
        };
        let record = PrecisionRecord::new("small", spoilt, false);
        let warning = record.range_warning().unwrap();
        assert!(warning.starts_with("warning: 2 of 256 values"), "{warning}");
        assert!(record.to_string().contains(&warning));
    }

    #[test]
    fn what_does_not_fit_into_memory_is_refused_with_what_would() {
        let params = small();
        on_threads(2, || {
            let error = check_memory("small", &params, 5, 1 << 20).unwrap_err();
            let CliError::PrecisionMemory { needed, least, .. } = error else {
                panic!("{error}")
            };
            assert!(least < needed);
            assert_eq!(error.exit_code(), 4);
            let refused = |ciphertexts, memory| {
                let error = check_memory("small", &params, ciphertexts, memory);
                matches!(error, Err(CliError::PrecisionMemory { .. }))
            };
            assert!(refused(5, needed - 1));
            check_memory("small", &params, 5, needed).unwrap();
            // One ciphertext is refreshed by one thread.
            check_memory("small", &params, 1, least).unwrap();
            // The errors of very many values fill every memory.
            assert!(refused(usize::MAX, u64::MAX - 1));
            // The prediction is a bound on what the pool holds.
            let pool = params.scheme().pool();
            pool.set_budget(Some(needed - outside_pool_bytes(&params, 5)));
            let mut rng = ChaCha20Rng::seed_from_u64(7);
            measure(&params, 2, &mut rng, &pipeline::progress::Silent).unwrap();
        });
    }

    #[test]
    fn an_exhausted_pool_is_not_an_internal_error() {
        let params = small();
        params.scheme().pool().set_budget(Some(1 << 20));
        let error = CliError::from(CosineBootstrapper::new(&params).map(drop).map_or_else(
            |error| error,
            |()| {
                let mut rng = ChaCha20Rng::seed_from_u64(8);
                measure(&params, 1, &mut rng, &pipeline::progress::Silent).unwrap_err()
            },
        ));
        assert_eq!(error.exit_code(), 4, "{error}");
    }
}
