"""redis-py, as it comes from PyPI, through the scenario that every client goes through."""

import sys
import time

import redis


def main(port, name):
    client = redis.Redis(port=port, client_name=name, decode_responses=True)
    commands = client.command()
    step("connect", client.ping() and client.client_getname() == name
         and commands["duly.settle"]["arity"] == -4 and commands["mget"]["last_key_pos"] == -1
         and client.command_getkeys("SETEX", "k", 60, "v") == ["k"])
    step("schedule", client.setex(f"{name}:1", 3600, '{"total":"19.90"}')
         and 3590 <= client.ttl(f"{name}:1") <= 3600
         and client.get(f"{name}:1") == '{"total":"19.90"}')
    step("once", client.set(f"{name}:1", "x", nx=True, ex=60) is None)
    step("extend", client.expire(f"{name}:1", 7200) and client.ttl(f"{name}:1") > 3600)
    step("settle", client.delete(f"{name}:1") == 1 and client.delete(f"{name}:1") == 0
         and client.get(f"{name}:1") is None)
    events = client.pubsub(ignore_subscribe_messages=True)
    events.psubscribe("__keyevent@*__:expired")
    events.get_message(timeout=1)
    client.psetex(f"{name}:2", 200, "x")
    step("event", heard(events) == f"{name}:2" and client.exists(f"{name}:2") == 0)
    events.close()
    pipeline = client.pipeline(transaction=False)
    for number in range(10_000):
        pipeline.setex(f"{name}-many:{number}", 3600, number)
    step("pipeline", pipeline.execute() == [True] * 10_000)
    client.psetex(f"{name}-work:1", 300, "x")
    leased = client.execute_command("DULY.LEASE", f"{name}-work", "WAIT", "20s")
    leased = [as_dict(delivery) for delivery in as_dict(leased)["deliveries"]]
    step("lease", [delivery["key"] for delivery in leased] == ["1"])
    for delivery in leased:
        client.execute_command("DULY.VERDICT", delivery["id"], delivery["token"], "done")
    client.setex(f"{name}:3", 3600, "kept")
    print("kill", flush=True)
    sys.stdin.readline()
    step("reconnect", again(lambda: client.get(f"{name}:3")) == "kept")


def as_dict(told):
    """A map, which version 2 of the protocol tells as names and values in turn."""
    return told if isinstance(told, dict) else dict(zip(told[::2], told[1::2]))


def heard(events):
    """The first key that is told to have expired, within ten seconds."""
    for _ in range(100):
        message = events.get_message(timeout=0.1)
        if message:
            return message["data"]
    return None


def again(ask):
    """What is answered once the connection is there again."""
    for _ in range(100):
        try:
            return ask()
        except redis.ConnectionError:
            time.sleep(0.1)
    return None


def step(name, good):
    """Tells how a step went."""
    print("good" if good else "bad", name, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
