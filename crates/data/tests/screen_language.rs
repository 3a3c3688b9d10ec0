//! The language of short texts.

use attune_data::screen::language::{Mix, detect};
use proptest::prelude::*;

#[test]
fn sentences() {
    for (code, text) in [
        ("eng", "What is the capital of the country, and how do I get there?"),
        ("eng", "Write a function that reverses a list."),
        ("deu", "Warum ist der Himmel am Abend rot, und was hat das mit der Luft zu tun?"),
        ("fra", "Pourquoi le ciel est-il rouge le soir et que peut-on en dire ?"),
        ("spa", "¿Por qué el cielo es rojo por la tarde y qué significa para los barcos?"),
        ("por", "Por que o céu fica vermelho à tarde e o que isso não significa para os barcos?"),
        ("ita", "Perché il cielo è rosso di sera e che cosa significa per gli uomini della nave?"),
        ("nld", "Waarom is de lucht in de avond rood en wat heeft dat met het weer te maken?"),
        ("swe", "Varför är himlen röd på kvällen och vad har det att göra med vädret?"),
        ("fin", "Miksi taivas on illalla punainen ja mitä se kertoo säästä, jos tuulee?"),
        ("pol", "Dlaczego niebo jest wieczorem czerwone i co to mówi o pogodzie, która się zmienia?"),
        ("ces", "Proč je obloha večer červená a co to říká o počasí, které se mění?"),
        ("tur", "Gökyüzü akşamları neden kırmızı ve bu hava için ne anlama gelir?"),
        ("vie", "Tại sao bầu trời có màu đỏ vào buổi tối và điều này là gì?"),
        ("ind", "Mengapa langit berwarna merah pada sore hari dan apa yang bisa kita ketahui dari itu?"),
        ("rus", "Почему небо вечером красное и что это говорит о погоде?"),
        ("ukr", "Чому небо ввечері червоне і що це говорить про погоду, якщо є вітер?"),
        ("ara", "لماذا تكون السماء حمراء في المساء و ما هو السبب في هذا"),
        ("hin", "शाम को आकाश लाल क्यों होता है और यह मौसम के बारे में क्या बताता है"),
        ("ell", "Γιατί ο ουρανός είναι κόκκινος το βράδυ;"),
        ("heb", "מדוע השמים אדומים בערב?"),
        ("jpn", "なぜ夕方の空は赤いのですか。"),
        ("zho", "为什么傍晚的天空是红色的？"),
        ("kor", "저녁 하늘은 왜 붉은가요?"),
        ("tha", "ทำไมท้องฟ้าตอนเย็นจึงเป็นสีแดง"),
    ] {
        assert_eq!(detect(text).map(|found| found.code()), Some(code), "{text}");
    }
    for text in ["", "42", "3 * (4 + 5) = 27", "x = y[i] + z[j];", "…!?"] {
        assert_eq!(detect(text), None, "{text}");
    }
    let mut mix = Mix::default();
    ["What is the time?", "Was ist das und wie ist es?", "12"].into_iter().for_each(|text| mix.observe(text));
    assert_eq!(mix.share("eng"), 0.5);
}

proptest! {
    #[test]
    fn any_text(text in any::<String>()) {
        if let Some(found) = detect(&text) {
            prop_assert!(found.code().len() == 3 && (0.0..=1.0).contains(&found.confidence()));
        }
    }
}
