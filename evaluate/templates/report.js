// Script of report.html, which carries it inside.
'use strict';
// Tables: click a heading to sort by it, again to turn the order round, a third time for the
// table's own order; empty cells stay last.
function seconds(text) {
  const match = text.match(/^(?:(\d+) h)? ?(?:(\d+) min)? ?(?:([\d.]+) s)?$/);
  return match && text ? 3600 * (match[1] || 0) + 60 * (match[2] || 0) + 1 * (match[3] || 0) : NaN;
}
function sortKey(text, numeric) {
  const number = numeric ? parseFloat(text.replace(/[~,+]/g, '')) : seconds(text);
  return Number.isNaN(number) ? text.toLowerCase() : number;
}
function compare(a, b) {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'number') return -1;
  if (typeof b === 'number') return 1;
  return a.localeCompare(b);
}
const NEXT = { null: 'ascending', ascending: 'descending', descending: null };
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0], original = [...body.rows];
  heads.forEach((head, column) => head.firstElementChild.addEventListener('click', () => {
    const order = NEXT[head.getAttribute('aria-sort')];
    heads.forEach(h => h.removeAttribute('aria-sort'));
    if (!order) return body.append(...original);
    head.setAttribute('aria-sort', order);
    const text = row => row.cells[column].textContent.trim();
    const key = row => sortKey(text(row), head.classList.contains('n'));
    const full = original.filter(text), empty = original.filter(row => !text(row));
    full.sort((a, b) => (order === 'ascending' ? 1 : -1) * compare(key(a), key(b)));
    body.append(...full, ...empty);
  }));
}
// Pictures: click to enlarge to the window, or at least to full size; the arrow keys go from one to
// the next; click or Esc to close.
const dialog = document.getElementById('zoom'), large = dialog.querySelector('img');
const pictures = [...document.querySelectorAll('.picture')];
let shown = 0;
function show(index) {
  shown = (index + pictures.length) % pictures.length;
  const button = pictures[shown], small = button.querySelector('img');
  const ratio = small.naturalWidth / small.naturalHeight;
  const fit = Math.min(0.94 * innerWidth, 0.92 * innerHeight * ratio);
  large.src = small.src;
  large.alt = small.alt;
  large.style.width = Math.max(small.naturalWidth, Math.floor(fit)) + 'px';
  dialog.className = button.parentElement.className;
  if (!dialog.open) dialog.showModal();
  dialog.scrollTo(0, 0);
}
pictures.forEach((button, index) => button.addEventListener('click', () => show(index)));
dialog.addEventListener('keydown', event => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) { event.preventDefault(); show(shown + step); }
});
dialog.addEventListener('close', () => pictures[shown].focus());
dialog.addEventListener('click', () => dialog.close());
