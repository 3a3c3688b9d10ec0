//! The numbers of states, cards and firms, as one table: how many characters, how grouped, which check, how sure.

use super::cards::{self, Issuer};
use super::context::Topic;
use super::kinds::Kind;
use super::national as n;
use super::run::Run;
use super::vat;

/// One way to write one kind of number.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    /// Characters without separators.
    pub(crate) length: usize,
    /// Groups and separators it may be written in; a single separator stands for all.
    layouts: &'static [(&'static [u8], &'static [u8])],
    check: fn(&[u8]) -> bool,
    /// Confidence of one that stands without separators and without a word; 0 when it is not written so.
    bare: f32,
    /// Confidence of one in groups without a word.
    grouped: f32,
    pub(crate) topic: Topic,
}

impl Spec {
    /// The confidence by form alone; `None` when it is none.
    pub(crate) fn confidence(&self, run: &Run) -> Option<f32> {
        let confidence = if run.is_bare(self.length) {
            self.bare
        } else if self.layouts.iter().any(|(groups, separators)| run.is_grouped(groups, separators)) {
            // Numbers beside each other with spaces between them fall into groups by chance.
            if run.is_crowded(self.length) { self.grouped.min(0.2) } else { self.grouped }
        } else {
            return None;
        };
        (confidence > 0.0 && (self.check)(run.first(self.length))).then_some(confidence)
    }
}

const THREES: &[u8] = &[3, 3, 3];
const US_PHONE: &[u8] = &[3, 3, 4];

/// What a number by form alone needs a word for. With the word it passes the usual limit of one half.
const WORD: f32 = 0.2;

/// Shortens the lines below.
const fn spec(
    kind: Kind,
    length: usize,
    layouts: &'static [(&'static [u8], &'static [u8])],
    check: fn(&[u8]) -> bool,
    (bare, grouped): (f32, f32),
    topic: Topic,
) -> Spec {
    Spec { kind, length, layouts, check, bare, grouped, topic }
}

