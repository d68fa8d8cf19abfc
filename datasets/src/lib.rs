//! CIFAR-10 and CIFAR-100 readers, synthetic images and batching
