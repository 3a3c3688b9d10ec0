//! Data about persons.
