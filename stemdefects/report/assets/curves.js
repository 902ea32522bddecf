// Curves to read by points, in the place of their pictures on a screen; on paper and without scripts the pictures stay.
(() => {
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = v => v == null ? '–' : String(+v.toPrecision(4));

  const options = (curve, width) => {
    const series = [{label: curve.x_label, value: (_, v) => number(v)}], bands = [];
    for (const one of curve.series) {
      const at = series.length;
      const read = (plot, v, _, k) => number(v) + (one.low && k != null ? ` (${number(one.low[k])} to ${number(one.high[k])})` : '');
      series.push({
        label: one.name, stroke: one.colour, width: one.points ? 0 : 1.5, value: read,
        paths: one.points ? () => null : undefined, points: {show: one.points, size: 4, fill: one.colour},
      });
      if (one.low) {
        for (const end of ['high', 'low']) series.push({
          label: end, class: 'u-end', stroke: one.colour, width: 0, points: {show: false},
        });
        bands.push({series: [at + 1, at + 2], fill: one.colour + '33'});
      }
    }
    const values = curve.series.flatMap(one => [...one.y, ...(one.low || []), ...(one.high || [])]).filter(v => v != null);
    const least = Math.min(...values), most = Math.max(...values), margin = 0.05 * (most - Math.min(least, 0)) || 1;
    const y = () => [least >= 0 ? 0 : least - margin, most + margin];
    const axis = {stroke: css('--ink'), grid: {stroke: css('--line'), width: 1}, ticks: {stroke: css('--line')}};
    return {
      width, height: Math.min(340, Math.max(220, 0.45 * width)), series, bands, scales: {x: {time: false}, y: {range: y}},
      axes: [{...axis, label: curve.x_label}, {...axis, label: curve.y_label, size: 60}],
    };
  };

  const columns = curve => [
    curve.x, ...curve.series.flatMap(one => one.low ? [one.y, one.high, one.low] : [one.y]),
  ];

  const show = figure => {
    const curve = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const place = figure.querySelector('.plot');
    let plot = null;
    const draw = () => {
      if (plot) plot.destroy();
      plot = new uPlot(options(curve, place.clientWidth), columns(curve), place);
    };
    figure.classList.add('live');
    draw();
    new ResizeObserver(() => {
      if (plot.width !== place.clientWidth && place.clientWidth) plot.setSize(options(curve, place.clientWidth));
    }).observe(place);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
    place.addEventListener('keydown', event => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (!step) return;
      event.preventDefault();
      const now = plot.cursor.idx == null ? (step > 0 ? -1 : curve.x.length) : plot.cursor.idx;
      const next = Math.min(Math.max(now + step, 0), curve.x.length - 1);
      plot.setCursor({left: plot.valToPos(curve.x[next], 'x'), top: plot.over.clientHeight / 2});
    });
  };

  const seen = new IntersectionObserver(entries => entries.forEach(entry => {
    if (entry.isIntersecting) { seen.unobserve(entry.target); show(entry.target); }
  }), {rootMargin: '300px'});
  document.querySelectorAll('figure.curve').forEach(figure => seen.observe(figure));
})();
