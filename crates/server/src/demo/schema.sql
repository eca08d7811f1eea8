-- The shop's own database. Duly knows nothing of it but the statements in its configuration; to see
-- for yourself: sqlite3 duly-demo/shop.db 'SELECT * FROM cancelled_by_duly'

CREATE TABLE IF NOT EXISTS products (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    stock       INTEGER NOT NULL CHECK (stock >= 0)
) STRICT;

CREATE TABLE IF NOT EXISTS orders (
    id           INTEGER PRIMARY KEY,
    product      TEXT NOT NULL REFERENCES products (id),
    price_cents  INTEGER NOT NULL,
    is_rush      INTEGER NOT NULL,   -- one of a thousand placed at once
    status       TEXT NOT NULL CHECK (status IN ('unpaid', 'paid', 'cancelled')),
    created_at   TEXT NOT NULL,      -- times are UTC with milliseconds: 2026-11-22 12:30:00.000
    pay_by       TEXT NOT NULL,
    paid_at      TEXT,
    cancelled_at TEXT,
    cancelled_by TEXT,               -- 'customer', or the id of Duly's delivery
    refunded_at  TEXT                -- paid after it was cancelled, and paid back
) STRICT;

CREATE INDEX IF NOT EXISTS orders_by_status ON orders (status, is_rush);
CREATE INDEX IF NOT EXISTS rushes_by_time ON orders (pay_by) WHERE is_rush;

-- Numbers are given out before anything else happens, so that none is ever used twice.
CREATE TABLE IF NOT EXISTS numbers (next INTEGER NOT NULL) STRICT;
INSERT INTO numbers SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM numbers);

INSERT OR IGNORE INTO products VALUES
    ('lamp',   'Reading lamp',   4900, 12),
    ('ticket', 'Concert ticket', 2500, 1000);

-- How many milliseconds after its time each order was cancelled, by the shop's own clock.
CREATE VIEW IF NOT EXISTS cancelled_by_duly AS
SELECT id, pay_by, cancelled_at, cancelled_by AS delivery_id,
       CAST(round((julianday(cancelled_at) - julianday(pay_by)) * 86400000.0) AS INTEGER) AS late_ms
FROM orders
WHERE status = 'cancelled' AND cancelled_by <> 'customer';
