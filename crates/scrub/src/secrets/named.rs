//! Secrets without a mark of their own, known by the name of the provider before them.

use std::ops::Range;

use super::placeholder;
use super::rule::{Rule, Search, label};
use super::shape::{self, Alphabet, Shape, UUID, exact, range};

/// How far behind the name of the provider a value may begin.
const REACH: usize = 80;
/// The longest value.
const LONGEST: usize = 256;

const HEX32: Shape = exact(Alphabet::Hex, 32);
const HEX40: Shape = exact(Alphabet::Hex, 40);
const HEX64: Shape = exact(Alphabet::Hex, 64);

/// Looks for values of the shapes in the same or the next line.
pub(super) fn find(search: &mut Search<'_>, shapes: &[Shape], keyword: &Range<usize>, rule: usize, confidence: f32) {
    let bytes = search.text.as_bytes();
    let limit = (keyword.end + REACH).min(bytes.len());
    let mut at = keyword.end;
    // The rest of the name is no value.
    while at < limit && is_word(bytes[at]) && at - keyword.end < 40 {
        at += 1;
    }
    let mut lines = 0;
    let mut filler = None;
    while at < limit {
        let byte = bytes[at];
        if byte == b'\n' {
            lines += 1;
            if lines > 1 {
                break;
            }
        }
        if !is_word(byte) && byte != b'+' && byte != b'/' {
            at += 1;
            continue;
        }
        let word = at + bytes[at..].iter().take(LONGEST + 1).take_while(|&&byte| is_word(byte)).count();
        let mut wide = at
            + bytes[at..]
                .iter()
                .take(LONGEST + 1)
                .take_while(|&&byte| is_word(byte) || matches!(byte, b'+' | b'/'))
                .count();
        let digits_end = wide;
        wide += bytes[wide..].iter().take(2).take_while(|&&byte| byte == b'=').count();
        for (end, in_base64) in [(word, false), (wide, true), (digits_end, true)] {
            let value = &search.text[search.widen(at..end)];
            let fits = |shape: &Shape| (shape.alphabet == Alphabet::Base64) == in_base64 && shape.fits(value);
            if end == at || !shapes.iter().any(fits) || is_part_of_address(bytes, at, value) || value.ends_with('-') {
                continue;
            }
            if is_secret(search, value) {
                search.push(at..end, rule, confidence);
                return;
            }
            if filler.is_none() && is_made_up(value) {
                filler = Some(at..end);
            }
        }
        at = word.max(at + 1);
    }
    if let Some(span) = filler {
        search.push(span, rule, placeholder::MADE_UP.min(confidence));
    }
}

/// Of the shape, but filled up: no line of dashes and no word.
fn is_made_up(value: &str) -> bool {
    value.bytes().filter(u8::is_ascii_alphanumeric).count() * 2 > value.len() && placeholder::is_filler(value)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Commits, packages in lock files and objects in addresses: `#3b33…`, `/apps/98fc…`.
fn is_part_of_address(bytes: &[u8], at: usize, value: &str) -> bool {
    let hexadecimal = value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let before = bytes[at.saturating_sub(16)..at].to_ascii_lowercase();
    let says = |word: &[u8]| before.windows(word.len()).any(|window| window == word);
    hexadecimal
        && (before.last().is_some_and(|byte| matches!(byte, b'/' | b'#' | b'@'))
            || (!says(b"api_hash")
                && [&b"commit"[..], b"sha", b"rev", b"hash", b"checksum", b"digest"].into_iter().any(says)))
}

fn is_secret(search: &Search<'_>, value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    if digits == value.len() {
        // An account: only a shape of digits lets it through.
        return !placeholder::is_sequence(value.as_bytes());
    }
    digits >= 1
        && letters >= 2
        && !placeholder::is_made_up(value)
        && !placeholder::is_placeholder(value)
        && shape::irregular(value)
        && (shape::is_uuid(value) || !search.rarity.ordinary(value))
}

