//! A queue's policy as people write it, in the configuration and over HTTP.
//!
//! Every field may be left out: what is written is laid over a base. `PUT /v1/queues/{queue}` lays
//! it over the defaults, so that the same request always gives the same policy; the configuration
//! may lay it over its own defaults. Shown policies have every field and masked secrets. What a
//! policy means is the engine's business; only what the engine cannot see (the form of a URL and of
//! a secret) is checked here.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use duly_engine::queue::{BadPolicy, DecideAt, Policy, Target, Webhook};
use duly_engine::time::Span;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::units::{BadUnit, WrittenDuration};

/// Bytes of a signing secret: as Standard Webhooks has it.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Most secrets of one webhook: enough for any rotation.
const SECRETS: usize = 8;
/// Longest URL of a webhook, in bytes.
const URL_BYTES: usize = 2_048;
/// Lapses in one transaction of an `sql` target.
const SQL_BATCH: u32 = 100;
/// Lapses published together.
const PUBLISH_BATCH: u32 = 100;
/// Lapses in one request of a webhook that names no batch.
const WEBHOOK_BATCH: u32 = 1;
/// Total time of one request of a webhook that names none.
const WEBHOOK_TIMEOUT: Span = Span::from_secs(15);

/// The rules of a queue; what is left out is as the base has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Policy)]
pub struct PolicyText {
    /// The delay of a schedule that names neither `after` nor `due`; none by default.
    #[serde(default)]
    pub default_delay: Option<WrittenDuration>,
    /// Time after due in which a settle still wins.
    #[serde(default)]
    pub grace: Option<WrittenDuration>,
    /// When the lapse is decided.
    #[serde(default)]
    pub decide_at: Option<DecideAtText>,
    /// How far from its creation a deadline may be extended.
    #[serde(default)]
    pub max_total: Option<WrittenDuration>,
    /// All freezes of one generation together.
    #[serde(default)]
    pub max_freeze: Option<WrittenDuration>,
    /// Where lapsed deadlines go.
    #[serde(default)]
    pub target: Option<TargetText>,
    /// Waits before the second, third, … attempt; the last one repeats.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 64)]
    pub retry: Option<Vec<WrittenDuration>>,
    /// How long after the lapse a delivery is retried before it is dead.
    #[serde(default)]
    pub retry_for: Option<WrittenDuration>,
    /// Requests to the target under way at once.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub concurrency: Option<u32>,
    /// Deliveries handed out per second at most; unlimited by default.
    #[serde(default)]
    #[schema(format = Int64, minimum = 1, maximum = 4_294_967_295_u32)]
    pub rate: Option<u32>,
    /// How long a final record is kept.
    #[serde(default)]
    pub retention: Option<WrittenDuration>,
    /// How long a final record keeps its payload.
    #[serde(default)]
    pub payload_retention: Option<WrittenDuration>,
}

/// When a lapse becomes a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DecideAt)]
pub enum DecideAtText {
    /// At the due time plus grace, whatever the backlog.
    Due,
    /// Together with the first lease.
    Handout,
}

/// Where a lapsed deadline goes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Target)]
pub enum TargetText {
    /// A worker leases it.
    Pull,
    /// Nowhere: the record is the point.
    None,
    /// An HTTP endpoint.
    #[serde(deserialize_with = "only_object")]
    Webhook(WebhookText),
    /// Guarded statements that the operator's configuration names.
    Sql(String),
    /// A command that the operator's configuration names.
    #[serde(deserialize_with = "only_object")]
    Exec(ExecText),
    /// A place in a broker that the operator's configuration names.
    #[serde(deserialize_with = "only_object")]
    Publish(PublishText),
}

/// A webhook target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Webhook)]
pub struct WebhookText {
    /// `http://` or `https://`, without user and password.
    #[schema(max_length = 2048)]
    pub url: String,
    /// `whsec_` and base64 of 24 to 64 bytes; the current one first, several while they are rotated.
    #[schema(min_items = 1, max_items = 8)]
    pub secrets: Vec<String>,
    /// Lapses in one request at most; 1 by default.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub batch: Option<u32>,
    /// Total time of one request; 15 s by default.
    #[serde(default)]
    pub timeout: Option<WrittenDuration>,
}

/// An `exec` target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Exec)]
pub struct ExecText {
    /// Its name in the operator's configuration: `[exec.cancel-order]`.
    pub command: String,
}

/// A `publish` target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Publish)]
pub struct PublishText {
    /// Its name in the operator's configuration: `[publish.lapses]`.
    pub to: String,
}

