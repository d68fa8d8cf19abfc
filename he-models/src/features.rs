//! A network that ends at its features: what a head reads.

use sha2::{Digest, Sha256};

use crate::{
    Model, ModelError, ModelSpec, files, front,
    spec::{NodeSpec, OpSpec},
    weights::{self, Tensor, Weights, hex},
    zoo,
};

/// Units that features are brought to: `(x - mean) / deviation`, divided by the root of their number, so that a feature vector of
/// usual size is about 1 long.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureUnits {
    /// Mean of each feature.
    pub mean: Vec<f64>,
    /// Deviation of each feature, above 0.
    pub deviation: Vec<f64>,
}

impl FeatureUnits {
    /// Means and deviations of features `[image][feature]`. A feature that hardly varies, by less than a thousandth of what the
    /// features do on average, gets that as its deviation.
    #[must_use]
    pub fn of(features: &[f64], count: usize) -> Self {
        let images = (features.len() / count.max(1)).max(1) as f64;
        let column = |f: usize| features.iter().skip(f).step_by(count.max(1));
        let mean: Vec<f64> = (0..count)
            .map(|f| column(f).sum::<f64>() / images)
            .collect();
        let deviation = |f: usize| {
            let square = column(f).map(|x| (x - mean[f]).powi(2)).sum::<f64>();
            (square / images).sqrt()
        };
        let deviation: Vec<f64> = (0..count).map(deviation).collect();
        let least = deviation.iter().sum::<f64>() / count.max(1) as f64 / 1000.0;
        let least = least.max(f64::MIN_POSITIVE);
        Self {
            deviation: deviation.iter().map(|d| d.max(least)).collect(),
            mean,
        }
    }
}

/// The two files of what a user means by a model: specification and bytes of the weights. See [`Model::open`].
///
/// # Errors
/// As [`Model::open`].
pub fn model_files(name_or_path: &str) -> Result<(ModelSpec, Vec<u8>), ModelError> {
    if let Some(bundled) = zoo::find(name_or_path) {
        let spec = ModelSpec::parse(bundled.spec, &format!("{name_or_path}.ron"))?;
        return Ok((spec, bundled.weights.to_vec()));
    }
    let model = Model::open(name_or_path)?;
    let path = std::path::Path::new(name_or_path).with_file_name(&model.spec().weights.file);
    Ok((
        model.spec().clone(),
        files::read(&path, files::MAX_WEIGHTS)?,
    ))
}

/// The network up to an activation, with the mean of each channel in the place of logits, in the given units: a network whose
/// classes are features. Without an activation's name, its last one.
///
/// # Errors
/// [`ModelError::Node`] if there is no such activation, [`ModelError::Value`] for units of another number of features or that are
/// not finite; whatever is wrong with the network.
pub fn features(
    spec: &ModelSpec,
    weights: &[u8],
    activation: Option<&str>,
    units: Option<&FeatureUnits>,
) -> Result<Model, ModelError> {
    let last = spec.activation_names().last();
    let name = activation.or(last).unwrap_or_default().to_owned();
    let (mut front, mut bytes) = front(spec, weights, &name)?;
    if let Some(units) = units {
        let count = front.classes.len();
        let of_channels = |what: &str, values: &[f64]| match values.len() == count {
            true => Ok(Tensor {
                shape: vec![count],
                values: values.to_vec(),
            }),
            false => Err(ModelError::Value {
                model: front.name.clone(),
                field: what.to_owned(),
                found: values.len().to_string(),
                expected: format!("{count}, one for each feature"),
            }),
        };
        let variance: Vec<f64> = units.deviation.iter().map(|d| d * d).collect();
        let root = (count as f64).sqrt();
        let mut tensors = Weights::parse(&front.name, &bytes, None)?.into_tensors();
        let entries = [
            (
                "features.weight",
                of_channels("gains", &vec![1.0 / root; count])?,
            ),
            ("features.bias", of_channels("offsets", &vec![0.0; count])?),
            (
                "features.mean",
                of_channels("means of features", &units.mean)?,
            ),
            (
                "features.variance",
                of_channels("deviations of features", &variance)?,
            ),
        ];
        tensors.extend(entries.map(|(name, tensor)| (name.to_owned(), tensor)));
        let pooled = front.nodes.last().map(|node| node.name.clone());
        front.nodes.push(NodeSpec {
            name: "features".to_owned(),
            inputs: pooled.into_iter().collect(),
            op: OpSpec::BatchNorm {
                weight: "features.weight".to_owned(),
                bias: "features.bias".to_owned(),
                mean: "features.mean".to_owned(),
                variance: "features.variance".to_owned(),
                epsilon: 0.0,
            },
        });
        bytes = weights::serialize(&front.name, &tensors)?;
        front.weights.sha256 = Some(hex(&Sha256::digest(&bytes)));
    }
    Model::new(front, &bytes)
}
