<?php
/**
 * @var Order[] $orders
 * @var array<string, int> $counts
 * @var array<string, mixed> $product
 */

declare(strict_types=1);

namespace Shop;
?>
<h1>Orders</h1>
<dl class="counts">
  <div><dt>unpaid</dt><dd><?= $counts['unpaid'] ?></dd></div>
  <div class="paid"><dt>paid</dt><dd><?= $counts['paid'] ?></dd></div>
  <div class="cancelled"><dt>cancelled</dt><dd><?= $counts['cancelled'] ?></dd></div>
  <div class="refunded"><dt>given back</dt><dd><?= $counts['refunded'] ?></dd></div>
  <div><dt>in stock</dt><dd><?= (int) $product['stock'] ?></dd></div>
</dl>
<?php if ($orders === []): ?>
<p class="card empty">No order yet. <a href="/">Place one</a>, and pay it or not.</p>
<?php else: ?>
<div class="card ledger">
  <table>
    <thead><tr><th>Order</th><th>What</th><th class="figure">Total</th><th>How it stands</th><th class="figure">After its time</th></tr></thead>
    <tbody>
<?php foreach ($orders as $order): $late = $order->lateMs(); ?>
      <tr data-order="<?= $order->id ?>" data-status="<?= e($order->status) ?>">
        <td><a href="/orders/<?= $order->id ?>"><?= $order->id ?></a></td>
        <td><?= $order->quantity ?> × <?= e($order->name) ?></td>
        <td class="figure"><?= euros($order->totalCents) ?></td>
        <td><span class="status <?= e($order->status) ?>"><?= e($order->status) ?></span><?php if ($order->refunds > 0): ?> <span class="status refunded">given back</span><?php endif ?></td>
        <td class="figure">
<?php if ($order->isUnpaid()): ?>
          <span class="faint" data-remaining-ms="<?= $order->remainingMs() ?>"><?= clock($order->remainingMs()) ?></span>
<?php elseif ($order->status === 'cancelled'): ?>
          <?= span((int) $late) ?>
<?php endif ?>
        </td>
      </tr>
<?php endforeach ?>
    </tbody>
  </table>
</div>
<?php endif ?>
