"""The conditioning of pictures: the fast form against the definition."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hetrain import data
from hetrain.conditioning import Conditioning, Plan, reference, vectors

VECTORS = Path(__file__).parents[2] / "tests" / "vectors" / "conditioning.json"


def test_fast_form_equals_the_definition():
    for case in vectors():
        shape, conditioning = case["input"], Conditioning.from_dict(case["input"]["conditioning"])
        pixels = np.array(case["pixels"], np.uint8).reshape(shape["channels"], shape["height"], shape["width"])
        x = torch.from_numpy(pixels).permute(1, 2, 0).unsqueeze(0).double() / 255
        found = conditioning.apply(x)[0].permute(2, 0, 1).numpy()
        np.testing.assert_allclose(found, reference(pixels, conditioning), atol=1e-12, err_msg=case["name"])
        narrow = conditioning.apply(x.float())[0].permute(2, 0, 1).numpy()
        np.testing.assert_allclose(narrow, found, atol=3e-6, err_msg=case["name"])


def test_vectors_in_the_tree_are_those_of_the_definition():
    stored = json.loads(VECTORS.read_text())
    assert [case["name"] for case in stored] == [case["name"] for case in vectors()]
    for old, new in zip(stored, vectors()):
        assert (old["input"], old["pixels"]) == (new["input"], new["pixels"])
        np.testing.assert_allclose(old["expected"], new["expected"], atol=1e-14)


def test_limits_hold_after_conditioning_and_leave_most_images_alone():
    pixels = data.synthetic(train=2000, test=64).train.pixels
    conditioning = Conditioning.fit(pixels, Plan(share=0.99))
    x = pixels.float() / 255
    moved = (conditioning.apply(x) - x).abs().amax((1, 2, 3)) > 1e-4
    assert 0.01 < moved.float().mean() < 0.15
    noise = 255 * torch.randint(0, 2, (200, 8, 8, 3), generator=torch.Generator().manual_seed(1))
    tamed = conditioning.apply(noise / 255)
    finest = conditioning.bands[0][0]
    assert (tamed.sum(3) / 3**0.5 - tamed.sum(3).mean((1, 2), keepdim=True) / 3**0.5).square().mean().sqrt() < 4 * finest


def test_gradient_is_finite_on_flat_pictures_and_right_on_others():
    conditioning = Conditioning.fit(data.synthetic(train=500, test=64).train.pixels, Plan(share=0.5))
    flat = torch.full((1, 8, 8, 3), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(conditioning.apply(flat).square().sum(), flat)
    assert torch.isfinite(gradient).all()
    x = torch.rand(2, 4, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conditioning.apply, (x,))


def test_unconditioned_plan_has_no_bands():
    assert Plan(scales=0).scales == 0
    with pytest.raises(KeyError):
        Conditioning.from_dict({"opponent": True})
