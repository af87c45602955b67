// Script of report.html, which carries it inside.
'use strict';
// Tables: click a heading to sort by it, again to turn the order round; empty cells stay last.
function sortKey(text, numeric) {
  const number = numeric ? parseFloat(text.replace(/[~,+]/g, '')) : NaN;
  return Number.isNaN(number) ? text.toLowerCase() : number;
}
function compare(a, b) {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'number') return -1;
  if (typeof b === 'number') return 1;
  return a.localeCompare(b);
}
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener('click', () => {
    const up = head.getAttribute('aria-sort') !== 'ascending';
    heads.forEach(h => h.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const rows = [...table.tBodies[0].rows].map(row => [row.cells[column].textContent.trim(), row]);
    const full = rows.filter(([text]) => text), empty = rows.filter(([text]) => !text);
    const key = text => sortKey(text, head.classList.contains('n'));
    full.sort(([a], [b]) => (up ? 1 : -1) * compare(key(a), key(b)));
    table.tBodies[0].append(...[...full, ...empty].map(([, row]) => row));
  }));
}
// Pictures: click to enlarge to the window, or at least to full size; click or Esc to close.
const dialog = document.getElementById('zoom'), large = dialog.querySelector('img');
for (const button of document.querySelectorAll('.picture')) {
  button.addEventListener('click', () => {
    const small = button.querySelector('img');
    const ratio = small.naturalWidth / small.naturalHeight;
    const fit = Math.min(0.94 * innerWidth, 0.92 * innerHeight * ratio);
    large.src = small.src;
    large.alt = small.alt;
    large.style.width = Math.max(small.naturalWidth, Math.floor(fit)) + 'px';
    dialog.className = button.parentElement.className;
    dialog.showModal();
    dialog.scrollTo(0, 0);
  });
}
dialog.addEventListener('click', () => dialog.close());
