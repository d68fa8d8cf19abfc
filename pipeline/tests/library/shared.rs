//! A group that several servers run together, here threads, on a small ring without security.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, ThreadId};

use ckks_scheme::serial::{CiphertextReader, CiphertextWriter, Parcel};
use ckks_scheme::{Ciphertext, EvaluationKeys, KeyId, Parameters};
use he_layers::{EncryptedTensor, Exchange, MeanError, Packing, Partial, Rotating, Share};
use he_models::Model;
use pipeline::client::{Client, Randomness};
use pipeline::estimate::time::Together;
use pipeline::exchange::ClientSpec;
use pipeline::inference::Batch;
use pipeline::plan::FewerThreads;
use pipeline::planner::{Machine, Planned};
use pipeline::progress::Silent;
use pipeline::screening::Inputs;
use pipeline::server::Server;
use rayon::ThreadPoolBuilder;

use crate::networks::{GIB, machine};
use crate::sides::{Folder, images, refused, spec};
use crate::unequal::planned_on;

const PROCESSES: usize = 3;

/// Senders to and receivers from all processes.
type Ends = (Vec<Sender<Vec<u8>>>, Vec<Receiver<Vec<u8>>>);

/// What connects a process with the others, and belongs to one thread.
struct Wires<'a> {
    home: ThreadId,
    params: &'a Parameters,
    key: KeyId,
    ends: Ends,
}

impl Exchange for Wires<'_> {
    fn broadcast(
        &mut self,
        owner: usize,
        own: Option<Vec<Ciphertext>>,
    ) -> Result<Vec<Ciphertext>, Box<dyn Error + Send + Sync>> {
        assert_eq!(thread::current().id(), self.home);
        let (to, from) = &self.ends;
        let Some(own) = own else {
            let bytes = from[owner].recv()?;
            let reader = CiphertextReader::new(&bytes[..], self.params, self.key)?;
            return Ok(reader.collect::<Result<_, _>>()?);
        };
        let count = own.len() as u64;
        let mut writer = CiphertextWriter::new(Vec::new(), self.params, self.key, &[], count)?;
        own.iter().try_for_each(|ct| writer.push(ct))?;
        let bytes = writer.finish()?;
        for (_, to) in to.iter().enumerate().filter(|(part, _)| *part != owner) {
            to.send(bytes.clone())?;
        }
        Ok(own)
    }

    fn swap(&mut self, given: Vec<Partial>) -> Result<Vec<Partial>, Box<dyn Error + Send + Sync>> {
        assert_eq!(thread::current().id(), self.home);
        let (to, from) = &self.ends;
        for (to, partial) in to.iter().zip(given) {
            let numbers: Vec<u8> = partial
                .errors
                .iter()
                .flat_map(|e| e.to_le_bytes())
                .collect();
            let count = partial.sums.len() as u64;
            let file = Vec::new();
            let mut writer = CiphertextWriter::new(file, self.params, self.key, &numbers, count)?;
            partial.sums.iter().try_for_each(|ct| writer.push(ct))?;
            to.send(writer.finish()?)?;
        }
        let taken = from.iter().map(|from| {
            let bytes = from.recv()?;
            let reader = CiphertextReader::new(&bytes[..], self.params, self.key)?;
            let (numbers, _) = reader.metadata().as_chunks();
            Ok(Partial {
                errors: numbers
                    .iter()
                    .map(|n| MeanError::from_le_bytes(*n))
                    .collect(),
                sums: reader.collect::<Result<_, _>>()?,
            })
        });
        taken.collect()
    }
}

fn wires() -> Vec<Ends> {
    let mut wires: Vec<Ends> = (0..PROCESSES).map(|_| Ends::default()).collect();
    for from in 0..PROCESSES {
        for to in 0..PROCESSES {
            let (sender, receiver) = channel();
            wires[from].0.push(sender);
            wires[to].1.push(receiver);
        }
    }
    wires
}

/// The network for a process of several, with as many threads in every step; 0: all.
fn ready(model: &Model, threads: usize, share: Share) -> Planned {
    let machine = Machine {
        together: Some(Together {
            share,
            bytes_per_second: 1e9,
        }),
        ..machine(GIB)
    };
    let mut planned = planned_on(model, &machine);
    let forecast = &mut planned.plan.forecast;
    let last = forecast.last.iter_mut().flat_map(|last| &mut last.steps);
    for step in forecast.steps.iter_mut().chain(last) {
        step.fewer_threads = (threads > 0).then_some(FewerThreads::ThatFit(threads));
    }
    planned
}

