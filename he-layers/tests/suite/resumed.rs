//! Runs that go on from a kept state.

use std::sync::Arc;

use ckks_scheme::{Ciphertext, Evaluator};
use he_layers::{
    Chw, Client, Grid, LayerError, MeanError, Packing, PlainTensor, PreparedProgram, Run, RunState,
};

use crate::lab::{Lab, residual_network};

/// What a file would hold.
fn kept(run: &Run<'_>) -> (RunState, Vec<Ciphertext>) {
    let ciphertexts = run.ciphertexts().map(|ct| ct.try_clone().unwrap());
    (run.state(), ciphertexts.collect())
}

fn resume<'a>(
    prepared: &'a PreparedProgram,
    server: &'a Evaluator,
    (state, ciphertexts): (RunState, Vec<Ciphertext>),
) -> Result<Run<'a>, LayerError> {
    prepared.resume(server, &state, ciphertexts.into_iter().map(Ok))
}

/// A run that is stopped and goes on from its state after each step gives what one without a stop gives, to the last bit.
pub fn check_resumed(lab: &mut Lab, prepared: &PreparedProgram, x: &PlainTensor) {
    let (mut client, keys) = Client::new(&lab.params, prepared, &mut lab.rng).unwrap();
    let server = Evaluator::new(&lab.params, Arc::new(keys));
    let images = client.encrypt(x).unwrap();
    let copies = images.ciphertexts().iter();
    let copies = copies.map(|ct| Ok::<_, LayerError>(ct.try_clone().unwrap()));
    let start = RunState {
        done: 0,
        corrections: Vec::new(),
    };
    let mut stopped = prepared.resume(&server, &start, copies).unwrap();
    while !stopped.is_done() {
        stopped.step(1).unwrap();
        let state = kept(&stopped);
        assert_eq!(state.0.done, stopped.done());
        assert_eq!(state.1.len(), prepared.ciphertexts_after(stopped.done()));
        stopped = resume(prepared, &server, state).unwrap();
    }
    let stopped = stopped.finish().unwrap();
    let whole = prepared.forward(&server, images, 1).unwrap();
    let logits = |y| client.decrypt(&y, x.n).unwrap().data;
    assert_eq!(logits(stopped), logits(whole));
}

#[test]
fn what_is_no_state_of_a_program_is_refused() {
    let mut lab = Lab::new(9, 7, 3);
    let program = residual_network(&mut lab.rng, 8, 6);
    let layout = lab.layout(Chw::new(3, 8, 8), Grid::new(4, 8), Packing::Complex);
    let prepared = program.prepare(&lab.preparation(layout)).unwrap();
    let x = lab.images(&prepared);
    check_resumed(&mut lab, &prepared, &x);

    let (mut client, keys) = Client::new(&lab.params, &prepared, &mut lab.rng).unwrap();
    let server = Evaluator::new(&lab.params, Arc::new(keys));
    let mut run = prepared
        .begin(&server, client.encrypt(&x).unwrap())
        .unwrap();
    // In the middle of a block: a tensor and sums.
    run.step(1).unwrap();
    run.step(1).unwrap();
    let (state, _) = kept(&run);
    assert!(!state.corrections.is_empty());
    let refused = |edit: &dyn Fn(&mut RunState, &mut Vec<Ciphertext>)| {
        let (mut state, mut ciphertexts) = kept(&run);
        edit(&mut state, &mut ciphertexts);
        let error = resume(&prepared, &server, (state, ciphertexts)).unwrap_err();
        error.to_string()
    };
    let all = prepared.ciphertexts_after(state.done);
    let one_less = refused(&|_, cts| drop(cts.pop()));
    let says = format!(
        "ciphertexts of a state: {} found, layout has {all}",
        all - 1
    );
    assert_eq!(one_less, says);
    let one_more = refused(&|_, cts| cts.push(cts[0].try_clone().unwrap()));
    let says = format!(
        "ciphertexts of a state: {} found, layout has {all}",
        all + 1
    );
    assert_eq!(one_more, says);
    let swapped = refused(&|_, cts| cts.swap(0, all - 1));
    assert!(
        swapped.contains("level") || swapped.contains("scale"),
        "{swapped}"
    );
    for edit in [
        &(|state: &mut RunState| {
            state.corrections.pop();
        }) as &dyn Fn(&mut RunState),
        &|state| state.corrections.push(MeanError::default()),
    ] {
        let words = refused(&|state, _| edit(state));
        assert!(words.starts_with("corrections of a state"), "{words}");
    }
    let too_far = refused(&|state, _| state.done = 1000);
    assert!(too_far.starts_with("steps that are done: "), "{too_far}");
    let other_step = refused(&|state, _| state.done = 1);
    let reasons = ["found", "level", "scale"];
    assert!(
        reasons.iter().any(|r| other_step.contains(r)),
        "{other_step}"
    );
}