/// What is wrong with a policy as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPolicyText {
    /// Stable: `bad_policy`, or the code of a bad unit.
    pub code: &'static str,
    /// The field's name.
    pub field: &'static str,
    /// Why it cannot be so.
    pub why: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for BadPolicyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.field, self.why, self.hint)
    }
}

impl std::error::Error for BadPolicyText {}

impl From<BadPolicy> for BadPolicyText {
    fn from(bad: BadPolicy) -> BadPolicyText {
        BadPolicyText {
            code: "bad_policy",
            field: bad.field,
            why: bad.why.to_owned(),
            hint: "see the policy's fields in docs/http.md".to_owned(),
        }
    }
}

impl PolicyText {
    /// The policy that this gives when laid over `base`; checked.
    pub fn over(&self, base: &Policy) -> Result<Policy, BadPolicyText> {
        let span = |field, written: &Option<WrittenDuration>, otherwise: Span| match written {
            Some(written) => span(field, written),
            None => Ok(otherwise),
        };
        let policy = Policy {
            default_delay: match &self.default_delay {
                Some(written) => Some(self::span("default_delay", written)?),
                None => base.default_delay,
            },
            grace: span("grace", &self.grace, base.grace)?,
            decide_at: self.decide_at.map_or(base.decide_at, DecideAt::from),
            max_total: span("max_total", &self.max_total, base.max_total)?,
            max_freeze: span("max_freeze", &self.max_freeze, base.max_freeze)?,
            target: match &self.target {
                Some(target) => target.meant()?,
                None => base.target.clone(),
            },
            retry: match &self.retry {
                Some(waits) => {
                    waits.iter().map(|wait| self::span("retry", wait)).collect::<Result<_, _>>()?
                }
                None => base.retry.clone(),
            },
            retry_for: span("retry_for", &self.retry_for, base.retry_for)?,
            concurrency: self.concurrency.unwrap_or(base.concurrency),
            rate: self.rate.or(base.rate),
            retention: span("retention", &self.retention, base.retention)?,
            payload_retention: span(
                "payload_retention",
                &self.payload_retention,
                base.payload_retention,
            )?,
        };
        policy.check()?;
        Ok(policy)
    }

    /// A policy to show: every field, secrets masked.
    pub fn shown(policy: &Policy) -> PolicyText {
        PolicyText {
            default_delay: policy.default_delay.map(WrittenDuration::from),
            grace: Some(policy.grace.into()),
            decide_at: Some(policy.decide_at.into()),
            max_total: Some(policy.max_total.into()),
            max_freeze: Some(policy.max_freeze.into()),
            target: Some(TargetText::shown(&policy.target)),
            retry: Some(policy.retry.iter().map(|&wait| wait.into()).collect()),
            retry_for: Some(policy.retry_for.into()),
            concurrency: Some(policy.concurrency),
            rate: policy.rate,
            retention: Some(policy.retention.into()),
            payload_retention: Some(policy.payload_retention.into()),
        }
    }
}

impl From<DecideAtText> for DecideAt {
    fn from(text: DecideAtText) -> DecideAt {
        match text {
            DecideAtText::Due => DecideAt::Due,
            DecideAtText::Handout => DecideAt::Handout,
        }
    }
}

impl From<DecideAt> for DecideAtText {
    fn from(decide_at: DecideAt) -> DecideAtText {
        match decide_at {
            DecideAt::Due => DecideAtText::Due,
            DecideAt::Handout => DecideAtText::Handout,
        }
    }
}

impl TargetText {
    fn meant(&self) -> Result<Target, BadPolicyText> {
        Ok(match self {
            TargetText::Pull => Target::Pull,
            TargetText::None => Target::None,
            TargetText::Webhook(webhook) => Target::Webhook(webhook.meant()?),
            TargetText::Sql(name) => Target::Sql { name: name.clone(), batch: SQL_BATCH },
            TargetText::Exec(exec) => Target::Exec { command: exec.command.clone() },
            TargetText::Publish(publish) => {
                Target::Publish { to: publish.to.clone(), batch: PUBLISH_BATCH }
            }
        })
    }

