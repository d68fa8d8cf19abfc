//! Rewrites a model file of any format that can be read in the present one. The weights stay as they are.
//!
//! ```text
//! cargo run --release -p he-models --example upgrade_model -- MODEL.ron
//! ```

use he_models::Model;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: upgrade_model MODEL.ron")?;
    Model::load(&path)?.write_spec(&path)?;
    Ok(())
}
