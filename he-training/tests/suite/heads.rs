use ckks_scheme::serial::{CiphertextReader, CiphertextWriter};
use ckks_scheme::{BootstrapParams, Ciphertext, KeyId, KeyRequest};
use he_training::{
    Client, Examples, FeatureLayout, Forecast, Head, Moments, Ridge, Softmax, SoftmaxRun, Trainer,
    Weights, accuracy, logistic_regression, ridge_keys, scale_of, softmax_keys,
};

use crate::lab::{blobs, client, refreshes, refreshes_at, two_sides};

/// Levels that a refresh gives back: those of the preset `n16-precise`.
const LEVELS: usize = 8;

/// Scores of images that the training has not seen, by the encrypted head, are those of the clear one.
fn check_scores(client: &mut Client<'_>, trainer: &Trainer, head: &Head, unseen: &Examples) -> f64 {
    let weights = client.decrypt_head(head).unwrap();
    let head = trainer.spread(head).unwrap();
    let spread = client.decrypt_head(&head).unwrap();
    assert!(weights.difference(&spread) < 1e-6);
    let features = client.encrypt_features(unseen.rows()).unwrap();
    let scores = trainer.scores(&head, &features).unwrap();
    let scores = client.decrypt_scores(&scores, unseen.images()).unwrap();
    let expected = weights.scores(unseen.rows());
    for (found, expected) in scores.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5 * (1.0 + weights.largest()));
    }
    accuracy(&scores, unseen.classes(), unseen.labels())
}

/// A head classifies what it was trained on nearly as well as logistic regression does, whatever its clear twin does.
fn check_learning(head: &Weights, examples: &Examples) {
    let best = logistic_regression(examples, 0.01, 1e-6, 5000).accuracy(examples);
    let found = head.accuracy(examples);
    println!("accuracy {found}, of logistic regression {best}");
    assert!(best > 0.8, "{best}");
    assert!(found > best - 0.1, "{found} {best}");
}

/// What is in the pool at once is no more than was forecast, and the client's secret key.
fn check_memory(params: &BootstrapParams, forecast: &Forecast) {
    let scheme = params.scheme();
    let primes = scheme.chain().literal();
    let secret = (primes.q_bits.len() + primes.p_bits.len()) as u64 * scheme.limb_bytes();
    let (found, most) = (
        scheme.pool().high_water_bytes(),
        forecast.pool_bytes() + secret,
    );
    println!(
        "pool {found} bytes of {most}: keys {}, matrices {}, ciphertexts {}",
        forecast.key_bytes, forecast.matrix_bytes, forecast.ciphertext_bytes
    );
    assert!(found <= most, "{found} {most}");
}

/// Examples to train on in groups as large as a layout holds, and others.
fn examples(layout: &FeatureLayout, groups: usize) -> (Vec<Examples>, Examples, f64) {
    let all = blobs(
        (groups + 1) * layout.capacity() - 5,
        layout.features(),
        layout.classes(),
    );
    let mut groups: Vec<Examples> = all.groups(layout.capacity()).collect();
    let unseen = groups.pop().unwrap();
    (groups, unseen, all.largest_norm())
}

/// All groups, one after the other.
fn joined(groups: &[Examples]) -> Examples {
    let rows = groups.iter().flat_map(|g| g.rows().to_vec()).collect();
    let labels = groups.iter().flat_map(|g| g.labels().to_vec()).collect();
    Examples::new(groups[0].features(), groups[0].classes(), rows, labels).unwrap()
}

