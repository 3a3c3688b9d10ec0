//! Words with a part in the guard: those that say nothing alone, and those that say a number, a no or a unit.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use super::super::hash;

/// When something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tense {
    Past,
    Present,
    Future,
}

/// What a word is to the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Two questions that differ in such words alone ask the same.
    Function,
    /// The same, but against a verb of another tense.
    Verb(Tense),
    /// A no.
    Negation,
    /// A number, as digits.
    Number(&'static str),
    /// A unit, and the one way to write it.
    Unit(&'static str),
}

/// What `word`, in lower case, is; `None` for words with a meaning of their own.
pub(super) fn role(word: &str) -> Option<Role> {
    if word.len() > LONGEST {
        return None;
    }
    if word.ends_with("n't") {
        return Some(Role::Negation);
    }
    ROLES.get(word).copied()
}

/// The tense of the verb in a word such as `didn't`.
pub(super) fn tense(word: &str) -> Option<Tense> {
    let role = ROLES.get(word).or_else(|| ROLES.get(word.strip_suffix("n't")?));
    match role {
        Some(Role::Verb(tense)) => Some(*tense),
        _ => None,
    }
}

/// No word of the lists is longer, in bytes.
const LONGEST: usize = 16;

/// Words by their bytes.
#[derive(Default)]
struct Bytes(u64);

impl Hasher for Bytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash::bytes(bytes, self.0);
    }

    fn write_u8(&mut self, _: u8) {
        // The mark behind a string: lengths are in the hash already.
    }
}

static ROLES: LazyLock<HashMap<&'static str, Role, BuildHasherDefault<Bytes>>> = LazyLock::new(|| {
    let mut roles = HashMap::default();
    let mut add = |words: &'static str, role: Role| {
        for word in words.split_whitespace() {
            assert!(word.len() <= LONGEST, "{word}");
            assert!(roles.insert(word, role).is_none(), "{word} stands in two lists");
        }
    };
    add(FUNCTION, Role::Function);
    add(PRESENT, Role::Verb(Tense::Present));
    add(PAST, Role::Verb(Tense::Past));
    add(FUTURE, Role::Verb(Tense::Future));
    add(NEGATIONS, Role::Negation);
    for line in NUMBERS {
        add(line.1, Role::Number(line.0));
    }
    for line in UNITS {
        add(line.1, Role::Unit(line.0));
    }
    roles
});

/// English, then German, French and Spanish.
const FUNCTION: &str = "a an the this that these those it its it's i i'm i've i'd you your yours me my mine we us \
    our of in on at for to with by as into onto during about from upon within through via per what whats which and \
    or so just please also then there here can could would should may might shall be being get got gets getting let \
    lets one some any very really actually exactly der das ein eine einen einem einer eines den dem des im am an's \
    zum zur von vom für mit auf bei aus und oder bitte es er ich du wir ihr man welche welcher welches welchen le \
    la les un une au aux et ou en dans sur pour par ce cette ces je tu nous vous quel quelle quels quelles el los \
    las unos unas del al y o de que qué se su por para con como este esta estos";
const PRESENT: &str = "is are do does has have ist sind hat haben wird werden est sont a-t ont es-tu está están hay";
const PAST: &str = "was were did had been war waren hatte hatten wurde wurden était étaient fue era fueron";
const FUTURE: &str = "will won't gonna wird's sera seront será";
const NEGATIONS: &str = "not no never none nobody nothing nowhere neither nor without cannot dont doesnt didnt isnt \
    arent wasnt werent cant couldnt shouldnt wouldnt havent hasnt hadnt aint nicht nie niemals kein keine keinen \
    keinem keiner keines nichts niemand ohne weder pas jamais sans aucun aucune rien personne nunca jamás nada \
    ningún ninguno ninguna sin ni tampoco non senza niet geen zonder nooit não sem";

