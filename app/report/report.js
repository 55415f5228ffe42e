(() => {
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  const form = document.getElementById("filter");
  if (!form) return;
  const rows = [...document.querySelectorAll("#rows tbody tr")].map((row) => ({ row, text: row.textContent.toLowerCase() }));
  const shown = document.getElementById("shown");
  const apply = () => {
    const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = ["status", "iteration", "source"].map((name) => [name, form.elements[name].value]);
    let n = 0;
    for (const { row, text } of rows) {
      const fits = words.every((word) => text.includes(word)) && wanted.every(([name, value]) => !value || row.dataset[name] === value);
      row.hidden = !fits;
      n += fits;
    }
    shown.textContent = `${n} of ${rows.length} rows`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
})();
