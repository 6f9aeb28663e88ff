// Elements that every part of the page makes: any tag, an icon, a passing notice, a small menu.

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = svg.appendChild(document.createElementNS(svg.namespaceURI, "use"));
  use.setAttribute("href", `#i-${name}`);
  return svg;
}

export function toast(place, text) {
  const element = h("p", { class: "toast", role: "status", "data-testid": "toast" }, text);
  place.querySelector(".toasts").append(element);
  setTimeout(() => element.remove(), 4000);
}

// Opens and closes a small menu; a press elsewhere or Escape closes it.
export function dropMenu(button, menu) {
  const set = (open) => {
    menu.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    document[open ? "addEventListener" : "removeEventListener"]("pointerdown", outside);
    if (open) menu.querySelector("button").focus();
  };
  const outside = (event) => { if (!menu.parentElement.contains(event.target)) set(false); };
  button.addEventListener("click", () => set(menu.hidden));
  menu.addEventListener("click", () => set(false));
  menu.parentElement.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || menu.hidden) return;
    set(false);
    button.focus();
  });
}
