//! RNS-CKKS: parameters checked for security, keys, evaluator, serialisation
