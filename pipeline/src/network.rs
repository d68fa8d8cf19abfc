//! A model prepared for one layout and one chain of primes: the layers that an executor runs.

use ckks_scheme::{KeyRequest, Level, Parameters, Scale};
use he_layers::{
    Grid, Layer, LayerError, Layout, Packing, PlainTensor, PreparedLayer, ScaleChain, TensorSpec,
    Weights,
};
use he_models::FoldedModel;

/// Stem, blocks and head, each prepared for what the one before gives.
#[derive(Debug)]
pub struct Network {
    input: TensorSpec,
    layers: Vec<Box<dyn PreparedLayer>>,
    classes: usize,
}

/// Levels that a model needs: one for the stem, two a block, and two primes for the head's products.
pub fn levels(model: &FoldedModel) -> usize {
    2 * model.blocks.len() + 3
}

/// Stem, blocks and head, in order.
pub fn layers_of(model: &FoldedModel) -> Vec<&dyn Layer> {
    let mut layers: Vec<&dyn Layer> = vec![&model.stem];
    layers.extend(model.blocks.iter().map(|b| b as &dyn Layer));
    layers.push(&model.head);
    layers
}

impl Network {
    /// Prepares a folded model.
    ///
    /// # Errors
    /// If a layer does not fit the layout, or its declared range the modulus.
    pub fn prepare(
        model: &FoldedModel,
        params: &Parameters,
        scale: Scale,
        packing: Packing,
        grid: Grid,
    ) -> Result<Self, LayerError> {
        let layout = Layout::new(model.input, grid, packing, params.slots())?;
        Self::of_layers(layers_of(model), layout, params, scale, model.classes.len())
    }

    /// Prepares any sequence of layers, for networks of one's own; the input is in `layout`.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn of_layers<'a>(
        layers: impl IntoIterator<Item = &'a dyn Layer>,
        layout: Layout,
        params: &Parameters,
        scale: Scale,
        classes: usize,
    ) -> Result<Self, LayerError> {
        let chain = ScaleChain::of(params, scale);
        let input = chain.square_form(layout, params.max_level());
        let mut prepared: Vec<Box<dyn PreparedLayer>> = Vec::new();
        for layer in layers {
            let spec = prepared.last().map_or(&input, |last| last.output());
            let next = layer.prepare(spec, &chain)?;
            prepared.push(next);
        }
        Ok(Self {
            input,
            layers: prepared,
            classes,
        })
    }

    /// What the client encrypts.
    pub fn input(&self) -> &TensorSpec {
        &self.input
    }

    /// What the client decrypts.
    pub fn output(&self) -> &TensorSpec {
        self.layers.last().map_or(&self.input, |last| last.output())
    }

    /// The layers in order.
    pub fn layers(&self) -> &[Box<dyn PreparedLayer>] {
        &self.layers
    }

    /// Images that one set of ciphertexts holds.
    pub fn images(&self) -> usize {
        self.input.layout.images()
    }

    /// All switching keys, at the levels of use.
    pub fn required_keys(&self) -> KeyRequest {
        let mut request = KeyRequest::new();
        for layer in &self.layers {
            request.extend(&layer.required_keys());
        }
        request
    }

    /// Levels at which the number of ciphertexts falls: good steps for smaller keys.
    pub fn level_steps(&self) -> Vec<Level> {
        let mut steps = Vec::new();
        let mut ciphertexts = usize::MAX;
        for layer in self.layers.iter().skip(1) {
            let input = layer.input();
            if input.layout.ciphertexts() < ciphertexts {
                ciphertexts = input.layout.ciphertexts();
                steps.push(input.level);
            }
        }
        steps
    }

    /// The network on plain slots, with the weights rounded as the encrypted run rounds them.
    ///
    /// # Errors
    /// If `images` do not fit one group.
    pub fn forward_rounded(&self, images: &PlainTensor) -> Result<PlainTensor, LayerError> {
        let mut slots = self.input.layout.pack(images)?;
        for layer in &self.layers {
            slots = layer.forward_slots(&slots, Weights::Rounded)?;
        }
        self.output().layout.unpack(&slots, images.n)
    }

    /// Classes of the logits.
    pub fn classes(&self) -> usize {
        self.classes
    }
}
