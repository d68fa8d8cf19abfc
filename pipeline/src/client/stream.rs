//! Groups of images and logits as bytes, for servers that are reached by other ways than files.

use he_layers::{EncryptedTensor, PlainTensor};

use super::Client;
use crate::exchange::{Content, ExchangeError, GroupWriter, Holds, read_group};
use crate::grouping::GroupImages;

impl Client {
    /// Encrypts one group of images, as bytes for [`Server::read_images`](crate::server::Server::read_images), at half the size
    /// of what [`Self::encrypt`] gives.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub(crate) fn encrypt_to_bytes(
        &mut self,
        images: &PlainTensor,
        group: &GroupImages,
    ) -> Result<Vec<u8>, ExchangeError> {
        let encrypted = self.encrypt_seeded_group(images, group)?;
        let secret = self.inner.secret();
        let content = Content::new(Holds::Images, images.n, &self.spec);
        let (params, key) = (secret.params(), secret.id());
        let mut group = GroupWriter::new(Vec::new(), params, key, &content, &self.spec)?;
        group.push_seeded(&encrypted)?;
        group.finish()
    }

    /// Reads the logits of one group of `images` images, which [`Self::decrypt`] takes. `sender` is what errors call the server.
    ///
    /// # Errors
    /// [`ExchangeError::Serial`] and [`ExchangeError::Content`] for what are no logits of such a group.
    pub(crate) fn logits_from_bytes(
        &self,
        bytes: &[u8],
        images: usize,
        sender: &str,
    ) -> Result<EncryptedTensor, ExchangeError> {
        let secret = self.inner.secret();
        let of = (secret.params(), secret.id());
        let (logits, found) = read_group(bytes, sender, of, Holds::Logits, &self.spec)?;
        let found = found.range.len();
        if found == images {
            return Ok(logits);
        }
        Err(ExchangeError::Content {
            path: sender.into(),
            what: "its number of images",
            found: found.to_string(),
            expected: images.to_string(),
        })
    }
}