/// The rules of this file.
pub(super) fn rules() -> Vec<Rule> {
    let key = |name, provider, keywords, shapes| {
        Rule::named(name, provider, "key next to the name of the provider", keywords, shapes)
    };
    vec![
        Rule::named(
            "aws-secret-access-key",
            "AWS",
            "secret access key",
            &["aws", "secretaccesskey", "secret_access_key", "secret_key", "secretkey", "AKIA", "ASIA"],
            const { &[exact(Alphabet::Base64, 40)] },
        )
        .label(label::SECRET)
        .sure(0.85),
        key("facebook-secret", "Facebook", &["facebook", "fb_app", "fb_secret"], const { &[HEX32] })
            .label(label::SECRET),
        key(
            "twitter-secret",
            "Twitter",
            &[
                "twitter_secret",
                "twitter_api",
                "twitter_consumer",
                "twitter_access",
                "twitter_token",
                "twitter_key",
                "twitterapi",
                "twitterconsumer",
                "twittersecret",
                "twitteraccess",
                "twitter secret",
                "twitter api",
                "twitter consumer",
                "twitter access",
            ],
            const { &[range(Alphabet::Alnum, 35, 50), range(Alphabet::Word, 40, 50)] },
        )
        .label(label::SECRET),
        key("twitter-client-id", "Twitter", &["twitter"], const { &[range(Alphabet::Alnum, 18, 25)] }).identifier(),
        key("linkedin-client-id", "LinkedIn", &["linkedin"], const { &[range(Alphabet::Alnum, 12, 14)] }).identifier(),
        key("linkedin-secret", "LinkedIn", &["linkedin"], const { &[exact(Alphabet::Alnum, 16)] }).label(label::SECRET),
        key("github-secret", "GitHub", &["github"], const { &[HEX40, range(Alphabet::Alnum, 35, 40)] }).sure(0.55),
        key("github-client-id", "GitHub", &["github"], const { &[exact(Alphabet::Hex, 20)] }).identifier(),
        key("heroku-key", "Heroku", &["heroku"], const { &[UUID] }),
        key("okta-token", "Okta", &["okta", "ssws"], const { &[exact(Alphabet::Word, 42)] }),
        key(
            "jenkins-token",
            "Jenkins",
            &["jenkins", "jenkins-crumb", "crumb"],
            const { &[range(Alphabet::Hex, 32, 36), HEX64] },
        ),
        key(
            "azure-devops-key",
            "Azure",
            &["azure", "vsts", "visualstudio", "devops", "ado_pat", "ado-pat", "_pat"],
            const { &[exact(Alphabet::Lower, 52)] },
        ),
        key(
            "azure-client-key",
            "Azure",
            &["azure", "storage_key", "account_key", "cosmos"],
            const { &[exact(Alphabet::Base64, 44), exact(Alphabet::Base64, 88)] },
        ),
        key("datadog-key", "Datadog", &["datadog", "dd_api", "dd_app", "dd-api", "dd-app"], const { &[HEX32, HEX40] }),
        key(
            "newrelic-named-key",
            "New Relic",
            &["newrelic", "new_relic", "license_key", "license-key", "licensekey"],
            const { &[HEX40, range(Alphabet::Hex, 36, 47)] },
        ),
        key("mailgun-named-key", "Mailgun", &["mailgun"], const { &[HEX32] }),
        key("twilio-auth-token", "Twilio", &["twilio"], const { &[HEX32] }),
        key("sauce-labs-key", "Sauce Labs", &["sauce"], const { &[UUID] }),
        key("postmark-token", "Postmark", &["postmark"], const { &[UUID] }),
        key("snyk-named-token", "Snyk", &["snyk"], const { &[UUID] }),
        key("particle-token", "Particle", &["particle", "__spark", "spark.core"], const { &[HEX40] }),
        key(
            "codeclimate-reporter-id",
            "Code Climate",
            &["codeclimate", "cc_test_reporter", "code_climate", "reporter_id"],
            const { &[HEX64] },
        ),
        key(
            "dropbox-secret",
            "Dropbox",
            &["dropbox"],
            const { &[exact(Alphabet::Lower, 15), exact(Alphabet::Word, 64)] },
        ),
        key("figma-named-token", "Figma", &["figma"], const { &[range(Alphabet::Word, 42, 43)] }),
        key("algolia-key", "Algolia", &["algolia"], const { &[HEX32] }),
        key("asana-secret", "Asana", &["asana"], const { &[HEX32, exact(Alphabet::Lower, 32)] }),
        key(
            "bitbucket-key",
            "Bitbucket",
            &["bitbucket"],
            const {
                &[
                    exact(Alphabet::Alnum, 32),
                    range(Alphabet::Word, 64, 64),
                    exact(Alphabet::Alnum, 18),
                    exact(Alphabet::Alnum, 20),
                ]
            },
        ),
        key(
            "atlassian-named-token",
            "Atlassian",
            &["atlassian", "jira", "confluence"],
            const { &[exact(Alphabet::Alnum, 24)] },
        ),
        key(
            "cloudflare-key",
            "Cloudflare",
            &["cloudflare", "cf_api"],
            const { &[exact(Alphabet::Hex, 37), exact(Alphabet::Word, 40)] },
        ),
        key("circleci-named-token", "CircleCI", &["circleci", "circle_token", "circle-token"], const { &[HEX40] }),
        key("codecov-token", "Codecov", &["codecov"], const { &[UUID, exact(Alphabet::Lower, 32)] }),
        key("travis-token", "Travis CI", &["travis"], const { &[exact(Alphabet::Word, 22)] }),
        key(
            "rapidapi-key",
            "RapidAPI",
            &["rapidapi"],
            const { &[exact(Alphabet::Alnum, 50), exact(Alphabet::Word, 50)] },
        ),
        key("nasa-key", "NASA", &["nasa"], const { &[exact(Alphabet::Alnum, 40)] }),
        key("openweather-key", "OpenWeather", &["openweather"], const { &[HEX32] }),
        key("telegram-api-hash", "Telegram", &["api_hash"], const { &[HEX32] }),
        key(
            "thingsboard-key",
            "ThingsBoard",
            &["thingsboard", "provisiondevicekey", "provisiondevicesecret", "provision"],
            const { &[range(Alphabet::Lower, 20, 20), exact(Alphabet::Alnum, 20)] },
        ),
        key(
            "blynk-named-token",
            "Blynk",
            &["blynk", "blynk_auth"],
            const { &[exact(Alphabet::Word, 32), exact(Alphabet::Word, 40), exact(Alphabet::Word, 30)] },
        ),
        key("sonar-named-token", "SonarQube", &["sonar"], const { &[HEX40] }),
        key("shopify-secret", "Shopify", &["shopify"], const { &[HEX32] }),
        key("square-named-token", "Square", &["squareup"], const { &[range(Alphabet::Word, 43, 64)] }),
        key("wandb-named-key", "Weights & Biases", &["wandb"], const { &[HEX40] }),
        key(
            "cohere-mistral-key",
            "Cohere and Mistral",
            &["cohere", "mistral", "together", "ai21", "deepgram", "assemblyai"],
            const { &[exact(Alphabet::Alnum, 40), exact(Alphabet::Alnum, 32), HEX64] },
        ),
        key("zendesk-secret", "Zendesk", &["zendesk"], const { &[exact(Alphabet::Alnum, 40), HEX64] }),
        key("fastly-token", "Fastly", &["fastly"], const { &[exact(Alphabet::Word, 32)] }),
        key("digitalocean-named-token", "DigitalOcean", &["digitalocean", "digital_ocean"], const { &[HEX64] }),
        key("vercel-token", "Vercel", &["vercel"], const { &[exact(Alphabet::Alnum, 24)] }),
        key("netlify-named-token", "Netlify", &["netlify"], const { &[range(Alphabet::Word, 40, 46)] }),
        key("coinbase-key", "Coinbase", &["coinbase"], const { &[exact(Alphabet::Word, 64)] }),
        key("binance-key", "Binance", &["binance"], const { &[exact(Alphabet::Alnum, 64)] }),
        key(
            "etherscan-key",
            "Etherscan",
            &["etherscan", "infura", "alchemy"],
            const { &[exact(Alphabet::Upper, 34), HEX32, exact(Alphabet::Word, 32)] },
        ),
        key("spotify-secret", "Spotify", &["spotify"], const { &[HEX32] }),
        key("trello-named-key", "Trello", &["trello"], const { &[HEX32, HEX64] }),
        key("lastfm-key", "Last.fm", &["lastfm", "last_fm"], const { &[HEX32] }),
        key("loggly-token", "Loggly", &["loggly"], const { &[UUID] }),
        key("pagerduty-named-key", "PagerDuty", &["pagerduty"], const { &[exact(Alphabet::Word, 20), HEX32] }),
        key("opsgenie-key", "Opsgenie", &["opsgenie"], const { &[UUID] }),
        key("rollbar-token", "Rollbar", &["rollbar"], const { &[HEX32] }),
        key("bugsnag-key", "Bugsnag", &["bugsnag"], const { &[HEX32] }),
        key("sumologic-key", "Sumo Logic", &["sumo"], const { &[exact(Alphabet::Alnum, 64)] }),
        key(
            "kucoin-bittrex-key",
            "KuCoin and Bittrex",
            &["kucoin", "bittrex"],
            const { &[exact(Alphabet::Hex, 24), HEX32, UUID] },
        ),
        key("yelp-key", "Yelp", &["yelp"], const { &[exact(Alphabet::Word, 128)] }),
        key("virustotal-key", "VirusTotal", &["virustotal"], const { &[HEX64] }),
        key("shodan-key", "Shodan", &["shodan"], const { &[exact(Alphabet::Alnum, 32)] }),
        key(
            "jfrog-named-key",
            "JFrog",
            &["jfrog", "artifactory", "bintray"],
            const { &[exact(Alphabet::Alnum, 73), exact(Alphabet::Alnum, 64), HEX40] },
        ),
        key(
            "google-named-secret",
            "Google",
            &["client_secret", "client-secret"],
            const { &[exact(Alphabet::Word, 24)] },
        )
        .label(label::SECRET),
        key(
            "aws-account-id",
            "AWS",
            &["aws_account", "aws-account", "account_id", "accountid", "awsaccount"],
            const { &[exact(Alphabet::Digits, 12)] },
        )
        .identifier(),
    ]
}
