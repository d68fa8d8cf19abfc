"""Training of HE-friendly residual networks: every activation is a quadratic per channel."""
