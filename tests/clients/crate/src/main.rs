//! The `redis` crate, as it comes from crates.io, through the scenario that every client goes
//! through. It tells how each step went, one a line, and knows Duly only as a Redis server.

use std::collections::HashMap;
use std::time::Duration;

use redis::{Client, Connection, FromRedisValue, RedisError, RedisResult, cmd, pipe};

fn main() -> RedisResult<()> {
    let words: Vec<String> = std::env::args().collect();
    let (port, name) = (&words[1], &words[2]);
    let client = Client::open(format!("redis://127.0.0.1:{port}/0?protocol=resp3"))?;
    let mut connection = client.get_connection()?;
    let key = |number: u32| format!("{name}:{number}");
    let (one, two, three) = (key(1), key(2), key(3));

    let pong: String = asked(&mut connection, &["PING"])?;
    asked::<()>(&mut connection, &["CLIENT", "SETNAME", name])?;
    let called: String = asked(&mut connection, &["CLIENT", "GETNAME"])?;
    step("connect", pong == "PONG" && called == *name);
    asked::<()>(&mut connection, &["SETEX", &one, "3600", "{\"total\":\"19.90\"}"])?;
    let left: i64 = asked(&mut connection, &["TTL", &one])?;
    let value: String = asked(&mut connection, &["GET", &one])?;
    step("schedule", left > 3590 && value == "{\"total\":\"19.90\"}");
    let set: Option<String> = asked(&mut connection, &["SET", &one, "x", "NX", "EX", "60"])?;
    step("once", set.is_none());
    let moved: bool = asked(&mut connection, &["EXPIRE", &one, "7200"])?;
    let left: i64 = asked(&mut connection, &["TTL", &one])?;
    step("extend", moved && left > 3600);
    let won: i64 = asked(&mut connection, &["DEL", &one])?;
    let again: i64 = asked(&mut connection, &["DEL", &one])?;
    let gone: Option<String> = asked(&mut connection, &["GET", &one])?;
    step("settle", (won, again, gone) == (1, 0, None));

    let mut listening = client.get_connection()?;
    let mut events = listening.as_pubsub();
    events.psubscribe("__keyevent@*__:expired")?;
    events.set_read_timeout(Some(Duration::from_secs(10)))?;
    asked::<()>(&mut connection, &["PSETEX", &two, "200", "x"])?;
    let heard: String = events.get_message()?.get_payload()?;
    let there: bool = asked(&mut connection, &["EXISTS", &two])?;
    step("event", heard == two && !there);

    let mut pipeline = pipe();
    for number in 0..10_000 {
        let key = format!("{name}-many:{number}");
        pipeline.cmd("SETEX").arg(key).arg(3600).arg(number);
    }
    let answers: Vec<String> = pipeline.query(&mut connection)?;
    step("pipeline", answers.len() == 10_000 && answers.iter().all(|answer| answer == "OK"));

    let queue = format!("{name}-work");
    asked::<()>(&mut connection, &["PSETEX", &format!("{queue}:1"), "300", "x"])?;
    let leased: HashMap<String, Vec<HashMap<String, String>>> =
        asked(&mut connection, &["DULY.LEASE", &queue, "WAIT", "20s"])?;
    let leased = &leased["deliveries"];
    step("lease", leased.len() == 1 && leased[0]["key"] == "1");
    let (id, token) = (&leased[0]["id"], &leased[0]["token"]);
    asked::<redis::Value>(&mut connection, &["DULY.VERDICT", id, token, "done"])?;

    asked::<()>(&mut connection, &["SETEX", &three, "3600", "kept"])?;
    println!("kill");
    std::io::stdin().read_line(&mut String::new())?;
    // This connection is not one that comes back by itself; its client makes another.
    let lost: RedisResult<String> = asked(&mut connection, &["GET", &three]);
    let kept: String = asked(&mut client.get_connection()?, &["GET", &three])?;
    step("reconnect", lost.is_err_and(|error| went(&error)) && kept == "kept");
    Ok(())
}

fn asked<T: FromRedisValue>(connection: &mut Connection, words: &[&str]) -> RedisResult<T> {
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command.query(connection)
}

/// Did the connection go, and nothing else happen?
fn went(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.is_io_error()
}

fn step(name: &str, good: bool) {
    println!("{} {name}", if good { "good" } else { "bad" });
}
