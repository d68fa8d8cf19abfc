//! Client and server in this process.

use std::time::Instant;

use he_models::Model;

use super::{InferenceError, Made, Options, Run, Watch, check_run, make_keys};
use crate::checkpoint::Begun;
use crate::planner::Planned;
use crate::progress::Progress;
use crate::report::StageReport;
use crate::screening::Inputs;
use crate::server::{Server, add_stages, run_group, warm_up};
use crate::system;

pub(super) fn run_encrypted(
    model: &Model,
    planned: &Planned,
    inputs: &Inputs<'_>,
    logits: &mut Vec<f64>,
    (options, watch): (Options, &mut Watch<'_>),
    progress: &dyn Progress,
) -> Result<Run, InferenceError> {
    let Planned { plan, instance } = planned;
    let (params, batch) = (&instance.params, inputs.batch());
    if let Some(checkpoint) = &mut watch.checkpoint {
        check_run(checkpoint, inputs, &instance.prepared, options)?;
    }
    let warmup = warm_up(params, plan.forecast.pool_bytes, progress)?;
    watch.phase("memory");
    let kept = watch.checkpoint.as_deref();
    let Made {
        spec,
        mut client,
        keys,
        seconds: keygen,
    } = make_keys(model, planned, options.seed, kept, progress)?;
    watch.phase("keys");

    let server = Server::new(planned, &spec, keys)?;
    if let Some(recording) = &watch.recording {
        recording.watch(server.evaluator());
    }
    if let Some(checkpoint) = &mut watch.checkpoint {
        checkpoint.begin(&plan.decisions, server.key())?;
    }
    let executors = server.executors()?;
    let (mut encrypt, mut infer, mut decrypt) = (0.0, 0.0, 0.0);
    let mut processor = Some(0.0);
    let mut stages: Vec<StageReport> = Vec::new();
    let mut pool_high_water_bytes = 0;
    let groups = instance.grouping().groups(batch.images);
    for (number, group) in groups.enumerate() {
        let executor = executors.of_group(&group);
        let images = inputs.read(group.range.clone())?;
        let kept = watch.checkpoint.as_deref_mut();
        let mut kept = kept.map(|checkpoint| server.group(checkpoint, number, &group));
        let found = kept.as_mut().map(|kept| kept.find(executor, progress));
        let found = found.transpose()?.flatten();
        let begun = if let Some(begun) = found {
            client.skip_group();
            begun
        } else {
            let start = Instant::now();
            let encrypted = client.encrypt_group(&images, &group)?;
            encrypt += start.elapsed().as_secs_f64();
            Begun::at(executor.begin(encrypted)?)
        };

        // The server starts the measurement anew for each of its stages.
        pool_high_water_bytes = params.pool().high_water_bytes().max(pool_high_water_bytes);
        let mut recording = watch.recording.as_deref_mut();
        if let Some(recording) = &mut recording {
            recording.phase("encryption");
            recording.group(number, group.is_last);
        }
        let before = system::seconds_processor();
        let done = run_group(begun, kept, recording, progress)?;
        infer += done.seconds;
        let of_group = system::seconds_processor().zip(before);
        processor = processor
            .zip(of_group)
            .map(|(all, (after, before))| all + after - before);
        add_stages(&mut stages, done.stages);

        let start = Instant::now();
        logits.extend(client.decrypt(&done.logits, images.n)?.data);
        decrypt += start.elapsed().as_secs_f64();
        watch.phase("decryption");
    }
    if let Some(recording) = &mut watch.recording {
        recording.collect(server.evaluator());
    }
    pool_high_water_bytes = stages
        .iter()
        .map(|s| s.bytes)
        .fold(pool_high_water_bytes, u64::max)
        .max(params.pool().high_water_bytes());
    Ok(Run {
        pool_high_water_bytes,
        stages,
        keygen,
        warmup,
        encrypt,
        infer,
        processor,
        decrypt,
        profile: options.profile.then(|| server.operations()),
    })
}
