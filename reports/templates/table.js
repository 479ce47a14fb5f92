"use strict";
// Tables sort by a click on a column's heading.
(() => {
  for (const table of document.querySelectorAll("table.sortable")) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending", body = table.tBodies[0];
        const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
        const order = (a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === "" || y === "") return (x === "") - (y === "");   // what was not measured stays last
          const gap = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
          return down ? -gap : gap;
        };
        body.append(...[...body.rows].sort(order));
        table.querySelectorAll("th[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
      });
    });
  }
})();
