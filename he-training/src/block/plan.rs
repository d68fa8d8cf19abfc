//! What both sides know of a block's training before it begins: layout, levels, scales, maps, keys.

use ckks_scheme::{BootstrapParams, KeyRequest, Level, Parameters, Scale};
use he_layers::{
    CompiledMaps, Form, LayerError, Layout, Preparation, PreparedProgram, Program, RotationCosts,
    ScaleChain, Term,
};

use super::layout::BlockLayout;
use super::levels::BlockLevels;
use super::maps::of_channels;
use super::{Block, Ranges, Rates};
use crate::error::{TrainingError, check};

/// Share of the smallest prime that the scale is: products of two such scales, divided by a prime, do not grow.
const BELOW: f64 = 0.99;

/// What is declared of a block's training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockSettings {
    /// Learning rates.
    pub rates: Rates,
    /// Declared sizes.
    pub ranges: Ranges,
    /// Whether steps give the gradient by the block's input too, shortcut included, for whatever is trained below. It takes a
    /// relinearisation for each pixel.
    pub input_gradient: bool,
}

/// A linear map of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Map {
    First,
    Second,
    /// The transpose of the second.
    SecondBack,
    FirstBack,
}

impl Map {
    pub(super) const ALL: [Self; 4] =
        [Self::First, Self::Second, Self::SecondBack, Self::FirstBack];

    /// Level of what it reads.
    pub(super) fn level(self, levels: &BlockLevels) -> usize {
        match self {
            Self::First => levels.activated[0],
            Self::Second => levels.activated[1],
            Self::SecondBack => levels.deltas[2],
            Self::FirstBack => levels.deltas[1],
        }
    }
}

/// A block's training over a parameter set. It holds no key.
#[derive(Debug)]
pub struct BlockPlan {
    params: Parameters,
    classes: usize,
    settings: BlockSettings,
    layout: BlockLayout,
    scale: f64,
    refresh: Option<(usize, usize)>,
    top: usize,
    channels: Layout,
    /// In the order of [`Map::ALL`].
    programs: [Program; 4],
    compiled: CompiledMaps,
}

impl BlockPlan {
    /// A training without refreshes: as many steps as the levels allow, the first one from the highest level.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] for no class, for settings that do not fit and for too few levels, [`TrainingError::Layer`] for
    /// convolutions that do not fit.
    pub fn new(
        params: &Parameters,
        block: &Block,
        classes: usize,
        settings: BlockSettings,
    ) -> Result<Self, TrainingError> {
        let top = params.max_level().limbs();
        let primes = (2..=top).map(|level| params.prime(Level::new(level)) as f64);
        let scale = BELOW * primes.fold(f64::INFINITY, f64::min);
        Self::of(params, block, classes, settings, (scale, top, None))
    }

