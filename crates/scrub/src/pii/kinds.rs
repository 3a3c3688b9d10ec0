//! The list of kinds: one line each gives the variant, the rule, the label and the words about it.

/// A kind of personal data, as one line of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindInfo {
    /// The kind.
    pub kind: Kind,
    /// Its rule in kebab case, as findings and configurations name it.
    pub rule: &'static str,
    /// What a placeholder calls it.
    pub label: &'static str,
    /// What is found.
    pub description: &'static str,
    /// Whether it is looked for unless told otherwise.
    pub default: bool,
}

/// Builds the enum and the table from one list, so that they cannot differ.
macro_rules! kinds {
    ($($variant:ident $rule:literal $label:literal $default:literal $description:literal;)*) => {
        /// What a stretch of text is, when it is personal data.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $(#[doc = $description] $variant,)*
        }

        const KINDS: &[KindInfo] = &[
            $(KindInfo {
                kind: Kind::$variant,
                rule: $rule,
                label: $label,
                description: $description,
                default: $default,
            },)*
        ];
    };
}

kinds! {
    Email "email" "EMAIL" true "An e-mail address, also written as `name (at) host dot org`.";
    Phone "phone" "PHONE" true "A telephone number, international or national.";
    Iban "iban" "IBAN" true "An international bank account number with the right length and checksum.";
    PaymentCard "payment-card" "PAYMENT_CARD" true "The number of a payment card: a known issuer and the right checksum.";
    IpAddress "ip-address" "IP_ADDRESS" true "An IPv4 or IPv6 address. Private ones need a word that says so; loopback and documentation ones stay at low confidence.";
    MacAddress "mac-address" "MAC_ADDRESS" true "The hardware address of a network device.";
    UrlCredentials "url-credentials" "URL_CREDENTIALS" true "A URL with a user and a password in it.";
    Url "url" "URL" false "A URL, or a host that starts with `www.`.";
    UsSsn "us-ssn" "US_SSN" true "A United States social security number.";
    UsItin "us-itin" "US_ITIN" true "A United States individual taxpayer number.";
    UsBankRouting "us-bank-routing" "BANK_ROUTING" true "A United States bank routing number, beside a word that says so.";
    UkNhs "uk-nhs" "UK_NHS" true "A number of the British National Health Service.";
    UkNino "uk-nino" "UK_NINO" true "A British National Insurance number.";
    DeTaxId "de-tax-id" "DE_TAX_ID" true "A German tax identification number.";
    EuVat "eu-vat" "VAT_ID" true "A VAT number of the European Union, with the checksum of its country.";
    FrNir "fr-nir" "FR_NIR" true "A French social security number.";
    EsDni "es-dni" "ES_DNI" true "A Spanish identity number: DNI or NIE.";
    ItCodiceFiscale "it-codice-fiscale" "IT_CODICE_FISCALE" true "An Italian tax code.";
    NlBsn "nl-bsn" "NL_BSN" true "A Dutch citizen service number.";
    BeNationalNumber "be-national-number" "BE_NATIONAL_NUMBER" true "A Belgian national register number.";
    PlPesel "pl-pesel" "PL_PESEL" true "A Polish PESEL number.";
    SePersonalNumber "se-personal-number" "SE_PERSONAL_NUMBER" true "A Swedish personal or coordination number.";
    FiPersonalCode "fi-personal-code" "FI_PERSONAL_CODE" true "A Finnish personal identity code.";
    DkCpr "dk-cpr" "DK_CPR" true "A Danish CPR number.";
    NoBirthNumber "no-birth-number" "NO_BIRTH_NUMBER" true "A Norwegian birth number or D number.";
    ChAhv "ch-ahv" "CH_AHV" true "A Swiss AHV number.";
    InAadhaar "in-aadhaar" "IN_AADHAAR" true "An Indian Aadhaar number.";
    InPan "in-pan" "IN_PAN" true "An Indian permanent account number.";
    BrCpf "br-cpf" "BR_CPF" true "A Brazilian number of a natural person.";
    BrCnpj "br-cnpj" "BR_CNPJ" true "A Brazilian number of a legal person, digits or the newer letters and digits.";
    CaSin "ca-sin" "CA_SIN" true "A Canadian social insurance number.";
    AuTfn "au-tfn" "AU_TFN" true "An Australian tax file number.";
    AuAbn "au-abn" "AU_ABN" true "An Australian business number.";
    AuMedicare "au-medicare" "AU_MEDICARE" true "An Australian Medicare card number.";
    SgNric "sg-nric" "SG_NRIC" true "A Singapore NRIC or FIN number.";
    KrRrn "kr-rrn" "KR_RRN" true "A South Korean resident or foreigner registration number.";
    CnResidentId "cn-resident-id" "CN_RESIDENT_ID" true "A Chinese resident identity number.";
    Passport "passport" "PASSPORT" true "A passport number, beside a word that says so.";
    DrivingLicence "driving-licence" "DRIVING_LICENCE" true "The number of a driving licence, beside a word that says so.";
    CryptoAddress "crypto-address" "CRYPTO_ADDRESS" true "A Bitcoin or Ethereum address with the right checksum.";
    DateOfBirth "date-of-birth" "DATE_OF_BIRTH" true "A date beside a word about birth.";
    PostalCode "postal-code" "POSTAL_CODE" false "A postal code directly after a word that says so.";
}

/// All kinds, in the order of the enum.
pub fn kinds() -> &'static [KindInfo] {
    KINDS
}

impl Kind {
    /// Its line of the table.
    pub fn info(self) -> &'static KindInfo {
        &KINDS[self as usize]
    }

    /// The kind of that rule name, if there is one.
    pub fn from_rule(rule: &str) -> Option<Self> {
        KINDS.iter().find(|info| info.rule == rule).map(|info| info.kind)
    }
}

/// A set of kinds as bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KindSet(u64);

impl KindSet {
    pub(crate) fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | 1 << kind as u32))
    }

    pub(crate) fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_follows_the_enum() {
        for (place, info) in kinds().iter().enumerate() {
            assert_eq!(info.kind as usize, place);
            assert_eq!(info.kind.info(), info);
            assert_eq!(Kind::from_rule(info.rule), Some(info.kind));
            assert!(info.rule.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", info.rule);
            assert!(info.label.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{}", info.label);
        }
        assert!(kinds().len() <= 64, "the set has 64 bits");
        assert_eq!(Kind::from_rule("shoe-size"), None);
    }
}
