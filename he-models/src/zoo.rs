//! The models that come with the library.

/// The two files of a bundled model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bundled {
    pub name: &'static str,
    pub spec: &'static str,
    pub weights: &'static [u8],
}

macro_rules! bundled {
    ($($name:literal),* $(,)?) => {
        [$(Bundled {
            name: $name,
            spec: include_str!(concat!("../checkpoints/", $name, "/", $name, ".ron")),
            weights: include_bytes!(concat!("../checkpoints/", $name, "/", $name, ".safetensors")),
        }),*]
    };
}

/// In the order of error messages.
static BUNDLED: [Bundled; 3] = bundled!["resnet20", "resnet34", "tiny"];

/// The names of the bundled models.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUNDLED.iter().map(|b| b.name)
}

pub(crate) fn find(name: &str) -> Option<&'static Bundled> {
    BUNDLED.iter().find(|b| b.name == name)
}