    /// A training with refreshes: any number of steps. Each refreshes what the head reads, one ciphertext; parameters are
    /// refreshed where a step needs them higher than they are.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_refreshes(
        params: &BootstrapParams,
        block: &Block,
        classes: usize,
        settings: BlockSettings,
    ) -> Result<Self, TrainingError> {
        let (input, top) = (params.input_level().limbs(), params.output_level().limbs());
        let chain = (params.output_scale().value(), top, Some((input, top)));
        Self::of(params.scheme(), block, classes, settings, chain)
    }

    fn of(
        params: &Parameters,
        block: &Block,
        classes: usize,
        settings: BlockSettings,
        (scale, top, refresh): (f64, usize, Option<(usize, usize)>),
    ) -> Result<Self, TrainingError> {
        check(classes > 0, "number of classes", classes, "1 at least")?;
        settings.ranges.check()?;
        let Rates {
            offsets,
            scales,
            head,
            bias,
        } = settings.rates;
        for rate in [offsets, scales, head, bias] {
            let fits = rate.is_finite() && rate >= 0.0;
            check(
                fits,
                "learning rate",
                rate,
                "a finite number of 0 and above",
            )?;
        }
        let layout = BlockLayout::new(params.slots(), block.shape())?;
        let channels = layout.of_channels()?;
        // Refuses a chain that is too short.
        BlockLevels::new(top, refresh)?;
        let [first, second] = block.convolutions();
        let [first_back, second_back] = block.transposes();
        let mut programs = Vec::with_capacity(4);
        for conv in [first, second, second_back, first_back] {
            let map = of_channels(conv, &layout)?;
            let mut program = Program::new(conv.name.clone(), channels.shape(), Vec::new());
            let y = vec![Term::linear(program.input(), map)];
            let y = program.node(&conv.name, &conv.name, y)?;
            program.finish(y)?;
            programs.push(program);
        }
        let programs = <[Program; 4]>::try_from(programs).expect("four maps");
        Ok(Self {
            params: params.clone(),
            classes,
            settings,
            layout,
            scale,
            refresh,
            top,
            channels,
            programs,
            compiled: CompiledMaps::default(),
        })
    }

    /// The parameter set.
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// What is declared.
    pub fn settings(&self) -> &BlockSettings {
        &self.settings
    }

    /// Which number is in which slot.
    pub fn layout(&self) -> &BlockLayout {
        &self.layout
    }

    /// The highest level of a block's input.
    pub fn top(&self) -> usize {
        self.top
    }

    /// Whether steps refresh ciphertexts.
    pub fn refreshes(&self) -> bool {
        self.refresh.is_some()
    }

    /// Levels of a step whose input is at `input`.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] if there are too few, saying how many are missing, or if the chain has no such level.
    pub fn levels(&self, input: usize) -> Result<BlockLevels, TrainingError> {
        let most = self.top;
        check(
            input <= most,
            "level of a block's input",
            input,
            format_args!("{most} at most"),
        )?;
        BlockLevels::new(input, self.refresh)
    }

    /// The scale that intermediate results keep near to.
    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    /// The scale of parameters, and of inputs, of which `bound` is the largest: they are refreshed in units of it.
    pub(super) fn scale_of(&self, bound: f64) -> Scale {
        Scale::new(self.scale / bound)
    }

    /// A map that reads ciphertexts at a level and scale.
    pub(super) fn map(
        &self,
        map: Map,
        level: Level,
        scale: Scale,
    ) -> Result<PreparedProgram, TrainingError> {
        let prepared = self.programs[map as usize].prepare(&Preparation {
            chain: ScaleChain::of(&self.params, scale),
            input: self.channels.clone(),
            output_level: level,
            refreshers: &[],
            rotations: RotationCosts::default(),
            compiled: Some(&self.compiled),
        })?;
        // Scales near the primes leave squares no room.
        if prepared.input().form != Form::Values {
            return Err(TrainingError::Layer(LayerError::Form {
                reader: prepared.name().to_owned(),
                found: prepared.input().form,
                expected: "values, whose scale is near the primes",
            }));
        }
        Ok(prepared)
    }

    /// The switching keys of all steps, those of refreshes not included. Rotations of the maps have keys for two levels: one for
    /// the way forward, one for the way back.
    ///
    /// # Errors
    /// [`TrainingError::Layer`].
    pub fn keys(&self) -> Result<KeyRequest, TrainingError> {
        let levels = BlockLevels::new(self.top, self.refresh)?;
        let mut maps = KeyRequest::new();
        for map in Map::ALL {
            let level = Level::new(map.level(&levels));
            let prepared = self.map(map, level, Scale::new(self.scale))?;
            maps.extend(&prepared.required_keys());
        }
        let mut keys = maps.at_steps(&map_keys(&levels));
        for level in relin_keys(&levels) {
            keys.relin(level);
        }
        for step in self.layout.cell_steps() {
            keys.rotation(step, Level::new(levels.pooled));
            keys.rotation(-step, Level::new(levels.excess));
        }
        let summed = levels.excess.max(levels.deltas[2]);
        for step in self.layout.image_steps() {
            keys.rotation(step, Level::new(summed));
        }
        Ok(keys.reduced(self.params.log_n()))
    }
}

/// Levels of the keys of the maps' rotations: one for the way back, one for the way forward.
fn map_keys(levels: &BlockLevels) -> [Level; 2] {
    [levels.deltas[2], levels.activated[0]].map(Level::new)
}

/// Levels of the relinearisation keys, ascending.
fn relin_keys(levels: &BlockLevels) -> [Level; 3] {
    let highest = levels.input.max(levels.pooled);
    [levels.deltas[2], levels.squares, highest].map(Level::new)
}

/// Level of the key of a map's rotation at a level.
pub(super) fn map_key(levels: &BlockLevels, at: Level) -> Level {
    serving(&map_keys(levels), at)
}

/// Level of the relinearisation key that serves a level.
pub(super) fn relin_key(levels: &BlockLevels, at: Level) -> Level {
    serving(&relin_keys(levels), at)
}

fn serving(keys: &[Level], at: Level) -> Level {
    let serving = keys.iter().copied().filter(|key| *key >= at).min();
    serving.unwrap_or(at)
}
