//! STUB
#![allow(missing_docs)]
use std::borrow::Cow;
pub struct K; impl K { pub fn name(&self) -> &'static str { "x" } } pub struct Hidden { pub kind: K }
pub fn scan(_: &str) -> Vec<Hidden> { vec![] } pub fn strip(t: &str) -> Cow<'_, str> { Cow::Borrowed(t) }
