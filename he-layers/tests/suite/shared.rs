//! Runs that several processes make together, here threads: the same ciphertexts as one process's, to the last bit.

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use ckks_scheme::counts::Work;
use ckks_scheme::serial::Parcel;
use ckks_scheme::{Ciphertext, EvaluationKeys};
use he_layers::{
    Chw, Client, EncryptedTensor, Evaluator, Exchange, Grid, LayerError, Packing, Partial,
    PreparedProgram, Rotating, Share,
};

use crate::counts::predicted_of;
use crate::lab::{Lab, residual_network, threads};

/// Ciphertexts by channels: what each process gets from each.
struct Wires {
    part: usize,
    to: Vec<Sender<Partial>>,
    from: Vec<Receiver<Partial>>,
    /// Limbs that came to this process.
    received: usize,
}

fn limbs(ct: &Ciphertext) -> usize {
    ct.parts() * ct.level().limbs()
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
            return Ok(self.receive(owner)?.sums);
        };
        let others = self.to.iter().enumerate();
        for (_, to) in others.filter(|(part, _)| *part != owner) {
            to.send(Partial {
                sums: copies(&own),
                errors: Vec::new(),
            })?;
        }
        Ok(own)
    }

    fn swap(&mut self, given: Vec<Partial>) -> Result<Vec<Partial>, Box<dyn Error + Send + Sync>> {
        assert_eq!(given.len(), self.to.len());
        let own = &given[self.part];
        assert!(own.sums.is_empty() && own.errors.is_empty());
        for (to, given) in self.to.iter().zip(given) {
            to.send(given)?;
        }
        (0..self.from.len())
            .map(|from| self.receive(from))
            .collect()
    }
}

impl Wires {
    fn receive(&mut self, from: usize) -> Result<Partial, Box<dyn Error + Send + Sync>> {
        let partial = self.from[from].recv()?;
        self.received += partial.sums.iter().map(limbs).sum::<usize>();
        Ok(partial)
    }
}

/// Wires between `parts` processes.
fn wires(parts: usize) -> Vec<Wires> {
    let mut wires: Vec<Wires> = (0..parts)
        .map(|part| Wires {
            part,
            to: Vec::new(),
            from: Vec::new(),
            received: 0,
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

/// All residues of a tensor, and the largest predicted error.
fn residues(lab: &Lab, keys: &EvaluationKeys, y: &EncryptedTensor) -> (Vec<u8>, f64) {
    let (mut bytes, mut error) = (Vec::new(), 0f64);
    for ct in y.ciphertexts() {
        let mut parcel = Parcel::pack(ct.try_clone().unwrap(), &lab.params, keys.id()).unwrap();
        parcel
            .limbs()
            .for_each(|limb| bytes.extend_from_slice(limb));
        error = error.max(ct.tracked().error_bound());
    }
    (bytes, error)
}

/// What one process of several got and did.
struct Part {
    y: Vec<u8>,
    error: f64,
    received: usize,
    work: Work,
}

/// Compares runs by 1, 2, 3 and 5 processes with the run of one: the ciphertexts, and the work and the limbs that are predicted of
/// each process.
pub fn check_shared(lab: &mut Lab, prepared: &PreparedProgram, at_a_time: usize) {
    let x = lab.images(prepared);
    let (mut client, keys) = Client::new(&lab.params, prepared, &mut lab.rng).unwrap();
    let keys = Arc::new(keys);
    let x = client.encrypt(&x).unwrap();
    let input = || EncryptedTensor::new(x.spec().clone(), copies(x.ciphertexts())).unwrap();
    let server = Evaluator::new(&lab.params, keys.clone());
    let expected = threads(2).install(|| prepared.forward(&server, input(), at_a_time));
    let (expected, expected_error) = residues(lab, &keys, &expected.unwrap());
    for (parts, rotating) in [1, 2, 3, 5]
        .into_iter()
        .flat_map(|parts| [Rotating::Everywhere, Rotating::Once].map(|r| (parts, r)))
    {
        let of_part = |part| Share::new(part, parts, rotating).unwrap();
        let run = |mut wires: Wires| {
            let server = Evaluator::new(&lab.params, keys.clone());
            let mut run = prepared.begin_share(&server, input(), of_part(wires.part))?;
            while !run.is_done() {
                run.step_shared(at_a_time, &mut wires)?;
            }
            let y = run.finish_shared(&mut wires)?;
            let (y, error) = residues(lab, &keys, &y);
            Ok::<_, LayerError>(Part {
                y,
                error,
                received: wires.received,
                work: server.profile().work(),
            })
        };
        let done: Vec<Part> = thread::scope(|scope| {
            let start = |wires| scope.spawn(move || threads(1).install(|| run(wires)).unwrap());
            let running: Vec<_> = wires(parts).into_iter().map(start).collect();
            running.into_iter().map(|run| run.join().unwrap()).collect()
        });
        for (part, done) in done.iter().enumerate() {
            let what = format!("{part} of {parts}, {at_a_time} blocks, {rotating:?}");
            assert!(done.y == expected, "{what}");
            // What is predicted for some inputs at a time is not quite what is predicted for all of them.
            let error = done.error / expected_error;
            match rotating {
                Rotating::Everywhere => assert_eq!(error, 1.0, "{what}"),
                Rotating::Once => assert!((0.9..1.5).contains(&error), "{error}: {what}"),
            }
            let predicted = predicted_of(lab, prepared, at_a_time, of_part(part));
            // What a refresh does is not predicted here.
            if prepared.refreshes() == 0 {
                assert_eq!(done.work, predicted, "{what}");
            }
            let steps = 0..prepared.steps();
            let received = steps.map(|step| prepared.received_limbs(step, of_part(part)));
            assert_eq!(done.received, received.sum::<usize>(), "{what}");
            assert_eq!(done.received > 0, parts > 1, "{what}");
        }
        // Nothing is left out, and what is made once is not made twice, with two exceptions: rotations where there are fewer blocks
        // than processes, and the end of a sum of products, which there is for each part of the inputs.
        let mut steps = 0..prepared.steps();
        let has_few = steps.any(|step| prepared.step_input(step).layout.blocks() < parts);
        let work_of = |share, at_a_time| {
            let work = predicted_of(lab, prepared, at_a_time, share);
            [
                work.forward + work.inverse,
                work.conversion,
                work.inner_product,
                work.matrix_product,
            ]
        };
        let one = work_of(Share::whole(), at_a_time);
        let one_by_one = work_of(Share::whole(), 1)[3];
        let all = (0..parts).map(|part| work_of(of_part(part), at_a_time));
        for (at, one) in one.into_iter().enumerate() {
            let all: u64 = all.clone().map(|work| work[at]).sum();
            let words = format!("{at}: {all}, {one} in one process, {rotating:?}, {parts}");
            match rotating {
                _ if parts == 1 => assert_eq!(all, one, "{words}"),
                Rotating::Everywhere if at == 3 => assert_eq!(all, one, "{words}"),
                Rotating::Once if at == 3 => {
                    assert!((one..=one_by_one).contains(&all), "{words}, {one_by_one}");
                }
                Rotating::Everywhere => assert!(all > one, "{words}"),
                Rotating::Once if has_few => assert!(all >= one, "{words}"),
                Rotating::Once => assert_eq!(all, one, "{words}"),
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
    let share = Share::new(1, 2, Rotating::Everywhere).unwrap();
    assert_eq!(Share::new(2, 2, Rotating::Once), None);
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
