//! How a long run tells its caller how far it is.

/// What the numbers of a task count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things that people count: their name in the plural, `"images"`.
    Things(&'static str),
    /// Bytes of memory or of a file.
    Bytes,
    /// Parts of the whole that mean nothing by themselves, such as predicted milliseconds.
    Parts,
}

/// Receiver of progress. One task runs at a time; calls may come from any thread.
pub trait Progress: Sync {
    /// A task begins, of `total` units if that is known.
    fn begin(&self, task: &str, total: Option<u64>, unit: Unit);

    /// The task is at this stage from now on.
    fn stage(&self, name: &str);

    /// So many more units are done.
    fn advance(&self, units: u64);

    /// The task is done.
    fn finish(&self);

    /// Something that a person should know, in one sentence.
    fn note(&self, sentence: &str);
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn stage(&self, _: &str) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn note(&self, _: &str) {}
}
