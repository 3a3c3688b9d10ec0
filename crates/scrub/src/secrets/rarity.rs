//! Is a value words, or noise?
//!
//! A tokenizer knows: words cost few tokens, noise costs many. Without one, a list of words and the pairs of letters in
//! them have to do.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

/// Counts the tokens of a text.
pub type TokenCounter = Arc<dyn Fn(&str) -> usize + Send + Sync>;

/// Characters per token from which a value is words.
const WORDS_FROM: f32 = 2.5;
/// The same for values below [`SHORT`], which must have a word inside as well.
const SHORT_WORDS_FROM: f32 = 2.1;
const SHORT: usize = 12;

/// Mean of log2 of the odds that a pair of letters comes from words and not from chance; words are well above.
const ODDS_OF_WORDS: f32 = 0.35;

/// Words that are common in prose, code and settings.
const WORDS: &str = "
about above accept access account action active actual address admin after again agent album alert alias allow alpha
already also always amount android angle animal another answer anything apache appear apple apply archive area argument
army array article asset assign async attach attempt audio author authentication auto avatar average await away awesome
azure back backend background backup balance banana base basic batch battery beach beautiful become been before begin
behavior being believe below best beta better between beyond big binary bird black block blog blood blue board body book
boolean border both bottom box branch brand bread break bridge bright bring broker browser bucket buffer build builder
building bundle business button byte cache call callback camera campaign cancel capital card care career carry case cash
cast catalog category center central certificate chain chair change channel chapter character chart chat check cheese
child children choice choose church circle city claim class clean clear click client clock clone close cloud cluster
code coffee cold collection college color column come command comment commit common community company compare complete
component computer condition config configuration confirm connect connection consider console constant consumer contact
container content context continue contract control convert cookie copy core corner correct cost count counter country
couple course cover crash create credential credit cross crypto culture current cursor custom customer cycle daemon
daily dance dark dashboard data database date deal debug decision declare decode deep default define delete deliver
demo department deploy deployment depth describe description design desktop detail develop developer development device
dialog different digital direct direction directory disable discover disk display distance docker document dollar domain
door double down download draft dragon draw dream drive driver drop during dynamic each early earth east easy echo
economy edge edit editor education effect either element elephant else email embed empty enable encode encoding encrypt
encryption endpoint energy engine english enough enter enterprise entity entry environment equal error escape evening
event ever every example except exception execute exist exit expect experience expire explain export express expression
extend extension external extra eye face factor factory fail fall false family far farm fast father feature feedback
feel fetch few field figure file filter final find finger finish fire first fish fixture flag flash float floor flower
flow fly focus folder follow font food foot force foreign forest forget fork form format forward found frame framework
free fresh friday friend from front full function future gain gallery game garden gate gateway general generate
generator get girl give glass global gold good google government grand grant graph gray great green grid ground group
grow guard guess guest guide hair half hand handle handler happy hard hash have head header health heart heat heavy
height hello help here hidden high highlight history hold holiday home hook hope horse hospital host hotel hour house
however html http human hundred icon idea identifier image impact import important include income increase index industry
info information initial inline inner input insert inside install instance instead integer integration interest interface
internal internet into invalid invoice issue item iterator java javascript join journal json jump just keep kernel key
keyboard kind king kitchen know label lambda land language large last late latest launch layer layout lead leader learn
least leave left legal length less letter level library license life light like limit line link linux list listen
listener little live load loader local location lock log logger logic login long look loop love lower machine magic mail
main maintain major make manage manager manifest manual map mark market master match material math matter maximum maybe
media medium meeting member memory menu merge message metadata meter method metric middle middleware might migration
minimum minor minute mirror miss mission mobile mock mode model modern module moment monday money monitor month moon more
morning most mother mountain mouse move movie much multi music must name namespace nation native nature near need network
never news next night node none normal north note nothing notification notify number object observer ocean offer office
offset often once online only open operation operator option oracle orange order organization origin other output over
override owner pack package page pain paint panel paper parameter parent park parse parser part partner party pass
password past patch path pattern payload payment people percent perform perhaps period permission person phone photo
php picture piece ping pipeline pixel place placeholder plain plan plane planet platform play player please plugin point
policy pool popular port position post postgres power prefix prepare present press pretty prevent preview price primary
print private probably problem process processor produce product production profile program progress project promise
prompt property protect protocol provide provider proxy public publish pull purchase purple push python quality quarter
query question queue quick quiet quite quote radio rain random range rate rather reach read reader ready real really
reason receive recent record recover red redirect redis reduce reference refresh region register registry relation
release remember remote remove render repeat replace reply report repository request require required reset resource
response rest restore result retry return review right ring river road robot role room root rotate round route router
ruby rule run runner runtime safe sale same sample sand save scale scan schedule schema school science scope score screen
script scroll search season second secret section secure security see seed select sell send sender sense sentence
separate sequence serial series serve server service session set setting setup seven several shadow shape share shell
ship shirt shop short should show side sign signal signature signing silver similar simple since single sister site size
skin slack sleep slow small smart snow social socket soft software solution some something song soon sort sound source
south space spark speak special speed split spring sql square stack staff stage standard star start state statement
static station statistics status stay step still stock stop storage store story stream street string strong structure
student study style subject submit subscription success such suffix summer sun sunday super support sure swift switch
symbol sync system table tail take talk target task tax teacher team technology telegram template terminal test tester
testing text than thank that theme then theory there these they thing think third this thread three through ticket tiger
time timeout title today together token tomorrow tool tooltip topic total touch track trade traffic train transaction
transfer transform translate travel tree trigger true trust tunnel turn twitter type under undefined union unique unit
universe unknown unlock until update upgrade upload upper user username using utility valid validate validation value
variable vault vector vendor verify version very video view virtual visit visitor voice volume wait walk wallet want warm
warning watch water wave weak weather web webhook website wednesday week welcome west what wheel when where which while
white whole widget width wild wind window winter wish with within without woman wonder wood word work worker workflow
workspace world worth would wrap write writer wrong year yellow yesterday young your zero zone
accesstoken apikey auth bearer callback csrf dev env foo jwt oauth param params prod pwd repo secretkey tls tmp url xml
contrasena contraseña motdepasse passwort kennwort senha usuario utilisateur benutzer passord wachtwoord
";

