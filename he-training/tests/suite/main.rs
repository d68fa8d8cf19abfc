//! Trainings end to end on small, insecure rings.

mod heads;
mod lab;
