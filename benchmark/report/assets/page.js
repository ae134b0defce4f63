"use strict";
// Sorting: rows by the data-v of their cells; what has none stays last in both directions.
function sortBy(button) {
  const header = button.closest("th");
  const table = button.closest("table");
  const column = Number(header.dataset.column);
  const numeric = header.dataset.kind === "number";
  const now = header.getAttribute("aria-sort");
  const first = header.dataset.first || "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  const direction = now === first ? second : first;
  const sign = direction === "ascending" ? 1 : -1;
  const value = (row) => row.cells[column].dataset.v || "";
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  rows.sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === "" || y === "") return (x === "" ? 1 : 0) - (y === "" ? 1 : 0);
    return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true }));
  });
  body.append(...rows);
  for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", direction);
}

function download(button) {
  const text = document.getElementById("records").textContent;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = button.dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.closest("thead")) sortBy(button);
  if (button.id === "download") download(button);
});
for (const button of document.querySelectorAll("button[hidden]")) button.hidden = false;
// A link to a record opens it.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();
// A printed page shows every record, and is as it was afterwards.
let opened = [];
addEventListener("beforeprint", () => {
  opened = Array.from(document.querySelectorAll("details:not([open])"));
  for (const each of opened) each.open = true;
});
addEventListener("afterprint", () => { for (const each of opened) each.open = false; });