/// All of them. A confidence says how many stretches of that form are by chance: one in ten for a single check digit,
/// one in a hundred for two, fewer where a date has to be right too, and fewer still with characteristic separators.
#[rustfmt::skip]
pub(crate) const SPECS: &[Spec] = &[
    spec(Kind::UsSsn, 9, &[(&[3, 2, 4], b"-")], n::us_ssn, (0.16, 0.6), Topic::Ssn),
    spec(Kind::UsSsn, 9, &[(&[3, 2, 4], b" ")], n::us_ssn, (0.0, 0.3), Topic::Ssn),
    spec(Kind::UsSsn, 9, &[(&[3, 2, 4], b".")], n::us_ssn, (0.0, 0.3), Topic::Ssn),
    spec(Kind::UsItin, 9, &[(&[3, 2, 4], b"-"), (&[3, 2, 4], b" ")], n::us_itin, (WORD, 0.6), Topic::Itin),
    spec(Kind::UsBankRouting, 9, &[(&[4, 4, 1], b"-"), (&[4, 5], b"-")], n::us_bank_routing, (WORD, 0.3), Topic::Routing),
    spec(Kind::UkNhs, 10, &[(US_PHONE, b" "), (US_PHONE, b"-")], n::uk_nhs, (WORD, 0.4), Topic::Nhs),
    spec(Kind::UkNino, 9, &[(&[2, 2, 2, 2, 1], b" "), (&[2, 6, 1], b" "), (&[2, 2, 2, 2, 1], b"-"), (&[8, 1], b" ")], n::uk_nino, (0.6, 0.75), Topic::Nino),
    spec(Kind::DeTaxId, 11, &[(&[2, 3, 3, 3], b" "), (&[2, 3, 3, 3], b"/"), (&[2, 3, 3, 3], b"-")], n::de_tax_id, (0.3, 0.6), Topic::GermanTax),
    spec(Kind::FrNir, 15, &[(&[1, 2, 2, 2, 3, 3, 2], b" "), (&[1, 2, 2, 2, 3, 3, 2], b"."), (&[1, 2, 2, 2, 3, 3, 2], b"-"), (&[13, 2], b" ")], n::fr_nir, (0.55, 0.95), Topic::Nir),
    spec(Kind::EsDni, 9, &[(&[8, 1], b"-"), (&[8, 1], b" "), (&[2, 3, 3, 1], b"..-"), (&[1, 7, 1], b"-")], n::es_dni, (0.55, 0.65), Topic::SpanishId),
    spec(Kind::ItCodiceFiscale, 16, &[(&[3, 3, 5, 5], b" "), (&[6, 5, 5], b" ")], n::it_codice_fiscale, (0.98, 0.98), Topic::ItalianCode),
    spec(Kind::NlBsn, 9, &[(THREES, b"."), (THREES, b" "), (&[4, 2, 3], b"."), (&[4, 2, 3], b" ")], n::nl_bsn, (WORD, WORD), Topic::Bsn),
    spec(Kind::BeNationalNumber, 11, &[(&[2, 2, 2, 3, 2], b"..-."), (&[2, 2, 2, 3, 2], b"..--"), (&[2, 2, 2, 3, 2], b" "), (&[2, 2, 2, 3, 2], b"..- "), (&[6, 3, 2], b"-"), (&[6, 3, 2], b" "), (&[2, 2, 2, 3, 2], b"."), (&[2, 2, 2, 3, 2], b"-")], n::be_national_number, (0.45, 0.95), Topic::Belgian),
    spec(Kind::PlPesel, 11, &[], n::pl_pesel, (0.3, 0.0), Topic::Pesel),
    spec(Kind::SePersonalNumber, 10, &[(&[6, 4], b"-"), (&[6, 4], b"+")], n::se_personal_number, (WORD, 0.65), Topic::Swedish),
    spec(Kind::SePersonalNumber, 12, &[(&[8, 4], b"-"), (&[8, 4], b"+")], n::se_personal_number, (0.4, 0.8), Topic::Swedish),
    spec(Kind::FiPersonalCode, 10, &[(&[6, 4], b"-"), (&[6, 4], b"+")], n::fi_personal_code, (0.0, 0.8), Topic::Finnish),
    spec(Kind::FiPersonalCode, 11, &[], n::fi_personal_code, (0.7, 0.0), Topic::Finnish),
    spec(Kind::DkCpr, 10, &[(&[6, 4], b"-"), (&[6, 4], b" ")], n::dk_cpr, (WORD, 0.4), Topic::Danish),
    spec(Kind::DkCpr, 10, &[(&[6, 4], b"-")], n::dk_cpr_checked, (0.0, 0.6), Topic::Danish),
    spec(Kind::NoBirthNumber, 11, &[(&[6, 5], b" "), (&[6, 5], b"-")], n::no_birth_number, (0.6, 0.8), Topic::Norwegian),
    spec(Kind::ChAhv, 13, &[(&[3, 4, 4, 2], b"."), (&[3, 4, 4, 2], b" "), (&[3, 4, 4, 2], b"-")], n::ch_ahv, (0.7, 0.98), Topic::Ahv),
    spec(Kind::InAadhaar, 12, &[(&[4, 4, 4], b" "), (&[4, 4, 4], b"-")], n::in_aadhaar, (WORD, 0.5), Topic::Aadhaar),
    spec(Kind::InPan, 10, &[], n::in_pan, (0.5, 0.0), Topic::Pan),
    spec(Kind::BrCpf, 11, &[(&[3, 3, 3, 2], b"..-")], n::br_cpf, (0.35, 0.98), Topic::Cpf),
    spec(Kind::BrCpf, 11, &[(&[9, 2], b"-"), (&[3, 3, 3, 2], b" "), (&[3, 3, 3, 2], b"-"), (&[3, 3, 3, 2], b".")], n::br_cpf, (0.0, 0.6), Topic::Cpf),
    spec(Kind::BrCnpj, 14, &[(&[2, 3, 3, 4, 2], b"../-")], n::br_cnpj, (0.35, 0.98), Topic::Cnpj),
    spec(Kind::BrCnpj, 14, &[(&[8, 4, 2], b"/-"), (&[12, 2], b"-"), (&[2, 3, 3, 4, 2], b" ")], n::br_cnpj, (0.0, 0.6), Topic::Cnpj),
    spec(Kind::CaSin, 9, &[(THREES, b"-"), (THREES, b" ")], n::ca_sin, (WORD, 0.3), Topic::Sin),
    spec(Kind::AuTfn, 9, &[(THREES, b" "), (THREES, b"-")], n::au_tfn, (WORD, 0.3), Topic::Tfn),
    spec(Kind::AuTfn, 8, &[(&[3, 3, 2], b" "), (&[2, 3, 3], b" ")], n::au_tfn, (WORD, WORD), Topic::Tfn),
    spec(Kind::AuAbn, 11, &[(&[2, 3, 3, 3], b" "), (&[2, 3, 3, 3], b"-")], n::au_abn, (0.4, 0.65), Topic::Abn),
    spec(Kind::AuMedicare, 10, &[(&[4, 5, 1], b" "), (&[4, 5, 1], b"-")], n::au_medicare, (WORD, 0.45), Topic::Medicare),
    spec(Kind::AuMedicare, 11, &[(&[4, 5, 1, 1], b" "), (&[4, 5, 1, 1], b"  /"), (&[4, 5, 1, 1], b"-"), (&[10, 1], b"/"), (&[10, 1], b" ")], n::au_medicare, (WORD, 0.45), Topic::Medicare),
    spec(Kind::SgNric, 9, &[(&[1, 7, 1], b"-"), (&[1, 7, 1], b" ")], n::sg_nric, (0.7, 0.7), Topic::Nric),
    spec(Kind::KrRrn, 13, &[(&[6, 7], b"-")], n::kr_rrn, (WORD, 0.5), Topic::Korean),
    spec(Kind::KrRrn, 13, &[(&[6, 7], b"-")], n::kr_rrn_checked, (0.4, 0.8), Topic::Korean),
    spec(Kind::CnResidentId, 18, &[(&[6, 8, 4], b" "), (&[6, 8, 4], b"-")], n::cn_resident_id, (0.9, 0.9), Topic::Chinese),
    spec(Kind::EuVat, 8, &[], vat::holds, (0.3, 0.0), Topic::Vat),
    spec(Kind::EuVat, 9, &[], vat::holds, (0.3, 0.0), Topic::Vat),
    spec(Kind::EuVat, 10, &[(&[2, 8], b" "), (&[2, 8], b"-"), (&[2, 3, 3, 2], b" "), (&[2, 2, 2, 2, 2], b" ")], vat::holds, (0.6, 0.6), Topic::Vat),
    spec(Kind::EuVat, 11, &[(&[2, 9], b" "), (&[2, 9], b"-"), (&[3, 8], b" "), (&[2, 3, 3, 3], b" "), (&[2, 3, 4, 2], b" "), (&[3, 4, 4], b" ")], vat::holds, (0.7, 0.6), Topic::Vat),
    spec(Kind::EuVat, 12, &[(&[2, 10], b" "), (&[2, 10], b"-"), (&[2, 4, 3, 3], b" "), (&[2, 4, 3, 3], b"."), (&[2, 4, 3, 3], b" ..")], vat::holds, (0.6, 0.6), Topic::Vat),
    spec(Kind::EuVat, 13, &[(&[2, 11], b" "), (&[2, 11], b"-"), (&[2, 2, 9], b" "), (&[2, 2, 3, 3, 3], b" ")], vat::holds, (0.75, 0.75), Topic::Vat),
    spec(Kind::EuVat, 14, &[(&[2, 12], b" "), (&[2, 12], b"-"), (&[2, 4, 5, 3], b".")], vat::holds, (0.75, 0.75), Topic::Vat),
];

