<?php
/** @var string $inside the page itself */

declare(strict_types=1);

namespace Shop;
?>
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>The Teapot Shop</title>
  <link rel="icon" href="/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/shop.css">
  <script src="/shop.js" type="module"></script>
</head>
<body>
  <header>
    <a class="brand" href="/"><img src="/icon.svg" alt="" width="30" height="30">The Teapot Shop</a>
    <nav><a href="/shopkeeper">Shopkeeper</a></nav>
  </header>
  <main>
<?= $inside ?>
  </main>
  <footer>Every order is paid, or <em>duly</em> cancelled.</footer>
</body>
</html>
