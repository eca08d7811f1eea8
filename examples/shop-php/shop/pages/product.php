<?php
/**
 * @var array<string, mixed> $product
 * @var int $quantity
 * @var bool|null $soldOut
 */

declare(strict_types=1);

namespace Shop;

$stock = (int) $product['stock'];
$within = (int) setting('PAY_WITHIN');
?>
<article class="product card">
  <svg class="picture" viewBox="0 0 320 220" aria-hidden="true">
    <ellipse class="shade" cx="160" cy="192" rx="104" ry="11"/>
    <path class="handle" d="M226 96c44-18 66 12 54 42-9 23-36 34-62 29"/>
    <path class="clay" d="M96 118c-22 2-40-10-50-34-3-8-13-9-19-5l-9 7c16 8 22 24 29 44 8 22 24 32 52 28z"/>
    <path class="clay" d="M88 128c0-36 32-58 72-58s72 22 72 58c0 34-22 62-44 62h-56c-22 0-44-28-44-62z"/>
    <path class="glaze" d="M88 128c0-36 32-58 72-58s72 22 72 58c0 8-10 12-18 6-10-8-20-2-28 4-10 8-20 8-30 0-10-7-20-7-28 1-12 11-40 10-40-11z"/>
    <path class="clay" d="M112 76c4-16 24-24 48-24s44 8 48 24c-14 8-82 8-96 0z"/>
    <circle class="glaze" cx="160" cy="44" r="11"/>
    <path class="steam" d="M20 62c-8-12 8-18 0-30M34 56c-7-10 7-16 0-26"/>
  </svg>
  <div class="offer">
    <h1><?= e($product['name']) ?></h1>
    <p class="price"><?= euros((int) $product['price_cents']) ?></p>
    <p>Thrown by hand, glazed in green, holds four cups. Keeps its warmth for as long as a long talk takes.</p>
    <p class="stock" id="stock" data-stock="<?= $stock ?>">
<?php if ($stock > 0): ?>
      <span class="dot good"></span><b><?= $stock ?></b> on the shelf
<?php else: ?>
      <span class="dot bad"></span>The shelf is empty. Orders that are not paid come back: have another look in a while.
<?php endif ?>
    </p>
<?php if (isset($soldOut)): ?>
    <p class="notice" role="alert">Somebody was faster: there are not that many left.</p>
<?php endif ?>
    <form method="post" action="/orders" class="buy">
      <input type="hidden" name="product" value="<?= e($product['id']) ?>">
      <label>How many
        <select name="quantity">
<?php for ($count = 1; $count <= 5; $count++): ?>
          <option<?= $count === $quantity ? ' selected' : '' ?>><?= $count ?></option>
<?php endfor ?>
        </select>
      </label>
      <button id="place" class="main"<?= $stock > 0 ? '' : ' disabled' ?>>Place order</button>
    </form>
    <p class="small">It is put aside for you at once; you have <?= e(within($within)) ?> to pay.</p>
  </div>
</article>