static LIST: LazyLock<HashSet<&'static str>> = LazyLock::new(|| WORDS.split_whitespace().collect());

/// log2 of the odds of each pair of letters.
static PAIRS: LazyLock<[[f32; 26]; 26]> = LazyLock::new(|| {
    let mut counts = [[0.5f32; 26]; 26];
    for word in WORDS.split_whitespace() {
        for pair in word.as_bytes().windows(2) {
            if let [a @ b'a'..=b'z', b @ b'a'..=b'z'] = *pair {
                counts[(a - b'a') as usize][(b - b'a') as usize] += 1.0;
            }
        }
    }
    let total: f32 = counts.iter().flatten().sum();
    counts.map(|row| row.map(|count| (count / total * 676.0).log2()))
});

/// Judges how ordinary a value is.
pub(super) struct Rarity {
    counter: Option<TokenCounter>,
}

impl Rarity {
    pub(super) fn new(counter: Option<TokenCounter>) -> Self {
        Self { counter }
    }

    /// Whether `value` is words rather than noise.
    pub(super) fn ordinary(&self, value: &str) -> bool {
        let Some(counter) = &self.counter else { return looks_like_words(value) };
        let ratio = value.chars().count() as f32 / counter(value).max(1) as f32;
        ratio >= WORDS_FROM
            || (value.len() < SHORT && ratio >= SHORT_WORDS_FROM && covered(value) >= 4)
            || is_words_and_joints(value)
    }
}

/// Whether `value` consists of words of the list and what joins names (`_`, `-`, `.`).
fn is_words_and_joints(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-' | b'.' | b' '))
        && looks_like_words(value)
}

/// The judgement without a tokenizer.
pub(super) fn looks_like_words(value: &str) -> bool {
    let letters = value.chars().filter(|c| c.is_alphabetic()).count();
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    if letters < 4 || digits * 3 > value.len() {
        return false;
    }
    if value.chars().filter(|c| c.is_alphabetic() && !c.is_ascii()).count() * 2 > letters {
        // Other scripts: no generator of keys uses them.
        return true;
    }
    if covered(value) * 10 >= letters * 7 {
        return true;
    }
    // Case that changes inside of words is noise, whatever the letters.
    let flips =
        value.as_bytes().windows(2).filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()).count();
    if flips * 5 > letters || digits * 8 > value.len() {
        return false;
    }
    let (mut sum, mut pairs) = (0.0, 0);
    for pair in value.as_bytes().windows(2) {
        let (a, b) = (pair[0].to_ascii_lowercase(), pair[1].to_ascii_lowercase());
        if a.is_ascii_lowercase() && b.is_ascii_lowercase() {
            sum += PAIRS[(a - b'a') as usize][(b - b'a') as usize];
            pairs += 1;
        }
    }
    pairs >= 3 && sum / pairs as f32 >= ODDS_OF_WORDS
}

/// How many letters of `value` belong to words of the list with at least four letters, the longest first.
fn covered(value: &str) -> usize {
    const LONGEST: usize = 14;
    /// Whoever writes more than this writes no identifier.
    const LOOKED_AT: usize = 256;
    let lower = value.to_ascii_lowercase();
    let bytes = lower.as_bytes();
    let bytes = &bytes[..bytes.len().min(LOOKED_AT)];
    let (mut at, mut covered) = (0, 0);
    while at < bytes.len() {
        let length = (4..=LONGEST.min(bytes.len() - at))
            .rev()
            .find(|&length| std::str::from_utf8(&bytes[at..at + length]).is_ok_and(|word| LIST.contains(word)));
        match length {
            Some(length) => {
                covered += length;
                at += length;
            }
            None => at += 1,
        }
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_noise() {
        let rarity = Rarity::new(None);
        for words in
            ["user_password", "newAccessToken", "database-connection", "authentication", "Vorname", "undefined"]
        {
            assert!(rarity.ordinary(words), "{words}");
        }
        for noise in ["xkqzpwvb", "q8Zr2LmX0vKtY5wBn7Jd", "hvTqWxKzPbNrJc", "9f86d081884c7d65"] {
            assert!(!rarity.ordinary(noise), "{noise}");
        }
    }

    #[test]
    fn a_tokenizer_is_asked_when_there_is_one() {
        let words = Rarity::new(Some(Arc::new(|_: &str| 1)));
        let noise = Rarity::new(Some(Arc::new(|text: &str| text.len())));
        assert!(words.ordinary("q8Zr2LmX0vKtY5wBn7Jd"));
        assert!(!noise.ordinary("q8Zr2LmX0vKtY5wBn7Jd"));
    }
}
