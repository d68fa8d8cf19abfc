//! The examples run, and find their results right.

#[path = "../../examples/own_activation.rs"]
mod own_activation;
#[path = "../../examples/single_layer.rs"]
mod single_layer;

#[test]
fn own_activation_is_right() {
    own_activation::main().unwrap();
}

#[test]
fn single_layer_is_right() {
    single_layer::main().unwrap();
}
