<article class="card">
  <h1>There is nothing here</h1>
  <p>No such page, and no such order.</p>
  <p><a class="button" href="/">Back to the shop</a></p>
</article>
