/* SPDX-License-Identifier: Apache-2.0 */
/* Draws the plots when they come into view, finds signals by name, and reads values under the pointer. Texts of the
   page's data are only ever set as text. A trace's bytes are described in trace.py. */
"use strict";
{
  const LEVELS = 4095, HEIGHT = 100, AHEAD = "600px";
  const axis = JSON.parse(document.getElementById("signals").dataset.axis);
  const drawn = new Map();

  function numbers(base64) {
    const bytes = atob(base64), out = [];
    for (let at = 0; at < bytes.length;) {
      let value = 0, scale = 1, byte;
      do {
        byte = bytes.charCodeAt(at++);
        value += (byte & 127) * scale;
        scale *= 128;
      } while (byte > 127);
      out.push(value);
    }
    return out;
  }

  function points(figure) {
    if (figure.dataset.levels) {
      const most = Number(figure.dataset.most);
      return figure.dataset.levels.split(",").map((level, column) => ({ column, low: level * most / 1000, high: level * most / 1000 }));
    }
    const told = numbers(figure.dataset.trace), out = [];
    for (let at = 0, column = -1, low = 0; at < told.length; at += 3) {
      column += told[at] + 1;
      low += told[at + 1] % 2 ? -(told[at + 1] + 1) / 2 : told[at + 1] / 2;
      out.push({ column: column * axis.fold, low, high: low + told[at + 2] });
    }
    return out;
  }

  function line(data, y, join, step) {
    let path = "", last = null, end = 0;
    for (const { column, low, high } of data) {
      const x = column + axis.fold / 2;
      const rising = last === null || Math.abs(end - low) <= Math.abs(end - high);
      const [first, second] = rising ? [low, high] : [high, low];
      if (last !== null && column - last <= join * axis.fold) {
        path += step ? `H${x}V${y(first)}` : `L${x} ${y(first)}`;
      } else {
        path += `M${x} ${y(first)}h.01`;
      }
      if (second !== first) path += `V${y(second)}`;
      [last, end] = [column, second];
    }
    return path;
  }

  function shape(svg, kind, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    svg.append(element);
  }

  function label(plot, kind, text, style) {
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = span.title = text;
    Object.assign(span.style, style);
    plot.append(span);
  }

  function written(value) {
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toPrecision(4).replace("-", "\u2212");
    return Number(value.toPrecision(5)).toLocaleString("en", { maximumFractionDigits: 6 }).replace("-", "\u2212");
  }

  function draw(figure) {
    if (drawn.has(figure)) return;
    const plot = figure.querySelector(".plot"), traffic = figure.classList.contains("traffic");
    const names = figure.dataset.names ? figure.dataset.names.split("\n") : null;
    const most = traffic ? Number(figure.dataset.most) || 1 : LEVELS;
    const y = (level) => Math.round((HEIGHT * 0.95 - level / most * HEIGHT * 0.9) * 100) / 100;
    const data = points(figure);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${axis.columns} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    for (const [column, text] of axis.ticks) {
      shape(svg, "path", { class: "tick", d: `M${column} 0V${HEIGHT}` });
      label(plot, "time", text, { left: `${column / axis.columns * 100}%` });
    }
    for (const [first, last] of axis.gaps) {
      shape(svg, "rect", { class: "gap", x: first, y: 0, width: Math.max(1, last - first), height: HEIGHT });
    }
    const path = line(data, y, traffic ? 1 : Number(figure.dataset.join), names !== null);
    if (traffic) {
      shape(svg, "path", { class: "area", d: `M0 ${y(0)}${path.replace("M", "L")}L${axis.columns} ${y(0)}` });
      for (const column of axis.events) shape(svg, "path", { class: "event", d: `M${column} 0V${HEIGHT}` });
    } else {
      shape(svg, "path", { d: path });
    }
    plot.append(svg);
    const place = (level) => ({ top: `${y(level)}%` });
    if (names) {
      const every = Math.ceil(names.length / 6);
      names.forEach((name, index) => {
        if (index % every === 0) label(plot, "value", name, place(names.length > 1 ? index * LEVELS / (names.length - 1) : 0));
      });
    } else {
      const [least, top] = traffic ? [0, most] : [Number(figure.dataset.least), Number(figure.dataset.most)];
      label(plot, "value", written(traffic ? Math.round(top) : top), place(most));
      label(plot, "value", written(least), place(0));
    }
    const cursor = document.createElement("div");
    cursor.className = "cursor";
    cursor.hidden = true;
    plot.append(cursor);
    drawn.set(figure, { data, names, traffic, cursor });
  }

  function timeAt(column) {
    let found = axis.drives[0];
    for (const drive of axis.drives) if (drive[0] <= column) found = drive;
    const [first, columns, begin, each] = found;
    return new Date(begin + Math.min(Math.max(column - first, 0), columns) * each).toISOString().slice(11, 19);
  }

  function valueAt(figure, { data, names, traffic }, column) {
    let low = 0, high = data.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (data[middle].column <= column) low = middle + 1; else high = middle;
    }
    const point = data[low - 1];
    if (!point) return "";
    if (traffic) return written(Math.round(point.high));
    if (column - point.column > Number(figure.dataset.join) * axis.fold) return "nothing";
    const [least, most] = [Number(figure.dataset.least), Number(figure.dataset.most)];
    const value = (level) => names ? names[Math.round(level * (names.length - 1) / LEVELS)]
      : written(Number((least + (most / LEVELS - least / LEVELS) * level).toPrecision(4)));
    return point.low === point.high ? value(point.low) : `${value(point.low)} … ${value(point.high)}`;
  }

  function point(column) {
    for (const [figure, state] of drawn) {
      const output = figure.querySelector("output");
      state.cursor.hidden = column === null;
      if (column === null) { output.textContent = ""; continue; }
      state.cursor.style.left = `${column / axis.columns * 100}%`;
      output.textContent = `${valueAt(figure, state, column)} at ${timeAt(column)}`;
    }
  }

  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      draw(entry.target);
      watch.unobserve(entry.target);
    }
  }, { rootMargin: AHEAD });
  const figures = document.querySelectorAll("figure");
  for (const figure of figures) {
    if (figure.getBoundingClientRect().top < window.innerHeight) draw(figure); else watch.observe(figure);
  }
  window.addEventListener("beforeprint", () => figures.forEach(draw));
  document.addEventListener("pointermove", (event) => {
    const plot = event.target.closest?.(".plot");
    if (!plot) { point(null); return; }
    const box = plot.getBoundingClientRect();
    point(Math.min(axis.columns - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * axis.columns))));
  });

  const find = document.getElementById("find"), found = document.getElementById("found");
  const sections = [...document.querySelectorAll(".message")];
  function search() {
    const wanted = find.value.trim().toLowerCase();
    let count = 0;
    for (const section of sections) {
      const whole = section.dataset.name.toLowerCase().includes(wanted);
      let shown = 0;
      for (const signal of section.querySelectorAll("[data-signal]")) {
        signal.hidden = !whole && !`${section.dataset.name}.${signal.dataset.signal}`.toLowerCase().includes(wanted);
        shown += signal.hidden ? 0 : 1;
      }
      section.hidden = shown === 0;
      count += shown;
    }
    found.textContent = `${count.toLocaleString("en")} signals`;
  }
  find.addEventListener("input", search);
  search();
}
