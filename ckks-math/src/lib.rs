//! Modular arithmetic, NTT, RNS bases and the buffer pool of Polyphase
