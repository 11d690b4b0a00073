"use strict";
// Hides what does not hold every word that is searched for. Without it the page is whole, and has no search.
const box = document.getElementById("words");
const told = document.getElementById("found");
const cards = [...document.querySelectorAll("[data-entry]")].map((card) => ({
  card,
  text: `${card.textContent} ${card.dataset.entry}`.toLowerCase(),
}));
const sections = [...document.querySelectorAll("main > section")];

function search() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const { card, text } of cards) {
    card.hidden = !words.every((word) => text.includes(word));
    found += card.hidden ? 0 : 1;
  }
  for (const section of sections) {
    const left = section.querySelectorAll("[data-entry]:not([hidden])").length;
    section.hidden = words.length > 0 && left === 0;
    const link = document.querySelector(`nav a[href="#${section.id}"]`);
    link.parentElement.hidden = section.hidden;
    const count = link.querySelector(".count");
    if (count) count.textContent = String(left);
  }
  told.textContent = words.length ? `${found} of ${cards.length} found` : "";
}

// Whoever follows a link to an entry that is hidden gets to see it.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.closest("[hidden]")) {
    box.value = "";
    search();
    target.scrollIntoView();
  }
}

box.addEventListener("input", search);
box.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    box.value = "";
    search();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target !== box && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    box.focus();
  }
});
addEventListener("hashchange", reveal);
document.getElementById("search").hidden = false;
search();
