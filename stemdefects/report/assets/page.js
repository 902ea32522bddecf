// Folds are open on paper.
(() => {
  let closed = [];
  addEventListener('beforeprint', () => {
    closed = [...document.querySelectorAll('details:not([open])')]; closed.forEach(one => { one.open = true; });
  });
  addEventListener('afterprint', () => closed.forEach(one => { one.open = false; }));
})();
