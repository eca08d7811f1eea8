<article class="card">
  <h1>Sorry, that did not work</h1>
  <p>Nothing was ordered and nothing was charged. Please try again in a moment.</p>
  <p><a class="button" href="/">Back to the shop</a></p>
</article>
