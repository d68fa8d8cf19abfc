"""Small synthetic data sets of any size: gratings, seven-segment digits and shapes. The same seed gives the same images."""
import numpy as np

# The segments that are lit in the digits 0 to 9: top, middle and bottom bar, then the upper and lower one at the left and at the right.
SEGMENTS = ["1011111", "0000011", "1110110", "1110011", "0101011", "1111001", "1111101", "1000011", "1111111", "1111011"]
COLOURS = np.array([[1.0, 0.3, 0.2], [0.2, 0.9, 0.4], [0.3, 0.4, 1.0]])


def picture(mask, channels, rng, colour=None, noise=25.0):
    """Bytes [image][channel][row][column] of masks in 0..1: dark where 0, bright or coloured where 1, and noise."""
    n = len(mask)
    if colour is None:
        colour = rng.uniform(0.7, 1.0, (n, channels))
    light = 60 + 140 * mask[:, None].astype(np.float32) * colour[:, :, None, None].astype(np.float32)
    light += noise * rng.standard_normal(light.shape, np.float32)
    return light.clip(0, 255).astype(np.uint8)


def gratings(rng, labels, shape):
    """Waves: the direction is the label divided by 3, rounded down, out of 4; the colour is the rest."""
    channels, height, width = shape
    n, one = len(labels), (slice(None), None, None)
    angle = np.pi / 4 * (labels // 3) + rng.normal(0, 0.05, n)
    frequency, phase = rng.uniform(0.6, 1.0, n)[one], rng.uniform(0, 2 * np.pi, n)[one]
    row, column = np.mgrid[:height, :width]
    wave = np.sin(frequency * (row * np.cos(angle)[one] + column * np.sin(angle)[one]) + phase)
    return picture(0.5 + 0.5 * wave, channels, rng, COLOURS[labels % 3])


def digits(rng, labels, shape):
    """Seven-segment digits of varying place, size, slant and thickness."""
    channels, height, width = shape
    n, one = len(labels), (slice(None), None, None)
    high, wide = height * rng.uniform(0.28, 0.36, n), width * rng.uniform(0.18, 0.26, n)
    y0 = (height - 1) / 2 + height * rng.uniform(-0.08, 0.08, n)
    x0 = (width - 1) / 2 + width * rng.uniform(-0.12, 0.12, n)
    row, column = np.mgrid[:height, :width].astype(np.float32)
    y = (row - y0[one]) / high[one]
    x = (column - x0[one]) / wide[one] + rng.uniform(-0.15, 0.15, n)[one] * y
    thick = rng.uniform(0.14, 0.22, n)[one]
    # Distance from each segment.
    bars = [np.maximum(np.abs(y - at), np.abs(x) - 1) for at in (-1, 0, 1)]
    bars += [np.maximum(np.abs(x - side), np.abs(y - at) - 0.5) for side in (-1, 1) for at in (-0.5, 0.5)]
    lit = np.array([[int(bit) for bit in digit] for digit in SEGMENTS])[labels]
    mask = np.zeros((n, height, width), bool)
    for segment, bar in enumerate(bars):
        mask |= (bar < thick) & (lit[:, segment] == 1)[one]
    return picture(mask, channels, rng)


def shapes(rng, labels, shape):
    """A disc, square, triangle, ring or cross of varying place and size; labels from 5 on are the same in another colour."""
    channels, height, width = shape
    n, one = len(labels), (slice(None), None, None)
    size = min(height, width) * rng.uniform(0.2, 0.32, n)
    y0 = (height - 1) / 2 + height * rng.uniform(-0.12, 0.12, n)
    x0 = (width - 1) / 2 + width * rng.uniform(-0.12, 0.12, n)
    row, column = np.mgrid[:height, :width].astype(np.float32)
    y, x = (row - y0[one]) / size[one], (column - x0[one]) / size[one]
    square, radius = np.maximum(np.abs(x), np.abs(y)), np.hypot(x, y)
    kinds = [
        radius < 1,
        square < 0.9,
        (y < 0.8) & (2 * np.abs(x) < y + 1),
        (radius < 1) & (radius > 0.6),
        (square < 1) & (np.minimum(np.abs(x), np.abs(y)) < 0.3),
    ]
    mask = np.choose((labels % 5)[one], kinds)
    return picture(mask, channels, rng, COLOURS[labels // 5])


def make(kind, classes, shape, count, seed):
    """Images [image][channel][row][column] as bytes, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    parts = [kind(rng, part, shape) for part in np.array_split(labels, -(-count // 128))]
    return np.concatenate(parts), labels
