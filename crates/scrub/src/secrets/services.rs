//! Tokens with a format of their own: messages, payments, observation, data, work.

use super::checks;
use super::rule::{Rule, label};

/// The rules of this file.
pub(super) fn rules() -> Vec<Rule> {
    [messages(), payments(), observation(), work(), data()].into_iter().flatten().collect()
}

fn messages() -> Vec<Rule> {
    vec![
        Rule::token("slack-bot-token", "Slack", "bot token", &["xoxb-"], r"xoxb-[0-9]{6,16}-[0-9]{6,16}-[0-9A-Za-z]{18,40}")
            .check(checks::mixed),
        Rule::token("slack-legacy-bot-token", "Slack", "bot token of the old form, without the number of the bot", &["xoxb-"],
            r"xoxb-(?:[0-9]{6,16}-)?[A-Za-z0-9]{18,40}").entropy(2.8).check(checks::mixed),
        Rule::token("slack-user-token", "Slack", "user token", &["xoxp-"], r"xoxp-(?:[0-9]{6,16}-){1,3}[0-9A-Za-z]{10,64}")
            .entropy(2.8).check(checks::mixed),
        Rule::token("slack-session-token", "Slack", "workspace, session or refresh token", &["xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxe-", "xoxe.", "xoxc-"],
            r"xox(?:[arsoec]-(?:[0-9]-)?[0-9A-Za-z-]{10,250}|e\.xox[bp]-[0-9]-[A-Za-z0-9]{100,250})").entropy(2.8).check(checks::mixed),
        Rule::token("slack-cookie-token", "Slack", "cookie of a session", &["xoxd-"], r"xoxd-[A-Za-z0-9%+/=]{80,400}").after(420),
        Rule::token("slack-app-token", "Slack", "app-level token", &["xapp-"], r"xapp-[0-9]-[A-Z0-9]{8,14}-[0-9]{8,16}-[0-9a-f]{40,80}"),
        Rule::token("slack-webhook", "Slack", "address of an incoming webhook", &["hooks.slack.com/"],
            r"hooks\.slack\.com/(?:services|workflows|triggers)/[TE][A-Za-z0-9]{6,14}/[AB]?[A-Za-z0-9]{6,22}/[A-Za-z0-9]{16,34}").label(label::WEBHOOK).loose(),
        Rule::token("telegram-bot-token", "Telegram", "bot token", &[":AA"], r"[0-9]{8,10}:AA[\w-]{32,33}").before(10).entropy(3.5),
        Rule::token("discord-webhook", "Discord", "address of a webhook", &["/api/webhooks/"], r"/api/webhooks/[0-9]{17,20}/([\w-]{60,80})").label(label::WEBHOOK).loose(),
        Rule::token("discord-bot-token", "Discord", "bot token", &["MTA", "MTE", "MTI", "MTM", "NDA", "NDE", "NTA", "NTE", "NzA", "NzE", "ODA", "OTA", "OTE", "NjA", "NjE", "Mzk", "Mzg", "Mjk"],
            r"[MNO][A-Za-z0-9]{23,27}\.[\w-]{6}\.[\w-]{27,40}").entropy(4.0),
        Rule::token("twilio-api-key", "Twilio", "API key", &["SK"], r"SK[0-9a-f]{32}").label(label::API_KEY).entropy(2.8).check(checks::hex_with_letters),
        Rule::token("twilio-account-sid", "Twilio", "account or app SID", &["AC", "AP"], r"A[CP][0-9a-f]{32}").identifier().check(checks::hex_with_letters),
        Rule::token("sendgrid-api-key", "SendGrid", "API key", &["SG."], r"SG\.[\w-]{16,24}\.[\w-]{32,50}").label(label::API_KEY).entropy(3.5),
        Rule::token("mailgun-api-key", "Mailgun", "API key", &["key-", "pubkey-"], r"(?:pub)?key-[0-9a-f]{32}").label(label::API_KEY).entropy(2.8),
        Rule::token("mailgun-signing-key", "Mailgun", "API key with two suffixes", &["mailgun"],
            r"mailgun[^\n]{0,60}?([0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8})").any_case().loose().label(label::API_KEY),
        Rule::token("mailchimp-api-key", "Mailchimp", "API key", &["-us"], r"[0-9a-f]{32}-us[0-9]{1,2}").before(32).label(label::API_KEY),
        Rule::token("brevo-api-key", "Brevo", "API or SMTP key", &["xkeysib-", "xsmtpsib-"], r"x(?:key|smtp)sib-[0-9a-f]{64}-[A-Za-z0-9]{16}").label(label::API_KEY),
        Rule::token("resend-api-key", "Resend", "API key", &["re_"], r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,26}").label(label::API_KEY).entropy(3.5).check(checks::mixed),
        Rule::token("mailersend-token", "MailerSend", "API token", &["mlsn."], r"mlsn\.[0-9a-f]{64}"),
        Rule::token("intercom-token", "Intercom", "access token", &["dG9rO"], r"dG9rO[A-Za-z0-9+/]{50,60}={0,2}").entropy(3.5),
        Rule::token("courier-key", "Courier", "API key", &["pk_prod_", "dk_prod_"], r"[pd]k_prod_[A-Z0-9]{28}").label(label::API_KEY),
        Rule::token("messagebird-key", "MessageBird", "access key", &["live_"], r"live_[A-Za-z0-9]{25}").label(label::API_KEY).entropy(3.4).check(checks::mixed),
    ]
}

