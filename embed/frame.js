// The page in an <iframe>: its address says what the element's attributes would, and it tells the page around it how
// high it is. Runs in embed.html, after embed.js.
(() => {
  const ResidualStream = customElements.get("residual-stream");
  const query = new URLSearchParams(location.search);
  const element = document.createElement("residual-stream");
  for (const name of ResidualStream.observedAttributes) {
    if (query.has(name)) element.setAttribute(name, query.get(name));
  }
  document.querySelector("main").replaceChildren(element);

  let told = 0;
  new ResizeObserver(() => {
    const height = Math.ceil(document.querySelector("main").getBoundingClientRect().height);
    if (height === told) return;
    told = height;
    // Any page may put this one into a frame; a height is no secret.
    parent.postMessage({ type: "residual-stream:height", height }, "*");
  }).observe(document.querySelector("main"));
})();
