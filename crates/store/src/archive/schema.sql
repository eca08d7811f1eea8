-- The archive of Duly, format 1. What is documented in docs/archive.md is a public interface:
-- the views, and of the tables what that page names. Times are milliseconds since 1970 UTC.

CREATE TABLE progress (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    directory   BLOB    NOT NULL,   -- the id of the data directory it belongs to
    applied_seq INTEGER NOT NULL    -- every final fact up to this sequence is in here
);

CREATE TABLE queues (
    no                INTEGER PRIMARY KEY,
    name              TEXT    NOT NULL,
    payloads_dropped  INTEGER NOT NULL DEFAULT 0   -- records finished up to then have lost theirs
);
CREATE INDEX queues_by_name ON queues (name);

CREATE TABLE records (
    row           INTEGER PRIMARY KEY,   -- in the order they became final
    id            INTEGER NOT NULL,
    generation    INTEGER NOT NULL,
    queue_no      INTEGER NOT NULL,
    key           TEXT    NOT NULL,
    ending        INTEGER NOT NULL,      -- 1 settled, 2 lapsed and done, 3 lapsed and superseded
    due           INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    lapsed_at     INTEGER,
    finished_at   INTEGER NOT NULL,      -- of a settled record: when it was settled
    priority      INTEGER NOT NULL,
    frozen_until  INTEGER,
    frozen_for    INTEGER NOT NULL,
    outcome       TEXT,
    delivery_id   TEXT,
    attempts      INTEGER NOT NULL,
    token         INTEGER,
    last_error    TEXT,
    timeline      TEXT    NOT NULL,      -- JSON
    payload_kind  INTEGER NOT NULL,      -- 0 none given, 1 JSON, 2 bytes, 3 dropped
    payload       ANY,                   -- JSON as text, bytes as they came
    seq           INTEGER NOT NULL,      -- of the fact that made it final
    crc           INTEGER NOT NULL,      -- over all columns before it but the payload
    payload_crc   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX records_by_id ON records (id, generation);
CREATE INDEX records_by_key ON records (queue_no, key);
CREATE INDEX records_by_due ON records (queue_no, due, id);
CREATE INDEX records_by_end ON records (queue_no, finished_at);

CREATE TABLE daily_totals (
    day      INTEGER NOT NULL,   -- days since 1970 UTC: when it was settled or when it lapsed
    queue_no INTEGER NOT NULL,
    ending   INTEGER NOT NULL,   -- as in records
    outcome  TEXT    NOT NULL,   -- of settled records; '' of lapsed ones
    count    INTEGER NOT NULL,
    total_ms INTEGER NOT NULL,   -- settled: from schedule to settle; lapsed: from due to lapse
    PRIMARY KEY (day, queue_no, ending, outcome)
) STRICT, WITHOUT ROWID;

CREATE VIEW deadlines AS
SELECT q.name AS queue,
       r.key,
       r.id,
       r.generation,
       CASE r.ending WHEN 1 THEN 'settled' ELSE 'lapsed' END AS state,
       r.outcome,
       CASE r.ending WHEN 2 THEN 'done' WHEN 3 THEN 'superseded' END AS delivery,
       r.delivery_id,
       r.attempts,
       r.last_error,
       r.priority,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.created_at / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.due / 1000.0, 'unixepoch') AS due,
       strftime('%Y-%m-%dT%H:%M:%fZ', CASE r.ending WHEN 1 THEN r.finished_at END / 1000.0, 'unixepoch')
           AS settled_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.lapsed_at / 1000.0, 'unixepoch') AS lapsed_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', r.finished_at / 1000.0, 'unixepoch') AS finished_at,
       r.created_at AS created_at_ms,
       r.due AS due_ms,
       CASE r.ending WHEN 1 THEN r.finished_at END AS settled_at_ms,
       r.lapsed_at AS lapsed_at_ms,
       r.finished_at AS finished_at_ms,
       r.payload,
       r.timeline
FROM records AS r JOIN queues AS q ON q.no = r.queue_no;

CREATE VIEW settled AS
SELECT queue, key, id, generation, outcome, created_at, due, settled_at,
       settled_at_ms - created_at_ms AS took_ms,
       created_at_ms, due_ms, settled_at_ms, payload
FROM deadlines WHERE state = 'settled';

CREATE VIEW lapsed AS
SELECT queue, key, id, generation, delivery, delivery_id, attempts, last_error,
       created_at, due, lapsed_at, finished_at,
       lapsed_at_ms - due_ms AS late_ms,
       created_at_ms, due_ms, lapsed_at_ms, finished_at_ms, payload
FROM deadlines WHERE state = 'lapsed';

CREATE VIEW daily AS
SELECT date(t.day * 86400, 'unixepoch') AS day,
       q.name AS queue,
       sum(CASE t.ending WHEN 1 THEN t.count ELSE 0 END) AS settled,
       sum(CASE t.ending WHEN 1 THEN 0 ELSE t.count END) AS lapsed,
       sum(CASE t.ending WHEN 2 THEN t.count ELSE 0 END) AS done,
       sum(CASE t.ending WHEN 3 THEN t.count ELSE 0 END) AS superseded,
       sum(CASE t.ending WHEN 1 THEN t.total_ms END)
           / sum(CASE t.ending WHEN 1 THEN t.count END) AS average_settle_ms,
       sum(CASE t.ending WHEN 1 THEN NULL ELSE t.total_ms END)
           / sum(CASE t.ending WHEN 1 THEN NULL ELSE t.count END) AS average_late_ms
FROM daily_totals AS t JOIN queues AS q ON q.no = t.queue_no
GROUP BY t.day, q.name;

CREATE VIEW daily_outcomes AS
SELECT date(t.day * 86400, 'unixepoch') AS day, q.name AS queue, t.outcome,
       sum(t.count) AS settled
FROM daily_totals AS t JOIN queues AS q ON q.no = t.queue_no
WHERE t.ending = 1
GROUP BY t.day, q.name, t.outcome;
