//! The demonstration shop on a real server: an order is paid, cancelled, given more time, or lapses.
//!
//! The clock is moved by hand, so that thirty minutes take no time; the shop and the server are those
//! of `duly demo`, in one process with the test.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use duly::client::Client;
use duly::config::{ClockSource, Settings};
use duly::demo;
use duly::run::Server;
use hyper::Method;
use serde_json::{Value, json};

/// A shop that is open.
struct Open {
    server: Server,
    client: Client,
    directory: PathBuf,
}

impl Open {
    async fn at(directory: PathBuf) -> Open {
        // The shop has to know its address before it opens.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address: SocketAddr = free.expect("there are free ports");
        let settings =
            Settings { http: Some(address), clock: ClockSource::Manual, ..Settings::default() };
        let (settings, shop) = demo::open(&directory, address, settings).expect("it opens");
        let server = Server::start(settings, Some(shop)).await.expect("it starts");
        let client = Client::new(&format!("http://{address}")).expect("the address is good");
        Open { server, client, directory }
    }

    async fn new(name: &str) -> Open {
        let name = format!("duly-demo-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&directory));
        Open::at(directory).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.client.send(Method::POST, path, body.to_string()).await;
        let answer = answer.expect("the server answers");
        (answer.status, answer.json())
    }

    async fn place(&self, within: &str) -> i64 {
        let (status, answer) = self.post("/demo/orders", &json!({ "within": within })).await;
        assert_eq!(status, 200, "{answer}");
        answer["first"].as_i64().expect("it has a number")
    }

    async fn act(&self, id: i64, what: &str) -> (u16, Value) {
        self.post(&format!("/demo/orders/{id}/{what}"), &json!({})).await
    }

    async fn advance(&self, by: &str) {
        let (status, answer) = self.post("/v1/clock/advance", &json!({ "by": by })).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn get(&self, path: &str) -> Value {
        self.client.send(Method::GET, path, "").await.expect("the server answers").json()
    }

    async fn order(&self, id: i64) -> Value {
        let display = self.get("/demo/state").await;
        let orders = display["orders"].as_array().expect("it lists orders").clone();
        orders.into_iter().find(|order| order["id"] == id).expect("the order is listed")
    }

    /// Waits until Duly says that it has acted on order `id`.
    async fn acted(&self, id: i64) {
        loop {
            let record = self.get(&format!("/v1/queues/orders/deadlines/{id}")).await;
            match record["deadline"]["delivery"]["state"].as_str() {
                Some("done") => return,
                Some("ready" | "leased") => {}
                other => panic!("the delivery is {other:?}: {record}"),
            }
        }
    }

    /// Ends the server and removes what it kept.
    async fn close(self) {
        self.server.stop().await;
        drop(std::fs::remove_dir_all(Path::new(&self.directory)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_or_duly_cancelled() {
    let shop = Open::new("life").await;
    let (paid, unpaid) = (shop.place("10s").await, shop.place("10s").await);
    assert_eq!(shop.act(paid, "pay").await.0, 200);
    shop.advance("10s").await;
    shop.acted(unpaid).await;
    assert_eq!(shop.order(paid).await["status"], "paid");
    let cancelled = shop.order(unpaid).await;
    assert_eq!(cancelled["status"], "cancelled");
    let record = shop.get(&format!("/v1/queues/orders/deadlines/{unpaid}")).await;
    assert_eq!(cancelled["delivery_id"], record["deadline"]["delivery"]["id"]);
    let settled = shop.get(&format!("/v1/queues/orders/deadlines/{paid}")).await;
    assert_eq!(settled["deadline"]["outcome"], "paid");

    assert_eq!(shop.act(unpaid, "pay").await.1["ended"], "refunded");
    assert_eq!(shop.act(unpaid, "pay").await.0, 409);
    let display = shop.get("/demo/state").await;
    assert_eq!(display["counts"]["refunded"], 1);
    assert_eq!(display["lateness"]["count"], 1);
    assert_eq!(display["products"][0]["stock"], 11, "the lamp is back on the shelf");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_time_is_given_until_it_is_over() {
    let shop = Open::new("more").await;
    let id = shop.place("10s").await;
    assert_eq!(shop.act(id, "more-time").await.0, 200);
    shop.advance("69s").await;
    assert_eq!(shop.order(id).await["status"], "unpaid");
    shop.advance("1s").await;
    shop.acted(id).await;
    let (status, answer) = shop.act(id, "more-time").await;
    assert_eq!(status, 502, "{answer}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_may_change_their_mind() {
    let shop = Open::new("mind").await;
    let id = shop.place("30m").await;
    assert_eq!(shop.act(id, "cancel").await.0, 200);
    assert_eq!(shop.act(id, "pay").await.1["ended"], "refunded");
    assert_eq!(shop.act(id, "cancel").await.0, 409);
    let record = shop.get(&format!("/v1/queues/orders/deadlines/{id}")).await;
    assert_eq!(record["deadline"]["outcome"], "cancelled_by_customer");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_orders_are_cancelled_and_a_restart_forgets_none() {
    let shop = Open::new("rush").await;
    let (status, answer) = shop.post("/demo/rush", &json!({})).await;
    assert_eq!((status, &answer["placed"]), (200, &json!(1_000)));
    let first = answer["first"].as_i64().expect("it has a number");
    let display = shop.get("/demo/state").await;
    assert_eq!(display["rush"]["unpaid"], 1_000);
    assert_eq!(display["orders"].as_array().map(Vec::len), Some(100));

    let directory = shop.directory.clone();
    shop.server.stop().await;
    let shop = Open::at(directory).await;
    assert_eq!(shop.get("/demo/state").await["rush"]["unpaid"], 1_000);
    shop.advance("1h").await;
    for id in first..first + 1_000 {
        shop.acted(id).await;
    }
    let display = shop.get("/demo/state").await;
    assert_eq!(display["counts"]["cancelled"], 1_000);
    assert_eq!(
        (&display["rush"]["unpaid"], &display["rush"]["cancelled"]),
        (&json!(0), &json!(1_000))
    );
    assert_eq!(display["products"][1]["stock"], 1_000, "every ticket is back");
    assert_eq!(shop.place("30m").await, first + 1_000, "no number is used twice");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_whole_and_comes_from_here_alone() {
    let shop = Open::new("page").await;
    let text = |path: &'static str| {
        let client = shop.client.clone();
        async move {
            let answer = client.send(Method::GET, path, "").await.expect("the server answers");
            assert_eq!(answer.status, 200, "{path}");
            String::from_utf8(answer.body.to_vec()).expect("it is text")
        }
    };
    let page = text("/demo").await;
    let script = text("/demo/page.js").await;
    for file in [&page, &script, &text("/demo/page.css").await, &text("/demo/icon.svg").await] {
        let foreign = file.match_indices("://").filter(|(at, _)| {
            !file[..*at].ends_with("http") || !file[*at..].starts_with("://www.w3.org/")
        });
        assert_eq!(foreign.count(), 0, "nothing is fetched from elsewhere");
    }
    // What the script looks for by its id is on the page, except the parts it builds itself.
    for id in script.split("byId(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id} is not on the page");
    }
    assert_eq!(shop.post("/demo/orders", &json!({ "within": "1s" })).await.0, 400);
    shop.close().await;
}
