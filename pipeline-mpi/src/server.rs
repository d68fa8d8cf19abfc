//! A server: every rank but the first. It holds no secret key.

use std::mem;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use mpi::Rank;
use pipeline::ckks_scheme::EvaluationKeys;
use pipeline::ckks_scheme::exec::KernelChoice;
use pipeline::ckks_scheme::serial::refuse_secrets;
use pipeline::exchange::{ClientSpec, ExchangeError};
use pipeline::he_layers::Share;
use pipeline::he_models::Model;
use pipeline::plan::Plan;
use pipeline::planner::{self, Machine, PlanError, Planned, Task};
use pipeline::progress::Silent;
use pipeline::server::{Server, warm_up};
use pipeline::system;

use crate::args::InferArgs;
use crate::error::RankError;
use crate::exchange::Servers;
use crate::link::Link;
use crate::words::{Done, Exchanged, Facts, Farewell, Order, Ready, Split};

/// The client's rank.
const CLIENT: Rank = 0;
/// For orders out of turn.
const UNEXPECTED: RankError = RankError::Words("the next order");

/// Serves until the client has no more groups. `servers` links the servers among themselves.
///
/// # Errors
/// [`RankError`].
pub fn serve(
    world: &Link,
    servers: &Link,
    args: &InferArgs,
    facts: &Facts,
) -> Result<(), RankError> {
    world.say(CLIENT, facts);
    let Order::Plan {
        plan,
        split,
        rotating,
    } = world.hear(CLIENT)?
    else {
        return Err(UNEXPECTED);
    };
    let model = Model::open(&args.model.model)?;
    let (part, parts) = (servers.rank() as usize, servers.size() as usize);
    let share = Share::new(part, parts, rotating).expect("a rank is below the number of ranks");
    let of_groups = (split == Split::Channels).then_some(share);
    let planned = obeyed(
        &plan,
        &model,
        &facts.machine(args, of_groups)?,
        &args.kernel.choice(),
    )?;
    let (plan, instance) = (&planned.plan, &planned.instance);
    let params = &instance.params;
    let spec = ClientSpec::new(
        &plan.decisions,
        instance,
        model.classes(),
        model.conditioning(),
        None,
    );

    let order = world.hear(CLIENT)?;
    let start = Instant::now();
    let keys = match order {
        Order::KeysByBroadcast => {
            let mut listening = world.listen(CLIENT);
            let keys = EvaluationKeys::read_from(params, &mut listening);
            let keys = keys.map_err(ExchangeError::from)?;
            listening.finish()?;
            keys
        }
        Order::KeysIn(file) => {
            refuse_secrets(file.parent().unwrap_or(Path::new("."))).map_err(ExchangeError::from)?;
            EvaluationKeys::load(params, &file).map_err(ExchangeError::from)?
        }
        Order::Plan { .. } | Order::Group(_) | Order::End => return Err(UNEXPECTED),
    };
    let server = Server::new(&planned, &spec, keys)?;
    let seconds_keys = start.elapsed().as_secs_f64();
    let warmed = warm_up(params, plan.forecast.pool_bytes, &Silent);
    let seconds_warmup = warmed.map_err(ExchangeError::from)?;
    world.say(
        CLIENT,
        &Ready {
            seconds_keys,
            seconds_warmup,
        },
    );

    let mut exchange = Servers {
        link: servers,
        params,
        key: server.key(),
        exchanged: Exchanged::NOTHING,
    };
    loop {
        let number = match world.hear(CLIENT)? {
            Order::Group(number) => number,
            Order::End => break,
            Order::Plan { .. } | Order::KeysByBroadcast | Order::KeysIn(_) => {
                return Err(UNEXPECTED);
            }
        };
        let before = system::seconds_processor();
        let (images, group) = match split {
            Split::Groups => {
                let mut incoming = world.incoming(CLIENT);
                let images = server.read_images(&mut incoming, "rank 0")?;
                incoming.finish()?;
                images
            }
            Split::Channels => {
                let mut listening = world.listen(CLIENT);
                let images = server.read_images(&mut listening, "rank 0")?;
                listening.finish()?;
                images
            }
        };
        let start = Instant::now();
        let (logits, stages) = match split {
            Split::Groups => server.run_group(images, &group, &Silent)?,
            Split::Channels => server.run_shared(images, &group, share, &mut exchange)?,
        };
        let seconds = start.elapsed().as_secs_f64();
        let has_logits = split == Split::Groups || part == 0;
        let logits = has_logits.then(|| server.logits_to_bytes(&logits, &group));
        let logits = logits.transpose()?;
        let processor = system::seconds_processor().zip(before);
        let done = Done {
            group: number,
            stages,
            seconds,
            seconds_processor: processor.map(|(after, before)| after - before),
            exchanged: mem::replace(&mut exchange.exchanged, Exchanged::NOTHING),
        };
        world.say(CLIENT, &done);
        if let Some(logits) = logits {
            world.send(CLIENT, &logits);
        }
    }
    world.say(
        CLIENT,
        &Farewell {
            operations: server.operations(),
            peak_rss_bytes: system::peak_rss_bytes(),
            seconds_processor: system::seconds_processor(),
        },
    );
    Ok(())
}

/// The network, made ready for a plan in this rank's memory.
fn obeyed(
    plan: &str,
    model: &Model,
    machine: &Machine,
    kernel: &KernelChoice,
) -> Result<Planned, RankError> {
    let decisions = plan_from(plan)?.decisions;
    let batch = NonZeroUsize::new(decisions.batch).ok_or_else(|| PlanError::Foreign {
        what: "batch",
        found: "0".to_owned(),
        expected: "1 or more".to_owned(),
    })?;
    let lowered = model.lower()?;
    let task = Task {
        program: &lowered.program,
        checksum: &model.checksum_hex(),
        batch,
        max_logit_error: f64::INFINITY,
    };
    Ok(planner::obey(&decisions, &task, machine, kernel)?)
}

fn plan_from(text: &str) -> Result<Plan, RankError> {
    ron::from_str(text).map_err(|_| RankError::Words("a plan"))
}