fn payments() -> Vec<Rule> {
    vec![
        Rule::token(
            "stripe-live-key",
            "Stripe",
            "secret or restricted key",
            &["sk_live_", "rk_live_", "sk_prod_", "rk_prod_"],
            r"[sr]k_(?:live|prod)_[A-Za-z0-9]{10,247}",
        )
        .label(label::API_KEY)
        .entropy(3.0),
        Rule::token(
            "stripe-test-key",
            "Stripe",
            "secret or restricted key of the test mode",
            &["sk_test_", "rk_test_"],
            r"[sr]k_test_[A-Za-z0-9]{10,247}",
        )
        .label(label::API_KEY)
        .entropy(3.0),
        Rule::token(
            "stripe-publishable-key",
            "Stripe",
            "publishable key",
            &["pk_live_", "pk_test_"],
            r"pk_(?:live|test)_[A-Za-z0-9]{10,247}",
        )
        .entropy(3.0)
        .identifier(),
        Rule::token(
            "webhook-signing-secret",
            "Stripe, Svix and others",
            "signing secret of webhooks",
            &["whsec_"],
            r"whsec_[A-Za-z0-9+/=]{24,80}",
        )
        .label(label::SECRET)
        .entropy(3.0),
        Rule::token(
            "square-token",
            "Square",
            "access token",
            &["sq0atp-", "EAAA"],
            r"(?:sq0atp-[\w-]{22}|EAAA[\w-]{60})",
        )
        .entropy(3.5),
        Rule::token("square-oauth-secret", "Square", "OAuth secret", &["sq0csp-"], r"sq0csp-[\w-]{43}")
            .label(label::SECRET),
        Rule::token("square-application-id", "Square", "application id", &["sq0idp-"], r"sq0idp-[\w-]{22}")
            .identifier(),
        Rule::token(
            "paypal-braintree-token",
            "PayPal",
            "Braintree access token",
            &["access_token$"],
            r"access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}",
        ),
        Rule::token(
            "shopify-public-app-token",
            "Shopify",
            "access token of a public app",
            &["shpat_"],
            r"shpat_[0-9a-fA-F]{32}",
        ),
        Rule::token(
            "shopify-custom-app-token",
            "Shopify",
            "access token of a custom app",
            &["shpca_"],
            r"shpca_[0-9a-fA-F]{32}",
        ),
        Rule::token(
            "shopify-private-app-password",
            "Shopify",
            "password of a private app",
            &["shppa_"],
            r"shppa_[0-9a-fA-F]{32}",
        ),
        Rule::token("shopify-app-secret", "Shopify", "shared secret of an app", &["shpss_"], r"shpss_[0-9a-fA-F]{32}")
            .label(label::SECRET),
        Rule::token(
            "shopify-user-token",
            "Shopify",
            "access token of a user or the partner dashboard",
            &["shpua_", "shptka_"],
            r"shp(?:ua|tka)_[0-9a-fA-F]{32}",
        ),
        Rule::token(
            "shopify-domain",
            "Shopify",
            "domain of a shop",
            &[".myshopify.com"],
            r"[a-z0-9][a-z0-9-]{1,61}\.myshopify\.com",
        )
        .before(63)
        .any_case()
        .identifier(),
        Rule::token("easypost-key", "EasyPost", "API key", &["EZAK", "EZTK"], r"EZ[AT]K[A-Za-z0-9]{54}")
            .label(label::API_KEY),
        Rule::token(
            "flutterwave-key",
            "Flutterwave",
            "secret key",
            &["FLWSECK"],
            r"FLWSECK(?:_TEST|_LIVE)?-[0-9a-zA-Z]{12,32}(?:-X)?",
        )
        .label(label::API_KEY),
        Rule::token("duffel-token", "Duffel", "API token", &["duffel_"], r"duffel_(?:test|live)_[\w=-]{43}"),
        Rule::token("razorpay-key-id", "Razorpay", "key id", &["rzp_"], r"rzp_(?:live|test)_[A-Za-z0-9]{14}")
            .label(label::API_KEY)
            .entropy(3.0),
        Rule::token("shippo-token", "Shippo", "API token", &["shippo_"], r"shippo_(?:live|test)_[0-9a-fA-F]{40}"),
        Rule::token("lob-key", "Lob", "API key", &["live_", "test_"], r"(?:live|test)_(?:pub_)?[0-9a-f]{35}")
            .label(label::API_KEY),
        Rule::token(
            "adyen-key",
            "Adyen",
            "API key",
            &["AQE"],
            r"AQE[A-Za-z0-9]{3,}[A-Za-z0-9+/-]{60,160}={0,2}-[A-Za-z0-9+/]{20,50}={0,2}-[^\s\x22']{10,24}",
        )
        .label(label::API_KEY),
        Rule::token(
            "gocardless-token",
            "GoCardless",
            "access token",
            &["live_", "sandbox_"],
            r"(?:live|sandbox)_[\w=-]{40}",
        )
        .entropy(4.0)
        .check(checks::mixed),
        Rule::token(
            "paddle-key",
            "Paddle",
            "API key",
            &["pdl_"],
            r"pdl_(?:live|sdbx)_apikey_[a-z0-9]{26}_[A-Za-z0-9]{22}_[A-Za-z0-9]{3}",
        )
        .label(label::API_KEY),
        Rule::token(
            "plaid-token",
            "Plaid",
            "access token",
            &["access-sandbox-", "access-development-", "access-production-"],
            r"access-(?:sandbox|development|production)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        ),
    ]
}

fn observation() -> Vec<Rule> {
    vec![
        Rule::token(
            "grafana-service-account-token",
            "Grafana",
            "service account token",
            &["glsa_"],
            r"glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}",
        ),
        Rule::token(
            "grafana-cloud-token",
            "Grafana",
            "cloud access token",
            &["glc_eyJ"],
            r"glc_eyJ[A-Za-z0-9+/]{30,400}={0,3}",
        ),
        Rule::token(
            "grafana-api-key",
            "Grafana",
            "legacy API key",
            &["eyJrIjoi"],
            r"eyJrIjoi[A-Za-z0-9+/]{40,400}={0,3}",
        )
        .label(label::API_KEY),
        Rule::token("newrelic-user-key", "New Relic", "user key", &["NRAK-"], r"NRAK-[A-Z0-9]{27}")
            .label(label::API_KEY),
        Rule::token("newrelic-admin-key", "New Relic", "administrator's key", &["NRAA-"], r"NRAA-[0-9a-f]{27}")
            .label(label::API_KEY),
        Rule::token("newrelic-rest-key", "New Relic", "key of the REST API", &["NRRA-"], r"NRRA-[0-9a-f]{42}")
            .label(label::API_KEY),
        Rule::token("newrelic-insert-key", "New Relic", "key to insert events", &["NRII-"], r"NRII-[\w-]{32}")
            .label(label::API_KEY),
        Rule::token("newrelic-query-key", "New Relic", "key to query events", &["NRIQ-"], r"NRIQ-[\w-]{32}")
            .label(label::API_KEY),
        Rule::token(
            "newrelic-agent-key",
            "New Relic",
            "key of synthetics or a browser",
            &["NRSP-", "NRJS-", "NRBR-"],
            r"(?:NRSP-[a-z]{2}[0-9]{2}[0-9A-F]{31}|NRJS-[0-9a-f]{19}|NRBR-[0-9a-f]{19,27})",
        )
        .label(label::API_KEY),
        Rule::token(
            "newrelic-license-key",
            "New Relic",
            "license key",
            &["NRAL", "FFFFNRAL"],
            r"(?:[a-z]{2}[0-9]{2}x{0,2})?[0-9a-fA-F]{30,36}(?:FFFF)?NRAL",
        )
        .before(44)
        .label(label::API_KEY),
        Rule::token(
            "pixie-api-key",
            "New Relic",
            "Pixie API key",
            &["px-api-"],
            r"px-api-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        )
        .label(label::API_KEY),
        Rule::token(
            "pixie-deploy-key",
            "New Relic",
            "Pixie deploy key",
            &["px-dep-"],
            r"px-dep-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        )
        .label(label::API_KEY),
        Rule::token(
            "dynatrace-token",
            "Dynatrace",
            "API or platform token",
            &["dt0"],
            r"dt0[a-z][0-9]{2}\.[A-Z0-9]{8,24}(?:-[A-Z0-9]{8,24})?\.[A-Z0-9]{64}",
        ),
        Rule::token(
            "sentry-token",
            "Sentry",
            "user or organisation token",
            &["sntryu_", "sntrya_", "sntryr_", "sntrys_eyJ"],
            r"(?:sntry[uar]_[0-9a-f]{64}|sntrys_eyJ[A-Za-z0-9+/=]{60,400}_[A-Za-z0-9+/]{43})",
        ),
        Rule::token(
            "honeycomb-key",
            "Honeycomb",
            "ingest or management key",
            &["hcaik_", "hcxik_", "hcamk_", "hcxmk_"],
            r"hc[ax][im]k_[0-9a-z]{26,58}",
        )
        .label(label::API_KEY),
        Rule::token(
            "logfire-token",
            "Pydantic",
            "Logfire token",
            &["pylf_v"],
            r"pylf_v[0-9]_[a-z]{2}_[A-Za-z0-9]{40,50}",
        ),
        Rule::token(
            "posthog-key",
            "PostHog",
            "personal or project key",
            &["phx_", "phc_", "phs_"],
            r"ph[xcs]_[A-Za-z0-9]{40,50}",
        )
        .label(label::API_KEY)
        .entropy(3.5),
        Rule::token("checkly-key", "Checkly", "user or account key", &["cu_", "pat_"], r"(?:cu|pat)_[0-9a-f]{32}")
            .label(label::API_KEY),
        Rule::token("pagerduty-key", "PagerDuty", "API key", &["u+", "y_"], r"(?:u\+|y_)[A-Za-z0-9_-]{18}")
            .label(label::API_KEY)
            .sure(0.5)
            .entropy(3.7)
            .check(checks::noise),
        Rule::token("stackhawk-key", "StackHawk", "API key", &["hawk."], r"hawk\.[\w-]{20}\.[\w-]{20}")
            .label(label::API_KEY),
        Rule::token(
            "launchdarkly-key",
            "LaunchDarkly",
            "SDK, mobile or API key",
            &["sdk-", "mob-", "api-"],
            r"(?:sdk|mob|api)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        )
        .label(label::API_KEY),
        Rule::token(
            "snyk-token",
            "Snyk",
            "personal or service account token",
            &["snyk_"],
            r"snyk_(?:uat|sat)\.[0-9a-f]{8}\.[\w.-]{40,400}",
        ),
        Rule::token(
            "semgrep-token",
            "Semgrep",
            "app token",
            &["sgps_", "sgcap_"],
            r"(?:sgps|sgcap)_[0-9A-Za-z]{40,80}",
        ),
        Rule::token("projectdiscovery-key", "ProjectDiscovery", "cloud key", &["pdcp_"], r"pdcp_[0-9a-f-]{32,40}")
            .label(label::API_KEY),
    ]
}

fn work() -> Vec<Rule> {
    vec![
        Rule::token(
            "linear-token",
            "Linear",
            "API or OAuth token",
            &["lin_api_", "lin_oauth_"],
            r"lin_(?:api_[A-Za-z0-9]{40}|oauth_[0-9a-f]{64})",
        ),
        Rule::token(
            "notion-token",
            "Notion",
            "integration token",
            &["secret_", "ntn_"],
            r"(?:secret_[A-Za-z0-9]{43}|ntn_[0-9]{11}[A-Za-z0-9]{35})",
        )
        .entropy(3.5)
        .check(checks::mixed),
        Rule::token(
            "postman-key",
            "Postman",
            "API or collection key",
            &["PMAK-", "PMAT-"],
            r"(?:PMAK-[0-9a-f]{24}-[0-9a-f]{34}|PMAT-[A-Z0-9]{26})",
        )
        .label(label::API_KEY),
        Rule::token(
            "figma-token",
            "Figma",
            "personal access token",
            &["figd_", "figu_", "figo_"],
            r"fig[duo]_[\w-]{38,60}",
        ),
        Rule::token(
            "airtable-token",
            "Airtable",
            "personal access token",
            &["pat"],
            r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",
        ),
        Rule::token(
            "hubspot-token",
            "HubSpot",
            "private app token",
            &["pat-na", "pat-eu", "pat-ap"],
            r"pat-(?:na|eu|ap)[0-9]-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        ),
        Rule::token("trello-token", "Trello", "user token", &["ATTA"], r"ATTA[0-9a-f]{60,72}(?:[0-9A-F]{8})?"),
        Rule::token("contentful-token", "Contentful", "management token", &["CFPAT-"], r"CFPAT-[\w-]{43}"),
        Rule::token("typeform-token", "Typeform", "personal access token", &["tfp_"], r"tfp_[\w.=-]{40,64}")
            .entropy(3.5),
        Rule::token("readme-key", "ReadMe", "API key", &["rdme_"], r"rdme_[a-z0-9]{70}").label(label::API_KEY),
        Rule::token("frameio-token", "Frame.io", "developer token", &["fio-u-"], r"fio-u-[\w=-]{64}"),
        Rule::token("sanity-token", "Sanity", "API token", &["sk"], r"sk[A-Za-z0-9]{178}"),
        Rule::token(
            "storyblok-token",
            "Storyblok",
            "management token",
            &["sb-"],
            r"sb-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        ),
        Rule::token("salesforce-token", "Salesforce", "access token", &["00D"], r"00D[A-Za-z0-9]{12}![\w.]{80,140}"),
        Rule::token("adobe-client-secret", "Adobe", "OAuth client secret", &["p8e-", "p8"], r"p8e-[A-Za-z0-9_-]{32}")
            .label(label::SECRET),
        Rule::token("adafruit-key", "Adafruit", "IO key", &["aio_"], r"aio_[A-Za-z0-9]{28}").label(label::API_KEY),
        Rule::token("twitch-stream-key", "Twitch", "stream key", &["live_"], r"live_[0-9]{6,12}_[A-Za-z0-9]{28,32}")
            .label(label::API_KEY)
            .sure(0.97)
            .entropy(3.0),
        Rule::token("dropbox-token", "Dropbox", "access token", &["sl."], r"sl\.(?:u\.)?[\w-]{100,1400}").after(1420),
        Rule::token("facebook-token", "Facebook", "access token", &["EAA"], r"EAA[A-Za-z0-9]{40,400}")
            .entropy(3.5)
            .check(checks::mixed),
        Rule::token("instagram-token", "Instagram", "access token", &["IGQV", "IGAA"], r"IG(?:QV|AA)[\w-]{60,300}")
            .entropy(3.5),
        Rule::token(
            "twitter-bearer-token",
            "Twitter",
            "bearer token of an app",
            &["AAAAAAAAAAAAAAAAAAAAA"],
            r"A{21}[A-Za-z0-9%]{60,140}",
        )
        .entropy(3.2)
        .check(checks::mixed),
        Rule::token(
            "linkedin-client-secret",
            "LinkedIn",
            "client secret",
            &["WPL_AP1."],
            r"WPL_AP1\.[A-Za-z0-9]{16}\.[A-Za-z0-9+/=]{6,12}",
        )
        .label(label::SECRET),
        Rule::token(
            "gitalk-secret",
            "Gitalk",
            "OAuth client secret of the comments of a page",
            &["gitalk("],
            r"gitalk\(\s{0,8}\{[^}+\\]{0,200}?clientSecret\s{0,4}:\s{0,4}['\x22]([0-9a-f]{40})['\x22]",
        )
        .any_case()
        .loose()
        .label(label::SECRET),
        Rule::token(
            "auth0-credentials",
            "Auth0",
            "client secret behind the domain of its tenant",
            &[".auth0.com"],
            r"\.auth0\.com[^\n]{0,40}(?:\n[^\n]{0,160}){0,6}?\n[^\n]{0,60}CLIENT_?SECRET[^\w\n]{1,8}([\w-]{64})",
        )
        .any_case()
        .loose()
        .label(label::SECRET)
        .entropy(4.0),
        Rule::token("segment-token", "Segment", "public API token", &["sgp_"], r"sgp_[A-Za-z0-9]{64}").entropy(3.5),
        Rule::token("kagi-key", "Kagi", "API key", &["kagi"], r"kagi[^\n]{0,60}?[^\w.-]([\w-]{11}\.[\w-]{40,46})")
            .gap()
            .any_case()
            .loose()
            .label(label::API_KEY)
            .entropy(3.5),
        Rule::token(
            "truenas-key",
            "TrueNAS",
            "API key",
            &["truenas", "api_key", "auth.login_with_api_key", "bearer"],
            r"(?:[^\n]{0,24}?(?:\r?\n)?){1,5}?[^\w-]([0-9]{1,3}-[A-Za-z0-9]{64})",
        )
        .gap()
        .any_case()
        .loose()
        .label(label::API_KEY)
        .entropy(3.8),
        Rule::token(
            "thingsboard-token",
            "ThingsBoard",
            "device access token",
            &["thingsboard"],
            r"thingsboard\.[a-z.]{2,24}(?::[0-9]+)?/api/v1/([A-Za-z0-9]{16,24})/",
        )
        .any_case()
        .loose(),
        Rule::token(
            "blynk-token",
            "Blynk",
            "device or organisation token",
            &["blynk"],
            r"blynk(?:-cloud)?\.[a-z]{2,5}/[^\s\x22']{0,80}?(?:token=|/)([\w-]{32,40})",
        )
        .any_case()
        .loose()
        .check(checks::mixed),
        Rule::token(
            "wakatime-key",
            "WakaTime",
            "API key",
            &["waka_"],
            r"waka_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}",
        )
        .label(label::API_KEY),
        Rule::token("clickup-token", "ClickUp", "personal token", &["pk_"], r"pk_[0-9]{6,9}_[A-Z0-9]{32}"),
        Rule::token("canva-secret", "Canva", "client secret", &["cnvca"], r"cnvca[\w-]{40,60}").label(label::SECRET),
        Rule::token(
            "zapier-webhook",
            "Zapier",
            "address of a webhook",
            &["hooks.zapier.com/hooks/catch/"],
            r"hooks\.zapier\.com/hooks/catch/[0-9]{4,10}/[a-z0-9]{5,10}",
        )
        .label(label::WEBHOOK)
        .loose(),
    ]
}

fn data() -> Vec<Rule> {
    vec![
        Rule::token("databricks-token", "Databricks", "access token", &["dapi", "dkea", "dose"], r"(?:dapi|dkea|dose)[0-9a-f]{32}(?:-[0-9])?").entropy(2.8),
        Rule::token("mapbox-temporary-token", "Mapbox", "temporary token", &["tk.eyJ"], r"tk\.eyJ[\w-]{20,400}\.[\w-]{20,80}"),
        Rule::token("mapbox-secret-token", "Mapbox", "secret token", &["sk.eyJ"], r"sk\.eyJ[\w-]{20,400}\.[\w-]{20,80}"),
        Rule::token("mapbox-public-token", "Mapbox", "public token", &["pk.eyJ"], r"pk\.eyJ[\w-]{20,400}\.[\w-]{20,80}").sure(0.6),
        Rule::token("tinybird-token", "Tinybird", "token", &["p.eyJ"], r"p\.eyJ[\w-]{20,400}\.[\w-]{20,80}"),
        Rule::token("unseal-key", "HashiCorp Vault", "unseal key", &["unseal key", "recovery key", "operator unseal"], r"(?:(?:Unseal|Recovery) Key(?: [0-9]{1,2})?(?: \([^)\n]{1,30}\))?:?|operator unseal)\s{1,4}([A-Za-z0-9+/]{43,44}={0,2}|[0-9a-f]{64,66})").any_case().label(label::SECRET),
        Rule::token("wireguard-private-key", "WireGuard", "private key", &["privatekey"], r"PrivateKey\s{0,4}=\s{0,4}([A-Za-z0-9+/]{43}=)").any_case().label(label::PRIVATE_KEY),
        Rule::token("wireguard-preshared-key", "WireGuard", "preshared key", &["presharedkey"], r"PresharedKey\s{0,4}=\s{0,4}([A-Za-z0-9+/]{43}=)").any_case().label(label::SECRET),
        Rule::token("pkcs-keystore", "Java and Windows", "embedded keystore", &["MIIJ", "MIIK", "/u3+7Q"], r"(?:MII[JK][A-Za-z0-9+/]{6}IBAzCC[A-Za-z0-9+/=\r\n]{500,6000}|/u3\+7Q[A-Za-z0-9+/=\r\n]{300,6000})").after(6100).label(label::PRIVATE_KEY),
        Rule::token("tls-key-log", "NSS", "line of a TLS key log", &["CLIENT_RANDOM "], r"CLIENT_RANDOM [0-9a-f]{64} ([0-9a-f]{96})").label(label::SECRET),
        Rule::token("bitcoin-private-key", "Bitcoin", "extended private key", &["xprv", "yprv", "zprv"], r"[xyz]prv[1-9A-HJ-NP-Za-km-z]{107,108}").label(label::PRIVATE_KEY),
        Rule::token("nostr-secret-key", "Nostr", "secret key", &["nsec1"], r"nsec1[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{58}").label(label::PRIVATE_KEY).check(checks::bech32),
        Rule::token("django-insecure-key", "Django", "secret key of a new project", &["django-insecure-"], r"django-insecure-[^\s'\x22]{20,80}")
            .label(label::SECRET)
            .loose(),
        Rule::token("figma-old-token", "Figma", "personal access token of the old form", &["figma"],
            r"figma[^\n]{0,40}?([0-9]{1,7}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})").any_case().loose(),
        Rule::token("environment-user", "any", "user name in an environment variable", &["user=", "username="],
            r"[A-Z][A-Z0-9_]{0,39}USER(?:NAME)?=['\x22]?([^\s'\x22]{3,64})").before(41).any_case().loose().identifier().entropy(0.5),
    ]
}