    fn shown(target: &Target) -> TargetText {
        match target {
            Target::Pull => TargetText::Pull,
            Target::None => TargetText::None,
            Target::Webhook(webhook) => TargetText::Webhook(WebhookText {
                url: webhook.url.clone(),
                secrets: webhook.secrets.iter().map(|secret| masked(secret)).collect(),
                batch: Some(webhook.batch),
                timeout: Some(webhook.timeout.into()),
            }),
            Target::Sql { name, .. } => TargetText::Sql(name.clone()),
            Target::Exec { command } => TargetText::Exec(ExecText { command: command.clone() }),
            Target::Publish { to, .. } => TargetText::Publish(PublishText { to: to.clone() }),
        }
    }
}

impl WebhookText {
    fn meant(&self) -> Result<Webhook, BadPolicyText> {
        check_url(&self.url)?;
        if self.secrets.is_empty() || self.secrets.len() > SECRETS {
            return Err(bad("secrets", format!("has 1 to {SECRETS} secrets"), MAKE_A_SECRET));
        }
        for secret in &self.secrets {
            check_secret(secret)?;
        }
        Ok(Webhook {
            url: self.url.clone(),
            secrets: self.secrets.clone(),
            batch: self.batch.unwrap_or(WEBHOOK_BATCH),
            timeout: match &self.timeout {
                Some(written) => span("timeout", written)?,
                None => WEBHOOK_TIMEOUT,
            },
        })
    }
}

const MAKE_A_SECRET: &str = "make one with: echo whsec_$(openssl rand -base64 32)";

fn check_url(url: &str) -> Result<(), BadPolicyText> {
    let hint = "write it whole, such as \"https://shop.example/lapsed\"";
    if url.len() > URL_BYTES {
        return Err(bad("url", format!("is longer than {URL_BYTES} bytes"), hint));
    }
    let parsed: hyper::Uri =
        url.parse().map_err(|_| bad("url", "is not a URL".to_owned(), hint))?;
    if !matches!(parsed.scheme_str(), Some("http" | "https")) {
        return Err(bad("url", "is neither http:// nor https://".to_owned(), hint));
    }
    let authority = parsed.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        let hint = "deliveries are signed; check the signature instead of a password";
        return Err(bad("url", "has a user or password in it".to_owned(), hint));
    }
    if parsed.host().unwrap_or_default().is_empty() {
        return Err(bad("url", "names no host".to_owned(), hint));
    }
    Ok(())
}

fn check_secret(secret: &str) -> Result<(), BadPolicyText> {
    if secret.contains('…') {
        let hint = "shown policies mask their secrets, and pages leave them out; write the secret \
                    itself, or make one with: echo whsec_$(openssl rand -base64 32)";
        return Err(bad("secrets", "has a masked secret".to_owned(), hint));
    }
    let bytes = secret
        .strip_prefix("whsec_")
        .and_then(|text| BASE64_STANDARD.decode(text).ok())
        .map_or(0, |bytes| bytes.len());
    if SECRET_BYTES.contains(&bytes) {
        return Ok(());
    }
    let why = "has one that is not whsec_ and base64 of 24 to 64 bytes".to_owned();
    Err(bad("secrets", why, MAKE_A_SECRET))
}

/// Enough of a secret to tell which one it is.
fn masked(secret: &str) -> String {
    let end: Vec<char> = secret.trim_end_matches('=').chars().rev().take(4).collect();
    let end: String = end.into_iter().rev().collect();
    format!("whsec_…{end}")
}

fn span(field: &'static str, written: &WrittenDuration) -> Result<Span, BadPolicyText> {
    written.span().map_err(|BadUnit { code, why, hint }| BadPolicyText {
        code,
        field,
        why,
        hint: hint.to_owned(),
    })
}

fn bad(field: &'static str, why: String, hint: &str) -> BadPolicyText {
    BadPolicyText { code: "bad_policy", field, why, hint: hint.to_owned() }
}

