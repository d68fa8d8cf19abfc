//! Layouts: a bijection, and errors for what has no layout.

use std::collections::HashSet;

use he_layers::{Chw, Grid, LayerError, Layout, Packing, PlainTensor};
use proptest::prelude::*;

use crate::{random_tensor, rng};

fn layouts() -> impl Strategy<Value = Layout> {
    let axis = (0u32..=4, 0u32..=4, prop_oneof![Just(1usize), Just(3)]);
    let packing = prop_oneof![Just(Packing::Real), Just(Packing::Complex)];
    (
        axis.clone(),
        axis,
        1usize..=9,
        packing,
        0u32..=2,
        1usize..=16,
    )
        .prop_filter_map(
            "axes divide",
            |((gr, mr, fr), (gc, mc, fc), channels, packing, log_images, cpc)| {
                let grid = Grid::new(1 << gr, 1 << gc);
                let shape = Chw::new(channels, (1 << mr) * fr, (1 << mc) * fc);
                let layout = Layout::new(shape, grid, packing, grid.cells() << log_images).ok()?;
                let cpc = cpc.min(layout.channels_per_ct());
                layout.with_channels_per_ct(cpc).ok()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn prop_slot_of_is_injective(layout in layouts()) {
        let shape = layout.shape();
        let mut seen = HashSet::new();
        for n in 0..layout.images() {
            for c in 0..shape.channels {
                for y in 0..shape.height {
                    for x in 0..shape.width {
                        let slot = layout.slot_of(n, c, y, x);
                        prop_assert!(slot.0 < layout.ciphertexts() && slot.1 < layout.slots());
                        prop_assert!(!slot.2 || layout.packing() == Packing::Complex);
                        prop_assert!(seen.insert(slot));
                        let block = slot.0 / layout.ciphertexts_per_block();
                        prop_assert_eq!(layout.channel_at(block, slot.1 % layout.grid().cells()), Some(c));
                    }
                }
            }
        }
    }

    #[test]
    fn prop_unpack_inverts_pack_for_partial_batches(layout in layouts(), part in 0.0f64..=1.0, seed: u64) {
        let n = (layout.images() as f64 * part) as usize;
        let x = random_tensor(&mut rng(seed), n, layout.shape());
        prop_assert_eq!(layout.unpack(&layout.pack(&x).unwrap(), n).unwrap(), x);
    }

    #[test]
    fn prop_layout_survives_serialisation(layout in layouts()) {
        let text = ron::to_string(&layout).unwrap();
        prop_assert_eq!(ron::from_str::<Layout>(&text).unwrap(), layout);
    }
}

#[test]
fn layout_rejects_what_does_not_fit() {
    let new = |map, rows, slots| {
        Layout::new(
            Chw::new(1, map, map),
            Grid::new(rows, 4),
            Packing::Real,
            slots,
        )
    };
    assert!(matches!(new(8, 3, 64), Err(LayerError::Grid { .. })));
    assert!(matches!(new(8, 0, 64), Err(LayerError::Grid { .. })));
    assert!(matches!(new(8, 4, 8), Err(LayerError::Grid { .. })));
    assert!(matches!(
        new(6, 4, 64),
        Err(LayerError::Indivisible { map: 6, grid: 4 })
    ));
    assert!(matches!(
        new(0, 4, 64),
        Err(LayerError::Indivisible { map: 0, grid: 4 })
    ));
    let layout = new(2, 4, 64).unwrap();
    assert!(matches!(
        layout.clone().with_channels_per_ct(5),
        Err(LayerError::ChannelsPerCiphertext { found: 5, room: 4 })
    ));
    assert!(ron::from_str::<Layout>(
        "(shape:(channels:1,height:8,width:8),grid:(rows:3,cols:4),packing:Real,slots:64,channels_per_ct:1)"
    )
    .is_err());
    let five = PlainTensor::zeros(5, layout.shape());
    assert!(matches!(
        layout.pack(&five),
        Err(LayerError::Batch {
            found: 5,
            capacity: 4
        })
    ));
    assert!(matches!(
        layout.unpack(&[], 1),
        Err(LayerError::Count {
            found: 0,
            expected: 1,
            ..
        })
    ));
}