/// `one` and `first` are not here: they often stand for no number, and against another number that one tells.
const NUMBERS: &[(&str, &str)] = &[
    ("0", "zero null"),
    ("2", "two second twice double zwei zweite deux deuxième dos segundo"),
    ("3", "three third thrice triple drei dritte trois troisième tres tercero"),
    ("4", "four fourth quadruple vier vierte quatre cuatro"),
    ("5", "five fifth fünf fünfte cinq cinco"),
    ("6", "six sixth sechs seis"),
    ("7", "seven seventh sieben sept siete"),
    ("8", "eight eighth acht huit ocho"),
    ("9", "nine ninth neun neuf nueve"),
    ("10", "ten tenth zehn dix diez"),
    ("11", "eleven eleventh elf onze"),
    ("12", "twelve twelfth dozen zwölf douze doce"),
    ("13", "thirteen dreizehn treize trece"),
    ("14", "fourteen vierzehn quatorze catorce"),
    ("15", "fifteen fünfzehn quinze quince"),
    ("16", "sixteen sechzehn seize dieciséis"),
    ("17", "seventeen siebzehn"),
    ("18", "eighteen achtzehn"),
    ("19", "nineteen neunzehn"),
    ("20", "twenty twentieth zwanzig vingt veinte"),
    ("30", "thirty dreißig trente treinta"),
    ("40", "forty vierzig quarante cuarenta"),
    ("50", "fifty fünfzig cinquante cincuenta"),
    ("60", "sixty sechzig soixante sesenta"),
    ("70", "seventy siebzig setenta"),
    ("80", "eighty achtzig ochenta"),
    ("90", "ninety neunzig noventa"),
    ("100", "hundred hundredth hundert cent cien"),
    ("1000", "thousand tausend mille mil"),
    ("1000000", "million millions millionen"),
    ("1000000000", "billion billions"),
    ("1000000000000", "trillion trillions"),
    ("1/2", "half halb halbe demi mitad"),
    ("1/4", "quarter quarters viertel"),
];

/// Only names that are no other word; what is short stands behind a number and is known by that.
const UNITS: &[(&str, &str)] = &[
    ("kg", "kg kgs kilogram kilograms kilogramme kilo kilos"),
    ("g", "gram grams gramme grammes"),
    ("mg", "mg milligram milligrams"),
    ("lb", "lb lbs"),
    ("oz", "oz ounce ounces"),
    ("t", "ton tons tonne tonnes"),
    ("km", "km kilometer kilometers kilometre kilometres"),
    ("m", "meter meters metre metres"),
    ("cm", "cm centimeter centimeters centimetre"),
    ("mm", "mm millimeter millimeters millimetre"),
    ("mi", "mile miles"),
    ("yd", "yard yards"),
    ("ft", "ft foot feet"),
    ("in", "inch inches"),
    ("l", "liter liters litre litres"),
    ("ml", "ml milliliter milliliters millilitre"),
    ("gal", "gallon gallons"),
    ("pt", "pint pints"),
    ("cup", "cup cups"),
    ("tsp", "tsp teaspoon teaspoons"),
    ("tbsp", "tbsp tablespoon tablespoons"),
    ("°c", "celsius centigrade"),
    ("°f", "fahrenheit"),
    ("k", "kelvin"),
    ("ms", "ms millisecond milliseconds"),
    ("s", "sec secs seconds"),
    ("min", "mins minute minutes"),
    ("h", "hr hrs hour hours"),
    ("d", "day days daily"),
    ("wk", "week weeks weekly"),
    ("mo", "month months monthly"),
    ("yr", "year years yearly annually"),
    ("century", "century centuries"),
    ("decade", "decade decades"),
    ("kb", "kb kilobyte kilobytes"),
    ("mb", "mb megabyte megabytes"),
    ("gb", "gb gigabyte gigabytes"),
    ("tb", "tb terabyte terabytes"),
    ("hz", "hz hertz khz mhz ghz"),
    ("w", "watt watts"),
    ("v", "volt volts"),
    ("j", "joule joules"),
    ("$", "dollar dollars usd"),
    ("€", "euro euros eur"),
    ("£", "pence gbp"),
    ("pound", "pound pounds"),
    ("%", "percent"),
    ("mph", "mph"),
    ("kmh", "kmh kph"),
    ("am", "a.m"),
    ("acre", "acre acres"),
    ("ha", "hectare hectares"),
];

/// Pairs of words of which the one, put for the other, turns a text round. In the form of [`super::stem`].
pub(super) static OPPOSITES: LazyLock<HashMap<u64, Vec<u64>>> = LazyLock::new(|| {
    let mut opposites: HashMap<u64, Vec<u64>> = HashMap::new();
    for pair in PAIRS.split_whitespace() {
        let Some((left, right)) = pair.split_once('/') else { continue };
        let (left, right) = (super::stem(left), super::stem(right));
        opposites.entry(left).or_default().push(right);
        opposites.entry(right).or_default().push(left);
    }
    opposites
});

