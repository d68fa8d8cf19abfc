//! Model graphs, weights, folding and plaintext evaluation; ResNet-20 and ResNet-34
