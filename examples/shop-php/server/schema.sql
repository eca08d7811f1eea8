-- The shop's tables. What matters: one row decides, by `orders.status`. All times are UTC.

CREATE TABLE products (
    id          VARCHAR(32) PRIMARY KEY,
    name        VARCHAR(100) NOT NULL,
    price_cents INT UNSIGNED NOT NULL,
    stock       INT UNSIGNED NOT NULL     -- unsigned: it cannot be sold below nothing
);

-- No foreign key to `products`: it would hold the product's row while Duly is being told of the order.
CREATE TABLE orders (
    id           BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    product      VARCHAR(32) NOT NULL,
    quantity     INT UNSIGNED NOT NULL,
    total_cents  INT UNSIGNED NOT NULL,   -- what was agreed, whatever the price is later
    status       ENUM('unpaid', 'paid', 'cancelled') NOT NULL DEFAULT 'unpaid',
    created_at   DATETIME(3) NOT NULL,
    pay_before   DATETIME(3) NOT NULL,
    closed_at    DATETIME(3),             -- when it was paid or cancelled
    payment      VARCHAR(64),             -- the payment that paid it
    cancelled_by VARCHAR(64),             -- the delivery that cancelled it
    watch        VARCHAR(500),            -- M1 only: the link that its page watches
    KEY (created_at),
    KEY (status, pay_before)
);

-- Money that came too late, or twice, and was given back.
CREATE TABLE refunds (
    payment  VARCHAR(64) PRIMARY KEY,
    order_id BIGINT UNSIGNED NOT NULL,
    at       DATETIME(3) NOT NULL,
    KEY (order_id)
);

-- What a payment provider keeps for you; it lives here only so that the example needs no second database.
CREATE TABLE provider_sessions (
    id           CHAR(24) PRIMARY KEY,
    order_id     BIGINT UNSIGNED NOT NULL UNIQUE,
    amount_cents INT UNSIGNED NOT NULL,
    state        ENUM('open', 'ended', 'under_way', 'paid') NOT NULL DEFAULT 'open',
    told         BOOLEAN NOT NULL DEFAULT FALSE,   -- has the shop answered that it heard of the payment?
    refunds      INT UNSIGNED NOT NULL DEFAULT 0
);

INSERT INTO products VALUES ('teapot', 'Stoneware teapot', 4900, 24);
