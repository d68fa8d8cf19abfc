"""Reading the binary layout, and what augmentation may and may not do."""

import numpy as np
import pytest
import torch

from hetrain.data import Augmentation, Images, Loader, Normalisation, _read, synthetic

FILL = torch.tensor([7, 8, 9], dtype=torch.uint8)


def test_record_is_label_then_red_green_blue_planes(tmp_path):
    record = np.concatenate([[3], np.full(1024, 10), np.full(1024, 20), np.full(1024, 30)]).astype(np.uint8)
    np.concatenate([record, record]).tofile(tmp_path / "batch.bin")
    images = _read(tmp_path / "batch.bin", label_bytes=1, classes=10)
    assert images.pixels.shape == (2, 32, 32, 3) and images.labels.tolist() == [3, 3]
    assert images.pixels[0, 5, 6].tolist() == [10, 20, 30]


def test_truncated_file_is_refused(tmp_path):
    np.zeros(3000, np.uint8).tofile(tmp_path / "batch.bin")
    with pytest.raises(ValueError, match="3000 bytes"):
        _read(tmp_path / "batch.bin", label_bytes=1, classes=10)


def test_label_outside_the_classes_is_refused(tmp_path):
    np.full(3073, 11, np.uint8).tofile(tmp_path / "batch.bin")
    with pytest.raises(ValueError, match="label 11"):
        _read(tmp_path / "batch.bin", label_bytes=1, classes=10)


def images(count=64, size=8):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(50, 200, (count, size, size, 3), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(count))


def test_no_augmentation_gives_every_image_once():
    source = images()
    batches = list(Loader(source, Augmentation(flip=False, shift=0), FILL, 16, seed=1).epoch(0))
    labels = torch.cat([labels for _, labels in batches])
    assert sorted(labels.tolist()) == list(range(64))
    assert torch.equal(torch.cat([pixels for pixels, _ in batches]), source.pixels[labels])


def test_epochs_repeat_by_seed_and_differ_from_each_other():
    loader = Loader(images(), Augmentation(shift=2, cutout=4), FILL, 16, seed=1)
    first, again, second = (torch.cat([pixels for pixels, _ in loader.epoch(e)]) for e in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_shift_moves_whole_images_and_fills_with_the_mean_colour():
    source = images(count=16)
    for pixels, labels in Loader(source, Augmentation(flip=False, shift=2), FILL, 16, seed=1).epoch(0):
        for image, label in zip(pixels, labels):
            padded = torch.nn.functional.pad(source.pixels[label].permute(2, 0, 1), (2, 2, 2, 2)).permute(1, 2, 0).clone()
            outside = torch.nn.functional.pad(torch.zeros(8, 8, dtype=torch.bool), (2, 2, 2, 2), value=True)
            padded[outside] = FILL
            crops = [padded[y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
            assert any(torch.equal(image, crop) for crop in crops)


def test_normalised_fill_is_near_zero():
    norm = Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    assert norm.apply(norm.fill().view(1, 1, 1, 3), torch.float32).abs().max() < 0.01


def test_synthetic_images_are_reproducible_and_balanced():
    a, b = synthetic(train=40, test=10), synthetic(train=40, test=10)
    assert a.sha256 == b.sha256 and torch.equal(a.test.pixels, b.test.pixels)
    assert torch.bincount(a.train.labels).tolist() == [4] * 10