const PAIRS: &str = "first/last maximum/minimum max/min maximal/minimal maximize/minimize increase/decrease rise/fall \
    raise/lower more/less more/fewer most/least high/low higher/lower highest/lowest upper/lower large/small larger/smaller \
    largest/smallest big/small bigger/smaller biggest/smallest long/short longer/shorter longest/shortest fast/slow \
    faster/slower fastest/slowest early/late earlier/later earliest/latest old/new older/newer oldest/newest old/young \
    older/younger oldest/youngest good/bad better/worse best/worst hot/cold hotter/colder hottest/coldest warm/cool \
    strong/weak stronger/weaker strongest/weakest near/far nearest/farthest before/after above/below over/under up/down \
    in/out on/off to/from into/from left/right top/bottom front/back inside/outside north/south east/west northern/southern \
    eastern/western open/close start/stop start/end start/finish begin/end begin/finish enable/disable allow/forbid \
    allow/deny accept/reject accept/refuse add/remove add/subtract add/delete insert/delete create/delete multiply/divide \
    buy/sell win/lose won/lost give/take send/receive push/pull import/export input/output encode/decode encrypt/decrypt \
    compress/decompress upload/download install/uninstall connect/disconnect lock/unlock show/hide import/export \
    include/exclude internal/external true/false yes/no right/wrong correct/incorrect always/never all/some all/none \
    always/sometimes and/or even/odd positive/negative male/female man/woman men/women boy/girl he/she him/her his/her \
    father/mother son/daughter brother/sister husband/wife uncle/aunt king/queen day/night morning/evening summer/winter \
    black/white dark/light heavy/light hard/soft hard/easy difficult/easy simple/complex rich/poor cheap/expensive \
    public/private local/global static/dynamic synchronous/asynchronous ascending/descending horizontal/vertical row/column \
    rows/columns width/height length/width numerator/denominator sine/cosine sin/cos sum/difference sum/product sum/average \
    mean/median product/quotient credit/debit profit/loss income/expense asset/liability import/export cause/effect \
    advantage/disadvantage pro/con benefit/drawback benefit/risk advantage/drawback strength/weakness question/answer \
    teacher/student doctor/patient employer/employee parent/child parent/children buyer/seller active/passive past/future \
    past/present modern/ancient domestic/foreign natural/artificial legal/illegal solid/liquid liquid/gas acid/base \
    client/server read/write load/save encoder/decoder sender/receiver source/target source/destination love/hate \
    success/failure succeed/fail pass/fail gain/lose gain/loss appear/disappear agree/disagree dead/alive live/die \
    attack/defend attack/defense friend/enemy war/peace guilty/innocent safe/dangerous same/different many/few much/little \
    only/also can/should can/must may/must full/empty wet/dry deep/shallow thick/thin wide/narrow loud/quiet clean/dirty \
    singular/plural prefix/suffix vowel/consonant supply/demand theory/practice quality/quantity qualitative/quantitative \
    objective/subjective primary/secondary major/minor majority/minority macro/micro inner/outer interior/exterior \
    entrance/exit enter/leave enter/exit arrive/leave arrive/depart arrival/departure remember/forget hypertension/hypotension \
    deductive/inductive convex/concave prime/composite finite/infinite continuous/discrete linear/nonlinear \
    supervised/unsupervised encourage/discourage include/omit inhale/exhale immigrate/emigrate implicit/explicit \
    erste/letzte groß/klein größer/kleiner gut/schlecht vor/nach mehr/weniger premier/dernier grand/petit plus/moins \
    avant/après primero/último grande/pequeño antes/después más/menos";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_no_word_twice() {
        assert_eq!(role("the"), Some(Role::Function));
        assert_eq!(role("twelve"), Some(Role::Number("12")));
        assert_eq!(role("shouldn't"), Some(Role::Negation));
        assert_eq!(role("lbs"), Some(Role::Unit("lb")));
        assert_eq!(role("eiffel"), None);
        assert_eq!((tense("was"), tense("didn't")), (Some(Tense::Past), Some(Tense::Past)));
        assert_eq!((role("won't"), tense("won't")), (Some(Role::Negation), Some(Tense::Future)));
    }

    #[test]
    fn no_pair_is_one_word_by_its_stem() {
        for (stem, others) in OPPOSITES.iter() {
            assert!(!others.contains(stem));
        }
        for word in PAIRS.split_whitespace() {
            assert!(word.contains('/'), "{word}");
        }
    }
}
