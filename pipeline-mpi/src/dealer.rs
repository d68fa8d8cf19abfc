//! Deals keys and groups to the servers, and takes logits back.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use mpi::Rank;
use pipeline::ckks_scheme::serial::refuse_secrets;
use pipeline::ckks_scheme::{EvaluationKeys, Parameters};
use pipeline::inference::{Finished, Servers, ServersError};
use pipeline::report::OperationReport;

use crate::interrupt;
use crate::link::Link;
use crate::report::{Dealt, RankReport};
use crate::words::{Done, Facts, Farewell, Order, Ready, Split};

/// Name of the keys' file in the folder that all machines see.
const KEYS_FILE: &str = "evaluation.keys";
/// Bytes of keys that are written at a time.
const BUFFER: usize = 1 << 20;

/// All servers, as rank 0 sees them.
pub struct Dealer<'a> {
    world: &'a Link,
    split: Split,
    keys_dir: Option<PathBuf>,
    /// Servers that wait for a group.
    free: Vec<Rank>,
    /// Groups that were dealt and have not come back: to be told to whoever interrupts the run.
    left: Vec<usize>,
    ranks: Vec<RankReport>,
    seconds_keys: f64,
}

impl<'a> Dealer<'a> {
    /// A dealer for the servers of `world`; `facts` are those of all ranks.
    pub fn new(world: &'a Link, split: Split, keys_dir: Option<PathBuf>, facts: &[Facts]) -> Self {
        let ranks = facts.iter().enumerate();
        Self {
            world,
            split,
            keys_dir,
            free: Vec::new(),
            left: Vec::new(),
            ranks: ranks
                .map(|(rank, facts)| RankReport::new(rank, facts))
                .collect(),
            seconds_keys: 0.0,
        }
    }

    /// What became of the ranks.
    pub fn into_report(self) -> Dealt {
        Dealt {
            ranks: self.ranks,
            seconds_keys: self.seconds_keys,
        }
    }

    fn servers(&self) -> impl Iterator<Item = Rank> + use<> {
        1..self.world.size()
    }

    fn say_all(&self, order: &Order) {
        self.servers()
            .for_each(|server| self.world.say(server, order));
    }

    fn rank(&mut self, rank: Rank) -> &mut RankReport {
        &mut self.ranks[rank as usize]
    }

    /// Keys by a file that all machines see; gives its name.
    fn write_keys(
        &self,
        dir: &PathBuf,
        params: &Parameters,
        keys: &EvaluationKeys,
    ) -> Result<PathBuf, ServersError> {
        fs::create_dir_all(dir)?;
        refuse_secrets(dir)?;
        // Another machine may have another working folder.
        let file = dir.canonicalize()?.join(KEYS_FILE);
        keys.save(params, &file)?;
        Ok(file)
    }
}

impl Servers for Dealer<'_> {
    fn begin(
        &mut self,
        params: &Parameters,
        keys: EvaluationKeys,
        left: &[usize],
    ) -> Result<(), ServersError> {
        let start = Instant::now();
        let file = match &self.keys_dir {
            Some(dir) => {
                let file = self.write_keys(dir, params, &keys)?;
                self.say_all(&Order::KeysIn(file.clone()));
                Some(file)
            }
            None => {
                self.say_all(&Order::KeysByBroadcast);
                let mut out = io::BufWriter::with_capacity(BUFFER, self.world.broadcast());
                keys.write_to(params, &mut out)?;
                out.flush()?;
                let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
                out.finish();
                None
            }
        };
        drop(keys);
        for server in self.servers() {
            let ready: Ready = self.world.hear(server)?;
            let rank = self.rank(server);
            rank.seconds_keys = ready.seconds_keys;
            rank.seconds_warmup = ready.seconds_warmup;
        }
        self.seconds_keys = start.elapsed().as_secs_f64();
        file.map_or(Ok(()), fs::remove_file)?;
        // The first of them is the next.
        self.free = self.servers().collect();
        self.free.reverse();
        self.left = left.to_vec();
        interrupt::left(&self.left);
        Ok(())
    }

    fn is_free(&self) -> bool {
        match self.split {
            Split::Groups => !self.free.is_empty(),
            Split::Channels => self.free.len() == self.servers().count(),
        }
    }

    fn deal(&mut self, group: usize, images: Vec<u8>) -> Result<(), ServersError> {
        let order = Order::Group(group);
        match self.split {
            Split::Groups => {
                let server = self.free.pop().ok_or("no server waits for a group")?;
                self.world.say(server, &order);
                self.world.send(server, &images);
            }
            Split::Channels => {
                self.free.clear();
                self.say_all(&order);
                let mut out = self.world.broadcast();
                out.write_all(&images)?;
                out.finish();
            }
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<Finished, ServersError> {
        let (mut logits, mut seconds_processor) = (None, Some(0.0));
        loop {
            let (server, done): (Rank, Done) = self.world.hear_any()?;
            if self.split == Split::Groups || server == 1 {
                logits = Some((server, self.world.receive(server)?));
            }
            self.free.push(server);
            let rank = self.rank(server);
            rank.groups += 1;
            rank.seconds_busy += done.seconds;
            rank.exchanged = rank.exchanged.and(done.exchanged);
            let before = rank.seconds_processor_busy.unwrap_or(0.0);
            rank.seconds_processor_busy = done.seconds_processor.map(|s| s + before);
            let both = seconds_processor.zip(done.seconds_processor);
            seconds_processor = both.map(|(all, one): (f64, f64)| all + one);
            if !(self.split == Split::Groups || self.is_free()) {
                continue;
            }
            let (from, logits) = logits.ok_or("no server has sent logits")?;
            self.left.retain(|group| *group != done.group);
            interrupt::left(&self.left);
            return Ok(Finished {
                group: done.group,
                server: format!("rank {from}"),
                logits,
                stages: done.stages,
                seconds: done.seconds,
                seconds_processor,
            });
        }
    }

    fn end(&mut self) -> Result<Vec<OperationReport>, ServersError> {
        self.say_all(&Order::End);
        let mut operations = Vec::new();
        for server in self.servers() {
            let farewell: Farewell = self.world.hear(server)?;
            let rank = self.rank(server);
            rank.peak_rss_bytes = farewell.peak_rss_bytes;
            rank.seconds_processor = farewell.seconds_processor;
            operations.extend(farewell.operations);
        }
        Ok(operations)
    }
}
