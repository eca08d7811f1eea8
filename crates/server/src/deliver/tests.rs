//! What holds for every target: verdicts come whole and in order, whatever becomes of an attempt.

use std::collections::BTreeMap;

use duly_engine::answer::Leased;
use duly_engine::command::Verdict;
use duly_engine::deadline::{Payload, PayloadAt, PayloadKind};
use duly_engine::id::{DeadlineId, DeliveryId, DirectoryId, Generation, Key, QueueName, Token};
use duly_engine::queue::{Target, Webhook};
use duly_engine::time::{Span, Time};

use super::{BadSetting, DeliverSettings, Delivery, Targets, hand_over};
use crate::config::{Database, SqlAction};

/// 2026-11-22T12:30:00.000Z.
pub(super) const DUE: Time = Time::from_millis(1_795_350_600_000);

/// The delivery of the deadline of this number: key `42` for 42, lapsed 7 ms after it was due.
pub(super) fn delivery(number: u64) -> Delivery {
    Delivery {
        leased: Leased {
            id: delivery_id(number),
            token: Token(1_000 + number),
            queue: QueueName::new("orders").expect("a good name"),
            key: Key::new(&number.to_string()).expect("a good key"),
            due: DUE,
            lapsed_at: DUE.plus(Span::from_millis(7)),
            attempt: 1,
            leased_until: DUE.plus(Span::from_mins(1)),
            payload: PayloadAt::None,
        },
        payload: None,
    }
}

/// Its id.
pub(super) fn delivery_id(number: u64) -> DeliveryId {
    DeliveryId {
        directory: DirectoryId(7),
        deadline: DeadlineId(number),
        generation: Generation::FIRST,
    }
}

impl Delivery {
    /// The same with a JSON payload.
    pub(super) fn saying(mut self, json: &str) -> Delivery {
        self.payload = Some(Payload { kind: PayloadKind::Json, bytes: json.as_bytes().into() });
        self
    }

    /// The same with a payload of bytes.
    pub(super) fn carrying(mut self, bytes: &[u8]) -> Delivery {
        self.payload = Some(Payload { kind: PayloadKind::Bytes, bytes: bytes.into() });
        self
    }

    /// A later attempt.
    pub(super) fn again(mut self) -> Delivery {
        self.leased.attempt += 1;
        self.leased.token = Token(self.leased.token.0 + 1_000);
        self
    }
}

/// The error of a verdict that has one.
pub(super) fn error(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Retry { error, .. } | Verdict::Dead { error } => error,
        Verdict::Done | Verdict::Superseded => panic!("{verdict:?} has no error"),
    }
}

/// Is it a retry whose error begins so?
pub(super) fn is_retry(verdict: &Verdict, beginning: &str) -> bool {
    matches!(verdict, Verdict::Retry { error, .. } if error.starts_with(beginning))
}

async fn targets() -> Targets {
    Targets::new(&DeliverSettings::default()).await.expect("nothing to be wrong")
}

#[tokio::test]
async fn an_attempt_that_panics_is_retried_with_its_own_token() {
    // Nobody hands pull deliveries to the server's own deliverers: the attempt panics.
    let verdicts = hand_over(&targets().await, &Target::Pull, vec![delivery(1), delivery(2)]).await;
    assert_eq!(verdicts.len(), 2);
    for ((id, token, verdict), number) in verdicts.iter().zip(1..) {
        assert_eq!((*id, *token), (delivery_id(number), Token(1_000 + number)));
        assert!(is_retry(verdict, "broken_attempt: "), "{verdict:?}");
    }
}

#[tokio::test]
async fn an_action_that_nobody_configured_is_retried() {
    let target = Target::Sql { name: "cancel_order".to_owned(), batch: 10 };
    let verdicts = hand_over(&targets().await, &target, vec![delivery(1), delivery(2)]).await;
    assert_eq!(verdicts.len(), 2);
    for (_, _, verdict) in &verdicts {
        assert!(is_retry(verdict, "unknown_action: "), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_webhook_into_this_machine_is_refused_unless_it_is_allowed() {
    let target = Target::Webhook(Webhook {
        url: "http://127.0.0.1:9999/lapsed".to_owned(),
        secrets: Vec::new(),
        batch: 1,
        timeout: Span::from_secs(15),
    });
    let verdicts = hand_over(&targets().await, &target, vec![delivery(1)]).await;
    assert!(is_retry(&verdicts[0].2, "refused_address: "), "{verdicts:?}");
}

#[tokio::test]
async fn a_bad_setting_is_named() {
    let action = |database: &str, steps: &[&str]| SqlAction {
        place: "sql.cancel_order".to_owned(),
        database: database.to_owned(),
        steps: steps.iter().map(|&step| step.to_owned()).collect(),
        applied: None,
    };
    let settings = |action: SqlAction| DeliverSettings {
        databases: BTreeMap::from([(
            "shop".to_owned(),
            Database::Sqlite("/nowhere/shop.db".into()),
        )]),
        sql: BTreeMap::from([("cancel_order".to_owned(), action)]),
        ..DeliverSettings::default()
    };
    let update = "UPDATE orders SET status='cancelled' WHERE id=:key";
    for (settings, key, why) in [
        (settings(action("shop", &[])), "sql.cancel_order.steps", "at least one"),
        (settings(action("store", &[update])), "sql.cancel_order.database", "[databases.store]"),
        (
            settings(action("shop", &[update, "UPDATE stock SET n=:sku"])),
            "sql.cancel_order.steps[1]",
            ":sku",
        ),
    ] {
        let bad = Targets::new(&settings).await.err().expect(why);
        assert_eq!(bad.key, key);
        assert!(bad.why.contains(why), "{bad}");
    }
    let shown = BadSetting { key: "a.b".to_owned(), why: "is wrong".to_owned() };
    assert_eq!(shown.to_string(), "a.b: is wrong");
}
