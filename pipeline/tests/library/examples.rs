//! The examples run, and find their results right.

use std::path::Path;

#[path = "../../examples/layer_swap.rs"]
mod layer_swap;
#[path = "../../examples/own_network.rs"]
mod own_network;
#[path = "../../examples/relu_network.rs"]
mod relu_network;

#[test]
fn layer_swap_is_right() {
    layer_swap::main().unwrap();
}

#[test]
fn own_network_is_right() {
    own_network::run(Path::new(own_network::FILE)).unwrap();
}

#[test]
fn relu_network_is_right() {
    relu_network::main().unwrap();
}
