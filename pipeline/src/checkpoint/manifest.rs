//! The description of a run: what it depends on, and its plan.

use std::path::Path;

use ckks_scheme::serial::SerialError;
use serde::{Deserialize, Serialize};

use crate::decisions::Decisions;
use crate::exchange::sealed::{Sealed, hex, value};

const FILE: Sealed = Sealed {
    a: "the description of a run",
    the: "the description of a run",
    first_line: "the first line of the description of a run",
    magic: "polyphase run ",
    format: 1,
    context: "polyphase pipeline 1 run file",
};
/// What is hashed for an identity, so that hashes of different things never meet.
const PLAN_CONTEXT: &str = "polyphase pipeline 1 plan of a run";
const RUN_CONTEXT: &str = "polyphase pipeline 1 identity of a run";

/// What a run depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Names and values.
    noted: Vec<(String, String)>,
    /// The plan, as RON.
    plan: Option<String>,
}

impl Manifest {
    pub fn load(path: &Path) -> Result<Self, SerialError> {
        FILE.load(path)
    }

    pub fn save(&self, path: &Path) -> Result<(), SerialError> {
        FILE.save(self, path)
    }

    pub fn note(&mut self, what: &str, value: String) {
        self.noted.push((what.to_owned(), value));
    }

    pub fn noted(&self, what: &str) -> Option<&String> {
        let noted = self.noted.iter().find(|(name, _)| name == what);
        noted.map(|(_, value)| value)
    }

    pub fn set_decisions(&mut self, decisions: &Decisions) {
        self.plan = Some(to_ron(decisions));
    }

    pub fn decisions(&self) -> Result<Option<Decisions>, SerialError> {
        let parse = |text: &String| {
            ron::from_str(text).map_err(|_| {
                let expected = "one that this program writes";
                value("its plan", "not understood", expected)
            })
        };
        self.plan.as_ref().map(parse).transpose()
    }

    /// What the files of the run name it by, in hexadecimal digits.
    pub fn id(&self) -> String {
        hex(&blake3::derive_key(
            RUN_CONTEXT,
            FILE.to_text(self).as_bytes(),
        ))
    }
}

fn to_ron(decisions: &Decisions) -> String {
    ron::to_string(decisions).expect("a plan has nothing that RON cannot write")
}

/// What identifies a plan, in hexadecimal digits. Threads are not a part of it: results do not depend on their number.
pub(super) fn plan_id(decisions: &Decisions) -> String {
    let mut decisions = Decisions {
        threads: 0,
        threads_at_a_time: Vec::new(),
        ..decisions.clone()
    };
    if let Some(last) = &mut decisions.last {
        last.threads_at_a_time.clear();
    }
    let decisions = decisions.in_least_format();
    hex(&blake3::derive_key(
        PLAN_CONTEXT,
        to_ron(&decisions).as_bytes(),
    ))
}
