//! A network whose values are refreshed, end to end on a small ring without security.

use std::sync::Arc;

use ckks_scheme::{BootstrapLiteral, Evaluator};
use he_layers::{Client, Grid, Packing};
use pipeline::executor::Executor;
use pipeline::planner;
use pipeline::progress::Silent;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::networks::{GIB, Small, chain, machine, task};
use crate::runs::images;

#[test]
fn a_refreshed_network_is_right_within_its_estimates() {
    let program = chain("refreshed", 4, &[2, 4, 4, 3, 3, 3, 3]);
    let log_n = 10;
    let bootstrap = BootstrapLiteral::full_complex(log_n);
    // One level more than what follows the refresh takes.
    let user = 6 + bootstrap.input_levels();
    let q_bits = [vec![50], vec![43; user], vec![50; bootstrap.depth()]].concat();
    let small = Small {
        log_n,
        q_bits,
        refreshes: vec!["block1.conv".to_owned()],
        bootstrap: Some(bootstrap),
        ..Small::new(log_n, 0, Packing::Complex, Grid::new(4, 4))
    };
    let batch = 40;
    let (decisions, instance) = small.ready(&program, batch);
    let (params, prepared) = (&instance.params, &instance.prepared);
    let task = task(&program, batch);
    let plan = planner::forecast(&decisions, &instance, &task, &machine(4 * GIB)).unwrap();
    let forecast = &plan.forecast;
    assert!(forecast.bootstraps > 0 && forecast.matrix_bytes > 0);

    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let (mut client, keys) = Client::new(params, prepared, &mut rng).unwrap();
    let evaluator = Evaluator::new(params, Arc::new(keys));
    let x = images(&program, batch);
    let encrypted = client.encrypt(&x).unwrap();
    let executor = Executor::new(&evaluator, prepared, &forecast.steps).unwrap();
    let (logits, stages) = executor.run(encrypted, &Silent).unwrap();
    // The step with the refresh ends higher than it began.
    assert!(
        stages.iter().any(|s| s.level_out > s.level_in),
        "{stages:?}"
    );
    let most = stages.iter().map(|s| s.bytes).max().unwrap();
    assert!(
        most <= forecast.pool_bytes,
        "{most} of {}",
        forecast.pool_bytes
    );

    let found = client.decrypt(&logits, batch).unwrap();
    let error = |expected: &[f64]| {
        let pairs = found.data.iter().zip(expected);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    let errors = forecast.errors.unwrap();
    let exact = error(&program.forward_plain(&x).unwrap().data);
    let rounded = prepared.forward_rounded(&instance.program, &x).unwrap();
    let noise = error(&rounded.data);
    assert!(exact <= errors.total, "{exact} for {errors:?}");
    assert!(
        0.0 < noise && noise <= errors.noise,
        "{noise} for {errors:?}"
    );
    assert!(errors.total < 0.1 * errors.logit_std, "{errors:?}");
}
