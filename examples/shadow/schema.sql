-- The orders of a small shop, with those of the last days: paid ones, and some that the cron cancelled.
CREATE TABLE orders (
  id         BIGINT AUTO_INCREMENT PRIMARY KEY,
  customer   VARCHAR(40) NOT NULL,
  total      DECIMAL(8, 2) NOT NULL,
  status     VARCHAR(20) NOT NULL DEFAULT 'unpaid',
  created_at DATETIME(3) NOT NULL,
  paid_at    DATETIME(3) NULL,
  updated_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  KEY open_orders (status, created_at)
);

INSERT INTO orders (customer, total, status, created_at, paid_at, updated_at)
SELECT CONCAT('customer ', seq), 9.90 + seq % 40, IF(seq % 7 = 0, 'cancelled', 'paid'),
       NOW(3) - INTERVAL seq * 10 MINUTE,
       IF(seq % 7 = 0, NULL, NOW(3) - INTERVAL seq * 10 - 5 MINUTE), NOW(3) - INTERVAL seq * 10 - 5 MINUTE
FROM seq_1_to_500;