/// What a client gives to a process that has two threads.
#[derive(Clone, Copy)]
struct Given<'a> {
    model: &'a Model,
    spec: &'a ClientSpec,
    keys: &'a [u8],
    /// Images of one group.
    file: &'a Path,
}

/// The logits that one process gives, as residues, alone or as one of several. No stage takes more of the pool than is forecast.
fn run(given: Given<'_>, threads_of_steps: usize, connected: Option<(Share, Ends)>) -> Vec<u8> {
    let share = connected
        .as_ref()
        .map_or(Share::whole(), |(share, _)| *share);
    let planned = ready(given.model, threads_of_steps, share);
    let params = &planned.instance.params;
    let keys = EvaluationKeys::read_from(params, &mut &given.keys[..]).unwrap();
    let server = Server::new(&planned, given.spec, keys).unwrap();
    let file = File::open(given.file).unwrap();
    let (images, group) = server.read_images(file, "the client").unwrap();
    let threads = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    threads.install(|| {
        let done = match connected {
            None => server.run_group(images, &group, &Silent),
            Some((share, ends)) => {
                let mut wires = Wires {
                    home: thread::current().id(),
                    params,
                    key: server.key(),
                    ends,
                };
                server.run_shared(images, &group, share, &mut wires)
            }
        };
        let (logits, stages) = done.unwrap();
        let forecast = &planned.plan.forecast;
        let steps = forecast.steps_of(group.is_last);
        for stage in stages {
            let of_stage = steps.iter().filter(|step| step.stage == stage.name);
            let most = of_stage.map(|step| step.pool_bytes).max().unwrap();
            let (name, found) = (&stage.name, stage.bytes);
            assert!(found <= most, "{name}: {found} bytes of {most}, {share:?}");
        }
        assert!(!server.logits_to_bytes(&logits, &group).unwrap().is_empty());
        residues(&logits, params, server.key())
    })
}

/// All residues of a tensor. Predicted errors are not among them: those of sums made part by part differ a little.
fn residues(tensor: &EncryptedTensor, params: &Parameters, key: KeyId) -> Vec<u8> {
    let mut bytes = Vec::new();
    for ct in tensor.ciphertexts() {
        let mut parcel = Parcel::pack(ct.try_clone().unwrap(), params, key).unwrap();
        parcel
            .limbs()
            .for_each(|limb| bytes.extend_from_slice(limb));
    }
    bytes
}

#[test]
fn servers_with_channel_blocks_of_their_own_give_the_logits_of_one() {
    let model = Model::bundled("tiny").unwrap();
    let planned = ready(&model, 0, Share::whole());
    let (spec, params) = (spec(&model, &planned), &planned.instance.params);
    let made = Client::generate(&spec, params, &mut Randomness::new(Some(4)));
    let (mut client, made) = made.unwrap();
    let mut keys = Vec::new();
    made.write_to(params, &mut keys).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("images");
    // A full group, and a last one in a layout of its own.
    for count in [4, 3] {
        let data = images();
        let batch = Batch {
            data: &data,
            first: 0,
            images: count,
        };
        let inputs = Inputs::of_client(batch, &spec.input);
        client.encrypt_file(&inputs, &file, &Silent).unwrap();
        let given = Given {
            model: &model,
            spec: &spec,
            keys: &keys,
            file: &file,
        };
        let expected = run(given, 0, None);
        assert!(run(given, 1, None) == expected, "steps of one thread");
        for (threads, rotating) in [
            (0, Rotating::Everywhere),
            (0, Rotating::Once),
            (1, Rotating::Once),
        ] {
            let all: Vec<Vec<u8>> = thread::scope(|scope| {
                let start = |connected| scope.spawn(move || run(given, threads, Some(connected)));
                let shares = (0..).map(|part| Share::new(part, PROCESSES, rotating).unwrap());
                let running: Vec<_> = shares.zip(wires()).map(start).collect();
                let joined = running.into_iter().map(|process| process.join().unwrap());
                joined.collect()
            });
            for (part, logits) in all.iter().enumerate() {
                let words = format!("process {part}, {count} images, {threads} threads a step");
                assert!(*logits == expected, "{words}");
            }
        }
    }
}

#[test]
fn more_images_than_a_group_has_room_for_are_refused() {
    let folder = Folder::new(Packing::Real, 6);
    let file = File::open(folder.encrypt(6)).unwrap();
    let read = folder.server().read_images(file, "the client");
    refused(
        read,
        "\"the client\": its number of images is 7, expected 1 to 4",
    );
}
