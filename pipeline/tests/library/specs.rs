//! Client specs as files.

use ckks_scheme::Level;
use ckks_scheme::serial::SerialError;
use he_layers::Packing;
use he_models::LogitBounds;
use pipeline::exchange::ClientSpec;

use crate::sides::Folder;

#[test]
fn client_specs_come_back_as_they_were_and_damaged_ones_not_at_all() {
    let folder = Folder::new(Packing::Complex, 1);
    let mut spec = folder.spec.clone();
    spec.logit_error = Some(0.1 + 0.2);
    spec.logit_bounds = Some(LogitBounds::unknown(10));
    let text = spec.to_text();
    assert_eq!(ClientSpec::from_text(text.as_bytes()).unwrap(), spec);
    // Estimate and bounds are the client's own business.
    assert_eq!(spec.id(), folder.spec.id());
    for at in (0..text.len()).step_by(text.len() / 500 + 1).chain(0..100) {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 0x02;
        assert!(ClientSpec::from_text(&bytes).is_err(), "byte {at}");
    }
    for length in (0..text.len()).step_by(97) {
        let cut = ClientSpec::from_text(&text.as_bytes()[..length]);
        assert!(cut.is_err(), "{length} bytes");
    }
    let later = text.replacen("spec 1 ", "spec 2 ", 1);
    let error = ClientSpec::from_text(later.as_bytes()).unwrap_err();
    assert!(matches!(error, SerialError::Version { found: 2, .. }));
    // Files that are none.
    for path in [folder.dir.path().to_owned(), folder.path("none")] {
        assert!(ClientSpec::load(&path).is_err());
    }
}

#[test]
fn client_specs_of_what_cannot_be_are_refused() {
    let good = Folder::new(Packing::Real, 1).spec;
    let refused = |change: &dyn Fn(&mut ClientSpec), says: &str| {
        let mut spec = good.clone();
        change(&mut spec);
        let error = ClientSpec::from_text(spec.to_text().as_bytes());
        let words = error.unwrap_err().to_string();
        assert!(words.starts_with(says), "{says:?} does not begin {words}");
    };
    let top = good.params.q_bits.len();
    refused(&|s| s.params.log_n = 40, "log2 of the ring degree is 40");
    refused(&|s| s.params.log_n = 10, "slots of a layout is 256");
    refused(&|s| s.params.q_bits.clear(), "number of primes is 0");
    refused(
        &|s| s.output.level = Level::new(top + 1),
        "level of a tensor",
    );
    refused(&|s| s.keys[0].1 = Level::new(0), "level of a key is 0");
    refused(&|s| s.classes.truncate(1), "number of classes is 1");
    refused(&|s| s.model = "x".repeat(1000), "the length of a name");
    refused(&|s| s.logit_error = Some(-1.0), "error of a logit is -1");
    let bounds = |change: &dyn Fn(&mut LogitBounds), says: &str| {
        let mut bounds = LogitBounds::unknown(10);
        change(&mut bounds);
        refused(&|s| s.logit_bounds = Some(bounds.clone()), says);
    };
    bounds(&|b| b.least.truncate(9), "number of lower bounds is 9");
    bounds(&|b| b.most.push(1.0), "number of upper bounds is 11");
    bounds(
        &|b| b.least[3] = f64::NAN,
        "bounds of a logit is NaN to inf",
    );
    bounds(
        &|b| (b.least[9], b.most[9]) = (1.0, -1.0),
        "bounds of a logit is 1 to -1",
    );
}
