//! Webhooks over real loopback sockets.

mod answers;
mod guarded;
mod receiver;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duly_engine::command::Verdict;
use duly_engine::queue::Webhook;
use duly_engine::time::Span;
use hmac::{Hmac, KeyInit, Mac};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;
use tokio_rustls::TlsAcceptor;

use self::receiver::{Heard, Receiver, Reply, answer, impatient, request, webhook};
use super::connect::{Resolve, system_resolver, web_roots};
use super::{ANSWER_BYTES, Guard, RESULT_BYTES, Webhooks};
use crate::clock;
use crate::deliver::Delivery;
use crate::deliver::tests::{delivery, delivery_id, error, is_retry};

/// Duly listens on loopback only, so loopback is a place to go.
const AT_HOME: Guard = Guard { allow_private: false, allow_loopback: true };

fn client() -> Webhooks {
    Webhooks::over(AT_HOME, system_resolver(), web_roots())
}

/// A resolver that answers the same to everything.
fn resolver(addresses: &[IpAddr]) -> Resolve {
    let addresses = addresses.to_vec();
    Arc::new(move |_, _| {
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    })
}

async fn one(client: &Webhooks, webhook: &Webhook) -> Verdict {
    let mut verdicts = client.attempt(webhook, &[delivery(42)]).await;
    assert_eq!(verdicts.len(), 1);
    verdicts.remove(0)
}

fn read(heard: &Heard) -> Value {
    serde_json::from_slice(&heard.body).expect("a body is JSON")
}

/// Is the request signed with this secret, by the letter of the specification?
fn signed(heard: &Heard, secret: &str) -> bool {
    let secret = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
    let mut hmac = Hmac::<Sha256>::new_from_slice(&secret).expect("a key of any length");
    hmac.update(heard.header("webhook-id").as_bytes());
    hmac.update(b".");
    hmac.update(heard.header("webhook-timestamp").as_bytes());
    hmac.update(b".");
    hmac.update(&heard.body);
    let signature = STANDARD.encode(hmac.finalize().into_bytes());
    heard.header("webhook-signature").split(' ').any(|each| each == format!("v1,{signature}"))
}