fn ridge_end_to_end(layout: FeatureLayout, bias: bool) {
    let log_n = 10;
    let (groups, unseen, norm) = examples(&layout, 2);
    let all = joined(&groups);
    let ridge = Ridge {
        regularisation: 0.01,
        norm_bound: norm,
        rms_bound: 1.1 * all.rms_norm(),
        tolerance: 0.01,
        bias,
    };
    let params = refreshes(log_n, LEVELS);
    let keys = ridge_keys(&ridge, &layout, params.output_level()).unwrap();
    let (secret, trainer) = two_sides(&params, layout, &keys).unwrap();
    let mut client = client(&secret, &params, layout);
    let mut moments = Moments::new(&trainer);
    for group in &groups {
        moments.add(&client.encrypt(group).unwrap()).unwrap();
    }
    let mut iterations = 0;
    let head = ridge
        .solve(moments, &trainer, |done| iterations = done)
        .unwrap();
    assert_eq!(iterations, ridge.iterations().unwrap().len());
    // Several cycles between refreshes.
    assert!(trainer.refreshes() >= 2, "{}", trainer.refreshes());

    // However many iterations there were, errors are not foretold to be larger than weights.
    for block in head.blocks() {
        let bound = block.tracked().error_bound() / ridge.weight_bound();
        assert!(bound < 4.0, "{bound}");
    }

    let clear = ridge.train_clear(&all).unwrap();
    let threads = rayon::current_num_threads();
    let forecast = ridge.forecast(&layout, groups.len(), &params, threads);
    let forecast = forecast.unwrap();
    check_memory(&params, &forecast);
    assert_eq!(
        (forecast.steps, forecast.refreshes),
        (iterations, trainer.refreshes())
    );
    let found = client.decrypt_head(&head).unwrap();
    let difference = clear.difference(&found);
    println!(
        "ridge, {} iterations, {} refreshes: {difference:e}",
        iterations,
        trainer.refreshes()
    );
    assert!(difference < 1e-3, "{difference}");
    check_learning(&found, &all);
    let accuracy = check_scores(&mut client, &trainer, &head, &unseen);
    assert_eq!(accuracy, clear.accuracy(&unseen));
}

#[test]
fn ridge_head_is_that_of_the_clear_twin() {
    ridge_end_to_end(FeatureLayout::new(512, 64, 7, 3).unwrap(), true);
}

#[test]
fn ridge_head_without_a_bias_is_that_of_the_clear_twin() {
    ridge_end_to_end(FeatureLayout::new(512, 64, 8, 3).unwrap(), false);
}

#[test]
fn ridge_head_on_features_of_two_ciphertexts_is_that_of_the_clear_twin() {
    ridge_end_to_end(FeatureLayout::new(512, 64, 13, 3).unwrap(), true);
}

/// Settings of the small trainings. The bound of the norm is in units of the largest that there is.
const SMALL: Softmax = Softmax {
    rate: 1.0,
    momentum: 0.7,
    decay: 0.02,
    norm_bound: 1.0,
    epochs: 3,
    step_groups: 1,
    tolerance: 0.01,
    bias: true,
    constant: 1.0,
};

/// Largest difference of a weight from the clear twin's, relative to the largest.
fn softmax_end_to_end(layout: FeatureLayout, groups: usize, settings: Softmax) -> f64 {
    let log_n = 10;
    let (groups, unseen, norm) = examples(&layout, groups);
    let softmax = Softmax {
        norm_bound: settings.norm_bound * norm,
        ..settings
    };
    let step_groups = softmax.step_groups;
    let params = refreshes(log_n, LEVELS);
    let keys = softmax_keys(&softmax, &layout, groups.len(), &params).unwrap();
    let (secret, trainer) = two_sides(&params, layout, &keys).unwrap();
    let mut client = client(&secret, &params, layout);
    let encrypted: Vec<_> = groups.iter().map(|g| client.encrypt(g).unwrap()).collect();
    let all = joined(&groups);
    let batches: Vec<Examples> = all.groups(layout.capacity() * step_groups).collect();
    let mut clear_steps = Vec::new();
    let clear = softmax
        .train_clear(&batches, |_, w| clear_steps.push(w.clone()))
        .unwrap();

    let mut run = softmax.begin(&trainer, encrypted.len()).unwrap();
    while run.done() < run.steps() {
        run.step(&encrypted[run.next_groups()]).unwrap();
    }
    assert!(run.step(&encrypted).is_err());
    assert_eq!(clear_steps.len(), run.steps());
    let head = run.finish().unwrap();
    let threads = rayon::current_num_threads();
    let forecast = softmax.forecast(&layout, groups.len(), &params, threads);
    let forecast = forecast.unwrap();
    check_memory(&params, &forecast);
    let counted = (clear_steps.len(), trainer.refreshes());
    assert_eq!((forecast.steps, forecast.refreshes), counted);
    let found = client.decrypt_head(&head).unwrap();
    let difference = clear.difference(&found);
    println!(
        "softmax, {} steps, {} refreshes: {difference:e}",
        clear_steps.len(),
        trainer.refreshes()
    );
    assert!(difference < 1e-3, "{difference}");
    check_learning(&found, &all);
    let accuracy = check_scores(&mut client, &trainer, &head, &unseen);
    assert_eq!(accuracy, clear.accuracy(&unseen));
    difference
}