/// The confidence that the first characters of a run are the number of a card, by form alone.
pub(crate) fn card(run: &Run, length: usize) -> Option<f32> {
    let characters = run.first(length);
    let mut digits = [0; 19];
    let digits = digits.get_mut(..length)?;
    for (digit, character) in digits.iter_mut().zip(characters) {
        if !character.is_ascii_digit() {
            return None;
        }
        *digit = character - b'0';
    }
    let bare = run.is_bare(length);
    let grouped = || {
        let known = |groups: &&[u8]| {
            groups.iter().map(|&group| usize::from(group)).sum::<usize>() == length
                && [b" ", b"-", b"."].iter().any(|separator| run.is_grouped(groups, *separator))
        };
        cards::GROUPS.iter().any(known)
    };
    if !bare && !grouped() {
        return None;
    }
    Some(match (cards::issuer(digits)?, bare) {
        (Issuer::Common, true) => 0.6,
        (Issuer::Common, false) => 0.85,
        (Issuer::Rare, true) => 0.25,
        (Issuer::Rare, false) => 0.4,
        (Issuer::Unknown, _) => WORD,
    })
}

/// The table by length, so that a stretch meets only those it can be.
pub(crate) fn by_length(wanted: impl Fn(Kind) -> bool) -> Vec<Vec<&'static Spec>> {
    let longest = SPECS.iter().map(|spec| spec.length).max().unwrap_or(0);
    let mut table = vec![Vec::new(); longest + 1];
    for spec in SPECS.iter().filter(|spec| wanted(spec.kind)) {
        table[spec.length].push(spec);
    }
    table
}
