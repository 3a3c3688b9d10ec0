//! Tokens with a format of their own: clouds, hosts of code and models, registries.

use super::checks;
use super::rule::{Rule, label};

/// The rules of this file.
pub(super) fn rules() -> Vec<Rule> {
    [amazon(), microsoft(), google(), code_hosts(), models(), registries(), infrastructure()]
        .into_iter()
        .flatten()
        .collect()
}

fn amazon() -> Vec<Rule> {
    vec![
        Rule::token(
            "aws-access-key-id",
            "AWS",
            "access key id",
            &["AKIA", "ASIA", "ABIA", "ACCA", "A3T"],
            r"(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",
        )
        .label(label::API_KEY)
        .check(checks::aws_key_id)
        .entropy(2.5),
        Rule::token("aws-unique-id", "AWS", "id of a role, user or group", &["AROA", "AIDA", "AGPA", "AIPA", "ANPA", "ANVA"],
            r"A(?:ROA|IDA|GPA|IPA|NPA|NVA)[A-Z0-9]{16,17}").entropy(2.5).check(checks::aws_key_id).identifier(),
        Rule::token("aws-session-token", "AWS", "temporary session token", &["FwoGZXIvYXdz", "IQoJb3JpZ2lu", "FQoGZXIvYXdz", "FQoDYXdz"],
            r"(?:FwoGZXIvYXdz|IQoJb3JpZ2lu|FQoGZXIvYXdz|FQoDYXdz)[A-Za-z0-9+/%]{80,3000}={0,2}").after(3100),
        Rule::token("aws-mws-auth-token", "AWS", "Marketplace Web Service token", &["amzn.mws."],
            r"amzn\.mws\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        Rule::token("aws-appsync-key", "AWS", "AppSync API key", &["da2-"], r"da2-[a-z0-9]{26}").label(label::API_KEY).entropy(3.0),
        Rule::token("aws-bedrock-key", "AWS", "Bedrock API key", &["ABSK", "bedrock-api-key-"],
            r"(?:ABSK[A-Za-z0-9+/]{109,269}={0,2}|bedrock-api-key-[A-Za-z0-9+/=]{28,3000})").after(3100).label(label::API_KEY),
        Rule::token("aws-arn", "AWS", "Amazon Resource Name", &["arn:aws"],
            r"arn:aws[a-z-]{0,12}:[a-z0-9-]{2,30}:[a-z0-9-]{0,20}:(?:[0-9]{12}|aws)?:(?:[A-Za-z0-9_/.:*+=,@$-]|[$#]?\{[\w.]{1,40}\}){1,300}").check(checks::arn).identifier(),
        Rule::token("aws-s3-bucket-host", "AWS", "S3 bucket as the name of a host", &[".s3.", ".s3-"],
            r"([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.s3(?:[.-][a-z0-9-]{2,20}){0,2}\.amazonaws\.com")
            .needs(".amazonaws.com").before(64).after(160).check(checks::bucket).identifier().loose(),
        Rule::token("aws-s3-bucket-path", "AWS", "S3 bucket as the path of an address", &["s3://", "s3.amazonaws.com/", "s3-", "s3."],
            r"\A[^\w.-]?(?:s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])|s3(?:[.-][a-z]{2}-[a-z]{4,9}-[0-9])?\.amazonaws\.com/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9]))")
            .before(1).after(160).check(checks::bucket).identifier().loose(),
    ]
}

fn microsoft() -> Vec<Rule> {
    vec![
        Rule::token("azure-storage-key", "Azure", "key of a storage account", &["accountkey"],
            r"AccountKey\s{0,4}=\s{0,4}([A-Za-z0-9+/]{40,88}={0,2})").any_case().label(label::SECRET),
        Rule::token("azure-shared-access-key", "Azure", "shared access key of a service bus, event hub or IoT hub", &["sharedaccesskey", "sharedsecretvalue"],
            r"(?:SharedAccessKey|SharedSecretValue)\s{0,4}=\s{0,4}([A-Za-z0-9+/]{43,86}={1,2})").any_case().label(label::SECRET),
        Rule::token("azure-app-configuration", "Azure", "secret of an App Configuration connection string", &[".azconfig."],
            r"\.azconfig\.[a-z.]{2,20};Id=[^;\s]{4,100};Secret=([A-Za-z0-9+/]{36,120}={0,2})").label(label::SECRET).loose(),
        Rule::token("azure-sas-signature", "Azure", "signature of a shared access URL", &["sig="],
            r"sig=([A-Za-z0-9+/%]{43,120}(?:%3[Dd]|=))").label(label::SECRET),
        Rule::token("azure-devops-token", "Azure", "DevOps personal access token", &["AZDO"],
            r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}").before(76),
        Rule::token("azure-ad-client-secret", "Azure", "client secret of Entra ID", &["Q~"],
            r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}").before(4).label(label::SECRET).loose().entropy(3.2),
        Rule::token("azure-signed-key", "Azure", "key with a provider signature", &["ASt", "AEh", "ASb", "ARm", "ACDb", "AIoT", "AzFu", "AzSe", "APIM", "+ACR"],
            r"[A-Za-z0-9+/_-]{33,76}\+?(?:ASt|AEh|ASb|ARm|ACDb|AIoT|AzFu|AzSe[A-D]|APIM|\+ACR[A-D])[A-Za-z0-9+/_-]{5}[AQgw]?={1,2}")
            .before(78).label(label::SECRET).entropy(4.0),
        Rule::token("azure-openai-key", "Azure", "OpenAI or AI services key", &["AAACOG", "AAAAACOG", "AAABACOG"],
            r"[A-Za-z0-9]{52}(?:JQQJ99|JQQJ9)[A-Za-z0-9]{2,20}(?:AAAAAC|AAABAC|AAAC)O[A-Za-z0-9]{4,8}").before(80).label(label::API_KEY).entropy(4.0),
        Rule::token("microsoft-teams-webhook", "Microsoft", "address of an incoming webhook", &["webhook.office.com/", "outlook.office.com/webhook"],
            r"https://(?:[A-Za-z0-9-]{1,60}\.webhook\.office\.com/webhookb2|outlook\.office\.com/webhook)/[0-9A-Fa-f-]{36}@[0-9A-Fa-f-]{36}/IncomingWebhook/[0-9A-Za-z]{32}/[0-9A-Fa-f-]{36}(?:/[\w-]{1,100})?")
            .before(70).label(label::WEBHOOK),
        Rule::token("power-automate-webhook", "Microsoft", "address that starts a Logic App or flow", &[".logic.azure.com"],
            r"https://[a-z0-9.-]{1,60}\.logic\.azure\.com(?::443)?/workflows/[0-9a-f]{32}/[^\s\x22']{1,200}sig=[\w-]{43}").before(70).label(label::WEBHOOK),
    ]
}

fn google() -> Vec<Rule> {
    vec![
        Rule::token("google-api-key", "Google", "API key", &["AIza"], r"AIza[\w-]{35}").label(label::API_KEY).entropy(3.0),
        Rule::token("google-oauth-client-secret", "Google", "OAuth client secret", &["GOCSPX-"], r"GOCSPX-[\w-]{28}").label(label::SECRET),
        Rule::token("google-oauth-access-token", "Google", "OAuth access token", &["ya29."], r"ya29\.[\w-]{20,2000}").after(2100),
        Rule::token("google-oauth-refresh-token", "Google", "OAuth refresh token", &["1//0"], r"1//0[\w-]{39,200}").entropy(3.5),
        Rule::token("google-client-id", "Google", "OAuth client id", &[".apps.googleusercontent.com"],
            r"[0-9]{4,22}-[0-9a-z]{20,40}\.apps\.googleusercontent\.com").before(64).identifier(),
        Rule::token("google-storage-bucket-host", "Google", "Cloud Storage bucket as the name of a host", &[".storage.googleapis.com"],
            r"([a-z0-9][a-z0-9._-]{1,61}[a-z0-9])\.storage\.googleapis\.com")
            .before(64).after(100).check(checks::bucket).identifier().loose(),
        Rule::token("google-storage-bucket-path", "Google", "Cloud Storage bucket as the path of an address", &["gs://", "storage.googleapis.com/", "storage.cloud.google.com/"],
            r"\A[^\w.-]?(?:gs://([a-z0-9][a-z0-9._-]{1,61}[a-z0-9])|storage\.(?:googleapis|cloud\.google)\.com/([a-z0-9][a-z0-9._-]{1,61}[a-z0-9]))")
            .before(1).after(100).check(checks::bucket).identifier().loose(),
        Rule::token("firebase-messaging-key", "Google", "Firebase Cloud Messaging server key", &["AAAA"],
            r"AAAA[\w-]{7}:[\w-]{140}").label(label::API_KEY),
    ]
}

fn code_hosts() -> Vec<Rule> {
    vec![
        Rule::token("github-personal-token", "GitHub", "personal access token", &["ghp_"], r"ghp_[A-Za-z0-9]{36,251}")
            .check(checks::github)
            .entropy(3.0),
        Rule::token("github-oauth-token", "GitHub", "OAuth access token", &["gho_"], r"gho_[A-Za-z0-9]{36,251}")
            .check(checks::github)
            .entropy(3.0),
        Rule::token(
            "github-app-token",
            "GitHub",
            "token of an app, for a user or a server",
            &["ghu_", "ghs_"],
            r"gh[us]_[A-Za-z0-9]{36,251}",
        )
        .check(checks::github)
        .entropy(3.0),
        Rule::token("github-refresh-token", "GitHub", "refresh token", &["ghr_"], r"ghr_[A-Za-z0-9]{36,251}")
            .check(checks::github)
            .entropy(3.0),
        Rule::token(
            "github-fine-grained-token",
            "GitHub",
            "fine-grained personal access token",
            &["github_pat_"],
            r"github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}",
        )
        .entropy(3.0),
        Rule::token(
            "github-app-client-id",
            "GitHub",
            "client id of an app",
            &["Iv1.", "Iv23"],
            r"(?:Iv1\.[0-9a-f]{16}|Iv23[a-z]{2}[A-Za-z0-9]{14})",
        )
        .identifier(),
        Rule::token(
            "gitlab-personal-token",
            "GitLab",
            "personal, project or group access token",
            &["glpat-"],
            r"glpat-[\w-]{20,300}(?:\.[0-9a-z]{2}\.?[0-9a-z]{7,9})?",
        )
        .entropy(3.0),
        Rule::token(
            "gitlab-pipeline-trigger-token",
            "GitLab",
            "pipeline trigger token",
            &["glptt-"],
            r"glptt-[\w-]{20,300}",
        )
        .entropy(3.0),
        Rule::token(
            "gitlab-token",
            "GitLab",
            "deploy, runner, job, feed or agent token",
            &[
                "gldt-", "glrt-", "glrtr-", "glcbt-", "glft-", "glimt-", "glagent-", "glsoat-", "glffct-", "gloas-",
                "glwt-",
            ],
            r"gl(?:dt|rt|rtr|cbt|ft|imt|agent|soat|ffct|oas|wt)-[\w-]{20,300}(?:\.[0-9a-z]{2}\.?[0-9a-z]{7,9})?",
        )
        .entropy(3.0),
        Rule::token(
            "gitlab-runner-registration-token",
            "GitLab",
            "runner registration token",
            &["GR1348941"],
            r"GR1348941[\w-]{20}",
        )
        .entropy(3.0),
        Rule::token(
            "gitlab-session-cookie",
            "GitLab",
            "session cookie",
            &["_gitlab_session="],
            r"_gitlab_session=([0-9a-z]{32})",
        ),
        Rule::token(
            "bitbucket-app-password",
            "Bitbucket",
            "app password",
            &["ATBB"],
            r"ATBB[A-Za-z0-9]{24}[A-Fa-f0-9]{8}|ATBB[A-Za-z0-9]{32}",
        )
        .label(label::PASSWORD)
        .entropy(3.0),
        Rule::token(
            "atlassian-api-token",
            "Atlassian",
            "API token",
            &["ATATT3", "ATCTT3", "ATSTT3"],
            r"AT[ACS]TT3[\w=-]{50,400}",
        )
        .after(420),
        Rule::token(
            "sourcegraph-token",
            "Sourcegraph",
            "access or license token",
            &["sgp_", "slk_", "sgd_", "sgph_", "sgs_"],
            r"(?:sgph?_(?:local_|[0-9a-fA-F]{16}_)?[0-9a-fA-F]{40}|(?:slk|sgs)_[0-9a-fA-F]{64}|sgd_[0-9a-fA-F]{64})",
        )
        .entropy(2.8),
        Rule::token(
            "sonar-token",
            "SonarQube",
            "user, project or global analysis token",
            &["squ_", "sqp_", "sqa_"],
            r"sq[uap]_[0-9a-f]{40}",
        ),
        Rule::token(
            "circleci-token",
            "CircleCI",
            "API token",
            &["CCIPAT_", "CCIPRJ_"],
            r"CCIP(?:AT|RJ)_[A-Za-z0-9]{16,24}_[0-9a-f]{40}",
        ),
        Rule::token(
            "buildkite-token",
            "Buildkite",
            "access or agent token",
            &["bkua_", "bkat_", "bkct_"],
            r"bk(?:ua|at|ct)_[A-Za-z0-9]{40,90}",
        ),
        Rule::token(
            "teamcity-token",
            "TeamCity",
            "API token",
            &["eyJ0eXAiOiAiVENWMiJ9"],
            r"eyJ0eXAiOiAiVENWMiJ9\.[\w-]{20,60}\.[\w-]{30,90}",
        ),
        Rule::token(
            "harness-token",
            "Harness",
            "personal or service account token",
            &["pat.", "sat."],
            r"[ps]at\.[\w-]{22}\.[0-9a-f]{24}\.[A-Za-z0-9]{20}",
        ),
        Rule::token("jenkins-api-token", "Jenkins", "API token", &["11"], r"11[0-9a-f]{32}")
            .sure(0.7)
            .entropy(3.2)
            .check(checks::hex_with_letters),
        Rule::token("codeberg-gitea-token", "Gitea", "access token", &["gta_"], r"gta_[A-Za-z0-9]{40}"),
        Rule::token("octopus-deploy-key", "Octopus Deploy", "API key", &["API-"], r"API-[A-Z0-9]{26,32}")
            .label(label::API_KEY)
            .entropy(3.0),
    ]
}

fn models() -> Vec<Rule> {
    vec![
        Rule::token("openai-api-key", "OpenAI", "API key", &["T3BlbkFJ"],
            r"(?:sk-(?:proj|svcacct|admin|None)-[\w-]{20,120}T3BlbkFJ[\w-]{20,120}|sk-[A-Za-z0-9-]{20,60}T3BlbkFJ[A-Za-z0-9]{20})").before(140).label(label::API_KEY),
        Rule::token("openai-project-key", "OpenAI", "API key of a project, service account or administrator", &["sk-proj-", "sk-svcacct-", "sk-admin-"],
            r"sk-(?:proj|svcacct|admin)-[\w-]{40,200}").label(label::API_KEY).entropy(4.0),
        Rule::token("anthropic-api-key", "Anthropic", "API key", &["sk-ant-"], r"sk-ant-(?:[a-z]{2,8}[0-9]{2}-)?[\w-]{32,140}").label(label::API_KEY).entropy(3.5),
        Rule::token("compatible-api-key", "DeepSeek and others", "API key that begins with `sk-`", &["sk-"],
            r"sk-(?:[0-9a-f]{32}|[A-Za-z0-9]{48}|[A-Za-z0-9]{20,64})").label(label::API_KEY).sure(0.8).entropy(3.0).check(checks::mixed),
        Rule::token("openrouter-api-key", "OpenRouter", "API key", &["sk-or-"], r"sk-or-v1-[0-9a-f]{64}").label(label::API_KEY),
        Rule::token("huggingface-token", "Hugging Face", "user or organisation token", &["hf_", "api_org_"], r"(?:hf_[A-Za-z0-9]{34,40}|api_org_[A-Za-z]{34})").entropy(3.0),
        Rule::token("replicate-token", "Replicate", "API token", &["r8_"], r"r8_[A-Za-z0-9]{37}").entropy(3.0),
        Rule::token("groq-api-key", "Groq", "API key", &["gsk_"], r"gsk_[A-Za-z0-9]{48,56}").label(label::API_KEY).entropy(3.0),
        Rule::token("xai-api-key", "xAI", "API key", &["xai-"], r"xai-[A-Za-z0-9]{70,90}").label(label::API_KEY).entropy(3.0),
        Rule::token("perplexity-api-key", "Perplexity", "API key", &["pplx-"], r"pplx-[A-Za-z0-9]{48,56}").label(label::API_KEY).entropy(3.0),
        Rule::token("nvidia-api-key", "NVIDIA", "API key", &["nvapi-"], r"nvapi-[\w-]{60,70}").label(label::API_KEY).entropy(3.0),
        Rule::token("fireworks-api-key", "Fireworks", "API key", &["fw_"], r"fw_[A-Za-z0-9]{22,24}").label(label::API_KEY).entropy(3.4).check(checks::mixed).sure(0.85),
        Rule::token("cerebras-api-key", "Cerebras", "API key", &["csk-"], r"csk-[a-z0-9]{48}").label(label::API_KEY).entropy(3.0),
        Rule::token("pinecone-api-key", "Pinecone", "API key", &["pcsk_"], r"pcsk_[\w]{60,80}").label(label::API_KEY).entropy(3.0),
        Rule::token("voyage-api-key", "Voyage", "API key", &["pa-", "al-"], r"(?:pa|al)-[\w-]{43}").label(label::API_KEY).entropy(4.2).check(checks::mixed).sure(0.85),
        Rule::token("langsmith-api-key", "LangSmith", "API key", &["lsv2_"], r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}").label(label::API_KEY),
        Rule::token("elevenlabs-api-key", "ElevenLabs", "API key", &["sk_"], r"sk_[0-9a-f]{48}").label(label::API_KEY),
        Rule::token("jina-api-key", "Jina", "API key", &["jina_"], r"jina_[\w-]{40,70}").label(label::API_KEY).entropy(3.0),
        Rule::token("tavily-api-key", "Tavily", "API key", &["tvly-"], r"tvly-(?:dev-|prod-)?[A-Za-z0-9_-]{20,64}").label(label::API_KEY).entropy(3.0),
        Rule::token("firecrawl-api-key", "Firecrawl", "API key", &["fc-"], r"fc-[0-9a-f]{32}").label(label::API_KEY),
        Rule::token("wandb-api-key", "Weights & Biases", "API key", &["wandb_v1_"], r"wandb_v1_[\w-]{40,100}").label(label::API_KEY),
        Rule::token("langfuse-key", "Langfuse", "secret key", &["sk-lf-"], r"sk-lf-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").label(label::API_KEY),
        Rule::token("runpod-together-key", "RunPod and Together", "inference endpoint key", &["rpa_", "tgp_v1_"],
            r"(?:rpa_[A-Z0-9]{40,46}|tgp_v1_[\w-]{43})").label(label::API_KEY).entropy(3.0),
    ]
}

fn registries() -> Vec<Rule> {
    vec![
        Rule::token("npm-token", "npm", "access token", &["npm_"], r"npm_[A-Za-z0-9]{36}")
            .check(checks::npm)
            .entropy(3.0),
        Rule::token("pypi-token", "PyPI", "upload token", &["pypi-AgE"], r"pypi-AgE[\w-]{50,1000}").after(1100),
        Rule::token("crates-io-token", "crates.io", "API token", &["cio"], r"cio[A-Za-z0-9]{32}")
            .entropy(3.3)
            .check(checks::mixed),
        Rule::token("rubygems-key", "RubyGems", "API key", &["rubygems_"], r"rubygems_[0-9a-f]{48}")
            .label(label::API_KEY),
        Rule::token("nuget-key", "NuGet", "API key", &["oy2"], r"oy2[a-z0-9]{43}").label(label::API_KEY).entropy(3.3),
        Rule::token(
            "docker-hub-token",
            "Docker",
            "personal or organisation access token",
            &["dckr_pat_", "dckr_oat_"],
            r"dckr_[po]at_[\w-]{27,40}",
        )
        .entropy(3.0),
        Rule::token("clojars-token", "Clojars", "deploy token", &["CLOJARS_"], r"CLOJARS_[A-Za-z0-9]{60}").any_case(),
        Rule::token("artifactory-api-key", "JFrog", "Artifactory API key", &["AKCp"], r"AKCp[A-Za-z0-9]{60,80}")
            .label(label::API_KEY)
            .entropy(3.0),
        Rule::token(
            "artifactory-reference-token",
            "JFrog",
            "Artifactory reference token",
            &["cmVmdGtuO"],
            r"cmVmdGtuO[A-Za-z0-9]{50,60}",
        )
        .entropy(3.0),
        Rule::token(
            "dependency-track-key",
            "Dependency-Track",
            "API key",
            &["odt_"],
            r"odt_(?:[A-Za-z0-9]{8}_)?[A-Za-z0-9]{32,40}",
        )
        .label(label::API_KEY)
        .entropy(3.0),
        Rule::token("expo-token", "Expo", "access token", &["expo_"], r"expo_[\w-]{40}").entropy(3.5),
        Rule::token(
            "cloudsmith-key",
            "Cloudsmith",
            "API key",
            &["csa_", "cs_pat_"],
            r"(?:csa|cs_pat)_[A-Za-z0-9]{36,48}",
        )
        .label(label::API_KEY)
        .entropy(3.0),
    ]
}

fn infrastructure() -> Vec<Rule> {
    vec![
        Rule::token(
            "digitalocean-personal-token",
            "DigitalOcean",
            "personal access token",
            &["dop_v1_"],
            r"dop_v1_[0-9a-f]{64}",
        ),
        Rule::token(
            "digitalocean-oauth-token",
            "DigitalOcean",
            "access token of an application",
            &["doo_v1_"],
            r"doo_v1_[0-9a-f]{64}",
        ),
        Rule::token(
            "digitalocean-refresh-token",
            "DigitalOcean",
            "refresh token",
            &["dor_v1_"],
            r"dor_v1_[0-9a-f]{64}",
        ),
        Rule::token(
            "digitalocean-spaces-key",
            "DigitalOcean",
            "Spaces access key",
            &["DO00", "DO80"],
            r"DO(?:00|80)[A-Z0-9]{16}",
        )
        .entropy(3.0),
        Rule::token("alibaba-access-key-id", "Alibaba Cloud", "access key id", &["LTAI"], r"LTAI[A-Za-z0-9]{12,20}")
            .label(label::API_KEY)
            .entropy(3.0)
            .check(checks::mixed),
        Rule::token("tencent-secret-id", "Tencent Cloud", "secret id", &["AKID"], r"AKID[A-Za-z0-9]{32}")
            .label(label::API_KEY)
            .entropy(3.5),
        Rule::token(
            "yandex-key",
            "Yandex Cloud",
            "API key, IAM token or access secret",
            &["AQVN", "YCA", "t1.9euel", "y0_"],
            r"(?:AQVN[\w-]{35,38}|YCA[\w-]{37}|t1\.9euel[\w-]{10,1000}={0,2}\.[\w-]{86}={0,2}|y0_[\w-]{50,70})",
        )
        .after(1200)
        .entropy(3.0),
        Rule::token(
            "fly-token",
            "Fly.io",
            "access token",
            &["fo1_", "fm1_", "fm1a_", "fm1r_", "fm2_"],
            r"(?:fo1_[\w-]{43}|fm[12][ar]?_[A-Za-z0-9+/]{80,2000}={0,3})",
        )
        .after(2100),
        Rule::token(
            "heroku-api-key",
            "Heroku",
            "API key",
            &["HRKU-"],
            r"HRKU-(?:AA[\w-]{58}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[\w-]{58,64})",
        )
        .label(label::API_KEY),
        Rule::token("vault-service-token", "HashiCorp Vault", "service token", &["hvs."], r"hvs\.[\w-]{24,300}")
            .entropy(3.3)
            .check(checks::mixed),
        Rule::token("vault-batch-token", "HashiCorp Vault", "batch token", &["hvb."], r"hvb\.[\w-]{24,300}")
            .entropy(3.3)
            .check(checks::mixed),
        Rule::token("vault-recovery-token", "HashiCorp Vault", "recovery token", &["hvr."], r"hvr\.[\w-]{24,300}")
            .entropy(3.3)
            .check(checks::mixed),
        Rule::token(
            "vault-old-token",
            "HashiCorp Vault",
            "service, batch or recovery token of releases before 1.10",
            &["s.", "b.", "r."],
            r"(?:s|b|r)\.[A-Za-z0-9]{24}",
        )
        .sure(0.75)
        .entropy(3.4)
        .check(checks::vault_old),
        Rule::token(
            "vault-old-batch-token",
            "HashiCorp Vault",
            "long batch token",
            &["b.AAAAAQ"],
            r"b\.AAAAAQ[\w-]{100,300}",
        ),
        Rule::token(
            "terraform-cloud-token",
            "HashiCorp",
            "Terraform Cloud token",
            &[".atlasv1."],
            r"[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,70}",
        )
        .before(14),
        Rule::token("pulumi-token", "Pulumi", "access token", &["pul-"], r"pul-[0-9a-f]{40}"),
        Rule::token(
            "doppler-token",
            "Doppler",
            "CLI, personal, service, SCIM or audit token",
            &["dp.ct.", "dp.pt.", "dp.st.", "dp.sa.", "dp.scim.", "dp.audit."],
            r"dp\.(?:ct|pt|st|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}",
        )
        .entropy(3.0),
        Rule::token("infracost-key", "Infracost", "API key", &["ico-"], r"ico-[A-Za-z0-9]{32}")
            .label(label::API_KEY)
            .entropy(3.3),
        Rule::token(
            "tailscale-key",
            "Tailscale",
            "auth, API or OAuth key",
            &["tskey-"],
            r"tskey-[a-z]{2,10}-[A-Za-z0-9]{8,24}-[A-Za-z0-9]{16,64}|tskey-[A-Za-z0-9-]{20,80}",
        )
        .label(label::API_KEY),
        Rule::token(
            "netlify-token",
            "Netlify",
            "access token",
            &["nfp_", "nfc_", "nfo_", "nfu_"],
            r"nf[pcou]_[A-Za-z0-9]{36}",
        )
        .entropy(3.0),
        Rule::token("render-api-key", "Render", "API key", &["rnd_"], r"rnd_[A-Za-z0-9]{28,32}")
            .label(label::API_KEY)
            .entropy(3.4)
            .check(checks::mixed),
        Rule::token(
            "supabase-token",
            "Supabase",
            "access token or secret key",
            &["sbp_", "sb_secret_"],
            r"(?:sbp_[0-9a-f]{40}|sbp_v0_[0-9a-f]{40}|sb_secret_[\w-]{31})",
        ),
        Rule::token(
            "neon-api-key",
            "Neon",
            "API key or role password",
            &["napi_", "npg_"],
            r"(?:napi_[a-z0-9]{64}|npg_[A-Za-z0-9]{12})",
        )
        .label(label::API_KEY)
        .entropy(2.8),
        Rule::token(
            "planetscale-token",
            "PlanetScale",
            "API token, password or OAuth token",
            &["pscale_"],
            r"pscale_(?:tkn|pw|oauth|api)_[\w.=-]{32,64}",
        )
        .any_case()
        .entropy(3.0),
        Rule::token("aiven-password", "Aiven", "service password", &["AVNS_"], r"AVNS_[\w-]{19,24}")
            .label(label::PASSWORD),
        Rule::token(
            "datastax-token",
            "DataStax",
            "Astra token",
            &["AstraCS:"],
            r"AstraCS:[A-Za-z0-9]{24}:[0-9a-f]{64}",
        ),
        Rule::token(
            "cockroach-key",
            "Cockroach Labs",
            "cloud API key",
            &["CCDB1_"],
            r"CCDB1_[A-Za-z0-9]{22}_[A-Za-z0-9]{40}",
        )
        .label(label::API_KEY),
        Rule::token("clickhouse-key", "ClickHouse", "cloud API secret key", &["4b1d"], r"4b1d[A-Za-z0-9]{38}")
            .label(label::API_KEY)
            .entropy(3.6)
            .check(checks::mixed),
        Rule::token("openshift-token", "OpenShift", "user token", &["sha256~"], r"sha256~[\w-]{43}").entropy(3.5),
        Rule::token(
            "kubernetes-bootstrap-token",
            "Kubernetes",
            "bootstrap token",
            &["kubeadm", "kubelet", "bootstrap-token", "bootstrap_token", "kube-"],
            r"[^\n]{0,120}?(?:^|[\s=:'\x22])([a-z0-9]{6}\.[a-z0-9]{16})(?:[^\w.]|$)",
        )
        .gap()
        .loose()
        .any_case()
        .entropy(2.9)
        .check(checks::bootstrap),
        Rule::token(
            "cloudflare-origin-ca-key",
            "Cloudflare",
            "origin CA key",
            &["v1.0-"],
            r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}",
        )
        .label(label::API_KEY),
        Rule::token(
            "cloudflare-token",
            "Cloudflare",
            "scannable API token",
            &["cfat_", "cfut_", "cfk_"],
            r"cf(?:at|ut|k)_[A-Za-z0-9_-]{40,56}",
        )
        .entropy(3.3),
        Rule::token("scalingo-token", "Scalingo", "API token", &["tk-us-"], r"tk-us-[\w-]{48}"),
        Rule::token("prefect-key", "Prefect", "API key", &["pnu_", "pnb_"], r"pn[ub]_[A-Za-z0-9]{36}")
            .label(label::API_KEY)
            .entropy(3.0),
        Rule::token(
            "defined-networking-token",
            "Defined Networking",
            "API token",
            &["dnkey-"],
            r"dnkey-[A-Za-z0-9=_-]{26}-[A-Za-z0-9=_-]{52}",
        ),
        Rule::token("ngrok-key", "ngrok", "API key", &["ngrok-"], r"ngrok-[A-Za-z0-9_]{40,60}")
            .label(label::API_KEY)
            .entropy(3.5),
        Rule::token(
            "onepassword-token",
            "1Password",
            "service account token",
            &["ops_eyJ"],
            r"ops_eyJ[A-Za-z0-9+/_-]{250,2000}={0,3}",
        )
        .after(2100),
        Rule::token(
            "onepassword-secret-key",
            "1Password",
            "secret key of an account",
            &["A3-"],
            r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}",
        )
        .label(label::SECRET)
        .entropy(3.2),
        Rule::token(
            "age-secret-key",
            "age",
            "identity (secret key)",
            &["AGE-SECRET-KEY-1"],
            r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}",
        )
        .check(checks::bech32)
        .label(label::PRIVATE_KEY),
        Rule::token(
            "age-recipient",
            "age",
            "recipient (public key)",
            &["age1"],
            r"age1[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{58}",
        )
        .identifier(),
        Rule::token("nkey-seed", "NATS", "seed of an nkey", &["SUA", "SAA", "SOA", "SNA"], r"S[UAON]A[A-Z2-7]{55}")
            .label(label::PRIVATE_KEY)
            .entropy(4.0),
    ]
}
