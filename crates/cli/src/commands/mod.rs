//! One file per command.

pub(crate) mod adapter_files;
pub(crate) mod bench;
pub(crate) mod checkpoint;
pub(crate) mod data;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod fuse;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod pull;
pub(crate) mod quantized;
pub(crate) mod quickstart;
pub(crate) mod resume;
pub(crate) mod schema;
pub(crate) mod tokenizer;
pub(crate) mod train;
