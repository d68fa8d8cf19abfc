//! Groups that servers elsewhere compute, here two of them in this process, on a small ring without security.

use std::path::Path;
use std::sync::Mutex;

use ckks_scheme::{EvaluationKeys, Parameters};
use he_layers::Packing;
use he_models::Model;
use pipeline::checkpoint::Checkpoint;
use pipeline::exchange::ClientSpec;
use pipeline::inference::{self, Batch, Finished, InferenceError, Options, Servers, ServersError};
use pipeline::planner::Planned;
use pipeline::progress::{Progress, Silent, Unit};
use pipeline::report::{InferReport, OperationReport};
use pipeline::server::Server;

use crate::sides::{images, planned, spec};
use crate::unequal::planned_with_last;

/// Three groups of 4, and 2 images that are left.
const IMAGES: usize = 2 * crate::sides::IMAGES;

/// Makes the network ready: all groups in one layout, or a last one in a layout of its own.
type Ready = fn(&Model) -> Planned;

fn equal(model: &Model) -> Planned {
    planned(model, Packing::Real)
}

/// Servers that compute when they are asked for results: the group that was dealt last comes back first.
struct Two<'a> {
    planned: &'a [Planned],
    spec: &'a ClientSpec,
    servers: Vec<Server<'a>>,
    dealt: Vec<(usize, Vec<u8>)>,
    /// Groups left when they began.
    left: Vec<usize>,
    /// Groups that come back before the connection is lost.
    answers: usize,
    /// Added to the number of every group that comes back.
    off: usize,
}

impl Servers for Two<'_> {
    fn begin(
        &mut self,
        params: &Parameters,
        keys: EvaluationKeys,
        left: &[usize],
    ) -> Result<(), ServersError> {
        let mut bytes = Vec::new();
        keys.write_to(params, &mut bytes)?;
        for planned in self.planned {
            let keys = EvaluationKeys::read_from(&planned.instance.params, &mut &bytes[..])?;
            self.servers.push(Server::new(planned, self.spec, keys)?);
        }
        self.left = left.to_vec();
        Ok(())
    }

    fn is_free(&self) -> bool {
        self.dealt.len() < self.servers.len()
    }

    fn deal(&mut self, group: usize, images: Vec<u8>) -> Result<(), ServersError> {
        assert!(self.is_free());
        self.dealt.push((group, images));
        Ok(())
    }

    fn collect(&mut self) -> Result<Finished, ServersError> {
        let left = self.answers.checked_sub(1);
        self.answers = left.ok_or("the connection is lost")?;
        let (group, images) = self.dealt.pop().unwrap();
        let server = &self.servers[self.dealt.len()];
        let (images, of_batch) = server.read_images(&images[..], "the client")?;
        let (logits, stages) = server.run_group(images, &of_batch, &Silent)?;
        Ok(Finished {
            group: group + self.off,
            server: format!("server {}", self.dealt.len()),
            logits: server.logits_to_bytes(&logits, &of_batch)?,
            stages,
            seconds: 1.0,
            seconds_processor: Some(2.0),
        })
    }

    fn end(&mut self) -> Result<Vec<OperationReport>, ServersError> {
        Ok(self.servers.iter().flat_map(Server::operations).collect())
    }
}

/// What a run told in sentences.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn stage(&self, _: &str) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn note(&self, sentence: &str) {
        self.0.lock().unwrap().push(sentence.to_owned());
    }
}

/// A run by two servers.
struct Done {
    report: Result<InferReport, InferenceError>,
    /// Groups that were left for the servers.
    left: Vec<usize>,
    notes: Vec<String>,
}

fn run(ready: Ready, seed: Option<u64>, dir: Option<&Path>, answers: usize) -> Done {
    run_off(ready, seed, dir, answers, 0)
}

