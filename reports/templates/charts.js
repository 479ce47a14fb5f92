"use strict";
// The figures: colours for light and dark, drawn when they come near the screen.
(() => {
  const plots = JSON.parse(document.getElementById("plots-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  // Okabe and Ito's palette, darkened and lightened to 3:1 against the ground.
  const LIGHT = ["#3d4248", "#0072b2", "#b65100", "#007a5a", "#a3447c", "#7a6a00", "#5b4bb3", "#a02c2c", "#3c7d8c", "#6b6b6b"];
  const DARK = ["#c9cdd2", "#56b4e9", "#f0a04b", "#2fc196", "#e58bbd", "#e3d25a", "#a99cf0", "#f08a8a", "#7cc7d6", "#a8a8a8"];
  const SCALE = {
    light: [[0, "#f3f6fa"], [1, "#5b9bd5"]],
    dark: [[0, "#20262d"], [1, "#2c6da8"]],
  };

  function themed(plot) {
    const colours = dark.matches ? DARK : LIGHT, style = getComputedStyle(document.documentElement);
    const get = name => style.getPropertyValue(name).trim();
    const ink = get("--ink"), soft = get("--soft"), line = get("--line"), panel = get("--panel");
    const data = plot.data.map(trace => {
      const made = structuredClone(trace), colour = colours[trace.meta.method % colours.length];
      if (trace.type === "heatmap") {
        made.colorscale = dark.matches ? SCALE.dark : SCALE.light;
        made.textfont = {color: ink, size: 13};
        made.colorbar = {thickness: 10, outlinewidth: 0, tickfont: {color: soft}};
      } else if (trace.meta.front) {
        made.line = {...made.line, color: soft, width: 1.2};
        made.textfont = {color: ink, size: 11};
      } else {
        made.marker.color = colour;
        made.line = {color: colour, width: 1.2, dash: "dot"};
        made.error_y.color = soft;
        if (trace.meta.reported) made.marker.line = {color: ink, width: 1.5};
        else made.marker.line = {width: 1.5, color: colour};
      }
      return made;
    });
    const axis = given => ({
      gridcolor: line, zerolinecolor: line, linecolor: line, tickfont: {color: soft, size: 12}, automargin: true,
      ...given, title: {...given.title, font: {color: soft, size: 13}, standoff: 8},
    });
    const layout = {
      ...plot.layout,
      paper_bgcolor: panel, plot_bgcolor: panel, font: {family: "system-ui, sans-serif", color: ink},
      margin: {l: 8, r: 12, t: 30, b: 8}, hovermode: "closest",
      hoverlabel: {bgcolor: panel, bordercolor: soft, font: {color: ink}, align: "left"},
      legend: {orientation: "h", x: 0, y: -0.24, yanchor: "top", font: {size: 11, color: soft}, itemsizing: "trace"},
      xaxis: axis(plot.layout.xaxis), yaxis: axis(plot.layout.yaxis),
      transition: {duration: still ? 0 : 150},
    };
    return [data, layout, {responsive: true, displaylogo: false, displayModeBar: "hover",
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]}];
  }

  const drawn = new Set();
  const draw = box => { drawn.add(box); Plotly.react(box, ...themed(plots[box.dataset.plot])); };
  const boxes = document.querySelectorAll("[data-plot]");
  const watcher = new IntersectionObserver(entries => {
    for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }, {rootMargin: "600px"});
  boxes.forEach(box => watcher.observe(box));
  dark.addEventListener("change", () => drawn.forEach(draw));
  addEventListener("beforeprint", () => boxes.forEach(draw));
})();
