-- The shop of the plain recipe. What matters is that one row decides: orders.status.
CREATE TABLE products (
    sku   VARCHAR(64) PRIMARY KEY,
    stock INTEGER NOT NULL CHECK (stock >= 0)
);
CREATE TABLE orders (
    id           INTEGER PRIMARY KEY,
    sku          VARCHAR(64) NOT NULL REFERENCES products,
    quantity     INTEGER NOT NULL,
    status       VARCHAR(16) NOT NULL DEFAULT 'unpaid' CHECK (status IN ('unpaid', 'paid', 'cancelled')),
    payment      VARCHAR(64),       -- the payment that paid it
    cancelled_by VARCHAR(64)        -- the delivery that cancelled it
);
-- What a payment provider keeps for you; see provider.php.
CREATE TABLE sessions (order_id INTEGER PRIMARY KEY, state VARCHAR(16) NOT NULL DEFAULT 'open');
CREATE TABLE refunds (payment VARCHAR(64) PRIMARY KEY, order_id INTEGER NOT NULL);
