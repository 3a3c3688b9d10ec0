//! STUB
#![allow(missing_docs)]
use crate::Finding; use std::sync::Arc;
#[derive(Default)] pub struct SecretOptions { pub tokens: Option<Arc<dyn Fn(&str) -> usize + Send + Sync>> }
pub struct Scanner; impl Scanner { pub fn new(_: SecretOptions) -> Self { Self } pub fn scan(&self, _: &str) -> Vec<Finding> { vec![] } }
