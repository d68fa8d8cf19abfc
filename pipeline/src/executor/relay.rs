//! A share of a step on a pool of its own, whose exchanges stay on the calling thread: what carries them, MPI for one, may be
//! bound to it.

use std::error::Error;
use std::sync::mpsc::{Sender, channel};

use ckks_scheme::Ciphertext;
use he_layers::{Exchange, LayerError, Partial, Run};
use rayon::ThreadPool;

type Exchanged<T> = Result<T, Box<dyn Error + Send + Sync>>;
/// What is to be done on the calling thread.
type Ask = Box<dyn FnOnce(&mut dyn Exchange) + Send>;

/// Asks the calling thread for what a step exchanges.
struct Relay(Sender<Ask>);

impl Relay {
    /// Waits for the answer.
    fn ask<T: Send + 'static>(
        &self,
        exchange: impl FnOnce(&mut dyn Exchange) -> Exchanged<T> + Send + 'static,
    ) -> Exchanged<T> {
        let (answer, answered) = channel();
        let ask: Ask = Box::new(move |by| {
            // Nobody waits any more where the step has ended.
            let _ = answer.send(exchange(by));
        });
        // Where the caller is gone, so is the other end of the answer.
        let _ = self.0.send(ask);
        answered.recv()?
    }
}

impl Exchange for Relay {
    fn broadcast(
        &mut self,
        owner: usize,
        own: Option<Vec<Ciphertext>>,
    ) -> Exchanged<Vec<Ciphertext>> {
        self.ask(move |exchange| exchange.broadcast(owner, own))
    }

    fn swap(&mut self, given: Vec<Partial>) -> Exchanged<Vec<Partial>> {
        self.ask(move |exchange| exchange.swap(given))
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
    let (asked, asks) = channel::<Ask>();
    let mut relay = Relay(asked);
    let mut done = Ok(());
    let end = &mut done;
    // The ends of the channels are dropped where the exchange panics, so that the step ends too.
    pool.in_place_scope(move |scope| {
        scope.spawn(move |_| *end = run.step_shared(blocks_at_a_time, &mut relay));
        // Until the step ends, and its relay with it.
        for ask in asks {
            ask(exchange);
        }
    });
    done
}
