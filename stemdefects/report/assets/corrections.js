// What a person corrects, as a list of actions with undo; no part of the page is known here.
// A mark is {x, y, kind, track, score, prob, light, state}; an action has the columns of corrections.csv, in px as shown.
const Corrections = (() => {
  const start = given => ({items: given.slice(), kept: given.length, undone: []});

  function act(list, item) {
    list.items.push(item); list.undone = [];
  }
  const canUndo = list => list.items.length > list.kept;
  function undo(list) {
    if (canUndo(list)) list.undone.push(list.items.pop());
  }
  function redo(list) {
    if (list.undone.length) list.items.push(list.undone.pop());
  }

  // the mark nearest to (x, y) within reach that is still there, or null
  function nearest(marks, x, y, reach) {
    let best = null, least = reach;
    for (const m of marks) {
      if (m.state === 'deleted' || m.state === 'excluded') continue;
      const away = Math.hypot(m.x - x, m.y - y);
      if (away <= least) { least = away; best = m; }
    }
    return best;
  }

  const inside = (item, x, y) =>
    x >= Math.min(item.x_px, item.x_to_px) && x <= Math.max(item.x_px, item.x_to_px) &&
    y >= Math.min(item.y_px, item.y_to_px) && y <= Math.max(item.y_px, item.y_to_px);

  // marks of a frame with all actions in them, in order, as the analysis applies them; drift: [dy, dx] of the frame
  function marksOf(base, items, frame, drift, reach) {
    const marks = base.map(m => ({...m}));
    for (const item of items) {
      if (item.action === 'exclude') {
        if (item.frame !== undefined && item.frame !== frame) continue;
        const [dy, dx] = item.frame === undefined ? drift : [0, 0];
        for (const m of marks) if (m.state !== 'deleted' && inside(item, m.x - dx, m.y - dy)) m.state = 'excluded';
        continue;
      }
      if (item.frame !== frame) continue;
      if (item.action === 'add') {
        marks.push({x: item.x_px, y: item.y_px, kind: item.kind, track: -1, score: 1, prob: 1, light: null, state: 'added'});
        continue;
      }
      const m = nearest(marks, item.x_px, item.y_px, reach);
      if (!m) continue;
      if (item.action === 'delete') m.state = 'deleted';
      else if (item.action === 'relabel') { m.kind = item.kind; m.state = m.state === 'added' ? 'added' : 'relabelled'; }
      else if (item.action === 'relink' || item.action === 'unlink') m.linked = item.action;
    }
    return marks;
  }

  const isChecked = (items, frame) => items.some(i => i.action === 'checked' && i.frame === frame);

  // the text of corrections.csv; stretch: px as shown per px of the frame (y, x)
  function csv(items, table, version, columns, stretch) {
    const cell = (item, name) => {
      if (name === 'schema_version') return version;
      if (name === 'table') return table;
      const value = item[name];
      if (value === undefined || value === null) return '';
      if (/^y_/.test(name)) return +(value / stretch[0]).toFixed(2);
      if (/^x_/.test(name)) return +(value / stretch[1]).toFixed(2);
      return /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value;
    };
    return [columns, ...items.map(i => columns.map(c => cell(i, c)))].map(row => row.join(',')).join('\n') + '\n';
  }

  return {start, act, undo, redo, canUndo, nearest, marksOf, isChecked, csv};
})();
if (typeof module !== 'undefined') module.exports = Corrections;
