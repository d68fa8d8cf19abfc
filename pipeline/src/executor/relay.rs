//! A share of a step on a pool of its own, whose exchanges stay on the calling thread: what carries them, MPI for one, may be
//! bound to it.

use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};

use ckks_scheme::Ciphertext;
use he_layers::{Exchange, LayerError, Run};
use rayon::ThreadPool;

type Exchanged = Result<Vec<Ciphertext>, Box<dyn Error + Send + Sync>>;

/// Asks the calling thread for what a step exchanges.
struct Relay {
    asked: Sender<(usize, Option<Vec<Ciphertext>>)>,
    answered: Receiver<Exchanged>,
}

impl Exchange for Relay {
    fn broadcast(&mut self, owner: usize, own: Option<Vec<Ciphertext>>) -> Exchanged {
        self.asked.send((owner, own))?;
        self.answered.recv()?
    }
}

/// Does this process's share of the next step on the threads of `pool`.
///
/// # Errors
/// As [`Run::step_shared`].
pub(super) fn step_in(
    pool: &ThreadPool,
    run: &mut Run<'_>,
    blocks_at_a_time: usize,
    exchange: &mut dyn Exchange,
) -> Result<(), LayerError> {
    let (asked, asks) = channel();
    let (answers, answered) = channel();
    let mut relay = Relay { asked, answered };
    let mut done = Ok(());
    let end = &mut done;
    // The ends of the channels are dropped where the exchange panics, so that the step ends too.
    pool.in_place_scope(move |scope| {
        scope.spawn(move |_| *end = run.step_shared(blocks_at_a_time, &mut relay));
        // Until the step ends, and its relay with it.
        for (owner, own) in asks {
            if answers.send(exchange.broadcast(owner, own)).is_err() {
                break;
            }
        }
    });
    done
}
