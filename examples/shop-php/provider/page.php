<?php
/**
 * @var array<string, mixed> $session
 * @var bool $declined
 */

declare(strict_types=1);

namespace Provider;

use function Shop\e;
use function Shop\euros;

$back = "/orders/{$session['order_id']}";
$amount = euros((int) $session['amount_cents']);
?>
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>PretendPay</title>
  <link rel="icon" href="/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/shop.css">
</head>
<body class="provider">
  <header><span class="brand">Pretend<b>Pay</b></span> <span class="faint">no real money</span></header>
  <main>
    <form method="post" class="card" id="session" data-state="<?= e($session['state']) ?>">
      <p class="over">The Teapot Shop asks for</p>
      <p class="clock"><?= $amount ?></p>
      <p class="under">for order <?= (int) $session['order_id'] ?></p>
<?php if ($session['state'] === 'open'): ?>
<?php if ($declined): ?>
      <p class="notice" role="alert" id="declined">Your card was declined. Nothing was charged; try again if there is time.</p>
<?php endif ?>
      <button class="main wide" name="do" value="pay" id="card">Pay by card</button>
      <div class="pair">
        <button name="do" value="decline" id="decline">Decline the card</button>
        <button name="do" value="send" id="send">Come back too late</button>
      </div>
      <p class="small">“Come back too late” sends a bank transfer: it cannot be called back, and arrives when you say so, also after
        the shop has cancelled the order.</p>
<?php elseif ($session['state'] === 'under_way'): ?>
      <p class="notice calm" id="under-way">Your bank is sending the money.
        <?= $session['is_awaited'] ? 'The shop still waits for it.' : 'The shop has stopped waiting for it.' ?></p>
      <button class="main wide" name="do" value="arrive" id="arrive">Let the money arrive</button>
<?php elseif ($session['state'] === 'ended'): ?>
      <p class="notice" role="alert" id="ended">The shop has ended this payment: your time was over. Nothing was charged.</p>
<?php elseif (!$session['told']): ?>
      <p class="notice" role="alert" id="untold">Paid, but the shop does not answer. It must hear of it.</p>
      <button class="main wide" name="do" value="tell" id="tell">Tell it again</button>
<?php else: ?>
      <p class="notice calm" id="paid"><?= $session['refunds'] > 0 ? 'Paid, and given back by the shop.' : 'Paid.' ?></p>
<?php endif ?>
      <p><a class="button" href="<?= e($back) ?>">Back to the shop</a></p>
    </form>
  </main>
</body>
</html>
