//! captions