#[tokio::test]
async fn a_lapse_is_one_signed_post() {
    let mut receiver = Receiver::new(|_| answer(204, "", "")).await;
    let secrets =
        [[7_u8; 32], [8; 32]].map(|bytes| format!("whsec_{}", STANDARD.encode(bytes))).to_vec();
    let target = Webhook { secrets: secrets.clone(), ..receiver.webhook(1) };
    let before = clock::wall().millis() / 1_000;
    let lapse = delivery(42).saying(r#"{"total": 19.90}"#);
    assert_eq!(client().attempt(&target, &[lapse]).await, [Verdict::Done]);
    let heard = receiver.hear().await;
    assert_eq!(heard.line, "POST /lapsed?token=hidden HTTP/1.1");
    assert_eq!(heard.header("webhook-id"), delivery_id(42).to_string());
    let timestamp: u64 = heard.header("webhook-timestamp").parse().expect("seconds");
    assert!((before..=clock::wall().millis() / 1_000).contains(&timestamp));
    assert!(secrets.iter().all(|secret| signed(&heard, secret)));
    assert_eq!(heard.header("content-type"), "application/json");
    assert_eq!(heard.header("user-agent"), concat!("duly/", env!("CARGO_PKG_VERSION")));
    assert_eq!(heard.header("host"), format!("127.0.0.1:{}", receiver.port()));
    let id = delivery_id(42);
    let body = format!(
        concat!(
            r#"{{"type":"deadline.lapsed","timestamp":"2026-11-22T12:30:00.007Z","data":{{"#,
            r#""queue":"orders","key":"42","delivery_id":"{}","due":"2026-11-22T12:30:00.000Z","#,
            r#""lapsed_at":"2026-11-22T12:30:00.007Z","late_ms":7,"attempt":1,"#,
            r#""payload":{{"total": 19.90}}}}}}"#
        ),
        id
    );
    assert_eq!(String::from_utf8_lossy(&heard.body), body, "the payload is embedded as written");
}

#[tokio::test]
async fn a_payload_is_json_or_bytes_or_nothing() {
    let mut receiver = Receiver::new(|_| answer(200, "", "")).await;
    let (client, target) = (client(), receiver.webhook(1));
    for (lapse, payload, base64) in [
        (delivery(1), json!(null), None),
        (delivery(1).saying("[1,\"</script>\"]"), json!([1, "</script>"]), None),
        (delivery(1).carrying(b"{\"a\":\xff}"), json!(null), Some("eyJhIjr/fQ==")),
        (delivery(1).carrying(b""), json!(null), Some("")),
        // Never scheduled so, but if it were, it would not break the body.
        (delivery(1).saying("{broken"), json!(null), Some("e2Jyb2tlbg==")),
    ] {
        assert_eq!(client.attempt(&target, &[lapse]).await, [Verdict::Done]);
        let data = read(&receiver.hear().await)["data"].take();
        assert_eq!(data["payload"], payload);
        assert_eq!(data.get("payload_base64").and_then(Value::as_str), base64);
        assert_eq!(data.get("payload").is_some(), base64.is_none(), "one or the other");
    }
}

#[tokio::test]
async fn a_batch_has_its_own_id_that_never_comes_again() {
    let mut receiver = Receiver::new(|heard| {
        let ids = read(heard)["data"].as_array().map(Vec::len);
        assert!(ids.is_some_and(|number| (1..=3).contains(&number)));
        let done = delivery_id(2);
        answer(
            200,
            "",
            &json!({"results":[{"delivery_id":done.to_string(),"verdict":"done"}]}).to_string(),
        )
    })
    .await;
    let (client, target) = (client(), receiver.webhook(100));
    let lapses = [delivery(1), delivery(2), delivery(3)];
    let verdicts = client.attempt(&target, &lapses).await;
    assert_eq!(verdicts[1], Verdict::Done);
    assert!(is_retry(&verdicts[0], "no_result: ") && is_retry(&verdicts[2], "no_result: "));
    let first = receiver.hear().await;
    let body = read(&first);
    assert_eq!(body["type"], "deadline.lapsed.batch");
    assert_eq!(body["timestamp"], "2026-11-22T12:30:00.007Z");
    let ids: Vec<Value> = (1..=3).map(|number| json!(delivery_id(number).to_string())).collect();
    let told: Vec<Value> = (0..3).map(|index| body["data"][index]["delivery_id"].clone()).collect();
    assert_eq!(told, ids);
    // The same lapses again are another request: a receiver that drops ids it knows must hear them.
    let again: Vec<Delivery> = lapses.into_iter().map(Delivery::again).collect();
    client.attempt(&target, &again).await;
    let second = receiver.hear().await;
    let id = first.header("webhook-id");
    assert!(id.starts_with("batch-") && !id.contains('.'), "{id}");
    assert_ne!(id, second.header("webhook-id"));
    // One lapse alone still comes as a batch: a receiver meets one form only.
    client.attempt(&target, &[delivery(9)]).await;
    assert_eq!(read(&receiver.hear().await)["type"], "deadline.lapsed.batch");
}

#[tokio::test]
async fn every_status_has_its_verdict() {
    let receiver = Receiver::new(|heard| {
        let status = read(heard)["data"]["key"].as_str().map(|key| key.parse().expect("a status"));
        let status: u16 = status.expect("a key");
        match status {
            // The only ones after which a client waits for more.
            100..=199 => Reply::SayAndClose(format!("HTTP/1.1 {status} Said\r\n\r\n").into()),
            204 | 304 => answer(status, "", ""),
            _ => answer(status, "", "ok"),
        }
    })
    .await;
    let (client, target) = (client(), receiver.webhook(1));
    for status in 100..=599_u16 {
        let verdict = client.attempt(&target, &[delivery(u64::from(status))]).await.remove(0);
        let expected = match status {
            // An interim answer, and then silence: there is no answer.
            100 | 102..=199 => is_retry(&verdict, "broken_answer: "),
            200..=299 => verdict == Verdict::Done,
            300..=399 => is_retry(&verdict, &format!("redirect: answered {status}")),
            410 => matches!(&verdict, Verdict::Dead { error } if error.contains("410")),
            _ => is_retry(&verdict, &format!("status: answered {status}")),
        };
        assert!(expected, "{status}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::new(|_| answer(200, "", "")).await;
    let place = format!("location: http://127.0.0.1:{}/\r\n", elsewhere.port());
    for status in [301, 302, 303, 307, 308] {
        let place = place.clone();
        let receiver = Receiver::new(move |_| answer(status, &place, "")).await;
        let verdict = one(&client(), &receiver.webhook(1)).await;
        assert!(is_retry(&verdict, "redirect: "), "{verdict:?}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_wish_to_be_left_alone_is_passed_on() {
    let receiver = Receiver::new(|_| answer(503, "retry-after: 90\r\n", "")).await;
    let after = Some(Span::from_secs(90));
    let error = "status: answered 503 Service Unavailable".into();
    assert_eq!(one(&client(), &receiver.webhook(1)).await, Verdict::Retry { error, after });
}

#[tokio::test]
async fn a_target_that_hangs_is_left() {
    for said in ["", "HTTP/1.1 200 Said\r\n", "HTTP/1.1 200 Said\r\ncontent-length: 5\r\n\r\nok"] {
        let receiver = Receiver::new(move |_| Reply::SayAndHang(said.into())).await;
        let verdict = one(&client(), &impatient(receiver.webhook(1))).await;
        assert_eq!(error(&verdict), "timeout: no answer within 100ms");
        assert!(is_retry(&verdict, "timeout: "));
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    for said in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 Said\r\ncontent-length: 5\r\n\r\nok",
        "HTTP/1.1 200 Said\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok",
        "HTTP/1.1 200 Said\r\ncontent-length: nonsense\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\0\0\0\0",
    ] {
        let receiver = Receiver::new(move |_| Reply::SayAndClose(said.into())).await;
        let verdict = one(&client(), &receiver.webhook(1)).await;
        assert!(is_retry(&verdict, "broken_answer: "), "{said:?}: {verdict:?}");
    }
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_limit() {
    let long = |bytes: usize| move |_: &Heard| answer(200, "", &" ".repeat(bytes));
    let fits = Receiver::new(long(ANSWER_BYTES)).await;
    assert_eq!(one(&client(), &fits.webhook(1)).await, Verdict::Done);
    let too_long = Receiver::new(long(ANSWER_BYTES + 1)).await;
    assert!(is_retry(&one(&client(), &too_long.webhook(1)).await, "long_answer: "));
    // A stream without end is left as soon as the limit is reached.
    let endless = Receiver::new(|_| {
        let mut bytes = b"HTTP/1.1 200 Said\r\n\r\n".to_vec();
        bytes.resize(ANSWER_BYTES + 5_000, b' ');
        Reply::SayAndHang(bytes)
    })
    .await;
    assert!(is_retry(&one(&client(), &endless.webhook(1)).await, "long_answer: "));
    // A batch has a line more for each lapse.
    let lapses: Vec<Delivery> = (1..=100).map(delivery).collect();
    let batch = Receiver::new(long(ANSWER_BYTES + RESULT_BYTES * 100)).await;
    let verdicts = client().attempt(&batch.webhook(100), &lapses).await;
    assert!(is_retry(&verdicts[99], "no_results: "), "{:?}", verdicts[99]);
    // So is an endless header.
    let header = Receiver::new(|_| {
        let name = "x".repeat(2 * ANSWER_BYTES);
        Reply::SayAndHang(format!("HTTP/1.1 200 Said\r\n{name}: 1\r\n\r\n").into())
    })
    .await;
    assert!(is_retry(&one(&client(), &header.webhook(1)).await, "broken_answer: "));
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let mut receiver = Receiver::new(|_| answer(200, "", "ok")).await;
    let (client, target) = (client(), receiver.webhook(1));
    for _ in 0..5 {
        assert_eq!(one(&client, &target).await, Verdict::Done);
        receiver.hear().await;
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_no_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (tell, mut answered) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            request(&mut stream).await.expect("a whole request");
            let said = b"HTTP/1.1 200 Said\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(said).await.expect("somebody listens");
            tell.send(stream).expect("the test goes on");
        }
    });
    let (client, target) = (client(), webhook(&format!("http://127.0.0.1:{port}/"), 1));
    for _ in 0..3 {
        assert_eq!(one(&client, &target).await, Verdict::Done);
        // It was kept, and now the target has had enough of waiting.
        drop(answered.recv().await.expect("it was answered"));
        client.pool.until_closed().await;
    }
}

#[tokio::test]
async fn a_bad_secret_stops_the_request_and_stays_secret() {
    let receiver = Receiver::new(|_| answer(200, "", "")).await;
    let good = format!("whsec_{}", STANDARD.encode([7; 32]));
    let secrets = vec![good, "whsec_c2hvcnQ=".to_owned()];
    let target = Webhook { secrets, ..receiver.webhook(1) };
    let verdict = one(&client(), &target).await;
    assert_eq!(error(&verdict), "bad_secret: secret 2 does not have 24 to 64 bytes");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_target_that_does_not_listen_is_retried() {
    let receiver = Receiver::new(|_| answer(200, "", "")).await;
    let nobody: Resolve =
        Arc::new(|_, _| Box::pin(async { Err(std::io::Error::other("unknown")) }));
    let url = format!("http://shop.test:{}/?token=hidden", receiver.port());
    let client = Webhooks::over(AT_HOME, nobody, web_roots());
    assert_eq!(error(&one(&client, &webhook(&url, 1)).await), "dns: unknown");
    let client = Webhooks::over(AT_HOME, resolver(&[]), web_roots());
    assert_eq!(error(&one(&client, &webhook(&url, 1)).await), "dns: the name has no address");
    // Nobody is at the first address; the second is tried.
    let both = [Ipv4Addr::new(127, 255, 255, 254).into(), Ipv4Addr::LOCALHOST.into()];
    let client = Webhooks::over(AT_HOME, resolver(&both), web_roots());
    assert_eq!(one(&client, &webhook(&url, 1)).await, Verdict::Done);
    let client = Webhooks::over(AT_HOME, resolver(&both[..1]), web_roots());
    assert!(is_retry(&one(&client, &webhook(&url, 1)).await, "connect: "));
}

/// A receiver that shows the certificate of `shop.test`, and roots that trust it.
fn certified() -> (TlsAcceptor, RootCertStore) {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("shop.test.pem"))
        .expect("a certificate for tests");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("shop.test.key.pem"))
        .expect("its key, which opens nothing");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate for tests");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they fit each other");
    (TlsAcceptor::from(Arc::new(config)), roots)
}

#[tokio::test]
async fn tls_is_spoken_only_with_the_one_that_was_meant() {
    let (acceptor, roots) = certified();
    let mut receiver = Receiver::over(Some(acceptor), |_| answer(200, "", "")).await;
    let home = || resolver(&[Ipv4Addr::LOCALHOST.into()]);
    let at = |host: &str, port| webhook(&format!("https://{host}:{port}/lapsed"), 1);
    let trusting = Webhooks::over(AT_HOME, home(), roots);
    assert_eq!(one(&trusting, &at("shop.test", receiver.port())).await, Verdict::Done);
    assert_eq!(receiver.hear().await.line, "POST /lapsed HTTP/1.1");
    // Another name, the name by its address, and a certificate of nobody known.
    for host in ["other.test", "127.0.0.1"] {
        let verdict = one(&trusting, &at(host, receiver.port())).await;
        assert!(is_retry(&verdict, "tls: "), "{verdict:?}");
    }
    let web = Webhooks::over(AT_HOME, home(), web_roots());
    let verdict = one(&web, &at("shop.test", receiver.port())).await;
    assert!(is_retry(&verdict, "tls: "), "{verdict:?}");
    // Somebody who does not speak TLS.
    let plain = Receiver::new(|_| answer(200, "", "")).await;
    let plain_port = plain.port();
    let verdict = one(&trusting, &impatient(at("shop.test", plain_port))).await;
    assert!(is_retry(&verdict, "t"), "tls or timeout: {verdict:?}");
}

#[tokio::test]
async fn an_answer_that_flips_is_refused_on_the_connection_that_would_be_made() {
    let receiver = Receiver::new(|_| answer(200, "connection: close\r\n", "")).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    // First the loopback that is allowed here, from then on a metadata service.
    let flipping: Resolve = Arc::new(move |_, _| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if first { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(169, 254, 169, 254) };
        Box::pin(async move { Ok(vec![address.into()]) })
    });
    let client = Webhooks::over(AT_HOME, flipping, web_roots());
    let target = webhook(&format!("http://shop.test:{}/", receiver.port()), 1);
    assert_eq!(one(&client, &target).await, Verdict::Done);
    let verdict = one(&client, &target).await;
    assert!(is_retry(&verdict, "refused_address: "), "{verdict:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "one look-up a connection");
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn those_who_connect_to_one_name_at_one_time_share_a_look_up() {
    let receiver = Receiver::new(|_| answer(200, "", "")).await;
    let (asked, found) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counter, waited) = (Arc::clone(&asked), Arc::clone(&found));
    // A resolver that takes its time, until everybody waits for it.
    let slow: Resolve = Arc::new(move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        let waited = Arc::clone(&waited);
        Box::pin(async move {
            waited.acquire().await.map_err(std::io::Error::other)?.forget();
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        })
    });
    let client = Webhooks::over(AT_HOME, slow, web_roots());
    let target = webhook(&format!("http://shop.test:{}/", receiver.port()), 1);
    // They are asked in this order, and the last lets the first find it.
    let all =
        tokio::join!(one(&client, &target), one(&client, &target), one(&client, &target), async {
            found.add_permits(3);
        });
    assert_eq!([all.0, all.1, all.2], [Verdict::Done, Verdict::Done, Verdict::Done]);
    assert_eq!((asked.load(Ordering::SeqCst), receiver.connections()), (1, 3));
}

#[tokio::test]
async fn a_name_with_one_refused_answer_is_refused_whole() {
    let receiver = Receiver::new(|_| answer(200, "", "")).await;
    let home: IpAddr = Ipv4Addr::LOCALHOST.into();
    for other in ["10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "fe80::1", "0.0.0.0"] {
        let other: IpAddr = other.parse().expect("an address");
        for mixed in [[home, other], [other, home]] {
            let client = Webhooks::over(AT_HOME, resolver(&mixed), web_roots());
            let target = webhook(&format!("http://shop.test:{}/", receiver.port()), 1);
            let verdict = one(&client, &target).await;
            assert!(is_retry(&verdict, "refused_address: "), "{mixed:?}: {verdict:?}");
        }
    }
    assert_eq!(receiver.connections(), 0);
}
