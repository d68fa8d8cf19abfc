//! Benchmarks, sweeps and structural checks of the Polyphase workspace
