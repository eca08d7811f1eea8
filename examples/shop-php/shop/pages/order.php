<?php
/** @var Order $order */

declare(strict_types=1);

namespace Shop;

$late = $order->lateMs();
$isWatched = $order->watch !== null;
?>
<?php if ($order->isUnpaid() && $isWatched): ?>
<script src="/w/duly.js" type="module"></script>
<?php endif ?>
<article class="order card" id="order" data-order="<?= $order->id ?>" data-status="<?= e($order->status) ?>" data-refunds="<?= $order->refunds ?>">
<?php if ($order->isUnpaid()): ?>
  <p class="over">Order <?= $order->id ?> is put aside for you</p>
<?php if ($isWatched): ?>
  <duly-countdown class="clock" src="<?= e($order->watch) ?>"></duly-countdown>
<?php else: ?>
  <p class="clock" role="timer" data-remaining-ms="<?= $order->remainingMs() ?>"><?= clock($order->remainingMs()) ?></p>
<?php endif ?>
  <p class="under">left to pay</p>
<?php elseif ($order->status === 'paid'): ?>
  <p class="mark good" aria-hidden="true">✓</p>
  <h1>Paid. Thank you!</h1>
  <p>Order <?= $order->id ?> is on its way to you.</p>
<?php else: ?>
  <p class="mark bad" aria-hidden="true">×</p>
  <h1>Cancelled</h1>
  <p>Nobody had paid order <?= $order->id ?> when its time was over, so it was cancelled
    <b id="late" data-late-ms="<?= $late ?>"><?= span((int) $late) ?></b> later and put back on the shelf.</p>
<?php endif ?>
<?php if ($order->refunds > 0): ?>
  <p class="notice calm" id="refunded"><?= $order->status === 'paid' ? 'You paid twice' : 'Your money came after that' ?>:
    <?= euros($order->totalCents) ?> has been given back to you.</p>
<?php endif ?>
  <dl class="lines">
    <div><dt><?= $order->quantity ?> × <?= e($order->name) ?></dt><dd><?= euros($order->totalCents) ?></dd></div>
  </dl>
<?php if ($order->isUnpaid()): ?>
  <form method="post" action="/orders/<?= $order->id ?>/pay">
    <button id="pay" class="main wide">Pay <?= euros($order->totalCents) ?></button>
  </form>
  <p class="small">You may close this page. What happens when the time is over does not depend on it.</p>
<?php else: ?>
  <p><a class="button" href="/">Back to the shop</a></p>
<?php endif ?>
</article>