#[test]
fn softmax_head_is_that_of_the_clear_twin() {
    softmax_end_to_end(FeatureLayout::new(512, 64, 7, 3).unwrap(), 2, SMALL);
}

#[test]
fn softmax_errors_of_refreshed_weights_are_not_carried_on_by_momentum() {
    let settings = Softmax {
        momentum: 0.95,
        epochs: 15,
        ..SMALL
    };
    let layout = FeatureLayout::new(512, 64, 7, 3).unwrap();
    let difference = softmax_end_to_end(layout, 2, settings);
    // Of the look-ahead weights instead of the lead: 1.5e-5.
    assert!(difference < 8e-6, "{difference}");
}

#[test]
fn softmax_head_whose_scores_might_be_much_larger_is_that_of_the_clear_twin() {
    // 15 squares: what is off before them is doubled so often.
    let settings = Softmax {
        norm_bound: 30.0,
        ..SMALL
    };
    let layout = FeatureLayout::new(512, 64, 7, 3).unwrap();
    let difference = softmax_end_to_end(layout, 2, settings);
    // Refreshed after squares instead of before them: 1e-4.
    assert!(difference < 4.5e-5, "{difference}");
}

#[test]
fn softmax_head_without_a_bias_on_two_groups_at_a_time_is_that_of_the_clear_twin() {
    // The last mini-batch of an epoch is one group.
    let settings = Softmax {
        step_groups: 2,
        bias: false,
        ..SMALL
    };
    softmax_end_to_end(FeatureLayout::new(512, 64, 7, 3).unwrap(), 3, settings);
}

#[test]
fn softmax_head_on_features_of_two_ciphertexts_is_that_of_the_clear_twin() {
    let settings = Softmax {
        step_groups: 2,
        ..SMALL
    };
    softmax_end_to_end(FeatureLayout::new(512, 32, 20, 4).unwrap(), 3, settings);
}

#[test]
fn softmax_head_whose_weights_fill_two_ciphertexts_is_that_of_the_clear_twin() {
    // 2 blocks side by side, of 3 and the bias.
    let layout = FeatureLayout::new(512, 16, 90, 5).unwrap();
    let settings = Softmax {
        epochs: 5,
        constant: 0.6,
        ..SMALL
    };
    assert_eq!((layout.blocks(), settings.packs(&layout)), (3, 2));
    softmax_end_to_end(layout, 2, settings);
}

/// What comes back of ciphertexts that were written to a file.
fn stored(state: &[Ciphertext], params: &BootstrapParams, key: KeyId) -> Vec<Ciphertext> {
    let (params, count) = (params.scheme(), state.len() as u64);
    let mut file = CiphertextWriter::new(Vec::new(), params, key, b"", count).unwrap();
    state.iter().for_each(|ct| file.push(ct).unwrap());
    let file = file.finish().unwrap();
    let read = CiphertextReader::new(&file[..], params, key).unwrap();
    read.collect::<Result<_, _>>().unwrap()
}