/// Derived structs would also take a list of their fields' values; people write objects.
fn only_object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Object<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Object(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

    fn json(text: &str) -> Result<Policy, BadPolicyText> {
        let text: PolicyText = serde_json::from_str(text).expect("the JSON has known fields");
        text.over(&Policy::default())
    }

    #[test]
    fn nothing_written_gives_the_base() {
        let base = Policy { rate: Some(7), ..Policy::default() };
        assert_eq!(PolicyText::default().over(&base), Ok(base));
    }

    #[test]
    fn the_policy_of_the_specification_is_understood() {
        let policy = json(
            &r#"{"default_delay":"30m","grace":"0s","decide_at":"due","max_total":"24h",
            "max_freeze":"15m","target":{"webhook":{"url":"https://shop.example/lapsed",
            "secrets":["SECRET"],"batch":1,"timeout":"15s"}},
            "retry":["5s","15s","1m","5m","15m","30m","1h"],"retry_for":"72h","concurrency":64,
            "rate":null,"retention":"90d","payload_retention":"7d"}"#
                .replace("SECRET", SECRET),
        );
        let expected = Policy {
            default_delay: Some(Span::from_mins(30)),
            target: Target::Webhook(Webhook {
                url: "https://shop.example/lapsed".to_owned(),
                secrets: vec![SECRET.to_owned()],
                batch: 1,
                timeout: Span::from_secs(15),
            }),
            ..Policy::default()
        };
        assert_eq!(policy, Ok(expected));
    }

    #[test]
    fn a_policy_shown_is_read_back_except_for_its_secrets() {
        let policy = Policy { default_delay: Some(Span::from_mins(30)), ..Policy::default() };
        let shown = serde_json::to_string(&PolicyText::shown(&policy)).expect("it is plain");
        assert_eq!(json(&shown), Ok(policy));
    }

    #[test]
    fn what_stands_in_the_configuration_is_only_named() {
        for (text, target) in [
            (r#"{"sql":"cancel"}"#, Target::Sql { name: "cancel".to_owned(), batch: SQL_BATCH }),
            (r#"{"exec":{"command":"cancel"}}"#, Target::Exec { command: "cancel".to_owned() }),
            (
                r#"{"publish":{"to":"lapses"}}"#,
                Target::Publish { to: "lapses".to_owned(), batch: PUBLISH_BATCH },
            ),
        ] {
            let policy = json(&format!(r#"{{"target":{text}}}"#)).expect("it is good");
            assert_eq!(policy.target, target);
            let shown = PolicyText::shown(&policy).target;
            assert_eq!(serde_json::to_string(&shown).expect("it is plain"), text);
        }
    }

    #[test]
    fn secrets_are_masked_and_a_masked_one_is_not_taken() {
        let written = format!(
            r#"{{"target":{{"webhook":{{"url":"http://127.0.0.1/x","secrets":["{SECRET}"]}}}}}}"#
        );
        let policy = json(&written).expect("it is good");
        let shown = serde_json::to_string(&PolicyText::shown(&policy)).expect("it is plain");
        assert!(!shown.contains("MDEyMzQ1"), "{shown}");
        assert!(shown.contains("whsec_…MTIz"), "{shown}");
        let bad = json(&shown).expect_err("masked");
        assert_eq!(bad.field, "secrets");
        assert!(bad.hint.contains("whsec_$(openssl rand"), "{bad}");
    }

    #[test]
    fn what_cannot_be_is_refused_by_field() {
        let webhook = |url: &str, secret: &str| {
            format!(r#"{{"target":{{"webhook":{{"url":"{url}","secrets":["{secret}"]}}}}}}"#)
        };
        let cases = [
            (webhook("ftp://shop.example/", SECRET), "url", "bad_policy"),
            (webhook("shop.example/lapsed", SECRET), "url", "bad_policy"),
            (webhook("https://me:secret@shop.example/", SECRET), "url", "bad_policy"),
            (webhook("not a url", SECRET), "url", "bad_policy"),
            (webhook("https://shop.example/", "hunter2"), "secrets", "bad_policy"),
            (webhook("https://shop.example/", "whsec_c2hvcnQ="), "secrets", "bad_policy"),
            (r#"{"grace":"30"}"#.to_owned(), "grace", "bad_duration"),
            (r#"{"retry":["5s","soon"]}"#.to_owned(), "retry", "bad_duration"),
            (r#"{"retry":[]}"#.to_owned(), "retry", "bad_policy"),
            (r#"{"concurrency":0}"#.to_owned(), "concurrency", "bad_policy"),
        ];
        for (text, field, code) in cases {
            let bad = json(&text).expect_err(&text);
            assert_eq!((bad.field, bad.code), (field, code), "{text}");
        }
    }

    #[test]
    fn unknown_fields_and_lists_for_objects_are_errors() {
        for text in [
            r#"{"gracee":"1s"}"#,
            r#"{"target":{"webhook":["https://shop.example/",[]]}}"#,
            r#"{"target":"carrier_pigeon"}"#,
            r#"{"target":{"exec":["cancel"]}}"#,
            r#"{"target":{"exec":{"command":"cancel","argv":["/bin/sh"]}}}"#,
        ] {
            assert!(serde_json::from_str::<PolicyText>(text).is_err(), "{text}");
        }
    }
}
