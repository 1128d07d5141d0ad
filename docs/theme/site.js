// Wide tables and code can be scrolled with the keyboard, and the buttons of each code block have a name.
// The theme makes both after a page has loaded.
const reachable = () => {
  for (const each of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code"))
    if (!each.hasAttribute("tabindex")) each.tabIndex = 0;
  document
    .querySelectorAll(".md-code__nav")
    .forEach((each, index) => each.getAttribute("aria-label") || each.setAttribute("aria-label", `Code block ${index + 1}`));
};
new MutationObserver(reachable).observe(document.documentElement, { childList: true, subtree: true });
