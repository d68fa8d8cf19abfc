//! Runs that several processes make together, here threads: the same ciphertexts as one process's, to the last bit.

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use ckks_scheme::{Ciphertext, EvaluationKeys};
use he_layers::{
    Chw, Client, EncryptedTensor, Evaluator, Exchange, Grid, LayerError, Packing, PreparedProgram,
    Share,
};

use crate::lab::{Lab, residual_network, threads};

/// Ciphertexts by channels: what each process gets from each.
struct Wires {
    part: usize,
    to: Vec<Sender<Vec<Ciphertext>>>,
    from: Vec<Receiver<Vec<Ciphertext>>>,
    /// Ciphertexts that this process gave.
    given: usize,
}

fn copies(ciphertexts: &[Ciphertext]) -> Vec<Ciphertext> {
    ciphertexts
        .iter()
        .map(|ct| ct.try_clone().unwrap())
        .collect()
}

impl Exchange for Wires {
    fn broadcast(
        &mut self,
        owner: usize,
        own: Option<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, Box<dyn Error + Send + Sync>> {
        assert_eq!(own.is_some(), owner == self.part);
        let Some(own) = own else {
            return Ok(self.from[owner].recv()?);
        };
        self.given += own.len();
        let others = self.to.iter().enumerate();
        for (_, to) in others.filter(|(part, _)| *part != owner) {
            to.send(copies(&own))?;
        }
        Ok(own)
    }
}

/// Wires between `parts` processes.
fn wires(parts: usize) -> Vec<Wires> {
    let mut wires: Vec<Wires> = (0..parts)
        .map(|part| Wires {
            part,
            to: Vec::new(),
            from: Vec::new(),
            given: 0,
        })
        .collect();
    for from in 0..parts {
        for to in 0..parts {
            let (sender, receiver) = channel();
            wires[from].to.push(sender);
            wires[to].from.push(receiver);
        }
    }
    wires
}

fn bytes(lab: &Lab, keys: &EvaluationKeys, y: &EncryptedTensor) -> Vec<u8> {
    let mut bytes = Vec::new();
    for ct in y.ciphertexts() {
        ct.write_to(&lab.params, keys.id(), &mut bytes).unwrap();
    }
    bytes
}

/// Compares runs by 1, 2, 3 and 5 processes with the run of one.
pub fn check_shared(lab: &mut Lab, prepared: &PreparedProgram, at_a_time: usize) {
    let x = lab.images(prepared);
    let (mut client, keys) = Client::new(&lab.params, prepared, &mut lab.rng).unwrap();
    let keys = Arc::new(keys);
    let x = client.encrypt(&x).unwrap();
    let input = || EncryptedTensor::new(x.spec().clone(), copies(x.ciphertexts())).unwrap();
    let server = Evaluator::new(&lab.params, keys.clone());
    let expected = threads(2).install(|| prepared.forward(&server, input(), at_a_time));
    let expected = bytes(lab, &keys, &expected.unwrap());
    for parts in [1, 2, 3, 5] {
        let run = |mut wires: Wires| {
            let share = Share::new(wires.part, parts).unwrap();
            let server = Evaluator::new(&lab.params, keys.clone());
            let mut run = prepared.begin_share(&server, input(), share)?;
            while !run.is_done() {
                run.step_shared(at_a_time, &mut wires)?;
            }
            let y = run.finish_shared(&mut wires)?;
            Ok::<_, LayerError>((bytes(lab, &keys, &y), wires.given))
        };
        let done: Vec<(Vec<u8>, usize)> = thread::scope(|scope| {
            let start = |wires| scope.spawn(move || threads(1).install(|| run(wires)).unwrap());
            let running: Vec<_> = wires(parts).into_iter().map(start).collect();
            running.into_iter().map(|run| run.join().unwrap()).collect()
        });
        for (part, (y, given)) in done.iter().enumerate() {
            assert!(
                *y == expected,
                "process {part} of {parts}, {at_a_time} blocks"
            );
            if part == 0 {
                assert_eq!(*given > 0, parts > 1, "{parts} processes");
            }
        }
    }
}

#[test]
fn processes_with_channel_blocks_of_their_own_make_the_run_of_one() {
    let mut lab = Lab::new(9, 7, 5);
    let program = residual_network(&mut lab.rng, 8, 6);
    for (packing, grid) in [
        (Packing::Real, Grid::new(8, 8)),
        (Packing::Complex, Grid::new(2, 4)),
    ] {
        let layout = lab.layout(Chw::new(3, 8, 8), grid, packing);
        let prepared = program.prepare(&lab.preparation(layout)).unwrap();
        for at_a_time in [1, 2, 64] {
            check_shared(&mut lab, &prepared, at_a_time);
        }
    }
}

#[test]
fn a_process_that_hears_nothing_says_of_whom() {
    let mut lab = Lab::new(9, 7, 5);
    let program = residual_network(&mut lab.rng, 8, 6);
    let layout = lab.layout(Chw::new(3, 8, 8), Grid::new(8, 8), Packing::Real);
    let prepared = program.prepare(&lab.preparation(layout)).unwrap();
    let images = lab.images(&prepared);
    let (mut client, keys) = Client::new(&lab.params, &prepared, &mut lab.rng).unwrap();
    let server = Evaluator::new(&lab.params, Arc::new(keys));
    let share = Share::new(1, 2).unwrap();
    assert_eq!(Share::new(2, 2), None);
    let mut own = wires(2).remove(1);
    let x = client.encrypt(&images).unwrap();
    let mut run = prepared.begin_share(&server, x, share).unwrap();
    let error = run.step(1).unwrap_err().to_string();
    assert!(error.contains("goes on with `step_shared`"), "{error}");
    let x = client.encrypt(&images).unwrap();
    let mut run = prepared.begin_share(&server, x, share).unwrap();
    // The other process is gone, and its ends of the wires with it.
    let error = run.step_shared(1, &mut own).unwrap_err().to_string();
    assert!(
        error.starts_with("program residual: ciphertexts of process 0 did not come: "),
        "{error}"
    );
}
