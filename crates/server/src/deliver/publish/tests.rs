//! Every delivery has its verdict, also when there is no broker. Real ones are met by the suite `publish`.

use std::collections::BTreeMap;

use tokio::net::TcpListener;

use super::Publishers;
use crate::config::{PublishAction, PublishDestination};
use crate::deliver::tests::{delivery, is_retry};

fn publishers(port: u16) -> Publishers {
    let action = PublishAction {
        host: "127.0.0.1".to_owned(),
        port,
        tls: false,
        ca_file: None,
        user: None,
        password: None,
        database: 0,
        destination: PublishDestination::List { key: "lapses".to_owned() },
    };
    Publishers::start(&BTreeMap::from([("lapses".to_owned(), action)])).expect("good settings")
}

#[tokio::test]
async fn a_broker_that_is_away_is_everybodys_retry() {
    let port = {
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        gone.local_addr().expect("it is bound").port()
    };
    let verdicts = publishers(port).attempt("lapses", &[delivery(1), delivery(2)]).await;
    assert_eq!(verdicts.len(), 2);
    for verdict in &verdicts {
        assert!(is_retry(verdict, "publish: lapses: connection refused"), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_broker_that_hangs_up_without_an_answer_is_a_retry() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let verdicts = publishers(port).attempt("lapses", &[delivery(1)]).await;
    assert!(is_retry(&verdicts[0], "publish: lapses: "), "{verdicts:?}");
}

#[tokio::test]
async fn a_publisher_that_nobody_knows_is_a_retry() {
    let verdicts = publishers(1).attempt("other", &[delivery(1)]).await;
    assert!(is_retry(&verdicts[0], "unknown_publisher"), "{verdicts:?}");
}
