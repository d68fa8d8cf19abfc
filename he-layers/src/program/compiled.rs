//! Linear maps that were compiled already, for preparations that differ in ring and packing only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::LayerError;
use crate::layout::Layout;
use crate::linear::{Linear, LinearMap, RotationCosts};

/// Compiled maps by the address of their description. The description is kept alive, so that the address stays its own.
#[derive(Debug, Default)]
pub struct CompiledMaps(Mutex<HashMap<usize, Vec<LinearMap>>>);

impl CompiledMaps {
    /// The map compiled for two layouts, from what was compiled before for the same grid if there is such.
    pub(super) fn get(
        &self,
        linear: &Arc<Linear>,
        input: &Layout,
        output: &Layout,
        costs: &RotationCosts,
    ) -> Result<LinearMap, LayerError> {
        let address = Arc::as_ptr(linear) as usize;
        let (slots, packing) = (input.slots(), input.packing());
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for map in known.get(&address).into_iter().flatten() {
                let same = map.with_slots(slots, packing);
                if let Ok(same) = same
                    && same.input() == input
                    && same.output() == output
                {
                    return Ok(same);
                }
            }
        }
        let map = LinearMap::compile(linear, input, output, costs)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(address).or_default().push(map.clone());
        Ok(map)
    }
}
