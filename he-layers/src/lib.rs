//! Neural network layers on encrypted image batches, each with its plaintext reference
