//! Data about persons.
mod cards;
mod checksums;
mod context;
mod iban;
mod kinds;
mod national;
mod run;
mod vat;
