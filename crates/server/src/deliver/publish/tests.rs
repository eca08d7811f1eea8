//! Every delivery has its verdict, also when there is no broker. Real ones are met by the suites
//! `publish` and `amqp`.

use std::collections::BTreeMap;

use tokio::net::TcpListener;

use super::Publishers;
use crate::config::{
    AmqpDestination, PublishAction, PublishDestination, RedisDestination, RedisEntry,
};
use crate::deliver::tests::{delivery, is_retry};

/// One of each kind, at the same port.
fn publishers(port: u16) -> Publishers {
    Publishers::start(&settings(port)).expect("good settings")
}

fn settings(port: u16) -> BTreeMap<String, PublishAction> {
    let list = RedisEntry::List { key: "lapses".to_owned() };
    let redis = PublishDestination::Redis(RedisDestination { database: 0, entry: list });
    let amqp = PublishDestination::Amqp(AmqpDestination {
        vhost: "/".to_owned(),
        exchange: String::new(),
        routing_key: "lapses".to_owned(),
    });
    let action = |destination| PublishAction {
        host: "127.0.0.1".to_owned(),
        port,
        tls: false,
        ca_file: None,
        user: None,
        password: None,
        destination,
    };
    BTreeMap::from([("redis".to_owned(), action(redis)), ("amqp".to_owned(), action(amqp))])
}

#[tokio::test]
async fn a_broker_that_is_away_is_everybodys_retry() {
    let port = {
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        gone.local_addr().expect("it is bound").port()
    };
    let publishers = publishers(port);
    for name in ["redis", "amqp"] {
        let verdicts = publishers.attempt(name, &[delivery(1), delivery(2)]).await;
        assert_eq!(verdicts.len(), 2);
        for verdict in &verdicts {
            let expected = format!("publish: {name}: connection refused");
            assert!(is_retry(verdict, &expected), "{verdict:?}");
        }
    }
    publishers.stop().await;
}

#[tokio::test]
async fn a_broker_that_hangs_up_without_an_answer_is_a_retry() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    for name in ["redis", "amqp"] {
        let verdicts = publishers(port).attempt(name, &[delivery(1)]).await;
        assert!(is_retry(&verdicts[0], &format!("publish: {name}: ")), "{verdicts:?}");
    }
}

#[tokio::test]
async fn a_publisher_that_nobody_knows_is_a_retry() {
    let verdicts = publishers(1).attempt("other", &[delivery(1)]).await;
    assert!(is_retry(&verdicts[0], "unknown_publisher"), "{verdicts:?}");
}

#[test]
fn a_file_of_authorities_with_none_in_it_is_a_bad_setting() {
    for file in ["/dev/null", "/nowhere/ca.pem"] {
        let mut settings = settings(1);
        for action in settings.values_mut() {
            (action.tls, action.ca_file) = (true, Some(file.into()));
        }
        let bad = Publishers::start(&settings).err().expect("it cannot be used");
        assert_eq!(bad.key, "publish.amqp.ca_file", "{bad}");
        assert!(bad.why.starts_with("cannot be used: "), "{bad}");
    }
}