#[test]
fn softmax_that_goes_on_after_any_step_gives_the_same_head_to_the_last_bit() {
    // Weights in two ciphertexts.
    let layout = FeatureLayout::new(512, 16, 90, 5).unwrap();
    let (groups, _, norm_bound) = examples(&layout, 2);
    let softmax = Softmax {
        norm_bound,
        epochs: 2,
        ..SMALL
    };
    let params = refreshes(10, LEVELS);
    let keys = softmax_keys(&softmax, &layout, groups.len(), &params).unwrap();
    let (secret, trainer) = two_sides(&params, layout, &keys).unwrap();
    let mut client = client(&secret, &params, layout);
    let groups: Vec<_> = groups.iter().map(|g| client.encrypt(g).unwrap()).collect();
    let finished = |mut run: SoftmaxRun<'_>| {
        let mut states = vec![stored(run.state(), &params, secret.id())];
        while run.done() < run.steps() {
            run.step(&groups[run.next_groups()]).unwrap();
            states.push(stored(run.state(), &params, secret.id()));
        }
        let head = run.finish().unwrap();
        let mut bytes = Vec::new();
        for block in head.blocks() {
            let key = secret.id();
            block.write_to(params.scheme(), key, &mut bytes).unwrap();
        }
        (client.decrypt_head(&head).unwrap(), bytes, states)
    };
    let count = groups.len();
    let resume = |done, state| softmax.resume(&trainer, count, done, state);
    let (weights, bytes, states) = finished(softmax.begin(&trainer, count).unwrap());
    assert_eq!(states.len(), 5);
    for (done, state) in states.into_iter().enumerate() {
        let (again, same, _) = finished(resume(done, state).unwrap());
        assert_eq!(again, weights, "after step {done}");
        assert!(same == bytes, "after step {done}");
    }
}

#[test]
fn what_is_no_state_of_a_training_is_refused() {
    let layout = FeatureLayout::new(512, 64, 7, 3).unwrap();
    let params = refreshes(10, LEVELS);
    let (secret, trainer) = two_sides(&params, layout, &KeyRequest::new()).unwrap();
    let fresh = || {
        let run = SMALL.begin(&trainer, 2).unwrap();
        stored(run.state(), &params, secret.id())
    };
    let says = |done, state| {
        let resumed = SMALL.resume(&trainer, 2, done, state);
        resumed.map(|_| ()).unwrap_err().to_string()
    };
    assert!(SMALL.resume(&trainer, 2, 0, fresh()).is_ok());
    assert!(says(0, Vec::new()).contains("0 ciphertexts of weights, expected 1"));
    assert!(says(7, fresh()).contains("steps that are done is 7, expected 6 at most"));
    // Between two steps weights stand lower than at the beginning.
    assert!(says(1, fresh()).contains("level of weights"));
    let mut scaled = fresh();
    scaled[0].reinterpret(1.5);
    assert!(says(0, scaled).contains("scale of weights"));
}

#[test]
fn what_does_not_fit_a_training_is_refused() {
    let layout = FeatureLayout::new(512, 64, 7, 3).unwrap();
    let params = refreshes(10, LEVELS);
    let (_, trainer) = two_sides(&params, layout, &KeyRequest::new()).unwrap();
    let softmax = Softmax::default();
    assert!(softmax.begin(&trainer, 0).is_err());
    let none = Ridge::default().solve(Moments::new(&trainer), &trainer, |_| {});
    assert_eq!(
        none.unwrap_err().to_string(),
        "training: 0 images, expected 1"
    );
    let short = refreshes(10, 3);
    assert!(softmax_keys(&softmax, &layout, 2, &short).is_err());
}

#[test]
fn primes_that_would_use_up_the_scale_are_refused() {
    assert!(scale_of(&refreshes(10, LEVELS)).is_ok());
    let error = scale_of(&refreshes_at(10, LEVELS, 43.0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "training: bits of the largest prime between the levels of the refreshes is 50.0, expected at most one more than the scale's 43.0"
    );
}
