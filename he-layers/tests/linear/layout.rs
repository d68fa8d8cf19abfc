//! Layouts: a bijection, and errors for what has no layout.

use std::collections::HashSet;

use he_layers::{Chw, Grid, LayerError, Layout, Packing, PlainTensor, Spacing};
use proptest::prelude::*;

use crate::{random_tensor, rng};

/// Any map on any grid: as a first layer has it, or after one of some stride.
pub fn layouts() -> impl Strategy<Value = Layout> {
    let axis = (1usize..=12, 1usize..=29, 1usize..=3);
    let packing = prop_oneof![Just(Packing::Real), Just(Packing::Complex)];
    (
        axis.clone(),
        axis,
        1usize..=9,
        packing,
        0u32..=2,
        1usize..=16,
    )
        .prop_map(
            |((rows, height, sy), (cols, width, sx), channels, packing, log_images, cpc)| {
                let grid = Grid::new(rows, cols);
                let slots = grid.cells() << log_images;
                let before = Chw::new(1, height * sy, width * sx);
                let layout = Layout::new(before, grid, packing, slots).unwrap();
                let shape = Chw::new(channels, height, width);
                let layout = layout.strided(shape, (sy, sx)).unwrap();
                let cpc = cpc.min(layout.channels_per_ct());
                layout.with_channels_per_ct(cpc).unwrap()
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
                        let cell = slot.1 % layout.grid().cells();
                        prop_assert_eq!(layout.channel_at(block, cell), Some(c));
                        prop_assert_eq!(layout.pixel_at(slot.0, cell), Some((c, y, x)));
                    }
                }
            }
        }
    }

    #[test]
    fn prop_cells_hold_a_pixel_or_nothing(layout in layouts()) {
        let cells = (0..layout.ciphertexts()).flat_map(|ct| (0..layout.grid().cells()).map(move |cell| (ct, cell)));
        let pixels: HashSet<_> = cells.filter_map(|(ct, cell)| layout.pixel_at(ct, cell)).collect();
        prop_assert_eq!(pixels.len(), layout.shape().volume());
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
fn maps_that_grids_do_not_divide_have_few_padding_cells() {
    // Shape, grid, ciphertexts of one channel.
    let cases = [
        ((28, 28), (32, 32), 1),
        ((28, 28), (8, 8), 16),
        ((40, 24), (40, 24), 1),
        ((40, 24), (16, 16), 6),
        ((25, 17), (1, 32), 25),
        ((224, 224), (32, 32), 49),
        ((5, 1), (16, 1), 1),
    ];
    for ((height, width), (rows, cols), ciphertexts) in cases {
        let grid = Grid::new(rows, cols);
        let shape = Chw::new(1, height, width);
        let layout = Layout::new(shape, grid, Packing::Real, 1 << 12).unwrap();
        assert_eq!(layout.ciphertexts(), ciphertexts, "{shape} on {grid}");
    }
    assert_eq!(Grid::new(40, 24).cells(), 1024);
}

#[test]
fn strides_widen_gaps_and_join_phases() {
    let layout = |rows, cols, height, width| {
        let shape = Chw::new(1, height, width);
        Layout::new(shape, Grid::new(rows, cols), Packing::Real, 1 << 12).unwrap()
    };
    let spacing = |phases, gaps| Spacing { phases, gaps };
    // Powers of two: the same as without a stride in mind.
    let half = layout(8, 32, 32, 32)
        .strided(Chw::new(3, 16, 16), (2, 2))
        .unwrap();
    assert_eq!(
        half,
        layout(8, 32, 1, 1).with_shape(Chw::new(3, 16, 16)).unwrap()
    );
    assert_eq!(half.spacing(), spacing((2, 1), (1, 2)));
    // 24 rows on 8 cells: three phases, halved twice.
    let once = layout(8, 8, 24, 24)
        .strided(Chw::new(8, 12, 12), (2, 2))
        .unwrap();
    assert_eq!(once.spacing(), spacing((3, 3), (2, 2)));
    let twice = once.strided(Chw::new(8, 6, 6), (2, 2)).unwrap();
    assert_eq!(twice.spacing(), spacing((3, 3), (4, 4)));
    assert_eq!(twice.ciphertexts(), 9);
    // A window without padding keeps the places of its inputs, until there is no room.
    let cut = layout(32, 32, 28, 28)
        .strided(Chw::new(1, 12, 12), (2, 2))
        .unwrap();
    assert_eq!(cut.spacing(), spacing((1, 1), (2, 2)));
    let cut = cut.strided(Chw::new(1, 8, 8), (1, 1)).unwrap();
    assert_eq!(cut.spacing(), spacing((1, 1), (2, 2)));
    let grown = cut.strided(Chw::new(1, 20, 8), (1, 1)).unwrap();
    assert_eq!(grown.spacing(), spacing((1, 1), (1, 2)));
    assert!(matches!(
        cut.clone().with_spacing(spacing((1, 0), (1, 1))),
        Err(LayerError::Spacing { .. })
    ));
    assert!(matches!(
        cut.with_spacing(spacing((1, 1), (5, 1))),
        Err(LayerError::Spacing { .. })
    ));
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
    assert!(matches!(new(8, 5, 16), Err(LayerError::Grid { .. })));
    assert!(matches!(new(8, 4, 48), Err(LayerError::Grid { .. })));
    assert!(matches!(new(8, 0, 64), Err(LayerError::Grid { .. })));
    assert!(matches!(new(8, 4, 8), Err(LayerError::Grid { .. })));
    assert!(matches!(
        new(0, 4, 64),
        Err(LayerError::EmptyShape { shape }) if shape == Chw::new(1, 0, 0)
    ));
    let layout = new(2, 4, 64).unwrap();
    assert!(matches!(
        layout.clone().with_channels_per_ct(5),
        Err(LayerError::ChannelsPerCiphertext { found: 5, room: 4 })
    ));
    let text = "(shape:(channels:1,height:8,width:8),grid:(rows:0,cols:4),packing:Real,slots:64,channels_per_ct:1)";
    let error = ron::from_str::<Layout>(text).unwrap_err().to_string();
    assert!(error.contains("grid 0x4 does not fit 64 slots"), "{error}");
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