/// As [`run`], with numbers of groups that are off by so many when they come back.
fn run_off(
    ready: Ready,
    seed: Option<u64>,
    dir: Option<&Path>,
    answers: usize,
    off: usize,
) -> Done {
    let model = Model::bundled("tiny").unwrap();
    let data = images();
    let batch = Batch {
        data: &data,
        first: 0,
        images: IMAGES,
    };
    let options = Options {
        seed,
        logits: true,
        profile: true,
        ..Options::default()
    };
    let of_servers = [ready(&model), ready(&model)];
    let spec = spec(&model, &of_servers[0]);
    let mut servers = Two {
        planned: &of_servers,
        spec: &spec,
        servers: Vec::new(),
        dealt: Vec::new(),
        left: Vec::new(),
        answers,
        off,
    };
    let notes = Notes::default();
    let mut checkpoint = dir.map(|dir| Checkpoint::open(dir).unwrap());
    let kept = checkpoint.as_mut();
    let report = inference::infer_dealt(
        &model,
        ready(&model),
        batch,
        options,
        kept,
        &mut servers,
        &notes,
    );
    Done {
        report,
        left: servers.left,
        notes: notes.0.into_inner().unwrap(),
    }
}

fn logits(report: &InferReport) -> Vec<f64> {
    let records = report.logits.iter().flatten();
    records.flat_map(|l| l.encrypted.clone().unwrap()).collect()
}

fn in_one_process(ready: Ready) -> InferReport {
    let model = Model::bundled("tiny").unwrap();
    let data = images();
    let batch = Batch {
        data: &data,
        first: 0,
        images: IMAGES,
    };
    let options = Options {
        seed: Some(5),
        logits: true,
        ..Options::default()
    };
    inference::infer(&model, ready(&model), batch, options, &Silent).unwrap()
}

#[test]
fn groups_of_servers_elsewhere_give_the_logits_of_one_process() {
    for ready in [equal as Ready, planned_with_last] {
        let expected = in_one_process(ready);
        let done = run(ready, Some(5), None, usize::MAX);
        let report = done.report.unwrap();
        assert_eq!(done.left, [0, 1, 2, 3]);
        assert!(done.notes.is_empty(), "{:?}", done.notes);
        assert_eq!(logits(&report), logits(&expected));
        assert_eq!(report.agreement, expected.agreement);
        let stages = |report: &InferReport| -> Vec<String> {
            report.stages.iter().map(|s| s.name.clone()).collect()
        };
        assert_eq!(stages(&report), stages(&expected));
        assert_eq!(report.seconds_processor_infer, Some(8.0));
        assert!(report.seconds_encrypt > 0.0 && report.seconds_decrypt > 0.0);
        let profile = report.profile.unwrap();
        assert!((profile.iter().map(|op| op.share).sum::<f64>() - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_run_whose_servers_vanish_goes_on_with_the_groups_that_are_left() {
    for (ready, seed) in [
        (equal as Ready, Some(5)),
        (equal, None),
        (planned_with_last, Some(5)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let lost = run(ready, seed, Some(dir.path()), 1);
        let error = lost.report.unwrap_err().to_string();
        assert_eq!(error, "servers: the connection is lost");
        let secret = dir.path().join("client/secret.key");
        assert_eq!(secret.exists(), seed.is_none());

        let done = run(ready, seed, Some(dir.path()), usize::MAX);
        let report = done.report.unwrap();
        // The second group came back first.
        assert_eq!((lost.left, done.left), (vec![0, 1, 2, 3], vec![0, 2, 3]));
        assert!(lost.notes.is_empty(), "{:?}", lost.notes);
        let said = "checkpoint: 1 of 4 groups are finished, left: 1, 3 to 4";
        assert_eq!(done.notes, [said]);
        assert_eq!(report.checkpoint.unwrap().groups_found, 1);
        match seed {
            Some(_) => assert_eq!(logits(&report), logits(&in_one_process(ready))),
            None => assert_eq!(report.agreement, 1.0),
        }
    }
}

#[test]
fn a_group_that_was_not_dealt_is_refused_by_its_number() {
    // The second group comes back first, as the fourth.
    let error = run_off(equal, Some(5), None, 1, 2).report.unwrap_err();
    let said = "servers: server 1 sent logits of group 4, which was not under way";
    assert_eq!(error.to_string(), said);
}
