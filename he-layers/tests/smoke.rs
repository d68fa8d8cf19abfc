use ckks_scheme::*;
use he_layers::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;

fn conv(rng: &mut ChaCha20Rng, name: &str, i: usize, o: usize, k: usize, s: usize) -> Conv2d {
    let n = i * o * k * k;
    let w: Vec<f64> = (0..n)
        .map(|_| (rng.random::<f64>() - 0.5) * 2.0 / ((i * k * k) as f64).sqrt())
        .collect();
    Conv2d::new(name, (i, o), (k, k), (s, s), (k / 2, k / 2), w).unwrap()
}
fn sq(rng: &mut ChaCha20Rng, name: &str, c: usize) -> Square {
    Square::new(
        name,
        (0..c).map(|_| rng.random::<f64>() - 0.5).collect(),
        vec![30.0; c],
        vec![1.0; c],
    )
    .unwrap()
}

#[test]
fn residual() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let r = &mut rng;
    for packing in [Packing::Real, Packing::Complex] {
        let b1 = PreActBlock {
            name: "b1".into(),
            act1: sq(r, "b1.act1", 4),
            conv1: conv(r, "b1.c1", 4, 4, 3, 1),
            act2: sq(r, "b1.act2", 4),
            conv2: conv(r, "b1.c2", 4, 4, 3, 1),
            shortcut: None,
        };
        let b2 = PreActBlock {
            name: "b2".into(),
            act1: sq(r, "b2.act1", 4),
            conv1: conv(r, "b2.c1", 4, 8, 3, 2),
            act2: sq(r, "b2.act2", 8),
            conv2: conv(r, "b2.c2", 8, 8, 3, 1),
            shortcut: Some(conv(r, "b2.s", 4, 8, 1, 2)),
        };
        let act = sq(r, "final", 8);
        let stem = conv(r, "stem", 3, 4, 3, 1);
        let head = Dense::pooled(
            "head",
            Chw::new(8, 4, 4),
            10,
            &(0..80)
                .map(|_| (r.random::<f64>() - 0.5) / 16.0)
                .collect::<Vec<_>>(),
            vec![0.1; 10],
        )
        .unwrap();
        let net =
            Program::of_layers("net", Chw::new(3, 8, 8), &[&stem, &b1, &b2, &act, &head]).unwrap();
        println!("{net}");
        let params = Parameters::builder()
            .log_n(10)
            .q_bits(vec![50; 7])
            .build_insecure_for_tests()
            .unwrap();
        let layout =
            Layout::new(Chw::new(3, 8, 8), Grid::new(4, 8), packing, params.slots()).unwrap();
        let p = net
            .prepare(&Preparation::new(
                &params,
                Scale::new(2f64.powi(28)),
                layout,
            ))
            .unwrap();
        let (mut client, keys) = Client::new(&params, &p, r).unwrap();
        let x = PlainTensor::from_fn(p.images(), Chw::new(3, 8, 8), |_, _, _, _| {
            r.random::<f64>()
        });
        let server = Evaluator::new(&params, Arc::new(keys));
        let before = params.pool().in_use_bytes();
        let mut run = p.begin(&server, client.encrypt(&x).unwrap()).unwrap();
        while !run.is_done() {
            let s = run.done();
            params.pool().reset_high_water();
            run.step(1).unwrap();
            let used = (params.pool().high_water_bytes() - before) / params.limb_bytes();
            println!(
                "step {s} stage {} peak limbs {} predicted {} working {}",
                p.step_stage(s),
                used,
                p.peak_limbs(s, 1),
                p.working_limbs(s)
            );
        }
        let y = client.decrypt(&run.finish().unwrap(), x.n).unwrap();
        let e = net.forward_plain(&x).unwrap();
        let rounded = p.forward_rounded(&net, &x).unwrap();
        let exact = p
            .output()
            .layout
            .unpack(
                &p.forward_slots(&net, p.input().layout.pack(&x).unwrap(), Weights::Exact)
                    .unwrap(),
                x.n,
            )
            .unwrap();
        let d = |a: &PlainTensor, b: &PlainTensor| {
            a.data
                .iter()
                .zip(&b.data)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max)
        };
        let noisy = p.forward_disturbed(&net, &x, Errors::Noise, 1).unwrap();
        let w = p.forward_disturbed(&net, &x, Errors::Weights, 1).unwrap();
        println!(
            "{packing}: err exact {:e} rounded {:e} slots exact {:e}; rounding {:e} sim noise {:e} sim weights {:e}",
            d(&y, &e),
            d(&y, &rounded),
            d(&exact, &e),
            d(&rounded, &e),
            d(&noisy, &e),
            d(&w, &e)
        );
        assert!(d(&exact, &e) < 1e-9 && d(&y, &e) < 1e-2);
    }
}
