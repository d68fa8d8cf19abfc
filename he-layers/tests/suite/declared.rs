//! What a refresh tells its bootstrapping of the values.

use std::sync::{Arc, Mutex};

use ckks_scheme::{
    BootstrapError, Bootstrapper, Ciphertext, Content, CosineBootstrapper, Evaluator, KeyRequest,
    Level, Scale,
};
use he_layers::{Packing, Preparation, Program, Refresh, Refresher, Term};

use crate::lab::{Lab, conv, square};
use crate::stages::{GRID, SHAPE};

/// A bootstrapping that keeps what is declared of each ciphertext.
#[derive(Debug)]
struct Witness {
    boot: CosineBootstrapper,
    declared: Arc<Mutex<Vec<f64>>>,
}

impl Bootstrapper for Witness {
    fn bootstrap(&self, eval: &Evaluator, ct: &Ciphertext) -> Result<Ciphertext, BootstrapError> {
        self.declared.lock().unwrap().push(ct.tracked().max);
        self.boot.bootstrap(eval, ct)
    }

    fn input_level(&self) -> Level {
        self.boot.input_level()
    }

    fn output_level(&self) -> Level {
        self.boot.output_level()
    }

    fn request(&self) -> KeyRequest {
        self.boot.request()
    }

    fn working_bytes(&self) -> u64 {
        self.boot.working_bytes()
    }
}

#[test]
fn a_refresh_declares_the_values_of_each_channel_block() {
    // A slot of a complex ciphertext holds two values, and its modulus may be the square root of two times theirs.
    for (packing, content, slot) in [
        (Packing::Real, Content::Real, 1.0),
        (Packing::Complex, Content::Complex, 2f64.sqrt()),
    ] {
        let (mut lab, boot) = Lab::with_bootstrapper(6, content, 14);
        // Room for the weights that read squares.
        lab.scale = Scale::new(2f64.powi(33));
        let declared = Arc::new(Mutex::new(Vec::new()));
        let limits = *Refresher::outlined(boot.outline()).unwrap().limits();
        let witness = Witness {
            boot,
            declared: Arc::clone(&declared),
        };
        let refresher = Refresher::new(Arc::new(witness), limits);

        let r = &mut lab.rng;
        let [a, b, c] = ["a", "b", "c"].map(|name| conv(r, name, (2, 2), 3, 1));
        let mut net = Program::new("declared", SHAPE, Vec::new());
        let sums = net.node("net", "a", vec![Term::linear(net.input(), a)]);
        let sums = sums.unwrap();
        // A reader before the refresh, which declares other sizes.
        let squared = net.apply(sums, square(r, "square", 2)).unwrap();
        let refresh = Refresh::new("refresh", vec![3.0, 4.0]);
        let fresh = net.apply(sums, refresh).unwrap();
        let terms = vec![Term::linear(fresh, b), Term::linear(squared, c)];
        let y = net.node("net", "b", terms).unwrap();
        net.finish(y).unwrap();

        let layout = lab.layout(SHAPE, GRID, packing);
        let phases = SHAPE.pixels() / (GRID.rows * GRID.cols);
        let prepared = net
            .prepare(&Preparation {
                refreshers: std::slice::from_ref(&refresher),
                ..lab.preparation(layout)
            })
            .unwrap();
        let x = lab.images(&prepared);
        lab.run(&prepared, &x, 1);

        let mut found = declared.lock().unwrap().clone();
        found.sort_by(f64::total_cmp);
        let expected = [3.0, 4.0].map(|most| vec![most * slot; phases]).concat();
        assert_eq!(found, expected, "{packing}");
    }
}
