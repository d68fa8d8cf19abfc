//! Records of measurements, one JSON object each.

use serde::{Serialize, Serializer};

use crate::machine::Machine;
use crate::naming::BenchId;

/// One measurement: name, parameters, where and when in the history of the sources, and the numbers of the bench.
#[derive(Clone, Debug, Serialize)]
pub struct Record<'a, T> {
    /// Its name.
    pub id: BenchId,
    /// Its parameters by name.
    #[serde(serialize_with = "params")]
    pub params: Vec<(&'static str, usize)>,
    /// Kernel of the arithmetic.
    pub kernel: String,
    /// Threads that were busy.
    pub threads: usize,
    /// Processor and revision.
    #[serde(flatten)]
    pub machine: &'a Machine,
    /// What was measured.
    #[serde(flatten)]
    pub result: T,
}

fn params<S: Serializer>(
    params: &[(&'static str, usize)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(params.iter().copied())
}

impl<'a, T> Record<'a, T> {
    /// A record of `result`.
    pub fn new(id: BenchId, machine: &'a Machine, result: T) -> Self {
        Self {
            params: id.parameters().to_vec(),
            kernel: id.kernel().to_owned(),
            threads: id.thread_count(),
            id,
            machine,
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn record_is_one_flat_object() {
        let machine = Machine {
            cpu: "a".to_owned(),
            cores: 2,
            revision: None,
        };
        let id = BenchId::new("ckks-math", "ntt", "scalar")
            .param("logn", 13)
            .threads(2, 1);
        let record = Record::new(id, &machine, json!({"seconds": 1.5}));
        let expected = json!({
            "id": "ckks-math/ntt/scalar/logn13/b1/t2x1", "params": {"logn": 13}, "kernel": "scalar", "threads": 2,
            "cpu": "a", "cores": 2, "revision": null, "seconds": 1.5,
        });
        assert_eq!(serde_json::to_value(&record).unwrap(), expected);
    }
}
